"""Places of values in the flat state array of a DRAM channel (kernel constants).

A channel is one int64 array, because compiled code then finds every value at a fixed distance; each name here is an
index, or the index of the first value of a row. Times are ticks: the smallest command step of the standard, a clock
or (HBM3, HBM4) half a clock.
"""

from __future__ import annotations

#: Later than any time and younger than any request.
FAR = 2**62
#: A request's key is ``sequence << KEY_BITS | write << WRITE_BIT | bank``: the smallest key is the oldest request.
KEY_BITS, WRITE_BIT = 8, 7
#: What a bank, a slot, a pseudo-channel lie within; a compiler that sees the mask knows that an index is not negative
#: and leaves out Python's counting from the end.
BANK_MASK, SLOT_MASK, PC_MASK = 127, 1023, 3
#: Taken off the key of a request whose row was opened for it: it goes before all others.
FIRST = 2**60
#: Length of a row over banks, over request slots and over pseudo-channels: the most that a channel may have.
ROW = 128
SLOTS = 640
PCS = 4

# Commands, as counted and logged.
ACT, PRE, PREA, RD, WR, REF, REFPB, CAS, ACT2 = range(9)
COMMANDS = ("ACT", "PRE", "PREA", "RD", "WR", "REF", "REFpb", "CAS", "ACT2")

# Parameters (ticks, or numbers of things).
(
    P_PSEUDO,
    P_GROUPS,
    P_GROUP_BANKS,
    P_PC_BANKS,  # banks of a pseudo-channel
    P_DUAL,  # separate row and column command bus
    P_EDGE,  # 1: ACT, REF and column commands only on every second tick
    P_SPLIT,  # 1: an activation is two commands (LPDDR5)
    P_ACT_BUS,
    P_PRE_BUS,
    P_COL_BUS,
    P_ACT_RD,
    P_ACT_WR,
    P_ACT_PRE,
    P_ACT_ACT,
    P_RRD_L,
    P_RRD_S,
    P_FAW,
    P_A32,
    P_ACT_REF,
    P_PRE_ACT,
    P_PREA_ACT,
    P_PRE_PRE,
    P_PRE_REF,
    P_RD_RD_S,
    P_RD_RD_L,
    P_RD_WR,
    P_RD_PRE,
    P_WR_WR_S,
    P_WR_WR_L,
    P_WR_RD_S,
    P_WR_RD_L,
    P_WR_PRE,
    P_REF_ACT,
    P_REFPB_ACT,
    P_REFPB_OTHER,
    P_READ_DATA,  # RD to the end of its data
    P_AAD,  # first to second half of an activation, at most
    P_WCK_RD,  # how long the data clock runs on after RD, 0: it always runs
    P_WCK_WR,
    P_REFRESH,  # 0 none, 1 all banks, 2 one bank at a time
    P_REF_INTERVAL,
    P_REF_BLOCKS,  # 1: a waiting refresh stops ordinary requests of the channel
    P_READ_ENTRIES,
    P_WRITE_ENTRIES,
    P_DRAIN_START,  # writes waiting that start a drain
    P_DRAIN_STOP,  # writes waiting that end it
    P_CLOSED_PAGE,
    P_HIT_LIMIT,
    P_BANK_ENTRIES,
    P_STEP,  # 1: visit every tick (slow; the skips must not change anything)
    P_LOG,  # commands to log
    P_PASSES,  # a search looks at two halves of banks side by side, so often
    P_HALF,  # banks of a half
    P_SECOND,  # first bank of the second half, counted from that of the first
    P_PAIR,  # 1: the halves are two pseudo-channels, 0: of one
    PARAMS,
) = range(56)

# Bus state.
U_ROW, U_COL = 64, 65

# Controller state; +1 is the same for writes where it exists for reads and writes.
C_WAITING = 66  # requests in the read (write) queue
C_WAITING_W = 67
C_ACTIVE = 68  # reads (writes) whose row was opened and that wait for their column command
(
    C_MODE,  # 1: writes are drained
    C_COL_WAKE,  # earliest tick at which a column (row) command may become ready
    C_ROW_WAKE,
    C_NEXT,  # next request of the trace
    C_REF_DUE,  # next refresh
    C_REF_WAITING,
    C_REF_AT,  # pseudo-channel or bank of the next refresh
    C_FREE,  # first free slot
    C_MOVED,  # 1: a queue changed at this tick
    C_DONE,  # completion of the latest request
    C_SPLIT_BANK,  # bank between the two halves of its activation, -1: none
    C_SPLIT_UNTIL,
    C_WCK_UNTIL,
    C_HELD,  # bank that waits for its own refresh while the others go on, -1: none
    C_SYNCED,  # key of the request that a CAS was sent for, 0: none
    C_LOGGED,
    C_ARRIVES,  # when the next request of the trace is offered, FAR: as soon as there is room, or there is none left
) = range(70, 87)

# Results: numbers of commands, then sums.
N_COMMANDS, N_HITS, N_LATENCY, N_CLOSED, N_END = 96, 105, 106, 107, 108

# By pseudo-channel: earliest times that hold for all its banks, and numbers of open banks.
G_ACT, G_PRE, G_RD, G_WR, G_PREA, G_REF = range(128, 128 + 6 * PCS, PCS)
O_OPEN, O_SINCE = 152, 156
#: Rings of the last activations: place, ticks of four, place, ticks of 32.
A_RINGS, RING, FAW_ACTS, LONG_ACTS = 160, 40, 4, 32

# By bank: earliest ACT, PRE, RD, WR.
T_ACT, T_PRE, T_RD, T_WR = range(384, 384 + 4 * ROW, ROW)
# Keys by bank, reads (writes one row on): activated, activated or row hit, to activate (bank closed) or precharge.
K_ACTIVE, K_COL, K_ROW = range(896, 896 + 6 * ROW, 2 * ROW)
# Open row or -1, slot of the request whose row was just opened, lists of waiting reads (writes one row on), the
# oldest request to the open row and the oldest other request.
B_ROW, B_ACTIVE = 1920, 2048
B_HEAD, B_TAIL, B_HIT, B_MISS = range(2176, 2176 + 8 * ROW, 2 * ROW)
B_HITS = 3200  # column commands since the row was opened
B_PC, B_GROUP = 3328, 3456  # pseudo-channel of a bank, first bank of its group
# Request slots.
S_KEY, S_ROW, S_NEXT, S_PREV, S_ARRIVE = range(3584, 3584 + 5 * SLOTS, SLOTS)
LOG = 3584 + 5 * SLOTS
STATE = LOG
