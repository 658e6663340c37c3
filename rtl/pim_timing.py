"""When may a command go? The rules of a PIM device replayed in plain Python: the reference of the arbiter.

It knows nothing of countdowns or of what a unit sees: it keeps the times of past commands in every node of the
hierarchy and applies the device's rules to them, as a judge of finished schedules would.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

from models.pim import PimDevice
from rtl.pim_layout import level_sizes
from rtl.pim_roles import NEEDS_MEMORY, NEEDS_REGISTERS, WAITS, Spacing, bus_commands, has_two_buffers, roles, spacings
from sim.pim.newton import NewtonProgram

CLOSED = -1
_LONGEST_WINDOW = 8


@dataclass(frozen=True, slots=True)
class Step:
    """One command of the channel.

    Attributes:
        command: name.
        banks: that it is meant for.
        row: that it opens.
        column: first column, or slice of the global buffer.
        columns: of a composite command.
        keep: go on from the accumulator's value.
        clock: when it goes, where that is known.
    """

    command: str
    banks: tuple[int, ...]
    row: int = 0
    column: int = 0
    columns: int = 1
    keep: bool = False
    clock: int = 0


class PimTiming:
    """State of a channel: past commands, open rows, mode."""

    def __init__(self, device: PimDevice) -> None:
        self.device = device
        self.role = dict(roles(device))
        self.row_commands = set(bus_commands(device, "row"))
        self.two_buffers = has_two_buffers(device)
        self.sizes = level_sizes(device)
        self.rules: dict[str, list[Spacing]] = defaultdict(list)
        for one in spacings(device):
            self.rules[one.after].append(one)
        if device.program == "newton":
            self.program = NewtonProgram(device)
        self.clear()

    def clear(self) -> None:
        """The state after a reset."""
        self.past: dict[tuple[str, int, int], deque[int]] = {}
        self.host_row = [CLOSED] * self.sizes[0]
        self.unit_row = [CLOSED] * self.sizes[0]
        self.registers = False
        self.free = 0

    def after(self, step: Step) -> PimTiming:
        """The rows and the mode after a command, on their own; only :meth:`stands` may be asked of it."""
        other = PimTiming.__new__(PimTiming)
        other.__dict__.update(self.__dict__)
        other.host_row, other.unit_row = list(self.host_row), list(self.unit_row)
        other.move(step)
        return other

    def _nodes(self, banks: Sequence[int], level: int) -> set[int]:
        return {bank // self.sizes[level] for bank in banks}

    def earliest(self, step: Step) -> int:
        """First clock at which every rule allows the command."""
        times = [self.free] if self.role[step.command] in WAITS else [0]
        for rule in self.rules[step.command]:
            for node in self._nodes(step.banks, rule.level):
                past = self.past.get((rule.before, rule.level, node), ())
                if len(past) >= rule.window:
                    times.append(past[-rule.window] + rule.delay_cycles)
        return max(times)

    def stands(self, step: Step) -> bool:
        """Whether rows and mode are as the command needs them."""
        role = self.role[step.command]
        if (role in NEEDS_REGISTERS and not self.registers) or (role in NEEDS_MEMORY and self.registers):
            return False
        return all(self._bank_stands(role, bank, step.row) for bank in step.banks)

    def _bank_stands(self, role: str, bank: int, row: int) -> bool:
        host, unit = self.host_row[bank], self.unit_row[bank]
        if role in ("read", "write"):
            return host != CLOSED
        if role in ("composite", "mac"):
            return unit != CLOSED
        if role in ("open_host", "open_unit"):
            own, other = (host, unit) if role == "open_host" else (unit, host)
            return own == CLOSED and (other != row if self.two_buffers else other == CLOSED)
        if role == "refresh":
            return host == unit == CLOSED
        if role in ("close_host", "close_unit") and not self.two_buffers:
            return (unit if role == "close_host" else host) == CLOSED
        return True

    def ready(self, step: Step, now: int) -> bool:
        """Whether the command may go at clock ``now``."""
        return self.stands(step) and self.earliest(step) <= now

    def issue(self, step: Step, now: int) -> None:
        """The command goes at clock ``now``."""
        for level in range(len(self.sizes)):
            for node in self._nodes(step.banks, level):
                key = (step.command, level, node)
                self.past.setdefault(key, deque(maxlen=_LONGEST_WINDOW)).append(now)
        self.free = max(self.free, now + self.hold_cycles(step))
        self.move(step)

    def move(self, step: Step) -> None:
        """What the command does to rows and mode."""
        role = self.role[step.command]
        self.registers ^= role == "mode"
        for bank in step.banks:
            self._move_rows(role, bank, step.row)

    def _move_rows(self, role: str, bank: int, row: int) -> None:
        if role == "open_host":
            self.host_row[bank] = row
        elif role == "open_unit":
            self.unit_row[bank] = row
        if role in ("close_host", "close_all"):
            self.host_row[bank] = CLOSED
        if role in ("close_unit", "close_all"):
            self.unit_row[bank] = CLOSED

    def hold_cycles(self, step: Step) -> int:
        """Clocks that the units are busy with a command of many columns."""
        role = self.role[step.command]
        if role not in ("composite", "fill_all"):
            return 0
        return self.program.write_ck if role == "fill_all" else self.program.composite_ck(step.columns)

    def missing(self, step: Step, groups: Sequence[tuple[int, ...]]) -> Step | None:
        """A command that brings ``step`` nearer to standing, or None where it stands already.

        Args:
            step: what is wanted.
            groups: sets of banks by which units' rows are opened.
        """
        role, everything = self.role[step.command], tuple(range(self.sizes[0]))
        if self.stands(step):
            return None
        if (role in NEEDS_REGISTERS) != self.registers and "mode" in self.role.values():
            return Step(self._named("mode"), everything)
        if role in ("read", "write") and all(self.host_row[b] == self.unit_row[b] == CLOSED for b in step.banks):
            return Step(self._named("open_host"), step.banks, step.row)
        if role in ("read", "write") and self.two_buffers:
            return Step(self._named("open_host"), step.banks, step.row)
        if role in ("composite", "mac") and (self.two_buffers or max(self.host_row) == CLOSED):
            closed = next(group for group in groups if self.unit_row[group[0]] == CLOSED)
            taken = {self.host_row[bank] for bank in closed}
            row = next(row for row in (step.row, *range(len(taken) + 1)) if row not in taken)
            return Step(self._named("open_unit"), closed, row)
        return Step(self._named("close_all"), everything)

    def _named(self, role: str) -> str:
        return next(name for name, found in self.role.items() if found == role)
