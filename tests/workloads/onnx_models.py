"""Small ONNX models, built node by node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed (pip install onnx)")

FLOAT, HALF, INT8, UINT8, INT64, INT4 = 1, 10, 3, 2, 7, 22
Dims = Sequence[int | str]


def tensor(name: str, shape: Sequence[int], kind: int = FLOAT) -> Any:
    """A stored parameter of zeros."""
    if kind == INT4:
        size = -(-int(np.prod(shape)) // 2)
        return onnx.helper.make_tensor(name, kind, shape, bytes(size), raw=True)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind)
    return onnx.numpy_helper.from_array(np.zeros(shape, dtype), name)


def ints(name: str, values: Sequence[int]) -> Any:
    """A stored list of whole numbers (a shape, axes)."""
    return onnx.numpy_helper.from_array(np.array(values, np.int64), name)


def scalar(name: str, value: float) -> Any:
    """A stored number."""
    return onnx.numpy_helper.from_array(np.array(value, np.float32), name)


def node(op: str, inputs: str, outputs: str, domain: str = "", **attributes: Any) -> Any:
    """A node whose inputs and outputs are separated by blanks; ``-`` is one left out."""
    names = [["" if name == "-" else name for name in text.split()] for text in (inputs, outputs)]
    return onnx.helper.make_node(op, *names, name=f"{op}_{names[1][0]}", domain=domain, **attributes)


def save(
    path: Path,
    nodes: Iterable[Any],
    inputs: Mapping[str, Dims | tuple[Dims, int]],
    outputs: Iterable[str],
    stored: Iterable[Any] = (),
    opset: int = 23,
) -> Path:
    """Write a model; inputs are shapes, or (shape, element type)."""
    infos = []
    for name, what in inputs.items():
        shape, kind = what if isinstance(what, tuple) else (what, FLOAT)
        infos.append(onnx.helper.make_tensor_value_info(name, kind, list(shape)))
    results = [onnx.helper.make_empty_tensor_value_info(name) for name in outputs]
    graph = onnx.helper.make_graph(list(nodes), "g", infos, results, list(stored))
    imports = [onnx.helper.make_opsetid("", opset), onnx.helper.make_opsetid("com.microsoft", 1)]
    file = path / "model.onnx"
    file.write_bytes(onnx.helper.make_model(graph, opset_imports=imports).SerializeToString())
    return file
