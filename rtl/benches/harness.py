"""Driver, monitor and scoreboard of the systolic benches.

Everything is driven and sampled on falling edges; registers in the bench wrapper hold what happened at the rising
edge between (the same cycle counts in every simulator).
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from rtl.benches.traffic import command_word, operand_words, result_words, unpack
from rtl.coverage import shape_bins
from rtl.design import IntArray
from rtl.params import SystolicParams
from rtl.schedule import Pass, Stalls, stalled_cycles
from rtl.systolic import wrap

CMD, WEIGHT, ACT, OUT, LAST, BLOCKED, STARVED_A, STARVED_W, BUSY = (1 << bit for bit in range(9))
CLOCK_NS = 10
QUIET_CYCLES = 40
"""Cycles without any transfer, per row and column, after which a bench gives up."""


class Source:
    """Driver of one valid/ready input: holds a word until it is taken, leaves random gaps, drives noise between."""

    def __init__(self, rng: random.Random, valid: Any, data: Any) -> None:
        self.rng, self.valid, self.data = rng, valid, data
        self.width = len(data)
        self.words: deque[int] = deque()
        self.gap = 0.0
        self.presented = False
        self.idle()

    def idle(self) -> None:
        """Withdraw everything (only together with a reset)."""
        self.words.clear()
        self.presented = False
        self.valid.value = 0
        self.data.value = self.rng.getrandbits(self.width)
        self.high = False

    def drive(self) -> bool:
        """Before the rising edge; returns whether a word that exists is held back."""
        if self.presented:
            return False
        if self.words and self.rng.random() >= self.gap:
            self.presented = True
            self.data.value = self.words[0]
            if not self.high:
                self.valid.value, self.high = 1, True
            return False
        if self.high:
            self.valid.value, self.high = 0, False
            self.data.value = self.rng.getrandbits(self.width)
        return bool(self.words)

    def taken(self) -> None:
        """The word passed at the rising edge."""
        assert self.presented, "a word was taken that was not offered"
        self.words.popleft()
        self.presented = False


class Sink:
    """Driver of the result port's ready: stalls at random."""

    def __init__(self, rng: random.Random, ready: Any) -> None:
        self.rng, self.ready = rng, ready
        self.stall = 0.0
        self.high = False
        ready.value = 0

    def drive(self) -> None:
        """Before the rising edge."""
        wanted = self.rng.random() >= self.stall
        if wanted != self.high:
            self.ready.value, self.high = int(wanted), wanted


@dataclass(slots=True)
class Tally:
    """What the monitor counts over one measured stretch.

    Attributes:
        passes: commands issued.
        stalls: starved cycles of each.
        start, end: cycle of the first wanted beat and of the last accepted result; -1 before.
        blocked: cycles with the clock enable low up to ``end``.
        w_beats, a_beats: beats taken.
    """

    passes: list[Pass] = field(default_factory=list)
    stalls: list[Stalls] = field(default_factory=list)
    start: int = -1
    end: int = -1
    blocked: int = 0
    blocked_now: int = 0
    w_beats: int = 0
    a_beats: int = 0
    loading: int = 0
    streaming: int = 0
    streamed: int = 0

    @property
    def measured_cycles(self) -> int:
        """Cycles from the first wanted beat to the last accepted result."""
        return self.end - self.start + 1


