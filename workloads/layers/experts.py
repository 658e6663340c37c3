"""Mixture of experts: router, expert networks, shared expert, combination."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workloads.errors import ChipsmithError
from workloads.layers.ffn import FeedForward, partial_feed_forward
from workloads.shards import split
from workloads.step import Step
from workloads.trace import Segment


@dataclass(frozen=True, slots=True)
class Experts:
    """Shape of one mixture-of-experts layer.

    Attributes:
        hidden, ffn: features of the residual stream and inside one (gated SiLU) expert.
        experts, top_k: experts in all, experts that a token chooses.
        shared_ffn: features inside the expert that every token passes, 0 = none.
        router_bias: a correction bias for each expert, added to the scores only to choose (DeepSeek-V3).
        bias: biases of the router and of the experts' projections (GPT-OSS).
    """

    hidden: int
    ffn: int
    experts: int
    top_k: int
    shared_ffn: int = 0
    router_bias: bool = False
    bias: bool = False


@dataclass(frozen=True, slots=True)
class _Share:
    """What one rank holds and gets: experts stored, features of each, segments of tokens for those in use."""

    experts: int
    ffn: int
    segments: tuple[Segment, ...]

    @property
    def tokens(self) -> int:
        return sum(s.new_tokens * s.multiplicity for s in self.segments)


def mixture(step: Step, shape: Experts, x: int) -> int:
    """Route, dispatch, run the experts, combine, all-reduce; returns the layer's contribution."""
    scores = _route(step, shape, x)
    share = _share(step, shape)
    ranks = step.options.expert_parallel if step.tp == 1 else 1
    wide = (shape.hidden, shape.hidden)
    y = step.collective("moe_dispatch", "all_to_all", x, wide, ranks, share.tokens)
    y = _run(step, shape, share, y)
    y = step.collective("moe_return", "all_to_all", y, wide, ranks, share.tokens)
    parts = [y, *_shared(step, shape, x)]
    choices = share.tokens if step.tp > 1 else step.batch.tokens * shape.top_k
    copies = -(-choices // step.batch.tokens) + len(parts) - 1
    width_in = copies * shape.hidden + shape.top_k
    y = step.elementwise("moe_combine", "add", (*parts, scores), width_in, {"": shape.hidden})[0]
    return step.all_reduce("moe_all_reduce", y, shape.hidden)


def _route(step: Step, shape: Experts, x: int) -> int:
    """Scores and indices of the chosen experts; the router's weights stay at 16 bits or more."""
    form = step.options.precision.vectors
    weights = [step.vector("router.weight", shape.hidden * shape.experts)]
    row = replace(step.row("router", "gemm"), k=shape.hidden, n=shape.experts, weight=form, weight_group=0)
    if shape.bias:
        row = replace(row, param_width=shape.experts)
        weights.append(step.vector("router.bias", shape.experts))
    logits = step.graph.append(row, (x, *weights), {"": shape.experts})
    bias = [step.vector("router_topk.bias", shape.experts)] if shape.router_bias else []
    row = step.vector_row("router_topk", "softmax", "topk")
    row = replace(row, width_in=shape.experts, width_out=2 * shape.top_k, param_width=shape.experts * len(bias))
    return step.graph.append(row, (*logits, *bias), {"": 2 * shape.top_k})[0]


def _share(step: Step, shape: Experts) -> _Share:
    ranks, tp = step.options.expert_parallel, step.tp
    if ranks == 1:
        ffn = split(shape.ffn, tp, "expert features")
        return _Share(shape.experts, ffn, step.options.moe.segments(step.batch.tokens, shape.experts, shape.top_k))
    if tp not in (1, ranks):
        raise ChipsmithError("expert_parallel", ranks, f"legal with tensor_parallel {tp}: 1 or {tp}")
    own = split(shape.experts, ranks, "experts", "expert_parallel")
    tokens = step.batch.tokens * (ranks if tp == 1 else 1)
    return _Share(own, shape.ffn, step.options.moe.segments(tokens, shape.experts, shape.top_k, ranks))


def _run(step: Step, shape: Experts, share: _Share, x: int) -> int:
    inner = _inner(step, shape, share, x)
    rows = (Segment(share.tokens),)
    act = step.elementwise("experts_silu_mul", "silu_mul", inner, 2 * share.ffn, {"": share.ffn}, rows)[0]
    dims = (share.ffn, shape.hidden)
    return _linear(step, share, "experts_down_proj", act, dims, {"": shape.hidden}, shape.bias)[0]


def _inner(step: Step, shape: Experts, share: _Share, x: int) -> tuple[int, ...]:
    dims = (shape.hidden, share.ffn)
    if step.options.merge_gate_up:
        widths = {"gate": share.ffn, "up": share.ffn}
        return _linear(step, share, "experts_gate_up_proj", x, (shape.hidden, 2 * share.ffn), widths, shape.bias)
    gate = _linear(step, share, "experts_gate_proj", x, dims, {"": share.ffn}, shape.bias)
    return gate + _linear(step, share, "experts_up_proj", x, dims, {"": share.ffn}, shape.bias)


def _linear(
    step: Step, share: _Share, name: str, x: int, dims: tuple[int, int], outputs: dict[str, int], bias: bool
) -> tuple[int, ...]:
    form, group = step.options.expert_format
    row = replace(
        step.row(name, "gemm", share.segments),
        k=dims[0],
        n=dims[1],
        per_segment_weights=True,
        weight=form,
        weight_group=group,
        param_width=dims[1] if bias else 0,
    )
    weights = [step.graph.source(f"{name}.weight", "weight", dims[0] * dims[1] * share.experts, form, group)]
    if bias:
        weights.append(step.vector(f"{name}.bias", dims[1] * share.experts))
    return step.graph.append(row, (x, *weights), outputs)


def _shared(step: Step, shape: Experts, x: int) -> Sequence[int]:
    if not shape.shared_ffn:
        return ()
    return (partial_feed_forward(step, FeedForward(shape.hidden, shape.shared_ffn).shard(step.tp), x, "shared_"),)
