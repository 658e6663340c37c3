"""Rows of attention: ONNX's Attention, com.microsoft's three, and the pattern that rewriting found.

Queries, keys and values of a step are inputs; a cache is read for its context and gets the step's keys and values.
Without a cache (encoders, cross attention) keys and values are inputs alone: nothing is kept between steps, so
``kv_width`` is 0 and ``width_in`` holds their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workloads.onnx_in.gemm import product
from workloads.onnx_in.importer import Importer
from workloads.onnx_in.nodes import Node
from workloads.trace import Segment


@dataclass(frozen=True)
class Heads:
    """Sizes of one attention.

    Attributes:
        requests: batch.
        new: queries of a request.
        keys: keys that a request brings in this step.
        past: keys in the cache.
        heads, kv_heads, qk_dim, v_dim: heads and their features.
        causal, window: mask; window 0 = none.
        cached: keys and values are kept for later steps.
    """

    requests: int
    new: int
    keys: int
    past: int
    heads: int
    kv_heads: int
    qk_dim: int
    v_dim: int
    causal: bool = False
    window: int = 0
    cached: bool = False


def attend(
    imp: Importer, node: Node, sizes: Heads, step: Sequence[str], caches: Sequence[str], masks: Sequence[str], out: str
) -> None:
    """Append the row.

    Args:
        imp: the importer.
        node: gives the name.
        sizes: see :class:`Heads`.
        step: values that hold queries, keys and values of this step.
        caches: values of the cache.
        masks: computed masks and biases that are read.
        out: value written.
    """
    if 0 in (sizes.requests, sizes.new, sizes.past + sizes.keys):
        return
    masks = imp.moving(masks)
    tokens = sizes.requests * sizes.new
    beside = sum(map(imp.elements, masks)) // tokens
    segment, width, extra, window = _keys(sizes)
    op = replace(
        imp.row(node, "attention", (segment,)),
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        qk_dim=sizes.qk_dim,
        v_dim=sizes.v_dim,
        kv_width=width,
        width_in=extra + beside,
        causal=sizes.causal,
        window=window,
        act=imp.form(step[0]),
        kv=imp.form(caches[0]) if caches else imp.form(step[-1]),
        out=imp.form(out),
    )
    imp.append(op, imp.read(*step, *caches, *masks), {out: sizes.heads * sizes.v_dim})


def _keys(sizes: Heads) -> tuple[Segment, int, int, int]:
    """Segment, cache width, width of keys and values that are no cache, window."""
    width = sizes.kv_heads * (sizes.qk_dim + sizes.v_dim)
    if sizes.cached and sizes.keys == sizes.new:
        return Segment(sizes.new, sizes.past, sizes.requests), width, 0, sizes.window
    keys = sizes.past + sizes.keys
    if sizes.causal and not sizes.past:  # ONNX aligns the mask at the first key: later ones are never seen
        return Segment(sizes.new, 0, sizes.requests), 0, width, sizes.window
    short = keys if keys < sizes.new else sizes.window  # fewer keys than queries: a window of all keys
    segment = Segment(sizes.new, max(0, keys - sizes.new), sizes.requests)
    return segment, 0, width * keys // sizes.new, short


def onnx_attention(imp: Importer, node: Node) -> None:
    """Attention of ONNX (opset 23 on): 3 dimensions (batch, tokens, heads x features) or 4."""
    names = [node.input(index) for index in range(3)]
    q, k, v = (imp.shape(name) for name in names)
    if len(q) == 3:
        heads, kv_heads = node.number("q_num_heads"), node.number("kv_num_heads")
        new, keys, qk_dim, v_dim = q[1], k[1], q[2] // heads, v[2] // kv_heads
    else:
        heads, kv_heads, new, keys, qk_dim, v_dim = q[1], k[1], q[2], k[2], q[3], v[3]
    caches = [name for name in (node.input(4), node.input(5)) if name]
    past = imp.shape(caches[0])[2] if caches else 0
    outside = bool(node.input(6))  # the cache was updated before: K and V are all of it
    causal, window = _mask(node)
    sizes = Heads(q[0], new, keys, past, heads, kv_heads, qk_dim, v_dim, causal, window, bool(caches))
    if outside:
        sizes = replace(sizes, keys=new, past=max(0, keys - new), cached=True)
    mask = "" if causal and not node.input(3) else node.input(3)
    attend(imp, node, sizes, names, caches, [mask], node.output(0))
    _present(imp, node, names, caches)


def _mask(node: Node) -> tuple[bool, int]:
    """Causal or not, and the window: positions to the left and right that a query sees, itself included; 0 = all."""
    left, right = node.number("left_window_size", -1), node.number("right_window_size", -1)
    causal = bool(node.number("is_causal")) or right == 0
    if left < 0 or (right < 0 and not causal):
        return causal, 0
    return causal, left + 1 if causal else left + right + 1


def _present(imp: Importer, node: Node, names: Sequence[str], caches: Sequence[str]) -> None:
    for index in (1, 2):
        if node.output(index):
            imp.alias(node.output(index), names[index], *caches[index - 1 : index])


def group_query(imp: Importer, node: Node) -> None:
    """GroupQueryAttention of com.microsoft: causal, with a cache; rotary positions are a row of their own."""
    q = imp.shape(node.input(0))
    heads, kv_heads = node.number("num_heads"), node.number("kv_num_heads")
    packed = not node.input(1)
    head_dim = q[2] // (heads + 2 * kv_heads if packed else heads)
    step = [node.input(0)] if packed else [node.input(index) for index in range(3)]
    caches = imp.moving([node.input(3), node.input(4)])
    if node.number("do_rotary"):
        step = _rotary(imp, node, step, q[0] * q[1], (heads + kv_heads) * head_dim)
    sizes = Heads(
        q[0],
        q[1],
        q[1],
        _context(imp, node, q[1]),
        heads,
        kv_heads,
        head_dim,
        head_dim,
        bool(node.number("causal", 1)),
        max(0, node.number("local_window_size", -1)),
        bool(node.input(3) or node.output(1)),
    )
    attend(imp, node, sizes, step, caches, [node.input(10)], node.output(0))
    new = step if packed else step[-2:]
    for index in (1, 2):
        if node.output(index):
            imp.alias(node.output(index), new[0 if packed else index - 1], *caches[index - 1 : index])


def _context(imp: Importer, node: Node, new: int) -> int:
    """Keys before this step: the length of the cache, less where the file says how many tokens there are in all."""
    past = imp.shape(node.input(3))[2] if node.input(3) else 0
    total = imp.found.consts.get(node.input(6))
    return min(past, max(0, int(total.flat[0]) - new)) if total is not None and total.size == 1 else past


def _rotary(imp: Importer, node: Node, step: list[str], tokens: int, width: int) -> list[str]:
    """Rotary positions of queries and keys; returns the step's values with them."""
    names = [f"{name}.rotated" for name in step[:2]]
    widths = {}
    for name, source in zip(names, step, strict=False):
        shape = imp.shape(source)
        imp.found.shapes[name], imp.found.types[name] = shape, imp.found.types[source]
        widths[name] = imp.elements(source) // tokens
    if len(step) == 1:  # queries, keys and values lie side by side; values are not touched
        imp.alias(names[0], step[0])
        return names
    op = replace(
        imp.row(node, "elementwise", (Segment(tokens),), ".rope"),
        function="rope",
        width_in=width,
        width_out=sum(widths.values()),
        act=imp.form(step[0]),
        out=imp.form(step[0]),
    )
    imp.append(op, imp.read(*step[:2]), widths)
    return [*names, *step[2:]]


