"""Controller with one read and one write queue: the oldest request whose next command is ready goes first.

Event driven: only ticks at which something may change are visited. Requests whose row was opened leave their queue
and go before all others, their bank is not closed until they are served; writes are drained between two fill levels;
a refresh stops ordinary requests until it is done.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inlined, kernel
from sim.memory.fields import (
    ACT,
    ACT2,
    B_ACTIVE,
    B_HIT,
    B_MISS,
    B_PC,
    B_ROW,
    BANK_MASK,
    C_ACTIVE,
    C_COL_WAKE,
    C_DONE,
    C_HELD,
    C_MODE,
    C_MOVED,
    C_NEXT,
    C_READY,
    C_REF_AT,
    C_REF_DUE,
    C_REF_WAITING,
    C_ROW_WAKE,
    C_SOON,
    C_SPLIT_BANK,
    C_SPLIT_UNTIL,
    C_SYNCED,
    C_WAITING,
    C_WAITING_W,
    C_WCK_UNTIL,
    CAS,
    FAR,
    FIRST,
    G_ACT,
    G_PRE,
    G_PREA,
    G_RD,
    G_REF,
    K_ACT,
    K_ACTIVE,
    K_COL,
    K_PRE,
    N_CLOSED,
    N_HITS,
    N_LATENCY,
    O_OPEN,
    O_SINCE,
    P_AAD,
    P_CLOSED_PAGE,
    P_DRAIN_START,
    P_DRAIN_STOP,
    P_DUAL,
    P_EDGE,
    P_PC_BANKS,
    P_PRE_ACT,
    P_PSEUDO,
    P_READ_DATA,
    P_READ_ENTRIES,
    P_REF_BLOCKS,
    P_REF_INTERVAL,
    P_REFRESH,
    P_SPLIT,
    P_STEP,
    P_WCK_RD,
    P_WCK_WR,
    PCS,
    PRE,
    PREA,
    RD,
    REF,
    REFPB,
    ROW,
    S_ARRIVE,
    S_ROW,
    S_WRITE,
    T_ACT,
    T_PRE,
    T_RD,
    U_COL,
    U_ROW,
    WR,
)
from sim.memory.timing_rules import (
    activated,
    later,
    new_channel,
    note,
    precharged,
    precharged_all,
    read,
    refreshed,
    refreshed_bank,
    written,
)
from sim.memory.window import free, hit_served, insert, key_of, row_changed, show, unlink

Ints = NDArray[np.int64]


@inlined
def oldest(c: Ints, keys: int, times: int, low: int, gate: int, tick: int) -> int:
    """Smallest key of a row in a pseudo-channel whose bank's earliest time has come; FAR without any.

    ``C_READY`` counts the ready ones, ``C_SOON`` keeps the earliest time of the others. Unsigned places and plain
    comparisons let the compiler look at four banks at a time.
    """
    best = FAR
    if gate > tick:
        c[C_SOON] = min(c[C_SOON], gate)
        return best
    soon = c[C_SOON]
    count = c[C_READY]
    for b in range(c[P_PC_BANKS]):
        key = c[np.uint64(keys + low + b)]
        time = c[np.uint64(times + low + b)]
        ready = key if time <= tick else FAR
        waits = time if key < FAR and time > tick else FAR
        count += 1 if ready < FAR else 0
        best = ready if ready < best else best
        soon = waits if waits < soon else soon
    c[C_SOON] = soon
    c[C_READY] = count
    return best


@inlined
def begin_search(c: Ints) -> None:
    """Forget the last search."""
    c[C_SOON] = FAR
    c[C_READY] = 0


@inlined
def next_search(c: Ints, tick: int) -> int:
    """When to search again if nothing changes: at once if another command was ready too."""
    return c[C_SOON] if c[C_READY] <= 1 else tick + 1


# ---------------------------------------------------------------- the queues


@kernel
def admit(c: Ints, where: Ints, rows: Ints, writes: Ints, arrival: Ints, tick: int) -> None:
    """Offer requests in order until one has not arrived or its queue is full."""
    i = c[C_NEXT]
    timed = arrival.shape[0] > 0
    while i < where.shape[0]:
        w = writes[i]
        if c[C_WAITING + w] >= c[P_READ_ENTRIES + w] or (timed and arrival[i] > tick):
            break
        insert(c, where[i], rows[i], w, i, tick)
        i += 1
    c[C_NEXT] = i


@inlined
def choose_mode(c: Ints, tick: int) -> None:
    """Start or end a drain of the writes by the queues' fill levels; all keys count anew after a change."""
    reads, writes = c[C_WAITING], c[C_WAITING_W]
    mode = c[C_MODE]
    if mode == 0:
        mode = 1 if writes >= c[P_DRAIN_START] or reads == 0 else 0
    elif writes <= c[P_DRAIN_STOP] and reads != 0:
        mode = 0
    if mode != c[C_MODE]:
        c[C_MODE] = mode
        c[C_COL_WAKE] = c[C_ROW_WAKE] = tick


