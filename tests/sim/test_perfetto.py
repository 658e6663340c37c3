"""The trace events are what the format asks for, and show the result's own numbers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.perfetto import trace_document, write_perfetto
from sim.result import OpResult, Result
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.errors import ChipsmithError

from .drawn import MEMORY, layered, op, result

Event = dict[str, Any]


def check(document: Event) -> None:
    """The schema: phases, numbers, names of all threads, order and no overlap on any thread."""
    events = document["traceEvents"]
    named = {(e["pid"], e["tid"]) for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert {e["ph"] for e in events} <= {"M", "X", "C"}
    for event in events:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        assert isinstance(event["args"], dict)
    slices = [e for e in events if e["ph"] == "X"]
    assert {(e["pid"], e["tid"]) for e in slices} <= named
    for thread in named:
        check_thread([e for e in slices if (e["pid"], e["tid"]) == thread])
    for _, track in itertools.groupby((e for e in events if e["ph"] == "C"), key=lambda e: (e["pid"], e["name"])):
        check_counter(list(track))


def check_thread(slices: list[Event]) -> None:
    for event in slices:
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert round(event["ts"] * 1000, 6).is_integer()
    for before, after in itertools.pairwise(slices):
        assert round(1000 * before["ts"]) + round(1000 * before["dur"]) <= round(1000 * after["ts"])


def check_counter(track: list[Event]) -> None:
    assert [e["ts"] for e in track] == sorted(e["ts"] for e in track)
    assert all(0 <= e["args"]["percent"] <= 100 for e in track)
    assert track[-1]["args"]["percent"] == 0


def slices(document: Event, tid: int) -> list[tuple[str, float, float]]:
    return [(e["name"], e["ts"], e["dur"]) for e in document["traceEvents"] if e["ph"] == "X" and e["tid"] == tid]


def test_engines_are_threads_and_repeats_are_one_slice() -> None:
    document = trace_document([result()])
    check(document)
    names = [(e["tid"], e["args"]["name"]) for e in document["traceEvents"] if e["name"] == "thread_name"]
    assert names == [(1, "blocks"), (2, "npu"), (3, "vector")]
    assert slices(document, 1) == [("embed", 0.0, 1.0), ("layers x 4", 1.0, 20.0), ("head", 21.0, 4.0)]
    assert slices(document, 2) == [("layer.proj", 2.0, 4.0), ("head", 21.0, 4.0)]
    assert slices(document, 3) == [("embed", 0.0, 1.0), ("layer.norm", 1.0, 1.0)]
    assert document["displayTimeUnit"] == "ns"
    assert document["otherData"] == {"manifests": {"1": {"version": "1", "seed": "None"}}}


def test_a_slice_says_what_its_operator_does() -> None:
    document = trace_document([result((op("proj", count=3),))])
    (args,) = [e["args"] for e in document["traceEvents"] if e["name"] == "proj"]
    assert args == {
        "block": "layers",
        "count": 3,
        "phase": "decode",
        "bound_by": MEMORY,
        "duration_at_full_share_us": pytest.approx(4.0),
        "cycles": 4000.0,
        "macs": 6_000_000,
        "dram_read_bytes": 50_000,
        "dram_write_bytes": 10_000,
        "sram_read_bytes": 7,
        "energy_pj": 7.0,
    }


def test_a_block_says_how_long_an_iteration_takes() -> None:
    (args,) = [e["args"] for e in trace_document([result()])["traceEvents"] if e["name"] == "layers x 4"]
    assert args == {
        "iterations": 4,
        "drawn": 1,
        "first_iteration_us": pytest.approx(5.0),
        "mean_iteration_us": pytest.approx(5.0),
    }


def test_counters_show_use_with_the_mean_where_nothing_is_drawn() -> None:
    track = [e for e in trace_document([result()])["traceEvents"] if e["ph"] == "C"]
    assert {e["name"] for e in track} == {f"{MEMORY} in use"}
    # 3 us of memory in 1 us is shown as all of it; then 0.5 in 1, 3 in 4, (3 + 0.5) x 3 in 15, 3 in 4, nothing.
    values = [(e["ts"], e["args"]["percent"]) for e in track]
    assert values == [(0.0, 100.0), (1.0, 50.0), (2.0, 75.0), (6.0, 70.0), (21.0, 75.0), (25.0, 0.0)]


def test_several_results_are_several_processes(tmp_path: Path) -> None:
    write_perfetto([result(), result(chip_name="other")], tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    check(document)
    names = [(e["pid"], e["args"]["name"]) for e in document["traceEvents"] if e["name"] == "process_name"]
    assert names == [(1, "tpu_v4: toy decode"), (2, "other: toy decode")]


@given(st.lists(st.tuples(st.floats(0, 1e-5), st.sampled_from(["npu", "vector"])), min_size=1, max_size=20))
def test_operators_back_to_back_never_overlap(lengths: list[tuple[float, str]]) -> None:
    now, ops = 0.0, []
    for i, (length, engine) in enumerate(lengths):
        ops.append(op(f"op{i}", engine=engine, start_s=now, end_s=now + length, needs_s={MEMORY: length / 2}))
        now += length
    check(trace_document([result(tuple(ops), latency_s=now)]))


@pytest.fixture(scope="module")
def simulated() -> Result:
    return simulate(build_trace(load_config("llama-2-7b"), Batch.prefill([64])), "tpu_v4")


def test_a_simulated_timeline_holds_every_operator_once(simulated: Result, tmp_path: Path) -> None:
    simulated.to_perfetto(tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    check(document)
    drawn = {e["name"]: e for e in document["traceEvents"] if e["ph"] == "X" and e["cat"] != "block"}
    assert sorted(drawn) == sorted(o.name for o in simulated.ops)
    for one in simulated.ops:
        assert drawn[one.name]["ts"] == pytest.approx(one.start_s * 1e6, abs=1e-3)
        assert drawn[one.name]["args"]["macs"] == one.macs
    blocks = [e for e in document["traceEvents"] if e["ph"] == "X" and e["cat"] == "block"]
    assert "layers x 32" in {e["name"] for e in blocks}
    assert blocks[-1]["ts"] + blocks[-1]["dur"] == pytest.approx(simulated.latency_s * 1e6, abs=2e-3)


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError) as error:
        write_perfetto(result(), tmp_path / "none" / "t.json")
    assert str(error.value) == f"{tmp_path / 'none' / 't.json'}; cannot be written: No such file or directory"
    broken: tuple[OpResult, ...] = (op("a", cycles=float("nan")), *layered())
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_perfetto(result(broken), tmp_path / "t.json")
    with pytest.raises(ChipsmithError, match=r"^results; at least one result is needed$"):
        write_perfetto([], tmp_path / "t.json")
    assert list(tmp_path.iterdir()) == []
