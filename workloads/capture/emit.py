"""From nodes to rows of a trace: one function for each kind of node, dispatched by a table."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from workloads.capture import names
from workloads.capture.emitter import Emit, Emitter
from workloads.capture.flow import Flow, Node
from workloads.capture.rules import NAMES, SINGLES, Single
from workloads.dtypes import format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Tensor

_UNKNOWN = Single("elementwise", "copy")


def _rows(shape: Sequence[int]) -> int:
    return math.prod(shape[:-1])


# ---------------------------------------------------------------- matrices


def gemm(emit: Emitter, node: Node) -> None:
    """Products of matrices, with a bias or another addend; batched ones have a matrix for each piece."""
    flow = emit.flow
    *addend, left, right = node.inputs
    m, (k, n) = flow.value(left).shape[-2], flow.value(right).shape[-2:]
    if left in flow.static:
        left, right, m, n = right, left, n, m
    copies: int = math.prod(flow.value(right).shape[:-2])
    constants = emit.parameters((right,))
    if constants and sum(flow.value(c).elements for c in constants) <= k * n:
        m, copies = m * copies, 1
    bias = emit.parameters(addend)
    bias = bias if sum(flow.value(c).elements for c in bias) == n else []
    form, group = emit.matrix_format(constants, node)
    row = replace(
        emit.step.row(_matrix_name(emit, node, constants), "gemm", (Segment(m, 0, copies),)),
        k=k,
        n=n,
        per_segment_weights=copies > 1,
        weight_is_param=bool(constants),
        weight=form,
        weight_group=group,
        param_width=n if bias else 0,
    )
    weights = (*(emit.weight(c, form, group) for c in constants), *emit.vectors(bias))
    inputs = (*emit.tensors((left, right, *addend)), *_earlier(emit, node, left))
    emit.holds(node.outputs, emit.append(node, row, (*inputs, *weights), {"": n})[0])


def _earlier(emit: Emitter, node: Node, value: int) -> tuple[int, ...]:
    """The cache, where a GEMM expands what earlier steps appended to it too."""
    appends = emit.flow.appends(value)
    width = sum(emit.flow.value(v).elements for p in appends for v in emit.flow.nodes[p].inputs)
    return (emit.cache(appends, node.path, width // emit.step.batch.tokens),) if appends else ()


def _matrix_name(emit: Emitter, node: Node, constants: Sequence[int]) -> str:
    if emit.is_router(node):
        return "router"
    if not constants:
        return "matmul"
    if emit.tables.intersection(constants):
        return "lm_head"
    return names.parameter_row(emit.flow.value(constants[0]).name, "linear")


def grouped(emit: Emitter, node: Node) -> None:
    """One GEMM for each expert in use; how many there are follows from the routing.

    Raises:
        ChipsmithError: the rows are no multiple of the step's tokens.
    """
    flow, step = emit.flow, emit.step
    matrix = next(v for v in node.inputs if v in flow.static and len(flow.value(v).shape) == 3)
    experts, k, n = flow.value(matrix).shape
    rows, tokens = _rows(flow.value(node.outputs[0]).shape), step.batch.tokens
    if rows % tokens:
        raise ChipsmithError(node.path, f"{rows} rows for {tokens} tokens", "legal: the same number for each token")
    constants, form = emit.parameters((matrix,)), step.options.expert_format
    biases = [c for c in emit.parameters(node.inputs) if c not in constants]
    name = names.parameter_row(flow.value(constants[0]).name, "experts")
    row = replace(
        step.row(name, "gemm", step.options.moe.segments(tokens, experts, rows // tokens)),
        k=k,
        n=n,
        per_segment_weights=True,
        weight=form[0],
        weight_group=form[1],
        param_width=n if biases else 0,
    )
    inputs = (*emit.tensors(node.inputs[:1]), *(emit.weight(c, *form) for c in constants), *emit.vectors(biases))
    emit.holds(node.outputs, emit.append(node, row, inputs, {"": n})[0])


def convolution(emit: Emitter, node: Node) -> None:
    """A convolution as the GEMM that it is: output positions x (channels and taps) x output channels."""
    flow = emit.flow
    source, kernel, *bias = node.inputs
    out, shape = flow.value(node.outputs[0]).shape, flow.value(kernel).shape
    groups = max(1, flow.value(source).shape[1] // shape[1])
    positions = math.prod(out) // out[1]
    constants, form = emit.parameters((kernel,)), emit.step.options.precision
    row = replace(
        emit.step.row(names.module_row(node.path, "convolution"), "gemm", (Segment(positions, 0, groups),)),
        k=math.prod(shape[1:]),
        n=out[1] // groups,
        per_segment_weights=groups > 1,
        param_width=out[1] // groups if bias else 0,
    )
    weights = (*(emit.weight(c, form.weights, form.weight_group) for c in constants),
               *emit.vectors(emit.parameters(bias)))  # fmt: skip
    inputs = emit.tensors((source,))
    held = sum(emit.step.graph.tensors[i].elements for i in inputs)
    if held < row.input_elements and groups == 1:  # taps overlap: the row reads its unfolded input
        inputs = (_unfolded(emit, node, inputs, row),)
    emit.holds(node.outputs, emit.append(node, row, (*inputs, *weights), {"": row.n})[0])


def _unfolded(emit: Emitter, node: Node, inputs: Sequence[int], row: Operator) -> int:
    """The im2col copy of a convolution's input."""
    tokens, held = row.tokens, sum(emit.step.graph.tensors[i].elements for i in inputs)
    copy = emit.step.vector_row(f"{row.name}_unfold", "elementwise", "copy", (Segment(tokens),))
    copy = replace(copy, width_in=max(1, -(-held // tokens)), width_out=row.k)
    return emit.append(node, copy, inputs, {"": row.k})[0]


# ---------------------------------------------------------------- attention and scans


def attention(emit: Emitter, node: Node) -> None:
    """A fused attention row: reads the cache of each request, appends this step's keys and values."""
    step, flow = emit.step, emit.flow
    query, key, value, *sinks = node.inputs
    width = cached_width(flow, (key, value))
    window, segments = node.integer("window"), step.batch.segments()
    constants = emit.parameters(sinks)
    function = "softmax" + "_softcap" * bool(node.attribute("softcap")) + "_sinks" * bool(sinks)
    row = replace(
        step.row("attention", "attention", segments),
        heads=node.integer("heads"),
        kv_heads=node.integer("kv_heads"),
        qk_dim=node.integer("qk_dim"),
        v_dim=node.integer("v_dim"),
        kv_width=width // step.batch.tokens,
        window=window,
        causal=bool(node.attribute("causal", True)),
        function=function,
        width_in=expanded_width(emit, (key, value)),
        param_width=sum(flow.value(c).elements for c in constants),
    )
    if constants:
        row = replace(row, weight=step.options.precision.vectors, weight_group=0)
    cache = emit.cache(_appends(flow, (key, value)), node.path, row.kv_width, window)
    inputs = (*emit.tensors((query, key, value)), *latents(emit, (key, value)), cache, *emit.vectors(constants))
    emit.holds(node.outputs, emit.append(node, row, inputs, {"": row.heads * row.v_dim})[0])


def cached_width(flow: Flow, values: Sequence[int]) -> int:
    """Elements that this step adds to the caches behind keys and values; without a cache the keys and values."""
    appended = _appends(flow, values)
    if not appended:
        return sum(flow.value(value).elements for value in values)
    return sum(flow.value(v).elements for p in appended for v in flow.nodes[p].inputs)


def _appends(flow: Flow, values: Sequence[int]) -> frozenset[int]:
    return frozenset(p for value in values for p in (flow.appends(value) or behind(flow, value)))


def behind(flow: Flow, value: int) -> frozenset[int]:
    """Appends one GEMM further back: keys and values that are expanded from cached latents."""
    found: set[int] = set()
    for part in flow.parts(value):
        position = flow.producer.get(part)
        if position is not None and flow.nodes[position].op in ("mm", "addmm"):
            for operand in flow.nodes[position].inputs:
                found |= flow.appends(operand)
    return frozenset(found)


def expanded_width(emit: Emitter, values: Sequence[int]) -> int:
    """Elements a token that attention reads beside queries and this step's cache: keys and values made of latents."""
    flow = emit.flow
    parts = {part for value in values if behind(flow, value) for part in flow.parts(value)}
    made = sum(flow.value(p).elements for p in parts if behind(flow, p))
    return made // emit.step.batch.tokens


def latents(emit: Emitter, values: Sequence[int]) -> tuple[int, ...]:
    """Tensors of the latents that a step appends where attention itself reads what was expanded from them."""
    flow = emit.flow
    appends = {p for value in values for p in behind(flow, value)}
    return emit.tensors(v for p in sorted(appends) for v in flow.nodes[p].inputs)


def attention_of_parts(emit: Emitter, node: Node) -> None:
    """Attention that a model spells out (scores, softmax, weighted sum), as the fused row that it is."""
    flow, rows = emit.flow, emit.flow.recording.meta.get("rows", 1)  # requests side by side
    query, key, value = (v for v in node.inputs if v not in flow.static)
    pieces = math.prod(flow.value(query).shape[:-2])
    heads = pieces // int(str(rows))
    facts = {"heads": heads, "kv_heads": heads, "qk_dim": flow.value(query).shape[-1],
             "v_dim": flow.value(value).shape[-1], "causal": emit.causal, "window": 0}  # fmt: skip
    attention(emit, replace(node, inputs=(query, key, value), attributes=tuple(facts.items())))


def scan(emit: Emitter, node: Node) -> None:
    """A state-space scan; the state of a request also holds the last inputs of the convolution before it."""
    step, flow = emit.step, emit.flow
    tokens = step.batch.tokens
    constants = emit.parameters(v for v in node.inputs if v in flow.static)
    heads, features, state = (node.integer(name) for name in ("heads", "head_dim", "state"))
    held = heads * features * state + _convolved(flow, node) // tokens
    row = replace(
        step.vector_row("ssd", "scan", "ssd", step.batch.segments()),
        heads=heads,
        kv_heads=node.integer("groups"),
        qk_dim=features,
        v_dim=state,
        kv_width=held,
        width_in=sum(flow.value(v).elements for v in node.inputs if v not in flow.static) // tokens,
        width_out=heads * features,
        param_width=sum(flow.value(c).elements for c in constants),
    )
    form = step.options.precision
    cache = step.graph.source(f"{node.path}.state", "state", len(step.batch) * held, form.kv, form.kv_group)
    inputs = (*emit.tensors(node.inputs), cache, *emit.vectors(constants))
    emit.holds(node.outputs, emit.append(node, row, inputs, {"": heads * features})[0])


def _convolved(flow: Flow, node: Node) -> int:
    """Elements of this step's tokens times the taps that the convolution before a scan keeps."""
    makers = {flow.producer.get(part) for value in node.inputs for part in flow.parts(value)}
    kept = [flow.nodes[p] for p in makers if p is not None and flow.nodes[p].op == "conv1d"]
    return sum((n.integer("kernel") - 1) * flow.value(n.outputs[0]).elements for n in kept)


# ---------------------------------------------------------------- vectors


def topk(emit: Emitter, node: Node) -> None:
    """Scores and choice of experts: writes score and index of the chosen ones."""
    step, flow = emit.step, emit.flow
    constants = emit.parameters(v for v in node.inputs if v in flow.static)
    tokens, chosen = step.batch.tokens, 2 * node.integer("top_k")
    read = emit.read(node) // tokens
    row = step.vector_row(node.op, "softmax", "topk")
    row = replace(row, width_in=read, width_out=chosen, param_width=sum(flow.value(c).elements for c in constants))
    inputs = (*emit.tensors(v for v in node.inputs if v not in flow.static), *emit.vectors(constants))
    emit.holds(node.outputs, emit.append(node, row, inputs, {"": chosen})[0])


def gather(emit: Emitter, node: Node) -> None:
    """Rows of one or more tables, added up."""
    step, flow = emit.step, emit.flow
    constants = emit.parameters(node.inputs)
    indices = [v for v in node.inputs if flow.value(v).role == "index" or not flow.constants(v)]
    out = flow.value(node.outputs[0])
    width = out.shape[-1]
    tokens = out.elements // width
    form = step.options.precision
    name = names.parameter_row(flow.value(constants[0]).name, "embedding")
    row = step.vector_row(name, "gather", "embedding", (Segment(tokens),))
    row = replace(row, weight=form.table, weight_group=form.table_group, width_out=width,
                  param_width=len(constants) * width)  # fmt: skip
    inputs = (*(_index(emit, v) for v in indices[:1]),
              *(emit.weight(c, form.table, form.table_group) for c in constants))  # fmt: skip
    emit.holds(node.outputs, emit.append(node, row, inputs, {"": width})[0])


def _index(emit: Emitter, value: int) -> int:
    found = emit.flow.value(value)
    if value not in emit.held:  # indices are no activations: their format is their own
        name = "token_ids" if found.name == "input_ids" else found.name or f"index_{value}"
        tensors = emit.step.graph.tensors
        tensors.append(Tensor(name, "input", found.elements, "int32", format_bytes(found.elements, "int32")))
        emit.holds((value,), len(tensors) - 1)
    return emit.held[value][0]


def norm(emit: Emitter, node: Node) -> None:
    """A norm over the features that its gain has (or over the last dimension)."""
    constants = emit.parameters(v for v in node.inputs if v in emit.flow.static)
    out = emit.flow.value(node.outputs[0])
    width = max((emit.flow.value(c).elements for c in constants), default=out.shape[-1])
    width = width if out.elements % width == 0 else out.shape[-1]
    _vector(emit, node, names.module_row(node.path, "norm"), out.elements // width)


def vector(emit: Emitter, node: Node) -> None:
    """Element-wise work: everything read once, everything written once."""
    shape = emit.flow.value(node.outputs[0]).shape
    rows = _rows(shape) if len(shape) in (2, 3) else emit.step.batch.tokens
    _vector(emit, node, _vector_name(emit, node), max(1, rows))


def _vector(emit: Emitter, node: Node, name: str, rows: int) -> None:
    flow = emit.flow
    single = _single(emit, node)
    outputs = [value for value in node.outputs if flow.users((value,))] or list(node.outputs[:1])
    written = [flow.value(value).elements for value in outputs]
    constants = emit.parameters(v for v in node.inputs if v in flow.static)
    read = emit.read(node) or written[0]
    rows = math.gcd(rows, *written) or 1
    row = emit.step.vector_row(name, single.kind, single.function, (Segment(rows),))
    row = replace(
        row,
        width_in=max(1, -(-read // rows)) if single.kind not in ("norm", "softmax") else max(1, read // rows),
        width_out=sum(written) // rows,
        param_width=sum(flow.value(c).elements for c in constants),
    )
    inputs = (*emit.tensors(v for v in (*node.inputs, *node.views) if v not in flow.static), *emit.vectors(constants))
    suffixes = [""] if len(outputs) == 1 else _suffixes(node, len(outputs))
    widths = {suffix: elements // rows for suffix, elements in zip(suffixes, written, strict=True)}
    for value, tensor in zip(outputs, emit.append(node, row, inputs, widths), strict=True):
        emit.holds((value,), tensor)


def _suffixes(node: Node, count: int) -> list[str]:
    return ["q", "k"] if node.op == "rope" and count == 2 else [str(i) for i in range(count)]


def _single(emit: Emitter, node: Node) -> Single:
    if node.kind:
        return Single(node.kind, node.function)
    if node.op not in SINGLES:
        emit.unknown[node.op] += 1
    return SINGLES.get(node.op, _UNKNOWN)


def _vector_name(emit: Emitter, node: Node) -> str:
    where = names.place(node.path)
    if node.op == "add" and where.number >= 0 and len(where.inside) <= 1:
        return f"{_added_part(emit, node)}_add"
    if node.op == "conv1d":
        return "conv1d"
    name = names.prefix(where.inside) + node.op.lstrip("_")
    return NAMES.get(name, name)


def _added_part(emit: Emitter, node: Node) -> str:
    """Which part of its layer a residual addition adds: that of the latest operand."""
    flow = emit.flow
    makers = [flow.producer[p] for value in node.inputs for p in flow.parts(value) if p in flow.producer]
    latest = max(makers, default=-1)
    return names.part_of(names.place(flow.nodes[latest].path)) if latest >= 0 else "layer"


def warn_unknown(unknown: Counter[str]) -> None:
    """One warning for operators whose arithmetic no table knows; their bytes are counted."""
    if unknown:
        listed = ", ".join(f"{name} x {count}" for name, count in sorted(unknown.items()))
        warnings.warn(f"operators without a rule count as copies: {listed}", stacklevel=2)


EMITTERS: dict[str, Emit] = {
    "mm": gemm,
    "addmm": gemm,
    "bmm": gemm,
    "baddbmm": gemm,
    "grouped": grouped,
    "convolution": convolution,
    "attention": attention,
    "attention_of_parts": attention_of_parts,
    "ssd": scan,
    "router_topk": topk,
    "embedding": gather,
}
KIND_EMITTERS: dict[str, Emit] = {"norm": norm}


def emit_rows(emit: Emitter) -> None:
    """Append the rows of all nodes, and mark what the recording gives back."""
    flow, tensors = emit.flow, emit.step.graph.tensors
    for position, node in list(flow.real()):
        if position not in emit.skipped:
            kind = node.kind or SINGLES.get(node.op, _UNKNOWN).kind
            usual = EMITTERS.get(node.op, KIND_EMITTERS.get(kind, vector))
            emit.special.get(position, usual)(emit, node)
    for tensor in emit.tensors(flow.recording.outputs):
        if tensors[tensor].producer >= 0:
            emit.step.graph.mark_output(tensor)
