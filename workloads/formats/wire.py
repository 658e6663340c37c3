"""Protobuf wire format, read and written without a schema compiler.

Source: Protocol Buffers documentation, "Encoding": a message is a sequence of fields, each a tag
``number << 3 | wire type`` and a payload; wire type 0 is a varint, 1 eight bytes, 2 a length and that many bytes,
5 four bytes. Everything here raises ``ValueError`` on damaged input; callers know the file and word it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTHS = {FIXED64: 8, FIXED32: 4}
_VARINT_MAX_BYTES = 10
_MASK_64 = (1 << 64) - 1
Field = tuple[int, int, int | memoryview]


def mapped(path: Path) -> memoryview:
    """The bytes of a file, read as they are needed; the mapping ends with the last view of it."""
    if path.stat().st_size == 0:
        raise ValueError("empty file")
    with path.open("rb") as handle:
        return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))


def read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """The varint at offset ``at`` and the offset behind it."""
    value = 0
    for index in range(_VARINT_MAX_BYTES):
        if at + index >= len(data):
            raise ValueError("ends inside a number")
        byte = data[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value & _MASK_64, at + index + 1
    raise ValueError("a number of more than ten bytes")


def read_fields(data: memoryview) -> Iterator[Field]:
    """Fields of a message in order: number, wire type, value (a number for varints, else the bytes)."""
    for number, wire, value, _, _ in read_spans(data):
        yield number, wire, value


def read_spans(data: memoryview) -> Iterator[tuple[int, int, int | memoryview, int, int]]:
    """As :func:`read_fields`, with the offsets where the field (tag included) begins and ends."""
    at = 0
    while at < len(data):
        begin = at
        tag, at = read_varint(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise ValueError("field number 0")
        if wire == VARINT:
            value, at = read_varint(data, at)
            yield number, wire, value, begin, at
            continue
        payload, at = _payload(data, at, wire)
        yield number, wire, payload, begin, at


def _payload(data: memoryview, at: int, wire: int) -> tuple[memoryview, int]:
    if wire == BYTES:
        width, at = read_varint(data, at)
    elif wire in _WIDTHS:
        width = _WIDTHS[wire]
    else:
        raise ValueError(f"wire type {wire}")
    if at + width > len(data):
        raise ValueError("ends inside a field")
    return data[at : at + width], at + width


def read_delimited(data: memoryview) -> Iterator[memoryview]:
    """Messages that each stand behind their length."""
    at = 0
    while at < len(data):
        payload, at = _payload(data, at, BYTES)
        yield payload


def varint(value: int) -> bytes:
    """A number as varint; negative numbers take ten bytes, as in two's complement of 64 bits."""
    rest = value & _MASK_64
    out = bytearray()
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def number_field(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3 | VARINT) + varint(value)


def bytes_field(number: int, payload: bytes) -> bytes:
    """A field of bytes, text or a nested message."""
    return varint(number << 3 | BYTES) + varint(len(payload)) + payload


def packed_field(number: int, values: tuple[int, ...]) -> bytes:
    """A repeated number, packed; nothing for no values."""
    return bytes_field(number, b"".join(varint(value) for value in values)) if values else b""


def delimited(payload: bytes) -> bytes:
    """A message behind its length."""
    return varint(len(payload)) + payload


def signed(value: int) -> int:
    """A varint read as a signed 64-bit number."""
    return value - (1 << 64) if value >= 1 << 63 else value


def zigzag(value: int) -> int:
    """A varint read as a zigzag-coded signed number (``sint32``, ``sint64``)."""
    return value >> 1 ^ -(value & 1)
