"""The frame of a decoder-only model: embedding, pre-norm residual layers, final norm, lm_head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

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
        post_norm: each part's output is normed again before it is added (Gemma).
        embed_scale: embeddings are multiplied by a constant (Gemma: the root of ``hidden``).
        logit_softcap: logits pass through ``c tanh(logit / c)`` (Gemma 2).
    """

    hidden: int
    vocab: int
    norm: str = "rmsnorm"
    tied: bool = False
    positions: int = 0
    post_norm: bool = False
    embed_scale: bool = False
    logit_softcap: bool = False


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
    x = step.all_reduce("embed_all_reduce", x, shape.hidden)
    if shape.embed_scale:
        x = step.elementwise("embed_scale", "scale", (x,), shape.hidden, {"": shape.hidden})[0]
    return x, table


def layers(step: Step, name: str, count: int, x: int, body: Part) -> int:
    """A block of ``count`` equal layers; ``body`` maps the residual stream to the next one."""
    step.graph.begin(name, count, name.removesuffix("s"))
    out = body(x)
    step.graph.carry(out, x)
    return out


@lru_cache(maxsize=1024)
def runs(kinds: tuple[str, ...]) -> tuple[tuple[tuple[str, ...], int], ...]:
    """Kinds of layers in order as (pattern, repetitions) pairs with the fewest layers in all patterns together.

    Five local layers before each global one, ten times, then two local ones: a pattern of six, ten times, and a
    pattern of one, twice.
    """
    best: list[tuple[int, int, int, int]] = [(0, 0, 0, 0)]  # from the end: layers in patterns, runs, pattern, count
    for start in range(len(kinds) - 1, -1, -1):
        options = []
        for period in range(1, len(kinds) - start + 1):
            count = _repetitions(kinds, start, period)
            rest = best[len(kinds) - start - period * count]
            options.append((rest[0] + period, rest[1] + 1, period, count))
        best.append(min(options, key=lambda o: (o[0], o[1], -o[2] * o[3])))
    found, start = [], 0
    while start < len(kinds):
        _, _, period, count = best[len(kinds) - start]
        found.append((kinds[start : start + period], count))
        start += period * count
    return tuple(found)


def _repetitions(kinds: tuple[str, ...], start: int, period: int) -> int:
    """How often the ``period`` kinds from ``start`` follow one another."""
    pattern, count = kinds[start : start + period], 1
    while kinds[start + count * period : start + (count + 1) * period] == pattern:
        count += 1
    return count


def layers_of_kinds(step: Step, kinds: Sequence[str], x: int, body: Callable[[str, int], int]) -> int:
    """Layers of several kinds in order, each run of a repeated pattern as one block.

    Blocks are called ``layers``, ``layers_2`` ...; the rows of a layer carry its kind, numbered where the pattern
    holds several of that kind: ``layer.sliding_1.q_proj``. With a single kind they are named as :func:`layers` does.

    Args:
        step: the step.
        kinds: kind of each layer.
        x: the residual stream.
        body: appends a layer of a kind; maps the residual stream to the next one.
    """
    plain = len(set(kinds)) == 1
    for number, (pattern, count) in enumerate(runs(tuple(kinds)), start=1):
        suffix = f"_{number}" if number > 1 else ""
        prefix = f"layer{suffix}"
        step.graph.begin(f"layers{suffix}", count, prefix)
        out = x
        for position, kind in enumerate(pattern):
            if not plain:
                index = f"_{pattern[: position + 1].count(kind)}" if pattern.count(kind) > 1 else ""
                step.graph.prefix(f"{prefix}.{kind}{index}")
            out = body(kind, out)
        step.graph.carry(out, x)
        x = out
    return x


def residual(step: Step, name: str, shape: Decoder, x: int, part: Part) -> int:
    """``x + part(norm(x))`` with rows ``<name>_norm`` and ``<name>_add`` (and ``<name>_post_norm``)."""
    out = part(step.norm(f"{name}_norm", (x,), shape.hidden, shape.norm))
    if shape.post_norm:
        out = step.norm(f"{name}_post_norm", (out,), shape.hidden, shape.norm)
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
    if shape.logit_softcap:
        x = step.elementwise("logit_softcap", "softcap", (x,), vocab, {"": vocab}, (Segment(tokens),))[0]
    return step.collective("lm_head_all_gather", "all_gather", x, (vocab, vocab * step.tp), step.tp, tokens)
