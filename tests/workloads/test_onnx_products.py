"""Products, convolutions, vector operators of ONNX models: MACs and bytes by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from sim.simulate import simulate
from workloads.errors import ChipsmithError
from workloads.onnx_import import read_onnx
from workloads.trace import Operator, Trace

from .onnx_models import FLOAT, HALF, INT4, INT8, INT64, UINT8, ints, node, save, scalar, tensor


def only(trace: Trace) -> Operator:
    assert len(trace.ops) == 1, [op.name for op in trace.ops]
    return trace.ops[0]


def facts(op: Operator) -> tuple[int, int, int, int]:
    return op.macs, op.weight_bytes, op.input_bytes, op.output_bytes


def test_mlp_with_bound_batch(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w1", "h"),
        node("Add", "h b1", "hb"),
        node("Relu", "hb", "r"),
        node("Gemm", "r w2 b2", "y", transB=1),
    ]
    stored = [tensor("w1", (64, 256)), tensor("b1", (256,)), tensor("w2", (10, 256)), tensor("b2", (10,))]
    file = save(tmp_path, nodes, {"x": ["batch", 64]}, ["y"], stored)
    trace = read_onnx(file, dims={"batch": 4})
    assert [(op.name, op.kind, op.function) for op in trace.ops] == [
        ("MatMul_h", "gemm", ""),
        ("Relu_r", "elementwise", "relu"),
        ("Gemm_y", "gemm", ""),
    ]
    first, relu, second = trace.ops
    assert facts(first) == (4 * 64 * 256, 4 * (64 * 256 + 256), 4 * 4 * 64, 4 * 4 * 256)
    assert facts(relu) == (0, 0, 4 * 4 * 256, 4 * 4 * 256)
    assert facts(second) == (4 * 256 * 10, 4 * (2560 + 10), 4 * 4 * 256, 4 * 4 * 10)
    parameters = 64 * 256 + 256 + 2560 + 10
    assert (trace.meta["parameters"], trace.meta["parameter_bytes"]) == (parameters, 4 * parameters)
    assert (trace.meta["dims"], trace.meta["phase"], trace.meta["tokens"]) == ({"batch": 4}, "prefill", 4)
    assert trace.resident_bytes == 4 * parameters
    result = simulate(trace, "tpu_v4")
    assert sum(op.macs for op in result.ops) == trace.macs
    assert result.latency_s > 0


def test_dependencies_follow_the_values(tmp_path: Path) -> None:
    nodes = [
        node("MatMul", "x w", "a"),
        node("MatMul", "x v", "b"),
        node("Reshape", "b shape", "c"),
        node("Mul", "a c", "y"),
    ]
    stored = [tensor("w", (8, 6)), tensor("v", (8, 6)), ints("shape", [2, -1])]
    trace = read_onnx(save(tmp_path, nodes, {"x": [2, 8]}, ["y"], stored))
    mul = trace.op("Mul_y")
    assert [trace.tensors[i].producer for i in mul.inputs] == [0, 1]
    assert [trace.tensors[i].role for i in trace.ops[0].inputs] == ["input", "weight"]
    assert trace.tensors[mul.outputs[0]].role == "output"


BATCHED = [
    # shapes of both operands, then m, k, n, pieces, bytes of the second operand
    ((2, 3, 5, 8), (2, 3, 8, 4), (5, 8, 4, 6)),
    ((2, 3, 5, 8), (8, 4), (30, 8, 4, 1)),
    ((2, 3, 5, 8), (1, 3, 8, 4), (10, 8, 4, 3)),
    ((5, 8), (7, 8, 4), (5, 8, 4, 7)),
    ((8,), (8, 4), (1, 8, 4, 1)),
    ((3, 5, 8), (8,), (15, 8, 1, 1)),
]


@pytest.mark.parametrize(("left", "right", "expected"), BATCHED)
def test_batches_broadcast(
    left: tuple[int, ...], right: tuple[int, ...], expected: tuple[int, ...], tmp_path: Path
) -> None:
    op = only(read_onnx(save(tmp_path, [node("MatMul", "a b", "y")], {"a": list(left), "b": list(right)}, ["y"])))
    m, k, n, pieces = expected
    assert (op.segments[0].new_tokens, op.k, op.n, op.pieces) == expected
    assert (op.macs, op.weight_bytes) == (m * k * n * pieces, 0)
    assert (op.input_elements, op.output_elements) == (pieces * (m * k + k * n), pieces * m * n)


def test_a_stored_left_operand_swaps_the_product(tmp_path: Path) -> None:
    op = only(read_onnx(save(tmp_path, [node("MatMul", "w x", "y")], {"x": [8, 3]}, ["y"], [tensor("w", (5, 8))])))
    assert (op.tokens, op.k, op.n, op.weight_is_param) == (3, 8, 5, True)
    assert facts(op) == (120, 4 * 40, 4 * 24, 4 * 15)


def test_a_computed_addend_is_a_row_of_its_own(tmp_path: Path) -> None:
    nodes = [node("Gemm", "x w c", "y", transA=1)]
    trace = read_onnx(save(tmp_path, nodes, {"x": [8, 3], "c": [3, 5]}, ["y"], [tensor("w", (8, 5))]))
    assert [(op.name, op.kind, op.macs) for op in trace.ops] == [
        ("Gemm_y", "gemm", 120),
        ("Gemm_y.add", "elementwise", 0),
    ]
    assert facts(trace.ops[1]) == (0, 0, 4 * 30, 4 * 15)


def test_einsum_is_a_batched_product(tmp_path: Path) -> None:
    nodes = [node("Einsum", "a b", "y", equation="bhid,bhjd->bhij")]
    op = only(read_onnx(save(tmp_path, nodes, {"a": [2, 3, 4, 8], "b": [2, 3, 5, 8]}, ["y"])))
    assert (op.segments[0].new_tokens, op.k, op.n, op.pieces) == (4, 8, 5, 6)
    nodes = [node("Einsum", "a b c", "y", equation="ij,jk,kl->il")]
    shapes = {"a": [2, 3], "b": [3, 4], "c": [4, 5]}
    with pytest.raises(ChipsmithError) as caught:
        read_onnx(save(tmp_path, nodes, shapes, ["y"]))
    text = "(Einsum); can't be read: equation 'ij,jk,kl->il'; legal: one or two operands, a result, no ellipsis, "
    assert text in str(caught.value)


def test_conv_net(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "x w1", "c", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", "c s b m v", "n"),
        node("Relu", "n", "r"),
        node("Conv", "r wd", "d", group=16, pads=[1, 1, 1, 1]),
        node("Conv", "d w2 b2", "p"),
        node("GlobalAveragePool", "p", "g"),
        node("Flatten", "g", "f"),
        node("MatMul", "f w3", "y"),
    ]
    stored = [tensor("w1", (16, 3, 3, 3)), *(tensor(name, (16,)) for name in "sbmv"), tensor("wd", (16, 1, 3, 3))]
    stored += [tensor("w2", (32, 16, 1, 1)), tensor("b2", (32,)), tensor("w3", (32, 10))]
    trace = read_onnx(save(tmp_path, nodes, {"x": [2, 3, 32, 32]}, ["y"], stored, opset=17))
    pixels = 2 * 16 * 16
    by = {op.name: op for op in trace.ops}
    assert list(by) == [
        "Conv_c.im2col",
        "Conv_c",
        "Relu_r",
        "Conv_d.im2col",
        "Conv_d",
        "Conv_p",
        "GlobalAveragePool_g",
        "MatMul_y",
    ]
    # The copy reads the feature map once and writes the matrix that the product reads.
    assert facts(by["Conv_c.im2col"]) == (0, 0, 4 * 2 * 3 * 32 * 32, 4 * pixels * 27)
    assert facts(by["Conv_c"]) == (pixels * 27 * 16, 4 * (27 * 16 + 16), 4 * pixels * 27, 4 * pixels * 16)
    depthwise = by["Conv_d"]
    assert (depthwise.k, depthwise.n, depthwise.pieces, depthwise.per_segment_weights) == (9, 1, 16, True)
    assert facts(depthwise) == (pixels * 9 * 16, 4 * 144, 4 * pixels * 9 * 16, 4 * pixels * 16)
    assert facts(by["Conv_p"]) == (pixels * 16 * 32, 4 * (512 + 32), 4 * pixels * 16, 4 * pixels * 32)
    pool = by["GlobalAveragePool_g"]
    assert (pool.function, pool.tokens, pool.width_in, pool.width_out) == ("topk", 64, 256, 1)
    assert by["MatMul_y"].macs == 2 * 32 * 10
    assert trace.meta["tokens"] == 2
    assert simulate(trace, "tpu_v4").latency_s > 0


def test_one_dimensional_and_transposed_convolutions(tmp_path: Path) -> None:
    nodes = [node("Conv", "x w", "c", dilations=[2]), node("ConvTranspose", "c v", "y", strides=[2])]
    stored = [tensor("w", (6, 4, 3)), tensor("v", (6, 5, 4))]
    trace = read_onnx(save(tmp_path, nodes, {"x": [1, 4, 20]}, ["y"], stored))
    conv, up, add = trace.ops[1:]
    assert (conv.name, conv.macs) == ("Conv_c", 16 * 12 * 6)
    assert (up.tokens, up.k, up.n, up.macs) == (16, 6, 20, 16 * 6 * 20)
    assert (add.name, add.input_elements, add.output_elements) == ("ConvTranspose_y.col2im", 16 * 20, 5 * 34)


def test_vector_operators(tmp_path: Path) -> None:
    nodes = [
        node("Gather", "table ids", "e"),
        node("LayerNormalization", "e gain shift", "n"),
        node("Softmax", "n", "s"),
        node("Transpose", "s", "t", perm=[0, 2, 1]),
        node("ReduceMean", "t", "m", axes=[2], keepdims=0),
        node("Concat", "m m", "c", axis=1),
        node("Slice", "c begin end axes", "y"),
    ]
    stored = [tensor("table", (100, 8), HALF), tensor("gain", (8,), HALF), tensor("shift", (8,), HALF)]
    stored += [ints("begin", [0]), ints("end", [4]), ints("axes", [1])]
    trace = read_onnx(save(tmp_path, nodes, {"ids": ([2, 3], INT64)}, ["y"], stored, opset=17))
    rows = [(op.kind, op.function, op.tokens, op.width_in, op.width_out, op.param_width) for op in trace.ops]
    assert rows == [
        ("gather", "embedding", 6, 0, 8, 8),
        ("norm", "layernorm", 6, 8, 8, 16),
        ("softmax", "softmax", 6, 8, 8, 0),
        ("elementwise", "copy", 16, 3, 3, 0),
        ("elementwise", "topk", 16, 3, 1, 0),
        ("elementwise", "copy", 2, 8, 16, 0),
        ("elementwise", "copy", 2, 4, 4, 0),
    ]
    assert trace.ops[0].weight_bytes == 6 * 8 * 2
    assert trace.meta["narrowed"] == {"int64": 1}


def test_views_and_moves_of_single_dimensions_cost_nothing(tmp_path: Path) -> None:
    nodes = [
        node("Unsqueeze", "x axes", "a"),
        node("Transpose", "a", "b", perm=[1, 0, 2]),
        node("Reshape", "b shape", "c"),
        node("Dropout", "c", "d"),
        node("Cast", "d", "e", to=FLOAT),
        node("Relu", "e", "y"),
    ]
    trace = read_onnx(save(tmp_path, nodes, {"x": [4, 6]}, ["y"], [ints("axes", [0]), ints("shape", [24])]))
    assert (only(trace).name, only(trace).input_elements) == ("Relu_y", 24)


def test_parameters_are_folded_and_counted_once(tmp_path: Path) -> None:
    nodes = [
        node("Gather", "table ids", "e"),
        node("Cast", "table", "wide", to=FLOAT),
        node("Transpose", "wide", "head", perm=[1, 0]),
        node("Cast", "e", "x", to=FLOAT),
        node("MatMul", "x head", "y"),
    ]
    trace = read_onnx(save(tmp_path, nodes, {"ids": ([3], INT64)}, ["y"], [tensor("table", (50, 8), HALF)]))
    assert [op.kind for op in trace.ops] == ["gather", "elementwise", "gemm"]
    assert (trace.meta["parameters"], trace.meta["parameter_bytes"]) == (400, 800)
    assert (trace.ops[2].weight, trace.ops[2].macs, trace.ops[2].weight_bytes) == ("fp16", 3 * 8 * 50, 800)


def test_shapes_computed_in_the_graph(tmp_path: Path) -> None:
    """Shape, Gather, Concat, Reshape: what exporters write for ``x.view(batch, -1, 4)``."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "b"),
        node("Unsqueeze", "b axes", "b1"),
        node("Concat", "b1 rest", "shape", axis=0),
        node("Reshape", "x shape", "r"),
        node("MatMul", "r w", "y"),
    ]
    stored = [ints("axes", [0]), ints("rest", [-1, 4]), tensor("w", (4, 5)), onnx_scalar("zero", 0)]
    op = only(read_onnx(save(tmp_path, nodes, {"x": ["n", 24]}, ["y"], stored), dims={"n": 3}))
    assert (op.tokens, op.k, op.n) == (18, 4, 5)


