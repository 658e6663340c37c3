"""What read_onnx refuses, word for word; damaged files; big files."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import ChipsmithError
from workloads.onnx_import import read_onnx
from workloads.onnx_in.load import load_model
from workloads.trace import Trace

from .onnx_models import FLOAT, ints, node, onnx, save, tensor


def refusal(file: Path, **arguments: Any) -> str:
    with pytest.raises(ChipsmithError) as caught:
        read_onnx(file, **arguments)
    return str(caught.value).replace(str(file), "FILE")


def product(tmp_path: Path, shape: list[int | str] | None = None) -> Path:
    return save(
        tmp_path, [node("MatMul", "x w", "y")], {"x": shape or ["batch", "seq", 8]}, ["y"], [tensor("w", (8, 4))]
    )


def test_free_dimensions_are_named(tmp_path: Path) -> None:
    file = product(tmp_path)
    text = "FILE: dimension 'batch'; is free (used by x[0]): bind it, dims={'batch': 1} or --dim batch=1; free too: seq"
    assert refusal(file) == text
    text = "FILE: dimension 'seq'; is free (used by x[1]): bind it, dims={'seq': 1} or --dim seq=1"
    assert refusal(file, dims={"batch": 2}) == text
    text = "dims: got 'sequence'; did you mean 'seq'? known: batch, seq"
    assert refusal(file, dims={"batch": 2, "seq": 3, "sequence": 3}) == text
    assert refusal(file, dims={"batch": -1, "seq": 1}) == "dims.batch: got -1; legal: a whole number from 0 on"
    assert refusal(file, dims={"batch": 1.5}) == "dims.batch: got 1.5; legal: a whole number from 0 on"
    assert refusal(product(tmp_path, [2, 8]), dims={"n": 1}) == "dims: got 'n'; legal: none, all shapes are fixed"


def test_dimensions_that_are_sums_or_have_no_name(tmp_path: Path) -> None:
    file = product(tmp_path, ["past + 2*seq", 8])
    assert read_onnx(file, dims={"past": 3, "seq": 4}).ops[0].tokens == 11
    assert read_onnx(file, dims={"past + 2*seq": 5}).ops[0].tokens == 5
    model = onnx.load(file)
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    onnx.save(model, file)
    text = "FILE: dimension 'x[0]'; is free (used by x[0]): bind it, dims={'x[0]': 1} or --dim x[0]=1"
    assert refusal(file) == text
    assert read_onnx(file, dims={"x[0]": 6}).ops[0].tokens == 6


def test_unknown_operators_are_listed_or_copied(tmp_path: Path) -> None:
    nodes = [node("Relu", "x", "a"), node("Mystery", "a", "b", "org.example"), node("Det", "b", "y")]
    file = save(tmp_path, nodes, {"x": [2, 4, 4]}, ["y"])
    text = "FILE: operators: got 'Det (1), org.example.Mystery (1)'; not known; allow_unknown counts them as copies"
    assert refusal(file) == text
    trace = read_onnx(file, allow_unknown=True)
    assert trace.meta["unknown"] == {"Det": 1, "org.example.Mystery": 1}
    assert [(op.name, op.function, op.input_elements) for op in trace.ops] == [
        ("Relu_a", "relu", 32),
        ("Mystery_b", "copy", 32),
        ("Det_y", "copy", 32),
    ]


def test_other_refusals(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.onnx") == "FILE; no such file"
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    assert refusal(empty) == "FILE; no ONNX model, or a damaged one: empty file"
    empty.write_bytes(b"\x08\x07")
    assert refusal(empty) == "FILE; no ONNX model: its graph holds no node"
    empty.write_bytes(b"some text that is no protobuf")
    assert refusal(empty).startswith("FILE; no ONNX model, or a damaged one: ")
    file = save(tmp_path, [node("MatMul", "x w", "y")], {"x": [2, 9]}, ["y"], [tensor("w", (8, 4))])
    text = refusal(file)
    assert text.startswith("FILE: node MatMul_y (MatMul); its shapes do not fit: ")
    assert "Incompatible dimensions" in text
    file = save(tmp_path, [node("Relu", "z", "y")], {"x": [2]}, ["y"])
    assert refusal(file) == "FILE: node Relu_y (Relu): got 'z'; is read before any node writes it"
    file = save(tmp_path, [node("Add", "w w", "y")], {"x": [2]}, ["y"], [tensor("w", (8, 4))])
    assert refusal(file) == "FILE; computes nothing: no operator depends on the inputs"
    file = save(tmp_path, [node("Transpose", "x", "y")], {"x": ([2, 3], 8)}, ["y"])
    text = "FILE: node Transpose_y (Transpose); can't be read: element type 8 has no number format here"
    assert refusal(file) == text


def test_the_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = product(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    monkeypatch.setitem(__import__("sys").modules, "onnx.shape_inference", None)
    assert refusal(file) == "onnx; is not installed: pip install onnx"


def test_weights_are_not_loaded(tmp_path: Path) -> None:
    """32 MiB of weights in the file, 400 GB beside it: neither is read."""
    nodes = [node("MatMul", "x w", "h"), node("MatMul", "h outside", "y")]
    file = save(tmp_path, nodes, {"x": [4, 4096]}, ["y"], [tensor("w", (4096, 2048))])
    model = onnx.load(file)
    outside = onnx.TensorProto(name="outside", data_type=FLOAT, dims=[2048, 50_000_000], data_location=1)
    outside.external_data.add(key="location", value="missing.bin")
    model.graph.initializer.append(outside)
    file.write_bytes(model.SerializeToString())
    del model
    assert file.stat().st_size > 32 << 20
    read_onnx(file)  # imports are done
    tracemalloc.start()
    trace = read_onnx(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    assert trace.meta["parameter_bytes"] == 4 * (4096 * 2048 + 2048 * 50_000_000)
    assert [op.macs for op in trace.ops] == [4 * 4096 * 2048, 4 * 2048 * 50_000_000]
    assert load_model(file).graph.initializer[0].raw_data == b""


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    function = onnx.helper.make_function(
        "local",
        "Twice",
        ["a"],
        ["c"],
        [node("Relu", "a", "b"), node("Relu", "b", "c")],
        [onnx.helper.make_opsetid("", 23)],
    )
    file = save(tmp_path, [node("Twice", "x", "y", "local")], {"x": [2, 3]}, ["y"])
    model = onnx.load(file)
    model.functions.append(function)
    model.opset_import.append(onnx.helper.make_opsetid("local", 1))
    onnx.save(model, file)
    assert [op.function for op in read_onnx(file).ops] == ["relu", "relu"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    nodes = [
        node("Gather", "table ids", "e"),
        node("LayerNormalization", "e gain", "n"),
        node("MatMul", "n w", "h"),
        node("Reshape", "h shape", "r"),
        node("Softmax", "r", "s", axis=-1),
        node("Conv", "s f", "y", pads=[1, 1]),
    ]
    stored = [tensor("table", (9, 4)), tensor("gain", (4,)), tensor("w", (4, 6)), ints("shape", [2, 3, -1])]
    file = save(tmp_path_factory.mktemp("good"), nodes, {"ids": (["n"], 7)}, ["y"], [*stored, tensor("f", (2, 3, 3))])
    return file.read_bytes()


@settings(max_examples=150)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(good: bytes, data: st.DataObject, tmp_path_factory: Any) -> None:
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(0, len(good)) | st.just(len(good)))
    file = tmp_path_factory.mktemp("damaged") / "x.onnx"
    file.write_bytes(bytes(changed[:kept]))
    try:
        trace = read_onnx(file, dims={"n": 6})
    except ChipsmithError as error:
        assert str(error)
    else:
        assert isinstance(trace.check(), Trace)
