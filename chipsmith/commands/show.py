"""``chipsmith show``: what is in a trace file, or in a chip."""

from __future__ import annotations

import argparse
import json
from typing import Any

from chipsmith.output import emit, format_cell, table

NAME = "show"
HELP = "show a trace file (.parquet, .jsonl, .et, .csv) or a chip (preset name or YAML file)"
EXAMPLE = "chipsmith show tpu_v4"
ORDER = 20

_TRACE_ENDINGS = (".parquet", ".jsonl", ".et", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to show."""
    parser.add_argument("what", metavar="FILE_OR_CHIP", help="trace file, chip preset or chip YAML file")


def run(args: argparse.Namespace) -> int:
    """Show it."""
    if args.what.endswith(_TRACE_ENDINGS):
        from workloads.describe import describe_trace, totals
        from workloads.trace_io import read_trace

        trace = read_trace(args.what)
        report = describe_trace(trace)
        if trace.effective_macs != trace.macs:
            report["totals"] = {**totals(trace), "effective_GMAC": trace.effective_macs / 1e9}
        emit(report, lambda: trace_text(report), args)
    else:
        from models.chip import load_chip
        from models.describe import describe_chip

        facts, text = describe_chip(load_chip(args.what))
        emit(facts, text, args)
    return 0


def trace_text(report: dict[str, Any]) -> str:
    """A described trace as a title, a table of operators and a line for each total."""
    blocks = ", ".join(f"{name} x {count}" for name, count in report["blocks"].items())
    sums = [f"{name}: {format_cell(value)}" for name, value in report["totals"].items()]
    known = report["meta"].get("transforms")
    calls = known.items() if isinstance(known, dict) else ()
    done = [f"{name}: {json.dumps(facts)[1:-1]}" for name, facts in calls]
    return "\n".join([f"{report['name']} ({blocks})", "", table(report["rows"]), "", *sums, *done])
