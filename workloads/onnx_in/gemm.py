"""Rows of matrix products and convolutions.

A convolution is its im2col product: m = batch x output positions, k = filter elements of a group, n = filters of a
group, a weight for each group (depthwise: a group for each channel). Where filters overlap or leave gaps, a copy row
in front reads the feature map once and writes the m x k matrix, so that the bytes are those of an explicit im2col; a
1x1 filter without stride or padding reads the map as it lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from workloads.onnx_in.importer import Importer
from workloads.onnx_in.nodes import Node, Shape
from workloads.trace import Segment


def _padded(shape: Shape, rank: int) -> Shape:
    return (1,) * (rank - len(shape)) + shape


def product(
    imp: Importer,
    node: Node,
    a: str,
    b: str,
    sizes: tuple[int, int, int],
    batches: tuple[Shape, Shape],
    *,
    bias: str = "",
    out: str = "",
    weight_form: str = "",
    weight_group: int = 0,
    suffix: str = "",
) -> None:
    """``a`` (batches of m x k) times ``b`` (batches of k x n), plus a stored bias.

    Args:
        imp: the importer.
        node: the node; its first output is written.
        a, b: operands; the product is transposed where only the left one is stored.
        sizes: m, k, n.
        batches: batch dimensions of the operands, broadcast against each other.
        bias: stored value added to the result.
        out: value written, default the node's first output.
        weight_form, weight_group: of the stored operand, default as it lies in the file.
        suffix: put behind the row's name.
    """
    m, k, n = sizes
    if imp.fixed(a) and not imp.fixed(b):
        a, b, m, n, batches = b, a, n, m, (batches[1], batches[0])
    rank = max(map(len, batches))
    left, right = (_padded(batch, rank) for batch in batches)
    copies = prod(right)
    total = prod(max(pair) for pair in zip(left, right, strict=True)) if rank else 1
    result = out or node.output(0)
    if 0 in (m, k, n, copies, total):
        return  # an empty product writes nothing
    stored = imp.fixed(b)
    op = replace(
        imp.row(node, "gemm", (Segment(total // copies * m, 0, copies),), suffix),
        k=k,
        n=n,
        per_segment_weights=copies > 1,
        param_width=imp.elements(bias) // copies if bias else 0,
        act=imp.form(a),
        weight=(weight_form or imp.form(b)) if stored else "fp16",
        out=imp.form(result),
        weight_group=weight_group or imp.groups.get(imp.stored(b), 0) if stored else 0,
        weight_is_param=stored,
    )
    imp.append(op, (*imp.read(a), *imp.read(b), *imp.read(bias)), {result: n})


def matmul(imp: Importer, node: Node) -> None:
    """MatMul and its integer forms: batches broadcast, a stored bias may follow as attribute ``bias``."""
    left, right = {"QLinearMatMul": (0, 3)}.get(node.op, (0, 1))
    a, b = node.input(left), node.input(right)
    shape_a, shape_b = imp.shape(a), imp.shape(b)
    rows = shape_a if len(shape_a) > 1 else (1, *shape_a)
    cols = shape_b if len(shape_b) > 1 else (*shape_b, 1)
    m, k = (rows[-1], rows[-2]) if node.number("transA") else (rows[-2], rows[-1])
    n = cols[-2] if node.number("transB") else cols[-1]
    batches = (rows[:-2], cols[:-2])
    if prod(cols[:-2]) == 1:
        m, batches = m * prod(rows[:-2]), ((), ())
    product(imp, node, a, b, (m, k, n), batches, bias=_bias(node))


def _bias(node: Node) -> str:
    return str(node.attrs.get("bias", ""))


def gemm(imp: Importer, node: Node) -> None:
    """Gemm: ``alpha A' B' + beta C``; a computed C is added by a row of its own."""
    a, b, c = node.input(0), node.input(1), node.input(2)
    m, k = imp.shape(a)[::-1] if node.number("transA") else imp.shape(a)
    n = imp.shape(b)[0] if node.number("transB") else imp.shape(b)[1]
    stored = bool(c) and imp.fixed(c)
    if not c or stored:
        product(imp, node, a, b, (m, k, n), ((), ()), bias=c or _bias(node))
        return
    inner = f"{node.output(0)}.product"
    _declare(imp, inner, (m, n), node.output(0))
    product(imp, node, a, b, (m, k, n), ((), ()), out=inner)
    imp.vector(replace(node, inputs=(inner, c)), "elementwise", "add", suffix=".add")


def _declare(imp: Importer, name: str, shape: Shape, like: str) -> None:
    """A value that the file does not name."""
    imp.found.shapes[name], imp.found.types[name] = shape, imp.found.types[like]
    if like in imp.forms:
        imp.forms[name] = imp.forms[like]


def n_bits(imp: Importer, node: Node) -> None:
    """MatMulNBits: weights of 2 to 8 bits in blocks that share a scale; B holds n x k of them, packed."""
    bits, k, n = node.number("bits", 4), node.number("K"), node.number("N")
    m = imp.elements(node.input(0)) // k
    held = imp.stored(node.input(1))
    imp.found.shapes[held] = (n, k)
    imp.forms[held], imp.groups[held] = f"int{bits}", node.number("block_size")
    bias = node.input(5) or _bias(node)
    product(imp, node, node.input(0), node.input(1), (m, k, n), ((), ()), bias=bias)


def einsum(imp: Importer, node: Node) -> None:
    """Einsum of two operands as batched product; of one operand as a copy.

    Raises:
        ValueError: an ellipsis, a repeated letter, more than two operands.
    """
    equation = str(node.attrs.get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    parts = terms.split(",")
    if len(parts) == 1:
        imp.vector(node, "elementwise", "copy")
        return
    repeated = any(len(set(part)) != len(part) for part in (*parts, result))
    if not arrow or "." in equation or len(parts) != 2 or len(node.inputs) != 2 or repeated:
        raise ValueError(f"equation {equation!r}; legal: one or two operands, a result, no ellipsis, no letter twice")
    sizes: dict[str, int] = {}
    for part, name in zip(parts, node.inputs, strict=True):
        sizes.update(zip(part, imp.shape(name), strict=True))
    left, right, kept = set(parts[0]), set(parts[1]), set(result)
    batch = tuple(sizes[i] for i in sorted(left & right & kept))
    m, n = prod(sizes[i] for i in left - right), prod(sizes[i] for i in right - left)
    k = prod(sizes[i] for i in left & right - kept)
    product(imp, node, node.input(0), node.input(1), (m, k, n), (batch, batch))


def conv(imp: Importer, node: Node) -> None:
    """Conv and its integer forms, any number of spatial dimensions."""
    position = {"QLinearConv": 3}.get(node.op, 1)
    bias = node.input(8 if position == 3 else 2) if node.op != "ConvInteger" else ""
    x, w, y = node.input(0), node.input(position), node.output(0)
    shape_w, shape_y, groups = imp.shape(w), imp.shape(y), node.number("group", 1)
    m, k, n = shape_y[0] * prod(shape_y[2:]), prod(shape_w[1:]), shape_w[0] // groups
    if 0 in (m, k, n):
        return
    source = x if _lies_ready(node, shape_w) else _im2col(imp, node, x, m * k * groups)
    sizes = (m, k, n)
    if groups == 1:
        product(imp, node, source, w, sizes, ((), ()), bias=bias or _bias(node))
    else:
        product(imp, node, source, w, sizes, ((groups,), (groups,)), bias=bias or _bias(node))


def _lies_ready(node: Node, shape_w: Shape) -> bool:
    plain: Sequence[int] = [*node.numbers("strides"), *(pad + 1 for pad in node.numbers("pads"))]
    return set(shape_w[2:]) <= {1} and set(plain) <= {1}


def _im2col(imp: Importer, node: Node, x: str, elements: int) -> str:
    name = f"{node.output(0)}.im2col"
    _declare(imp, name, (elements,), x)
    imp.forms[name] = imp.form(x)
    imp.vector(replace(node, inputs=(x,), outputs=(name,)), "elementwise", "copy", suffix=".im2col")
    return name


def conv_transpose(imp: Importer, node: Node) -> None:
    """ConvTranspose: each input position times all filters, then overlapping results are added up."""
    x, w, y, groups = node.input(0), node.input(1), node.output(0), node.number("group", 1)
    shape_x, shape_w = imp.shape(x), imp.shape(w)
    m, k, n = shape_x[0] * prod(shape_x[2:]), shape_w[0] // groups, prod(shape_w[1:])
    columns = f"{y}.columns"
    _declare(imp, columns, (m, n * groups), y)
    batch = (groups,) if groups > 1 else ()
    product(imp, node, x, w, (m, k, n), (batch, batch), out=columns)
    inputs = (columns, node.input(2))
    imp.vector(replace(node, inputs=inputs), "elementwise", "add", suffix=".col2im")
