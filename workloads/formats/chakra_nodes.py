"""Messages of a Chakra execution trace, as MLCommons publishes them (chakra, ``et_def.proto``).

A file is a ``GlobalMetadata`` and then the nodes, each behind its length. Field numbers and enumerations below are
the published ones; messages that nothing here reads (``Tensor``, ``StorageInfo``) are skipped when reading.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from workloads.formats import wire

INVALID, METADATA, MEM_LOAD, MEM_STORE, COMP, COMM_SEND, COMM_RECV, COMM_COLL = range(8)
NODE_TYPES = (
    "INVALID_NODE",
    "METADATA_NODE",
    "MEM_LOAD_NODE",
    "MEM_STORE_NODE",
    "COMP_NODE",
    "COMM_SEND_NODE",
    "COMM_RECV_NODE",
    "COMM_COLL_NODE",
    "STORAGE_NODE",
    "BATCH_NODE",
    "CHECKPOINT_NODE",
)
COLLECTIVE_TYPES = (
    "ALL_REDUCE",
    "REDUCE",
    "ALL_GATHER",
    "GATHER",
    "SCATTER",
    "BROADCAST",
    "ALL_TO_ALL",
    "REDUCE_SCATTER",
    "REDUCE_SCATTER_BLOCK",
    "BARRIER",
)
SCHEMA = "1.0.2-chakra.1.0.0"
_INT64, _UINT64, _BOOL, _STRING = 9, 13, 27, 29

Scalar = int | float | bool | str | bytes
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class U64:
    """A number to be written as ``uint64_val``; plain integers are written as ``int64_val``."""

    value: int


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        id, name: identity; ids are unique in a file.
        type: index into ``NODE_TYPES``.
        ctrl_deps, data_deps: ids of nodes that must end before this one starts.
        duration_micros: measured time, 0 = none.
        shapes, types: text of ``inputs.shapes`` and ``inputs.types``, as PyTorch's traces fill them.
        out_shapes: text of ``outputs.shapes``.
        attrs: attributes by name.
    """

    id: int = 0
    name: str = ""
    type: int = INVALID
    ctrl_deps: tuple[int, ...] = ()
    data_deps: tuple[int, ...] = ()
    duration_micros: int = 0
    shapes: str = ""
    types: str = ""
    out_shapes: str = ""
    attrs: dict[str, Value | U64] = field(default_factory=dict)

    def number(self, name: str) -> int:
        """A whole number among the attributes; 0 where it is missing or no number."""
        value = self.attrs.get(name, 0)
        return value if isinstance(value, int) else 0


def encode_node(node: Node) -> bytes:
    """A node without its length."""
    return b"".join(
        [
            wire.number_field(1, node.id),
            wire.bytes_field(2, node.name.encode()),
            wire.number_field(3, node.type),
            wire.packed_field(4, node.ctrl_deps),
            wire.packed_field(5, node.data_deps),
            *(wire.bytes_field(10, _encode_attribute(name, value)) for name, value in node.attrs.items()),
        ]
    )


def encode_metadata(attrs: dict[str, Value | U64]) -> bytes:
    """The ``GlobalMetadata`` without its length."""
    return b"".join(wire.bytes_field(2, _encode_attribute(name, value)) for name, value in attrs.items())


def _encode_attribute(name: str, value: Value | U64) -> bytes:
    head = wire.bytes_field(1, name.encode())
    if isinstance(value, U64):
        return head + wire.number_field(_UINT64, value.value)
    if isinstance(value, bool):
        return head + wire.number_field(_BOOL, int(value))
    if isinstance(value, int):
        return head + wire.number_field(_INT64, value)
    if isinstance(value, str):
        return head + wire.bytes_field(_STRING, value.encode())
    raise TypeError(f"{name}: {type(value).__name__} attributes are never written")


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise ValueError("a number where text belongs")
    return bytes(value).decode("utf-8")


def _whole(value: int | memoryview) -> int:
    if not isinstance(value, int):
        raise ValueError("bytes where a number belongs")
    return value


def _numbers(value: int | memoryview) -> Iterator[int]:
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = wire.read_varint(value, at)
        yield number


