"""The requests that a controller can see, kept so that the oldest ready command is found by one look at each bank.

Per bank there is a list of reads and one of writes, the oldest row hit and the oldest other request of each (kernel
constants: sim/memory/fields.py).

A key row holds, by bank, the key (first its age) of the oldest request that needs this command next, else ``FAR``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inlined
from sim.memory.fields import (
    B_ACTIVE,
    B_HEAD,
    B_HIT,
    B_MISS,
    B_PC,
    B_ROW,
    B_TAIL,
    C_ACTIVE,
    C_COL_WAKE,
    C_FREE,
    C_HELD,
    C_MODE,
    C_MOVED,
    C_ROW_WAKE,
    C_SPLIT_BANK,
    C_WAITING,
    FAR,
    G_ACT,
    G_PRE,
    G_RD,
    K_ACTIVE,
    K_COL,
    K_ROW,
    KEY_BITS,
    P_EDGE,
    P_HALF,
    P_PAIR,
    P_PASSES,
    P_PC_BANKS,
    P_SECOND,
    PC_MASK,
    PCS,
    ROW,
    S_ARRIVE,
    S_KEY,
    S_NEXT,
    S_PREV,
    S_ROW,
    SLOT_MASK,
    T_ACT,
    T_PRE,
    T_RD,
    WRITE_BIT,
)

Ints = NDArray[np.int64]


@inlined
def wake(c: Ints, which: int, tick: int) -> None:
    """A command of a bus may be ready at a tick."""
    c[which] = min(c[which], tick)


# ---------------------------------------------------------------- lists and keys


@inlined
def insert(c: Ints, b: int, row: int, w: int, seq: int, tick: int) -> None:
    """Enter a request (w: 0 read, 1 write) into its bank's list."""
    s = c[C_FREE] & SLOT_MASK
    c[C_FREE] = c[S_NEXT + s]
    c[S_KEY + s] = (seq << KEY_BITS) | (w << WRITE_BIT) | b
    c[S_ROW + s], c[S_ARRIVE + s] = row, tick
    tail = c[B_TAIL + w * ROW + b]
    c[S_NEXT + s], c[S_PREV + s] = -1, tail
    c[B_TAIL + w * ROW + b] = s
    if tail >= 0:
        c[S_NEXT + (tail & SLOT_MASK)] = s
    else:
        c[B_HEAD + w * ROW + b] = s
    c[C_WAITING + w] += 1
    c[C_MOVED] = 1
    if c[B_ROW + b] == row:
        if c[B_HIT + w * ROW + b] < 0:
            c[B_HIT + w * ROW + b] = s
            _show_hit(c, b, w)
    elif c[B_MISS + w * ROW + b] < 0:
        c[B_MISS + w * ROW + b] = s
        _show_miss(c, b, w)


@inlined
def _show_hit(c: Ints, b: int, w: int) -> None:
    """Publish the request that the row was opened for, else the oldest row hit.

    There is none while the row is only half activated; a bank that is to be refreshed serves no more hits.
    """
    key = c[K_ACTIVE + w * ROW + b]
    s = c[B_HIT + w * ROW + b]
    if key == FAR and s >= 0 and b != c[C_SPLIT_BANK] and b != c[C_HELD]:
        key = c[S_KEY + (s & SLOT_MASK)]
    c[K_COL + w * ROW + b] = key
    if key < FAR:
        wake(c, C_COL_WAKE, c[T_RD + w * ROW + b])


@inlined
def _show_miss(c: Ints, b: int, w: int) -> None:
    """Publish the oldest other request: it needs ACT in a closed bank, PRE in an open one that nobody waits for."""
    s = c[B_MISS + w * ROW + b]
    key = FAR
    if s >= 0 and c[B_ACTIVE + b] < 0 and b != c[C_HELD]:
        key = c[S_KEY + (s & SLOT_MASK)]
        pc = c[B_PC + b] & PC_MASK
        if c[B_ROW + b] < 0:
            wake(c, C_ROW_WAKE, max(c[T_ACT + b], c[G_ACT + pc]))
        else:
            wake(c, C_ROW_WAKE, max(c[T_PRE + b], c[G_PRE + pc]))
    c[K_ROW + w * ROW + b] = key


@inlined
def show(c: Ints, b: int) -> None:
    """Publish all keys of a bank."""
    for w in range(2):
        if c[B_HEAD + w * ROW + b] >= 0 or c[K_COL + w * ROW + b] < FAR or c[K_ACTIVE + w * ROW + b] < FAR:
            _show_hit(c, b, w)
            _show_miss(c, b, w)


@inlined
def row_closed(c: Ints, b: int) -> None:
    """Make the oldest requests wait for an activation after the bank was closed."""
    for w in range(2):
        s = c[B_HEAD + w * ROW + b]
        if s >= 0:
            c[B_HIT + w * ROW + b], c[B_MISS + w * ROW + b] = -1, s
            c[K_COL + w * ROW + b] = FAR
            _show_miss(c, b, w)


@inlined
def row_opened(c: Ints, b: int, own: int) -> None:
    """Find the oldest hit and the oldest other request after a row was opened for a read (own 0) or a write (1)."""
    row = c[B_ROW + b]
    for w in range(2):
        s = c[B_HEAD + w * ROW + b]
        if s < 0 and w != own:
            continue
        hit = miss = -1
        while s >= 0 and (hit < 0 or miss < 0):
            s = s & SLOT_MASK
            if c[S_ROW + s] == row:
                hit = s if hit < 0 else hit
            else:
                miss = s if miss < 0 else miss
            s = c[S_NEXT + s]
        c[B_HIT + w * ROW + b], c[B_MISS + w * ROW + b] = hit, miss
        c[K_ROW + w * ROW + b] = FAR  # nobody closes the row before it was used
        _show_hit(c, b, w)