# ---------------------------------------------------------------- commands


@inlined
def send_column(c: Ints, s: int, b: int, tick: int) -> None:
    """RD or WR of a request, whose completion it settles."""
    if c[S_WRITE + s] == 0:
        read(c, b, tick)
        note(c, RD, b, tick)
        done = tick + c[P_READ_DATA]
        c[N_LATENCY] += done - c[S_ARRIVE + s]
        c[C_WCK_UNTIL] = max(c[C_WCK_UNTIL], tick + c[P_WCK_RD])
    else:
        written(c, b, tick)
        note(c, WR, b, tick)
        done = tick
        c[C_WCK_UNTIL] = max(c[C_WCK_UNTIL], tick + c[P_WCK_WR])
    c[C_DONE] = max(c[C_DONE], done)


@inlined
def serve(c: Ints, found: int, tick: int) -> None:
    """Send the column command of the request with this key: the one its bank was opened for, or a row hit."""
    b = found & BANK_MASK
    if found < 0:
        s = c[B_ACTIVE + b]
        w = c[S_WRITE + s]
        send_column(c, s, b, tick)
        c[B_ACTIVE + b] = -1
        c[K_ACTIVE + w * ROW + b] = FAR
        c[C_ACTIVE + w] -= 1
        free(c, s)
        show(c, b)
    else:
        w = 0 if c[K_COL + b] == found else 1
        send_column(c, c[B_HIT + w * ROW + b], b, tick)
        c[N_HITS] += 1
        hit_served(c, b, w)
    if c[P_CLOSED_PAGE] == 1 and c[B_HIT + b] < 0 and c[B_HIT + ROW + b] < 0 and c[B_ACTIVE + b] < 0:
        close_itself(c, b, tick)


@kernel
def close_itself(c: Ints, b: int, tick: int) -> None:
    """Auto-precharge: the bank closes as soon as tRAS, tRTP and tWR allow."""
    done = c[T_PRE + b] + c[P_PRE_ACT]
    later(c, T_ACT + b, done)
    later(c, G_REF + c[B_PC + b], done)
    close_bank(c, c[B_PC + b], b, tick)


@inlined
def close_bank(c: Ints, pc: int, b: int, tick: int) -> None:
    """Forget the open row; remember since when all banks of the pseudo-channel are closed."""
    if c[B_ROW + b] >= 0:
        c[O_OPEN + pc] -= 1
        if c[O_OPEN + pc] == 0:
            c[O_SINCE + pc] = tick
    c[B_ROW + b] = -1
    row_changed(c, b)


