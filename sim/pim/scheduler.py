"""The command scheduler of one channel: when is each command of a program issued?

A program is a set of lanes, each a list of entries in order. The scheduler repeats one step: among what each lane could
issue next (its column, data or control command; a precharge or activation that prepares rows for an entry further down
the queue), it issues what can go first, ties to the lowest lane and to the column command. Time jumps from command to
command. A rule delays later commands in one node of the hierarchy (the same rows of a data sheet's timing table); a
command bus carries one command at a time; an all-bank refresh closes all rows at its interval.
"""

from __future__ import annotations

import numpy as np

from models.jit import inlined, kernel
from sim.pim.fields import (
    AFTER,
    ALL_BANKS,
    BANK_LEVEL,
    BANKS,
    BUFFER,
    BUFFERS,
    BUS,
    CLOCK_FIELDS,
    CLOSE_ALL,
    CLOSED_BY,
    CMD,
    COLUMNS,
    COUNT,
    CURRENT,
    DELAY,
    DONE,
    END,
    FAR,
    FITS,
    HOLD,
    ISSUED,
    LAST_HOLD,
    LEVEL,
    LEVEL_COUNT,
    LEVEL_MASK,
    LOOKAHEAD,
    NEXT_REF,
    NODES,
    NOW,
    OK,
    OPENED_BY,
    REF_FIRST,
    REF_INTERVAL,
    REFRESH,
    ROW,
    SEGMENT,
    SET,
    SLOTS,
    STUCK,
    TOO_LONG,
    W_COUNT,
    W_DELAY,
    W_LEVEL,
    WINDOW,
    Array,
    State,
    Tables,
)

COLUMN_STEP, CLOSE_STEP, OPEN_STEP = range(3)  # kernel constants: what a lane would issue
FREE, CLOSE_FIRST, WAIT = range(3)  # kernel constants: what hinders an entry


@inlined
def earliest(t: Tables, s: State, cmd: int, bank_set: int) -> int:
    """Earliest clock at which every rule and the bus allow a command on a set of banks."""
    time: int = max(s.clock[NOW], s.bus[t.command[cmd, BUS]])
    mask = t.command[cmd, LEVEL_MASK]
    for level in range(LEVEL_COUNT):
        if (mask >> level) & 1:
            at = LEVEL_COUNT * bank_set + level
            for i in range(t.node_start[at], t.node_start[at + 1]):
                time = max(time, s.ready[t.node[i], cmd])
    window = t.command[cmd, WINDOW]
    if window >= 0:
        at = LEVEL_COUNT * bank_set + t.window[window, W_LEVEL]
        for i in range(t.node_start[at], t.node_start[at + 1]):
            node = t.node[i]
            time = max(time, s.history[window, node, s.position[window, node]] + t.window[window, W_DELAY])
    return time


@inlined
def issue(t: Tables, s: State, cmd: int, bank_set: int, time: int, counts: Array, log: Array) -> None:
    """Issue a command: apply its rules, occupy its bus, count it."""
    for r in range(t.rule_start[cmd], t.rule_start[cmd + 1]):
        at = LEVEL_COUNT * bank_set + t.rule[r, LEVEL]
        after, until = t.rule[r, AFTER], time + t.rule[r, DELAY]
        for i in range(t.node_start[at], t.node_start[at + 1]):
            node = t.node[i]
            s.ready[node, after] = max(s.ready[node, after], until)
    window = t.command[cmd, WINDOW]
    if window >= 0:
        at = LEVEL_COUNT * bank_set + t.window[window, W_LEVEL]
        for i in range(t.node_start[at], t.node_start[at + 1]):
            node = t.node[i]
            s.history[window, node, s.position[window, node]] = time
            s.position[window, node] = (s.position[window, node] + 1) % t.window[window, W_COUNT]
    s.bus[t.command[cmd, BUS]] = time + t.command[cmd, SLOTS]
    s.clock[NOW] = time
    s.clock[END] = max(s.clock[END], time + t.command[cmd, DONE])
    issued = s.clock[ISSUED]
    s.clock[ISSUED] += 1
    if issued < log.shape[0]:
        log[issued, 0], log[issued, 1], log[issued, 2] = time, cmd, bank_set
    counts[cmd, 0] += 1


@inlined
def rows_open(t: Tables, s: State, entry: Array) -> bool:
    """Whether all rows of an entry are open."""
    buffer, row = t.command[entry[CMD], BUFFER], entry[ROW]
    at = LEVEL_COUNT * entry[SET] + BANK_LEVEL
    first = t.limits[NODES] - t.limits[BANKS]
    for i in range(t.node_start[at], t.node_start[at + 1]):  # noqa: SIM110  # compiled code knows no generators
        if s.row[buffer, t.node[i] - first] != row:
            return False
    return True


