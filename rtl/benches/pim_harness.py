"""Driver, monitor and scoreboard of the PIM bank unit's bench: a small channel, cycle by cycle beside its reference.

In every cycle both command buses show a command, offered or not; what the channel answers must be what the rules of the
device say. Everything is driven and sampled on falling edges, as in the other benches.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from rtl.benches.traffic import pack
from rtl.design import IntArray
from rtl.pim_layout import PimLayout
from rtl.pim_numbers import accumulate, column_sums, preset_value
from rtl.pim_params import PimBankParams
from rtl.pim_stimulus import random_operands
from rtl.pim_timing import PimTiming, Step
from sim.pim.newton import NewtonProgram

CLOCK_NS = 10
PATIENCE_CYCLES = 1000
"""Cycles after which a bench gives up on a command."""
PRESET = -1
"""Where :attr:`Channel.fixed` holds what presets take, beside the slices of the global buffer."""
_TAKES_DATA = ("write", "fill", "preset")
Expected = tuple[int, int]  # bank, word


class Channel:
    """The banks of one channel with their units: model of time, memory, buffers and accumulators."""

    def __init__(self, dut: Any, params: PimBankParams, seed: int) -> None:
        self.dut, self.params, self.layout = dut, params, PimLayout(params)
        self.device = params.bench_spec
        self.timing = PimTiming(self.device)
        self.rng, self.numbers = random.Random(seed), np.random.default_rng(seed)
        self.bins: Counter[str] = Counter()
        self.banks = tuple(range(self.layout.banks))
        self.groups = self._groups()
        self.memory: dict[tuple[int, int], IntArray] = {}
        self.cycle, self.vectors, self.refused = 0, 0, {"col": "", "row": ""}
        self.now = 0
        self.last_event = 0
        self.trace: list[tuple[int, str, str]] = []
        self.driven: dict[str, int] = {}
        self.special = 0.0
        self.fixed: dict[int, IntArray] = {}
        nothing = np.zeros(params.lanes, np.int64)
        self.shown = nothing, nothing
        self.buffer: IntArray = np.zeros((params.columns, params.lanes), np.int64)
        self._forget()
        dut.rst.value = 1
        self._quiet()
        for port in ("col_data", "fill_data"):
            self._drive(port, 0)
        Clock(dut.clk, CLOCK_NS, unit="ns").start()

    def _groups(self) -> list[tuple[int, ...]]:
        """Sets of banks by which units' rows are opened."""
        if not self.layout.composite:
            return [self.banks]
        program = NewtonProgram(self.device)
        return [program.sets[part].banks for part in program.sets[program.units].parts]

    def _forget(self) -> None:
        """What a reset clears."""
        self.timing.clear()
        self.now = self.last_event = 0
        self.sums = [0] * len(self.banks)
        self.results: dict[int, list[Expected]] = defaultdict(list)
        self.reads: dict[int, list[Expected]] = defaultdict(list)
        self.fills: dict[int, int] = {}
        self.writes: dict[int, tuple[IntArray, int, IntArray]] = {}

    def _quiet(self) -> None:
        for port in ("col_valid", "row_valid", "load", "col_word", "row_word"):
            self._drive(port, 0)

    def word(self, elements: IntArray) -> int:
        """A column as it crosses a port."""
        return pack(elements.tolist(), self.params.format.bits)

    def operands(self, shape: tuple[int, ...], special: float = 0.0) -> IntArray:
        """Random operands; see :func:`rtl.pim_stimulus.random_operands`."""
        return random_operands(self.params, self.numbers, shape, special)

    # ------------------------------------------------------------ reset and back door

    async def reset(self, cycles: int = 2) -> None:
        """Reset all units and forget everything under way; cells and global buffers keep what they hold."""
        self.dut.rst.value = 1
        self._quiet()
        self._forget()
        for _ in range(cycles):
            await FallingEdge(self.dut.clk)
        self.dut.rst.value = 0

    async def load(self, rows: Sequence[int], special: float = 0.0) -> None:
        """Fill rows of all banks with random operands through the back door."""
        for row in rows:
            for bank in self.banks:
                await self.load_row(bank, row, self.operands((self.params.columns, self.params.lanes), special))

    async def load_row(self, bank: int, row: int, cells: IntArray) -> None:
        """Put operands (columns, lanes) into a row through the back door."""
        self.memory[bank, row] = cells
        self._drive("load", 1)
        for column, elements in enumerate(cells):
            at = (bank << self.layout.bench_row_bits | row) << self.layout.column_bits | column
            self.dut.load_at.value = at
            self.dut.load_data.value = self.word(elements)
            await FallingEdge(self.dut.clk)
        self._drive("load", 0)

    # ------------------------------------------------------------ one cycle

    def _word(self, step: Step | None, row_bus: bool) -> int:
        layout = self.layout
        if step is None:
            return 0
        names = layout.rows if row_bus else layout.columns
        banks = sum(1 << bank for bank in step.banks)
        if row_bus:
            return (step.row << layout.banks | banks) << layout.row_code | (names.index(step.command) + 1)
        word = (step.column << layout.banks | banks) << layout.col_code | (names.index(step.command) + 1)
        if layout.composite:
            base = layout.col_code + layout.banks + layout.column_bits
            word |= step.columns << base | int(step.keep) << (base + layout.count_bits)
        return word

    async def cycle_of(
        self, col: Step | None = None, row: Step | None = None, col_valid: bool = True, row_valid: bool = True
    ) -> tuple[bool, bool]:
        """One clock with a command on each bus, offered or only shown; returns which of them went."""
        dut, now = self.dut, self.now
        offered = col is not None and col_valid, row is not None and row_valid
        self._drive("col_word", self._word(col, False))
        self._drive("row_word", self._word(row, True))
        self._drive("col_valid", int(offered[0]))
        self._drive("row_valid", int(offered[1]))
        data, fill = self._data(col)
        ready = self._expected_ready(col, row, offered[0], data, fill)
        await FallingEdge(dut.clk)
        seen = int(dut.seen.value)  # refuses unknown bits
        went = tuple(bool(seen >> bit & 1) for bit in (0, 1))
        for name, step, have, want in zip(("col", "row"), (col, row), went, ready, strict=True):
            self._check_ready(name, step, have, want)
        if row is not None and went[1] and offered[1]:
            self._issue(row, data, fill)
        for step, gone, there in zip((col, row), went, offered, strict=True):
            if step is not None and gone and there:
                self.trace.append((now, step.command, "taken"))
        self._check_events(seen, now)
        if now in self.writes:
            cells, column, word = self.writes.pop(now)
            cells[column] = word
        self.cycle, self.now = self.cycle + 1, now + 1
        return went[0] and offered[0], went[1] and offered[1]

    def _expected_ready(
        self, col: Step | None, row: Step | None, offered: bool, data: IntArray, fill: IntArray
    ) -> tuple[bool, bool]:
        """What the rules say; the column bus goes first where both offer a command."""
        col_ready = col is not None and self.timing.ready(col, self.now)
        if col is not None and col_ready and offered:
            self._issue(col, data, fill)
        return col_ready, row is not None and self.timing.ready(row, self.now)

    def _check_ready(self, bus: str, step: Step | None, have: bool, want: bool) -> None:
        if step is None:
            self.refused[bus] = ""
            return
        name, answer = step.command, "ready" if have else "refused"
        assert have == want, f"cycle {self.now}: {name} is {answer}, the rules say otherwise"
        self.bins[f"tight.{name}"] += want and self.refused[bus] == name
        self.refused[bus] = "" if want else name
        if not have:
            self.trace.append((self.now, name, answer))

    # ------------------------------------------------------------ the model

    def _drive(self, port: str, value: int) -> None:
        if self.driven.get(port) != value:
            self.driven[port] = value
            getattr(self.dut, port).value = value

    def _data(self, col: Step | None) -> tuple[IntArray, IntArray]:
        """New words on the two data ports, where something may take them in this cycle."""
        if (col is None or self.timing.role[col.command] not in _TAKES_DATA) and self.now not in self.fills:
            return self.shown
        data, fill = (self.operands((self.params.lanes,), self.special) for _ in range(2))
        if col is not None and self.timing.role[col.command] == "fill":
            fill = self.fixed.get(col.column, fill)
        elif col is not None and self.timing.role[col.command] == "preset":
            fill = self.fixed.get(PRESET, fill)
        elif self.now in self.fills:
            fill = self.fixed.get(self.fills[self.now], fill)
        self._drive("col_data", self.word(data))
        self._drive("fill_data", self.word(fill))
        if self.now in self.fills:
            self.buffer[self.fills[self.now]] = fill
        self.shown = data, fill
        return self.shown

    def _issue(self, step: Step, data: IntArray, fill: IntArray) -> None:
        """The command goes in this cycle: what will be read, what will be summed."""
        self.timing.issue(step, self.now)
        self.bins[f"cmd.{step.command}"] += 1
        self.last_event = max(self.last_event, self.now)
        role = self.timing.role[step.command]
        if role in ("read", "write"):
            self._access(role, step, data)
        elif role == "composite":
            self._composite(step)
        elif role == "fill_all":
            gap = self.layout.fill_step
            self.fills.update({self.now + 1 + k * gap: k for k in range(self.params.columns)})
        elif role == "fill":
            self.buffer[step.column] = fill
            self.fills[self.now] = step.column
        elif role in ("mac", "preset", "result"):
            self._single(role, step, fill)

    def _access(self, role: str, step: Step, data: IntArray) -> None:
        bank = step.banks[0]
        cells = self.memory[bank, self.timing.host_row[bank]]
        if role == "read":
            self.reads[self.now + self.layout.read_cycles].append((bank, self.word(cells[step.column])))
        else:
            self.writes[self.now + self.layout.write_cycles] = (cells, step.column, data)

    def _composite(self, step: Step) -> None:
        part = slice(step.column, step.column + step.columns)
        self.bins["flag.keep" if step.keep else "flag.restart"] += 1
        self.bins["count.short" if step.columns < self.layout.shortest else "count.long"] += 1
        at = self.now + self.timing.hold_cycles(step)
        for bank in step.banks:
            start = self.sums[bank] if step.keep else 0
            self._add(bank, start, part)
            self.results[at].append((bank, self.sums[bank]))

    def _single(self, role: str, step: Step, fill: IntArray) -> None:
        for bank in step.banks:
            if role == "mac":
                self._add(bank, self.sums[bank], slice(step.column, step.column + 1))
            elif role == "preset":
                self.sums[bank] = preset_value(self.params, int(fill[bank % self.params.lanes]))
            else:
                self.results[self.now + self.layout.result_cycles].append((bank, self.sums[bank]))

    def _add(self, bank: int, start: int, part: slice) -> None:
        weights = self.memory[bank, self.timing.unit_row[bank]][part]
        found = column_sums(self.params, weights, self.buffer[part])
        self.sums[bank] = accumulate(self.params, start, found)
        if not self.params.format.is_float:
            exact = start + int(found.sum())
            self.bins["wrap.sum"] += exact != self.sums[bank]
        self._cover(weights, self.buffer[part], self.sums[bank])

    def _cover(self, weights: IntArray, inputs: IntArray, total: int) -> None:
        """Count corner operands and results."""
        if not self.params.format.is_float:
            for label, corner in (("min", -128), ("max", 127), ("zero", 0), ("minus_one", -1)):
                self.bins[f"operand.{label}"] += int(np.count_nonzero(weights == corner))
            self.bins["operand.min_min"] += int(np.count_nonzero((weights == -128) & (inputs == -128)))
            return
        form = self.params.format
        magnitude, top = weights & (1 << form.bits - 1) - 1, ((1 << form.exponent_bits) - 1) << form.mantissa_bits
        kinds_of = {"nan": magnitude > top, "inf": magnitude == top, "zero": magnitude == 0}
        kinds_of["subnormal"] = (magnitude > 0) & (magnitude < 1 << form.mantissa_bits)
        for label, found in kinds_of.items():
            self.bins[f"operand.{label}"] += int(np.count_nonzero(found))
        kinds = {0x7FC00000: "nan", 0x7F800000: "inf", 0xFF800000: "inf", 0: "zero", 0x80000000: "zero"}
        self.bins[f"sum.{kinds.get(total, 'number')}"] += 1

    def _check_events(self, seen: int, now: int) -> None:
        count = len(self.banks)
        take, found, reads = seen >> 3 & 1, seen >> 4 & (1 << count) - 1, seen >> 4 + count
        assert take == (now in self.fills), f"cycle {now}: a slice of the global buffer is taken too early or too late"
        self._check_words("sum", found, self.results.pop(now, []), self.dut.res_seen, self.layout.acc)
        self._check_words("read", reads, self.reads.pop(now, []), self.dut.rd_seen, self.layout.word)

    def _check_words(self, what: str, mask: int, want: list[Expected], port: Any, bits: int) -> None:
        banks = sum(1 << bank for bank, _ in want)
        assert mask == banks, f"cycle {self.now}: {what} of banks {mask:b}, the model has {banks:b}"
        if not want:
            return
        word = int(port.value)
        self.last_event = self.now
        self.trace.append((self.now, what, "there"))
        for bank, value in want:
            have = word >> bank * bits & (1 << bits) - 1
            assert have == value & (1 << bits) - 1, (
                f"cycle {self.now}: {what} of bank {bank} is {have:#x}, want {value & (1 << bits) - 1:#x}"
            )
            self.vectors += 1

    # ------------------------------------------------------------ commands

    async def idle(self, cycles: int) -> None:
        """Clocks without a command."""
        for _ in range(cycles):
            assert await self.cycle_of() == (False, False), "something went that nobody offered"

    async def send(self, step: Step) -> int:
        """Offer a command until it goes; returns the clock in which it went."""
        on_row = step.command in self.timing.row_commands
        for _ in range(PATIENCE_CYCLES):
            went = await (self.cycle_of(row=step) if on_row else self.cycle_of(col=step))
            if any(went):
                return self.now - 1
        raise AssertionError(f"cycle {self.now}: {step.command} never goes")

    async def bring(self, step: Step) -> None:
        """Send what ``step`` needs: rows opened, others closed, the mode."""
        while (needed := self.timing.missing(step, self.groups)) is not None:
            await self.send(needed)

    async def do(self, step: Step) -> int:
        """Send a command with all that it needs."""
        await self.bring(step)
        return await self.send(step)

    async def settle(self) -> None:
        """Let everything under way come to its end."""
        while self.results or self.reads or self.now <= max([self.timing.free, *self.fills]):
            await self.idle(1)

    async def play(self, steps: Sequence[Step]) -> int:
        """Play a schedule: each command is shown as early as its bus allows, and offered at its own clock.

        Returns:
            Clocks until the last result is there, from clock 0.
        """
        queues = {
            bus: deque(s for s in steps if (s.command in self.timing.row_commands) == bus) for bus in (False, True)
        }
        while queues[False] or queues[True]:
            col, row = (queue[0] if queue else None for queue in (queues[False], queues[True]))
            due = [step is not None and step.clock == self.now for step in (col, row)]
            went = await self.cycle_of(col, row, *due)
            for queue, one, wanted in zip((queues[False], queues[True]), went, due, strict=True):
                assert one == wanted, f"cycle {self.now - 1}: {queue[0].command} does not go at the model's clock"
                if one:
                    queue.popleft()
        last = steps[-1]
        while self.results or self.reads:
            await self.idle(1)
        return max(self.last_event, last.clock + self.timing.hold_cycles(last))

    def check(self) -> None:
        """The checker and the banks have seen nothing wrong."""
        errors, violations = int(self.dut.errors.value), int(self.dut.violations.value)
        assert errors == 0, f"the checker counted {errors} violations"
        assert violations == 0, f"the banks counted {violations} commands too early or to a wrong row"
