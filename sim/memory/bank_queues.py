"""Controller with a command queue for every bank, served in turn: first ready within a bank, round robin over banks.

Requests wait in a read queue and a write buffer of the channel, from which one moves to its bank's queue each clock;
a full write buffer is emptied as a whole. A row is closed for another one when no waiting request of its bank hits it
or when it was hit ``row_hit_limit`` times. Where rows and columns have their own bus, two commands go in a clock.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inlined, kernel
from sim.memory.fields import (
    ACT,
    B_HITS,
    B_PC,
    B_ROW,
    C_DONE,
    FAR,
    G_ACT,
    G_PRE,
    G_RD,
    G_REF,
    N_CLOSED,
    N_HITS,
    N_LATENCY,
    O_OPEN,
    O_SINCE,
    P_BANK_ENTRIES,
    P_CLOSED_PAGE,
    P_DRAIN_START,
    P_DUAL,
    P_EDGE,
    P_HIT_LIMIT,
    P_PC_BANKS,
    P_PRE_ACT,
    P_PSEUDO,
    P_READ_DATA,
    P_READ_ENTRIES,
    P_REF_INTERVAL,
    P_REFRESH,
    P_STEP,
    P_WRITE_ENTRIES,
    PCS,
    PRE,
    RD,
    REF,
    ROW,
    T_ACT,
    T_PRE,
    T_RD,
    T_WR,
    U_COL,
    U_ROW,
    WR,
)
from sim.memory.timing_rules import activated, later, new_channel, note, precharged, read, refreshed, written

Ints = NDArray[np.int64]
# Fields of a waiting request (first index of ``queue`` and ``pool``), and of the controller's own state.
Q_ROW, Q_WRITE, Q_ARRIVE, Q_BANK, QUEUED = range(5)
X_TURN, X_DRAIN, X_REFRESHES, X_NEXT, XS = range(5)


@kernel
def accept(
    c: Ints, x: Ints, pool: Ints, waiting: Ints, where: Ints, rows: Ints, writes: Ints, arrival: Ints, tick: int
) -> None:
    """Offer requests in order until one has not arrived or its queue is full."""
    i = x[X_NEXT]
    while i < where.shape[0]:
        w = writes[i]
        n = waiting[w]
        if n >= c[P_READ_ENTRIES + w] or (arrival.shape[0] > 0 and arrival[i] > tick):
            break
        pool[w, Q_BANK, n], pool[w, Q_ROW, n], pool[w, Q_ARRIVE, n] = where[i], rows[i], tick
        waiting[w] = n + 1
        if w == 1:
            c[C_DONE] = max(c[C_DONE], tick + 1)
        i += 1
    x[X_NEXT] = i


@kernel
def forward(c: Ints, x: Ints, pool: Ints, waiting: Ints, queue: Ints, length: Ints) -> bool:
    """Move the oldest request whose bank's queue has room; writes while a drain lasts, else reads."""
    if x[X_DRAIN] == 0 and waiting[1] >= c[P_DRAIN_START]:
        x[X_DRAIN] = waiting[1]
    w = 1 if x[X_DRAIN] > 0 else 0
    for k in range(waiting[w]):
        b = pool[w, Q_BANK, k]
        n = length[b]
        if n < c[P_BANK_ENTRIES]:
            queue[b, Q_ROW, n], queue[b, Q_WRITE, n], queue[b, Q_ARRIVE, n] = pool[w, Q_ROW, k], w, pool[w, Q_ARRIVE, k]
            length[b] = n + 1
            waiting[w] -= 1
            x[X_DRAIN] -= w
            for j in range(k, waiting[w]):
                for field in range(QUEUED):
                    pool[w, field, j] = pool[w, field, j + 1]
            return True
    return False


@inlined
def may_close(c: Ints, queue: Ints, length: Ints, b: int, k: int) -> bool:
    """Whether entry k may close its bank's row: it is the oldest, and nobody hits the row or it was hit enough."""
    if k != 0:
        return False
    if c[P_HIT_LIMIT] > 0 and c[B_HITS + b] >= c[P_HIT_LIMIT]:
        return True
    hits = 0
    for j in range(length[b]):
        hits += 1 if queue[b, Q_ROW, j] == c[B_ROW + b] else 0
    return hits == 0