@inlined
def unlink(c: Ints, s: int, b: int, w: int) -> None:
    """Take a request out of its list; it keeps its slot."""
    before, after = c[S_PREV + s], c[S_NEXT + s]
    if before >= 0:
        c[S_NEXT + (before & SLOT_MASK)] = after
    else:
        c[B_HEAD + w * ROW + b] = after
    if after >= 0:
        c[S_PREV + (after & SLOT_MASK)] = before
    else:
        c[B_TAIL + w * ROW + b] = before
    c[C_WAITING + w] -= 1
    c[C_MOVED] = 1


@inlined
def free(c: Ints, s: int) -> None:
    """Give a slot back."""
    c[S_NEXT + s] = c[C_FREE]
    c[C_FREE] = s


@inlined
def hit_served(c: Ints, b: int, w: int) -> None:
    """Remove the oldest hit; the next one stands behind it in the list."""
    s = c[B_HIT + w * ROW + b] & SLOT_MASK
    row = c[S_ROW + s]
    after = c[S_NEXT + s]
    unlink(c, s, b, w)
    while after >= 0 and c[S_ROW + (after & SLOT_MASK)] != row:
        after = c[S_NEXT + (after & SLOT_MASK)]
    c[B_HIT + w * ROW + b] = after
    free(c, s)
    _show_hit(c, b, w)


# ---------------------------------------------------------------- searches
# Two halves of the banks (two pseudo-channels, or halves of one) are looked at side by side, so that there is one
# reduction instead of two; unsigned places and plain comparisons let the compiler take four banks at a time.


@inlined
def _row_time(c: Ints, keys: int, b: int, act: int, pre: int, edge: int) -> int:
    """Tick from which a bank's next row command is ready, FAR without one."""
    key, row = c[np.uint64(keys + b)], c[np.uint64(B_ROW + b)]
    act_time, pre_time = c[np.uint64(T_ACT + b)], c[np.uint64(T_PRE + b)]
    closed = row < 0
    own = act_time if closed else pre_time
    gate = act if closed else pre
    time = max(own, gate) | (edge if closed else 0)
    found: int = time if key < FAR else FAR
    return found


@inlined
def oldest_row(c: Ints, early: int, tick: int) -> tuple[int, int, int]:
    """Oldest request of the current kind whose PRE, or ACT if it is not before ``early``, is ready.

    Returns:
        Its key or FAR; the earliest tick at which one of the others may be ready; how many are ready.
    """
    best = soon = FAR
    ready = 0
    keys = K_ROW + (c[C_MODE] & 1) * ROW
    edge = c[P_EDGE]
    for at in range(c[P_PASSES]):
        low = at * c[P_PC_BANKS]
        then = at + c[P_PAIR]
        high = low + c[P_SECOND]
        act, pre = max(c[G_ACT + at], early), c[G_PRE + at]
        act_then, pre_then = max(c[G_ACT + then], early), c[G_PRE + then]
        for k in range(c[P_HALF]):
            time = _row_time(c, keys, low + k, act, pre, edge)
            key = c[np.uint64(keys + low + k)]
            best = min(best, key if time <= tick else FAR)
            soon = min(soon, time if time > tick else FAR)
            ready += 1 if time <= tick else 0
            time = _row_time(c, keys, high + k, act_then, pre_then, edge)
            key = c[np.uint64(keys + high + k)]
            best = min(best, key if time <= tick else FAR)
            soon = min(soon, time if time > tick else FAR)
            ready += 1 if time <= tick else 0
    return best, soon, ready


@inlined
def _column_time(c: Ints, keys: int, times: int, b: int, gate: int) -> int:
    """Tick from which a bank's next column command is ready, FAR without one."""
    key, own = c[np.uint64(keys + b)], c[np.uint64(times + b)]
    time = max(own, gate)
    found: int = time if key < FAR else FAR
    return found


@inlined
def oldest_column(c: Ints, tick: int) -> tuple[int, int, int]:
    """Oldest ready request whose row was opened for it, else the oldest ready row hit of the current kind.

    Returns:
        As of :func:`oldest_row`.
    """
    best = soon = FAR
    ready = 0
    mode = c[C_MODE] & 1
    for turn in range(2 if c[C_ACTIVE + 1 - mode] > 0 else 1):
        w = mode ^ turn
        keys = (K_COL if turn == 0 else K_ACTIVE) + w * ROW
        times = T_RD + w * ROW
        for at in range(c[P_PASSES]):
            low = at * c[P_PC_BANKS]
            high = low + c[P_SECOND]
            gate, gate_then = c[G_RD + w * PCS + at], c[G_RD + w * PCS + at + c[P_PAIR]]
            for k in range(c[P_HALF]):
                time = _column_time(c, keys, times, low + k, gate)
                key = c[np.uint64(keys + low + k)]
                best = min(best, key if time <= tick else FAR)
                soon = min(soon, time if time > tick else FAR)
                ready += 1 if time <= tick else 0
                time = _column_time(c, keys, times, high + k, gate_then)
                key = c[np.uint64(keys + high + k)]
                best = min(best, key if time <= tick else FAR)
                soon = min(soon, time if time > tick else FAR)
                ready += 1 if time <= tick else 0
    return best, soon, ready
