"""An independent judge of command logs: every rule, bus, window and row, in plain Python from the device's file."""

from __future__ import annotations

from collections import defaultdict

from models.pim import LEVELS, PimDevice
from sim.pim.channel import ChannelRun
from sim.pim.program import Program


def nodes_of(device: PimDevice, banks: tuple[int, ...], level: str) -> set[int]:
    """Nodes of a level that hold some of the banks."""
    org = device.organisation
    sizes = dict(zip(LEVELS, (org.banks, org.banks // org.pseudo_channels,
                              org.bank_groups * org.banks_per_group, org.banks_per_group, 1), strict=True))  # fmt: skip
    return {bank // sizes[level] for bank in banks}


def complaints(program: Program, run: ChannelRun) -> list[str]:
    """What a log breaks; empty for a legal one."""
    device, names = program.device, list(program.device.commands)
    seen: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    rows: dict[tuple[int, int], bool] = {}
    bus: dict[str, int] = defaultdict(lambda: -(10**9))
    found = []
    for clock, index, bank_set in run.log.tolist():
        name, banks = names[index], program.sets[bank_set].banks
        command = device.commands[name]
        found += spacing(device, seen, name, banks, clock)
        if clock < bus[command.bus]:
            found.append(f"{clock} {name}: the {command.bus} bus is busy until {bus[command.bus]}")
        bus[command.bus] = clock + command.slots_ck
        found += follow_rows(device, rows, name, banks, clock)
        for level in LEVELS:
            for node in nodes_of(device, banks, level):
                seen[name, level, node].append(clock)
    return found


def spacing(
    device: PimDevice, seen: dict[tuple[str, str, int], list[int]], name: str, banks: tuple[int, ...], clock: int
) -> list[str]:
    found = []
    for rule in device.rules:
        if name not in rule.after:
            continue
        delay = device.clocks(rule.delay_ck)
        for node in nodes_of(device, banks, rule.level):
            for before in rule.before:
                times = seen[before, rule.level, node]
                if len(times) >= rule.window and clock < times[-rule.window] + delay:
                    found.append(f"{clock} {name}: {before} at {times[-rule.window]} asks for {delay}")
    return found


def follow_rows(
    device: PimDevice, rows: dict[tuple[int, int], bool], name: str, banks: tuple[int, ...], clock: int
) -> list[str]:
    """Columns need open rows, activations closed ones, a refresh all closed."""
    command, found = device.commands[name], []
    if command.kind == "column" and not all(rows.get((command.buffer, bank)) for bank in banks):
        found.append(f"{clock} {name}: a row is closed")
    if command.kind == "activate" and any(rows.get((command.buffer, bank)) for bank in banks):
        found.append(f"{clock} {name}: a row is open")
    if command.kind == "refresh" and any(rows.values()):
        found.append(f"{clock} {name}: a row is open")
    if command.kind in ("activate", "precharge"):
        buffers = range(2) if name == device.refresh[0] else (command.buffer,)
        for buffer in buffers:
            rows |= {(buffer, bank): command.kind == "activate" for bank in banks}
    return found
