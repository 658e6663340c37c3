"""Bench of the AXI4-Stream wrapper, driven by cocotbext-axi: data and frames with pauses on every port."""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource

from rtl.benches.traffic import command_word, operand_words, result_words
from rtl.params import SystolicParams
from rtl.schedule import gemm_passes

JOB: dict[str, Any] = json.loads(Path(os.environ["CHIPSMITH_BENCH"]).read_text())
PARAMS = SystolicParams(**JOB["params"])
CLOCK_NS = 10
REPORT: dict[str, Any] = {"runs": [], "bins": {}, "vectors": 0, "cycles": 0}


def _pauses(rng: random.Random, share: float) -> Iterator[bool]:
    while True:
        yield rng.random() < share


async def _run(dut: Any, test: str, source_share: float, sink_share: float) -> None:
    rng = random.Random(zlib.crc32(f"{JOB['seed']}:{test}".encode()))
    cocotb.log.info("%s_axis %s: job seed %d", PARAMS.name, test, JOB["seed"])
    Clock(dut.aclk, CLOCK_NS, unit="ns").start()
    dut.aresetn.value = 0
    sources = {
        name: AxiStreamSource(AxiStreamBus.from_prefix(dut, f"s_axis_{name}"), dut.aclk, dut.aresetn, False)
        for name in ("cmd", "w", "a")
    }
    sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_o"), dut.aclk, dut.aresetn, False)
    if source_share or sink_share:
        for source in sources.values():
            source.set_pause_generator(_pauses(rng, source_share))
        sink.set_pause_generator(_pauses(rng, sink_share))
    await ClockCycles(dut.aclk, 3)
    dut.aresetn.value = 1
    for m, k, n in JOB["stalled_shapes"]:
        await _gemm(sources, sink, rng, m, k, n)
    await ClockCycles(dut.aclk, 2)
    assert sink.empty(), "results that nobody asked for"
    assert int(dut.busy.value) == 0, "still busy after the last result"
    Path(JOB["report"]).write_text(json.dumps(REPORT))


async def _gemm(sources: dict[str, Any], sink: Any, rng: random.Random, m: int, k: int, n: int) -> None:
    numbers = np.random.default_rng(rng.getrandbits(32))
    low_a, low_w = 1 << (PARAMS.a_bits - 1), 1 << (PARAMS.w_bits - 1)
    a = numbers.integers(-low_a, low_a, size=(m, k), dtype=np.int64)
    w = numbers.integers(-low_w, low_w, size=(k, n), dtype=np.int64)
    passes = gemm_passes(PARAMS, m, k, n)
    for one in passes:
        a_words, w_words = operand_words(PARAMS, one, a, w)
        _send(sources["cmd"], [command_word(PARAMS, one)], PARAMS.beats_bits + 2)
        _send(sources["a"], a_words, PARAMS.rows * PARAMS.a_bits)
        _send(sources["w"], w_words, PARAMS.cols * PARAMS.w_bits)
    want = b""
    for word, last in result_words(PARAMS, passes, a, w):
        want += _bytes([word], PARAMS.cols * PARAMS.acc_bits)
        if last:
            got = bytes((await sink.recv()).tdata)
            assert got == want, f"{m}x{k}x{n}: got {got.hex()}, want {want.hex()}"
            REPORT["vectors"] += len(want) * 8 // PARAMS.cols // PARAMS.acc_bits
            want = b""


def _bytes(words: list[int], bits: int) -> bytes:
    """Words padded to whole bytes, as they lie in a frame."""
    return b"".join(word.to_bytes(-(-bits // 8), "little") for word in words)


def _send(source: Any, words: list[int], bits: int) -> None:
    source.send_nowait(AxiStreamFrame(_bytes(words, bits)))


@cocotb.test(timeout_time=100, timeout_unit="us")
async def axis_streaming(dut: Any) -> None:
    """No pauses."""
    await _run(dut, "axis_streaming", 0.0, 0.0)


@cocotb.test(timeout_time=100, timeout_unit="us")
async def axis_pauses(dut: Any) -> None:
    """Pauses on every port."""
    await _run(dut, "axis_pauses", 0.4, 0.4)
