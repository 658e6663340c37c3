"""Bench of the systolic engines: data, protocol, cycles, reset, corners; run by ``rtl.verify``.

The job (design parameters, seed, shapes with the cycles that the kernel says) comes as a JSON file named by the
environment variable ``CHIPSMITH_BENCH``; measured cycles and coverage go to the report file that it names.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from rtl.benches.harness import Harness
from rtl.params import SystolicParams
from rtl.schedule import gemm_passes

JOB: dict[str, Any] = json.loads(Path(os.environ["CHIPSMITH_BENCH"]).read_text())
PARAMS = SystolicParams(**JOB["params"])
REPORT: dict[str, Any] = {"runs": [], "bins": {}, "vectors": 0, "cycles": 0}
LIGHT, HEAVY = 0.2, 0.7


def _start(dut: Any, test: str) -> Harness:
    """A harness whose seed depends on the job's seed and the test, so that one test can be repeated alone."""
    seed = zlib.crc32(f"{JOB['seed']}:{test}".encode())
    cocotb.log.info("%s %s: seed %d (job seed %d)", PARAMS.name, test, seed, JOB["seed"])
    return Harness(dut, PARAMS, seed)


def _record(harness: Harness, test: str, shape: tuple[int, int, int], measured: int, model: int) -> None:
    REPORT["runs"].append({"test": test, "shape": shape, "measured_cycles": measured, "model_cycles": model})


def _finish(harness: Harness) -> None:
    """Check the checker, add the coverage, rewrite the report."""
    harness.check_protocol()
    for name, count in harness.bins.items():
        REPORT["bins"][name] = REPORT["bins"].get(name, 0) + count
    REPORT["vectors"] += harness.vectors
    REPORT["cycles"] += harness.cycle
    Path(JOB["report"]).write_text(json.dumps(REPORT))


async def _gemm(harness: Harness, test: str, m: int, k: int, n: int) -> int:
    """One GEMM; its cycles must be kernel plus counted stalls."""
    a, w = harness.random_operands(m, k, n)
    harness.submit(gemm_passes(PARAMS, m, k, n), a, w)
    await harness.finish()
    measured = harness.tally.measured_cycles
    model = harness.check_cycles()
    _record(harness, test, (m, k, n), measured, model)
    return measured


@cocotb.test()
async def reset_state(dut: Any) -> None:
    """After reset nothing is offered, nothing is wanted, no bit is unknown."""
    harness = _start(dut, "reset_state")
    await harness.reset()
    for _ in range(3 * (PARAMS.rows + PARAMS.cols)):
        seen = await harness.step()
        assert seen == 0, f"activity without a command: {seen:#x}"
        assert int(dut.o_seen.value) == 0, "o_data is not 0 after reset"
    _finish(harness)


@cocotb.test()
async def ragged_gemms(dut: Any) -> None:
    """Every shape without stalls: bit-exact data, cycles exactly the kernel's."""
    harness = _start(dut, "ragged_gemms")
    await harness.reset()
    for m, k, n, kernel_cycles in JOB["shapes"]:
        measured = await _gemm(harness, "ragged_gemms", m, k, n)
        assert measured == kernel_cycles, f"{m}x{k}x{n}: {measured} cycles measured, the kernel says {kernel_cycles}"
    _finish(harness)


@cocotb.test()
async def corner_operands(dut: Any) -> None:
    """All-minimum, all-maximum, mixed signs and single non-zero elements."""
    harness = _start(dut, "corner_operands")
    await harness.reset()
    m, k, n = 3, 2 * PARAMS.rows + 1, PARAMS.cols
    a_low, a_high = -(1 << (PARAMS.a_bits - 1)), (1 << (PARAMS.a_bits - 1)) - 1
    w_low, w_high = -(1 << (PARAMS.w_bits - 1)), (1 << (PARAMS.w_bits - 1)) - 1
    for a_fill, w_fill in ((a_low, w_low), (a_low, w_high), (a_high, w_low), (a_high, w_high), (-1, 1), (0, w_low)):
        a, w = np.full((m, k), a_fill, dtype=np.int64), np.full((k, n), w_fill, dtype=np.int64)
        harness.submit(gemm_passes(PARAMS, m, k, n), a, w)
    for place in range(PARAMS.rows):  # one weight and one activation: shows swapped or shifted operands
        a, w = np.zeros((m, k), dtype=np.int64), np.zeros((k, n), dtype=np.int64)
        a[place % m, place], w[place, place % n] = a_high, w_low
        harness.submit(gemm_passes(PARAMS, m, k, n), a, w)
    if PARAMS.may_wrap:
        _submit_wrapping(harness)
    await harness.finish()
    harness.check_cycles()
    _finish(harness)


def _submit_wrapping(harness: Harness) -> None:
    """One dot product that is one extreme product too long for its accumulator, on either side of zero."""
    k = PARAMS.safe_terms + 2
    for a_fill in (-(1 << (PARAMS.a_bits - 1)), (1 << (PARAMS.a_bits - 1)) - 1):
        a, w = np.full((1, k), a_fill, dtype=np.int64), np.full((k, 1), -(1 << (PARAMS.w_bits - 1)), dtype=np.int64)
        harness.submit(gemm_passes(PARAMS, 1, k, 1), a, w)