def _unpack(code: str) -> Callable[[int | memoryview], Scalar]:
    def read(value: int | memoryview) -> Scalar:
        if isinstance(value, int):
            raise ValueError("a varint where a number of fixed width belongs")
        if len(value) != struct.calcsize(code):
            raise ValueError("a number of another width")
        return struct.unpack(code, value)[0]  # type: ignore[no-any-return]  # one format letter gives one number

    return read


def _bytes(value: int | memoryview) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes belong")
    return bytes(value)


#: Field of the oneof ``value`` -> (reader of one value, width of a packed element: 0 = varint, -1 = not packed).
_SCALARS: dict[int, tuple[Callable[[int | memoryview], Scalar], int]] = {
    3: (_unpack("<d"), 8),
    5: (_unpack("<f"), 4),
    7: (lambda v: wire.signed(_whole(v)), 0),
    9: (lambda v: wire.signed(_whole(v)), 0),
    11: (_whole, 0),
    13: (_whole, 0),
    15: (lambda v: wire.zigzag(_whole(v)), 0),
    17: (lambda v: wire.zigzag(_whole(v)), 0),
    19: (_unpack("<I"), 4),
    21: (_unpack("<Q"), 8),
    23: (_unpack("<i"), 4),
    25: (_unpack("<q"), 8),
    27: (lambda v: bool(_whole(v)), 0),
    29: (_text, -1),
    31: (_bytes, -1),
}


def _decode_attribute(data: int | memoryview) -> tuple[str, Value]:
    if isinstance(data, int):
        raise ValueError("a number where an attribute belongs")
    name = ""
    value: Value | None = None
    for number, _, raw in wire.read_fields(data):
        if number == 1:
            name = _text(raw)
        elif number in _SCALARS:
            value = _SCALARS[number][0](raw)
        elif number - 1 in _SCALARS:
            value = _decode_list(number - 1, raw)
    return name, 0 if value is None else value


def _decode_list(scalar: int, data: int | memoryview) -> tuple[Scalar, ...]:
    read, width = _SCALARS[scalar]
    if isinstance(data, int):
        raise ValueError("a number where a list belongs")
    values: list[Scalar] = []
    for number, kind, raw in wire.read_fields(data):
        if number != 1:
            continue
        if kind != wire.BYTES or width < 0 or isinstance(raw, int):
            values.append(read(raw))
        elif width == 0:
            values.extend(read(item) for item in _numbers(raw))
        else:
            values.extend(read(raw[at : at + width]) for at in range(0, len(raw), width))
    return tuple(values)


def decode_metadata(data: memoryview) -> dict[str, Value]:
    """Attributes of the ``GlobalMetadata``; its ``version`` field under that name.

    Raises:
        ValueError: damaged.
    """
    found: dict[str, Value] = {}
    for number, _, raw in wire.read_fields(data):
        if number == 1:
            found["version"] = _text(raw)
        elif number == 2:
            name, value = _decode_attribute(raw)
            found[name] = value
    return found


def decode_node(data: memoryview) -> Node:
    """One node.

    Raises:
        ValueError: damaged.
    """
    numbers = {1: 0, 3: 0, 7: 0}
    texts = {"name": "", "shapes": "", "types": "", "out_shapes": ""}
    deps: dict[int, list[int]] = {4: [], 5: []}
    attrs: dict[str, Value | U64] = {}
    for number, _, raw in wire.read_fields(data):
        if number in numbers:
            numbers[number] = _whole(raw)
        elif number in deps:
            deps[number].extend(_numbers(raw))
        elif number == 2:
            texts["name"] = _text(raw)
        elif number in (8, 9):
            texts.update(_decode_io(raw, "out_" if number == 9 else ""))
        elif number == 10:
            name, value = _decode_attribute(raw)
            attrs[name] = value
    return Node(
        numbers[1],
        type=numbers[3],
        ctrl_deps=tuple(deps[4]),
        data_deps=tuple(deps[5]),
        duration_micros=numbers[7],
        attrs=attrs,
        **texts,
    )


def _decode_io(data: int | memoryview, prefix: str) -> dict[str, str]:
    if isinstance(data, int):
        raise ValueError("a number where inputs belong")
    names = {2: "shapes"} if prefix else {2: "shapes", 3: "types"}
    return {prefix + names[number]: _text(raw) for number, _, raw in wire.read_fields(data) if number in names}
