"""Layers of a trace cut into stages that fewer and fewer requests run (see early_exit.py for what they mean)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from workloads.dtypes import format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Segment, Trace
from workloads.transforms.edit import ACTIVATIONS, CACHES, cache_before, plain_row, rebuilt
from workloads.transforms.scale import experts_of, rerouted


@dataclass(frozen=True, slots=True)
class Span:
    """A block of layers: its number, iterations, layers in one iteration."""

    block: int
    count: int
    layers: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Iterations of a block that ``requests`` requests run; ``depth`` layers lie behind them at its end."""

    block: int
    count: int
    depth: int
    requests: int


def layer_spans(trace: Trace) -> list[Span]:
    """Blocks that keep a cache or a state, in order.

    Raises:
        ChipsmithError: there is none, or other blocks stand between them.
    """
    found = []
    for number, block in enumerate(trace.blocks):
        rows = [op for op in trace.ops if op.block == number and op.kind in ("attention", "scan")]
        layers = len({op.name.rpartition(".")[0] for op in rows})
        if layers:
            found.append(Span(number, block.count, layers))
    if not found or found[-1].block - found[0].block >= len(found):
        raise ChipsmithError("early_exit", trace.name, "legal: layers with a cache or a state, block after block")
    return found


def staged(trace: Trace, stages: Sequence[Stage], requests: int, check: bool) -> Trace:
    """The trace with its layers replaced by ``stages``, made of ``requests`` requests."""
    return _Stages(trace, requests).build(stages, check)