def onnx_scalar(name: str, value: int) -> object:
    import numpy as np
    from onnx import numpy_helper

    return numpy_helper.from_array(np.array(value, np.int64), name)


def test_quantised_weights_keep_their_format(tmp_path: Path) -> None:
    """DequantizeLinear of parameters: int8 for each tensor, int4 in blocks; MatMulNBits of com.microsoft."""
    nodes = [
        node("DequantizeLinear", "w8 s8", "f8"),
        node("MatMul", "x f8", "a"),
        node("DequantizeLinear", "w4 s4", "f4", block_size=32, axis=0),
        node("MatMul", "a f4", "b"),
        node("MatMulNBits", "b packed scales", "y", "com.microsoft", K=128, N=16, bits=4, block_size=32),
    ]
    stored = [tensor("w8", (32, 64), INT8), scalar("s8", 1.0), tensor("w4", (64, 128), INT4), tensor("s4", (2, 128))]
    stored += [tensor("packed", (16, 4, 16), UINT8), tensor("scales", (16, 4))]
    trace = read_onnx(save(tmp_path, nodes, {"x": [2, 32]}, ["y"], stored, opset=21))
    rows = [(op.weight, op.weight_group, op.macs, op.weight_bytes) for op in trace.ops]
    assert rows == [
        ("int8", 0, 2 * 32 * 64, 2048),
        ("int4", 32, 2 * 64 * 128, 64 * 128 // 2 + 64 * 128 // 32 * 2),
        ("int4", 32, 2 * 128 * 16, 128 * 16 // 2 + 128 * 16 // 32 * 2),
    ]
    assert trace.meta["parameter_bytes"] == sum(op.weight_bytes for op in trace.ops)


def test_quantised_activations_are_written_and_read_in_few_bits(tmp_path: Path) -> None:
    """The QDQ form: quantise, dequantise, product; and the integer form QLinearMatMul."""
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "dq"),
        node("DequantizeLinear", "w s z", "dw"),
        node("MatMul", "dq dw", "m"),
        node("QuantizeLinear", "m s z", "mq"),
        node("QLinearMatMul", "mq s z v s z s z", "y"),
    ]
    stored = [scalar("s", 1.0), tensor("z", (), INT8), tensor("w", (16, 8), INT8), tensor("v", (8, 4), INT8)]
    trace = read_onnx(save(tmp_path, nodes, {"x": [2, 16]}, ["y"], stored, opset=21))
    quantise, first, second = trace.ops
    assert (quantise.function, quantise.act, quantise.out) == ("copy", "fp32", "int8")
    assert (first.act, first.weight, first.out) == ("int8", "int8", "int8")
    assert facts(first) == (2 * 16 * 8, 128, 32, 16)
    assert (second.act, second.weight, second.out) == ("int8", "int8", "int8")
    assert facts(second) == (2 * 8 * 4, 32, 16, 8)


