"""``chipsmith validate``: how far the models are off reference records, per source and metric."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chipsmith.output import emit, progress, table
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from chipsmith.validate import Report, SourceRow

NAME = "validate"
ORDER = 40
HELP = "run reference records on the models and print the errors per source"
EXAMPLE = "chipsmith validate tests/reference/onnxim.jsonl --worst 3 --figure validation.png"

_NAME_WIDTH = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``validate``."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="JSON Lines of records; your own measurements too")
    parser.add_argument("--family", action="append", metavar="NAME", help="only records of this family (repeatable)")
    parser.add_argument("--max-mape", metavar="PCT", help="exit 1 where the mean error of a metric is larger")
    parser.add_argument("--worst", metavar="N", default="1", help="records with the largest errors to list (default 1)")
    parser.add_argument("--output", metavar="CSV", help="write every comparison as CSV")
    parser.add_argument("--figure", metavar="PNG", help="draw predicted against reference values")
    parser.add_argument("--report", metavar="FILE.html", help="write a report: one file with figures to explore")


def run(args: argparse.Namespace) -> int:
    """Compare and print; 1 where the coverage or ``--max-mape`` is missed."""
    limit, worst = _limit(args.max_mape), _count(args.worst)
    from chipsmith.validate import compare

    report = compare(args.files, args.family, worst)
    if args.output:
        from chipsmith.validate_output import write_csv

        write_csv(report.comparisons, args.output)
    if args.figure:
        from chipsmith.validate_output import draw

        draw(report.comparisons, args.figure)
    if args.report:
        from chipsmith.report import write_validation_report

        write_validation_report(report, args.report, args.files)
    emit(report.rows, lambda: as_text(report, worst), args)
    missed = report.misses(limit)
    for sentence in missed:
        progress(f"missed: {sentence}")
    return 1 if missed else 0


def _limit(text: str | None) -> float | None:
    try:
        value = None if text is None else float(text)
    except ValueError:
        value = -1.0
    if value is not None and not 0 <= value < float("inf"):
        raise ChipsmithError("--max-mape", text, "a percentage, 0 or above")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ChipsmithError("--worst", text, "a whole number, 0 or above")
    return int(text)


def as_text(report: Report, worst: int = 1) -> str:
    """The table, then what was skipped and why, how the models ran, and further bad records."""
    lines = [table(map(_line, report.rows)), *_skips(report), *_methods(report)]
    return "\n".join([*lines, *(_worst_lines(report) if worst > 1 else ())])


def _short(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 1]}…"


def _line(row: SourceRow) -> dict[str, object]:
    return {
        "source": _short(row.source),
        "metric": row.metric,
        "n": row.n,
        "skipped": row.skipped,
        "mean %": row.mape_pct,
        "bias %": row.bias_pct,
        "max %": row.max_ape_pct,
        "tau": row.kendall_tau,
        "null %": row.null_mape_pct,
        "fitted": row.fitted_constants,
        "worst record": row.worst_id,
    }


def _skips(report: Report) -> Iterator[str]:
    """What was skipped and why; sources of a family that is not modelled in one line."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in report.rows:
        what = f"family {row.family}" if not row.claimed else f"{row.source} {row.metric}".removesuffix(" *")
        for reason, count in row.skip_reasons.items():
            counts[what, reason] += count
    yield from (f"skipped {count:,} of {what}: {reason}" for (what, reason), count in counts.items())


def _methods(report: Report) -> Iterator[str]:
    """One line a source on how it was run; one line for each comparison that is no plain error."""
    told: set[str] = set()
    for row in report.rows:
        if row.n and row.source not in told:
            told.add(row.source)
            yield _method(row)
        if row.one_sided:
            side = row.one_sided
            yield (
                f"{row.source} {row.metric}, against the larger of source and lower bound: {side.within} of {row.n} "
                f"0 to 5 % above it, {side.faster} below, {side.slower} further above, "
                f"{side.below_bound} below the lower bound"
            )
        if row.ratio:
            ratio = row.ratio
            yield (
                f"{row.source} {row.metric}: smallest {ratio.smallest:.3f}, mean {ratio.mean:.3f}, "
                f"largest {ratio.largest:.3f}, {ratio.above_1} of {row.n} above 1"
            )


def _method(row: SourceRow) -> str:
    parts = [f"{row.source} ({', '.join(row.authority)}): fidelity {row.fidelity}, mapping {row.mapping}"]
    if row.quirks:
        parts.append(f"options: {', '.join(row.quirks)}")
    if row.fitted_file:
        parts.append(f"{row.fitted_constants} fitted constants in {row.fitted_file}")
    if row.misses:
        parts.append(f"not modelled: {row.misses}")
    return "; ".join(parts)


def _worst_lines(report: Report) -> Iterator[str]:
    rows = [
        {
            "source": row.source,
            "metric": row.metric,
            "error %": item.error_pct,
            "reference": item.reference,
            "predicted": item.predicted,
            "record": item.id,
        }
        for row in report.rows
        for item in row.worst
        if row.kind != "own" and item.error_pct != 0
    ]
    if rows:
        yield f"\n{table(rows)}"
