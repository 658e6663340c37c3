"""Symbolic dimensions: names and sums of names, bound to numbers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError, nearest
from workloads.onnx_in.nodes import Shape

if TYPE_CHECKING:
    import onnx

_OPERATIONS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b if b else -1,
}
_LONGEST = 200


def evaluate(text: str, dims: Mapping[str, int]) -> int | None:
    """A dimension such as ``past + seq`` (exporters write sums into the name); None where a name is not bound."""
    if text in dims:
        return dims[text]
    try:
        tree = ast.parse(text[:_LONGEST], mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return _value(tree, dims)


def _value(tree: ast.expr, dims: Mapping[str, int]) -> int | None:
    if isinstance(tree, ast.Name):
        return dims.get(tree.id)
    if isinstance(tree, ast.Constant) and type(tree.value) is int:
        return tree.value
    if isinstance(tree, ast.BinOp) and type(tree.op) in _OPERATIONS:
        left, right = _value(tree.left, dims), _value(tree.right, dims)
        return None if left is None or right is None else _OPERATIONS[type(tree.op)](left, right)
    return None


def shape_of(info: onnx.ValueInfoProto, dims: Mapping[str, int]) -> Shape | None:
    """The bound shape of a value; None where a dimension is not known."""
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    sizes = [_size(info.name, axis, dim, dims) for axis, dim in enumerate(kind.shape.dim)]
    return None if None in sizes else tuple(size for size in sizes if size is not None)


def _size(name: str, axis: int, dim: onnx.TensorShapeProto.Dimension, dims: Mapping[str, int]) -> int | None:
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    size = evaluate(dim.dim_param, dims) if dim.dim_param else dims.get(f"{name}[{axis}]")
    return size if size is not None and size >= 0 else None


def bind_inputs(where: str, infos: list[onnx.ValueInfoProto], dims: Mapping[str, int]) -> dict[str, Shape]:
    """Shapes of the graph's inputs.

    Raises:
        ChipsmithError: a dimension that is not bound, with its name; a bound name that no input has; a bound value
            that is no whole number from 0 on.
    """
    for name, value in dims.items():
        if type(value) is not int or value < 0:
            raise ChipsmithError(f"dims.{name}", value, "legal: a whole number from 0 on")
    free: dict[str, list[str]] = {}
    for info in infos:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if _size(info.name, axis, dim, dims) is None:
                free.setdefault(dim.dim_param or f"{info.name}[{axis}]", []).append(f"{info.name}[{axis}]")
    if free:
        _refuse_free(where, free)
    _refuse_unknown(infos, dims)
    shapes = {info.name: shape_of(info, dims) for info in infos}
    for name, shape in shapes.items():
        if shape is None:
            raise ChipsmithError(f"{where}: input {name}", None, "has no shape")
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _refuse_free(where: str, free: Mapping[str, list[str]]) -> None:
    name, places = next(iter(free.items()))
    others = f"; free too: {', '.join(list(free)[1:])}" if len(free) > 1 else ""
    text = f"is free (used by {', '.join(places)}): bind it, dims={{{name!r}: 1}} or --dim {name}=1{others}"
    raise ChipsmithError(f"{where}: dimension {name!r}", None, text)


def _refuse_unknown(infos: list[onnx.ValueInfoProto], dims: Mapping[str, int]) -> None:
    known: set[str] = set()
    for info in infos:
        for axis, dim in enumerate(info.type.tensor_type.shape.dim):
            if dim.dim_param:
                known |= {dim.dim_param, *_split(dim.dim_param)}
            elif not dim.HasField("dim_value"):
                known.add(f"{info.name}[{axis}]")
    for name in dims:
        if name not in known:
            raise ChipsmithError("dims", name, nearest(name, known) if known else "legal: none, all shapes are fixed")


def _split(text: str) -> list[str]:
    for sign in "-*/":
        text = text.replace(sign, "+")
    return [part for part in (piece.strip("() ") for piece in text.split("+")) if part.isidentifier()]
