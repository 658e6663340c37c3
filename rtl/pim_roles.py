"""What the unit understands of a device's commands: their part in it, their codes, and the timers that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from models.pim import LEVELS, PimDevice

#: Command to its part in the unit, by program; the order gives the codes on each bus, from 1 on.
ROLES: Mapping[str, Mapping[str, str]] = {
    "newton": {
        "RD": "read",
        "WR": "write",
        "COMPS": "composite",
        "GWRITE": "fill_all",
        "HEADER": "announce",
        "ACT": "open_host",
        "PRE": "close_host",
        "PREA": "close_all",
        "REF": "refresh",
        "GACT": "open_unit",
        "PPRE": "close_unit",
    },
    "aim": {
        "RD": "read",
        "WR": "write",
        "MACAB": "mac",
        "WRGB": "fill",
        "WRBIAS": "preset",
        "RDMAC": "result",
        "TMOD": "mode",
        "ACT": "open_host",
        "PRE": "close_host",
        "PREA": "close_all",
        "REF": "refresh",
        "ACTAB": "open_unit",
    },
}
#: Parts that wait until a composite command or the filling of the global buffer is over.
WAITS = ("composite", "fill_all", "announce", "open_unit", "close_unit", "close_all", "refresh")
#: Parts that wait for the register mode, and those that need the memory mode.
NEEDS_REGISTERS = ("fill", "preset", "result")
NEEDS_MEMORY = ("read", "write", "mac")


def roles(device: PimDevice) -> Mapping[str, str]:
    """Command to its part, in the order of the codes."""
    return ROLES[device.program]


def bus_commands(device: PimDevice, bus: str) -> tuple[str, ...]:
    """Commands of one bus, ``column`` or ``row``, in the order of their codes (1, 2 ...)."""
    return tuple(name for name in roles(device) if device.commands[name].bus == bus)


def has_two_buffers(device: PimDevice) -> bool:
    """Whether the units have a row buffer of their own."""
    return device.organisation.row_buffers == 2


@dataclass(frozen=True, slots=True)
class Spacing:
    """After ``before`` in the same node of ``level``, ``after`` waits.

    Attributes:
        before, after: commands.
        level: index into :data:`models.pim.LEVELS`.
        delay_cycles: clocks.
        window: counts from the command that many times before.
    """

    before: str
    after: str
    level: int
    delay_cycles: int
    window: int = 1

    @property
    def bin(self) -> str:
        """Coverage bin of the rule."""
        return f"{'rule' if self.window == 1 else 'window'}.{self.before}.{self.after}.{LEVELS[self.level]}"


def _unsaid(device: PimDevice, said: Sequence[Spacing]) -> list[Spacing]:
    """Spacings of tRC and tRP between the host's and the units' rows of one bank, where no rule covers the pair."""
    named = {role: name for name, role in roles(device).items()}
    pairs = [("open_host", "open_unit", "tRC"), ("open_unit", "open_host", "tRC")]
    pairs += [("close_host", "open_unit", "tRP"), ("close_unit", "open_host", "tRP")]
    return [
        Spacing(named[before], named[after], len(LEVELS) - 1, device.clocks(clocks))
        for before, after, clocks in pairs
        if before in named
        and not any(
            (one.before, one.after, one.level) == (named[before], named[after], len(LEVELS) - 1) for one in said
        )
    ]


def spacings(device: PimDevice) -> tuple[Spacing, ...]:
    """The device's rules between commands that the unit understands, one pair each; those of no delay left out.

    A bank with one row buffer also keeps tRC and tRP between host and units where the device's file says nothing,
    because its programs never open a row for one right after the other.
    """
    known = roles(device)
    found = [
        Spacing(before, after, LEVELS.index(rule.level), device.clocks(rule.delay_ck), rule.window)
        for rule in device.rules
        for before in rule.before
        for after in rule.after
        if before in known and after in known
    ]
    found += [
        Spacing(before, after, 0, device.commands[before].slots_ck)
        for before in known
        for after in known
        if device.commands[before].slots_ck > 1 and device.commands[before].bus == device.commands[after].bus
    ]
    if not has_two_buffers(device):
        found += _unsaid(device, found)
    return tuple(dict.fromkeys(one for one in found if one.delay_cycles > 0))


def binding(device: PimDevice) -> tuple[Spacing, ...]:
    """Rules that alone can hold a command back; the others always meet a longer wait.

    A composite command keeps its units busy for longer than its rules ask; with one row buffer host and units can't
    use a bank one right after the other, because its row has to be exchanged. A window binds where it is longer than
    what a bank takes to open again.
    """
    part, two = roles(device), has_two_buffers(device)

    def binds(one: Spacing) -> bool:
        before, after = part[one.before], part[one.after]
        if one.window > 1:
            return one.delay_cycles > device.clocks("tRC") + (one.window - 1) * device.clocks("tRRD_L")
        if "composite" in (before, after) and not two and {before, after} & {"read", "write"}:
            return False
        if before == "composite" and after in WAITS:
            return False
        if (before, after, one.level) == ("open_host", "open_unit", 3):  # the bench's bank groups are opened whole
            return two and one.delay_cycles >= device.clocks("tRC_PIM")
        return True

    found = spacings(device)
    return tuple(one for one in found if binds(one) and not _covered(one, found))


@dataclass(frozen=True, slots=True)
class Timer:
    """The countdown that holds one command back.

    Attributes:
        command: which.
        row, column: what loads it, as (command seen on that bus, level, clocks), longest first.
        bits: width.
    """

    command: str
    row: tuple[tuple[str, int, int], ...]
    column: tuple[tuple[str, int, int], ...]
    bits: int


def _loads(device: PimDevice, after: str, bus: str) -> tuple[tuple[str, int, int], ...]:
    """Loads of a timer from one bus, less those of a narrow level that a wider one makes idle."""
    rules = [one for one in spacings(device) if one.after == after and one.window == 1]
    rules = [one for one in rules if device.commands[one.before].bus == bus]
    needed = [(one.before, one.level, one.delay_cycles) for one in rules if not _covered(one, rules)]
    return tuple(sorted(needed, key=lambda load: -load[2]))


def _covered(one: Spacing, rules: Sequence[Spacing]) -> bool:
    """Whether another rule of the pair holds at least as long in a node that contains this one's."""
    return any(
        (other.before, other.after, other.window) == (one.before, one.after, one.window)
        and (other.level < one.level or (other.level == one.level and other.delay_cycles > one.delay_cycles))
        and other.delay_cycles >= one.delay_cycles
        for other in rules
    )


def timers(device: PimDevice) -> tuple[Timer, ...]:
    """A timer for each command that anything delays."""
    found = []
    for name in roles(device):
        row, column = _loads(device, name, "row"), _loads(device, name, "column")
        if row or column:
            found.append(Timer(name, row, column, max(load[2] for load in row + column).bit_length()))
    return tuple(found)


def windows(device: PimDevice) -> tuple[Spacing, ...]:
    """Rules that count over several commands of one kind (activation windows)."""
    return tuple(one for one in spacings(device) if one.window > 1)
