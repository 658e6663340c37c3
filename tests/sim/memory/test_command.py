"""Fidelity command: floors, conservation, streams, overlaps, refusals, and how far tile is from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.chip import Chip, ChipTable, load_chip, parse_chip
from sim.batch import evaluate
from sim.memory.mixes import PAGES, PARTS, SEQUENTIAL, TAILS, Flow
from sim.memory.overlap import overlapping
from sim.memory.traffic import Memories, row_mix
from sim.result import Result
from sim.simulate import simulate
from tests.sim.designs import attention, attentions, chain, chip, gemm, gemms, npus, row_of, vector, vector_ops, vectors
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Segment, Trace

#: Largest difference of a step's latency between tile and command over the presets that name a grade (docs/memory.md).
STATED_ERROR = 0.08
HBM: dict[str, Any] = {"grade": "HBM2-2000", "channels": 2, "latency_s": 2e-8}
DDR: dict[str, Any] = {"standard": "DDR4", "grade": "DDR4-2400", "bandwidth_bytes_per_s": 38.4e9, **{"channels": 2}}


def graded(spec: Chip, **memory: Any) -> Chip:
    data = spec.model_dump()
    data["memories"]["dram"] |= {"bandwidth_bytes_per_s": 64e9, **HBM, **memory}
    return parse_chip(data)


@st.composite
def designs(draw: st.DrawFn) -> Chip:
    """A random chip with a matrix and a vector engine on two channels of HBM2 or DDR4."""
    fields = draw(st.sampled_from([HBM, DDR]))
    memory = {
        **fields,
        "latency_s": draw(st.sampled_from([0.0, 6e-8])),
        "request_bytes": draw(st.sampled_from([1, 32, 64])),
        "transfer_bytes": draw(st.sampled_from([1, 65536])),
        "streaming_efficiency": draw(st.sampled_from([0.5, 1.0])),
        "stream_interference": draw(st.sampled_from([0.0, 0.6])),
    }
    return graded(chip(draw(npus()), None, draw(vectors())), **memory)


def levels(trace: Trace, spec: Chip) -> tuple[Result, Result, Result]:
    try:
        found = [simulate(trace, spec, fidelity=fidelity) for fidelity in ("bound", "tile", "command")]
    except ChipsmithError as error:
        assume("tile fits" not in str(error))
        raise
    return found[0], found[1], found[2]


def traces(ops: list[Operator]) -> Trace:
    return chain(*(replace(op, name=f"op{row}") for row, op in enumerate(ops)), counts=(2,))


TRACES = st.lists(st.one_of(gemms(), attentions(), vector_ops()), min_size=1, max_size=3).map(traces)


@settings(max_examples=40)
@given(designs(), TRACES)
def test_the_bound_is_never_beaten_and_nothing_is_moved_twice(spec: Chip, trace: Trace) -> None:
    bound, tile, command = levels(trace, spec)
    assert bound.latency_s <= tile.latency_s * (1 + 1e-9)
    assert bound.latency_s <= command.latency_s * (1 + 1e-9)
    for floor, coarse, fine in zip(bound.ops, tile.ops, command.ops, strict=True):
        assert floor.duration_s <= fine.duration_s * (1 + 1e-9)
        assert (coarse.macs, coarse.bytes, coarse.events) == (fine.macs, fine.bytes, fine.events)
        assert coarse.busy_s == fine.busy_s
    assert command.mapping == tile.mapping
    parts = {name: joules for name, joules in command.energy_parts_j.items() if name.startswith("dram_c")}
    assert parts == {name: tile.energy_parts_j[name] for name in parts}


@settings(max_examples=15)
@given(designs(), TRACES)
def test_more_channels_are_never_slower(spec: Chip, trace: Trace) -> None:
    memory = spec.memories["dram"]
    doubled = graded(
        spec,
        **{
            **memory.model_dump(),
            "channels": 2 * memory.channels,
            "bandwidth_bytes_per_s": 2 * memory.bandwidth_bytes_per_s,
            "transfer_bytes": 2 * memory.transfer_bytes,
        },
    )
    _, _, narrow = levels(trace, spec)
    wide = simulate(trace, doubled, narrow.mapping, "command")
    assert wide.latency_s <= narrow.latency_s * (1 + 1e-9)


@settings(max_examples=10)
@given(designs(), TRACES)
def test_the_mapping_replays_and_a_table_equals_chips_one_by_one(spec: Chip, trace: Trace) -> None:
    _, _, command = levels(trace, spec)
    assert simulate(trace, spec, command.mapping, "command").latency_s == command.latency_s
    pipes = [0, 2]
    batch = evaluate(ChipTable(spec, {"engines.npu.mac_pipe": pipes}), trace, fidelity="command")
    alone = [simulate(trace, spec.with_fields({"engines.npu.mac_pipe": pipe}), fidelity="command") for pipe in pipes]
    assert batch.latency_s.tolist() == [one.latency_s for one in alone]
    assert batch.energy_j.tolist() == [one.energy_j for one in alone]


# ---------------------------------------------------------------- streams


def demand(read: int, write: int) -> dict[str, int]:
    return {"dram_read_bytes": read, "dram_write_bytes": write}


def test_attention_gathers_pages_and_appends_tokens() -> None:
    op = row_of(attention(Segment(1, 4095, 8)))
    mix = row_mix(op, demand(int(op["in_bytes"]) + 10**9, int(op["kv_write_bytes"])), 4)
    assert mix == (Flow(PAGES, False, PARTS, 4),)
    tails = row_mix(op, demand(0, int(op["kv_write_bytes"])), 1)
    assert tails == (Flow(TAILS, True, PARTS, 1),)


def test_a_prompts_keys_fill_whole_pages() -> None:
    op = row_of(attention(Segment(512)))
    assert row_mix(op, demand(0, int(op["kv_write_bytes"])), 2) == (Flow(PAGES, True, PARTS, 2),)


def test_a_gemm_reads_and_writes_sequentially_however_often_it_reads() -> None:
    op = row_of(gemm(64, 64, 64))
    assert row_mix(op, demand(300, 100), 3) == (Flow(SEQUENTIAL, False, 48, 3), Flow(SEQUENTIAL, True, 16, 3))
    assert row_mix(op, demand(0, 0), 3) == ()


def test_streams_are_the_engines_active_cores() -> None:
    """Four cores that read at once find fewer open rows than one; one tile keeps one core busy."""

    def efficiency(cores: int, m: int) -> float:
        spec = graded(chip({"cores": cores}), bandwidth_bytes_per_s=64e9, channels=2, transfer_bytes=8192)
        trace = chain(gemm(m, 8, 4096, act="fp16", weight="fp16"))
        op = simulate(trace, spec, "gemmini", "command").ops[0]
        return (op.bytes["dram_read"] + op.bytes["dram_write"]) / 64e9 / op.needs_s["memory:dram"]

    assert efficiency(4, 8) < 0.9 * efficiency(1, 8)


def test_latency_is_the_chips_own_or_that_of_an_idle_channel() -> None:
    trace = chain(vector("elementwise", "add", 1, 16))
    far, near = (simulate(trace, graded(chip(), latency_s=s), fidelity="command").ops[0] for s in (1e-6, 0.0))
    assert far.fixed_s == pytest.approx(1e-6)
    assert near.fixed_s == pytest.approx(Memories(ChipTable(graded(chip(), latency_s=0.0))).latency_s("dram")[0])
    assert 25e-9 < near.fixed_s < 40e-9


# ---------------------------------------------------------------- overlaps


def test_shares_of_overlap() -> None:
    start, end = np.array([0.0, 1.0, 3.0, 4.0]), np.array([4.0, 2.0, 5.0, 5.0])
    op, uses = np.array([0, 1, 1, 2]), np.array([True, True, False])
    assert overlapping(start, end, op, uses) == {(0, 1): 0.5, (1, 0): 2 / 3}
    assert overlapping(start, end, op, np.array([True, False, True])) == {}


def side_by_side(*ops: Operator) -> Trace:
    return Trace("beside", ops, (), (Block("all"),))


def test_operators_that_overlap_on_a_memory_are_one_mixed_stream() -> None:
    spec = graded(chip(vector={"units": 2, "lanes": 128}))
    read, write = gemm(1, 2048, 2048), vector("elementwise", "add", 2048, 2048)
    beside = simulate(side_by_side(read, write), spec, fidelity="command")
    alone = [simulate(chain(op), spec, fidelity="command").ops[0] for op in (read, write)]
    needs = [op.needs_s["memory:dram"] for op in beside.ops]
    assert needs != [op.needs_s["memory:dram"] for op in alone]
    floor = [sum(op.bytes[way] for way in ("dram_read", "dram_write")) / 64e9 for op in beside.ops]
    assert all(need >= least * (1 - 1e-9) for need, least in zip(needs, floor, strict=True))
    assert [op.cycles for op in beside.ops] == [op.cycles for op in alone]


@settings(max_examples=15)
@given(designs(), st.one_of(gemms(), attentions()), vector_ops())
def test_no_overlap_beats_the_peak(spec: Chip, first: Operator, second: Operator) -> None:
    trace = side_by_side(replace(first, name="first"), replace(second, name="second"))
    bound, _, command = levels(trace, spec)
    peak = spec.memories["dram"].bandwidth_bytes_per_s
    for floor, fine in zip(bound.ops, command.ops, strict=True):
        moved = fine.bytes["dram_read"] + fine.bytes["dram_write"]
        assert fine.needs_s.get("memory:dram", 0.0) >= moved / peak * (1 - 1e-9)
        assert fine.duration_s >= floor.duration_s * (1 - 1e-9)
    assert command.latency_s >= bound.latency_s * (1 - 1e-9)


def test_operators_one_after_the_other_keep_their_own_streams() -> None:
    spec = graded(chip(vector={"units": 2, "lanes": 128}))
    ops = gemm(1, 256, 256), vector("elementwise", "add", 1, 256)
    chained = simulate(chain(*ops), spec, fidelity="command")
    alone = [simulate(chain(op), spec, fidelity="command").ops[0] for op in ops]
    assert [op.needs_s for op in chained.ops] == [op.needs_s for op in alone]


# ---------------------------------------------------------------- refusals, stated error


def test_a_memory_without_a_grade_is_refused() -> None:
    with pytest.raises(ChipsmithError) as caught:
        simulate(chain(gemm(4, 4, 4)), load_chip("tpu_v3"), fidelity="command")
    assert str(caught.value) == (
        "chip.memories.dram.grade: got ''; fidelity command simulates the channels of a DRAM grade; "
        "known: HBM2-1600, HBM2-2000, HBM2-2400"
    )


def test_a_table_whose_bandwidth_leaves_its_channels_is_refused() -> None:
    table = ChipTable(graded(chip()), {"memories.dram.bandwidth_bytes_per_s": [64e9, 70e9]})
    with pytest.raises(ChipsmithError) as caught:
        evaluate(table, chain(gemm(4, 4, 4)), fidelity="command")
    assert str(caught.value) == (
        "chip.memories.dram: channels = 2 of grade HBM2-2000 move 64 GB/s, "
        "bandwidth_bytes_per_s says 70 GB/s (at most 3 % apart)"
    )


@pytest.mark.parametrize("name", ["tpu_v4", "neupims_npu"])
@pytest.mark.parametrize("batch", [Batch.decode(8, 1024), Batch.prefill([512])], ids=["decode", "prefill"])
def test_tile_is_within_the_stated_error_of_command(name: str, batch: Batch) -> None:
    trace = build_trace("llama-2-7b", batch)
    tile, command = (simulate(trace, name, fidelity=fidelity).latency_s for fidelity in ("tile", "command"))
    assert tile == pytest.approx(command, rel=STATED_ERROR)
