"""Draws timelines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sim.pictures.canvas import picture, settle
from sim.pictures.palette import BLACK, SKY, kind_colour, text_colour
from sim.pictures.timeline_data import Cut, Steps, Timeline, timeline_data
from sim.pictures.words import short_name, si, time_unit
from sim.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def timeline_figure(result: Result, path: str | Path) -> None:
    """Draw one iteration of every block: engines as rows, then the use of every shared resource.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    data = timeline_data(result)
    unit_s, unit = time_unit(data.span_s)
    heights = (0.75 * len(data.rows) + 0.2, *(0.75 for _ in data.uses))
    with picture(Path(path), 12.0, sum(heights) + 1.7) as figure:
        figure.suptitle(f"Timeline: {data.title}", x=0.01, ha="left", fontweight="bold", fontsize=12)
        grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights})
        gantt, *others = grid[:, 0]
        _draw_gantt(gantt, data, unit_s)
        for axes, (name, steps) in zip(others, data.uses.items(), strict=True):
            _draw_use(axes, name, steps, unit_s)
        for axes in grid[:, 0]:
            for cut in data.cuts:
                _draw_cut(axes, cut, unit_s)
        last = grid[-1, 0]
        last.set_xlim(0, data.span_s / unit_s)
        last.set_xlabel(f"time within the iterations drawn ({unit}); the whole step takes {si(data.latency_s, 's')}")
        settle(figure)
        _label_bars(gantt, data, unit_s)
        _label_cuts(gantt, data, unit_s)


def _draw_gantt(axes: Axes, data: Timeline, unit_s: float) -> None:
    from matplotlib.patches import Patch

    for bar in data.bars:
        thin = bar.end_s - bar.begin_s < 0.005 * data.span_s
        axes.barh(
            [data.rows.index(bar.row)],
            [(bar.end_s - bar.begin_s) / unit_s],
            left=[bar.begin_s / unit_s],
            height=0.8,
            color=kind_colour(bar.kind),
            edgecolor=kind_colour(bar.kind) if thin else "white",
            linewidth=0.8 if thin else 0.5,
        )
    axes.set_yticks(range(len(data.rows)), data.rows)
    axes.set_ylim(len(data.rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    kinds = dict.fromkeys(bar.kind for bar in data.bars)
    handles = [Patch(color=kind_colour(kind), label=kind) for kind in kinds]
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles), fontsize=9)


def _draw_use(axes: Axes, name: str, steps: Steps, unit_s: float) -> None:
    """Filled steps, at most 100 %."""
    axes.stairs(steps.share.clip(0, 1), steps.edges_s / unit_s, fill=True, color=SKY, alpha=0.75)
    axes.set(ylim=(0, 1.05), yticks=(0, 0.5, 1), yticklabels=("0", "50 %", "100 %"))
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylabel(f"{name}\nin use", rotation=0, ha="right", va="center", fontsize=9)
    axes.grid(True, axis="y")


def _draw_cut(axes: Axes, cut: Cut, unit_s: float) -> None:
    axes.axvspan(cut.begin_s / unit_s, cut.end_s / unit_s, facecolor="#F2F2F2", edgecolor="#BBBBBB", hatch="///", lw=0)


def _label_cuts(axes: Axes, data: Timeline, unit_s: float) -> None:
    for cut in data.cuts:
        axes.text(
            (cut.begin_s + cut.end_s) / 2 / unit_s,
            (len(data.rows) - 1) / 2,
            f"{cut.block}: {cut.iterations} more, {si(cut.skipped_s, 's')}",
            rotation=90,
            ha="center",
            va="center",
            fontsize=8.5,
            color=BLACK,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        )


def _label_bars(axes: Axes, data: Timeline, unit_s: float) -> None:
    """Names in the bars that have room, upright where only that fits."""
    renderer = axes.figure.canvas.get_renderer()  # type: ignore[attr-defined]  # Agg canvases have one
    scale = axes.transData.transform
    height = 0.8 * abs(scale((0, 0))[1] - scale((0, 1))[1])
    for bar in data.bars:
        width = float(scale((bar.end_s / unit_s, 0))[0] - scale((bar.begin_s / unit_s, 0))[0])
        text = axes.text(
            (bar.begin_s + bar.end_s) / 2 / unit_s,
            data.rows.index(bar.row),
            short_name(bar.name),
            ha="center",
            va="center",
            fontsize=8.5,
            color=text_colour(kind_colour(bar.kind)),
        )
        if text.get_window_extent(renderer).width + 4 <= width:
            continue
        text.set_rotation(90)
        box = text.get_window_extent(renderer)
        if box.width + 2 > width or box.height + 2 > height:
            text.remove()
