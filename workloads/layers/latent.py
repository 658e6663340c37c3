"""Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1).

The cache holds one latent vector and one rotary key a token, shared by all heads. Two forms compute the same thing:

- naive: keys and values of all heads are expanded from the latents (of the whole context), then attention is
  ordinary. Cheap for prompts.
- absorbed: the key expansion is multiplied into the query and the value expansion into the output, so attention runs
  on the latents themselves as if there were a single KV head. Cheap for decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workloads.batch import is_decode
from workloads.layers.attention import rope
from workloads.shards import split
from workloads.step import Step
from workloads.trace import Segment


@dataclass(frozen=True, slots=True)
class Latent:
    """Shape of one latent attention layer.

    Attributes:
        hidden, heads: features of the residual stream, heads.
        q_rank: features of the query's low-rank projection, 0 = projected directly.
        kv_rank: features of the cached latent.
        nope_dim, rope_dim: features of a query or key head without and with rotary positions.
        v_dim: features of a value head.
    """

    hidden: int
    heads: int
    q_rank: int
    kv_rank: int
    nope_dim: int
    rope_dim: int
    v_dim: int


@dataclass(frozen=True, slots=True)
class _Parts:
    """Tensors that both forms start from: query parts, latent, rotary key, the two expansion weights."""

    q_nope: int
    q_rope: int
    latent: int
    k_rope: int
    k_up: int
    v_up: int


def latent_attention(step: Step, shape: Latent, x: int) -> int:
    """Projections, attention in the form that suits each request, output projection, all-reduce."""
    own = replace(shape, heads=split(shape.heads, step.tp, "attention heads"))
    parts = _project(step, own, x)
    naive, absorbed = _forms(step)
    outputs: list[int] = []
    if naive:
        outputs.append(_naive(step, own, parts, naive))
    if absorbed:
        outputs.append(_absorbed(step, own, parts, absorbed))
    out = step.linear("o_proj", tuple(outputs), own.heads * own.v_dim, own.hidden)[0]
    return step.all_reduce("attn_all_reduce", out, own.hidden)


def _forms(step: Step) -> tuple[list[Segment], list[Segment]]:
    """Requests that run naive and absorbed."""
    segments, form = step.batch.segments(), step.options.mla
    absorb = [form == "absorbed" or (form == "auto" and is_decode(s.new_tokens, s.context)) for s in segments]
    pairs = list(zip(segments, absorb, strict=True))
    return [s for s, chosen in pairs if not chosen], [s for s, chosen in pairs if chosen]


def _project(step: Step, own: Latent, x: int) -> _Parts:
    widths = {"nope": own.heads * own.nope_dim, "rope": own.heads * own.rope_dim}
    q_nope, q_rope = _query(step, own, x, widths)
    cached = {"latent": own.kv_rank, "rope": own.rope_dim}
    latent, k_rope = step.linear("kv_a_proj", x, own.hidden, own.kv_rank + own.rope_dim, outputs=cached)
    latent = step.norm("kv_a_norm", (latent,), own.kv_rank)
    q_rope, k_rope = rope(step, (q_rope, k_rope), (widths["rope"], own.rope_dim))
    k_up = step.weight("kv_b_proj.k_weight", own.heads * own.nope_dim * own.kv_rank)
    v_up = step.weight("kv_b_proj.v_weight", own.heads * own.v_dim * own.kv_rank)
    return _Parts(q_nope, q_rope, latent, k_rope, k_up, v_up)


def _query(step: Step, own: Latent, x: int, widths: dict[str, int]) -> tuple[int, ...]:
    if not own.q_rank:
        return step.linear("q_proj", x, own.hidden, sum(widths.values()), outputs=widths)
    x = step.linear("q_a_proj", x, own.hidden, own.q_rank)[0]
    x = step.norm("q_a_norm", (x,), own.q_rank)
    return step.linear("q_b_proj", x, own.q_rank, sum(widths.values()), outputs=widths)


def _tokens(segments: Sequence[Segment]) -> int:
    return sum(s.new_tokens * s.multiplicity for s in segments)


def _naive(step: Step, own: Latent, parts: _Parts, segments: Sequence[Segment]) -> int:
    """Expand the latents of new tokens and context, then ordinary attention."""
    width = own.kv_rank + own.rope_dim
    total = sum((s.new_tokens + s.context) * s.multiplicity for s in segments)
    expanded = {"k": own.heads * own.nope_dim, "v": own.heads * own.v_dim}
    cache = step.cache("kv_cache", width, segments)
    row = replace(step.row("kv_b_proj", "gemm", (Segment(total),)), k=own.kv_rank, n=sum(expanded.values()))
    k, v = step.graph.append(row, (parts.latent, cache, parts.k_up, parts.v_up), expanded)
    row = replace(
        step.row("attention", "attention", segments),
        heads=own.heads,
        kv_heads=own.heads,
        qk_dim=own.nope_dim + own.rope_dim,
        v_dim=own.v_dim,
        kv_width=width,
        width_in=sum(expanded.values()) * total // _tokens(segments),
        function="softmax",
    )
    inputs = (parts.q_nope, parts.q_rope, k, v, parts.latent, parts.k_rope, cache)
    return step.graph.append(row, inputs, {"": own.heads * own.v_dim})[0]


def _absorbed(step: Step, own: Latent, parts: _Parts, segments: Sequence[Segment]) -> int:
    """Move the expansions to the query and the output; attention sees one KV head."""
    width = own.kv_rank + own.rope_dim
    heads = (Segment(_tokens(segments), 0, own.heads),)
    rank, nope, v_dim = own.kv_rank, own.nope_dim, own.v_dim
    q = step.copies_linear("q_absorb", (parts.q_nope, parts.k_up), nope, rank, heads, {"": rank})[0]
    row = replace(
        step.row("attention_absorbed", "attention", segments),
        heads=own.heads,
        kv_heads=1,
        qk_dim=width,
        v_dim=rank,
        kv_width=width,
        function="softmax",
    )
    cache = step.cache("kv_cache_absorbed", width, segments)
    out = step.graph.append(row, (q, parts.q_rope, parts.latent, parts.k_rope, cache), {"": own.heads * rank})[0]
    return step.copies_linear("o_absorb", (out, parts.v_up), rank, v_dim, heads, {"": v_dim})[0]
