"""Columns of the tables that the command scheduler reads and writes.

These are kernel constants: compiled code holds their values.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.int64]

#: Columns of the command table. OPENED_BY and CLOSED_BY are commands, -1 where the command needs no open row.
OPENED_BY, CLOSED_BY, BUFFER, BUS, SLOTS, DONE, LEVEL_MASK, WINDOW = range(8)
COMMAND_FIELDS = 8
#: Columns of a spacing rule.
AFTER, LEVEL, DELAY = range(3)
#: Columns of a window: the command that it counts, its level, how many, the delay.
W_LEVEL, W_COUNT, W_DELAY = range(3)
#: Columns of a program entry: COUNT commands of one kind on one set of banks and one row. HOLD: clocks from each of
#: them to the lane's next. FITS: it starts only if that many clocks are left before the next refresh. SEGMENT: it waits
#: until all entries of smaller segments are issued; -1 = it waits for nobody.
CMD, SET, ROW, COUNT, SEGMENT, HOLD, FITS, COLUMNS = range(8)
ENTRY_FIELDS = 8
#: Row of an entry whose command needs none.
NO_ROW = -1
#: Levels of the hierarchy, and how many.
LEVEL_COUNT = 5
BANK_LEVEL = 4
FAR = 2**62

#: Status of a schedule.
OK, STUCK, TOO_LONG = range(3)


class Tables(NamedTuple):
    """What a device and its sets of banks look like to the scheduler.

    Attributes:
        command: (commands, 8), see the columns above.
        rule_start, rule: rules of command c are rows ``rule_start[c]`` to ``rule_start[c + 1]``.
        window: (windows, 3).
        node_start, node: nodes of set s at level l are entries from ``node_start[5 s + l]``; numbered over all levels.
        part_start, part: sets by which set s is activated, one command each.
        member: (sets, banks), 1 where the bank belongs to the set.
        limits: nodes, banks, buffers, lookahead in commands, first refresh, refresh interval (0 = none), the
            commands that close all rows and refresh, the set of all banks.
    """

    command: Array
    rule_start: Array
    rule: Array
    window: Array
    node_start: Array
    node: Array
    part_start: Array
    part: Array
    member: Array
    limits: Array


NODES, BANKS, BUFFERS, LOOKAHEAD, REF_FIRST, REF_INTERVAL, CLOSE_ALL, REFRESH, ALL_BANKS = range(9)
LIMIT_FIELDS = 9


class State(NamedTuple):
    """What the scheduler keeps while it runs; made new for each run.

    Attributes:
        ready: (nodes, commands) earliest time by node.
        bus: (2,) when each command bus is free.
        history, position: (windows, nodes, 8) times of the last commands of a window, and the next to overwrite.
        row: (buffers, banks) open row, -1 = closed.
        owner: (buffers, banks) lane + 1 that uses the open row, 0 = none.
        user, wanted: (lanes, banks) last cleared entry of the lane that uses the bank, and the row it needs.
        head, done: (lanes,) current entry, commands of it that are issued.
        prep, clear: (lanes,) entries before ``prep`` have their rows open; those before ``clear`` have claimed their
            banks, and no other row is open there.
        hindered: (lanes,) 1 where the entry at ``clear`` waits for other entries or a precharge, not for the queue.
        free: (lanes,) when the lane may issue again.
        left: (segments,) entries that are not finished.
        clock: now, segment, next refresh, end, latest hold, commands issued.
    """

    ready: Array
    bus: Array
    history: Array
    position: Array
    row: Array
    owner: Array
    user: Array
    wanted: Array
    head: Array
    done: Array
    prep: Array
    clear: Array
    hindered: Array
    free: Array
    left: Array
    clock: Array


NOW, CURRENT, NEXT_REF, END, LAST_HOLD, ISSUED = range(6)
CLOCK_FIELDS = 6
