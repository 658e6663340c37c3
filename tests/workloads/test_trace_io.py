"""Trace files: exact round trips, refusals of damaged files, nothing half-written."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.dtypes import DTYPES
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Segment, Tensor, Trace
from workloads.trace_check import LIMIT
from workloads.trace_io import read_trace, write_trace

ENDINGS = (".parquet", ".jsonl", ".et")
COUNT = st.integers(0, 1 << 20)
FORMS = st.sampled_from(sorted(DTYPES))
TEXT = st.text(max_size=8)


@st.composite
def operators(draw: st.DrawFn, index: int) -> Operator:
    segments = st.builds(Segment, st.integers(1, 99), COUNT, st.integers(1, 99), st.integers(-1, 9))
    return Operator(
        f"op {index} {draw(TEXT)}",
        draw(st.sampled_from(["gemm", "norm", "attention", "collective"])),
        0,
        tuple(draw(st.lists(segments, min_size=1, max_size=3))),
        k=draw(st.integers(1, 9999)),
        n=draw(st.integers(1, 9999)),
        per_segment_weights=draw(st.booleans()),
        heads=8,
        kv_heads=draw(st.sampled_from([1, 2, 8])),
        qk_dim=draw(st.integers(1, 99)),
        v_dim=draw(st.integers(1, 99)),
        kv_width=draw(COUNT),
        window=draw(COUNT),
        causal=draw(st.booleans()),
        function=draw(st.sampled_from(["all_reduce", "all_to_all"])),
        width_in=draw(st.integers(1, 9999)),
        width_out=draw(st.integers(1, 9999)),
        param_width=draw(COUNT),
        ranks=draw(st.integers(1, 99)),
        act=draw(FORMS),
        weight=draw(FORMS),
        kv=draw(FORMS),
        out=draw(FORMS),
        weight_group=draw(COUNT),
        kv_group=draw(COUNT),
        weight_is_param=draw(st.booleans()),
        sparsity=draw(st.sampled_from(["dense", "2:4", "block:4x4@0.25", "unstructured@.5"])),
        phase=draw(st.sampled_from(["prefill", "decode", "mixed"])),
        device_group=draw(TEXT),
    )


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    ops = tuple(draw(operators(i)) for i in range(draw(st.integers(1, 4))))
    tensors = tuple(Tensor(f"t{i}", "kv", i, draw(FORMS), 4 * i) for i in range(draw(st.integers(0, 3))))
    scalars = st.none() | st.booleans() | st.integers(-5, 1 << 60) | TEXT
    meta = draw(st.dictionaries(TEXT, scalars | st.lists(scalars, max_size=3), max_size=3))
    return Trace(draw(TEXT), ops, tensors, (Block(draw(TEXT), draw(st.integers(1, 99))),), meta)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(max_examples=15)
@given(trace=traces())
def test_every_field_makes_the_round_trip(ending: str, trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("trip") / f"trace{ending}"
    assert read_trace(write_trace(trace, file)) == trace


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("name", ["deepseek-v3", "mamba2-2.7b", "gpt2"])
def test_built_traces_make_the_round_trip(name: str, ending: str, tmp_path: Path) -> None:
    trace = build_trace(name, Batch.from_pairs([(5, 0), (1, 9), (1, 9)]), tensor_parallel=2)
    back = read_trace(write_trace(trace, tmp_path / f"x{ending}"))
    assert back == trace
    assert (back.macs, back.resident_bytes) == (trace.macs, trace.resident_bytes)
    assert [file.name for file in tmp_path.iterdir()] == [f"x{ending}"]


def test_same_trace_same_jsonl_bytes(tmp_path: Path) -> None:
    trace = build_trace("gpt2", Batch.prefill([5]))
    one, other = (write_trace(trace, tmp_path / name) for name in ("a.jsonl", "b.jsonl"))
    assert one.read_bytes() == other.read_bytes()


def test_parquet_columns_are_the_fields_of_an_operator(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(write_trace(build_trace("gpt2", Batch.prefill([5])), tmp_path / "x.parquet"))
    assert table.column_names == [field.name for field in fields(Operator)]
    assert table["kind"].to_pylist()[:3] == ["gather", "norm", "gemm"]


@pytest.fixture
def lines(tmp_path: Path) -> list[dict[str, Any]]:
    file = write_trace(build_trace("gpt2", Batch.prefill([5])), tmp_path / "good.jsonl")
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def refusal(path: Path) -> str:
    with pytest.raises(ChipsmithError) as caught:
        read_trace(path)
    return str(caught.value).replace(str(path), "FILE")


def refused_lines(path: Path, lines: list[Any]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return refusal(path)


def test_damaged_jsonl_is_refused_with_its_line(tmp_path: Path, lines: list[dict[str, Any]]) -> None:
    file = tmp_path / "bad.jsonl"
    ops = lines[0]["ops"]
    tensors = len(lines) - ops - 1
    text = f"FILE; truncated: the header says {tensors} tensors, found {tensors - 1}"
    assert refused_lines(file, lines[:-1]) == text
    text = f"FILE; truncated: the header says {ops} ops, found {ops - 1}"
    assert refused_lines(file, [lines[0], *lines[2:]]) == text
    assert refused_lines(file, [{**lines[0], "format": "x"}]) == (
        "FILE:1; no trace: the header does not say format 'chipsmith-trace'"
    )
    text = "FILE:1: schema_version: got 2; this version reads 1; a later Chipsmith wrote it"
    assert refused_lines(file, [{**lines[0], "schema_version": 2}, *lines[1:]]) == text
    text = "FILE:1: schema_version: got '1'; this version reads 1"
    assert refused_lines(file, [{**lines[0], "schema_version": "1"}, *lines[1:]]) == text
    assert refused_lines(file, [{**lines[0], "meta": 3}]) == "FILE:1: meta: got 3; legal: an object"
    assert refused_lines(file, [lines[0], {"opp": {}}]) == 'FILE:2; legal: {"op": ...} or {"tensor": ...}'
    op = lines[1]["op"]
    assert refused_lines(file, [lines[0], {"op": {**op, "kk": 1}}]) == "FILE:2: kk; no field of operator"
    without = {name: value for name, value in op.items() if name != "k"}
    assert refused_lines(file, [lines[0], {"op": without}]) == "FILE:2: k; is missing"
    text = "FILE:2: k: got '5'; legal: a whole number"
    assert refused_lines(file, [lines[0], {"op": {**op, "k": "5"}}]) == text
    assert refused_lines(file, [lines[0], {"op": {**op, "causal": 1}}]) == "FILE:2: causal: got 1; legal: true, false"
    text = "FILE:2: segments[0]: new_tokens; is missing"
    assert refused_lines(file, [lines[0], {"op": {**op, "segments": [{}]}}]) == text
    blocks = [{**lines[0]["blocks"][0], "carried": [[1]]}, *lines[0]["blocks"][1:]]
    text = "FILE: blocks[0]: carried[0]: got [1]; legal: a pair of tensor ids"
    assert refused_lines(file, [{**lines[0], "blocks": blocks}, *lines[1:]]) == text
    text = "FILE: ops[0] embed_tokens.kind: got 'x'; known: "
    assert refused_lines(file, [lines[0], {"op": {**op, "kind": "x"}}, *lines[2:]]).startswith(text)


def test_files_that_are_no_traces(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert refusal(tmp_path / "none.jsonl") == "FILE; no such file"
    for name, content, text in (
        ("a.jsonl", b"", "FILE; empty file, legal: a header line, then operators and tensors"),
        ("b.jsonl", b"\xff\xfe", "FILE; no UTF-8 text"),
        (
            "c.jsonl",
            b"{",
            "FILE:1; no JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)",
        ),
        ("d.parquet", b"PAR1 but not really PAR1", "FILE; no Parquet file, or a damaged one"),
        ("e.parquet", b"", "FILE; no Parquet file, or a damaged one"),
    ):
        (tmp_path / name).write_bytes(content)
        assert refusal(tmp_path / name) == text
    pq.write_table(pa.table({"k": [1]}), tmp_path / "f.parquet")
    assert refusal(tmp_path / "f.parquet") == "FILE; no trace: its metadata hold no 'chipsmith_trace'"
    text = "trace file: got 'x.txt'; legal: a name that ends in .parquet, .jsonl, .et (Chakra) or .csv (GEMM list)"
    with pytest.raises(ChipsmithError) as caught:
        read_trace("x.txt")
    assert str(caught.value) == text


def test_truncated_parquet_is_refused(tmp_path: Path) -> None:
    file = write_trace(build_trace("gpt2", Batch.prefill([5])), tmp_path / "x.parquet")
    whole = file.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert refusal(file) == "FILE; no Parquet file, or a damaged one"


def test_parquet_of_another_schema_is_refused(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    file = write_trace(build_trace("gpt2", Batch.prefill([5])), tmp_path / "x.parquet")
    table = pq.read_table(file)
    pq.write_table(table.drop_columns(["window"]), file)
    assert refusal(file) == "FILE: row 0: window; is missing"
    head = json.loads(table.schema.metadata[b"chipsmith_trace"])
    later = json.dumps({**head, "schema_version": 7}).encode()
    pq.write_table(table.replace_schema_metadata({b"chipsmith_trace": later}), file)
    assert refusal(file) == "FILE: schema_version: got 7; this version reads 1; a later Chipsmith wrote it"


@pytest.mark.parametrize("ending", ENDINGS)
def test_nothing_is_left_of_a_refused_trace(ending: str, tmp_path: Path) -> None:
    trace = build_trace("gpt2", Batch.prefill([5]))
    illegal = replace(trace, ops=(replace(trace.ops[0], kind="x"), *trace.ops[1:]))
    file = tmp_path / f"x{ending}"
    with pytest.raises(ChipsmithError, match=r"^ops\[0\] embed_tokens\.kind: got 'x'; known: "):
        write_trace(illegal, file)
    unwritable = trace.with_meta(note={1, 2})
    with pytest.raises(TypeError):
        write_trace(unwritable, file)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ChipsmithError, match=r"cannot be written: No such file or directory$"):
        write_trace(trace, tmp_path / "no" / f"x{ending}")


# --- GEMM lists ------------------------------------------------------------------------------------------------------


def test_a_gemm_list_holds_the_products_of_a_trace(tmp_path: Path) -> None:
    trace = build_trace("mixtral-8x7b", Batch.from_pairs([(5, 0), (1, 9), (1, 9)]))
    file = write_trace(trace, tmp_path / "step.csv")
    lines = file.read_text("utf-8").splitlines()
    assert lines[:7] == [
        "Layer,M,N,K,",
        "layer.q_proj x 32,7,4096,4096,",
        "layer.k_proj x 32,7,1024,4096,",
        "layer.v_proj x 32,7,1024,4096,",
        # 8 KV heads x 32 layers; 4 query heads share a KV head; two equal requests with 9 tokens of context
        "layer.attention[0].qk x 256,20,5,128,",
        "layer.attention[0].pv x 256,20,128,5,",
        "layer.attention[1].qk x 512,4,10,128,",
    ]
    assert lines[-1] == "lm_head,3,32000,4096,"
    back = read_trace(file)
    products = [op for op in trace.ops if op.kind == "gemm"]
    dense = 2 * 32 * 32 * 128 * (5 * 5 + 2 * 10)  # a list has no masks: every query meets every key
    assert back.macs == sum(op.macs * trace.blocks[op.block].count for op in products) + dense
    assert {op.act for op in back.ops} == {"int8"}


def gemm_list(tmp_path: Path, text: str, name: str = "net.csv") -> Trace:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    return read_trace(file)


@pytest.mark.parametrize("comma", ["", ","])
def test_gemm_lists_keep_their_last_field(comma: str, tmp_path: Path) -> None:
    trace = gemm_list(tmp_path, f"Layer, M, N, K{comma}\n\nTest 1, 256, 128, 64{comma}\nTest 1,7,5,3{comma}\n")
    assert [(op.name, op.tokens, op.n, op.k) for op in trace.ops] == [("Test 1", 256, 128, 64), ("Test 1#2", 7, 5, 3)]
    assert (trace.macs, trace.weight_bytes) == (256 * 128 * 64 + 105, 128 * 64 + 15)
    assert [trace.tensors[i].producer for i in trace.ops[1].inputs] == [-1, -1, 0]
    assert trace.meta["source"] == "GEMM list"


def test_repeats_have_weights_of_their_own(tmp_path: Path) -> None:
    (op,) = gemm_list(tmp_path, "Layer,M,N,K,\nheads x 12,4,10,64,\n").ops
    assert (op.name, op.pieces, op.macs, op.weight_bytes) == ("heads", 12, 12 * 4 * 10 * 64, 12 * 640)


def test_convolution_topologies(tmp_path: Path) -> None:
    """SCALE-Sim's own layers: AlexNet's first, MobileNet's depthwise, two strides and a batch."""
    heading = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,"
    trace = gemm_list(tmp_path, f"{heading}\nConv1 ,224 ,224 ,11 ,11 ,3 ,96 ,4 ,\nDP2,112,112,3,3,32,1,1,#dw\n")
    first, depthwise = trace.ops
    assert (first.tokens, first.k, first.n) == (54 * 54, 11 * 11 * 3, 96)
    assert (depthwise.pieces, depthwise.macs) == (32, 110 * 110 * 9 * 32)
    assert trace.meta["source"] == "SCALE-Sim topology"
    heading = f"{heading[:-8]}Stride height, Stride width, Batch Size"
    (op,) = gemm_list(tmp_path, f"{heading}\na,9,9,3,3,2,4,2,3,5\n").ops
    assert op.tokens == 5 * 4 * 3


