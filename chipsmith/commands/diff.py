"""``chipsmith diff``: two traces side by side."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chipsmith.output import emit, progress, table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from workloads.diff import Difference, Line

NAME = "diff"
HELP = "compare two traces: MACs and bytes of each kind of operator, and why they differ"
EXAMPLE = "chipsmith diff built.parquet captured.parquet --by name --max-percent 1 --measures macs weight_bytes"
ORDER = 16

#: Measure -> title of its column, and of the column of differences.
_TITLES = {
    "macs": ("MACs", "MACs"),
    "weight_bytes": ("weight bytes", "weights"),
    "kv_bytes": ("KV bytes", "KV"),
    "activation_bytes": ("activation bytes", "activations"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Two files, and how to look at them."""
    parser.add_argument("left", metavar="FILE", help="a trace (.parquet or .jsonl), the one that counts as 100 %%")
    parser.add_argument("right", metavar="FILE", help="the trace to compare with it")
    parser.add_argument("--by", choices=("kind", "name"), default="kind", help="one line a kind (default) or operator")
    parser.add_argument("--max-percent", type=float, metavar="X", help="exit 1 if anything differs by more than this")
    parser.add_argument("--measures", nargs="+", choices=tuple(_TITLES), default=list(_TITLES), metavar="MEASURE",
                        help=f"what counts for --max-percent: {', '.join(_TITLES)} (default: all)")  # fmt: skip
    parser.add_argument("--figure", metavar="FILE.png", help="draw both traces side by side")


def run(args: argparse.Namespace) -> int:
    """Compare and print."""
    from workloads.diff import diff
    from workloads.trace_io import read_trace

    found = diff(read_trace(args.left), read_trace(args.right), args.by)
    if args.figure:
        draw(found, Path(args.figure))
    emit(found.to_dict(), lambda: as_text(found), args)
    return _judged(found, args)


def _judged(found: Difference, args: argparse.Namespace) -> int:
    if args.max_percent is None:
        return 0
    line, measure, percent = found.worst(args.measures)
    if percent <= args.max_percent:
        return 0
    size = "only one of them has any" if percent == float("inf") else f"{percent:.3g} %"
    progress(f"{line.name} differs in {_TITLES[measure][0]}: {size}, allowed are {args.max_percent:g} %")
    return 1


def as_text(found: Difference) -> str:
    """A table, the totals, and what differs in words."""
    rows = [_row(line) for line in (*found.lines, found.total)]
    why = [f"- {reason}" for reason in found.reasons] or ["- nothing: both traces hold the same operators"]
    head = [f"left   {found.names[0]}", f"right  {found.names[1]}", ""]
    return "\n".join([*head, table(rows), "", "what differs", *why])


def _row(line: Line) -> dict[str, object]:
    row: dict[str, object] = {"operator": line.name}
    for measure, (title, short) in _TITLES.items():
        percent = line.percent(measure)
        row[title] = line.left[measure]
        row[f"{short} %"] = f"0 -> {line.right[measure]:,}" if percent is None else percent
    return row


def draw(found: Difference, path: Path) -> None:
    """One panel a measure, one pair of bars a line, the difference beside it."""
    from matplotlib.patches import Patch

    from sim.pictures.canvas import picture
    from sim.pictures.palette import BLUE, ORANGE

    lines = [line for line in found.lines if any(line.left.values()) or any(line.right.values())]
    with picture(path, 12.0, max(3.2, 0.34 * len(lines) + 1.4)) as figure:
        figure.suptitle(f"{found.names[0]} against {found.names[1]}", x=0.01, ha="left", fontweight="bold", fontsize=12)
        grid = figure.subplots(1, len(_TITLES), sharey=True)
        for axes, (measure, (title, _)) in zip(grid, _TITLES.items(), strict=True):
            _panel(axes, lines, measure, title)
        grid[0].set_yticks(range(len(lines)), [line.name for line in lines])
        grid[0].set_ylim(len(lines) - 0.4, -0.6)
        handles = [Patch(color=BLUE, label="left"), Patch(color=ORANGE, label="right")]
        figure.legend(handles=handles, loc="upper right", ncols=2)


def _panel(axes: Axes, lines: list[Line], measure: str, title: str) -> None:
    from sim.pictures.palette import BLUE, GREY, ORANGE
    from sim.pictures.words import si

    longest = max(max(line.left[measure], line.right[measure]) for line in lines) or 1
    for offset, side, colour in ((-0.2, "left", BLUE), (0.2, "right", ORANGE)):
        values = [getattr(line, side)[measure] for line in lines]
        axes.barh([i + offset for i in range(len(lines))], values, height=0.38, color=colour)
    for row, line in enumerate(lines):
        percent = line.percent(measure)
        if percent != 0.0:
            text = "only right" if percent is None else f"{percent:+.2g} %"
            end = max(line.left[measure], line.right[measure])
            axes.annotate(text, (end, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_title(title, pad=12)
    axes.set_xlim(0, longest * 1.35)
    axes.locator_params(axis="x", nbins=3)
    axes.xaxis.set_major_formatter(lambda value, _: si(value, "" if measure == "macs" else "B"))
    axes.tick_params(axis="x", colors=GREY)
    axes.grid(True, axis="x")
