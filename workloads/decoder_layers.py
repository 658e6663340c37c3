"""Decoder layers alone: one rank's share of a GPT-3 model without embedding, head and collectives.

Simulators of NPUs with processing in memory run this much of a model (NeuPIMs f299af3: norm, merged projection,
attention, projection, residual, norm, two matrices with GELU between them, residual).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workloads.batch import Batch
from workloads.layers.attention import Attention, partial_attention
from workloads.layers.decoder import Decoder, layers, residual
from workloads.layers.ffn import FeedForward, partial_feed_forward
from workloads.shards import split
from workloads.step import Options, Step
from workloads.trace import Trace


@dataclass(frozen=True, slots=True)
class LayerShape:
    """A GPT-3 layer on one of ``tensor_parallel`` ranks.

    Attributes:
        hidden: features of the residual stream.
        heads: attention heads of the whole model.
        tensor_parallel: ranks.
        count: layers.
    """

    hidden: int
    heads: int
    tensor_parallel: int = 1
    count: int = 1


#: GPT-3 sizes as NeuPIMs (ASPLOS 2024) deploys them: one rank of a tensor-parallel group, the layers of one pipeline
#: stage (30B: two stages, 175B: four).
GPT3 = {
    "7B": LayerShape(4096, 32, 4, 32),
    "13B": LayerShape(5120, 40, 4, 40),
    "30B": LayerShape(7168, 56, 4, 24),
    "175B": LayerShape(12288, 96, 8, 24),
}


def decode_layers(name: str, shape: LayerShape, contexts: Sequence[int], channels: Sequence[int] = ()) -> Trace:
    """A decode step through layers.

    Args:
        name: of the trace.
        shape: of a layer.
        contexts: cached tokens of every request.
        channels: memory channel of every request; empty = the engine chooses.

    Raises:
        ChipsmithError: heads or features that the ranks cannot divide, no request.
    """
    batch = Batch.decode(len(contexts), list(contexts))
    step = Step(batch, Options(tensor_parallel=shape.tensor_parallel))
    ranks, hidden = shape.tensor_parallel, shape.hidden
    head_dim = split(hidden, shape.heads, "features", f"{name}.heads")
    attend = Attention(
        hidden, shape.heads, shape.heads, head_dim, qkv_bias=True, out_bias=True, rope=False, merged=True
    ).shard(ranks)
    network = FeedForward(hidden, 4 * hidden, "gelu", bias=True).shard(ranks)
    decoder = Decoder(hidden, 1, "layernorm")
    graph = step.graph

    def layer(x: int) -> int:
        x = residual(step, "attn", decoder, x, lambda y: partial_attention(step, attend, y))
        return residual(step, "mlp", decoder, x, lambda y: partial_feed_forward(step, network, y))

    source = graph.source("hidden_states", "input", batch.tokens * hidden, step.options.precision.activations)
    graph.mark_output(layers(step, "layers", shape.count, source, layer))
    meta = {"phase": "decode", "requests": len(batch), "tokens": batch.tokens, "tensor_parallel": ranks}
    trace = graph.finish(name, meta)
    if not channels:
        return trace
    return trace.with_placement([(1, context, channel) for context, channel in zip(contexts, channels, strict=True)])