@inlined
def open_bank(c: Ints, b: int, s: int, tick: int) -> None:
    """ACT for a request, which leaves its queue and waits beside it for its column command."""
    activated(c, b, tick)
    note(c, ACT, b, tick)
    pc = c[B_PC + b]
    if c[O_OPEN + pc] == 0:
        c[N_CLOSED] += tick - c[O_SINCE + pc]
    c[O_OPEN + pc] += 1
    unlink(c, s)
    c[B_ROW + b], c[B_ACTIVE + b] = c[S_ROW + s], s
    w = c[S_WRITE + s]
    c[C_ACTIVE + w] += 1
    if c[P_SPLIT] == 1:
        c[C_SPLIT_BANK], c[C_SPLIT_UNTIL] = b, tick + c[P_AAD]
    else:
        c[K_ACTIVE + w * ROW + b] = key_of(c, s) - FIRST
    row_changed(c, b)


@kernel
def finish_split(c: Ints, tick: int) -> None:
    """Second half of an activation."""
    b = c[C_SPLIT_BANK]
    note(c, ACT2, b, tick)
    c[U_ROW] = c[U_COL] = c[C_ROW_WAKE] = tick + 1
    c[C_SPLIT_BANK] = -1
    s = c[B_ACTIVE + b]
    w = c[S_WRITE + s]
    c[K_ACTIVE + w * ROW + b] = key_of(c, s) - FIRST
    show(c, b)


@inlined
def row_command(c: Ints, found: int, tick: int) -> None:
    """ACT or PRE for the request with this key."""
    b = found & BANK_MASK
    if c[B_ROW + b] < 0:
        w = 0 if c[K_ACT + b] == found else 1
        open_bank(c, b, c[B_MISS + w * ROW + b], tick)
    else:
        precharged(c, b, tick)
        note(c, PRE, b, tick)
        pc = c[B_PC + b]
        close_bank(c, pc, b, tick)


# ---------------------------------------------------------------- refresh


@kernel
def refresh_due(c: Ints, tick: int) -> None:
    """Enter refreshes whose time has come: one of each pseudo-channel, or one of the next bank."""
    while c[C_REF_DUE] <= tick:
        c[C_REF_WAITING] += c[P_PSEUDO] if c[P_REFRESH] == 1 else 1
        c[C_REF_DUE] += c[P_REF_INTERVAL]


@kernel
def refresh_all(c: Ints, rising: bool, tick: int) -> bool:
    """Next command of a waiting refresh of all banks: PREA, then REF; False where it has to wait."""
    pc = c[C_REF_AT]
    banks = c[P_PC_BANKS]
    if c[O_OPEN + pc] > 0:
        if tick < c[G_PREA + pc]:
            return False
        for b in range(pc * banks, (pc + 1) * banks):
            if c[B_ACTIVE + b] >= 0:
                return False
        precharged_all(c, pc, tick)
        note(c, PREA, pc * banks, tick)
        for b in range(pc * banks, (pc + 1) * banks):
            close_bank(c, pc, b, tick)
        return True
    if not rising or tick < c[G_REF + pc]:
        return False
    refreshed(c, pc, tick)
    note(c, REF, pc * banks, tick)
    c[C_REF_WAITING] -= 1
    c[C_REF_AT] = pc + 1 if pc + 1 < c[P_PSEUDO] else 0
    c[C_ROW_WAKE] = c[C_COL_WAKE] = tick + 1
    return True


@kernel
def refresh_bank(c: Ints, rising: bool, tick: int) -> bool:
    """Next command of a waiting refresh of one bank: PRE, then REFpb; False where it has to wait."""
    b = c[C_REF_AT]
    pc = c[B_PC + b]
    if c[P_REF_BLOCKS] == 0 and c[C_HELD] != b:
        c[C_HELD] = b
        show(c, b)
    if c[B_ROW + b] >= 0:
        if tick < c[T_PRE + b] or tick < c[G_PRE + pc] or c[B_ACTIVE + b] >= 0:
            return False
        precharged(c, b, tick)
        note(c, PRE, b, tick)
        close_bank(c, pc, b, tick)
        return True
    if not rising or tick < c[T_ACT + b] or tick < c[G_ACT + pc]:
        return False
    refreshed_bank(c, b, tick)
    note(c, REFPB, b, tick)
    c[C_HELD] = -1
    show(c, b)
    c[C_REF_WAITING] -= 1
    c[C_REF_AT] = b + 1 if b + 1 < c[P_PSEUDO] * c[P_PC_BANKS] else 0
    c[C_ROW_WAKE] = c[C_COL_WAKE] = tick + 1
    return True


