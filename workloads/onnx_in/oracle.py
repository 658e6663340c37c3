"""What one node writes: shapes by ONNX's own inference, small values by its reference implementation.

Layers repeat, so answers are kept by operator, attributes and inputs without their names.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.onnx_in.nodes import Shape

if TYPE_CHECKING:
    import onnx

Array = np.ndarray[Any, Any]
Facts = tuple[Shape, int]
_VERSIONS = (1 << 31) - 1


@dataclass(frozen=True)
class Given:
    """One input of a node: element type, shape, value where it is known."""

    type: int
    shape: Shape
    value: Array | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from another."""
        return self.type, self.shape, None if self.value is None else (self.value.dtype.str, self.value.tobytes())


class Oracle:
    """Answers for the operator sets that a model imports."""

    def __init__(self, model: onnx.ModelProto) -> None:
        from onnx import defs, helper

        opsets = {item.domain: item.version for item in model.opset_import}
        opsets.setdefault("", opsets.get("ai.onnx", defs.onnx_opset_version()))
        self._opsets = opsets
        self._imports = [helper.make_opsetid(domain, version) for domain, version in opsets.items()]
        self._shapes: dict[tuple[object, ...], tuple[Facts | None, ...]] = {}
        self._values: dict[tuple[object, ...], tuple[Array | None, ...]] = {}

    def schema(self, proto: onnx.NodeProto) -> onnx.defs.OpSchema | None:
        """The definition of the operator; None for one that ONNX does not define."""
        from onnx import defs

        domain = "" if proto.domain == "ai.onnx" else proto.domain
        version = min(self._opsets.get(domain, 1), _VERSIONS)
        try:
            return defs.get_schema(proto.op_type, version, domain) if version > 0 else None
        except defs.SchemaError:
            return None

    def shapes(self, proto: onnx.NodeProto, inputs: Sequence[Given | None]) -> tuple[Facts | None, ...]:
        """Shape and type of each output; None where they are open.

        Raises:
            ValueError: shapes that do not fit.
        """
        plain = _without_names(proto)
        key = plain.SerializeToString(), *(None if given is None else given.key for given in inputs)
        if key not in self._shapes:
            self._shapes[key] = self._inferred(plain, inputs)
        return self._shapes[key]

    def _inferred(self, proto: onnx.NodeProto, inputs: Sequence[Given | None]) -> tuple[Facts | None, ...]:
        from onnx import helper, numpy_helper, shape_inference

        schema = self.schema(proto)
        nested = any(attribute.HasField("g") or attribute.graphs for attribute in proto.attribute)
        if schema is None or nested:
            return (None,) * len(proto.output)
        named = {name: given for name, given in zip(proto.input, inputs, strict=True) if given is not None}
        types = {name: helper.make_tensor_type_proto(given.type, given.shape) for name, given in named.items()}
        data = {n: numpy_helper.from_array(given.value, n) for n, given in named.items() if given.value is not None}
        try:
            found = shape_inference.infer_node_outputs(schema, proto, types, data, None, self._imports)
        except Exception as error:  # the compiled inference raises several types of its own
            raise ValueError(f"its shapes do not fit: {' '.join(str(error).split())}") from None
        return tuple(_tensor(found[name]) if name in found else None for name in proto.output)

    def values(self, proto: onnx.NodeProto, inputs: Sequence[Given | None]) -> tuple[Array | None, ...]:
        """Values of the outputs of a node whose inputs are all known; None where they can't be computed."""
        plain = _without_names(proto)
        key = plain.SerializeToString(), *(None if given is None else given.key for given in inputs)
        if key not in self._values:
            self._values[key] = self._computed(plain, inputs)
        return self._values[key]

    def _computed(self, proto: onnx.NodeProto, inputs: Sequence[Given | None]) -> tuple[Array | None, ...]:
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        named = {name: given for name, given in zip(proto.input, inputs, strict=True) if given is not None}
        infos = [helper.make_tensor_value_info(name, given.type, None) for name, given in named.items()]
        results = [helper.make_empty_tensor_value_info(name) for name in proto.output if name]
        graph = helper.make_graph([proto], "fold", infos, results)
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")  # folding a division by zero is the model's business, not an event
                model = helper.make_model(graph, opset_imports=self._imports)
                known = {name: given.value for name, given in named.items()}
                computed = iter(ReferenceEvaluator(model).run(None, known))
        except Exception:  # the reference implementation has gaps; then the value stays unknown, its shape does not
            return (None,) * len(proto.output)
        return tuple(_number(next(computed, None)) if name else None for name in proto.output)


def _number(value: object) -> Array | None:
    if not isinstance(value, np.ndarray | np.generic):
        return None
    array = np.asarray(value)
    return array if array.dtype.kind in "biuf" else None


def _without_names(proto: onnx.NodeProto) -> onnx.NodeProto:
    """The node with its values named by position."""
    plain = type(proto)()
    plain.CopyFrom(proto)
    for letter, names in (("i", plain.input), ("o", plain.output)):
        numbered = [f"{letter}{index}" if name else "" for index, name in enumerate(names)]
        del names[:]
        names.extend(numbered)
    plain.ClearField("name")
    plain.ClearField("doc_string")
    plain.ClearField("metadata_props")
    return plain


def _tensor(kind: onnx.TypeProto) -> Facts | None:
    """Shape and type of an inferred tensor, None where it is no tensor or a dimension is open."""
    tensor = kind.tensor_type
    if not kind.HasField("tensor_type") or not tensor.HasField("shape"):
        return None
    if not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    return tuple(int(dim.dim_value) for dim in tensor.shape.dim), int(tensor.elem_type)
