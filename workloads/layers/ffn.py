"""Dense feed-forward networks, gated and plain."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.shards import split
from workloads.step import Step


@dataclass(frozen=True, slots=True)
class FeedForward:
    """Shape of one feed-forward network.

    Attributes:
        hidden, ffn: features of the residual stream and in between.
        function: ``silu_mul`` / ``gelu_mul`` / ``relu2_mul`` (gated: gate and up projection), ``gelu``, ``relu``.
        bias: biases of the projections.
        merged: gate and up are one matrix in the model itself.
        sub_norm: RMSNorm before the down projection (BitNet).
    """

    hidden: int
    ffn: int
    function: str = "silu_mul"
    bias: bool = False
    merged: bool = False
    sub_norm: bool = False

    @property
    def gated(self) -> bool:
        """Whether a gate projection is multiplied in."""
        return self.function.endswith("_mul")

    def shard(self, ranks: int) -> FeedForward:
        """The same network with the share of one rank."""
        return replace(self, ffn=split(self.ffn, ranks, "feed-forward features"))


def feed_forward(step: Step, shape: FeedForward, x: int) -> int:
    """Up, activation, down, all-reduce; returns the layer's contribution."""
    own = shape.shard(step.tp)
    return step.all_reduce("mlp_all_reduce", partial_feed_forward(step, own, x), own.hidden)


def partial_feed_forward(step: Step, own: FeedForward, x: int, prefix: str = "") -> int:
    """The network of one rank without the all-reduce; ``prefix`` goes before each row name."""
    inner = _inner(step, own, x, prefix)
    width_in = own.ffn * len(inner)
    act = step.elementwise(f"{prefix}{own.function}", own.function, inner, width_in, {"": own.ffn})
    if own.sub_norm:
        act = step.split_norm(f"{prefix}ffn_sub_norm", act, own.ffn)
    return step.linear(f"{prefix}down_proj", act, own.ffn, own.hidden, bias=own.bias)[0]


def _inner(step: Step, own: FeedForward, x: int, prefix: str) -> tuple[int, ...]:
    if not own.gated:
        return step.linear(f"{prefix}up_proj", x, own.hidden, own.ffn, bias=own.bias)
    if own.merged or step.options.merge_gate_up:
        widths = {"gate": own.ffn, "up": own.ffn}
        return step.linear(f"{prefix}gate_up_proj", x, own.hidden, 2 * own.ffn, bias=own.bias, outputs=widths)
    gate = step.linear(f"{prefix}gate_proj", x, own.hidden, own.ffn, bias=own.bias)
    return gate + step.linear(f"{prefix}up_proj", x, own.hidden, own.ffn, bias=own.bias)