async def _stalled(dut: Any, test: str, levels: tuple[tuple[float, float, float], ...]) -> None:
    """Some shapes for each level of (sources, sink, commands) stalls."""
    harness = _start(dut, test)
    await harness.reset()
    shapes = [tuple(shape[:3]) for shape in JOB["stalled_shapes"]]
    for sources, sink, commands in levels:
        harness.stall(sources, sink, commands)
        for m, k, n in shapes:
            if commands:
                harness.submit(gemm_passes(PARAMS, m, k, n), *harness.random_operands(m, k, n))
                await harness.finish()
                await harness.reset()
            else:
                await _gemm(harness, test, m, k, n)
    _finish(harness)


@cocotb.test()
async def source_gaps(dut: Any) -> None:
    """Gaps on every input: nothing is lost, cycles are kernel plus counted stalls."""
    await _stalled(dut, "source_gaps", ((LIGHT, 0.0, 0.0), (HEAVY, 0.0, 0.0), (LIGHT, 0.0, HEAVY)))


@cocotb.test()
async def sink_stalls(dut: Any) -> None:
    """The sink holds results back: everything waits, nothing is lost."""
    await _stalled(dut, "sink_stalls", ((0.0, LIGHT, 0.0), (0.0, HEAVY, 0.0)))


@cocotb.test()
async def gaps_and_stalls(dut: Any) -> None:
    """Both sides hold back."""
    await _stalled(dut, "gaps_and_stalls", ((LIGHT, LIGHT, 0.0), (LIGHT, HEAVY, 0.0), (HEAVY, LIGHT, HEAVY)))


@cocotb.test()
async def back_to_back(dut: Any) -> None:
    """GEMMs of different shapes without a pause between them."""
    harness = _start(dut, "back_to_back")
    await harness.reset()
    for stalls in ((0.0, 0.0), (LIGHT, LIGHT)):
        harness.stall(*stalls)
        for m, k, n, _ in JOB["shapes"]:
            harness.submit(gemm_passes(PARAMS, m, k, n), *harness.random_operands(m, k, n))
        await harness.finish()
        harness.check_cycles()
    _finish(harness)


@cocotb.test()
async def command_flags(dut: Any) -> None:
    """Sums kept over passes, restarted, and sent out half way; short passes."""
    harness = _start(dut, "command_flags")
    await harness.reset()
    m, k, n = 4, 3 * PARAMS.rows + 1, PARAMS.cols + 1
    for beats, partial in ((2, False), (3, True), (PARAMS.max_beats, True)):
        passes = gemm_passes(replace(PARAMS, max_beats=beats), m, k, n)
        if partial:
            passes = tuple(replace(one, store=one.store or index % 2 == 0) for index, one in enumerate(passes))
        harness.submit(passes, *harness.random_operands(m, k, n))
        await harness.finish()
        harness.check_cycles()
    _finish(harness)


def _phase(harness: Harness) -> str:
    """Where the engine is, from what the monitor has counted."""
    tally = harness.tally
    if tally.end >= 0:
        return "reset.output"
    if tally.streaming >= 1:
        return "reset.tail"
    if tally.a_beats:
        return "reset.stream"
    return "reset.load" if tally.w_beats else "reset.idle"


@cocotb.test()
async def reset_in_flight(dut: Any) -> None:
    """Reset in every phase of an operation; what follows must be clean, at once and after a pause."""
    harness = _start(dut, "reset_in_flight")
    await harness.reset()
    m, k, n = JOB["reset_shape"]
    length = JOB["reset_cycles"]
    for stop in range(1, length + 2, 2):
        harness.submit(gemm_passes(PARAMS, m, k, n), *harness.random_operands(m, k, n))
        for _ in range(stop):
            await harness.step()
        harness.bins[_phase(harness)] += 1
        await harness.reset(cycles=1 + stop % 2)
        if stop % 4 == 1:
            for _ in range(PARAMS.rows + PARAMS.cols):
                assert await harness.step() == 0, f"activity after a reset in cycle {stop}"
        await _gemm(harness, "reset_in_flight", 2, PARAMS.rows + 1, 2)
    _finish(harness)


@cocotb.test()
async def clock_stopped_output(dut: Any) -> None:
    """A sink that refuses for long: the engine freezes, inputs are refused, and it goes on where it stopped."""
    harness = _start(dut, "clock_stopped_output")
    await harness.reset()
    m, k, n = PARAMS.rows + 2, PARAMS.rows, PARAMS.cols
    harness.submit(gemm_passes(PARAMS, m, k, n), *harness.random_operands(m, k, n))
    harness.stall(sink=1.0)
    for _ in range(4 * (PARAMS.rows + PARAMS.cols) + m):
        await harness.step()
    assert harness.vectors == 0, "a result passed although the sink was not ready"
    harness.stall()
    await harness.finish()
    harness.check_cycles()
    await FallingEdge(dut.clk)
    _finish(harness)
