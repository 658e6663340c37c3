"""Trace files: Parquet (columns for analysis) and JSON Lines (interchange). Both give back an equal trace.

JSON Lines: a header line, then one line for each operator, then one for each tensor. Parquet: a row for each operator
with its fields as columns (segments as a nested list); header and tensors as JSON in the file's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from workloads.errors import ChipsmithError
from workloads.files import whole_file
from workloads.trace import SCHEMA_VERSION, Block, Operator, Segment, Tensor, Trace

FORMAT = "chipsmith-trace"
_KEY = b"chipsmith_trace"
_LEGAL_NAMES = "legal: a name that ends in .parquet or .jsonl"
Item = TypeVar("Item", Operator, Tensor, Block, Segment)


def write_trace(trace: Trace, path: str | Path) -> Path:
    """Write a legal trace; the file appears complete or not at all.

    Raises:
        ChipsmithError: illegal trace, a name that ends neither in ``.parquet`` nor in ``.jsonl``, a folder that
            cannot be written.
    """
    file = Path(path)
    writer = _WRITERS.get(file.suffix)
    if writer is None:
        raise ChipsmithError("trace file", str(path), _LEGAL_NAMES)
    trace.check()
    with whole_file(file) as partial:
        writer(trace, partial)
    return file


def read_trace(path: str | Path) -> Trace:
    """Read and check a trace.

    Raises:
        ChipsmithError: no such file, damaged or truncated file, another format, a schema of a later version, an
            illegal trace; one line that names the file, and the line where there is one.
    """
    file = Path(path)
    reader = _READERS.get(file.suffix)
    if reader is None:
        raise ChipsmithError("trace file", str(path), _LEGAL_NAMES)
    if not file.is_file():
        raise ChipsmithError(str(path), None, "no such file")
    trace = reader(file)
    try:
        return trace.check()
    except ChipsmithError as error:
        raise ChipsmithError(f"{path}: {error.where}", error.value, error.legal) from None


def _header(trace: Trace) -> dict[str, object]:
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "name": trace.name,
        "ops": len(trace.ops),
        "tensors": len(trace.tensors),
        "blocks": [_plain(block) for block in trace.blocks],
        "meta": dict(trace.meta),
    }


def _plain(item: object) -> Any:
    """JSON form of a dataclass of the trace."""
    if isinstance(item, tuple):
        return [_plain(part) for part in item]
    if isinstance(item, Operator | Tensor | Block | Segment):
        return {field.name: _plain(getattr(item, field.name)) for field in fields(item)}
    return item


def _check_header(header: object, where: str) -> Mapping[str, Any]:
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


_WORDS: dict[type, str] = {str: "a text", int: "a whole number", list: "a list", dict: "an object", bool: "true, false"}


def _parse(kind: type[Item], data: object, where: str) -> Item:
    """One dataclass from its JSON form; every field must be there, and no other."""
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
    "tuple[int, ...]": _listed(_integer),
    "tuple[tuple[int, int], ...]": _listed(_pair),
    "tuple[Segment, ...]": _listed(lambda value, where: _parse(Segment, value, where)),
}


def _assemble(header: Mapping[str, Any], ops: Sequence[Operator], tensors: Sequence[Tensor], where: str) -> Trace:
    for name, items in (("ops", ops), ("tensors", tensors)):
        if header[name] != len(items):
            raise ChipsmithError(where, None, f"truncated: the header says {header[name]} {name}, found {len(items)}")
    blocks = tuple(_parse(Block, block, f"{where}: blocks[{i}]") for i, block in enumerate(header["blocks"]))
    return Trace(header["name"], tuple(ops), tuple(tensors), blocks, header["meta"])


def _jsonl_lines(trace: Trace) -> Iterator[str]:
    yield json.dumps(_header(trace))
    for op in trace.ops:
        yield json.dumps({"op": _plain(op)})
    for tensor in trace.tensors:
        yield json.dumps({"tensor": _plain(tensor)})


def _write_jsonl(trace: Trace, path: Path) -> None:
    path.write_text("".join(f"{line}\n" for line in _jsonl_lines(trace)), "utf-8")


def _loads(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ChipsmithError(where, None, f"no JSON: {error}") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ChipsmithError(str(path), None, "no UTF-8 text") from None


def _read_jsonl(path: Path) -> Trace:
    lines = _read_text(path).splitlines()
    if not lines:
        raise ChipsmithError(str(path), None, "empty file, legal: a header line, then operators and tensors")
    header = _check_header(_loads(lines[0], f"{path}:1"), f"{path}:1")
    ops: list[Operator] = []
    tensors: list[Tensor] = []
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}:{number}"
        data = _loads(line, where)
        if not isinstance(data, dict) or list(data) not in (["op"], ["tensor"]):
            raise ChipsmithError(where, None, 'legal: {"op": ...} or {"tensor": ...}')
        if "op" in data:
            ops.append(_parse(Operator, data["op"], where))
        else:
            tensors.append(_parse(Tensor, data["tensor"], where))
    return _assemble(header, ops, tensors, str(path))


def _schema(pa: Any) -> Any:
    segment = pa.struct([(field.name, pa.int64()) for field in fields(Segment)])
    types = {
        "int": pa.int64(),
        "str": pa.string(),
        "bool": pa.bool_(),
        "tuple[int, ...]": pa.list_(pa.int64()),
        "tuple[Segment, ...]": pa.list_(segment),
    }
    return pa.schema([(field.name, types[str(field.type)]) for field in fields(Operator)])


def _write_parquet(trace: Trace, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    head = json.dumps({**_header(trace), "tensor_list": [_plain(tensor) for tensor in trace.tensors]})
    table = pa.Table.from_pylist([_plain(op) for op in trace.ops], schema=_schema(pa))
    pq.write_table(table.replace_schema_metadata({_KEY: head.encode()}), path)


def _read_parquet(path: Path) -> Trace:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except (pa.ArrowException, OSError):
        raise ChipsmithError(str(path), None, "no Parquet file, or a damaged one") from None
    head = (table.schema.metadata or {}).get(_KEY)
    if head is None:
        raise ChipsmithError(str(path), None, f"no trace: its metadata hold no {_KEY.decode()!r}")
    header = _check_header(_loads(head.decode("utf-8", "replace"), str(path)), str(path))
    listed = header.get("tensor_list")
    if not isinstance(listed, list):
        raise ChipsmithError(f"{path}: tensor_list", None, "is missing")
    ops = [_parse(Operator, row, f"{path}: row {number}") for number, row in enumerate(table.to_pylist())]
    tensors = [_parse(Tensor, item, f"{path}: tensors[{number}]") for number, item in enumerate(listed)]
    return _assemble(header, ops, tensors, str(path))


_WRITERS: dict[str, Callable[[Trace, Path], None]] = {".parquet": _write_parquet, ".jsonl": _write_jsonl}
_READERS: dict[str, Callable[[Path], Trace]] = {".parquet": _read_parquet, ".jsonl": _read_jsonl}
