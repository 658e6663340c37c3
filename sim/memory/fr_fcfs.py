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
    C_ARRIVES,
    C_COL_WAKE,
    C_DONE,
    C_HELD,
    C_MODE,
    C_MOVED,
    C_NEXT,
    C_REF_AT,
    C_REF_DUE,
    C_REF_WAITING,
    C_ROW_WAKE,
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
    G_REF,
    K_ACTIVE,
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
    PC_MASK,
    PRE,
    PREA,
    RD,
    REF,
    REFPB,
    ROW,
    S_ARRIVE,
    S_KEY,
    S_ROW,
    SLOT_MASK,
    T_ACT,
    T_PRE,
    U_COL,
    U_ROW,
    WR,
    WRITE_BIT,
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
from sim.memory.window import free, hit_served, insert, oldest_column, oldest_row, row_closed, row_opened, show, unlink

Ints = NDArray[np.int64]


# ---------------------------------------------------------------- the queues


@inlined
def admit(c: Ints, where: Ints, rows: Ints, writes: Ints, arrival: Ints, tick: int) -> None:
    """Offer requests in order until one has not arrived or its queue is full."""
    i = c[C_NEXT]
    going = i < where.shape[0]
    while going:
        w = writes[i] & 1
        arrived = arrival[i] if i < arrival.shape[0] else 0
        going = c[C_WAITING + w] < c[P_READ_ENTRIES + w] and arrived <= tick
        if going:
            insert(c, where[i] & BANK_MASK, rows[i], w, i, tick)
            i += 1
            going = i < where.shape[0]
    c[C_NEXT] = i
    c[C_ARRIVES] = arrival[i] if i < arrival.shape[0] else FAR


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
def kind_of(key: int) -> int:
    """0 for a key of a read, 1 of a write."""
    return (key >> WRITE_BIT) & 1


@inlined
def send_column(c: Ints, s: int, w: int, b: int, tick: int) -> None:
    """RD or WR of a request, whose completion it settles."""
    if w == 0:
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
    w = kind_of(found)
    s = (c[B_ACTIVE + b] if found < 0 else c[B_HIT + w * ROW + b]) & SLOT_MASK
    send_column(c, s, w, b, tick)
    if found < 0:
        c[B_ACTIVE + b] = -1
        c[K_ACTIVE + w * ROW + b] = FAR
        c[C_ACTIVE + w] -= 1
        free(c, s)
        show(c, b)
    else:
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
    row_closed(c, b)


@kernel
def closed_bank(c: Ints, pc: int, b: int, tick: int) -> None:
    """:func:`close_bank` where it is too rare to be worth a copy."""
    close_bank(c, pc, b, tick)


@inlined
def open_bank(c: Ints, b: int, w: int, tick: int) -> None:
    """ACT for the oldest read (w 0) or write of a bank, which leaves its queue and waits for its column command."""
    s = c[B_MISS + w * ROW + b] & SLOT_MASK
    activated(c, b, tick)
    note(c, ACT, b, tick)
    pc = c[B_PC + b] & PC_MASK
    if c[O_OPEN + pc] == 0:
        c[N_CLOSED] += tick - c[O_SINCE + pc]
    c[O_OPEN + pc] += 1
    unlink(c, s, b, w)
    c[B_ROW + b], c[B_ACTIVE + b] = c[S_ROW + s], s
    c[C_ACTIVE + w] += 1
    if c[P_SPLIT] == 1:
        c[C_SPLIT_BANK], c[C_SPLIT_UNTIL] = b, tick + c[P_AAD]
    else:
        c[K_ACTIVE + w * ROW + b] = c[S_KEY + s] - FIRST
    row_opened(c, b, w)


@kernel
def finish_split(c: Ints, tick: int) -> None:
    """Second half of an activation."""
    b = c[C_SPLIT_BANK]
    note(c, ACT2, b, tick)
    c[U_ROW] = c[U_COL] = c[C_ROW_WAKE] = tick + 1
    c[C_SPLIT_BANK] = -1
    s = c[B_ACTIVE + b]
    key = c[S_KEY + s]
    c[K_ACTIVE + kind_of(key) * ROW + b] = key - FIRST
    show(c, b)


@inlined
def row_command(c: Ints, found: int, tick: int) -> None:
    """ACT or PRE for the request with this key."""
    b = found & BANK_MASK
    if c[B_ROW + b] < 0:
        open_bank(c, b, kind_of(found), tick)
    else:
        precharged(c, b, tick)
        note(c, PRE, b, tick)
        close_bank(c, c[B_PC + b] & PC_MASK, b, tick)


# ---------------------------------------------------------------- refresh


@inlined
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
            closed_bank(c, pc, b, tick)
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
        closed_bank(c, pc, b, tick)
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
    free_bus = c[U_ROW] <= tick
    if free_bus and c[C_REF_WAITING] > 0:
        free_bus = not refresh_step(c, rising, tick)
    if free_bus and not blocked:
        choose_mode(c, tick)
        if c[C_ROW_WAKE] <= tick:
            row_slot(c, rising, tick)


