"""What each command does to the earliest times of the following ones: the spacing rules, one function a command.

The earliest times of a bank hold what its own rules and those of its group demand, those of a pseudo-channel what
holds for all its banks; a command is ready when both and its bus allow it (kernel constants: sim/memory/fields.py).
Rules: JEDEC timing parameters, counted between the ends of multi-clock commands (JESD79-5 command truth table and
timing tables; Ramulator 2.1 reads them so).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.jit import inlined, kernel
from sim.memory.fields import (
    A_RINGS,
    B_GROUP,
    B_HITS,
    B_PC,
    B_ROW,
    C_HELD,
    C_LOGGED,
    C_SPLIT_BANK,
    FAR,
    FAW_ACTS,
    G_ACT,
    G_PRE,
    G_PREA,
    G_RD,
    G_REF,
    G_WR,
    K_ACTIVE,
    LOG,
    LONG_ACTS,
    N_COMMANDS,
    P_A32,
    P_ACT_ACT,
    P_ACT_BUS,
    P_ACT_PRE,
    P_ACT_RD,
    P_ACT_REF,
    P_ACT_WR,
    P_COL_BUS,
    P_DUAL,
    P_FAW,
    P_GROUP_BANKS,
    P_LOG,
    P_PC_BANKS,
    P_PRE_ACT,
    P_PRE_BUS,
    P_PRE_PRE,
    P_PRE_REF,
    P_PREA_ACT,
    P_PSEUDO,
    P_RD_PRE,
    P_RD_RD_L,
    P_RD_RD_S,
    P_RD_WR,
    P_REF_ACT,
    P_REFPB_ACT,
    P_REFPB_OTHER,
    P_RRD_L,
    P_RRD_S,
    P_WR_PRE,
    P_WR_RD_L,
    P_WR_RD_S,
    P_WR_WR_L,
    P_WR_WR_S,
    PARAMS,
    PCS,
    RING,
    ROW,
    S_NEXT,
    SLOTS,
    STATE,
    T_ACT,
    T_PRE,
    T_RD,
    T_WR,
    U_COL,
    U_ROW,
)

Ints = NDArray[np.int64]
_LONG_AGO = -(2**40)


@inlined
def later(c: Ints, place: int, tick: int) -> None:
    """Move one earliest time to ``tick`` if that is later."""
    c[place] = max(c[place], tick)


@inlined
def later_all(c: Ints, low: int, high: int, tick: int) -> None:
    """Move the earliest times at places low to high - 1."""
    for place in range(high - low):
        at = np.uint64(low + place)
        wait = tick - c[at]
        c[at] += wait if wait > 0 else 0


@inlined
def take_row_bus(c: Ints, until: int) -> None:
    """The row bus (the only one, where there is one) is busy until a tick."""
    c[U_ROW] = until
    if c[P_DUAL] == 0:
        c[U_COL] = until


@inlined
def take_column_bus(c: Ints, until: int) -> None:
    """The column bus (the only one, where there is one) is busy until a tick."""
    c[U_COL] = until
    if c[P_DUAL] == 0:
        c[U_ROW] = until


@inlined
def push(c: Ints, ring: int, length: int, tick: int) -> int:
    """Enter an activation into a ring; the activation ``length - 1`` before it, which opened the window."""
    place = c[ring]
    c[ring + 1 + place] = tick
    place = place + 1 if place + 1 < length else 0
    c[ring] = place
    first: int = c[ring + 1 + place]
    return first


@inlined
def activated(c: Ints, b: int, tick: int) -> None:
    """ACT: tRCD, tRAS, tRC in the bank, tRRD_L in its group, tRRD_S, tFAW (and t32AW) in the pseudo-channel."""
    pc = c[B_PC + b]
    low = c[B_GROUP + b]
    later_all(c, T_ACT + low, T_ACT + low + c[P_GROUP_BANKS], tick + c[P_RRD_L])
    later(c, T_ACT + b, tick + c[P_ACT_ACT])
    later(c, T_RD + b, tick + c[P_ACT_RD])
    later(c, T_WR + b, tick + c[P_ACT_WR])
    later(c, T_PRE + b, tick + c[P_ACT_PRE])
    ring = A_RINGS + pc * RING
    later(c, G_ACT + pc, max(tick + c[P_RRD_S], push(c, ring, FAW_ACTS, tick) + c[P_FAW]))
    if c[P_A32] > 0:
        later(c, G_ACT + pc, push(c, ring + 1 + FAW_ACTS, LONG_ACTS, tick) + c[P_A32])
    later(c, G_PREA + pc, tick + c[P_ACT_PRE])
    later(c, G_REF + pc, tick + c[P_ACT_REF])
    take_row_bus(c, tick + c[P_ACT_BUS])


@inlined
def precharged(c: Ints, b: int, tick: int) -> None:
    """PRE: tRP to ACT and REF, tPPD to the next precharge."""
    pc = c[B_PC + b]
    later(c, T_ACT + b, tick + c[P_PRE_ACT])
    later(c, G_REF + pc, tick + c[P_PRE_REF])
    later(c, G_PRE + pc, tick + c[P_PRE_PRE])
    later(c, G_PREA + pc, tick + c[P_PRE_PRE])
    take_row_bus(c, tick + c[P_PRE_BUS])


@kernel
def precharged_all(c: Ints, pc: int, tick: int) -> None:
    """PREA: tRP (tRPab) to ACT, tRP to REF."""
    low = pc * c[P_PC_BANKS]
    later_all(c, T_ACT + low, T_ACT + low + c[P_PC_BANKS], tick + c[P_PREA_ACT])
    later(c, G_REF + pc, tick + c[P_PRE_REF])
    later(c, G_PRE + pc, tick + c[P_PRE_PRE])
    later(c, G_PREA + pc, tick + c[P_PRE_PRE])
    take_row_bus(c, tick + c[P_PRE_BUS])


@inlined
def read(c: Ints, b: int, tick: int) -> None:
    """RD: tCCD_L in the group, tCCD_S, tBURST and tRTW in the pseudo-channel, tRTP to the precharge."""
    pc = c[B_PC + b]
    low = c[B_GROUP + b]
    later_all(c, T_RD + low, T_RD + low + c[P_GROUP_BANKS], tick + c[P_RD_RD_L])
    later(c, G_RD + pc, tick + c[P_RD_RD_S])
    later(c, G_WR + pc, tick + c[P_RD_WR])
    later(c, T_PRE + b, tick + c[P_RD_PRE])
    later(c, G_PREA + pc, tick + c[P_RD_PRE])
    take_column_bus(c, tick + c[P_COL_BUS])


@inlined
def written(c: Ints, b: int, tick: int) -> None:
    """WR: tCCD_L_WR and tWTR_L in the group, tCCD_S_WR, tBURST and tWTR_S in the pseudo-channel, tWR."""
    pc = c[B_PC + b]
    low = c[B_GROUP + b]
    later_all(c, T_WR + low, T_WR + low + c[P_GROUP_BANKS], tick + c[P_WR_WR_L])
    later_all(c, T_RD + low, T_RD + low + c[P_GROUP_BANKS], tick + c[P_WR_RD_L])
    later(c, G_WR + pc, tick + c[P_WR_WR_S])
    later(c, G_RD + pc, tick + c[P_WR_RD_S])
    later(c, T_PRE + b, tick + c[P_WR_PRE])
    later(c, G_PREA + pc, tick + c[P_WR_PRE])
    take_column_bus(c, tick + c[P_COL_BUS])


@kernel
def refreshed(c: Ints, pc: int, tick: int) -> None:
    """REF of all banks of a pseudo-channel: tRFC."""
    low = pc * c[P_PC_BANKS]
    later_all(c, T_ACT + low, T_ACT + low + c[P_PC_BANKS], tick + c[P_REF_ACT])
    later(c, G_REF + pc, tick + c[P_REF_ACT] + c[P_ACT_BUS] - c[P_PRE_BUS])
    take_row_bus(c, tick + c[P_PRE_BUS])


@kernel
def refreshed_bank(c: Ints, b: int, tick: int) -> None:
    """REFpb: tRFCpb in the bank, tRREFD to activations of others."""
    later(c, T_ACT + b, tick + c[P_REFPB_ACT])
    later(c, G_ACT + c[B_PC + b], tick + c[P_REFPB_OTHER])
    take_row_bus(c, tick + c[P_PRE_BUS])


@inlined
def note(c: Ints, command: int, b: int, tick: int) -> None:
    """Count a command and log it where a log is kept."""
    c[N_COMMANDS + command] += 1
    n = c[C_LOGGED]
    if n < c[P_LOG]:
        c[LOG + 3 * n], c[LOG + 3 * n + 1], c[LOG + 3 * n + 2] = tick, command, b
        c[C_LOGGED] = n + 1


@kernel
def new_channel(p: Ints) -> Ints:
    """An idle channel with all banks closed; every command is ready at tick 0."""
    c = np.zeros(STATE + 3 * p[P_LOG], np.int64)
    c[:PARAMS] = p
    c[A_RINGS : A_RINGS + PCS * RING] = _LONG_AGO
    for pc in range(p[P_PSEUDO]):
        c[A_RINGS + pc * RING] = 0
        c[A_RINGS + pc * RING + 1 + FAW_ACTS] = 0
    c[K_ACTIVE : K_ACTIVE + 8 * ROW] = FAR
    c[B_ROW:B_HITS] = -1
    for b in range(p[P_PSEUDO] * p[P_PC_BANKS]):
        c[B_PC + b] = b // p[P_PC_BANKS]
        c[B_GROUP + b] = b - b % p[P_GROUP_BANKS]
    for s in range(SLOTS):
        c[S_NEXT + s] = s + 1
    c[C_SPLIT_BANK] = c[C_HELD] = -1
    return c
