"""The trace events are what the format asks for, and show the result's own numbers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
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
    """The rules of the format: kinds, numbers, names of processes and threads, order, no overlap on any thread."""
    events = document["traceEvents"]
    named = {(e["pid"], e["tid"]) for e in events if e["ph"] == "M" and e["name"] == "thread_name"}
    assert {e["ph"] for e in events} <= {"M", "X", "C"}
    for event in events:
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert isinstance(event["name"], str)
        assert isinstance(event["args"], dict)
    check_order(events)
    slices = [e for e in events if e["ph"] == "X"]
    assert {(e["pid"], e["tid"]) for e in slices} <= named
    for thread in named:
        check_thread([e for e in slices if (e["pid"], e["tid"]) == thread])
    counters = [e for e in events if e["ph"] == "C"]
    for key in {(e["pid"], e["name"]) for e in counters}:
        check_counter([e for e in counters if (e["pid"], e["name"]) == key])


def check_order(events: list[Event]) -> None:
    """Each process: one name, its metadata first, then times that never fall; a counter has one series of one unit."""
    for pid in {e["pid"] for e in events}:
        own = [e for e in events if e["pid"] == pid]
        kinds = [e["ph"] for e in own]
        assert kinds == sorted(kinds, key=lambda kind: kind != "M")
        assert [e["name"] for e in own].count("process_name") == 1
        times = [e["ts"] for e in own if e["ph"] != "M"]
        assert times == sorted(times)
        assert all("ts" not in e for e in own if e["ph"] == "M")
        assert all(set(e) == {"ph", "pid", "tid", "name", "cat", "ts", "dur", "args"} for e in own if e["ph"] == "X")
        assert all(set(e) == {"ph", "pid", "tid", "name", "ts", "args"} for e in own if e["ph"] == "C")


def check_thread(slices: list[Event]) -> None:
    for event in slices:
        assert event["ts"] >= 0
        assert event["dur"] >= 0
        assert round(event["ts"] * 1000, 6).is_integer()
    for before, after in itertools.pairwise(slices):
        assert round(1000 * before["ts"]) + round(1000 * before["dur"]) <= round(1000 * after["ts"])


def check_counter(track: list[Event]) -> None:
    assert [e["ts"] for e in track] == sorted(e["ts"] for e in track)
    (unit,) = {key for e in track for key in e["args"]}
    values = [e["args"][unit] for e in track]
    assert unit in {"percent", "GB/s"}
    assert min(values) >= 0
    assert unit != "percent" or max(values) <= 100
    assert values[-1] == 0
    assert all(a != b for a, b in itertools.pairwise(values))


def counter(document: Event, name: str) -> list[Event]:
    return [e for e in document["traceEvents"] if e["ph"] == "C" and e["name"] == name]


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
    track = counter(trace_document([result()]), f"{MEMORY} in use")
    # 3 us of memory in 1 us is shown as all of it; then 0.5 in 1, 3 in 4, (3 + 0.5) x 3 in 15, 3 in 4, nothing.
    values = [(e["ts"], e["args"]["percent"]) for e in track]
    assert values == [(0.0, 100.0), (1.0, 50.0), (2.0, 75.0), (6.0, 70.0), (21.0, 75.0), (25.0, 0.0)]


def test_counters_show_the_bandwidth_of_the_memory() -> None:
    document = trace_document([result()])
    names = {e["name"] for e in document["traceEvents"] if e["ph"] == "C"}
    assert names == {f"{MEMORY} in use", "dram read bandwidth", "dram write bandwidth"}
    # 50 kB in 1 us is 50 GB/s; then 50 in 1, 50 in 4, (50 + 50) x 3 in 15, 50 in 4 us.
    reads = [(e["ts"], e["args"]["GB/s"]) for e in counter(document, "dram read bandwidth")]
    assert reads == [(0.0, 50.0), (2.0, 12.5), (6.0, 20.0), (21.0, 12.5), (25.0, 0.0)]


def test_several_results_are_several_processes(tmp_path: Path) -> None:
    write_perfetto([result(), result(chip_name="other")], tmp_path / "t.json")
    document = json.loads((tmp_path / "t.json").read_text())
    check(document)
    names = [(e["pid"], e["args"]["name"]) for e in document["traceEvents"] if e["name"] == "process_name"]
    assert names == [(1, "tpu_v4: toy decode"), (2, "other: toy decode")]


@example([(5e-324, "npu"), (1e-12, "vector"), (1e-9, "npu")])
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