@kernel
def refresh_step(c: Ints, rising: bool, tick: int) -> bool:
    """Send the next command of a waiting refresh if it is ready."""
    if c[C_SPLIT_BANK] >= 0:
        return False
    if c[P_REFRESH] == 1:
        return refresh_all(c, rising, tick)
    return refresh_bank(c, rising, tick)


# ---------------------------------------------------------------- choosing


@inlined
def ready_column(c: Ints, blocked: bool, tick: int) -> int:
    """Oldest ready request whose row was opened for it, else (unless blocked) the oldest ready row hit."""
    best = FAR
    mode = c[C_MODE]
    other = 1 - mode
    for pc in range(c[P_PSEUDO]):
        low = pc * c[P_PC_BANKS]
        gate = c[G_RD + mode * PCS + pc]
        found = oldest(c, K_COL + mode * ROW, T_RD + mode * ROW, low, gate, tick)
        best = found if found < best else best
        if c[C_ACTIVE + other] > 0:
            gate = c[G_RD + other * PCS + pc]
            found = oldest(c, K_ACTIVE + other * ROW, T_RD + other * ROW, low, gate, tick)
            best = found if found < best else best
    return FAR if blocked and best > 0 else best


@inlined
def ready_row(c: Ints, act: bool, tick: int) -> int:
    """Oldest request whose PRE, or ACT if those are allowed, is ready."""
    best = FAR
    mode = c[C_MODE]
    for pc in range(c[P_PSEUDO]):
        low = pc * c[P_PC_BANKS]
        if act:
            found = oldest(c, K_ACT + mode * ROW, T_ACT, low, c[G_ACT + pc], tick)
            best = found if found < best else best
        found = oldest(c, K_PRE + mode * ROW, T_PRE, low, c[G_PRE + pc], tick)
        best = found if found < best else best
    return best


# ---------------------------------------------------------------- one tick


@inlined
def two_bus_tick(c: Ints, tick: int) -> None:
    """A column command and a row command, each on its bus."""
    rising = c[P_EDGE] == 0 or tick & 1 == 1
    blocked = c[C_REF_WAITING] > 0 and c[P_REF_BLOCKS] == 1
    if not blocked:
        choose_mode(c, tick)
    if rising and c[C_COL_WAKE] <= tick:
        column_slot(c, blocked, tick)
    if c[U_ROW] > tick or (c[C_REF_WAITING] > 0 and refresh_step(c, rising, tick)) or blocked:
        return
    choose_mode(c, tick)
    if c[C_ROW_WAKE] <= tick:
        begin_search(c)
        found = ready_row(c, rising, tick)
        c[C_ROW_WAKE] = next_search(c, tick) if rising else tick + 1
        if found < FAR:
            row_command(c, found, tick)
            c[C_ROW_WAKE] = max(c[C_ROW_WAKE], c[U_ROW])


@inlined
def column_slot(c: Ints, blocked: bool, tick: int) -> None:
    """The column command of a tick, or when there may be one."""
    begin_search(c)
    found = ready_column(c, blocked, tick)
    c[C_COL_WAKE] = next_search(c, tick)
    if found < FAR:
        serve(c, found, tick)
        c[C_COL_WAKE] = max(c[C_COL_WAKE], c[U_COL])
    if c[P_EDGE] == 1:
        c[C_COL_WAKE] |= 1


@inlined
def one_bus_tick(c: Ints, tick: int) -> None:
    """One command on the one bus."""
    if c[C_REF_WAITING] == 0 or c[P_REF_BLOCKS] == 0:
        choose_mode(c, tick)
    if c[U_ROW] > tick:
        return
    if c[C_SPLIT_BANK] >= 0 and c[C_SPLIT_UNTIL] <= tick:
        finish_split(c, tick)
    elif c[C_SYNCED] != 0:
        serve(c, c[C_SYNCED], tick)
        c[C_SYNCED] = 0
    elif c[C_REF_WAITING] > 0 or min(c[C_COL_WAKE], c[C_ROW_WAKE]) <= tick or c[C_MOVED] == 1:
        shared_slot(c, tick)
    elif c[C_SPLIT_BANK] >= 0:
        finish_split(c, tick)


