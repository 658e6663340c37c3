"""Shapes, types and small constants of every value: ONNX's own inference node by node, constants folded on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workloads.errors import ChipsmithError
from workloads.onnx_in.contrib import CONTRIB
from workloads.onnx_in.dims import bind_inputs, shape_of
from workloads.onnx_in.nodes import Node, Shape, domain_of, words
from workloads.onnx_in.oracle import Array, Facts, Given, Oracle

if TYPE_CHECKING:
    import onnx

_FOLDED_ELEMENTS = 4096
_DEEPEST = 8  # dimensions; more are a damaged file
_LARGEST = 1 << 60
_RANDOM = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
_COMPARISONS = ("Less", "LessOrEqual", "Greater", "GreaterOrEqual")
_MASKS = words(
    "And Or Not Where Mul Add Sub Cast Expand Reshape Unsqueeze Squeeze Transpose Slice Gather GatherND Concat"
)
_SAME_DATA = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "DequantizeLinear")


@dataclass
class Values:
    """What is known of the values of a graph, by name.

    Attributes:
        shapes, types: shape and ONNX element type.
        consts: small values that do not depend on the inputs.
        params: name -> name of the stored parameter that holds its data (itself, unless it is a view or a cast).
        groups: elements that share a scale, by name of the stored parameter.
        triangles: values that hold a causal mask: a triangle (Trilu), or known positions compared with known positions.
        inputs: names of the inputs of the graph.
        results: names of its outputs.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    types: dict[str, int] = field(default_factory=dict)
    consts: dict[str, Array] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    triangles: set[str] = field(default_factory=set)
    inputs: tuple[str, ...] = ()
    results: tuple[str, ...] = ()

    def shape(self, name: str) -> Shape:
        """The shape of a value.

        Raises:
            ValueError: it is not known.
        """
        found = self.shapes.get(name)
        if found is None:
            raise ValueError(f"the shape of {name!r} is not known")
        return found

    def elements(self, name: str) -> int:
        """Elements of a value."""
        return prod(self.shape(name))

    def fixed(self, name: str) -> bool:
        """Whether a value is known before the model runs: a parameter, or made of parameters."""
        return name in self.params or name in self.consts


