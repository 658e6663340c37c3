"""A KV cache in fewer dimensions: keys and values of a head as coordinates in a basis of low rank.

Attention runs on the coordinates (Eigen Attention, Saxena et al. 2024, arXiv:2408.05646, section 3): queries and keys
are multiplied by the basis of the keys (after rotary positions), values by that of the values, and what attention
gives is expanded again. Each KV head has its own two bases, in 16 bits, stored once for both rows that use them.
For one layer, t tokens, h query heads and g KV heads of dimension d and ranks r and s::

    added MACs       t (h + g) d r  +  t (g + h) d s
    attention MACs   pairs h (r + s)     instead of   pairs h (d_qk + d_v)
    cache a token    g (r + s)           instead of   g (d_qk + d_v)
    added weights    g d (r + s)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace
from workloads.transforms.edit import (
    ACTIVATIONS,
    Edit,
    Names,
    grown,
    noted,
    plain_row,
    refuse_after,
    rows_named,
    settle,
)


def compress(
    trace: Trace,
    kv: str = "",
    group: int = 0,
    rank_k: int = 0,
    rank_v: int = 0,
    *,
    only: Names = (),
    except_: Names | None = None,
) -> Trace:
    """See :meth:`workloads.trace.Trace.with_kv_compression`."""
    refuse_after(trace, "kv_compression")
    if not (kv or rank_k or rank_v):
        raise ChipsmithError("kv_compression", None, "legal: a format, or a rank of keys or values")
    chosen = sorted(row for row in rows_named(trace, only, except_) if trace.ops[row].kind == "attention")
    if not chosen:
        raise ChipsmithError("kv_compression", trace.name, "legal: a trace with an attention row that is named")
    if kv:
        trace = trace.with_quantization(kv=kv, kv_group=group, only=[trace.ops[row].name for row in chosen])
    if not (rank_k or rank_v):
        return trace
    told = {"rank_k": rank_k or None, "rank_v": rank_v or None, "only": only or None, "except_": except_}
    return noted(_thinned(trace, chosen, rank_k, rank_v), "kv_compression", **told)


def _thinned(trace: Trace, chosen: Sequence[int], rank_k: int, rank_v: int) -> Trace:
    edit = Edit(trace)
    parameters = size = 0
    for row in chosen:
        op = trace.ops[row]
        ranks = rank_k or op.qk_dim, rank_v or op.v_dim
        _check(op, *ranks)
        count = trace.blocks[op.block].count
        for basis in _rewrite(edit, row, op, *ranks):
            parameters += edit.tensors[basis].elements * count
            size += edit.tensors[basis].bytes * count
    thin = settle(replace(trace, ops=tuple(edit.ops), tensors=tuple(edit.tensors)), trace, chosen)
    edit.trace, edit.tensors = thin.with_meta(**grown(thin, parameters, size)), list(thin.tensors)
    return edit.done()


def _check(op: Operator, rank_k: int, rank_v: int) -> None:
    if op.kv_width != op.kv_heads * (op.qk_dim + op.v_dim) or op.width_in:
        raise ChipsmithError("kv_compression", op.name, "keeps latents already; legal: one key and value a KV head")
    for name, rank, dim in (("rank_k", rank_k, op.qk_dim), ("rank_v", rank_v, op.v_dim)):
        if not 1 <= rank <= dim:
            raise ChipsmithError(f"kv_compression.{name}", rank, f"legal for {op.name}: 1 to {dim}")


@dataclass(frozen=True, slots=True)
class _Side:
    """One of the two bases: name, dimensions of a head, rank, queries' side in front of or behind attention."""

    name: str
    dim: int
    rank: int


def _rewrite(edit: Edit, row: int, op: Operator, rank_k: int, rank_v: int) -> list[int]:
    """Change one attention row; returns the ids of the bases that were added."""
    q, k, v = _sources(edit, op)
    others = tuple(t for t in op.inputs if t not in (*q, *k, *v))
    keys, values = _Side("k", op.qk_dim, rank_k), _Side("v", op.v_dim, rank_v)
    bases = []
    if rank_k < op.qk_dim:
        basis = _basis(edit, op, keys)
        bases.append(basis)
        q = (_project(edit, row, op, "q", keys, (q, basis)),)
        k = (_project(edit, row, op, "k", keys, (k, basis)),)
    outputs = op.outputs
    if rank_v < op.v_dim:
        basis = _basis(edit, op, values)
        bases.append(basis)
        v = (_project(edit, row, op, "v", values, (v, basis)),)
        outputs = _expand(edit, row, op, values, basis)
    edit.ops[row] = replace(
        op,
        qk_dim=rank_k,
        v_dim=rank_v,
        kv_width=op.kv_heads * (rank_k + rank_v),
        inputs=tuple(dict.fromkeys((*q, *k, *v, *others))),
        outputs=outputs,
    )
    return bases


def _sources(edit: Edit, op: Operator) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Tensors that hold queries, keys, values: three in this order, or the same ones where they are not told apart."""
    read = tuple(t for t in op.inputs if edit.tensors[t].role in (*ACTIVATIONS, "input"))
    return ((read[0],), (read[1],), (read[2],)) if len(read) == 3 else (read, read, read)


def _basis(edit: Edit, op: Operator, side: _Side) -> int:
    form = plain_row(op, "").weight
    return edit.tensor(f"{op.name}.{side.name}_basis", "weight", op.kv_heads * side.dim * side.rank, form)


def _latent(op: Operator, name: str, heads: int, k: int, n: int) -> Operator:
    """A product of every head with the basis of its KV head."""
    pieces = (Segment(op.tokens * heads // op.kv_heads, 0, op.kv_heads),)
    return replace(plain_row(op, f"{name}_latent"), segments=pieces, k=k, n=n, per_segment_weights=True)


def _project(edit: Edit, row: int, op: Operator, name: str, side: _Side, read: tuple[tuple[int, ...], int]) -> int:
    """A row in front of attention: queries, keys or values as coordinates."""
    gemm = _latent(op, name, op.heads if name == "q" else op.kv_heads, side.dim, side.rank)
    out = edit.tensor(gemm.name, "activation", gemm.output_elements, gemm.out)
    edit.before(row, replace(gemm, inputs=(*read[0], read[1]), outputs=(out,)))
    return out


def _expand(edit: Edit, row: int, op: Operator, side: _Side, basis: int) -> tuple[int, ...]:
    """A row behind attention that writes what attention wrote; returns what attention writes now."""
    gemm = replace(_latent(op, "out", op.heads, side.rank, side.dim), out=op.out)
    thin = edit.tensor(f"{op.name}.thin", "activation", op.tokens * op.heads * side.rank, op.out)
    edit.after(row, replace(gemm, inputs=(thin, basis), outputs=op.outputs))
    return (thin,)
