"""with_token_blocks: matrix products that take a block of tokens at a time while the chip keeps their weights.

The first block reads the weights from memory and may wait for them; the later ones find them on the chip. That is how
NeuPIMs' simulator runs a product whose operands all fit its scratchpad: a block of 128 tokens is preloaded, and all
weights pass by it before the next block.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.dtypes import format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Tensor, Trace
from workloads.transforms.edit import noted, rebuilt


def in_blocks(trace: Trace, tokens: int) -> Trace:
    """See :meth:`workloads.trace.Trace.with_token_blocks`."""
    if tokens < 1:
        raise ChipsmithError("token_block", tokens, "legal: at least 1")
    kept = {tensor for block in trace.blocks for pair in block.carried for tensor in pair}
    tensors = list(trace.tensors)
    slices: dict[int, tuple[int, ...]] = {}
    ops: list[Operator] = []
    for op in trace.ops:
        own = replace(op, inputs=tuple(new for t in op.inputs for new in slices.get(t, (t,))))
        if not _divides(op, tokens) or kept & set(op.outputs):
            ops.append(own)
            continue
        ops += _blocks(own, tokens, tensors, slices)
    return noted(rebuilt(trace, ops, tensors, trace.blocks), "token_blocks", tokens=tokens) if slices else trace


def _divides(op: Operator, tokens: int) -> bool:
    return op.kind == "gemm" and op.weight_is_param and not op.per_segment_weights and op.tokens > tokens


def _blocks(op: Operator, tokens: int, tensors: list[Tensor], slices: dict[int, tuple[int, ...]]) -> list[Operator]:
    """The rows of one product; appends the tensors that they write and notes them in ``slices``."""
    found: list[Operator] = []
    cached = op.weight_elements - op.bias_elements
    for number, start in enumerate(range(0, op.tokens, tokens), start=1):
        mine = min(tokens, op.tokens - start)
        row = replace(op, name=f"{op.name}.block{number}", segments=(Segment(mine),))
        row = replace(row, cached_weights=cached, param_width=0) if number > 1 else row
        written = tuple(_slice(tensors[t], mine, op.tokens, number, tensors) for t in op.outputs)
        for t, new in zip(op.outputs, written, strict=True):
            slices[t] = (*slices.get(t, ()), new)
        found.append(replace(row, outputs=written))
    return found


def _slice(whole: Tensor, mine: int, total: int, number: int, tensors: list[Tensor]) -> int:
    elements = whole.elements * mine // total
    size = format_bytes(elements, whole.dtype)
    tensors.append(replace(whole, name=f"{whole.name}.block{number}", elements=elements, bytes=size))
    return len(tensors) - 1
