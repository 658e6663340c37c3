"""Programs: lists of commands on sets of banks, built by the command sequences of each design.

Entries are run-length encoded: one entry is ``count`` equal commands. Lanes run side by side, entries of a lane in
order; a barrier makes all lanes wait until everything before it is issued.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.pim import Organisation, PimDevice
from sim.pim.fields import ENTRY_FIELDS, NO_ROW, SEGMENT, Array


@dataclass(frozen=True)
class BankSet:
    """Banks that one command reaches.

    Attributes:
        banks: numbers within the channel.
        parts: indices of the sets by which it is activated, empty = itself in one command.
    """

    banks: tuple[int, ...]
    parts: tuple[int, ...] = ()


def bank_number(org: Organisation, pseudo_channel: int, rank: int, group: int, bank: int) -> int:
    """Number of a bank within its channel."""
    return ((pseudo_channel * org.ranks + rank) * org.bank_groups + group) * org.banks_per_group + bank


@dataclass
class Program:
    """What one channel does.

    Attributes:
        device: on which.
        sets: sets of banks by index; set 0 is all banks.
        lanes: entries by lane, blocks of (n, 8) arrays and single rows.
        lead: the run ends when that many of the first lanes have; the others are background traffic.
        queue_commands: how far ahead the controller looks for rows to open; 0 = as the device says.
    """

    device: PimDevice
    lead: int = 1
    queue_commands: int = 0
    sets: list[BankSet] = field(default_factory=list)
    lanes: list[list[Array]] = field(default_factory=list)
    segment: int = 0
    _commands: dict[str, int] = field(default_factory=dict)
    _known: dict[BankSet, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._commands = {name: i for i, name in enumerate(self.device.commands)}
        self.bank_set(range(self.device.organisation.banks))

    def bank_set(self, banks: Iterable[int], act_banks: int = 0) -> int:
        """Index of a set of banks, activated ``act_banks`` at a time (0 = all at once)."""
        numbers = tuple(banks)
        parts: tuple[int, ...] = ()
        if 0 < act_banks < len(numbers):
            parts = tuple(self.bank_set(numbers[i : i + act_banks]) for i in range(0, len(numbers), act_banks))
        wanted = BankSet(numbers, parts)
        if wanted not in self._known:
            self._known[wanted] = len(self.sets)
            self.sets.append(wanted)
        return self._known[wanted]

    def add(
        self,
        command: str,
        banks: int = 0,
        row: int = NO_ROW,
        count: int = 1,
        *,
        lane: int = 0,
        hold_ck: int = 0,
        fits_ck: int = 0,
        columns: int = 1,
    ) -> None:
        """Add ``count`` equal commands to a lane; none where count is 0.

        Args:
            command: name of the device's command.
            banks: index of a set.
            row: row that must be open in all of them.
            count: how many.
            lane: which lane.
            hold_ck: clocks until the lane's next command.
            fits_ck: clocks that must be left before the next refresh.
            columns: bursts that each command accesses in each bank.
        """
        if count > 0:
            entry = (self._commands[command], banks, row, count, self.segment, hold_ck, fits_ck, columns)
            self._lane(lane).append(np.array([entry], np.int64))

    def add_many(self, command: str, banks: Array, rows: Array, *, lane: int = 0, waits: bool = True) -> None:
        """Add a command for each of ``banks`` (n,) and ``rows`` (n,), merging neighbours that are equal.

        Args:
            command: name of the device's command.
            banks: indices of sets. rows: rows to be open.
            lane: which lane.
            waits: whether it waits for barriers.
        """
        if len(banks) == 0:
            return
        new = np.flatnonzero(np.concatenate(([True], (np.diff(banks) != 0) | (np.diff(rows) != 0))))
        block = np.zeros((len(new), ENTRY_FIELDS), np.int64)
        block[:, 0], block[:, 1], block[:, 2] = self._commands[command], banks[new], rows[new]
        block[:, 3] = np.diff(np.append(new, len(banks)))
        block[:, SEGMENT], block[:, 7] = self.segment if waits else -1, 1
        self._lane(lane).append(block)

    def barrier(self) -> None:
        """Later commands of all lanes wait until all earlier ones are issued."""
        self.segment += 1

    def _lane(self, lane: int) -> list[Array]:
        while len(self.lanes) <= lane:
            self.lanes.append([])
        return self.lanes[lane]

    def entries(self) -> tuple[Array, Array]:
        """All entries (n, 8), lane after lane, and the first of each lane (lanes + 1,)."""
        blocks = [np.concatenate(lane) if lane else np.zeros((0, ENTRY_FIELDS), np.int64) for lane in self.lanes]
        starts = np.cumsum([0, *map(len, blocks)])
        return np.ascontiguousarray(np.concatenate(blocks)), starts.astype(np.int64)


def halves(org: Organisation) -> tuple[Sequence[int], Sequence[int]]:
    """Even and odd banks of a channel."""
    return range(0, org.banks, 2), range(1, org.banks, 2)
