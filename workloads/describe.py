"""A trace as short rows and totals, for tables and JSON."""

from __future__ import annotations

from workloads.trace import Operator, Trace

_GIGA = 1e9
_MEGA = 1e6


def describe_trace(trace: Trace) -> dict[str, object]:
    """Facts, one short row an operator, totals over all iterations; plain JSON types.

    Rows hold one iteration: ``op``, ``kind``, ``dims`` (see :func:`dimensions`), ``count`` (iterations), ``tokens``,
    ``segments`` (groups of requests or experts), ``GMAC``, ``MB`` (10^6 bytes of weights, activations and KV cache
    moved).
    """
    return {
        "name": trace.name,
        "meta": dict(trace.meta),
        "blocks": {block.name: block.count for block in trace.blocks},
        "rows": [_row(trace, op) for op in trace.ops],
        "totals": totals(trace),
    }


def moved_bytes(op: Operator) -> int:
    """Bytes that one iteration reads and writes, each operand once."""
    return op.weight_bytes + op.input_bytes + op.output_bytes + op.kv_read_bytes + op.kv_write_bytes


def totals(trace: Trace) -> dict[str, float | int]:
    """Sums over all operators and iterations."""
    counts = [trace.blocks[op.block].count for op in trace.ops]
    moved = sum(moved_bytes(op) * count for op, count in zip(trace.ops, counts, strict=True))
    return {
        "operators": sum(counts),
        "GMAC": trace.macs / _GIGA,
        "MB": moved / _MEGA,
        "weight_bytes": trace.weight_bytes,
        "kv_read_bytes": trace.kv_read_bytes,
        "resident_bytes": trace.resident_bytes,
    }


def dimensions(op: Operator) -> str:
    """GEMM ``m x k x n``; attention ``heads/KV heads, q-k dim/v dim``; others ``function: features in -> out``."""
    if op.kind == "gemm":
        return f"{_gemm_rows(op)} x {op.k} x {op.n}"
    if op.kind == "attention":
        window = f", window {op.window}" if op.window else ""
        return f"{op.heads}/{op.kv_heads} heads, {op.qk_dim}/{op.v_dim}{window}"
    if op.kind == "scan":
        return f"{op.heads} heads, {op.qk_dim} x {op.v_dim}"
    ranks = f" over {op.ranks}" if op.ranks > 1 else ""
    return f"{op.function}{ranks}: {op.width_in} -> {op.width_out}"


def _gemm_rows(op: Operator) -> str:
    if not op.per_segment_weights:
        return str(op.tokens)
    rows = [segment.new_tokens for segment in op.segments]
    most = f"{max(rows)}" if min(rows) == max(rows) else f"{min(rows)}..{max(rows)}"
    return f"{op.pieces} of {most}"


def _row(trace: Trace, op: Operator) -> dict[str, object]:
    return {
        "op": op.name,
        "kind": op.kind,
        "dims": dimensions(op),
        "count": trace.blocks[op.block].count,
        "tokens": op.tokens,
        "segments": len(op.segments),
        "GMAC": op.macs / _GIGA,
        "MB": moved_bytes(op) / _MEGA,
    }
