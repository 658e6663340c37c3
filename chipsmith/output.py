"""What the command prints: one JSON document or one plain table on stdout, everything else on stderr."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

FORMATS = ("table", "json")
_SIGNIFICANT_DIGITS = 5
_WHOLE_FLOAT_LIMIT = 1e6  # floats from here on are shown without decimals or with an exponent


def add_format_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--format table|json``, which every command has."""
    parser.add_argument(
        "--format", choices=FORMATS, default="table", help="what stdout holds: a table, or one JSON document"
    )


def to_plain(value: Any) -> Any:
    """Turn a value into what JSON knows; NaN and infinities become None.

    Takes dataclasses, pydantic models, numpy scalars and arrays, data frames (list of rows), paths, enums, sets.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return _other_to_plain(value)


def _other_to_plain(value: Any) -> Any:
    """The kinds of :func:`to_plain` that are recognised by what they can do, so that nothing is imported."""
    if isinstance(value, Path):
        return str(value)
    for known, convert in _CONVERSIONS:
        if known(value):
            return to_plain(convert(value))
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _is_dataclass(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _is_frame(value: Any) -> bool:
    return hasattr(value, "to_dict") and hasattr(value, "columns")


_CONVERSIONS: tuple[tuple[Callable[[Any], bool], Callable[[Any], Any]], ...] = (
    (lambda value: isinstance(value, enum.Enum), lambda value: value.value),
    (lambda value: isinstance(value, (set, frozenset)), lambda value: sorted(value, key=str)),
    (_is_dataclass, lambda value: {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}),
    (lambda value: hasattr(value, "model_dump"), lambda value: value.model_dump()),
    (_is_frame, lambda value: value.to_dict(orient="records")),
    (lambda value: hasattr(value, "tolist"), lambda value: value.tolist()),
)


def to_json(value: Any) -> str:
    """Strict JSON text of a value (no NaN), two spaces of indent."""
    return json.dumps(to_plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def emit(value: Any, table_text: str | Callable[[], str], args: argparse.Namespace) -> None:
    """Print the one result of a command on stdout.

    Args:
        value: the result, printed as JSON with ``--format json``.
        table_text: its text form, or a function that makes it (called only when it is needed).
        args: parsed arguments with ``format``.
    """
    if args.format == "json":
        print(to_json(value))
    else:
        print(table_text if isinstance(table_text, str) else table_text())


def progress(text: str) -> None:
    """Say on stderr what is going on, one line."""
    print(f"chipsmith: {text}", file=sys.stderr, flush=True)


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Print a Python warning as one line; has the signature of :func:`warnings.showwarning`."""
    print(f"chipsmith: warning: {' '.join(str(message).split())}", file=file or sys.stderr)


def use_one_line_warnings() -> None:
    """Show Python warnings as one line each for the rest of the process."""
    warnings.showwarning = show_warning


def format_cell(value: Any) -> str:
    """Text of one cell: integers with thousands separators, floats with five significant digits, None as ``-``."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "item") and not isinstance(value, str):
        value = value.item()  # numpy scalars
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return _format_float(value)
    return str(value)


def _format_float(value: float) -> str:
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < _WHOLE_FLOAT_LIMIT:
        return f"{value:,.0f}"
    return f"{value:,.{_SIGNIFICANT_DIGITS}g}"


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (str, bool))


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> str:
    """Plain text table with aligned columns; columns of numbers are right aligned.

    Args:
        rows: one mapping a row; a missing key shows as ``-``.
        columns: names and order of the columns; without it those of the first row.
    """
    records = list(rows)
    names = list(columns) if columns is not None else list(records[0]) if records else []
    if not names:
        return "(nothing)"
    cells = [names, *([format_cell(row.get(name)) for name in names] for row in records)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    right = [_numeric_column(records, name) for name in names]
    body = [_line(line, widths, right) for line in cells]
    return "\n".join([body[0], "  ".join("-" * width for width in widths), *body[1:]])


def _numeric_column(rows: Sequence[Mapping[str, Any]], name: str) -> bool:
    """Whether a column holds numbers and nothing else (empty cells aside)."""
    values = [row.get(name) for row in rows if row.get(name) is not None]
    return bool(values) and all(map(_is_number, values))


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = (c.rjust(w) if r else c.ljust(w) for c, w, r in zip(cells, widths, right, strict=True))
    return "  ".join(padded).rstrip()
