"""Widths, codes and conditions that the Verilog templates of the PIM bank unit fill in."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from models.pim import PimDevice
from rtl.pim_params import PimBankParams
from rtl.pim_roles import (
    NEEDS_MEMORY,
    NEEDS_REGISTERS,
    WAITS,
    Spacing,
    Timer,
    bus_commands,
    has_two_buffers,
    roles,
    timers,
    windows,
)

#: Parts that other modules of the unit hear of.
_STROBED = ("read", "write", "composite", "mac", "fill_all", "fill", "preset", "result", "open_host", "open_unit")


@dataclass(frozen=True, slots=True)
class TreeLevel:
    """A level of the adder tree.

    Attributes:
        number: from 1, the level next to the products.
        nodes: additions.
        bits: width of their sums.
        below: prefix of what they add.
    """

    number: int
    nodes: int
    bits: int
    below: str

    def source(self, index: int) -> str:
        """Net that holds the operand ``index`` of the level."""
        return f"{self.below}{index}"


def level_sizes(device: PimDevice) -> tuple[int, ...]:
    """Banks of a node of each level of :data:`models.pim.LEVELS`."""
    org = device.organisation
    ranks = org.bank_groups * org.banks_per_group
    return org.banks, org.ranks * ranks, ranks, org.banks_per_group, 1


@dataclass(frozen=True)
class PimLayout:
    """What the templates ask for; each name is used there.

    Attributes:
        params: the unit.
    """

    params: PimBankParams

    @property
    def name(self) -> str:
        """Prefix of all module names."""
        return self.params.name

    @property
    def summary(self) -> str:
        """The parameters in one line."""
        return self.params.summary

    @cached_property
    def device(self) -> PimDevice:
        """The device of the parameters."""
        return self.params.spec

    def clocks(self, expression: str) -> int:
        """Value of a sum of timing names."""
        return self.device.clocks(expression)

    @staticmethod
    def bits_of(value: int) -> int:
        """Width of a counter up to ``value``."""
        return max(1, value.bit_length())

    # ------------------------------------------------------------ operands

    @property
    def is_float(self) -> bool:
        """Whether sums are fp32."""
        return self.params.format.is_float

    @property
    def exponent(self) -> int:
        """Exponent bits of an operand."""
        return self.params.format.exponent_bits

    @property
    def mantissa(self) -> int:
        """Mantissa bits of an operand."""
        return self.params.format.mantissa_bits

    @property
    def bias(self) -> int:
        """Exponent bias of an operand."""
        return self.params.format.bias

    @property
    def subnormals(self) -> bool:
        """Whether operands below the normal range keep their value."""
        return self.params.format.subnormals

    @property
    def element(self) -> int:
        """Operand width."""
        return self.params.format.bits

    @property
    def element_shift(self) -> int:
        """Binary logarithm of the operand width."""
        return self.element.bit_length() - 1

    @property
    def word(self) -> int:
        """Width of a column."""
        return self.params.word_bits

    @property
    def product(self) -> int:
        """Width of a product."""
        return 32 if self.is_float else 2 * self.element

    @property
    def acc(self) -> int:
        """Width of the accumulator."""
        return self.params.acc_bits

    @cached_property
    def levels(self) -> tuple[TreeLevel, ...]:
        """Levels of the adder tree, the products' first."""
        names = ["p", *(f"{'r' if self.params.tree_pipe else 's'}{n}_" for n in range(1, self.params.tree_levels + 1))]
        grows = 0 if self.is_float else 1
        return tuple(
            TreeLevel(n, self.params.lanes >> n, self.product + n * grows, names[n - 1])
            for n in range(1, self.params.tree_levels + 1)
        )

    @property
    def tree_out(self) -> str:
        """Net of the tree's sum."""
        return f"{'r' if self.params.tree_pipe else 's'}{self.params.tree_levels}_0"

    @property
    def multipliers(self) -> int:
        """Instances of the multiplier; fp16 turns presets to fp32 with one more."""
        return self.params.lanes + int(self.has_preset and self.params.dtype == "fp16")

    # ------------------------------------------------------------ addresses and counts

    @property
    def row_bits(self) -> int:
        """Width of a row address."""
        return self.bits_of(self.params.rows - 1)

    @property
    def column_bits(self) -> int:
        """Width of a column address."""
        return self.bits_of(self.params.columns - 1)

    @property
    def count_bits(self) -> int:
        """Width of a count of columns."""
        return self.bits_of(max(self.params.columns, self.shortest + 1))

    @property
    def slice_bits(self) -> int:
        """Width of an address in the global buffer."""
        return self.bits_of(self.params.buffer_slices - 1)

    @property
    def slice_count_bits(self) -> int:
        """Width of a count of slices."""
        return self.bits_of(self.params.columns)

    @property
    def slot_bits(self) -> int:
        """Width of the index of an element in a burst."""
        return self.params.tree_levels

    # ------------------------------------------------------------ commands

    @property
    def composite(self) -> bool:
        """Whether one command multiplies many columns (Newton, NeuPIMs)."""
        return self.device.program == "newton"

    @property
    def has_preset(self) -> bool:
        """Whether a command sets the accumulators."""
        return "preset" in roles(self.device).values()

    @property
    def has_mode(self) -> bool:
        """Whether registers answer in a mode of their own."""
        return "mode" in roles(self.device).values()

    @property
    def dual(self) -> bool:
        """Whether units have a row buffer of their own."""
        return has_two_buffers(self.device)

    @property
    def columns(self) -> tuple[str, ...]:
        """Commands of the column bus, in the order of their codes."""
        return bus_commands(self.device, "column")

    @property
    def rows(self) -> tuple[str, ...]:
        """Commands of the row bus, in the order of their codes."""
        return bus_commands(self.device, "row")

    @property
    def col_code(self) -> int:
        """Width of a command of the column bus."""
        return self.bits_of(len(self.columns))

    @property
    def row_code(self) -> int:
        """Width of a command of the row bus."""
        return self.bits_of(len(self.rows))

    @property
    def strobes(self) -> tuple[tuple[str, str], ...]:
        """Commands that other modules hear of, with their part."""
        return tuple((name, role) for name, role in roles(self.device).items() if role in _STROBED)

    def command(self, role: str) -> str:
        """Command of a part."""
        return next(name for name, found in roles(self.device).items() if found == role)

    def code(self, role: str) -> int:
        """Code of the command of a part."""
        name = self.command(role)
        return (self.columns if name in self.columns else self.rows).index(name) + 1

    def bus_of(self, command: str) -> str:
        """Prefix of a command's bus."""
        return "row" if command in self.rows else "col"

    def here(self, command: str) -> str:
        """Net that says that a command of that bus goes to this bank."""
        return f"{self.bus_of(command)}_here"

    def any(self, bus: str, wanted: tuple[str, ...]) -> str:
        """Condition that the command of a bus plays one of some parts."""
        names = [name for name, role in roles(self.device).items() if role in wanted]
        return " || ".join(f"{bus}_cmd == {name}" for name in names)

    # ------------------------------------------------------------ timing

    @cached_property
    def timers(self) -> tuple[Timer, ...]:
        """Countdowns of the arbiter."""
        return timers(self.device)

    @cached_property
    def windows(self) -> tuple[Spacing, ...]:
        """Activation windows."""
        return windows(self.device)

    @staticmethod
    def causes(timer: Timer) -> str:
        """What loads a timer, in words."""
        return ", ".join(dict.fromkeys(load[0] for load in timer.row + timer.column))

    @property
    def step(self) -> int:
        """Clocks between columns of a composite command."""
        return self.clocks("tCCD_L")

    @property
    def step_bits(self) -> int:
        """Width of the countdown between columns."""
        return self.bits_of(self.step - 1)

    @property
    def shortest(self) -> int:
        """Columns that a composite command takes time for at least."""
        return self.device.options.get("composite_min", 0)

    @property
    def done(self) -> int:
        """Clocks from the end of a composite command to its sum."""
        return self.clocks("tCL + tBURST + 1")

    @property
    def fill_step(self) -> int:
        """Clocks between slices of the global buffer."""
        return self.clocks("tCCD_S + tCCD_L")

    @property
    def fill_step_bits(self) -> int:
        """Width of the countdown between slices."""
        return self.bits_of(self.fill_step - 1)

    @property
    def fill_cycles(self) -> int:
        """Clocks that filling the global buffer takes."""
        return self.params.columns * self.fill_step

    @property
    def busy_bits(self) -> int:
        """Width of the countdown of composite commands and fills."""
        longest = (max(self.params.columns, self.shortest) + 1) * self.step + self.done
        return max(self.bits_of(max(longest, self.fill_cycles)), self.count_bits + 1)

    @property
    def result_cycles(self) -> int:
        """Clocks from the command that reads a sum to the sum."""
        return self.clocks(self.device.commands[self.command("result")].done_ck)

    @property
    def read_cycles(self) -> int:
        """Clocks from a read to its data."""
        return self.clocks(self.device.commands["RD"].done_ck)

    @property
    def write_cycles(self) -> int:
        """Clocks from a write to its end."""
        return self.clocks(self.device.commands["WR"].done_ck)

    @property
    def mac_delay(self) -> str:
        """Timing name of the wait between the unit's activation and its first column."""
        return "tRCDRD" if self.composite else "tRCDRD_MAC"

    def condition(self, command: str) -> str:
        """What else must hold before a command may go, as ``&& ...`` terms."""
        terms = [f"wait_{one.command} == {one.bits}'d0" for one in self.timers if one.command == command]
        terms += [
            f"recent_{one.before}_{one.window - 1} == {self.bits_of(one.delay_cycles)}'d0"
            for one in self.windows
            if one.after == command
        ]
        terms += self._state_terms(roles(self.device)[command])
        if command in self.rows:
            terms += self._clash_terms(command)
        return "".join(f" && {term}" for term in terms)

    def _state_terms(self, role: str) -> list[str]:
        terms = ["!busy"] if self.composite and role in WAITS else []
        if self.has_mode and role in NEEDS_REGISTERS:
            terms.append("registers")
        if self.has_mode and role in NEEDS_MEMORY:
            terms.append("!registers")
        rows = {"read": "host_open", "write": "host_open", "composite": "unit_open", "mac": "unit_open"}
        rows |= {"open_host": "host_may_open", "open_unit": "unit_may_open", "refresh": "!host_open && !unit_open"}
        if not self.dual:  # nobody closes the other's row
            rows |= {"close_host": "!unit_open", "close_unit": "!host_open"}
        return terms + ([rows[role]] if role in rows else [])

    def _clash_terms(self, command: str) -> list[str]:
        """A command of the column bus in the same cycle goes first: what it delays must wait."""
        terms = [f"col_{one.command} == {one.bits}'d0" for one in self.timers if one.command == command and one.column]
        if self.composite and roles(self.device)[command] in WAITS:
            terms.append("!composite && !fill_all")
        return terms

    # ------------------------------------------------------------ the bench's channel

    @cached_property
    def bench(self) -> PimDevice:
        """The bench's small channel."""
        return self.params.bench_spec

    @property
    def banks(self) -> int:
        """Banks of the bench's channel."""
        return self.bench.organisation.banks

    @property
    def bank_bits(self) -> int:
        """Width of a bank number of the bench's channel."""
        return self.bits_of(self.banks - 1)

    @property
    def bench_rows(self) -> int:
        """Rows of a bank of the bench's channel."""
        return self.bench.organisation.rows

    @property
    def bench_row_bits(self) -> int:
        """Width of a row number of the bench's channel."""
        return self.bits_of(self.bench_rows - 1)

    @property
    def col_word(self) -> int:
        """Width of a command word of the column bus: command, banks, column, and for composites count and keep."""
        return self.col_code + self.banks + self.column_bits + (self.count_bits + 1 if self.composite else 0)

    @property
    def row_word(self) -> int:
        """Width of a command word of the row bus: command, banks, row."""
        return self.row_code + self.banks + self.row_bits

    def touch(self, banks: str, level: int) -> str:
        """Whether a set of banks reaches bank b's node of a level."""
        size = level_sizes(self.bench)[level]
        return f"{banks}[(b/{size})*{size}+{size - 1}:(b/{size})*{size}] != {size}'d0"
