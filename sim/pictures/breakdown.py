"""Draws where time, energy and area go."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sim.pictures.breakdown_data import LATENCY, Breakdown, TimeBar, breakdown_data
from sim.pictures.canvas import picture
from sim.pictures.palette import GREY, GROUP_COLOURS, limit_colours, text_colour
from sim.pictures.words import si, time_unit
from sim.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch


def breakdown_figure(result: Result, path: str | Path) -> None:
    """Draw where time, energy and area of a result go.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    data = breakdown_data(result)
    tall = max(5.6, 0.34 * len(data.times) + 2.4, 0.3 * (len(data.energy_j) + len(data.area_mm2)) + 2.4)
    with picture(Path(path), 12.0, tall) as figure:
        figure.suptitle(f"Breakdown: {data.title}", x=0.01, ha="left", fontweight="bold", fontsize=12)
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1.0), wspace=0.03, squeeze=False)[0]
        limits, times = left.subplots(2, 1, gridspec_kw={"height_ratios": (0.55, len(data.times))})
        energy, area = right.subplots(
            2, 1, gridspec_kw={"height_ratios": (len(data.energy_j) + 0.6, len(data.area_mm2) + 0.6)}
        )
        colours = limit_colours(data)
        _draw_limits(limits, data, colours)
        _draw_times(times, data, colours)
        _draw_energy(energy, data)
        _draw_area(area, data, {name.removeprefix("memory:"): colour for name, colour in colours.items()})


def _draw_limits(axes: Axes, data: Breakdown, colours: Mapping[str, str]) -> None:
    """One bar of shares: what limits how much of the time."""
    begin = 0.0
    for name, share in data.limits.items():
        axes.barh([0], [share], left=[begin], color=colours[name], edgecolor="white", height=0.8)
        if share >= 0.08:
            text = f"{name} {share:.0%}" if share >= 0.2 else f"{share:.0%}"
            axes.text(begin + share / 2, 0, text, ha="center", va="center", color=text_colour(colours[name]))
        begin += share
    axes.set(xlim=(0, max(begin, 1e-9)), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    axes.set_title("What limits the operators' time")


def _draw_times(axes: Axes, data: Breakdown, colours: Mapping[str, str]) -> None:
    longest = max(bar.total_s for bar in data.times)
    unit_s, unit = time_unit(longest)
    whole = sum(bar.total_s for bar in data.times)
    for row, bar in enumerate(data.times):
        begin = 0.0
        for name, seconds in _in_order(bar, colours):
            axes.barh([row], [seconds / unit_s], left=[begin / unit_s], color=colours[name], height=0.72)
            begin += seconds
        share = f"{si(bar.total_s, 's')}  {bar.total_s / whole:.1%}"
        axes.annotate(share, (begin / unit_s, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(data.times)), [bar.name for bar in data.times])
    axes.set(xlim=(0, longest / unit_s * 1.32), ylim=(len(data.times) - 0.4, -0.6))
    axes.set_xlabel(f"time of all iterations ({unit})")
    axes.set_title(f"Time by operator (step takes {si(data.latency_s, 's')})")
    axes.grid(True, axis="x")
    _part_legend(axes, data, colours)


def _in_order(bar: TimeBar, colours: Mapping[str, str]) -> Iterable[tuple[str, float]]:
    """Engines first, then what memory adds, then latency: the same order in every bar."""
    return ((name, bar.parts_s[name]) for name in colours if name in bar.parts_s)


def _part_legend(axes: Axes, data: Breakdown, colours: Mapping[str, str]) -> None:
    from matplotlib.patches import Patch

    used = {name for bar in data.times for name in bar.parts_s}
    words = {name: f"waiting for {name}" if name.startswith("memory:") else f"{name} busy" for name in used}
    words[LATENCY] = "fixed latency"
    handles = [Patch(color=colour, label=words[name]) for name, colour in colours.items() if name in used]
    axes.legend(handles=handles, loc="lower right", fontsize=9)


def _draw_energy(axes: Axes, data: Breakdown) -> None:
    from matplotlib.patches import Patch

    colours = [GROUP_COLOURS.get(data.energy_group[name], GREY) for name in data.energy_j]
    _plain_bars(axes, data.energy_j, colours, lambda value: si(value, "J"), data.total_energy_j)
    groups = dict.fromkeys(data.energy_group.values())
    handles = [Patch(color=GROUP_COLOURS.get(group, GREY), label=group) for group in groups]
    _legend_under_title(axes, handles)
    axes.set_title(f"Energy by component ({si(data.total_energy_j, 'J')} a step)", pad=24)
    axes.set_xlabel("energy (J)")


def _legend_under_title(axes: Axes, handles: Sequence[Patch]) -> None:
    """One row between title and bars, where it hides nothing."""
    axes.legend(
        handles=list(handles),
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.99),
        ncols=len(handles),
        fontsize=8.5,
        borderaxespad=0.2,
        columnspacing=1.0,
        handlelength=1.2,
        handletextpad=0.5,
    )


def _draw_area(axes: Axes, data: Breakdown, limit_colours: Mapping[str, str]) -> None:
    """Blocks in the colour of their engine, as in the bars of time."""
    colours = [limit_colours.get(name.split(".")[0], GREY) for name in data.area_mm2]
    _plain_bars(axes, data.area_mm2, colours, lambda value: f"{value:.3g} mm²", data.total_area_mm2)
    axes.set_title(f"Area by modelled block ({data.total_area_mm2:.4g} mm²)")
    axes.set_xlabel("area (mm²)")


def _plain_bars(
    axes: Axes, values: Mapping[str, float], colours: Sequence[str], text: Callable[[float], str], total: float
) -> None:
    """Horizontal bars with value and share behind each."""
    axes.barh(range(len(values)), list(values.values()), color=list(colours), height=0.72)
    for row, value in enumerate(values.values()):
        label = f"{text(value)}  {value / total:.1%}"
        axes.annotate(label, (value, row), xytext=(4, 0), textcoords="offset points", va="center", fontsize=9)
    axes.set_yticks(range(len(values)), list(values))
    axes.set(xlim=(0, max(values.values(), default=1.0) * 1.42), ylim=(len(values) - 0.4, -0.6))
    axes.grid(True, axis="x")
