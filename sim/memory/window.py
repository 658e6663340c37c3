"""The requests that a controller can see, kept so that the oldest ready command is found without a search.

Per bank there is a list of reads and one of writes, the oldest row hit and the oldest other request of each (kernel
constants: sim/memory/fields.py).

A key row holds, by bank, ``sequence << 8 | bank`` of the oldest request that needs this command next, else ``FAR``.
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
    B_ROW,
    B_TAIL,
    C_COL_WAKE,
    C_FREE,
    C_HELD,
    C_MOVED,
    C_ROW_WAKE,
    C_SPLIT_BANK,
    C_WAITING,
    FAR,
    K_ACT,
    K_ACTIVE,
    K_COL,
    K_PRE,
    KEY_BITS,
    ROW,
    S_ARRIVE,
    S_BANK,
    S_NEXT,
    S_PREV,
    S_ROW,
    S_SEQ,
    S_WRITE,
    T_ACT,
    T_PRE,
    T_RD,
)

Ints = NDArray[np.int64]


@inlined
def key_of(c: Ints, s: int) -> int:
    """Key of a request: its age, then its bank."""
    key: int = (c[S_SEQ + s] << KEY_BITS) | c[S_BANK + s]
    return key


@inlined
def wake(c: Ints, which: int, tick: int) -> None:
    """A command of a bus may be ready at a tick."""
    c[which] = min(c[which], tick)


@inlined
def insert(c: Ints, b: int, row: int, w: int, seq: int, tick: int) -> None:
    """Enter a request (w: 0 read, 1 write) into its bank's list."""
    s = c[C_FREE]
    c[C_FREE] = c[S_NEXT + s]
    c[S_BANK + s], c[S_ROW + s], c[S_SEQ + s] = b, row, seq
    c[S_WRITE + s], c[S_ARRIVE + s] = w, tick
    tail = c[B_TAIL + w * ROW + b]
    c[S_NEXT + s], c[S_PREV + s] = -1, tail
    c[B_TAIL + w * ROW + b] = s
    if tail >= 0:
        c[S_NEXT + tail] = s
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
        key = key_of(c, s)
    c[K_COL + w * ROW + b] = key
    if key < FAR:
        wake(c, C_COL_WAKE, c[T_RD + w * ROW + b])


@inlined
def _show_miss(c: Ints, b: int, w: int) -> None:
    """Publish the oldest other request: it needs ACT in a closed bank, PRE in an open one that nobody waits for."""
    c[K_ACT + w * ROW + b] = FAR
    c[K_PRE + w * ROW + b] = FAR
    s = c[B_MISS + w * ROW + b]
    if s < 0 or b == c[C_HELD]:
        return
    if c[B_ROW + b] < 0:
        c[K_ACT + w * ROW + b] = key_of(c, s)
        wake(c, C_ROW_WAKE, c[T_ACT + b])
    elif c[B_ACTIVE + b] < 0:
        c[K_PRE + w * ROW + b] = key_of(c, s)
        wake(c, C_ROW_WAKE, c[T_PRE + b])


@inlined
def show(c: Ints, b: int) -> None:
    """Publish all keys of a bank."""
    for w in range(2):
        if c[B_HEAD + w * ROW + b] < 0 and c[K_COL + w * ROW + b] == FAR and c[K_ACTIVE + w * ROW + b] == FAR:
            continue
        _show_hit(c, b, w)
        _show_miss(c, b, w)


@inlined
def row_changed(c: Ints, b: int) -> None:
    """Find the oldest hit and the oldest other request after the open row changed."""
    row = c[B_ROW + b]
    for w in range(2):
        hit = miss = -1
        s = c[B_HEAD + w * ROW + b]
        if s < 0 and c[B_HIT + w * ROW + b] < 0 and c[B_MISS + w * ROW + b] < 0 and c[K_ACTIVE + w * ROW + b] == FAR:
            continue
        if row < 0:
            miss = s
        else:
            while s >= 0 and (hit < 0 or miss < 0):
                if c[S_ROW + s] == row:
                    hit = s if hit < 0 else hit
                elif miss < 0:
                    miss = s
                s = c[S_NEXT + s]
        c[B_HIT + w * ROW + b], c[B_MISS + w * ROW + b] = hit, miss
        _show_hit(c, b, w)
        _show_miss(c, b, w)


@inlined
def unlink(c: Ints, s: int) -> None:
    """Take a request out of its list; it keeps its slot."""
    b, w = c[S_BANK + s], c[S_WRITE + s]
    before, after = c[S_PREV + s], c[S_NEXT + s]
    if before >= 0:
        c[S_NEXT + before] = after
    else:
        c[B_HEAD + w * ROW + b] = after
    if after >= 0:
        c[S_PREV + after] = before
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
    s = c[B_HIT + w * ROW + b]
    row = c[S_ROW + s]
    after = c[S_NEXT + s]
    unlink(c, s)
    while after >= 0 and c[S_ROW + after] != row:
        after = c[S_NEXT + after]
    c[B_HIT + w * ROW + b] = after
    free(c, s)
    _show_hit(c, b, w)