CSV_REFUSED = [
    ("", "FILE; no layer; legal: a heading such as 'Layer,M,N,K,', then a layer a line"),
    ("Layer,M,N,K,\n", "FILE; no layer; legal: a heading such as 'Layer,M,N,K,', then a layer a line"),
    ("Layer,M,N,K,\na,1,2,\n", "FILE:2: got 'a,1,2,'; legal: a name, then M, N, K"),
    ("Layer,M,N,K,\na,1,0,2,\n", "FILE:2: N: got '0'; legal: a whole number from 1 on"),
    ("Layer,M,N,K,\na,1,2.5,2,\n", "FILE:2: N: got '2.5'; legal: a whole number from 1 on"),
    (f"Layer,M,N,K,\na,1,{1 << 40},2,\n", f"FILE:2: N: got '{1 << 40}'; legal: a whole number from 1 on"),
    (
        "a,b\nc,d\n",
        "FILE:1: got 'a,b'; legal: 'Layer,M,N,K,', or layer name, IFMAP height, IFMAP width, filter height, "
        "filter width, channels, filters, stride",
    ),
    (
        "Layer name,IFMAP Height,IFMAP Width,Filter Height,Filter Width,Channels,Num Filter,Strides,\n"
        "a,2,2,3,3,1,1,1,\n",
        "FILE:2: got '3x3'; legal: a filter no larger than its input of 2x2",
    ),
]