def test_written_out_norms_and_activations_are_one_row_each(tmp_path: Path) -> None:
    nodes = [
        # RMSNorm
        node("Pow", "x two", "p"),
        node("ReduceMean", "p axes", "v"),
        node("Add", "v eps", "ve"),
        node("Sqrt", "ve", "sd"),
        node("Div", "x sd", "n"),
        node("Mul", "n gain", "rms"),
        # LayerNorm
        node("ReduceMean", "rms axes", "mean"),
        node("Sub", "rms mean", "c"),
        node("Pow", "c two", "c2"),
        node("ReduceMean", "c2 axes", "var"),
        node("Add", "var eps", "vare"),
        node("Sqrt", "vare", "std"),
        node("Div", "c std", "nn"),
        node("Mul", "nn gain", "ng"),
        node("Add", "ng shift", "ln"),
        # GELU
        node("Div", "ln root", "g1"),
        node("Erf", "g1", "g2"),
        node("Add", "g2 one", "g3"),
        node("Mul", "ln g3", "g4"),
        node("Mul", "g4 half", "gelu"),
        # gated SiLU
        node("MatMul", "gelu w1", "gate"),
        node("MatMul", "gelu w2", "up"),
        node("Sigmoid", "gate", "sig"),
        node("Mul", "gate sig", "silu"),
        node("Mul", "silu up", "y"),
    ]
    stored = [scalar(name, 1.0) for name in ("two", "eps", "root", "one", "half")]
    stored += [
        ints("axes", [-1]),
        tensor("gain", (8,)),
        tensor("shift", (8,)),
        tensor("w1", (8, 6)),
        tensor("w2", (8, 6)),
    ]
    trace = read_onnx(save(tmp_path, nodes, {"x": [3, 8]}, ["y"], stored))
    rows = [(op.kind, op.function, op.tokens, op.width_in, op.width_out, op.param_width) for op in trace.ops]
    assert rows == [
        ("norm", "rmsnorm", 3, 8, 8, 8),
        ("norm", "layernorm", 3, 8, 8, 16),
        ("elementwise", "gelu", 3, 8, 8, 0),
        ("gemm", "", 3, 0, 0, 0),
        ("gemm", "", 3, 0, 0, 0),
        ("elementwise", "silu_mul", 3, 12, 6, 0),
    ]


def test_a_region_that_is_read_from_outside_stays_apart(tmp_path: Path) -> None:
    nodes = [node("Sigmoid", "x", "s"), node("Mul", "x s", "y")]
    trace = read_onnx(save(tmp_path, nodes, {"x": [3, 8]}, ["y", "s"]))
    assert [(op.name, op.function) for op in trace.ops] == [("Sigmoid_s", "gelu"), ("Mul_y", "mul")]
