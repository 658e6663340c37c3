"""Latent attention in the form that production kernels use for decoding.

Model code expands the whole latent cache to keys and values in every step. Where a request decodes, kernels multiply
the key expansion into the query and the value expansion into the output instead (DeepSeek-V2, arXiv:2405.04434,
section 2.1.2). The structure is found in the data flow, not by the name of a model: keys and values that are one GEMM
away from a cache. The rows are those of workloads/layers/latent.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from workloads.capture import names
from workloads.capture.emit import behind, cached_width
from workloads.capture.emitter import Emitter
from workloads.capture.flow import Node
from workloads.layers import latent


def absorb(emit: Emitter) -> None:
    """Let the emitter write absorbed rows in the place of expansions, if a request of the step calls for it."""
    if latent._forms(emit.step)[1]:
        for position, expansion in _expanded(emit):
            emit.skipped.add(expansion)
            emit.special[position] = partial(_rewrite, expansion=emit.flow.nodes[expansion])


def _expanded(emit: Emitter) -> Iterator[tuple[int, int]]:
    """(position of an attention, position of the GEMM that expands keys and values for it)."""
    flow = emit.flow
    for position, node in flow.real():
        if node.op == "attention":
            values = node.inputs[1:3]
            makers = {flow.producer[part] for v in values for part in flow.parts(v) if behind(flow, part)}
            users = {u for maker in makers for u in flow.users(flow.nodes[maker].outputs)}
            if len(makers) == 1 and users == {position}:
                yield position, makers.pop()


def _rewrite(emit: Emitter, node: Node, expansion: Node) -> None:
    flow, step = emit.flow, emit.step
    (append,) = {flow.nodes[p] for v in node.inputs[1:3] for p in behind(flow, v)}
    (weight,) = emit.parameters(expansion.inputs)
    rank = flow.value(append.inputs[0]).shape[-1]
    rope_dim = cached_width(flow, node.inputs[1:3]) // step.batch.tokens - rank
    nope_dim = node.integer("qk_dim") - rope_dim
    own = latent.Latent(0, node.integer("heads"), 0, rank, nope_dim, rope_dim, node.integer("v_dim"))
    queries = emit.tensors(node.inputs[:1])
    with emit.inside(node.path):
        name = names.parameter_row(flow.value(weight).name, "kv_b_proj")
        parts = latent._Parts(
            queries[0],
            queries[-1],
            emit.tensors(append.inputs[:1])[0],
            emit.tensors(append.inputs[1:])[0],
            step.weight(f"{name}.k_weight", own.heads * nope_dim * rank),
            step.weight(f"{name}.v_weight", own.heads * own.v_dim * rank),
        )
        naive, absorbed = latent._forms(step)
        outputs = [latent._naive(step, own, parts, naive)] if naive else []
        outputs.append(latent._absorbed(step, own, parts, absorbed))
    emit.holds(node.outputs, *outputs)
