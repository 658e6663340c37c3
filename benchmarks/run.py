"""Runs every ``benchmarks/bench_*.py`` and prints the medians: ``python -m benchmarks.run [NAME...] [--format json]``.

``--update README.md`` writes the tables of README.md as well.

A benchmark is a module with ``def main() -> list[Row]``; adding a file adds it. Subjects that did the same thing
stand below each other, with their time relative to Chipsmith's.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.markdown import update
from benchmarks.measure import Row
from chipsmith.output import add_format_argument, emit, progress, table
from workloads.errors import ChipsmithError, nearest

OURS = "chipsmith"


def names() -> list[str]:
    """Names of all benchmarks: file names without ``bench_``."""
    return sorted(path.stem.removeprefix("bench_") for path in Path(__file__).parent.glob("bench_*.py"))


def rows_of(name: str) -> list[Row]:
    """Run one benchmark."""
    progress(f"benchmark {name}")
    rows: list[Row] = importlib.import_module(f"benchmarks.bench_{name}").main()
    return rows


def relative(row: Row, rows: Sequence[Row]) -> float | None:
    """Time for one piece of work relative to Chipsmith's, None for Chipsmith itself or without a partner.

    Where only one of the two counts pieces, the whole repetitions are compared.
    """
    partner = next((other for other in rows if other.what == row.what and other.subject == OURS), None)
    if partner is None or partner is row or not partner.median_s:
        return None
    if row.items and partner.items:
        return row.piece_s / partner.piece_s
    return row.median_s / partner.median_s


def line(row: Row, rows: Sequence[Row]) -> dict[str, object]:
    """One line of the report."""
    return {
        "what": row.what,
        "subject": row.subject,
        "median_s": row.median_s,
        "fastest_s": min(row.samples_s),
        "slowest_s": max(row.samples_s),
        "cpu_s": row.cpu_s,
        "repeats": len(row.samples_s),
        "rate": row.rate_hz,
        "of": f"{row.unit}/s" if row.unit else None,
        "per cpu_s": row.cpu_rate_hz,
        "target": row.target or None,
        "times ours": relative(row, rows),
        "note": row.note or None,
    }


def text(lines: Sequence[dict[str, object]]) -> str:
    """One table; columns in which no line has anything are left out."""
    names = [name for name in (lines[0] if lines else {}) if any(line[name] is not None for line in lines)]
    return table(lines, names)


def chosen(wanted: Sequence[str]) -> list[str]:
    """The benchmarks to run.

    Raises:
        ChipsmithError: for an unknown name.
    """
    for name in wanted:
        if name not in names():
            raise ChipsmithError("benchmark", name, nearest(name, names()))
    return list(wanted) or names()


def main(argv: Sequence[str]) -> int:
    """Run the benchmarks named in ``argv``, or all, and print one table."""
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="run benchmarks and print medians")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of: {', '.join(names())}")
    parser.add_argument("--update", metavar="FILE", help="also write the tables into a file (README.md) with marks")
    add_format_argument(parser)
    args = parser.parse_args(argv)
    try:
        if args.update and args.names:
            raise ChipsmithError("--update", args.update, "takes all benchmarks: name none")
        rows = [row for name in chosen(args.names) for row in rows_of(name)]
        if args.update:
            update(Path(args.update), rows)
    except ChipsmithError as error:
        parser.error(str(error))
    lines = [line(row, rows) for row in rows]
    emit(lines, lambda: text(lines), args)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
