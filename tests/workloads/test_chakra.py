"""Chakra files: equal round trips, the fields that ASTRA-sim reads, files of other tools, damaged files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.chakra import encode_chakra, moved_bytes, operations, read_chakra, write_chakra
from workloads.errors import ChipsmithError
from workloads.formats import chakra_nodes as et
from workloads.formats import wire
from workloads.trace import Trace


def small(**arguments: Any) -> Trace:
    return build_trace("gpt2", Batch.decode(2, 9), **arguments).with_counts({"layers": 3})


def messages(data: bytes) -> tuple[dict[str, et.Value], list[et.Node]]:
    head, *nodes = wire.read_delimited(memoryview(data))
    return et.decode_metadata(head), [et.decode_node(node) for node in nodes]


# --- round trip and published fields ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gpt2", "mixtral-8x7b", "deepseek-v3", "mamba2-2.7b"])
def test_a_written_trace_reads_back_equal(name: str, tmp_path: Path) -> None:
    trace = build_trace(name, Batch.from_pairs([(5, 0), (1, 9), (1, 9)]), tensor_parallel=2)
    (file,) = write_chakra(trace, tmp_path / "x.et")
    back = read_chakra(file)
    assert back == trace
    assert (back.macs, back.resident_bytes) == (trace.macs, trace.resident_bytes)


def test_one_file_a_rank(tmp_path: Path) -> None:
    files = write_chakra(small(tensor_parallel=2), tmp_path / "step", ranks=2)
    assert [file.name for file in files] == ["step.0.et", "step.1.et"]
    assert files[0].read_bytes() == files[1].read_bytes() == encode_chakra(small(tensor_parallel=2))
    with pytest.raises(ChipsmithError, match=r"^ranks: got -1; legal: 0 \(one file\) or more$"):
        write_chakra(small(), tmp_path / "step", ranks=-1)


def test_nodes_carry_what_the_feeder_needs() -> None:
    trace = small(tensor_parallel=2)
    head, nodes = messages(encode_chakra(trace))
    assert head["schema"] == "1.0.2-chakra.1.0.0"
    unrolled = [op for block in range(3) for _ in range((1, 3, 1)[block]) for op in trace.ops if op.block == block]
    assert [node.id for node in nodes] == list(range(len(unrolled)))
    for node, op in zip(nodes, unrolled, strict=True):
        assert node.attrs["is_cpu_op"] is False
        if op.kind == "collective":
            assert node.type == et.COMM_COLL
            assert node.attrs["comm_type"] == {"all_reduce": 0, "all_gather": 2}[op.function]
            assert node.attrs["comm_size"] == op.input_bytes
        else:
            assert node.type == et.COMP
            assert node.attrs["num_ops"] == (2 * op.macs or op.input_elements + op.output_elements)
            moved = op.weight_bytes + op.input_bytes + op.output_bytes + op.kv_read_bytes + op.kv_write_bytes
            assert node.attrs["tensor_size"] == moved > 0


def test_dependencies_are_those_of_the_unrolled_trace() -> None:
    trace = small()
    _, nodes = messages(encode_chakra(trace))
    names = {node.id: node.name for node in nodes}
    parents = {node.name: {names[parent] for parent in node.data_deps} for node in nodes}
    assert parents["embed_tokens"] == set()
    assert parents["layer.attn_norm[0]"] == {"embed_tokens"}
    assert parents["layer.attn_norm[1]"] == {"layer.mlp_add[0]"}
    assert parents["layer.attn_add[2]"] == {"layer.o_proj[2]", "layer.mlp_add[1]"}
    attention = {"layer.q_proj[1]", "layer.k_proj[1]", "layer.v_proj[1]"}
    assert parents["layer.attention[1]"] == attention
    assert parents["final_norm"] == {"layer.mlp_add[2]"}
    assert all(parent < node.id for node in nodes for parent in node.data_deps)


def test_an_independent_protobuf_reader_agrees(tmp_path: Path) -> None:
    """Google's own library, given the published schema as a descriptor, reads what was written."""
    message = published_schema()
    data = encode_chakra(small(tensor_parallel=2))
    head, *rest = wire.read_delimited(memoryview(data))
    metadata = message("GlobalMetadata").FromString(bytes(head))
    assert [attr.name for attr in metadata.attr] == ["schema", "chipsmith_trace"]
    _, nodes = messages(data)
    for ours, raw in zip(nodes, rest, strict=True):
        theirs = message("Node").FromString(bytes(raw))
        assert (theirs.id, theirs.name, theirs.type) == (ours.id, ours.name, ours.type)
        assert tuple(theirs.data_deps) == ours.data_deps
        attrs = {attr.name: attr for attr in theirs.attr}
        assert attrs["is_cpu_op"].WhichOneof("value") == "bool_val"
        if ours.type == et.COMP:
            assert attrs["num_ops"].int64_val == ours.attrs["num_ops"]
            assert attrs["tensor_size"].uint64_val == ours.attrs["tensor_size"]
        else:
            assert attrs["comm_type"].int64_val == ours.attrs["comm_type"]
            assert attrs["comm_size"].int64_val == ours.attrs["comm_size"]