@inlined
def next_of_bank(c: Ints, queue: Ints, length: Ints, b: int, column: int, row: int, tick: int) -> int:
    """First entry of a bank's queue whose next command is ready, -1 without.

    ``column``: 1 if column commands may go. ``row``: 1 if precharges may go, 2 if activations may go too.
    """
    pc = c[B_PC + b]
    if c[B_ROW + b] < 0:
        ready = row == 2 and length[b] > 0 and c[T_ACT + b] <= tick and c[G_ACT + pc] <= tick
        return 0 if ready else -1
    for k in range(length[b]):
        w = queue[b, Q_WRITE, k]
        if queue[b, Q_ROW, k] == c[B_ROW + b]:
            if column == 1 and c[T_RD + w * ROW + b] <= tick and c[G_RD + w * PCS + pc] <= tick:
                return k
        elif row >= 1 and c[T_PRE + b] <= tick and c[G_PRE + pc] <= tick and may_close(c, queue, length, b, k):
            return k
    return -1


@inlined
def close_row(c: Ints, b: int, tick: int) -> None:
    """Forget the open row."""
    pc = c[B_PC + b]
    c[B_ROW + b] = -1
    c[B_HITS + b] = 0
    c[O_OPEN + pc] -= 1
    if c[O_OPEN + pc] == 0:
        c[O_SINCE + pc] = tick


@kernel
def open_row(c: Ints, b: int, row: int, tick: int) -> None:
    """ACT."""
    pc = c[B_PC + b]
    activated(c, b, tick)
    note(c, ACT, b, tick)
    if c[O_OPEN + pc] == 0:
        c[N_CLOSED] += tick - c[O_SINCE + pc]
    c[O_OPEN + pc] += 1
    c[B_ROW + b] = row


@kernel
def column(c: Ints, queue: Ints, length: Ints, b: int, k: int, tick: int) -> None:
    """RD or WR of entry k, which leaves the queue."""
    if queue[b, Q_WRITE, k] == 0:
        read(c, b, tick)
        note(c, RD, b, tick)
        done = tick + c[P_READ_DATA]
        c[N_LATENCY] += done - queue[b, Q_ARRIVE, k]
        c[C_DONE] = max(c[C_DONE], done)
    else:
        written(c, b, tick)
        note(c, WR, b, tick)
    c[N_HITS] += 1 if c[B_HITS + b] > 0 else 0
    c[B_HITS + b] += 1
    length[b] -= 1
    for j in range(k, length[b]):
        for field in range(Q_BANK):
            queue[b, field, j] = queue[b, field, j + 1]
    if c[P_CLOSED_PAGE] == 1:
        later(c, T_ACT + b, c[T_PRE + b] + c[P_PRE_ACT])
        later(c, G_REF + c[B_PC + b], c[T_PRE + b] + c[P_PRE_ACT])
        close_row(c, b, tick)


@inlined
def issue_of_bank(c: Ints, queue: Ints, length: Ints, b: int, k: int, tick: int) -> bool:
    """Send the next command of entry k; True for a column command."""
    row = queue[b, Q_ROW, k]
    if c[B_ROW + b] == row:
        column(c, queue, length, b, k, tick)
        return True
    if c[B_ROW + b] < 0:
        open_row(c, b, row, tick)
    else:
        precharged(c, b, tick)
        note(c, PRE, b, tick)
        close_row(c, b, tick)
    return False


@inlined
def in_turn(c: Ints, x: Ints, queue: Ints, length: Ints, columns: int, rows: int, tick: int) -> int:
    """Go round the banks from the one after the last: 0 nothing was ready, 1 a row command was sent, 2 a column one."""
    banks = c[P_PSEUDO] * c[P_PC_BANKS]
    for _ in range(banks):
        x[X_TURN] = x[X_TURN] + 1 if x[X_TURN] + 1 < banks else 0
        b = x[X_TURN]
        if length[b] > 0:
            k = next_of_bank(c, queue, length, b, columns, rows, tick)
            if k >= 0:
                return 2 if issue_of_bank(c, queue, length, b, k, tick) else 1
    return 0


