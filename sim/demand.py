"""What kernels read and write: operator rows, the demand vector and its events.

A kernel has the form ``kernel(op, mapping, params, out) -> status``; all four are records of the structured dtypes
declared here or by the engine, so fields are read by name in compiled and in plain Python alike. The codes below are
kernel constants: compiled code holds their values.
"""

from __future__ import annotations

import numpy as np

KIND_CODES = {
    "gemm": 0,
    "attention": 1,
    "softmax": 2,
    "norm": 3,
    "elementwise": 4,
    "scan": 5,
    "gather": 6,
    "collective": 7,
}

#: One operator row: an operator and one of its segments. Integers, so that nothing is rounded.
OP = np.dtype(
    [
        ("row", "i8"),  # row of the trace
        ("kind", "i8"),
        ("m", "i8"),  # GEMM rows of one piece; vector kinds: tokens
        ("k", "i8"),
        ("n", "i8"),
        ("count", "i8"),  # equal pieces: experts, requests
        ("a_bits", "i8"),
        ("w_bits", "i8"),
        ("o_bits", "i8"),
        ("kv_bits", "i8"),
        ("macs", "i8"),  # of all pieces
        ("in_bytes", "i8"),
        ("w_bytes", "i8"),
        ("out_bytes", "i8"),
        ("kv_read_bytes", "i8"),
        ("kv_write_bytes", "i8"),
        ("pairs", "i8"),  # visible (query, key) pairs of one piece and head
        ("keys", "i8"),  # distinct keys of one piece
        ("heads", "i8"),
        ("kv_heads", "i8"),
        ("qk_dim", "i8"),
        ("v_dim", "i8"),
        ("width", "i8"),  # elements per token that a vector pass runs over
        ("reductions", "i8"),  # tree reductions per token
        ("passes", "i8"),  # element-wise passes per token
        ("tables", "i8"),  # of these, passes through an exp/div/rsqrt table
        ("ranks", "i8"),
        ("steps", "i8"),  # collective: hops of the ring
        ("wire_bytes", "i8"),  # collective: bytes that leave one chip
        ("placement", "i8"),  # attention: memory channel that holds the piece, -1 = the engine chooses
    ]
)

#: Shared resources a kernel may ask for, by role; an engine binds roles to the chip's resources.
ROLES = ("memory", "vector", "sram", "link", "memory2", "noc", "command", "activation")

#: Event counts by which energy is charged, and reported.
EVENTS = (
    "macs",
    "vector_ops",
    "reg_bytes",
    "sram_read_bytes",
    "sram_write_bytes",
    "noc_bytes",
    "dram_read_bytes",
    "dram_write_bytes",
    "link_bytes",
    "act_reads",
    "weight_reads",
    "out_writes",
    "blocks",
)

#: The demand vector of one operator row. ``cycles`` is the kernel's own total at full share; duration at any share
#: is ``fixed + max(busy, amount / share)``, which at full share equals ``cycles`` (tested).
DEMAND = np.dtype(
    [("cycles", "f8"), ("fixed", "f8"), ("busy", "f8")] + [(r, "f8") for r in ROLES] + [(e, "i8") for e in EVENTS]
)

#: Status codes of kernels and mapping searches.
OK, NO_SPAD, NO_ACCUM, BAD_MAPPING, OVERFLOW, NO_MEMORY, UNSUPPORTED = range(7)
STATUS_TEXT = (
    "ok",
    "no tile fits the scratchpad",
    "no tile fits the accumulators",
    "the mapping is illegal",
    "a count exceeds the 64-bit range",
    "the model does not fit the memory",
    "no engine takes an operator",
)

#: Levels of ``simulate``; kernels price the first two, ``command`` asks the DRAM model about the demand of ``tile``.
FIDELITIES = ("bound", "tile", "command")
KERNEL_FIDELITIES = FIDELITIES[:2]
BOUND, TILE = 0, 1
MODES = ("auto", "gemmini", "given")
AUTO, GEMMINI, GIVEN = 0, 1, 2