_SCALAR_VALUES = (
    ("double", 3, 1, -1.25),
    ("float", 5, 2, 0.5),
    ("int32", 7, 5, -7),
    ("int64", 9, 3, -(1 << 40)),
    ("uint32", 11, 13, 7),
    ("uint64", 13, 4, 1 << 63),
    ("sint32", 15, 17, -3),
    ("sint64", 17, 18, -(1 << 50)),
    ("fixed32", 19, 7, 9),
    ("fixed64", 21, 6, 1 << 60),
    ("sfixed32", 23, 15, -9),
    ("sfixed64", 25, 16, -(1 << 60)),
    ("bool", 27, 8, True),
    ("string", 29, 9, "text"),
    ("bytes", 31, 12, b"\x00\xff"),
)


def published_schema() -> Callable[[str], Any]:
    """Classes of the published messages, by name; the part of the schema that files of ours and of generators use."""
    pytest.importorskip("google.protobuf", reason="protobuf is not installed")
    from google.protobuf import (  # type: ignore[import-untyped]  # its stubs are a package of their own
        descriptor_pb2,
        descriptor_pool,
        message_factory,
    )

    file = descriptor_pb2.FileDescriptorProto(name="et.proto", package="et", syntax="proto3")

    def add(message: Any, name: str, number: int, kind: int, repeated: bool = False, type_name: str = "") -> Any:
        named = {"type_name": type_name} if type_name else {}
        return message.field.add(name=name, number=number, type=kind, label=3 if repeated else 1, **named)

    attribute = file.message_type.add(name="AttributeProto")
    add(attribute, "name", 1, 9)
    attribute.oneof_decl.add(name="value")
    for name, number, kind, _ in _SCALAR_VALUES:
        listed = file.message_type.add(name=f"{name.title()}List")
        add(listed, "values", 1, kind, repeated=True)
        add(attribute, f"{name}_val", number, kind).oneof_index = 0
        add(attribute, f"{name}_list", number + 1, 11, type_name=f".et.{name.title()}List").oneof_index = 0
    head = file.message_type.add(name="GlobalMetadata")
    add(head, "version", 1, 9)
    add(head, "attr", 2, 11, repeated=True, type_name=".et.AttributeProto")
    info = file.message_type.add(name="IOInfo")
    for number, name in enumerate(("values", "shapes", "types"), start=1):
        add(info, name, number, 9)
    node = file.message_type.add(name="Node")
    add(node, "id", 1, 4)
    add(node, "name", 2, 9)
    add(node, "type", 3, 5)  # an enumeration is a varint like an int32
    for name, number in (("ctrl_deps", 4), ("data_deps", 5)):
        add(node, name, number, 4, repeated=True)
    for name, number in (("start_time_micros", 6), ("duration_micros", 7)):
        add(node, name, number, 4)
    for name, number in (("inputs", 8), ("outputs", 9)):
        add(node, name, number, 11, type_name=".et.IOInfo")
    add(node, "attr", 10, 11, repeated=True, type_name=".et.AttributeProto")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"et.{name}"))


