"""Trace files: Parquet (columns for analysis), JSON Lines (interchange), Chakra (ASTRA-sim), GEMM lists.

The first three give back an equal trace; a GEMM list keeps the products alone. JSON Lines: a header line, then one
line for each operator, then one for each tensor. Parquet: a row for each operator with its fields as columns
(segments as a nested list); header and tensors as JSON in the file's metadata. docs/formats.md describes all four.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

from workloads.errors import ChipsmithError
from workloads.files import whole_file
from workloads.formats.records import (
    assemble,
    check_header,
    header_of,
    loads,
    packed_header,
    parse,
    plain,
    unpack_header,
)
from workloads.trace import Operator, Segment, Tensor, Trace

_KEY = b"chipsmith_trace"
_LEGAL_NAMES = "legal: a name that ends in .parquet, .jsonl, .et (Chakra) or .csv (GEMM list)"


def write_trace(trace: Trace, path: str | Path) -> Path:
    """Write a legal trace; the file appears complete or not at all.

    Raises:
        ChipsmithError: illegal trace, a name with another ending than ``.parquet``, ``.jsonl``, ``.et``, ``.csv``, a
            folder that cannot be written, a trace without a product (``.csv``).
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


def _jsonl_lines(trace: Trace) -> Iterator[str]:
    yield json.dumps(header_of(trace))
    for op in trace.ops:
        yield json.dumps({"op": plain(op)})
    for tensor in trace.tensors:
        yield json.dumps({"tensor": plain(tensor)})


def _write_jsonl(trace: Trace, path: Path) -> None:
    path.write_text("".join(f"{line}\n" for line in _jsonl_lines(trace)), "utf-8")


def _read_text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ChipsmithError(str(path), None, "no UTF-8 text") from None


def _read_jsonl(path: Path) -> Trace:
    lines = _read_text(path).splitlines()
    if not lines:
        raise ChipsmithError(str(path), None, "empty file, legal: a header line, then operators and tensors")
    header = check_header(loads(lines[0], f"{path}:1"), f"{path}:1")
    ops: list[Operator] = []
    tensors: list[Tensor] = []
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}:{number}"
        data = loads(line, where)
        if not isinstance(data, dict) or list(data) not in (["op"], ["tensor"]):
            raise ChipsmithError(where, None, 'legal: {"op": ...} or {"tensor": ...}')
        if "op" in data:
            ops.append(parse(Operator, data["op"], where))
        else:
            tensors.append(parse(Tensor, data["tensor"], where))
    return assemble(header, ops, tensors, str(path))


def _schema(pa: Any) -> Any:
    segment = pa.struct([(field.name, pa.int64()) for field in fields(Segment)])
    types = {
        "int": pa.int64(),
        "float": pa.float64(),
        "str": pa.string(),
        "bool": pa.bool_(),
        "tuple[int, ...]": pa.list_(pa.int64()),
        "tuple[Segment, ...]": pa.list_(segment),
    }
    return pa.schema([(field.name, types[str(field.type)]) for field in fields(Operator)])


def _write_parquet(trace: Trace, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([plain(op) for op in trace.ops], schema=_schema(pa))
    pq.write_table(table.replace_schema_metadata({_KEY: packed_header(trace).encode()}), path)


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
    header, tensors = unpack_header(head.decode("utf-8", "replace"), str(path))
    ops = [parse(Operator, row, f"{path}: row {number}") for number, row in enumerate(table.to_pylist())]
    return assemble(header, ops, tensors, str(path))


def _write_chakra(trace: Trace, path: Path) -> None:
    from workloads.chakra import encode_chakra

    path.write_bytes(encode_chakra(trace))


def _read_chakra(path: Path) -> Trace:
    from workloads.chakra import read_chakra

    return read_chakra(path)


def _write_gemms(trace: Trace, path: Path) -> None:
    from workloads.formats.gemm_csv import gemm_lines

    path.write_text("".join(f"{line}\n" for line in gemm_lines(trace)), "utf-8")


def _read_gemms(path: Path) -> Trace:
    from workloads.formats.gemm_csv import parse_gemms

    return parse_gemms(_read_text(path), path)


_WRITERS: dict[str, Callable[[Trace, Path], None]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
    ".et": _write_chakra,
    ".csv": _write_gemms,
}
_READERS: dict[str, Callable[[Path], Trace]] = {
    ".parquet": _read_parquet,
    ".jsonl": _read_jsonl,
    ".et": _read_chakra,
    ".csv": _read_gemms,
}
