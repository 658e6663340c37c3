"""Streams from off-chip memory: peak bandwidth, latency and a streaming efficiency.

This file is the seam for the DRAM command model: it answers the same question (how much channel time do these
bytes take?) from a standard's timing instead of two constants.
"""

from __future__ import annotations

import numpy as np

from models.jit import inlined


@inlined
def stream_efficiency(single: float, interference: float, streams: int) -> float:
    """Share of the peak that ``streams`` concurrent sequential streams reach together.

    With s streams the next request comes from another stream, and so usually from another DRAM row, with
    probability 1 - 1/s; ``interference`` is the share of the time lost then.
    """
    return single * (1.0 - interference * (1.0 - 1.0 / streams)) if streams > 1 else single


@inlined
def spanned_bytes(rows: int, row_bits: int, tile_bits: int, tiles: int, request_bytes: int) -> int:
    """Bytes moved when ``rows`` rows of ``row_bits`` are read in ``tiles`` pieces of ``tile_bits`` each.

    Memory moves whole requests: a piece that ends inside a request reads that request twice. Rows that are no
    multiple of a request share requests with their neighbours; then the plain bytes are charged.
    """
    request_bits = 8 * request_bytes
    plain = (rows * row_bits + 7) // 8
    if tiles <= 1:
        return plain
    if request_bits & (request_bits - 1) == 0:  # a power of two, as all memories have: no division needed
        if row_bits & (request_bits - 1) != 0 or tile_bits & (request_bits - 1) == 0:
            return plain
        common = tile_bits & -tile_bits
    else:
        if row_bits % request_bits != 0 or tile_bits % request_bits == 0:
            return plain
        common, other = request_bits, tile_bits % request_bits
        while other:
            common, other = other, common % other
    aligned = (tiles - 1) // (request_bits // common)
    return plain + rows * (tiles - 1 - aligned) * request_bytes


@inlined
def block_store_bytes(rows: int, blocks: int, block_bits: int, last_bits: int, request_bytes: int) -> int:
    """Bytes written when every array block stores its own ``rows`` short rows as whole requests."""
    request_bits = 8 * request_bytes
    full = int(np.ceil(block_bits / request_bits))
    last = int(np.ceil(last_bits / request_bits))
    return rows * ((blocks - 1) * full + last) * request_bytes