@inlined
def set_rows(t: Tables, s: State, bank_set: int, buffer: int, row: int) -> None:
    """Open (or with -1 close) a row in all banks of a set."""
    at = LEVEL_COUNT * bank_set + BANK_LEVEL
    first = t.limits[NODES] - t.limits[BANKS]
    for i in range(t.node_start[at], t.node_start[at + 1]):
        s.row[buffer, t.node[i] - first] = row


@inlined
def claim(t: Tables, s: State, lane: int, index: int, entry: Array) -> None:
    """The banks of a cleared entry are the lane's, for its row."""
    at = LEVEL_COUNT * entry[SET] + BANK_LEVEL
    first = t.limits[NODES] - t.limits[BANKS]
    buffer = t.command[entry[CMD], BUFFER]
    for i in range(t.node_start[at], t.node_start[at + 1]):
        bank = t.node[i] - first
        s.user[lane, bank], s.wanted[lane, bank] = index, entry[ROW]
        s.owner[buffer, bank] = lane + 1


@inlined
def hindrance(t: Tables, s: State, program: Array, ends: Array, lane: int, entry: Array) -> int:
    """What stands between an entry and its rows: FREE, another row is open (CLOSE_FIRST), or others need it (WAIT).

    They do where an earlier entry of the lane or an entry of another lane uses the bank for another row, or where a
    lane of higher priority waits for it.
    """
    buffer, row = t.command[entry[CMD], BUFFER], entry[ROW]
    first = t.limits[NODES] - t.limits[BANKS]
    at = LEVEL_COUNT * entry[SET] + BANK_LEVEL
    found = FREE
    for i in range(t.node_start[at], t.node_start[at + 1]):
        bank = t.node[i] - first
        if s.user[lane, bank] >= s.head[lane] and s.wanted[lane, bank] != row:
            return WAIT
        if s.owner[buffer, bank] not in (0, lane + 1):
            return WAIT
        for other in range(lane):
            ahead = s.clear[other]
            if ahead < ends[other] and t.command[program[ahead, CMD], OPENED_BY] >= 0:
                same = t.command[program[ahead, CMD], BUFFER] == buffer
                if same and t.member[program[ahead, SET], bank] > 0:
                    return WAIT
        if s.row[buffer, bank] not in (-1, row):
            found = CLOSE_FIRST
    return found


@inlined
def clear_entries(t: Tables, s: State, program: Array, starts: Array, before: Array, lane: int) -> int:
    """Claim banks for entries within the lookahead; the entry that a precharge is needed for first, else -1."""
    index, end = s.clear[lane], starts[lane + 1]
    issued = before[s.head[lane]] + s.done[lane]
    while index < end and before[index] - issued < t.limits[LOOKAHEAD]:
        entry = program[index]
        if t.command[entry[CMD], OPENED_BY] >= 0:
            found = hindrance(t, s, program, starts[1:], lane, entry)
            if found != FREE:
                s.clear[lane], s.hindered[lane] = index, 1
                return index if found == CLOSE_FIRST else -1
            claim(t, s, lane, index, entry)
        index += 1
    s.clear[lane], s.hindered[lane] = index, 0
    return -1


@inlined
def closed_part(t: Tables, s: State, program: Array, lane: int) -> int:
    """Set of banks that the first cleared entry with closed rows must activate next, -1 where all are open."""
    while s.prep[lane] < s.clear[lane]:
        entry = program[s.prep[lane]]
        if t.command[entry[CMD], OPENED_BY] >= 0 and not rows_open(t, s, entry):
            break
        s.prep[lane] += 1
    if s.prep[lane] == s.clear[lane]:
        return -1
    entry = program[s.prep[lane]]
    first = t.limits[NODES] - t.limits[BANKS]
    for p in range(t.part_start[entry[SET]], t.part_start[entry[SET] + 1]):
        part: int = t.part[p]
        bank = t.node[t.node_start[LEVEL_COUNT * part + BANK_LEVEL]] - first
        if s.row[t.command[entry[CMD], BUFFER], bank] != entry[ROW]:
            return part
    return -1


@inlined
def column_time(t: Tables, s: State, program: Array, lane: int, end: int) -> int:
    """When the lane's current entry can issue its next command; FAR where it must wait for something else."""
    head = s.head[lane]
    if head >= end or head >= s.prep[lane] or program[head, SEGMENT] > s.clock[CURRENT]:
        return FAR
    time: int = max(s.free[lane], earliest(t, s, program[head, CMD], program[head, SET]))
    if t.limits[REF_INTERVAL] > 0 and program[head, FITS] > 0 and time + program[head, FITS] > s.clock[NEXT_REF]:
        return FAR
    return time