class _Stages:
    """Rows, tensors and blocks of the new trace while it is put together."""

    def __init__(self, trace: Trace, requests: int) -> None:
        self.trace, self.requests = trace, requests
        self.spans = [span.block for span in layer_spans(trace)]
        self.tensors = list(trace.tensors)
        self.ops: list[Operator] = []
        self.blocks: list[Block] = []

    def build(self, stages: Sequence[Stage], check: bool) -> Trace:
        """Blocks before the layers, the stages with an exit between them, blocks behind the layers."""
        for block in range(self.spans[0]):
            self._copy(block, self.requests, "", {})
        stream, last = _single(self.trace, self.spans[0], "reads", _read_from_outside), stages[0]
        left: list[int] = []
        for stage in stages:
            if stage.requests < last.requests:
                if check:
                    self._tail((stream,), last.requests, f"exit{last.depth}.")
                else:
                    left.append(stream)
                stream = self._leave(stream, last, stage.requests)
            stream = self._layers(stage, stream, last)
            last = stage
        self._tail((stream, *left), last.requests if check else self.requests, "")
        return rebuilt(self.trace, self.ops, self.tensors, self.blocks)

    def _layers(self, stage: Stage, stream: int, last: Stage) -> int:
        """A run of iterations on the residual stream; returns the stream behind it."""
        source = _single(self.trace, stage.block, "reads", _read_from_outside)
        out = _single(self.trace, stage.block, "writes", _written_for_outside)
        label = f"after{last.depth}." if stage.block == last.block and stage is not last else ""
        ids = self._copy(stage.block, stage.requests, label, {source: (stream,)}, stage.count)
        return ids[out][0]

    def _leave(self, stream: int, last: Stage, requests: int) -> int:
        """A block that copies the residual stream of those that stay."""
        tensor = self.tensors[stream]
        width = tensor.elements // last.requests
        like = replace(self.ops[-1], name=f"exit{last.depth}", block=len(self.blocks), act=tensor.dtype)
        row = replace(plain_row(like, "copy", "elementwise"), segments=(Segment(requests),), function="copy")
        row = replace(row, width_in=width, width_out=width, inputs=(stream,), outputs=(len(self.tensors),))
        size = format_bytes(requests * width, tensor.dtype)
        self.tensors.append(replace(tensor, name=row.name, elements=requests * width, bytes=size))
        self.blocks.append(Block(like.name))
        self.ops.append(row)
        return row.outputs[0]

    def _tail(self, streams: tuple[int, ...], requests: int, label: str) -> None:
        """Blocks behind the layers for some of the requests."""
        source = _single(self.trace, self.spans[-1], "writes", _written_for_outside)
        for block in range(self.spans[-1] + 1, len(self.trace.blocks)):
            self._copy(block, requests, label, {source: streams}, own_weights=False)

    def _copy(
        self,
        block: int,
        requests: int,
        label: str,
        known: Mapping[int, tuple[int, ...]],
        count: int = 0,
        own_weights: bool = True,
    ) -> dict[int, tuple[int, ...]]:
        """One block for ``requests`` requests; returns the new ids of its tensors.

        Args:
            block: which.
            requests: how many run it.
            label: put before names; without one, tensors keep their ids.
            known: tensors that others stand in for.
            count: iterations, 0 = as many as before.
            own_weights: with a label, whether weights are copied too (other layers) or shared (the same rows again).
        """
        ids = dict(known)
        rows = [(row, op) for row, op in enumerate(self.trace.ops) if op.block == block]
        made = {t for _, op in rows for t in op.outputs}
        for row, old in rows:
            op = self._scaled(row, old, requests)
            for t in (*old.inputs, *old.outputs):
                if t not in ids:
                    copied = label != "" and (t in made or (own_weights and self.trace.tensors[t].role != "input"))
                    ids[t] = (self._place(t, label, copied),)
            self._resize(old, op, ids)
            inputs = tuple(dict.fromkeys(new for t in old.inputs for new in ids[t]))
            outputs = tuple(ids[t][0] for t in old.outputs)
            self.ops.append(replace(op, name=label + op.name, block=len(self.blocks), inputs=inputs, outputs=outputs))
        plain = self.trace.blocks[block]
        carried = tuple((ids[w][0], ids[r][0]) for w, r in plain.carried)
        self.blocks.append(
            Block(label + plain.name, count or plain.count, carried if (count or plain.count) > 1 else ())
        )
        return ids

    def _place(self, t: int, label: str, copied: bool) -> int:
        if not copied:
            return t
        self.tensors.append(replace(self.trace.tensors[t], name=label + self.trace.tensors[t].name))
        return len(self.tensors) - 1

    def _resize(self, old: Operator, op: Operator, ids: Mapping[int, tuple[int, ...]]) -> None:
        """Make outputs and caches as large as the scaled row says."""
        if op is old:
            return
        for t in old.outputs:
            tensor = self.tensors[ids[t][0]]
            elements = self.trace.tensors[t].elements * op.tokens // old.tokens
            self.tensors[ids[t][0]] = replace(tensor, elements=elements, bytes=format_bytes(elements, tensor.dtype))
        for t in old.inputs:
            if self.trace.tensors[t].role in CACHES and op.kind in ("attention", "scan"):
                self.tensors[ids[t][0]] = cache_before(op, self.tensors[ids[t][0]])

    def _scaled(self, row: int, op: Operator, requests: int) -> Operator:
        """The row with the tokens of ``requests`` requests."""
        if requests == self.requests:
            return op
        if op.kind in ("attention", "scan"):
            return replace(op, segments=survivors(op.segments, requests))
        experts = experts_of(self.trace, self.requests)
        if row in experts:
            return replace(op, segments=rerouted(self.trace, experts[row], requests))
        shrunk = ((s, -(-s.new_tokens * requests // self.requests)) for s in op.segments)
        return replace(op, segments=tuple(replace(s, new_tokens=tokens) for s, tokens in shrunk))


def survivors(segments: Sequence[Segment], requests: int) -> tuple[Segment, ...]:
    """``requests`` of the requests, every group losing its share (largest remainders, ties to the first)."""
    total = sum(s.multiplicity for s in segments)
    left = [s.multiplicity * requests // total for s in segments]
    rest = sorted(range(len(segments)), key=lambda i: -(segments[i].multiplicity * requests % total))
    for i in rest[: requests - sum(left)]:
        left[i] += 1
    return tuple(replace(s, multiplicity=count) for s, count in zip(segments, left, strict=True) if count)


def _read_from_outside(trace: Trace, block: int) -> set[int]:
    """Activations that a block reads and does not write."""
    rows = [op for op in trace.ops if op.block == block]
    read = {t for op in rows for t in op.inputs} - {t for op in rows for t in op.outputs}
    return {t for t in read if trace.tensors[t].role in ACTIVATIONS}


def _written_for_outside(trace: Trace, block: int) -> set[int]:
    """Activations that a block writes and another reads, or its own next iteration."""
    written = {t for op in trace.ops if op.block == block for t in op.outputs}
    read = {t for op in trace.ops if op.block != block for t in op.inputs}
    return written & (read | {t for t, _ in trace.blocks[block].carried})


def _single(trace: Trace, block: int, verb: str, tensors: Callable[[Trace, int], set[int]]) -> int:
    found = tensors(trace, block)
    if len(found) != 1:
        names = ", ".join(sorted(trace.tensors[t].name for t in found))
        text = f"{verb} {len(found)} activations of other blocks ({names}); legal: one, the residual stream"
        raise ChipsmithError("early_exit", trace.blocks[block].name, text)
    return found.pop()