@pytest.mark.parametrize(("text", "expected"), CSV_REFUSED)
def test_other_gemm_lists_are_refused(text: str, expected: str, tmp_path: Path) -> None:
    file = tmp_path / "net.csv"
    file.write_text(text, "utf-8")
    assert refusal(file) == expected


def test_a_trace_without_products_is_no_gemm_list(tmp_path: Path) -> None:
    trace = build_trace("gpt2", Batch.prefill([5]))
    norm = replace(trace.ops[1], block=0, inputs=(), outputs=())
    with pytest.raises(ChipsmithError) as caught:
        write_trace(Trace("t", (norm,)), tmp_path / "x.csv")
    assert str(caught.value) == "trace t; holds no product that a GEMM list could name"
    assert list(tmp_path.iterdir()) == []


#: (m, n, k, count) of products that a trace may hold: one of 2^20 cubed, 99 times, has more MACs than a row can count.
PRODUCTS = st.tuples(*[st.integers(1, 1 << 20)] * 3, st.integers(1, 99)).filter(lambda size: prod(size) <= LIMIT)


@given(sizes=st.lists(PRODUCTS, min_size=1, max_size=4))
def test_gemm_lists_make_the_round_trip(sizes: list[tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory) -> None:
    ops = [
        Operator(f"op{i}", "gemm", 0, (Segment(m, 0, count),), k=k, n=n, per_segment_weights=count > 1)
        for i, (m, n, k, count) in enumerate(sizes)
    ]
    folder = tmp_path_factory.mktemp("gemms")
    first = read_trace(write_trace(Trace("t", tuple(ops)), folder / "a.csv"))
    assert [(op.segments, op.k, op.n, op.macs) for op in first.ops] == [(o.segments, o.k, o.n, o.macs) for o in ops]
    again = write_trace(first, folder / "b.csv")
    assert again.read_bytes() == (folder / "a.csv").read_bytes()
