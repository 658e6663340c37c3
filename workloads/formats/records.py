"""Plain records of a trace: the JSON form of its parts, and the way back with every field checked.

Fields come from the dataclasses themselves, so a new field of an operator needs nothing here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar

from workloads.errors import ChipsmithError
from workloads.trace import SCHEMA_VERSION, Block, Operator, Segment, Tensor, Trace

FORMAT = "chipsmith-trace"
Item = TypeVar("Item", Operator, Tensor, Block, Segment)


def header_of(trace: Trace) -> dict[str, object]:
    """What stands in front of operators and tensors."""
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "name": trace.name,
        "ops": len(trace.ops),
        "tensors": len(trace.tensors),
        "blocks": [plain(block) for block in trace.blocks],
        "meta": dict(trace.meta),
    }


def plain(item: object) -> Any:
    """JSON form of a dataclass of the trace."""
    if isinstance(item, tuple):
        return [plain(part) for part in item]
    if isinstance(item, Operator | Tensor | Block | Segment):
        return {field.name: plain(getattr(item, field.name)) for field in fields(item)}
    return item


def check_header(header: object, where: str) -> Mapping[str, Any]:
    """A header of this schema version.

    Raises:
        ChipsmithError: another format or version, a field that is missing or of another type.
    """
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise ChipsmithError(where, None, f"no trace: the header does not say format {FORMAT!r}")
    version = header.get("schema_version")
    if version != SCHEMA_VERSION:
        later = isinstance(version, int) and version > SCHEMA_VERSION
        hint = "; a later Chipsmith wrote it" if later else ""
        raise ChipsmithError(f"{where}: schema_version", version, f"this version reads {SCHEMA_VERSION}{hint}")
    types = {"name": str, "ops": int, "tensors": int, "blocks": list, "meta": dict}
    for name, kind in types.items():
        if not isinstance(header.get(name), kind):
            raise ChipsmithError(f"{where}: {name}", header.get(name, "nothing"), f"legal: {_WORDS[kind]}")
    return header


_WORDS: dict[type, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "an object",
    bool: "true, false",
}


def parse(kind: type[Item], data: object, where: str) -> Item:
    """One dataclass from its JSON form; every field must be there, and no other.

    Raises:
        ChipsmithError: no object, a field too many or too few, a value of another type.
    """
    known = {field.name: str(field.type) for field in fields(kind)}
    if not isinstance(data, dict):
        raise ChipsmithError(where, None, f"no {kind.__name__.lower()}: legal is an object with {', '.join(known)}")
    for name in data:
        if name not in known:
            raise ChipsmithError(f"{where}: {name}", None, f"no field of {kind.__name__.lower()}")
    for name in known:
        if name not in data:
            raise ChipsmithError(f"{where}: {name}", None, "is missing")
    return kind(**{name: _CONVERT[form](data[name], f"{where}: {name}") for name, form in known.items()})


def _scalar(kind: type) -> Callable[[object, str], Any]:
    def convert(value: object, where: str) -> Any:
        if type(value) is not kind:
            raise ChipsmithError(where, value, f"legal: {_WORDS[kind]}")
        return value

    return convert


def _float(value: object, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ChipsmithError(where, value, f"legal: {_WORDS[float]}")
    return float(value)


def _listed(part: Callable[[object, str], Any]) -> Callable[[object, str], Any]:
    def convert(value: object, where: str) -> Any:
        if not isinstance(value, list):
            raise ChipsmithError(where, value, "legal: a list")
        return tuple(part(item, f"{where}[{i}]") for i, item in enumerate(value))

    return convert


_integer = _scalar(int)


def _pair(value: object, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ChipsmithError(where, value, "legal: a pair of tensor ids")
    return _integer(value[0], where), _integer(value[1], where)


_CONVERT: dict[str, Callable[[object, str], Any]] = {
    "int": _integer,
    "str": _scalar(str),
    "bool": _scalar(bool),
    "float": _float,
    "tuple[int, ...]": _listed(_integer),
    "tuple[tuple[int, int], ...]": _listed(_pair),
    "tuple[Segment, ...]": _listed(lambda value, where: parse(Segment, value, where)),
}


def assemble(header: Mapping[str, Any], ops: Sequence[Operator], tensors: Sequence[Tensor], where: str) -> Trace:
    """The trace that a header, operators and tensors make.

    Raises:
        ChipsmithError: other counts than the header says, an illegal block.
    """
    for name, items in (("ops", ops), ("tensors", tensors)):
        if header[name] != len(items):
            raise ChipsmithError(where, None, f"truncated: the header says {header[name]} {name}, found {len(items)}")
    blocks = tuple(parse(Block, block, f"{where}: blocks[{i}]") for i, block in enumerate(header["blocks"]))
    return Trace(header["name"], tuple(ops), tuple(tensors), blocks, header["meta"])


def loads(text: str, where: str) -> Any:
    """JSON, or one line that says why not."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ChipsmithError(where, None, f"no JSON: {error}") from None


def packed_header(trace: Trace) -> str:
    """Header and tensors as one JSON text, for formats that keep operators apart."""
    return json.dumps({**header_of(trace), "tensor_list": [plain(tensor) for tensor in trace.tensors]})


def unpack_header(text: str, where: str) -> tuple[Mapping[str, Any], list[Tensor]]:
    """What :func:`packed_header` wrote.

    Raises:
        ChipsmithError: no JSON, another format, no list of tensors, an illegal tensor.
    """
    header = check_header(loads(text, where), where)
    listed = header.get("tensor_list")
    if not isinstance(listed, list):
        raise ChipsmithError(f"{where}: tensor_list", None, "is missing")
    return header, [parse(Tensor, item, f"{where}: tensors[{number}]") for number, item in enumerate(listed)]