@inlined
def release(t: Tables, s: State, lane: int, index: int, entry: Array) -> None:
    """Give up the rows of a finished entry that no prepared one of the lane uses."""
    if t.command[entry[CMD], OPENED_BY] < 0:
        return
    at = LEVEL_COUNT * entry[SET] + BANK_LEVEL
    first = t.limits[NODES] - t.limits[BANKS]
    buffer = t.command[entry[CMD], BUFFER]
    for i in range(t.node_start[at], t.node_start[at + 1]):
        if s.user[lane, t.node[i] - first] == index:
            s.owner[buffer, t.node[i] - first] = 0


@inlined
def issue_column(t: Tables, s: State, program: Array, lane: int, time: int, counts: Array, log: Array) -> None:
    """Issue one command of the lane's current entry; with its last one go to the next entry."""
    head = s.head[lane]
    cmd, bank_set = program[head, CMD], program[head, SET]
    issue(t, s, cmd, bank_set, time, counts, log)
    at = LEVEL_COUNT * bank_set + BANK_LEVEL
    counts[cmd, 1] += program[head, COLUMNS] * (t.node_start[at + 1] - t.node_start[at])
    counts[cmd, 2] += program[head, COLUMNS]
    if program[head, HOLD] > 0:
        s.free[lane] = time + program[head, HOLD]
        s.clock[LAST_HOLD] = max(s.clock[LAST_HOLD], s.free[lane])
        s.clock[END] = max(s.clock[END], s.free[lane])
    s.done[lane] += 1
    if s.done[lane] < program[head, COUNT]:
        return
    release(t, s, lane, head, program[head])
    if program[head, SEGMENT] >= 0:
        s.left[program[head, SEGMENT]] -= 1
        while s.clock[CURRENT] < s.left.shape[0] - 1 and s.left[s.clock[CURRENT]] == 0:
            s.clock[CURRENT] += 1
    s.head[lane], s.done[lane] = head + 1, 0


@inlined
def refresh(t: Tables, s: State, counts: Array, log: Array) -> None:
    """Close all rows, refresh, and prepare rows anew from each lane's current entry on."""
    whole = t.limits[ALL_BANKS]
    s.clock[NOW] = max(s.clock[NOW], s.clock[NEXT_REF], s.clock[LAST_HOLD])
    if s.row.max() >= 0:
        issue(t, s, t.limits[CLOSE_ALL], whole, earliest(t, s, t.limits[CLOSE_ALL], whole), counts, log)
    issue(t, s, t.limits[REFRESH], whole, earliest(t, s, t.limits[REFRESH], whole), counts, log)
    s.clock[NEXT_REF] += t.limits[REF_INTERVAL]
    s.row[:] = -1
    s.owner[:] = 0
    s.user[:] = -1
    s.prep[:] = s.head
    s.clear[:] = s.head


@inlined
def new_state(t: Tables, program: Array, starts: Array) -> State:
    """The state before the first command."""
    lanes, banks, nodes = starts.shape[0] - 1, t.limits[BANKS], t.limits[NODES]
    left = np.zeros(max(1, program[:, SEGMENT].max() + 1), np.int64)
    for i in range(program.shape[0]):
        if program[i, SEGMENT] >= 0:
            left[program[i, SEGMENT]] += 1
    clock = np.zeros(CLOCK_FIELDS, np.int64)
    clock[NEXT_REF] = t.limits[REF_FIRST]
    while clock[CURRENT] < left.shape[0] - 1 and left[clock[CURRENT]] == 0:
        clock[CURRENT] += 1
    windows = max(1, t.window.shape[0])
    return State(
        np.zeros((nodes, t.command.shape[0]), np.int64),
        np.zeros(2, np.int64),
        np.full((windows, nodes, 8), -FAR, np.int64),
        np.zeros((windows, nodes), np.int64),
        np.full((t.limits[BUFFERS], banks), -1, np.int64),
        np.zeros((t.limits[BUFFERS], banks), np.int64),
        np.full((lanes, banks), -1, np.int64),
        np.full((lanes, banks), -1, np.int64),
        starts[:-1].copy(),
        np.zeros(lanes, np.int64),
        starts[:-1].copy(),
        starts[:-1].copy(),
        np.zeros(lanes, np.int64),
        np.zeros(lanes, np.int64),
        left,
        clock,
    )


