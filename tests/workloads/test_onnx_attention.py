"""Attention of ONNX models, fused and written out: MACs and bytes by hand."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.onnx_import import read_onnx
from workloads.precision import Precision
from workloads.trace import Operator, Trace

from .onnx_models import HALF, INT8, INT64, ints, node, save, scalar, tensor

MS = "com.microsoft"
INT32 = 6


def attention(trace: Trace) -> Operator:
    (found,) = (op for op in trace.ops if op.kind == "attention")
    return found


def shape(op: Operator) -> tuple[int, ...]:
    segment = op.segments[0]
    return op.heads, op.kv_heads, op.qk_dim, op.v_dim, segment.new_tokens, segment.context, segment.multiplicity


def bytes_of(op: Operator) -> tuple[int, int, int, int]:
    return op.input_bytes, op.output_bytes, op.kv_read_bytes, op.kv_write_bytes


def test_grouped_attention_with_a_cache(tmp_path: Path) -> None:
    """Decode: 2 requests, one token, 7 cached; 8 query heads, 2 KV heads of 16."""
    nodes = [node("Attention", "q k v - pk pv", "y k2 v2", q_num_heads=8, kv_num_heads=2, is_causal=1)]
    inputs: dict[str, Any] = {"q": (["b", 1, 128], HALF), "k": (["b", 1, 32], HALF), "v": (["b", 1, 32], HALF)}
    inputs |= {"pk": (["b", 2, "past", 16], HALF), "pv": (["b", 2, "past", 16], HALF)}
    trace = read_onnx(save(tmp_path, nodes, inputs, ["y", "k2", "v2"]), dims={"b": 2, "past": 7})
    op = attention(trace)
    assert shape(op) == (8, 2, 16, 16, 1, 7, 2)
    assert op.macs == 2 * 8 * 8 * 32
    assert bytes_of(op) == (2 * 2 * (128 + 64), 2 * 2 * 128, 2 * 2 * 7 * 64, 2 * 2 * 64)
    assert (trace.meta["phase"], trace.meta["tokens"]) == ("decode", 2)
    assert trace.meta["kv_cache_bytes"] == 2 * 8 * 64 * 2
    assert sorted(tensor.role for tensor in trace.tensors) == ["input", "input", "input", "kv", "kv", "output"]
    assert simulate(trace, "tpu_v4").tokens == 2


def test_encoder_attention_keeps_nothing(tmp_path: Path) -> None:
    nodes = [node("Attention", "q k v", "y")]
    inputs = {name: ([2, 4, 10, 8], HALF) for name in "qkv"}
    op = attention(read_onnx(save(tmp_path, nodes, inputs, ["y"])))
    assert (shape(op), op.causal, op.kv_width) == ((4, 4, 8, 8, 10, 0, 2), False, 0)
    assert op.macs == 2 * 4 * 10 * 10 * 16
    assert bytes_of(op) == (2 * 20 * (32 + 64), 2 * 20 * 32, 0, 0)


@pytest.mark.parametrize(("queries", "keys"), [(3, 12), (12, 3)])
def test_cross_attention_looks_at_all_keys(queries: int, keys: int, tmp_path: Path) -> None:
    nodes = [node("Attention", "q k v", "y")]
    inputs = {"q": ([1, 2, queries, 8], HALF), "k": ([1, 2, keys, 8], HALF), "v": ([1, 2, keys, 8], HALF)}
    op = attention(read_onnx(save(tmp_path, nodes, inputs, ["y"])))
    assert op.macs == 2 * queries * keys * 16
    assert op.input_elements == 2 * queries * 8 + 2 * keys * 16
    assert (op.kv_read_bytes, op.kv_write_bytes) == (0, 0)


def test_causal_attention_without_cache_and_with_window(tmp_path: Path) -> None:
    inputs = {name: ([1, 2, 6, 8], HALF) for name in "qkv"}
    op = attention(read_onnx(save(tmp_path, [node("Attention", "q k v", "y", is_causal=1)], inputs, ["y"])))
    assert op.macs == 2 * 21 * 16
    nodes = [node("Attention", "q k v", "y", is_causal=1, left_window_size=2)]
    op = attention(read_onnx(save(tmp_path, nodes, inputs, ["y"], opset=25)))
    assert op.macs == 2 * (1 + 2 + 3 * 4) * 16
    nodes = [node("Attention", "q k v", "y", left_window_size=2, right_window_size=0)]
    assert attention(read_onnx(save(tmp_path, nodes, inputs, ["y"], opset=25))) == op
    nodes = [node("Attention", "q k v", "y", left_window_size=1, right_window_size=1)]
    op = attention(read_onnx(save(tmp_path, nodes, inputs, ["y"], opset=25)))
    assert (op.causal, op.macs) == (False, 2 * 6 * 3 * 16)  # edges are counted like the middle


def test_a_cache_that_is_updated_outside(tmp_path: Path) -> None:
    """TensorScatter writes the new tokens; the cache itself is no copy."""
    nodes = [
        node("TensorScatter", "pk k", "kc", axis=2),
        node("TensorScatter", "pv v", "vc", axis=2),
        node("Attention", "q kc vc - - - n", "y", is_causal=1),
    ]
    inputs: dict[str, Any] = {"q": ([1, 4, 1, 8], HALF), "k": ([1, 2, 1, 8], HALF), "v": ([1, 2, 1, 8], HALF)}
    inputs |= {"pk": ([1, 2, 32, 8], HALF), "pv": ([1, 2, 32, 8], HALF), "n": ([1], INT64)}
    trace = read_onnx(save(tmp_path, nodes, inputs, ["y", "kc", "vc"], opset=24))
    op = attention(trace)
    assert (shape(op), op.macs) == ((4, 2, 8, 8, 1, 31, 1), 4 * 32 * 16)
    assert [(o.function, o.input_elements, o.output_elements) for o in trace.ops[:2]] == [("copy", 16, 16)] * 2
    assert {trace.tensors[i].producer for i in op.inputs} == {-1, 0, 1}


def test_group_query_attention(tmp_path: Path) -> None:
    """com.microsoft: rotary positions become a row, an int8 cache is read in one byte an element."""
    nodes = [
        node(
            "GroupQueryAttention",
            "q k v pk pv seqlens total cos sin - - - ks vs",
            "y k2 v2",
            MS,
            num_heads=4,
            kv_num_heads=2,
            do_rotary=1,
            local_window_size=5,
        )
    ]
    inputs: dict[str, Any] = {"q": ([2, 1, 32], HALF), "k": ([2, 1, 16], HALF), "v": ([2, 1, 16], HALF)}
    inputs |= {"pk": ([2, 2, 9, 8], INT8), "pv": ([2, 2, 9, 8], INT8), "seqlens": ([2], INT32), "total": ([1], INT32)}
    stored = [tensor("cos", (64, 4), HALF), tensor("sin", (64, 4), HALF), scalar("ks", 1.0), scalar("vs", 1.0)]
    trace = read_onnx(save(tmp_path, nodes, inputs, ["y", "k2", "v2"], stored))
    rope, op = trace.ops
    assert (rope.function, rope.tokens, rope.width_in, rope.width_out) == ("rope", 2, 48, 48)
    assert (shape(op), op.window, op.kv) == ((4, 2, 8, 8, 1, 9, 2), 5, "int8")
    assert op.macs == 2 * 4 * 5 * 16
    assert bytes_of(op) == (2 * 2 * (32 + 32), 2 * 2 * 32, 2 * 4 * 32, 2 * 32)


def test_group_query_attention_of_packed_inputs_and_a_known_length(tmp_path: Path) -> None:
    """A cache of 64 places of which the file says that 10 are used after this step."""
    nodes = [node("GroupQueryAttention", "qkv - - pk pv seqlens total", "y", MS, num_heads=4, kv_num_heads=2)]
    inputs = {
        "qkv": ([1, 3, 64], HALF),
        "pk": ([1, 2, 64, 8], HALF),
        "pv": ([1, 2, 64, 8], HALF),
        "seqlens": ([1], INT32),
    }
    op = attention(read_onnx(save(tmp_path, nodes, inputs, ["y"], [ints("total", [10])])))
    assert shape(op) == (4, 2, 8, 8, 3, 7, 1)
    assert op.macs == 4 * (8 + 9 + 10) * 16


def test_multi_head_attention(tmp_path: Path) -> None:
    nodes = [node("MultiHeadAttention", "q k v", "y", MS, num_heads=4)]
    inputs = {"q": ([2, 5, 32], HALF), "k": ([2, 9, 32], HALF), "v": ([2, 9, 32], HALF)}
    op = attention(read_onnx(save(tmp_path, nodes, inputs, ["y"])))
    assert (op.macs, op.kv_write_bytes) == (2 * 4 * 5 * 9 * 16, 0)
    nodes = [node("MultiHeadAttention", "q k v - - - pk pv", "y k2 v2", MS, num_heads=4, unidirectional=1)]
    cached = {name: ([2, 1, 32], HALF) for name in "qkv"} | {name: ([2, 4, 6, 8], HALF) for name in ("pk", "pv")}
    op = attention(read_onnx(save(tmp_path, nodes, cached, ["y", "k2", "v2"])))
    assert (shape(op), op.macs) == ((4, 4, 8, 8, 1, 6, 2), 2 * 4 * 7 * 16)


def test_attention_with_its_projection(tmp_path: Path) -> None:
    nodes = [node("Attention", "x w b", "y", MS, num_heads=4, unidirectional=1)]
    stored = [tensor("w", (32, 96), HALF), tensor("b", (96,), HALF)]
    trace = read_onnx(save(tmp_path, nodes, {"x": ([2, 5, 32], HALF)}, ["y"], stored))
    projection, op = trace.ops
    assert (projection.name, projection.macs) == ("Attention_y.qkv", 10 * 32 * 96)
    assert (op.macs, op.output_elements) == (2 * 4 * 15 * 16, 2 * 5 * 32)


def written_out(past: bool = False, groups: int = 1) -> list[Any]:
    """A decoder's attention in single operators: head splits, cache, copied KV heads, scale, mask, softmax, merge."""
    nodes = [node(op, *io, **attrs) for op, io, attrs in _split("q", 4)]
    nodes += [node(op, *io, **attrs) for name in "kv" for op, io, attrs in _split(name, 4 // groups)]
    for name in "kv":
        own = f"{name}_t"
        if past:
            nodes.append(node("Concat", f"p{name} {own}", f"{name}_all", axis=2))
            own = f"{name}_all"
        if groups > 1:
            nodes.append(node("Unsqueeze", f"{own} two", f"{name}_u"))
            nodes.append(node("Expand", f"{name}_u {name}_grown", f"{name}_e"))
            nodes.append(node("Reshape", f"{name}_e {name}_flat", f"{name}_h"))
        else:
            nodes.append(node("Reshape", f"{own} {name}_flat", f"{name}_h"))
    return [
        *nodes,
        node("Transpose", "k_h", "k_tt", perm=[0, 1, 3, 2]),
        node("MatMul", "q_t k_tt", "scores"),
        node("Mul", "scores scale", "scaled"),
        node("Add", "scaled mask", "masked"),
        node("Softmax", "masked", "weights", axis=-1),
        node("MatMul", "weights v_h", "mixed"),
        node("Transpose", "mixed", "merged", perm=[0, 2, 1, 3]),
        node("Reshape", "merged out_shape", "o"),
        node("MatMul", "o wo", "y"),
    ]


def _split(name: str, heads: int) -> list[tuple[str, tuple[str, str], dict[str, Any]]]:
    return [
        ("MatMul", (f"x w{name}", f"{name}_p"), {}),
        ("Reshape", (f"{name}_p {name}_heads", f"{name}_s"), {}),
        ("Transpose", (f"{name}_s", f"{name}_t"), {"perm": [0, 2, 1, 3]}),
    ]


def parameters(batch: int, new: int, total: int, groups: int = 1) -> list[Any]:
    kv = 4 // groups
    stored = [tensor("wq", (32, 32)), tensor("wk", (32, kv * 8)), tensor("wv", (32, kv * 8)), tensor("wo", (32, 32))]
    stored += [ints("q_heads", [batch, new, 4, 8]), ints("k_heads", [batch, new, kv, 8]), ints("two", [2])]
    stored += [ints("v_heads", [batch, new, kv, 8]), ints("out_shape", [batch, new, 32]), scalar("scale", 0.35)]
    for name in "kv":
        stored += [ints(f"{name}_grown", [batch, kv, groups, total, 8]), ints(f"{name}_flat", [batch, 4, total, 8])]
    return stored


def test_written_out_attention_equals_the_fused_one(tmp_path: Path) -> None:
    inputs: dict[str, Any] = {"x": [2, 6, 32], "mask": [1, 1, 6, 6]}
    trace = read_onnx(save(tmp_path, written_out(), inputs, ["y"], parameters(2, 6, 6)))
    assert [op.kind for op in trace.ops] == ["gemm", "gemm", "gemm", "attention", "gemm"]
    op = attention(trace)
    assert (shape(op), op.causal) == ((4, 4, 8, 8, 6, 0, 2), False)
    assert op.macs == 2 * 4 * 36 * 16
    # q, k and v, and the mask of 36 elements (3 for each of the 12 tokens)
    assert bytes_of(op) == (4 * 12 * (32 + 64 + 3), 4 * 12 * 32, 0, 0)
    assert [trace.tensors[i].producer for i in op.inputs] == [0, 1, 2, -1]
    assert trace.macs == 12 * 32 * 32 * 4 + op.macs


def test_written_out_decode_with_cache_and_grouped_heads(tmp_path: Path) -> None:
    """The append is no copy, KV heads are read once for each group."""
    nodes = written_out(past=True, groups=2)
    inputs: dict[str, Any] = {"x": [2, 1, 32], "mask": [1, 1, 1, 8], "pk": [2, 2, 7, 8], "pv": [2, 2, 7, 8]}
    trace = read_onnx(save(tmp_path, nodes, inputs, ["y", "k_all", "v_all"], parameters(2, 1, 8, 2)))
    assert [op.kind for op in trace.ops] == ["gemm", "gemm", "gemm", "attention", "gemm"]
    op = attention(trace)
    assert shape(op) == (4, 2, 8, 8, 1, 7, 2)
    assert op.macs == 2 * 4 * 8 * 16
    assert (op.kv_read_bytes, op.kv_write_bytes) == (4 * 2 * 7 * 32, 4 * 2 * 32)
    assert (trace.meta["phase"], trace.meta["kv_cache_bytes"]) == ("decode", 4 * 2 * 8 * 32)
    assert simulate(trace, "tpu_v4").tokens == 2


def test_a_triangle_makes_it_causal(tmp_path: Path) -> None:
    nodes = [node("Trilu", "ones", "mask", upper=0), *written_out()]
    trace = read_onnx(save(tmp_path, nodes, {"x": [2, 6, 32], "ones": [6, 6]}, ["y"], parameters(2, 6, 6)))
    op = attention(trace)
    assert (op.causal, op.macs) == (True, 2 * 4 * 21 * 16)


def test_scores_that_are_a_result_stay_apart(tmp_path: Path) -> None:
    inputs: dict[str, Any] = {"x": [2, 6, 32], "mask": [1, 1, 6, 6]}
    trace = read_onnx(save(tmp_path, written_out(), inputs, ["y", "weights"], parameters(2, 6, 6)))
    assert [op.name for op in trace.ops if op.kind == "softmax"] == ["Softmax_weights"]
    assert sum(op.macs for op in trace.ops if op.pieces == 8) == 2 * 4 * 36 * 16


def test_linear_attention_is_a_scan(tmp_path: Path) -> None:
    nodes = [node("LinearAttention", "q k v s g", "y s2", MS, q_num_heads=2, kv_num_heads=2)]
    inputs: dict[str, Any] = {"q": ([3, 5, 16], HALF), "k": ([3, 5, 16], HALF), "v": ([3, 5, 8], HALF)}
    inputs |= {"s": ([3, 2, 8, 4], HALF), "g": ([3, 5, 2], HALF)}
    file = save(tmp_path, nodes, inputs, ["y"])
    import onnx

    model = onnx.load(file)
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", HALF, [3, 5, 8]))
    onnx.save(model, file)
    (op,) = read_onnx(file).ops
    assert (op.kind, op.macs) == ("scan", 2 * 15 * 2 * 8 * 4)
    assert bytes_of(op) == (2 * 15 * 42, 2 * 15 * 8, 2 * 3 * 64, 2 * 3 * 64)


def test_heads_of_a_group_that_stand_as_rows_are_heads_again(tmp_path: Path) -> None:
    """Exporters of one-token steps lay the query heads of a group side by side instead of copying keys and values."""
    nodes = [
        node("Concat", "pk k", "ka", axis=2),
        node("Concat", "pv v", "va", axis=2),
        node("Reshape", "q rows", "qr"),
        node("Transpose", "ka", "kt", perm=[0, 1, 3, 2]),
        node("MatMul", "qr kt", "scores"),
        node("Softmax", "scores", "weights", axis=-1),
        node("IsNaN", "weights", "nan"),
        node("Where", "nan zero weights", "safe"),
        node("MatMul", "safe va", "mixed"),
        node("Reshape", "mixed heads", "y"),
    ]
    inputs: dict[str, Any] = {"q": [2, 8, 1, 16], **{name: [2, 2, 1, 16] for name in "kv"}}
    inputs |= {name: [2, 2, 5, 16] for name in ("pk", "pv")}
    stored = [ints("rows", [2, 2, 4, 16]), ints("heads", [2, 8, 1, 16]), scalar("zero", 0.0)]
    (op,) = read_onnx(save(tmp_path, nodes, inputs, ["y", "ka", "va"], stored)).ops
    assert (op.kind, shape(op), op.macs) == ("attention", (8, 2, 16, 16, 1, 5, 2), 2 * 8 * 6 * 32)
    assert (op.kv_read_bytes, op.kv_write_bytes) == (4 * 2 * 5 * 64, 4 * 2 * 64)


def test_written_out_rotary_positions_are_one_row(tmp_path: Path) -> None:
    nodes = [
        node("Mul", "x cos", "plain"),
        node("Slice", "x zero half axes", "first"),
        node("Slice", "x half end axes", "second"),
        node("Neg", "second", "negated"),
        node("Concat", "negated first", "turned", axis=-1),
        node("Mul", "turned sin", "sined"),
        node("Add", "plain sined", "y"),
    ]
    inputs: dict[str, Any] = {"x": [2, 4, 3, 8], "cos": [1, 1, 3, 8], "sin": [1, 1, 3, 8]}
    stored = [ints(name, [value]) for name, value in (("zero", 0), ("half", 4), ("end", 8), ("axes", 3))]
    (op,) = read_onnx(save(tmp_path, nodes, inputs, ["y"], stored)).ops
    assert (op.function, op.input_elements, op.output_elements) == ("rope", 192 + 24 + 24, 192)


def totals(trace: Trace) -> dict[str, tuple[int, ...]]:
    """MACs, weight bytes, KV bytes read and written by row kind, all iterations."""
    found: dict[str, list[int]] = {}
    for op in trace.ops:
        sums = found.setdefault(op.kind, [0] * 4)
        for index, value in enumerate((op.macs, op.weight_bytes, op.kv_read_bytes, op.kv_write_bytes)):
            sums[index] += value * trace.blocks[op.block].count
    return {kind: tuple(sums) for kind, sums in found.items() if kind in ("gemm", "attention", "norm", "gather")}


SMALL = {
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 500,
}


@pytest.mark.parametrize(("new", "past"), [(16, 0), (1, 7), (4, 7)])
def test_an_exported_decoder_agrees_with_the_built_trace(new: int, past: int, tmp_path: Path) -> None:
    """Products, attention, norms and embedding, in MACs, parameters and cache, are those of the configuration.

    The stored file is what torch 2.13 exports (``torch.onnx.export(dynamo=False)``, opset 17) of transformers 5.23's
    ``LlamaForCausalLM`` with eager attention, a ``DynamicCache`` and the configuration above, without its weights.
    """
    file = tmp_path / "llama.onnx"
    file.write_bytes(gzip.decompress((Path(__file__).parent / "exported_llama.onnx.gz").read_bytes()))
    read = read_onnx(file, dims={"batch": 3, "seq": new, "past": past})
    config = tmp_path / "config.json"
    config.write_text(json.dumps({**SMALL, "model_type": "llama", "rms_norm_eps": 1e-6, "tie_word_embeddings": False}))
    wide = Precision("fp32", "fp32", "fp32")
    built = build_trace(load_config(str(config)), Batch.from_pairs([(new, past)] * 3), wide, logits="all")
    assert totals(read) == totals(built)
    for fact in ("phase", "tokens", "kv_cache_bytes"):
        assert read.meta[fact] == built.meta[fact]
    assert {op.function for op in read.ops} >= {"rope", "silu_mul", "add", "embedding", "rmsnorm"}