def infer(
    model: onnx.ModelProto, dims: Mapping[str, int], path: Path, guess: bool = False
) -> tuple[list[Node], Values]:
    """Nodes that depend on the inputs, in order, and what is known of all values.

    With ``guess`` what an unknown operator writes is taken to be as large as its first input.

    Raises:
        ChipsmithError: a dimension is not bound; a value is read before it is written; shapes that do not fit.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    infos = [info for info in graph.input if info.name not in stored]
    found = Values(inputs=tuple(info.name for info in infos), results=tuple(info.name for info in graph.output))
    found.shapes.update(bind_inputs(str(path), infos, dims))
    found.types.update({info.name: info.type.tensor_type.elem_type for info in infos})
    for tensor in graph.initializer:
        _store(found, tensor.name, tensor, str(path))
    for sparse in graph.sparse_initializer:
        found.shapes[sparse.values.name] = tuple(sparse.dims)
        found.types[sparse.values.name] = sparse.values.data_type
        found.params[sparse.values.name] = sparse.values.name
    declared = {info.name: info for info in (*graph.value_info, *graph.output)}
    inference = _Inference(model, found, declared, dims, path, guess)
    nodes = [node for number, proto in enumerate(graph.node) if (node := inference.take(number, proto)) is not None]
    return nodes, found


def _store(found: Values, name: str, tensor: onnx.TensorProto, where: str) -> None:
    shape = tuple(tensor.dims)
    _refuse_size(shape, f"{where}: {name}")
    found.shapes[name], found.types[name], found.params[name] = shape, tensor.data_type, name
    value = _small(tensor, shape, where)
    if value is not None:
        found.consts[name] = value


def _small(tensor: onnx.TensorProto, shape: Shape, where: str) -> Array | None:
    """The data of a small tensor that the file holds in a type that shapes can depend on."""
    from onnx import TensorProto, numpy_helper

    kinds = (TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT, TensorProto.FLOAT16)
    if tensor.data_type not in kinds or prod(shape) > _FOLDED_ELEMENTS:
        return None
    if tensor.data_location == TensorProto.EXTERNAL or not _has_data(tensor, shape):
        return None
    try:
        return np.asarray(numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise ChipsmithError(f"{where}: {tensor.name}", None, f"a damaged tensor: {error}") from None


def _has_data(tensor: onnx.TensorProto, shape: Shape) -> bool:
    return prod(shape) == 0 or bool(tensor.raw_data or tensor.int64_data or tensor.int32_data or tensor.float_data)


def _refuse_size(shape: Iterable[int], where: str) -> None:
    sizes = list(shape)
    if any(size < 0 for size in sizes) or prod(sizes) > _LARGEST or len(sizes) > _DEEPEST:
        raise ChipsmithError(where, tuple(sizes), f"legal: up to {_DEEPEST} dimensions and 2^60 elements")


class _Inference:
    """Goes through the nodes in order."""

    def __init__(
        self,
        model: onnx.ModelProto,
        found: Values,
        declared: Mapping[str, onnx.ValueInfoProto],
        dims: Mapping[str, int],
        path: Path,
        guess: bool,
    ) -> None:
        self.found = found
        self.declared = declared
        self.dims = dims
        self.path = path
        self.guess = guess
        self.oracle = Oracle(model)
        self._written = set(found.shapes)

    def take(self, number: int, proto: onnx.NodeProto) -> Node | None:
        """Learn what a node writes; returns it unless it is folded."""
        node = _plain(number, proto)
        where = f"{self.path}: node {node.name} ({node.op})"
        for name in node.inputs:
            if name and name not in self._written:
                raise ChipsmithError(where, name, "is read before any node writes it")
        self._written.update(node.outputs)
        if proto.op_type == "Constant" and not proto.input:
            self._constant(proto, where)
            return None
        for name, (shape, kind) in self._outputs(node, proto, where).items():
            _refuse_size(shape, f"{where}: {name}")
            self.found.shapes[name], self.found.types[name] = shape, kind
        if self._triangular(node):
            self.found.triangles.update(node.outputs)
        return None if self._fold(node, proto) else node

    def _triangular(self, node: Node) -> bool:
        if node.op == "Trilu" or (node.op in _MASKS and not self.found.triangles.isdisjoint(node.inputs)):
            return True
        if node.op not in _COMPARISONS or not all(map(self.found.fixed, node.inputs)):
            return False
        sizes = [self.found.elements(name) for name in node.inputs if name in self.found.shapes]
        return node.output(0) in self.found.shapes and self.found.elements(node.output(0)) > max(sizes, default=0)

    def _constant(self, proto: onnx.NodeProto, where: str) -> None:
        from onnx import helper, numpy_helper

        name = proto.output[0] if proto.output else ""
        for attribute in proto.attribute:
            if attribute.name == "value":
                _store(self.found, name, attribute.t, where)
            elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
                value = np.asarray(helper.get_attribute_value(attribute))
                form = np.int64 if "int" in attribute.name else np.float32
                _store(self.found, name, numpy_helper.from_array(value.astype(form), name), where)

    def _outputs(self, node: Node, proto: onnx.NodeProto, where: str) -> dict[str, Facts]:
        """Shape and type of each output: inferred, else declared in the file, else guessed."""
        rule = CONTRIB.get(node.op) if self.oracle.schema(proto) is None else None
        try:
            facts = self._inferred(node, proto) if rule is None else rule(node, self.found)
        except (ValueError, LookupError, ZeroDivisionError) as error:
            raise ChipsmithError(where, None, str(error)) from None
        inferred = {name: one for name, one in zip(node.outputs, facts, strict=False) if name and one is not None}
        for name in node.outputs:
            if name and name not in inferred and name in self.declared:
                shape = shape_of(self.declared[name], self.dims)
                if shape is not None:
                    inferred[name] = shape, self.declared[name].type.tensor_type.elem_type
        first = node.input(0)
        if self.guess and first in self.found.shapes:
            like = self.found.shapes[first], self.found.types[first]
            inferred = {**{name: like for name in node.outputs if name}, **inferred}
        return inferred

    def _inferred(self, node: Node, proto: onnx.NodeProto) -> Sequence[Facts | None]:
        if not all(name in self.found.shapes for name in node.inputs if name):
            return ()
        return self.oracle.shapes(proto, self._given(node))

    def _given(self, node: Node) -> list[Given | None]:
        found = self.found
        return [Given(found.types[n], found.shapes[n], found.consts.get(n)) if n else None for n in node.inputs]

    def _fold(self, node: Node, proto: onnx.NodeProto) -> bool:
        """Whether the outputs are known without running the model; small ones are computed."""
        if node.op in ("Shape", "Size") and node.input(0) in self.found.shapes:
            self._keep(node.output(0), _shape_value(node, self.found.shape(node.input(0))))
            return True
        if node.domain not in ("", "ms") or node.op in _RANDOM:
            return False
        if not all(self.found.fixed(name) for name in node.inputs if name):
            return False
        if not all(name in self.found.shapes for name in node.outputs if name):
            return False
        if self._small(node):
            for name, value in zip(node.outputs, self.oracle.values(proto, self._given(node)), strict=True):
                if value is not None:
                    self._keep(name, value)
        for name in filter(None, node.outputs):
            self.found.params[name] = self._root(node, name)
        return True

    def _small(self, node: Node) -> bool:
        """Whether all inputs are known and nothing is larger than what shapes are made of."""
        sizes = [self.found.elements(name) for name in (*node.inputs, *node.outputs) if name]
        known = all(name in self.found.consts for name in node.inputs if name)
        return known and not node.domain and max(sizes, default=0) <= _FOLDED_ELEMENTS

    def _root(self, node: Node, name: str) -> str:
        source = node.input(0)
        if node.op not in _SAME_DATA or source not in self.found.params:
            return name
        held = self.found.params[source]
        if node.number("block_size") > 0:
            self.found.groups[held] = node.number("block_size")
        return held

    def _keep(self, name: str, value: Array) -> None:
        from onnx import helper

        self.found.consts[name] = value
        self.found.shapes[name] = value.shape
        self.found.types[name] = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.found.params[name] = name


def _plain(number: int, proto: onnx.NodeProto) -> Node:
    from onnx import AttributeProto, helper

    attrs: dict[str, object] = {}
    for attribute in proto.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS, AttributeProto.TENSOR):
            continue
        try:
            value = helper.get_attribute_value(attribute)
        except ValueError:
            continue
        attrs[attribute.name] = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    name = proto.name.strip("/").replace("/", ".") or f"{proto.op_type}_{number}"
    return Node(name, proto.op_type, domain_of(proto.domain), tuple(proto.input), tuple(proto.output), attrs)


def _shape_value(node: Node, shape: Sequence[int]) -> Array:
    if node.op == "Size":
        return np.asarray(prod(shape), np.int64)
    end = node.number("end") if "end" in node.attrs else len(shape)
    return np.asarray(shape[node.number("start") : end], np.int64)