@inlined
def offer_row(
    t: Tables, s: State, program: Array, lane: int, index: int, kind: int, bank_set: int, step: Array
) -> None:
    """Make a precharge or an activation the step, where it is the first so far."""
    cmd = t.command[program[index, CMD], OPENED_BY if kind == OPEN_STEP else CLOSED_BY]
    time = max(s.free[lane], earliest(t, s, cmd, bank_set))
    if time < step[0]:
        step[6] = step[0]
        step[0], step[1], step[2], step[3], step[4], step[5] = time, kind, lane, cmd, bank_set, index
    else:
        step[6] = min(step[6], time)


@inlined
def best_step(t: Tables, s: State, program: Array, starts: Array, before: Array, step: Array) -> None:
    """What can be issued first: (time, kind, lane, command, set, entry, next best); time FAR where nothing can."""
    step[0] = step[6] = FAR
    for lane in range(starts.shape[0] - 1):
        closing = clear_entries(t, s, program, starts, before, lane)
        opening = closed_part(t, s, program, lane)
        time = column_time(t, s, program, lane, starts[lane + 1])
        if time < step[0]:
            step[0], step[1], step[2], step[6] = time, COLUMN_STEP, lane, step[0]
        else:
            step[6] = min(step[6], time)
        if opening >= 0:
            offer_row(t, s, program, lane, s.prep[lane], OPEN_STEP, opening, step)
        if closing >= 0:
            offer_row(t, s, program, lane, closing, CLOSE_STEP, program[closing, SET], step)


@inlined
def issue_run(
    t: Tables, s: State, program: Array, starts: Array, before: Array, step: Array, counts: Array, log: Array
) -> None:
    """Issue the column command of a step and those of the same entry that nothing else comes before."""
    lane, time = step[2], step[0]
    head = s.head[lane]
    while True:
        issue_column(t, s, program, lane, time, counts, log)
        if s.head[lane] != head:
            return
        ahead = s.clear[lane]
        seen = before[ahead] - before[head] - s.done[lane] < t.limits[LOOKAHEAD]
        if seen and s.hindered[lane] == 0 and ahead < starts[lane + 1]:
            return  # one more entry is in sight
        time = column_time(t, s, program, lane, starts[lane + 1])
        if time >= step[6] or (t.limits[REF_INTERVAL] > 0 and time >= s.clock[NEXT_REF]):
            return


@inlined
def row_command(t: Tables, s: State, program: Array, step: Array, counts: Array, log: Array) -> None:
    """Issue the precharge or activation of a step."""
    time, cmd, bank_set = step[0], step[3], step[4]
    issue(t, s, cmd, bank_set, time, counts, log)
    at = LEVEL_COUNT * bank_set + BANK_LEVEL
    counts[cmd, 1] += t.node_start[at + 1] - t.node_start[at]
    buffer = t.command[program[step[5], CMD], BUFFER]
    set_rows(t, s, bank_set, buffer, -1 if step[1] == CLOSE_STEP else program[step[5], ROW])


@kernel
def schedule(
    t: Tables, program: Array, starts: Array, before: Array, lead: int, counts: Array, out: Array, log: Array
) -> int:
    """Run a program to its end.

    Args:
        t: tables of the device and its sets.
        program: (entries, 8), see sim/pim/fields.py; the lanes one after the other.
        starts: (lanes + 1,) first entry of each lane.
        before: (entries + 1,) commands before each entry.
        lead: the run ends when that many of the first lanes have; the others are background traffic.
        counts: (commands, 3) written: commands issued, bank accesses, bursts.
        out: (2 + lanes,) written: clocks until all that was started is there, clocks until the last command, entries
            finished by lane.
        log: (n, 3) written: the first n commands as (clock, command, set); n may be 0.

    Returns:
        OK, STUCK (nothing can ever be issued) or TOO_LONG (beyond what 64-bit clocks hold).
    """
    s = new_state(t, program, starts)
    step = np.zeros(7, np.int64)
    status = OK
    while True:
        waiting = False
        for lane in range(lead):
            waiting = waiting or s.head[lane] < starts[lane + 1]
        if not waiting:
            break
        best_step(t, s, program, starts, before, step)
        if t.limits[REF_INTERVAL] > 0 and step[0] >= s.clock[NEXT_REF]:
            refresh(t, s, counts, log)
        elif step[0] >= FAR:
            status = STUCK
            break
        elif step[1] == COLUMN_STEP:
            issue_run(t, s, program, starts, before, step, counts, log)
        else:
            row_command(t, s, program, step, counts, log)
        if s.clock[NOW] > FAR // 4:
            status = TOO_LONG
            break
    out[0], out[1] = s.clock[END], s.clock[NOW]
    out[2:] = s.head - starts[:-1]
    return status
