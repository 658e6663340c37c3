"""The frame of a decoder-only model: embedding, pre-norm residual layers, final norm, lm_head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from workloads.shards import padded_split
from workloads.step import Step
from workloads.trace import Segment

Part = Callable[[int], int]


@dataclass(frozen=True, slots=True)
class Decoder:
    """What all layers share.

    Attributes:
        hidden, vocab: features of the residual stream, vocabulary.
        norm: ``rmsnorm`` or ``layernorm``.
        tied: lm_head uses the embedding table.
        positions: rows of a learned position table, 0 = none.
    """

    hidden: int
    vocab: int
    norm: str = "rmsnorm"
    tied: bool = False
    positions: int = 0


def embed(step: Step, shape: Decoder) -> tuple[int, int]:
    """Look the tokens up (and add learned positions); returns (residual stream, embedding table)."""
    graph, form = step.graph, step.options.precision
    graph.begin("embed")
    ids = graph.source("token_ids", "input", step.batch.tokens, "int32")
    vocab = padded_split(shape.vocab, step.tp)
    table = graph.source("embed_tokens.weight", "weight", vocab * shape.hidden, form.table, form.table_group)
    row = step.vector_row("embed_tokens", "gather", "embedding")
    row = replace(row, weight=form.table, weight_group=form.table_group, width_out=shape.hidden)
    inputs = [ids, table]
    if shape.positions:
        inputs.append(
            graph.source("positions.weight", "weight", shape.positions * shape.hidden, form.table, form.table_group)
        )
    row = replace(row, param_width=(len(inputs) - 1) * shape.hidden)
    x = graph.append(row, inputs, {"": shape.hidden})[0]
    return step.all_reduce("embed_all_reduce", x, shape.hidden), table


def layers(step: Step, name: str, count: int, x: int, body: Part) -> int:
    """A block of ``count`` equal layers; ``body`` maps the residual stream to the next one."""
    step.graph.begin(name, count, name.removesuffix("s"))
    out = body(x)
    step.graph.carry(out, x)
    return out


def residual(step: Step, name: str, shape: Decoder, x: int, part: Part) -> int:
    """``x + part(norm(x))`` with rows ``<name>_norm`` and ``<name>_add``."""
    out = part(step.norm(f"{name}_norm", (x,), shape.hidden, shape.norm))
    return step.add(f"{name}_add", out, x, shape.hidden)


def head(step: Step, shape: Decoder, x: int, table: int) -> None:
    """Final norm of all tokens, then logits of the tokens that are asked for."""
    graph = step.graph
    graph.begin("head")
    x = step.norm("final_norm", (x,), shape.hidden, shape.norm)
    if step.options.logits != "none":
        tokens = len(step.batch) if step.options.logits == "last" else step.batch.tokens
        x = _logits(step, shape, x, table, tokens)
    graph.mark_output(x)


def _logits(step: Step, shape: Decoder, x: int, table: int, tokens: int) -> int:
    form = step.options.precision
    vocab = padded_split(shape.vocab, step.tp)
    if not shape.tied:
        table = step.graph.source("lm_head.weight", "weight", vocab * shape.hidden, form.table, form.table_group)
    row = step.row("lm_head", "gemm", (Segment(tokens),))
    row = replace(row, k=shape.hidden, n=vocab, weight=form.table, weight_group=form.table_group)
    x = step.graph.append(row, (x, table), {"": vocab})[0]
    return step.collective("lm_head_all_gather", "all_gather", x, (vocab, vocab * step.tp), step.tp, tokens)
