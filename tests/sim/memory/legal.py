"""An independent reading of the timing rules: checks a log of commands pair by pair, in clocks, from the data sheet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from models.dram.spec import DramSpec
from sim.memory.channel import Command

COLUMNS = ("RD", "WR")


def length_ck(spec: DramSpec, name: str) -> float:
    """Clocks that a command takes on its bus."""
    bus = spec.command_bus
    if name in COLUMNS:
        return bus.RD_WR_ck
    return bus.ACT_ck if name == "ACT" else bus.PRE_ck


def end_ck(spec: DramSpec, command: Command) -> float:
    """Last clock edge of a command, from which JEDEC's parameters count."""
    return command.clock_ck + length_ck(spec, command.name)


def least_distance_ck(spec: DramSpec, first: Command, then: Command) -> int:
    """Clocks that the rules demand between the ends of two commands, 0 without a rule."""
    o, t = spec.organisation, spec.timing
    pc, other_pc = first.bank // o.banks, then.bank // o.banks
    if pc != other_pc:
        return 0
    bank = first.bank == then.bank
    group = first.bank // o.banks_per_group == then.bank // o.banks_per_group
    write_end = t.tCWL + t.tBURST
    rules = {
        ("ACT", "ACT"): t.tRC if bank else t.tRRD_L if group else t.tRRD_S,
        ("ACT", "RD"): t.tRCDRD if bank else 0,
        ("ACT", "WR"): t.tRCDWR if bank else 0,
        ("ACT", "PRE"): t.tRAS if bank else 0,
        ("ACT", "PREA"): t.tRAS,
        ("ACT", "REF"): t.tRC,
        ("PRE", "ACT"): t.tRP if bank else 0,
        ("PREA", "ACT"): t.tRPab or t.tRP,
        ("PRE", "PRE"): t.tPPD,
        ("PRE", "PREA"): t.tPPD,
        ("PREA", "PRE"): t.tPPD,
        ("PREA", "PREA"): t.tPPD,
        ("PRE", "REF"): t.tRP,
        ("PREA", "REF"): t.tRP,
        ("REF", "ACT"): t.tRFC,
        ("REF", "REF"): t.tRFC,
        ("REFpb", "ACT"): t.tRFCpb if bank else t.tRREFD,
        ("RD", "RD"): max(t.tBURST, t.tCCD_L if group else t.tCCD_S),
        ("WR", "WR"): max(t.tBURST, (t.tCCD_L_WR or t.tCCD_L) if group else (t.tCCD_S_WR or t.tCCD_S)),
        ("RD", "WR"): t.tRTW,
        ("WR", "RD"): t.tCWL + (t.tBURST_max or t.tBURST) + t.tWTR_L if group else write_end + t.tWTR_S,
        ("RD", "PRE"): t.tRTP if bank else 0,
        ("RD", "PREA"): t.tRTP,
        ("WR", "PRE"): write_end + t.tWR if bank else 0,
        ("WR", "PREA"): write_end + t.tWR,
    }
    return rules.get((first.name, then.name), 0)


def violations(spec: DramSpec, log: Sequence[Command]) -> list[str]:
    """Every broken rule of a log: distances, the activation windows, the command buses, the state of the banks."""
    found = [
        f"{first} -> {then}"
        for n, then in enumerate(log)
        for first in log[max(0, n - 60) : n]
        if (rule := least_distance_ck(spec, first, then)) and end_ck(spec, then) - end_ck(spec, first) < rule
    ]
    return found + _windows(spec, log) + _buses(spec, log) + _states(spec, log)


def _windows(spec: DramSpec, log: Sequence[Command]) -> list[str]:
    found = []
    for pc in range(spec.organisation.pseudo_channels):
        acts = [c.clock_ck for c in log if c.name == "ACT" and c.bank // spec.organisation.banks == pc]
        for count, window in ((4, spec.timing.tFAW), (32, spec.timing.t32AW)):
            found += [f"{count} ACT before {b}" for a, b in zip(acts, acts[count:], strict=False) if b - a < window]
    return found


def _buses(spec: DramSpec, log: Sequence[Command]) -> list[str]:
    separate = spec.command_bus.row_and_column_separate
    buses = [[c for c in log if c.name in COLUMNS], [c for c in log if c.name not in COLUMNS]] if separate else [log]
    pairs = [pair for bus in buses for pair in pairwise(bus)]
    return [f"bus: {a} {b}" for a, b in pairs if b.clock_ck - a.clock_ck < length_ck(spec, a.name)]


def _states(spec: DramSpec, log: Sequence[Command]) -> list[str]:
    """ACT only of closed banks, column commands and (from one bank) PRE only of open ones, REF when all are closed."""
    o = spec.organisation
    is_open = [False] * (o.banks * o.pseudo_channels)
    found = []
    for command in log:
        b = command.bank
        pc = slice(b // o.banks * o.banks, (b // o.banks + 1) * o.banks)
        wanted = {"ACT": False, "REFpb": False, "RD": True, "WR": True, "PRE": True}
        if command.name in wanted and is_open[b] != wanted[command.name]:
            found.append(f"state: {command}")
        if command.name == "REF" and any(is_open[pc]):
            found.append(f"state: {command}")
        if command.name == "PREA":
            is_open[pc] = [False] * o.banks
        elif command.name in ("ACT", "PRE"):
            is_open[b] = command.name == "ACT"
    return found
