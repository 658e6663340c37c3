"""Rows of vector operators: norms, softmax, reductions, gathers, copies and views."""

from __future__ import annotations

from dataclasses import replace
from math import gcd, prod

from workloads.onnx_in.importer import Importer
from workloads.onnx_in.nodes import Node
from workloads.trace import Segment


def view(imp: Importer, node: Node) -> None:
    """A value gets another name."""
    imp.alias(node.output(0), node.input(0))


def transpose(imp: Importer, node: Node) -> None:
    """A copy, unless only dimensions of size 1 move."""
    shape = imp.shape(node.input(0))
    order = node.numbers("perm") or list(range(len(shape)))[::-1]
    moved = [axis for axis in order if shape[axis] != 1]
    if moved == sorted(moved):
        view(imp, node)
    else:
        imp.vector(node, "elementwise", "copy")


def part(imp: Importer, node: Node) -> None:
    """Some elements of the first input move: as much is read as is written."""
    written = sum(imp.elements(name) for name in node.outputs if name)
    imp.vector(replace(node, inputs=node.inputs[:1]), "elementwise", "copy", read=written)


def softmax(imp: Importer, node: Node) -> None:
    """Rows along one axis (opset 13 on; before, all axes from ``axis`` on count as one)."""
    shape = imp.shape(node.output(0))
    axis = node.number("axis", -1) % max(1, len(shape))
    imp.vector(node, "softmax", "softmax", rows=prod(shape) // max(1, shape[axis] if shape else 1))


def norm(imp: Importer, node: Node, function: str) -> None:
    """Norms over the axes from ``axis`` on; a skip input is read beside the first."""
    shape = imp.shape(node.input(0))
    axis = node.number("axis", -1) % max(1, len(shape))
    wanted = (node.output(0), node.output(3)) if node.op.startswith("Skip") else (node.output(0),)
    imp.vector(replace(node, outputs=wanted), "norm", function, rows=prod(shape[:axis]))


def group_norm(imp: Importer, node: Node, attribute: str) -> None:
    """Norms over groups of channels."""
    shape = imp.shape(node.input(0))
    groups = node.number(attribute) if attribute else shape[1]
    outputs = (node.output(0),)
    imp.vector(replace(node, outputs=outputs), "norm", "layernorm", rows=gcd(shape[0] * groups, prod(shape)))


def batch_norm(imp: Importer, node: Node) -> None:
    """With stored statistics a scale and a shift of each channel."""
    imp.vector(replace(node, inputs=node.inputs[:3], outputs=node.outputs[:1]), "elementwise", "mul")


def reduction(imp: Importer, node: Node) -> None:
    """One tree reduction and one pass over what is read."""
    x, outputs = node.input(0), [name for name in node.outputs if name]
    read, written = imp.elements(x), imp.elements(outputs[0])
    rows = gcd(read, prod(imp.shape(outputs[0])[:-1]) if node.op == "TopK" else written)
    wanted = outputs if node.op == "TopK" else outputs[:1]
    imp.vector(replace(node, inputs=(x,), outputs=tuple(wanted)), "elementwise", "topk", rows=rows or 1)


def gather(imp: Importer, node: Node) -> None:
    """Rows of a table, parameters (an embedding) or computed; a single row or element is a copy."""
    data, indices, out = node.input(0), node.input(1), node.output(0)
    tokens = imp.elements(indices)
    if not imp.fixed(data) or tokens == 0:
        part(imp, node)
        return
    width = imp.elements(out) // tokens
    held = imp.stored(data)
    op = replace(
        imp.row(node, "gather", (Segment(tokens),)),
        function="embedding",
        width_out=width,
        param_width=width,
        act=imp.form(out),
        weight=f"int{node.number('bits', 4)}" if node.domain == "ms" else imp.form(data),
        out=imp.form(out),
        weight_group=node.number("block_size") if node.domain == "ms" else imp.groups.get(held, 0),
    )
    imp.append(op, (*imp.read(*imp.moving([indices])), *imp.read(data)), {out: width})


def cache_update(imp: Importer, node: Node) -> None:
    """TensorScatter: new tokens are copied into a cache, which is not copied."""
    cache, update, out = node.input(0), node.input(1), node.output(0)
    name = f"{out}.update"
    imp.found.shapes[name], imp.found.types[name] = imp.shape(update), imp.found.types[update]
    imp.vector(replace(node, inputs=(update,), outputs=(name,)), "elementwise", "copy")
    imp.alias(out, cache, name)


def region(imp: Importer, node: Node) -> None:
    """Element-wise nodes that rewriting joined: kind and function stand in the attributes."""
    kind, function = str(node.attrs["kind"]), str(node.attrs["function"])
    rows = prod(imp.shape(node.output(0))[:-1]) if kind == "norm" else None
    imp.vector(node, kind, function, rows=rows)


def unknown(imp: Importer, node: Node) -> None:
    """An operator that nothing is known of: it reads its inputs and writes its outputs."""
    imp.vector(node, "elementwise", "copy")
