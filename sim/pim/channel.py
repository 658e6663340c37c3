"""Runs a program on one channel: tables for the scheduler, and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.pim import LEVELS, PimDevice
from sim.pim.fields import (
    COMMAND_FIELDS,
    COUNT,
    FITS,
    LEVEL_COUNT,
    LEVEL_MASK,
    LIMIT_FIELDS,
    OK,
    WINDOW,
    Array,
    Tables,
)
from sim.pim.program import BankSet, Program
from sim.pim.scheduler import schedule
from workloads.errors import ChipsmithError

#: Share of the refresh interval that is over when an operation starts, where nothing is known about it: the mean.
REFRESH_PHASE = 0.5


@dataclass(frozen=True)
class ChannelRun:
    """What one channel did.

    Attributes:
        cycles: memory clocks until all results are there.
        commands: issued, by name.
        bank_accesses: of commands that access or activate banks, banks reached, by name.
        bursts: of one bank or of the bus, by name.
        finished: entries finished, by lane.
        log: (n, 3) first commands as (clock, index of the command, index of the set).
    """

    cycles: int
    commands: Mapping[str, int]
    bank_accesses: Mapping[str, int]
    bursts: Mapping[str, int]
    finished: tuple[int, ...]
    log: Array


def run(program: Program, refresh_phase: float = REFRESH_PHASE, log_commands: int = 0) -> ChannelRun:
    """Schedule a program.

    Args:
        program: what the channel does.
        refresh_phase: share of the refresh interval that is over at the start, 0 up to 1.
        log_commands: how many commands to log.

    Raises:
        ChipsmithError: a phase out of range, or a program that can never go on.
    """
    if not 0 <= refresh_phase < 1:
        raise ChipsmithError("refresh_phase", refresh_phase, "from 0 up to, not including, 1")
    device = program.device
    entries, starts = program.entries()
    _check_fits(device, int(entries[:, FITS].max(initial=0)))
    before = np.concatenate(([0], np.cumsum(entries[:, COUNT])))
    counts = np.zeros((len(device.commands), 3), np.int64)
    out = np.zeros(2 + len(program.lanes), np.int64)
    log = np.zeros((log_commands, 3), np.int64)
    lead = min(program.lead, len(program.lanes))
    queue = program.queue_commands or device.organisation.queue_commands
    found = tables(device, program.sets, refresh_phase, queue)
    status = schedule(found, entries, starts, before, lead, counts, out, log)
    if status != OK:
        raise ChipsmithError(f"pim program of {device.name}", None, "it can never go on: rows or bounds exclude it")
    issued, accesses, bursts = ({name: int(n) for name, n in zip(device.commands, column, strict=True) if n}
                                for column in counts.T)  # fmt: skip
    return ChannelRun(int(out[0]), issued, accesses, bursts, tuple(map(int, out[2:])), log[: sum(issued.values())])


def _check_fits(device: PimDevice, longest: int) -> None:
    """Refuse an entry that no interval between two refreshes is long enough for."""
    interval = device.timing_ck["tREFI"]
    room = interval - device.timing_ck["tRFC"] - device.timing_ck["tRP"]
    if interval and longest > room:
        raise ChipsmithError(f"pim program of {device.name}", longest, f"at most {room} clocks fit between refreshes")


def tables(device: PimDevice, sets: list[BankSet], refresh_phase: float, queue_commands: int) -> Tables:
    """The scheduler's tables of a device and its sets of banks."""
    rules = _rules(device)
    windows = [rule for rule in rules if rule[4] > 1]
    plain = sorted(rule[:4] for rule in rules if rule[4] == 1)
    rule_start = np.searchsorted([rule[0] for rule in plain], np.arange(len(device.commands) + 1))
    parts = [part.parts or (i,) for i, part in enumerate(sets)]
    nodes = _set_nodes(device, sets)
    return Tables(
        command=_command_table(device, plain, windows),
        rule_start=rule_start.astype(np.int64),
        rule=np.array([rule[1:] for rule in plain], np.int64).reshape(-1, 3),
        window=np.array([(level, count, delay) for _, _, level, delay, count in windows], np.int64).reshape(-1, 3),
        node_start=np.cumsum([0, *map(len, nodes)]).astype(np.int64),
        node=np.array([node for found in nodes for node in found], np.int64),
        part_start=np.cumsum([0, *map(len, parts)]).astype(np.int64),
        part=np.array([part for found in parts for part in found], np.int64),
        member=_members(device, sets),
        limits=_limits(device, refresh_phase, queue_commands),
    )


Rule = tuple[int, int, int, int, int]


def _rules(device: PimDevice) -> list[Rule]:
    """(before, after, level, delay, window) by index; the longest delay of equal ones."""
    index = {name: i for i, name in enumerate(device.commands)}
    found: dict[tuple[int, int, int, int], int] = {}
    for rule in device.rules:
        delay = device.clocks(rule.delay_ck)
        for before in rule.before:
            for after in rule.after:
                key = (index[before], index[after], LEVELS.index(rule.level), rule.window)
                found[key] = max(delay, found.get(key, 0))
    return [(before, after, level, delay, window) for (before, after, level, window), delay in found.items()]


def _command_table(device: PimDevice, plain: list[tuple[int, int, int, int]], windows: list[Rule]) -> Array:
    index = {name: i for i, name in enumerate(device.commands)} | {"": -1}
    table = np.zeros((len(device.commands), COMMAND_FIELDS), np.int64)
    for i, command in enumerate(device.commands.values()):
        bus = 0 if command.bus == "row" else 1
        table[i] = (index[command.opened_by], index[command.closed_by], command.buffer, bus, command.slots_ck,
                    device.clocks(command.done_ck), 0, -1)  # fmt: skip
    for _, after, level, _ in plain:
        table[after, LEVEL_MASK] |= 1 << level
    for i, window in enumerate(windows):
        table[window[1], WINDOW] = i
    return table


def _level_sizes(device: PimDevice) -> list[int]:
    """Nodes of each level of a channel."""
    org = device.organisation
    steps = (1, org.pseudo_channels, org.ranks, org.bank_groups, org.banks_per_group)
    return [int(size) for size in np.cumprod(steps)]


def _set_nodes(device: PimDevice, sets: list[BankSet]) -> list[list[int]]:
    """Nodes of each set at each level, numbered over all levels, in order."""
    sizes = _level_sizes(device)
    first = np.cumsum([0, *sizes])
    return [
        sorted({int(first[level]) + bank * sizes[level] // sizes[-1] for bank in part.banks})
        for part in sets
        for level in range(LEVEL_COUNT)
    ]


def _members(device: PimDevice, sets: list[BankSet]) -> Array:
    member = np.zeros((len(sets), device.organisation.banks), np.int64)
    for i, part in enumerate(sets):
        member[i, list(part.banks)] = 1
    return member


def _limits(device: PimDevice, refresh_phase: float, queue_commands: int) -> Array:
    index = {name: i for i, name in enumerate(device.commands)}
    org, interval = device.organisation, device.timing_ck["tREFI"]
    close, refresh = device.refresh
    first = round((1 - refresh_phase) * interval)
    limits = np.zeros(LIMIT_FIELDS, np.int64)
    limits[:] = (sum(_level_sizes(device)), org.banks, org.row_buffers, queue_commands, first, interval,
                 index[close], index[refresh], 0)  # fmt: skip
    return limits