class Harness:
    """One engine with its drivers, monitor and scoreboard."""

    def __init__(self, dut: Any, params: SystolicParams, seed: int) -> None:
        self.dut, self.params = dut, params
        self.rng = random.Random(seed)
        self.numbers = np.random.default_rng(seed)
        self.bins: Counter[str] = Counter()
        self.cmd = Source(self.rng, dut.cmd_valid, dut.cmd_data)
        self.w = Source(self.rng, dut.w_valid, dut.w_data)
        self.a = Source(self.rng, dut.a_valid, dut.a_data)
        self.sink = Sink(self.rng, dut.o_ready)
        self.expected: deque[tuple[int, bool]] = deque()
        self.tally = Tally()
        self.cycle = 0
        self.vectors = 0
        self.busy = False
        dut.rst.value = 1
        Clock(dut.clk, CLOCK_NS, unit="ns").start()

    async def reset(self, cycles: int = 2) -> None:
        """Reset the engine and forget everything under way."""
        self.dut.rst.value = 1
        for source in (self.cmd, self.w, self.a):
            source.idle()
        self.expected.clear()
        self.tally = Tally()
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0
        self.busy = False

    def stall(self, sources: float = 0.0, sink: float = 0.0, commands: float = 0.0) -> None:
        """Set the share of cycles in which each side holds back."""
        self.w.gap = self.a.gap = sources
        self.cmd.gap = commands
        self.sink.stall = sink

    async def step(self) -> int:
        """One clock cycle: drive, let the rising edge pass, look at what happened."""
        held = (self.cmd.drive(), self.w.drive(), self.a.drive())
        self.sink.drive()
        await FallingEdge(self.dut.clk)
        self.cycle += 1
        seen = int(self.dut.seen.value)  # refuses unknown bits
        self.busy = bool(seen & BUSY)
        self._cover_stalls(held, seen)
        self._count(seen)
        self._advance(seen)
        return seen

    def _cover_stalls(self, held: tuple[bool, bool, bool], seen: int) -> None:
        for name, back in zip(("cmd", "w", "a"), held, strict=True):
            if back:
                self.bins[f"stall.source.{name}"] += 1
        if seen & BLOCKED:
            self.bins["stall.sink"] += 1

    def _count(self, seen: int) -> None:
        tally = self.tally
        if tally.start < 0 and seen & (WEIGHT | ACT | STARVED_A | STARVED_W):
            tally.start = self.cycle
        tally.blocked_now += bool(seen & BLOCKED)
        if self.params.dataflow == "ws":
            if seen & STARVED_W:
                self._stalls_of(tally.loading).load += 1
            if seen & STARVED_A:
                self._stalls_of(tally.streaming).stream += 1
        elif seen & (STARVED_A | STARVED_W):
            self._stalls_of(tally.streaming).stream += 1
        if seen & WEIGHT:
            tally.w_beats += 1
            tally.loading = tally.w_beats // self.params.rows
        if seen & ACT:
            self._count_stream(tally)

    def _stalls_of(self, index: int) -> Stalls:
        assert index < len(self.tally.stalls), (
            f"cycle {self.cycle}: operands wanted or taken for a pass nobody asked for"
        )
        return self.tally.stalls[index]

    def _count_stream(self, tally: Tally) -> None:
        tally.a_beats += 1
        tally.streamed += 1
        self._stalls_of(tally.streaming)
        if tally.streamed == tally.passes[tally.streaming].beats(self.params):
            tally.streaming, tally.streamed = tally.streaming + 1, 0

    def _advance(self, seen: int) -> None:
        for flag, source in ((CMD, self.cmd), (WEIGHT, self.w), (ACT, self.a)):
            if seen & flag:
                source.taken()
        if seen & OUT:
            self._score(int(self.dut.o_seen.value), bool(seen & LAST))
            self.tally.end = self.cycle
            self.tally.blocked = self.tally.blocked_now

    def _score(self, word: int, last: bool) -> None:
        assert self.expected, f"cycle {self.cycle}: a result nobody asked for"
        want, want_last = self.expected.popleft()
        assert word == want, f"cycle {self.cycle}: got {self._sums(word)}, want {self._sums(want)}"
        assert last == want_last, f"cycle {self.cycle}: o_last is {last}"
        self.vectors += 1

    def _sums(self, word: int) -> list[int]:
        return unpack(word, self.params.acc_bits, self.params.cols)

    def random_operands(self, m: int, k: int, n: int, corners: float = 0.25) -> tuple[IntArray, IntArray]:
        """Random matrices; a share of the elements are corner values."""
        return self._operand("a", (m, k), self.params.a_bits, corners), self._operand(
            "w", (k, n), self.params.w_bits, corners
        )

    def _operand(self, name: str, shape: tuple[int, int], bits: int, corners: float) -> IntArray:
        low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
        values = self.numbers.integers(low, high + 1, size=shape, dtype=np.int64)
        edge = self.numbers.choice(np.array([low, high, 0, -1], dtype=np.int64), size=shape)
        mixed: IntArray = np.where(self.numbers.random(shape) < corners, edge, values)
        return mixed

    def cover_operands(self, a: IntArray, w: IntArray) -> None:
        """Count corner operands, and wrapped sums."""
        for name, values, bits in (("a", a, self.params.a_bits), ("w", w, self.params.w_bits)):
            low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
            for label, corner in (("min", low), ("max", high), ("zero", 0), ("minus_one", -1)):
                self.bins[f"operand.{name}.{label}"] += int(np.count_nonzero(values == corner))
        a_min, w_min = -(1 << (self.params.a_bits - 1)), -(1 << (self.params.w_bits - 1))
        pairs = (a == a_min).astype(np.int64) @ (w == w_min).astype(np.int64)
        self.bins["operand.product.min_min"] += int(pairs.sum())
        exact = a @ w
        self.bins["wrap.sum"] += int(np.count_nonzero(wrap(exact, self.params.acc_bits) != exact))

    def submit(self, passes: Sequence[Pass], a: IntArray, w: IntArray) -> None:
        """Queue commands, operand beats and expected results of C = A W cut into ``passes``."""
        self.cover_operands(a, w)
        self.bins.update(shape_bins(self.params, a.shape[0], a.shape[1], w.shape[1]))
        for one in passes:
            a_words, w_words = operand_words(self.params, one, a, w)
            self.cmd.words.append(command_word(self.params, one))
            self.a.words.extend(a_words)
            self.w.words.extend(w_words)
            self._cover_flags(one, a.shape[1])
            self.tally.passes.append(one)
            self.tally.stalls.append(Stalls())
        self.expected.extend(result_words(self.params, passes, a, w))

    def _cover_flags(self, one: Pass, k: int) -> None:
        self.bins["flag.accumulate" if one.accumulate else "flag.restart"] += 1
        if not one.store:
            self.bins["flag.keep"] += 1
        elif one.k1 < k:
            self.bins["flag.store_partial"] += 1

    async def finish(self) -> None:
        """Run until every result has arrived and the engine is idle."""
        quiet, limit = 0, QUIET_CYCLES * (self.params.rows + self.params.cols)
        while (self.expected or self.cmd.words or self.busy) and quiet < limit:
            seen = await self.step()
            quiet = 0 if seen & (CMD | WEIGHT | ACT | OUT) else quiet + 1
        assert not self.expected, f"{len(self.expected)} results never came"
        assert not self.busy, "still busy after the last result"
        assert not (self.a.words or self.w.words), "operands were left over"

    def check_cycles(self) -> int:
        """Measured cycles, which must equal the kernel plus counted stalls; starts a new stretch."""
        tally, self.tally = self.tally, Tally()
        model = stalled_cycles(self.params, tally.passes, tally.stalls, tally.blocked)
        if tally.blocked and any(one.load or one.stream for one in tally.stalls):
            self.bins["stall.source_and_sink"] += 1
        assert tally.measured_cycles == model, f"{tally.measured_cycles} cycles measured, {model} in the model"
        return model

    def check_protocol(self) -> None:
        """The bound checker has seen nothing wrong."""
        errors, wraps = int(self.dut.errors.value), int(self.dut.wraps.value)
        assert errors == 0, f"the checker counted {errors} violations"
        self.bins["wrap.checker"] += wraps
