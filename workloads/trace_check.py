"""The rules that a legal trace keeps; each violation is an error that names the row (or tensor, or block)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from workloads.dtypes import dtype, element_bits
from workloads.errors import ChipsmithError, nearest
from workloads.meta_check import check_meta
from workloads.trace import DERIVED, KINDS, PHASES, ROLES, Block, Operator, Tensor, Trace
from workloads.transforms.patterns import parse_pattern

LIMIT = 2**62  # counts of one row stay a factor of two below what 64-bit kernels hold
COLLECTIVES = ("all_gather", "all_reduce", "all_to_all", "reduce_scatter")

_AT_LEAST_ONE: dict[str, tuple[str, ...]] = {
    "gemm": ("k", "n"),
    "attention": ("heads", "kv_heads", "qk_dim", "v_dim"),
    "scan": ("heads", "qk_dim", "v_dim"),
    "gather": ("width_out",),
    "collective": ("width_in", "width_out", "ranks"),
}
_VECTOR = ("width_in", "width_out")
_SIZES = ("k", "n", "heads", "kv_heads", "qk_dim", "v_dim", "kv_width", "window")
_MORE_SIZES = ("width_in", "width_out", "param_width", "weight_group", "kv_group")
# Kinds whose inputs must hold at least what the row reads; others gather rows, or get them from other ranks.
_READ_WHOLE = ("gemm", "attention", "norm", "softmax", "scan")


def check_trace(trace: Trace) -> None:
    """Refuse an illegal trace.

    Raises:
        ChipsmithError: no operator; an unknown kind, role, phase or format; a size that is negative or zero where it
            must not be; a block index that does not exist, rows of a block that are not consecutive; tensor ids that
            do not exist, an input that is read before it is written, wrong producers or last uses; carried tensors
            of another block; tensors that hold another number of elements than the row writes, or fewer than it
            reads; counts above 2^62; facts in ``meta`` that nothing can be computed with.
    """
    check_meta(trace.meta)
    if not trace.ops:
        raise ChipsmithError("trace.ops", "nothing", "legal: at least one operator")
    _check_unique("operator", [op.name for op in trace.ops])
    _check_unique("tensor", [tensor.name for tensor in trace.tensors])
    _check_blocks(trace)
    for number, tensor in enumerate(trace.tensors):
        _check_tensor(number, tensor, len(trace.ops))
    for row, op in enumerate(trace.ops):
        _check_operator(row, op)
        _check_edges(row, op, trace.tensors)
        _check_counts(row, op)
    _check_producers(trace)
    _check_last_uses(trace)
    for index, block in enumerate(trace.blocks):
        _check_carried(trace, index, block)


def _where(row: int, op: Operator, field: str) -> str:
    return f"ops[{row}] {op.name}.{field}"


def _check_unique(what: str, names: Iterable[str]) -> None:
    for name, times in Counter(names).items():
        if times > 1:
            raise ChipsmithError(f"{what} name", name, f"legal: unique names, this one occurs {times} times")


def _check_blocks(trace: Trace) -> None:
    for index, block in enumerate(trace.blocks):
        if not _whole(block.count, 1):
            raise ChipsmithError(f"blocks[{index}] {block.name}.count", block.count, "legal: at least 1")
    last = 0
    for row, op in enumerate(trace.ops):
        if not 0 <= op.block < len(trace.blocks):
            raise ChipsmithError(_where(row, op, "block"), op.block, f"legal: 0 to {len(trace.blocks) - 1}")
        if op.block < last:
            raise ChipsmithError(
                _where(row, op, "block"), op.block, f"legal: {last} or later, rows stand block by block"
            )
        last = op.block
    used = {op.block for op in trace.ops}
    for index, block in enumerate(trace.blocks):
        if index not in used:
            raise ChipsmithError(f"blocks[{index}] {block.name}", None, "holds no operator")


def _whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_tensor(number: int, tensor: Tensor, rows: int) -> None:
    where = f"tensors[{number}] {tensor.name}"
    if tensor.role not in ROLES:
        raise ChipsmithError(f"{where}.role", tensor.role, nearest(tensor.role, ROLES))
    form = dtype(tensor.dtype, f"{where}.dtype")
    if not _whole(tensor.elements, 0):
        raise ChipsmithError(f"{where}.elements", tensor.elements, "legal: 0 or more")
    # weights may be compressed: the row that reads them knows their pattern, the tensor does not
    least = min(1, tensor.elements) if tensor.role == "weight" else -(-element_bits(tensor.elements, form) // 8)
    if not _whole(tensor.bytes, least):
        raise ChipsmithError(f"{where}.bytes", tensor.bytes, f"legal: at least {least}, what its elements take")
    for field, value in (("producer", tensor.producer), ("last_use", tensor.last_use)):
        if not -1 <= value < rows:
            raise ChipsmithError(f"{where}.{field}", value, f"legal: -1 to {rows - 1}")


def _check_operator(row: int, op: Operator) -> None:
    if op.kind not in KINDS:
        raise ChipsmithError(_where(row, op, "kind"), op.kind, nearest(op.kind, KINDS))
    if op.phase not in PHASES:
        raise ChipsmithError(_where(row, op, "phase"), op.phase, nearest(op.phase, PHASES))
    for form in ("act", "weight", "kv", "out"):
        dtype(getattr(op, form), _where(row, op, form))
    _check_segments(row, op)
    _check_sizes(row, op)
    _check_function(row, op)
    for pattern in ("sparsity", "act_sparsity"):
        parse_pattern(getattr(op, pattern), _where(row, op, pattern))
    _check_cached(row, op)


def _check_cached(row: int, op: Operator) -> None:
    most = op.weight_elements - op.bias_elements if op.kind == "gemm" else 0
    if not _whole(op.cached_weights, 0) or op.cached_weights > most:
        raise ChipsmithError(_where(row, op, "cached_weights"), op.cached_weights, f"legal: 0 to {most}")


def _check_segments(row: int, op: Operator) -> None:
    if not op.segments:
        raise ChipsmithError(_where(row, op, "segments"), "nothing", "legal: at least one segment")
    least = {"new_tokens": 1, "context": 0, "multiplicity": 1, "placement": -1}
    for index, segment in enumerate(op.segments):
        for field, bound in least.items():
            if not _whole(getattr(segment, field), bound):
                where = _where(row, op, f"segments[{index}].{field}")
                raise ChipsmithError(where, getattr(segment, field), f"legal: at least {bound}")


def _check_sizes(row: int, op: Operator) -> None:
    positive = _AT_LEAST_ONE.get(op.kind, _VECTOR)
    for field in (*_SIZES, *_MORE_SIZES, "ranks"):
        least = 1 if field in positive or field == "ranks" else 0
        if not _whole(getattr(op, field), least):
            raise ChipsmithError(_where(row, op, field), getattr(op, field), f"legal for {op.kind}: at least {least}")
    if op.kind == "attention" and op.heads % op.kv_heads:
        raise ChipsmithError(_where(row, op, "kv_heads"), op.kv_heads, f"legal: a divisor of {op.heads} heads")


def _check_function(row: int, op: Operator) -> None:
    if op.kind == "collective" and op.function not in COLLECTIVES:
        raise ChipsmithError(_where(row, op, "function"), op.function, nearest(op.function, COLLECTIVES))
    if op.kind in ("norm", "elementwise") and not op.function:
        raise ChipsmithError(_where(row, op, "function"), op.function, "legal: a name, for example silu_mul")


def _check_edges(row: int, op: Operator, tensors: Sequence[Tensor]) -> None:
    for field, ids in (("inputs", op.inputs), ("outputs", op.outputs)):
        for tensor in ids:
            if not 0 <= tensor < len(tensors):
                raise ChipsmithError(_where(row, op, field), tensor, f"legal: tensor ids 0 to {len(tensors) - 1}")
    for tensor in op.inputs:
        if tensors[tensor].producer >= row:
            writer = tensors[tensor].producer
            raise ChipsmithError(_where(row, op, "inputs"), tensors[tensor].name, f"is written later, by row {writer}")
    if op.outputs:
        _check_written(row, op, [tensors[i] for i in op.outputs])
    if op.inputs and op.kind in _READ_WHOLE and not op.per_segment_weights:
        _check_read(row, op, [tensors[i] for i in op.inputs])


def _check_written(row: int, op: Operator, outputs: Sequence[Tensor]) -> None:
    held = sum(tensor.elements for tensor in outputs if tensor.role in ("activation", "output"))
    if held != op.output_elements:
        text = f"legal: {op.output_elements} elements, what its {op.tokens} tokens write"
        raise ChipsmithError(_where(row, op, "outputs"), held, text)


def _check_read(row: int, op: Operator, inputs: Sequence[Tensor]) -> None:
    held = sum(tensor.elements for tensor in inputs if tensor.role != "weight")
    if held < op.input_elements:
        text = f"legal: at least {op.input_elements} elements, what its {op.tokens} tokens read"
        raise ChipsmithError(_where(row, op, "inputs"), held, text)


def _check_counts(row: int, op: Operator) -> None:
    for field in DERIVED:
        value = getattr(op, field)
        if value > LIMIT:
            raise ChipsmithError(_where(row, op, field), value, "legal: at most 2^62, what 64-bit kernels hold")


def _check_producers(trace: Trace) -> None:
    written = {tensor: row for row, op in enumerate(trace.ops) for tensor in op.outputs}
    if len(written) != sum(len(op.outputs) for op in trace.ops):
        twice = Counter(tensor for op in trace.ops for tensor in op.outputs).most_common(1)[0][0]
        raise ChipsmithError(f"tensors[{twice}] {trace.tensors[twice].name}", None, "is written by more than one row")
    _check_rows(trace, "producer", [written.get(number, -1) for number in range(len(trace.tensors))])


def _check_last_uses(trace: Trace) -> None:
    read = {tensor: row for row, op in enumerate(trace.ops) for tensor in op.inputs}
    _check_rows(trace, "last_use", [read.get(number, -1) for number in range(len(trace.tensors))])


def _check_rows(trace: Trace, field: str, expected: Sequence[int]) -> None:
    for number, (tensor, row) in enumerate(zip(trace.tensors, expected, strict=True)):
        if getattr(tensor, field) != row:
            text = f"the operators say {row}"
            raise ChipsmithError(f"tensors[{number}] {tensor.name}.{field}", getattr(tensor, field), text)


def _check_carried(trace: Trace, index: int, block: Block) -> None:
    rows = [row for row, op in enumerate(trace.ops) if op.block == index]
    read_here = {tensor for row in rows for tensor in trace.ops[row].inputs}
    where = f"blocks[{index}] {block.name}.carried"
    for written, read in block.carried:
        if not (0 <= written < len(trace.tensors) and 0 <= read < len(trace.tensors)):
            raise ChipsmithError(where, (written, read), f"legal: tensor ids 0 to {len(trace.tensors) - 1}")
        source, target = trace.tensors[written], trace.tensors[read]
        if source.producer not in rows:
            raise ChipsmithError(where, source.name, "is not written in this block")
        if read not in read_here:
            raise ChipsmithError(where, target.name, "is not read in this block")
        if target.producer >= rows[0]:
            raise ChipsmithError(where, target.name, "must come from before this block, for its first iteration")
        if (source.elements, source.dtype) != (target.elements, target.dtype):
            text = f"has {source.elements} {source.dtype}, {target.name} {target.elements} {target.dtype}"
            raise ChipsmithError(where, source.name, text)