@inlined
def shared_slot(c: Ints, tick: int) -> None:
    """The command of a tick on a bus for rows and columns: opened rows first, then a refresh, then by age."""
    waiting = c[C_REF_WAITING] > 0
    blocked = waiting and c[P_REF_BLOCKS] == 1
    begin_search(c)
    column = ready_column(c, blocked, tick)
    if column > 0 and waiting and refresh_step(c, True, tick):
        return
    row = FAR
    if column > 0 and not blocked:
        row = ready_row(c, c[C_SPLIT_BANK] < 0, tick)
    # an opened row was found before the rows were searched
    c[C_COL_WAKE] = c[C_ROW_WAKE] = next_search(c, tick) if column > 0 else tick + 1
    if row < column:
        row_command(c, row, tick)
    elif column < FAR:
        synced_column(c, column, tick)
    elif c[C_SPLIT_BANK] >= 0:
        finish_split(c, tick)


@kernel
def synced_column(c: Ints, found: int, tick: int) -> None:
    """A column command; where the data clock has stopped, first the command that starts it."""
    if c[P_WCK_RD] == 0 or tick < c[C_WCK_UNTIL]:
        serve(c, found, tick)
    elif c[C_SPLIT_BANK] >= 0 and c[C_SPLIT_UNTIL] <= tick + 1:
        finish_split(c, tick)
    else:
        note(c, CAS, found & BANK_MASK, tick)
        c[U_ROW] = c[U_COL] = tick + 1
        c[C_SYNCED] = found


@inlined
def following(c: Ints, where: Ints, arrival: Ints, tick: int) -> int:
    """Next tick at which something may happen."""
    if c[P_STEP] == 1 or c[C_MOVED] == 1 or c[C_REF_WAITING] > 0 or c[C_SPLIT_BANK] >= 0 or c[C_SYNCED] != 0:
        return tick + 1
    best = min(c[C_REF_DUE], c[C_COL_WAKE], c[C_ROW_WAKE])
    if arrival.shape[0] > 0 and c[C_NEXT] < where.shape[0]:
        best = min(best, arrival[c[C_NEXT]])
    after: int = max(best, tick + 1)
    return after


@kernel
def run_two_queues(p: Ints, where: Ints, rows: Ints, writes: Ints, arrival: Ints) -> Ints:
    """Serve a list of requests; the state of the channel at the end, with its counts and its log.

    Args:
        p: (PARAMS,) ticks and numbers, see sim/memory/fields.py.
        where, rows, writes: (n,) bank over all pseudo-channels, row, 1 for a write.
        arrival: (n,) ticks in order, or empty: each request is offered as soon as the one before it was taken.
    """
    c = new_channel(p)
    c[C_REF_DUE] = p[P_REF_INTERVAL] if p[P_REFRESH] > 0 else FAR
    tick = 1
    while True:
        c[C_MOVED] = 0
        admit(c, where, rows, writes, arrival, tick)
        if p[P_REFRESH] > 0:
            refresh_due(c, tick)
        if p[P_DUAL] == 1:
            two_bus_tick(c, tick)
        else:
            one_bus_tick(c, tick)
        left = c[C_WAITING] + c[C_WAITING_W] + c[C_ACTIVE] + c[C_ACTIVE + 1]
        if left == 0 and c[C_NEXT] == where.shape[0]:
            break
        tick = following(c, where, arrival, tick)
    for pc in range(p[P_PSEUDO]):
        if c[O_OPEN + pc] == 0:
            c[N_CLOSED] += max(0, c[C_DONE] - c[O_SINCE + pc])
    return c