def test_all_attribute_types_are_read() -> None:
    message = published_schema()
    node = message("Node")(id=3, name="n", type=1)
    for name, _, _, value in _SCALAR_VALUES:
        node.attr.add(name=name, **{f"{name}_val": value})
        listed = message(f"{name.title()}List")(values=[value, value])
        node.attr.add(name=f"{name}s", **{f"{name}_list": listed})
    node.attr.add(name="empty")
    read = et.decode_node(memoryview(node.SerializeToString()))
    assert (read.id, read.name, read.type) == (3, "n", et.METADATA)
    for name, _, _, value in _SCALAR_VALUES:
        assert read.attrs[name] == value
        assert read.attrs[f"{name}s"] == (value, value)
    assert read.attrs["empty"] == 0


# --- files of other tools --------------------------------------------------------------------------------------------


def foreign(tmp_path: Path, *nodes: et.Node | bytes, name: str = "foreign.0.et") -> Path:
    encoded = [node if isinstance(node, bytes) else et.encode_node(node) for node in nodes]
    file = tmp_path / name
    parts = [et.encode_metadata({"schema": "1.0.2-chakra.1.0.0"}), *encoded]
    file.write_bytes(b"".join(wire.delimited(part) for part in parts))
    return file


def comp(number: int, operations_: int, size: int, deps: Sequence[int] = (), name: str = "COMP_NODE") -> et.Node:
    attrs: dict[str, et.Value | et.U64] = {"is_cpu_op": False, "num_ops": operations_, "tensor_size": et.U64(size)}
    return et.Node(number, f"{name}_{number}", et.COMP, data_deps=tuple(deps), attrs=attrs)


def collective(number: int, kind: str, size: int, deps: Sequence[int] = ()) -> et.Node:
    attrs: dict[str, et.Value | et.U64] = {"comm_type": et.COLLECTIVE_TYPES.index(kind), "comm_size": size}
    return et.Node(number, f"{kind}_{number}", et.COMM_COLL, data_deps=tuple(deps), attrs=attrs)


def with_shapes(number: int, name: str, shapes: str, types: str, cpu: bool = False) -> bytes:
    head = et.encode_node(et.Node(number, name, et.COMP, attrs={"is_cpu_op": cpu}))
    return head + wire.bytes_field(8, wire.bytes_field(2, shapes.encode()) + wire.bytes_field(3, types.encode()))


def test_generated_files_give_rows_in_dependency_order(tmp_path: Path) -> None:
    product = 2 * 64 * 64 * 128  # operations of a 64 x 128 by 128 x 64 product ...
    size = 2 * (64 * 128 * 2 + 64 * 64)  # ... and its bytes at 16 bits
    file = foreign(
        tmp_path,
        collective(7, "ALL_REDUCE", 1024, deps=[5]),
        comp(5, product, size, deps=[2, 3]),
        et.Node(3, "start", et.METADATA, data_deps=(2,)),
        comp(2, 10, 4000),
        collective(8, "ALL_GATHER", 512, deps=[7]),
        et.Node(9, "BARRIER", et.COMM_COLL, attrs={"comm_type": 9}),
        et.Node(10, "load", et.MEM_LOAD, ctrl_deps=(8,), attrs={"tensor_size": et.U64(100)}),
    )
    (tmp_path / "foreign.1.et").write_bytes(b"")
    trace = read_chakra(file)
    assert [op.name for op in trace.ops] == ["COMP_NODE_2", "COMP_NODE_5", "ALL_REDUCE_7", "ALL_GATHER_8", "load"]
    vector, gemm, reduce, gather, load = trace.ops
    assert (vector.kind, vector.input_bytes + vector.output_bytes) == ("elementwise", 4000)
    assert (gemm.kind, gemm.tokens, gemm.k, gemm.n) == ("gemm", 64, 128, 64)
    assert (operations(gemm), moved_bytes(gemm)) == (product, size)
    assert (reduce.function, reduce.ranks, reduce.input_bytes, reduce.output_bytes) == ("all_reduce", 2, 1024, 1024)
    assert (gather.function, gather.input_bytes, gather.output_bytes) == ("all_gather", 512, 1024)
    assert moved_bytes(load) == 100
    before = [{trace.tensors[i].producer for i in op.inputs} - {-1} for op in trace.ops]
    assert before == [set(), {0}, {1}, {2}, {3}]
    assert trace.meta["skipped"] == {"BARRIER": 1, "METADATA_NODE": 1}
    assert simulate(trace, "tpu_v4").latency_s > 0


