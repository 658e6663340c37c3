"""Multi-head and grouped-query attention with its projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workloads.shards import split, split_kv_heads
from workloads.step import Step
from workloads.trace import Segment


@dataclass(frozen=True, slots=True)
class Attention:
    """Shape of one attention layer.

    Attributes:
        hidden: features of the residual stream.
        heads, kv_heads, head_dim: query heads, key/value heads, features of a head.
        qkv_bias, out_bias: biases of the projections.
        qk_norm: RMSNorm over each head of q and k.
        rope: rotary positions.
        window: sliding window in tokens, 0 = none.
        merged: q, k and v are one matrix in the model itself.
        softcap: scores pass through ``c tanh(score / c)`` (Gemma 2), inside the attention row.
        sinks: a learned logit for each head takes part in the softmax (GPT-OSS).
        sub_norm: RMSNorm between attention and output projection (BitNet).

    A scale of the scores other than ``head_dim ** -0.5`` costs nothing: it is folded into q.
    """

    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    rope: bool = True
    window: int = 0
    merged: bool = False
    softcap: bool = False
    sinks: bool = False
    sub_norm: bool = False

    @property
    def function(self) -> str:
        """Name of what happens to the scores."""
        return "softmax" + "_softcap" * self.softcap + "_sinks" * self.sinks

    def shard(self, ranks: int) -> Attention:
        """The same layer with the heads of one rank."""
        heads = split(self.heads, ranks, "attention heads")
        return replace(self, heads=heads, kv_heads=split_kv_heads(self.kv_heads, ranks))


def attention(step: Step, shape: Attention, x: int) -> int:
    """Projections, positions, attention, output projection, all-reduce; returns the layer's contribution."""
    return step.all_reduce("attn_all_reduce", partial_attention(step, shape.shard(step.tp), x), shape.hidden)


def partial_attention(step: Step, own: Attention, x: int) -> int:
    """The heads of one rank without the all-reduce."""
    q, k, v = _projections(step, own, x)
    if own.qk_norm:
        q = step.norm("q_norm", (q,), own.head_dim, rows_per_token=own.heads)
        k = step.norm("k_norm", (k,), own.head_dim, rows_per_token=own.kv_heads)
    if own.rope:
        q, k = rope(step, (q, k), (own.heads * own.head_dim, own.kv_heads * own.head_dim))
    width = own.heads * own.head_dim
    out: tuple[int, ...] = (attend(step, own, (q, k, v), step.batch.segments()),)
    if own.sub_norm:
        out = step.split_norm("attn_sub_norm", out, width)
    return step.linear("o_proj", out, width, own.hidden, bias=own.out_bias)[0]


def _projections(step: Step, own: Attention, x: int) -> tuple[int, int, int]:
    wide, narrow = own.heads * own.head_dim, own.kv_heads * own.head_dim
    if own.merged or step.options.merge_qkv:
        widths = {"q": wide, "k": narrow, "v": narrow}
        merged = step.linear("qkv_proj", x, own.hidden, wide + 2 * narrow, bias=own.qkv_bias, outputs=widths)
        return merged[0], merged[1], merged[2]
    q = step.linear("q_proj", x, own.hidden, wide, bias=own.qkv_bias)[0]
    k = step.linear("k_proj", x, own.hidden, narrow, bias=own.qkv_bias)[0]
    v = step.linear("v_proj", x, own.hidden, narrow, bias=own.qkv_bias)[0]
    return q, k, v


def rope(step: Step, parts: tuple[int, int], widths: tuple[int, int]) -> tuple[int, int]:
    """Rotary positions on the query part and the key part, one fused row."""
    q, k = step.elementwise("rope", "rope", parts, sum(widths), {"q": widths[0], "k": widths[1]})
    return q, k


def attend(step: Step, own: Attention, qkv: tuple[int, int, int], segments: Sequence[Segment]) -> int:
    """The fused attention row: reads the cache, appends this step's keys and values."""
    width = 2 * own.kv_heads * own.head_dim
    row = replace(
        step.row("attention", "attention", segments),
        heads=own.heads,
        kv_heads=own.kv_heads,
        qk_dim=own.head_dim,
        v_dim=own.head_dim,
        kv_width=width,
        window=own.window,
        function=own.function,
    )
    sinks: tuple[int, ...] = ()
    if own.sinks:
        row = replace(row, param_width=own.heads, weight=step.options.precision.vectors, weight_group=0)
        sinks = (step.vector("sinks", own.heads),)
    cache = step.cache("kv_cache", width, segments, own.window)
    return step.graph.append(row, (*qkv, cache, *sinks), {"": own.heads * own.head_dim})[0]
