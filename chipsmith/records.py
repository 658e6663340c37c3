"""Reference records: JSON Lines with ``id``, ``family``, ``source``, ``hardware``, ``workload`` and ``expect``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from workloads.errors import ChipsmithError

_MAPPINGS = ("source", "hardware", "workload", "expect")
_TEXTS = ("id", "family")


@dataclass(frozen=True)
class Record:
    """One line of a reference file.

    Attributes:
        data: the record as read; never changed.
        file, line: where it stands, lines from 1.
    """

    data: Mapping[str, Any]
    file: str
    line: int

    @property
    def where(self) -> str:
        """``file:line``, for messages."""
        return f"{self.file}:{self.line}"

    @property
    def family(self) -> str:
        """Family: which models it speaks about."""
        return str(self.data["family"])

    @property
    def source(self) -> str:
        """Name of the source."""
        return str(self.data["source"]["name"])


def read_records(files: Sequence[str | Path]) -> list[Record]:
    """All records of the files, in order; empty lines are passed over.

    Raises:
        ChipsmithError: a file that cannot be read or holds no record, a line that is no JSON object, or a missing or
            wrongly typed key (file, line and key are named).
    """
    return [record for file in files for record in _read(Path(file))]


def _read(path: Path) -> list[Record]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ChipsmithError(str(path), None, f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ChipsmithError(str(path), None, "cannot be read: it is no UTF-8 text") from None
    found = [_record(line, str(path), number) for number, line in _lines(text)]
    if not found:
        raise ChipsmithError(str(path), None, "it holds no record (one JSON object a line is expected)")
    return found


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip())


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _record(line: str, file: str, number: int) -> Record:
    where = f"{file}:{number}"
    try:
        data = json.loads(line, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ChipsmithError(where, None, f"not valid JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise ChipsmithError(where, None, f"not valid JSON: {error}") from None
    if not isinstance(data, dict):
        raise ChipsmithError(where, type(data).__name__, "a record is a JSON object")
    _check(data, where)
    return Record(data, file, number)


def _check(data: Mapping[str, Any], where: str) -> None:
    for key in (*_TEXTS, *_MAPPINGS):
        if key not in data:
            raise ChipsmithError(f"{where}.{key}", None, "this key is required")
    for key in _TEXTS:
        if not isinstance(data[key], str):
            raise ChipsmithError(f"{where}.{key}", data[key], "a text is required")
    for key in _MAPPINGS:
        if not isinstance(data[key], dict):
            raise ChipsmithError(f"{where}.{key}", data[key], "a JSON object is required")
    name = data["source"].get("name")
    if not isinstance(name, str):
        raise ChipsmithError(f"{where}.source.name", name, "this key is required" if name is None else "a text")