@inlined
def column_slot(c: Ints, blocked: bool, tick: int) -> None:
    """The column command of a tick, or when there may be one."""
    found, soon, ready = oldest_column(c, tick)
    if blocked and found > 0:
        found = FAR
    c[C_COL_WAKE] = soon if ready <= 1 else tick + 1
    if found < FAR:
        serve(c, found, tick)
        c[C_COL_WAKE] = max(c[C_COL_WAKE], c[U_COL])


@inlined
def row_slot(c: Ints, rising: bool, tick: int) -> None:
    """The row command of a tick, or when there may be one."""
    found, soon, ready = oldest_row(c, 0 if rising else tick + 1, tick)
    c[C_ROW_WAKE] = soon if ready <= 1 else tick + 1
    if found < FAR:
        row_command(c, found, tick)


@inlined
def one_bus_tick(c: Ints, tick: int) -> None:
    """One command on the one bus."""
    blocked = c[C_REF_WAITING] > 0 and c[P_REF_BLOCKS] == 1
    if not blocked:
        choose_mode(c, tick)
    if c[U_ROW] <= tick:
        if c[C_SPLIT_BANK] >= 0 and c[C_SPLIT_UNTIL] <= tick:
            finish_split(c, tick)
        else:
            column = c[C_SYNCED]
            c[C_SYNCED] = 0
            if column == 0:
                column = shared_slot(c, blocked, tick)
            if column < FAR:
                serve(c, column, tick)


@inlined
def shared_slot(c: Ints, blocked: bool, tick: int) -> int:
    """The command of a tick on a bus for rows and columns: opened rows first, then a refresh, then by age.

    Returns:
        The key of the request whose column command is to be sent, FAR if there is none or another command was sent.
    """
    column = row = FAR
    after, ready = c[C_COL_WAKE], 0
    if after <= tick:
        column, after, ready = oldest_column(c, tick)
        c[C_COL_WAKE] = after if ready == 0 else tick + 1
        if blocked and column > 0:
            column = FAR
    refreshing = column > 0 and c[C_REF_WAITING] > 0 and refresh_step(c, True, tick)
    if column > 0 and not refreshing and not blocked and c[C_ROW_WAKE] <= tick:
        row, soon, others = oldest_row(c, 0 if c[C_SPLIT_BANK] < 0 else FAR, tick)
        c[C_ROW_WAKE] = soon if others == 0 or (others == 1 and row < column) else tick + 1
    if refreshing:
        column = FAR
    elif row < column:
        row_command(c, row, tick)
        column = FAR
    elif column < FAR:
        if c[P_WCK_RD] > 0 and tick >= c[C_WCK_UNTIL]:
            start_data_clock(c, column, tick)
            column = FAR
        elif ready == 1:
            c[C_COL_WAKE] = after
    elif c[C_SPLIT_BANK] >= 0:
        finish_split(c, tick)
    return column


@kernel
def start_data_clock(c: Ints, found: int, tick: int) -> None:
    """The command before a column command whose data clock has stopped; first half an activation that cannot wait."""
    if c[C_SPLIT_BANK] >= 0 and c[C_SPLIT_UNTIL] <= tick + 1:
        finish_split(c, tick)
    else:
        note(c, CAS, found & BANK_MASK, tick)
        c[U_ROW] = c[U_COL] = tick + 1
        c[C_SYNCED] = found


@inlined
def following(c: Ints, tick: int) -> int:
    """Next tick at which something may happen."""
    after = tick + 1
    if c[C_MOVED] + c[P_STEP] + c[C_REF_WAITING] + c[C_SPLIT_BANK] + 1 == 0 and c[C_SYNCED] == 0:
        column, row = c[C_COL_WAKE] | c[P_EDGE], max(c[C_ROW_WAKE], c[U_ROW])
        if c[P_DUAL] == 0:
            column = max(column, c[U_COL])
        arrives = c[C_ARRIVES] if c[C_ARRIVES] > tick else FAR
        after = max(after, min(column, row, c[C_REF_DUE], arrives))
    return after


@kernel
def serve_all(c: Ints, where: Ints, rows: Ints, writes: Ints, arrival: Ints) -> None:
    """Visit ticks until all requests are served.

    A function of its own, because the compiler would count references to an array that is made in it, tick by tick.
    """
    tick = 1
    c[C_MOVED] = 1
    while c[C_NEXT] < where.shape[0] or c[C_WAITING] + c[C_WAITING_W] + c[C_ACTIVE] + c[C_ACTIVE + 1] > 0:
        if c[C_MOVED] == 1 or c[C_ARRIVES] <= tick:
            c[C_MOVED] = 0
            admit(c, where, rows, writes, arrival, tick)
        refresh_due(c, tick)
        if c[P_DUAL] == 1:
            two_bus_tick(c, tick)
        else:
            one_bus_tick(c, tick)
        tick = following(c, tick)


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
    serve_all(c, where, rows, writes, arrival)
    for pc in range(p[P_PSEUDO]):
        if c[O_OPEN + pc] == 0:
            c[N_CLOSED] += max(0, c[C_DONE] - c[O_SINCE + pc])
    return c