@kernel
def refresh_command(c: Ints, x: Ints, rows: int, tick: int) -> None:
    """Next command of a waiting refresh: close a bank whose PRE is ready, REF when all are closed and rested."""
    ready = rows == 2
    for b in range(c[P_PSEUDO] * c[P_PC_BANKS]):
        pc = c[B_PC + b]
        ready = ready and c[B_ROW + b] < 0 and c[G_REF + pc] <= tick
        if c[B_ROW + b] >= 0 and rows >= 1 and c[T_PRE + b] <= tick and c[G_PRE + pc] <= tick:
            precharged(c, b, tick)
            note(c, PRE, b, tick)
            close_row(c, b, tick)
            return
    if ready:
        for pc in range(c[P_PSEUDO]):
            refreshed(c, pc, tick)
        note(c, REF, 0, tick)
        x[X_REFRESHES] -= 1


@kernel
def turn_tick(c: Ints, x: Ints, queue: Ints, length: Ints, tick: int) -> bool:
    """The commands of a clock; False where there was none."""
    rising = c[P_EDGE] == 0 or tick & 1 == 1
    columns = 1 if rising and c[U_COL] <= tick else 0
    rows = 0 if c[U_ROW] > tick else 2 if rising else 1
    if x[X_REFRESHES] > 0:
        refresh_command(c, x, rows, tick)
        return True
    first = in_turn(c, x, queue, length, columns, rows, tick)
    if first > 0 and c[P_DUAL] == 1:
        in_turn(c, x, queue, length, columns if first == 1 else 0, rows if first == 2 else 0, tick)
    return first > 0


@inlined
def sooner(best: int, tick: int, when: int) -> int:
    """The earlier of two times, if the second one is still to come."""
    return when if tick < when < best else best


@kernel
def next_event(c: Ints, x: Ints, length: Ints, tick: int) -> int:
    """Next tick at which a command may become ready by the passing of time alone."""
    if c[P_STEP] == 1 or x[X_REFRESHES] > 0 or c[P_EDGE] == 1:
        return tick + 1
    best = sooner(sooner(FAR, tick, c[U_ROW]), tick, c[U_COL])
    for b in range(length.shape[0]):
        if length[b] == 0:
            continue
        pc = c[B_PC + b]
        if c[B_ROW + b] < 0:
            best = sooner(best, tick, max(c[T_ACT + b], c[G_ACT + pc]))
        else:
            best = sooner(best, tick, max(c[T_PRE + b], c[G_PRE + pc]))
            best = sooner(best, tick, max(c[T_RD + b], c[G_RD + pc]))
            best = sooner(best, tick, max(c[T_WR + b], c[G_RD + PCS + pc]))
    return best


@kernel
def run_bank_queues(p: Ints, where: Ints, rows: Ints, writes: Ints, arrival: Ints) -> Ints:
    """Serve a list of requests; arguments and result as of ``run_two_queues``.

    A write is done a clock after it was accepted, as the data are in the write buffer then.
    """
    c = new_channel(p)
    banks = p[P_PSEUDO] * p[P_PC_BANKS]
    queue = np.zeros((banks, QUEUED, p[P_BANK_ENTRIES] + 1), np.int64)
    length = np.zeros(banks, np.int64)
    pool = np.zeros((2, QUEUED, max(p[P_READ_ENTRIES], p[P_WRITE_ENTRIES]) + 1), np.int64)
    waiting = np.zeros(2, np.int64)
    x = np.zeros(XS, np.int64)
    due = p[P_REF_INTERVAL] if p[P_REFRESH] > 0 else FAR
    tick = 0
    while True:
        accept(c, x, pool, waiting, where, rows, writes, arrival, tick)
        if tick == due:
            x[X_REFRESHES] += 1
            due += p[P_REF_INTERVAL]
        sent = turn_tick(c, x, queue, length, tick)
        moved = forward(c, x, pool, waiting, queue, length)
        if x[X_NEXT] == where.shape[0] and waiting[0] == 0 and _reads_left(queue, length) == 0:
            break
        if sent or moved:
            tick += 1
        else:
            after = min(next_event(c, x, length, tick), due)
            if arrival.shape[0] > 0 and x[X_NEXT] < where.shape[0] and arrival[x[X_NEXT]] > tick:
                after = min(after, arrival[x[X_NEXT]])
            tick = after
    for pc in range(p[P_PSEUDO]):
        if c[O_OPEN + pc] == 0:
            c[N_CLOSED] += max(0, c[C_DONE] - c[O_SINCE + pc])
    return c


@kernel
def _reads_left(queue: Ints, length: Ints) -> int:
    """Reads in the queues of the banks."""
    left = 0
    for b in range(length.shape[0]):
        for k in range(length[b]):
            left += 1 - queue[b, Q_WRITE, k]
    return left