@settings(max_examples=60)
@given(st.integers(1, 1 << 44), st.integers(1, 1 << 36))
def test_any_sizes_keep_bytes_and_operations_close(operations_: int, size: int) -> None:
    from workloads.formats.chakra_foreign import foreign_trace

    node = et.decode_node(memoryview(et.encode_node(comp(0, operations_, size))))
    (op,) = foreign_trace(Path("x"), {}, [node], 0).check().ops
    if op.kind == "gemm":
        macs = -(-operations_ // 2)
        assert macs <= op.macs < macs + op.tokens * op.n
        least = 6 * (op.macs ** (2 / 3))  # bytes of a cube, the least that any product of these operations moves
        assert moved_bytes(op) <= max(size + 2 * (2 * op.tokens), 1.5 * least + 100)
    else:
        assert size <= moved_bytes(op) <= size + 3
        assert operations_ <= size


def test_products_of_pytorch_traces_come_from_their_shapes(tmp_path: Path) -> None:
    types = "['Tensor(c10::Half)', 'Tensor(c10::Half)']"
    file = foreign(
        tmp_path,
        with_shapes(1, "aten::mm", "[[4, 8], [8, 16]]", types),
        with_shapes(2, "aten::addmm", "[[16], [4, 8], [8, 16], [], []]", "['Tensor(float)']"),
        with_shapes(3, "aten::bmm", "[[6, 4, 8], [6, 8, 5]]", types),
        with_shapes(4, "aten::linear", "[[2, 3, 8], [16, 8], [16]]", types),
        with_shapes(5, "aten::mm", "[[4, 8], [8, 16]]", types, cpu=True),
        with_shapes(6, "aten::relu", "[[4, 8]]", types),
        with_shapes(7, "aten::mm", "garbage(", types),
    )
    trace = read_chakra(file)
    rows = [(op.name, op.act, op.segments[0].new_tokens, op.k, op.n, op.pieces, op.macs) for op in trace.ops]
    assert rows == [
        ("aten::mm", "fp16", 4, 8, 16, 1, 512),
        ("aten::addmm", "fp32", 4, 8, 16, 1, 512),
        ("aten::bmm", "fp16", 4, 8, 5, 6, 960),
        ("aten::linear", "fp16", 6, 8, 16, 1, 768),
    ]
    assert trace.meta["skipped"] == {"compute nodes without sizes": 2, "host operators": 1}


def test_sends_and_receives_move_their_bytes(tmp_path: Path) -> None:
    send = et.Node(1, "send", et.COMM_SEND, attrs={"comm_size": 4096, "comm_dst": 1})
    (op,) = read_chakra(foreign(tmp_path, send)).ops
    assert (op.kind, op.function, op.ranks) == ("collective", "all_gather", 2)
    assert max(op.input_bytes, op.output_bytes) * (op.ranks - 1) // op.ranks == 4096


# --- refusals --------------------------------------------------------------------------------------------------------


def refusal(file: Path, **arguments: Any) -> str:
    with pytest.raises(ChipsmithError) as caught:
        read_chakra(file, **arguments)
    return str(caught.value).replace(str(file), "FILE")


REFUSED = [
    ([et.Node(1, "m", et.METADATA)], "FILE; names nothing to simulate; skipped: {'METADATA_NODE': 1}"),
    ([], "FILE; names nothing to simulate; skipped: nothing"),
    ([comp(1, 1, 1), comp(1, 1, 1)], "FILE: node id: got 1; legal: unique ids"),
    ([comp(1, 1, 1, [4])], "FILE: node 1 COMP_NODE_1: got 4; it waits for a node that is missing"),
    ([comp(1, 1, 1, [2]), comp(2, 1, 1, [1])], "FILE: dependencies: got [1, 2, 1]; legal: no circle"),
    (
        [collective(1, "BROADCAST", 8)],
        "FILE: node 1 BROADCAST_1.comm_type: got 'BROADCAST'; legal: ALL_REDUCE, ALL_GATHER, ALL_TO_ALL, "
        "REDUCE_SCATTER, BARRIER",
    ),
    ([collective(1, "ALL_REDUCE", 0)], "FILE: node 1 ALL_REDUCE_1.comm_size: got 0; legal: bytes, at least 1"),
    ([et.Node(1, "l", et.MEM_LOAD)], "FILE: node 1 l.tensor_size: got 'nothing'; legal: bytes, at least 1"),
    ([et.Node(1, "s", 8)], "FILE: node 1 s: got 'STORAGE_NODE'; no storage or batch nodes are read"),
    ([et.Node(1, "s", 77)], "FILE: node 1 s: got 'type 77'; no storage or batch nodes are read"),
]


@pytest.mark.parametrize(("nodes", "text"), REFUSED)
def test_foreign_files_that_can_not_be_simulated(nodes: list[et.Node], text: str, tmp_path: Path) -> None:
    assert refusal(foreign(tmp_path, *nodes)) == text


def test_the_number_of_ranks_is_asked_for(tmp_path: Path) -> None:
    file = foreign(tmp_path, collective(1, "ALL_REDUCE", 64), name="alone.et")
    assert refusal(file) == (
        "FILE: node 1 ALL_REDUCE_1; how many ranks take part is not in the file: put <name>.<rank>.et of all ranks "
        "side by side, or say ranks="
    )
    assert read_chakra(file, ranks=4).ops[0].ranks == 4


def test_changed_rows_are_not_believed(tmp_path: Path) -> None:
    data = encode_chakra(small())
    head, nodes = messages(data)
    nodes[4] = replace(nodes[4], attrs={**nodes[4].attrs, "num_ops": 12, "tensor_size": et.U64(9)})
    parts = [et.encode_metadata(dict(head)), *map(et.encode_node, nodes)]
    file = tmp_path / "x.et"
    file.write_bytes(b"".join(map(wire.delimited, parts)))
    text = "without 'chipsmith_trace' they are read as they stand"
    assert refusal(file) == f"FILE; its nodes were changed since Chipsmith wrote them; {text}"
    stripped = [et.encode_metadata({"schema": "x"}), *map(et.encode_node, nodes)]
    file.write_bytes(b"".join(map(wire.delimited, stripped)))
    assert len(read_chakra(file).ops) == len(nodes)


def test_files_that_are_no_traces(tmp_path: Path) -> None:
    file = tmp_path / "x.et"
    assert refusal(file) == "FILE; no such file"
    file.write_bytes(b"")
    assert refusal(file) == "FILE: metadata; no Chakra trace, or a damaged one: empty file"
    file.write_bytes(b"\x05abc")
    assert refusal(file) == "FILE: metadata; no Chakra trace, or a damaged one: ends inside a field"
    whole = encode_chakra(small())
    file.write_bytes(whole[:-3])
    count = len(messages(whole)[1])
    assert refusal(file) == f"FILE: node {count - 1}; no Chakra trace, or a damaged one: ends inside a field"
    head, nodes = messages(whole)
    head["chipsmith_trace"] = json.dumps({**json.loads(str(head["chipsmith_trace"])), "schema_version": 9})
    parts = [et.encode_metadata(dict(head)), *map(et.encode_node, nodes)]
    file.write_bytes(b"".join(map(wire.delimited, parts)))
    assert refusal(file) == "FILE: schema_version: got 9; this version reads 1; a later Chipsmith wrote it"


@settings(max_examples=100)
@given(data=st.data())
def test_damaged_files_are_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    nodes = [comp(1, 4096, 512), collective(2, "ALL_REDUCE", 64, [1]), comp(3, 7, 100, [2])]
    folder = tmp_path_factory.mktemp("damaged")
    own = encode_chakra(replace(small(), meta={}))
    whole = own if data.draw(st.booleans()) else foreign(folder, *nodes).read_bytes()
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(0, 3))):
        changed[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    file = folder / "x.0.et"
    file.write_bytes(bytes(changed[: data.draw(st.integers(0, len(whole)) | st.just(len(whole)))]))
    try:
        trace = read_chakra(file)
    except ChipsmithError as error:
        assert str(error)
    else:
        assert trace.check().ops
