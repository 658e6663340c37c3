"""From a Trace to operator rows: one row per operator and distinct segment, in integers.

All bytes and MACs come from the trace's own properties, so they are conserved by construction. Engines here know no
sparse arithmetic: they run ``issued_macs`` (dense matrices, shorter loops where whole blocks of scores are left out)
and move weights as memory holds them, compressed; what is on the chip is expanded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sim.demand import KIND_CODES, OP
from sim.engine import Array
from workloads.dtypes import dtype, format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace

LIMIT = 2**55  # of MACs and bytes: kernels multiply them by up to 64 bits per element
_NAMES = {code: name for name, code in KIND_CODES.items()}

#: Element-wise function -> (tree reductions, element-wise passes, passes through an exp/div/rsqrt table) per token.
#: softmax and norms as NeuPIMs and ONNXim count them (2 tree + 3 it, 2 tree + 5 it); the rest counts arithmetic.
FUNCTIONS: dict[str, tuple[int, int, int]] = {
    "softmax": (2, 3, 2),
    "layernorm": (2, 5, 1),
    "rmsnorm": (1, 3, 1),
    "silu_mul": (0, 3, 2),
    "silu": (0, 2, 2),
    "gelu": (0, 1, 1),
    "gelu_mul": (0, 2, 1),
    "relu": (0, 1, 0),
    "relu2": (0, 2, 0),
    "relu2_mul": (0, 3, 0),
    "tanh": (0, 1, 1),
    "sigmoid": (0, 1, 1),
    "softcap": (0, 3, 1),
    "scale": (0, 1, 0),
    "add": (0, 1, 0),
    "mul": (0, 1, 0),
    "rope": (0, 3, 0),
    "topk": (1, 1, 0),
    "conv1d": (0, 4, 0),
    "token_shift": (0, 3, 0),
    "ssd": (0, 2, 0),
    "wkv7": (0, 2, 0),
    "wkv7_prepare": (1, 3, 1),
    "wkv7_gate": (1, 3, 0),
    "copy": (0, 0, 0),
    "embedding": (0, 0, 0),
}
#: Ring collectives: function -> (steps per rank - 1, bytes on the wire per byte and (r - 1) / r).
COLLECTIVES = {"all_reduce": (2, 2), "all_gather": (1, 1), "reduce_scatter": (1, 1), "all_to_all": (1, 1)}


def kind_name(code: int) -> str:
    """Operator kind of a code."""
    return _NAMES[code]


@dataclass(frozen=True)
class Rows:
    """Operator rows of a trace.

    Attributes:
        ops: ``OP`` records, shape (k,).
        trace_row: row of the trace for each, shape (k,).
    """

    ops: Array
    trace_row: Array


def lower(trace: Trace) -> Rows:
    """Operator rows of every operator of the trace, in order.

    Raises:
        ChipsmithError: a count exceeds the 64-bit range, or a function is unknown.
    """
    records = [record for row, op in enumerate(trace.ops) for record in _records(row, op)]
    _check_range(trace, records)
    ops = np.zeros(len(records), OP)
    for name in OP.names or ():  # by column: requests of different lengths make hundreds of rows
        ops[name] = [record.get(name, 0) for record in records]
    return Rows(ops, ops["row"].copy())


def _check_range(trace: Trace, records: list[dict[str, int]]) -> None:
    for record in records:
        if max(record.values()) >= LIMIT:
            name, value = next(item for item in record.items() if item[1] >= LIMIT)
            raise ChipsmithError(f"{trace.ops[record['row']].name}.{name}", value, "must be below 2**55")


def _records(row: int, op: Operator) -> list[dict[str, int]]:
    base = _common(row, op)
    if op.kind == "gemm":
        return _gemm(op, base)
    if op.kind == "attention":
        return [{**base, **_attention(op, segment)} for segment in op.segments]
    if op.kind == "collective":
        return [{**base, **_collective(op)}]
    return [{**base, **_vector(op)}]


def _common(row: int, op: Operator) -> dict[str, int]:
    return {
        "row": row,
        "placement": -1,
        "kind": KIND_CODES[op.kind],
        "a_bits": dtype(op.act).bits,
        "w_bits": dtype(op.weight).bits if op.weight_is_param else dtype(op.act).bits,
        "o_bits": dtype(op.out).bits,
        "kv_bits": dtype(op.kv).bits,
    }


def _totals(op: Operator) -> dict[str, int]:
    return {
        "macs": op.issued_macs,
        "in_bytes": op.input_bytes,
        "out_bytes": op.output_bytes,
        "kv_read_bytes": op.kv_read_bytes,
        "kv_write_bytes": op.kv_write_bytes,
    }


def _gemm(op: Operator, base: dict[str, int]) -> list[dict[str, int]]:
    if not op.per_segment_weights:
        return [{**base, **_gemm_row(op, op.tokens, 1)}]
    return [{**base, **_gemm_row(op, s.new_tokens, s.multiplicity)} for s in op.segments if s.new_tokens > 0]


def _gemm_row(op: Operator, m: int, count: int) -> dict[str, int]:
    weight = -(-op.weight_bytes // op.weight_copies)  # all copies are equal; scales and bias included
    return {
        "m": m,
        "k": op.k,
        "n": op.n,
        "count": count,
        "macs": m * op.k * op.n * count,
        "in_bytes": format_bytes(m * op.k * count, op.act),
        "w_bytes": weight if op.weight_is_param else format_bytes(op.k * op.n, op.act),
        "out_bytes": format_bytes(m * op.n * count, op.out),
    }


def _attention(op: Operator, segment: Segment) -> dict[str, int]:
    piece = replace(op, segments=(segment,))
    return {
        **_totals(piece),
        "m": segment.new_tokens,
        "count": segment.multiplicity,
        "placement": segment.placement,
        "pairs": op.pairs(segment),
        "keys": op.keys(segment),
        "heads": op.heads,
        "kv_heads": op.kv_heads,
        "qk_dim": op.qk_dim,
        "v_dim": op.v_dim,
    }


def _vector(op: Operator) -> dict[str, int]:
    if op.function not in FUNCTIONS and op.kind != "gather":
        raise ChipsmithError(f"{op.name}.function", op.function, f"known: {', '.join(FUNCTIONS)}")
    reductions, passes, tables = FUNCTIONS.get(op.function, (0, 0, 0))
    width = op.heads * op.qk_dim * op.v_dim if op.kind == "scan" else op.width_out
    return {
        **_totals(op),
        "w_bytes": op.weight_bytes,
        "m": op.tokens,
        "count": 1,
        "width": op.width_in if reductions > 0 else width,
        "reductions": reductions,
        "passes": passes,
        "tables": tables,
    }


def _collective(op: Operator) -> dict[str, Any]:
    if op.function not in COLLECTIVES:
        raise ChipsmithError(f"{op.name}.function", op.function, f"known: {', '.join(COLLECTIVES)}")
    steps, share = COLLECTIVES[op.function]
    moved = max(op.input_bytes, op.output_bytes)
    return {
        "m": op.tokens,
        "count": 1,
        "ranks": op.ranks,
        "steps": steps * (op.ranks - 1),
        "wire_bytes": share * moved * (op.ranks - 1) // op.ranks,
        "in_bytes": op.input_bytes,
        "out_bytes": op.output_bytes,
    }