def multi_head(imp: Importer, node: Node) -> None:
    """MultiHeadAttention of com.microsoft: separate or packed queries, keys and values; optional cache."""
    heads, q = node.number("num_heads"), imp.shape(node.input(0))
    step = [name for name in (node.input(index) for index in range(3)) if name]
    present = imp.shape(node.output(1)) if node.output(1) else ()
    out = imp.shape(node.output(0))
    caches = imp.moving([node.input(6), node.input(7)])
    past = imp.shape(node.input(6))[2] if node.input(6) else 0
    keys = _brought(imp, node)
    qk_dim = q[4] if len(q) == 5 else q[2] // heads
    causal, cached = bool(node.number("unidirectional")), bool(node.input(6) or present)
    sizes = Heads(q[0], q[1], keys, past, heads, heads, qk_dim, out[2] // heads, causal, 0, cached)
    attend(imp, node, sizes, step, caches, [node.input(5)], node.output(0))
    for index in (1, 2):
        if node.output(index):
            imp.alias(node.output(index), step[min(index, len(step) - 1)], *caches[index - 1 : index])


def _brought(imp: Importer, node: Node) -> int:
    """Keys of this step."""
    if not node.input(1):
        return imp.shape(node.input(0))[1]
    k = imp.shape(node.input(1))
    return k[2] if len(k) == 4 else k[1]


def projected(imp: Importer, node: Node) -> None:
    """Attention of com.microsoft: the projection of q, k and v, then attention."""
    x, weights = imp.shape(node.input(0)), imp.shape(node.input(1))
    sizes = node.numbers("qkv_hidden_sizes") or [weights[1] // 3] * 3
    heads = node.number("num_heads")
    inner = f"{node.output(0)}.qkv"
    imp.found.shapes[inner], imp.found.types[inner] = (*x[:2], weights[1]), imp.found.types[node.input(0)]
    bias = node.input(2) if imp.fixed(node.input(2)) else ""
    product(
        imp,
        node,
        node.input(0),
        node.input(1),
        (x[0] * x[1], weights[0], weights[1]),
        ((), ()),
        bias=bias,
        out=inner,
        suffix=".qkv",
    )
    caches = imp.moving([node.input(4)])
    past = imp.shape(node.input(4))[3] if node.input(4) else 0
    cached = bool(node.input(4) or node.output(1))
    causal = bool(node.number("unidirectional"))
    shape = Heads(x[0], x[1], x[1], past, heads, heads, sizes[0] // heads, sizes[2] // heads, causal, 0, cached)
    attend(imp, node, shape, [inner], caches, [node.input(5)], node.output(0))
    if node.output(1):
        imp.alias(node.output(1), inner, *caches)


def pattern(imp: Importer, node: Node) -> None:
    """Attention that rewriting found: attributes hold the sizes, inputs are step, caches and masks."""
    sizes = node.attrs["sizes"]
    steps, caches = node.number("steps"), node.number("caches")
    if not isinstance(sizes, Heads):
        raise ValueError("no sizes")
    step, held = node.inputs[:steps], node.inputs[steps : steps + caches]
    attend(imp, node, sizes, step, held, node.inputs[steps + caches :], node.outputs[0])
    for index, present in enumerate(node.outputs[1:]):
        if present:
            imp.alias(present, step[index + 1], *held[index : index + 1])


def linear_attention(imp: Importer, node: Node) -> None:
    """LinearAttention: a state of key by value features for each head, updated and read for each token."""
    q, k, v = (imp.shape(node.input(index)) for index in range(3))
    heads = node.number("kv_num_heads")
    qk_dim, v_dim, tokens = k[2] // heads, v[2] // heads, q[0] * q[1]
    inputs = imp.moving([name for index, name in enumerate(node.inputs) if index != 3])
    out = node.output(0)
    op = replace(
        imp.row(node, "scan", (Segment(q[1], 0, q[0]),)),
        function="ssd",
        heads=heads,
        qk_dim=qk_dim,
        v_dim=v_dim,
        kv_width=heads * qk_dim * v_dim,
        width_in=sum(map(imp.elements, inputs)) // tokens,
        width_out=imp.elements(out) // tokens,
        act=imp.form(node.input(0)),
        kv=imp.form(node.input(3)) if node.input(3) else imp.form(node.input(0)),
        out=imp.form(out),
    )
    imp.append(op, imp.read(*inputs, node.input(3)), {out: op.width_out})
    if node.output(1):
        imp.alias(node.output(1), out)
