"""The part of README.md that ``python -m benchmarks.run --update README.md`` writes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.measure import Row
from workloads.errors import ChipsmithError
from workloads.files import write_text

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def update(path: Path, rows: Sequence[Row]) -> None:
    """Replace what stands between the two marks of a file.

    Raises:
        ChipsmithError: the file has no such marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        raise ChipsmithError(str(path), None, f"needs a line {BEGIN} and, below it, a line {END}")
    write_text(path, f"{before}{begin}{markdown(rows)}{end}{after}")


def markdown(rows: Sequence[Row]) -> str:
    """Two tables: work that has a target, and work that several subjects did."""
    aimed = [row for row in rows if row.target]
    counted = [row for row in rows if row.unit and not row.target]
    several = [row for row in counted if sum(other.what == row.what for other in counted) > 1]
    return "\n".join([f"Medians on {os.cpu_count()} cores.\n", *_targets(aimed), "", *_subjects(several), ""])


def _targets(rows: Sequence[Row]) -> Iterator[str]:
    yield "| what | measured | CPU time | target |\n|---|---|---|---|"
    for row in rows:
        note = f"; {row.note}" if row.note else ""
        yield f"| {row.what}{note} | {_speed(row)} | {_cpu(row)} | {row.target} |"


def _subjects(rows: Sequence[Row]) -> Iterator[str]:
    yield "| what | who | speed | time relative to ours | note |\n|---|---|---|---|---|"
    for row in rows:
        partner = next((other for other in rows if other.what == row.what and other.subject == "chipsmith"), row)
        ratio = "" if partner is row else f"{_short(row.piece_s / partner.piece_s)} x"
        yield f"| {row.what} | {row.subject} | {_speed(row)} | {ratio} | {row.note} |"


def _speed(row: Row) -> str:
    return f"{_short(row.rate_hz)} {row.unit}/s" if row.rate_hz else f"{_short(row.median_s)} s"


def _cpu(row: Row) -> str:
    if row.cpu_rate_hz:
        return f"{_short(row.cpu_rate_hz)} {row.unit} a CPU second"
    return f"{_short(row.cpu_s)} CPU s" if row.cpu_s else ""


def _short(value: float) -> str:
    """Three significant digits, thousands separated, exponents only from 10^9."""
    if value >= 1e9 or value < 1e-3:
        return f"{value:.1e}"
    if value < 100:
        return f"{value:.3g}"
    step: float = 10 ** (len(str(int(value))) - 3)
    return f"{round(value / step) * step:,.0f}"
