"""Draws chips side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim.pictures.canvas import picture, tick
from sim.pictures.comparison_data import Comparison, Measure, Panel, comparison_data
from sim.pictures.palette import BLACK, GREY, PHASE_COLOURS
from sim.pictures.words import si
from sim.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def comparison_figure(results: Sequence[Result], path: str | Path) -> None:
    """Draw chips side by side: time to first token, time per output token, energy per token, area.

    Bars carry the error interval where validation gives one.

    Raises:
        ChipsmithError: no results, two of the same chip, model and phase, or the path cannot be written.
    """
    data = comparison_data(results)
    longest = max(len(line) for label in data.labels for line in label.split("\n"))
    rows, columns = (len(data.panels) + 1) // 2, 2
    width = max(9.0, 2 * len(data.labels) * max(0.9, 0.095 * longest) + 2.0)
    with picture(Path(path), width, 3.1 * rows + 0.5) as figure:
        title = f"{', '.join(data.models)}: {len(data.labels)} chip{'s' if len(data.labels) > 1 else ''} compared"
        figure.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=12)
        grid = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes, panel in zip(grid, data.panels, strict=False):
            _draw_panel(axes, panel, data)
        for axes in grid[len(data.panels) :]:
            axes.set_visible(False)


def _draw_panel(axes: Axes, panel: Panel, data: Comparison) -> None:
    width = 0.8 / len(panel.series)
    values = [m.value for row in panel.series.values() for m in row if m.value is not None]
    wide = max(values) > 50 * min(values) > 0
    for place, (name, row) in enumerate(panel.series.items()):
        colour = PHASE_COLOURS.get(name, GREY)
        for number, measure in enumerate(row):
            at = number + (place - (len(panel.series) - 1) / 2) * width
            _draw_measure(axes, at, width, measure, panel.unit, colour)
    axes.set_title(f"{panel.name} ({panel.unit})")
    axes.set_xticks(range(len(data.labels)), data.labels)
    axes.set_xlim(-0.6, len(data.labels) - 0.4)
    if wide:
        axes.set_yscale("log")
        axes.set_ylim(min(values) / 2, max(values) * 2.5)
    else:
        axes.set_ylim(0, max(values) * 1.18)
    axes.yaxis.set_major_formatter(
        lambda value, _: tick(value, panel.unit) if panel.unit in {"s", "J"} else f"{value:g}"
    )
    axes.grid(True, axis="y")
    if len(panel.series) > 1:
        _series_legend(axes, panel)


def _draw_measure(axes: Axes, at: float, width: float, measure: Measure, unit: str, colour: str) -> None:
    if measure.value is None:
        axes.text(at, 0.02, "not run", transform=axes.get_xaxis_transform(), rotation=90, ha="center", color=GREY)
        return
    value = measure.value
    error = value * measure.interval_pct / 100 if measure.interval_pct else 0.0
    axes.bar([at], [value], width=width * 0.92, color=colour)
    if error:
        axes.errorbar([at], [value], yerr=[error], color=BLACK, capsize=3, linewidth=1)
    text = si(value, unit) if unit in {"s", "J"} else f"{value:.3g}"
    axes.annotate(text, (at, value + error), xytext=(0, 3), textcoords="offset points", ha="center", fontsize=9)


def _series_legend(axes: Axes, panel: Panel) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=PHASE_COLOURS.get(name, GREY), label=name) for name in panel.series]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles), fontsize=9)
