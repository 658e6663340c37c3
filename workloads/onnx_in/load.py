"""An ONNX file without its weights: tensors keep name, shape and type, data of more than a few values stay on disk.

The file is mapped and copied field by field (field numbers: ``onnx.proto``), so that memory follows the size of the
graph, not of the parameters; external data are never opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError, MissingToolError
from workloads.formats import wire

if TYPE_CHECKING:
    import onnx

_KEPT_BYTES = 4096  # shapes, axes and slice bounds that shape inference needs are far smaller
_NESTED: dict[str, dict[int, str]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
_TENSOR_DATA = frozenset({4, 5, 6, 7, 9, 10, 11})


def load_model(path: Path) -> onnx.ModelProto:
    """The model without weights, its local functions inlined.

    Raises:
        ChipsmithError: no such file, no ONNX model, a damaged one.
        MissingToolError: onnx is not installed.
    """
    require_onnx()
    import onnx

    if not path.is_file():
        raise ChipsmithError(str(path), None, "no such file")
    try:
        model = onnx.ModelProto.FromString(_copy(wire.mapped(path), "model"))
    except Exception as error:  # protobuf's DecodeError is no ValueError, and importing it by name needs protobuf
        raise _damaged(path, error) from None
    if not model.graph.node:
        raise ChipsmithError(str(path), None, "no ONNX model: its graph holds no node")
    return _inlined(path, model) if model.functions else model


def require_onnx() -> None:
    """Refuse to go on without the onnx package.

    Raises:
        MissingToolError: not installed, with how to install it.
    """
    try:
        import onnx.shape_inference  # noqa: F401  # what is used of it is imported where it is used
    except ImportError:
        raise MissingToolError("onnx", None, "is not installed: pip install onnx") from None


def _damaged(path: Path, error: Exception) -> ChipsmithError:
    return ChipsmithError(str(path), None, f"no ONNX model, or a damaged one: {error}")


def _copy(data: memoryview, kind: str) -> bytes:
    """A message without the data of large tensors."""
    nested = _NESTED.get(kind, {})
    parts = []
    for number, code, value, begin, end in wire.read_spans(data):
        inner = nested.get(number) if code == wire.BYTES else None
        if inner is not None and not isinstance(value, int):
            parts.append(wire.bytes_field(number, _copy(value, inner)))
        elif kind != "tensor" or number not in _TENSOR_DATA or end - begin <= _KEPT_BYTES:
            parts.append(bytes(data[begin:end]))
    return b"".join(parts)


def _inlined(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    from onnx import inliner

    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the compiled inliner raises several types of its own
        raise ChipsmithError(str(path), None, f"its local functions can't be inlined: {error}") from None
