"""The picture of a sensitivity analysis: bars of first-order and total indices with their confidence intervals."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.description import measure
from dse.drawing import ACCENT, GRID, INK, picture, short_path, title
from dse.sensitivity import Sensitivity

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PER_ROW = 4
_LIGHT = "#9cc4d6"
_CAPTION = "share of the variance (Sobol' index), 95 % interval; arrows: where the measure goes as the parameter grows"


def ranked(result: Sensitivity) -> tuple[str, ...]:
    """Parameters by their largest total index over all measures, the strongest first."""
    strength = {path: max(e.total for e in result.effects if e.path == path) for path in result.paths}
    return tuple(sorted(result.paths, key=lambda path: -strength[path]))


def sensitivity_figure(result: Sensitivity, path: str | Path) -> None:
    """Draw one panel a measure: total index light, first-order dark, the parameters in one order everywhere.

    Raises:
        ChipsmithError: unknown file format; the file cannot be written.
    """
    across = min(_PER_ROW, len(result.measures))
    down = -(-len(result.measures) // across)
    with picture(path, 3.4 + 2.7 * across, down * (0.42 * len(result.paths) + 1.3) + 0.9) as figure:
        panels = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).flatten()
        for axes, name in zip(panels, result.measures, strict=False):
            _draw_panel(axes, result, name)
        for axes in panels[len(result.measures) :]:
            axes.set_visible(False)
        panels[0].legend(frameon=False, fontsize=8, loc="lower right")
        figure.supxlabel(_CAPTION, fontsize=9, color=INK)
        title(panels[0], f"{result.chip} · {result.work}", _subtitle(result), result.warning)


def _subtitle(result: Sensitivity) -> str:
    dropped = f", {result.dropped:,} rows with designs that cannot run left out" if result.dropped else ""
    of = "logarithms of the measures · " if result.logarithm else ""
    return f"{of}{result.base_samples:,} base samples, {result.designs:,} designs{dropped}, seed {result.seed}"


def _draw_panel(axes: Axes, result: Sensitivity, name: str) -> None:
    order = ranked(result)
    effects = {effect.path: effect for effect in result.of(name)}
    rows = [effects[path] for path in order]
    place = np.arange(len(rows))
    style: dict[str, Any] = {"linewidth": 1.1, "capsize": 2.2}
    axes.barh(place - 0.19, [e.total for e in rows], 0.36, color=_LIGHT, label="total",
              xerr=[e.total_conf for e in rows], ecolor=INK, error_kw=style)  # fmt: skip
    axes.barh(place + 0.19, [e.first for e in rows], 0.36, color=ACCENT, label="first order",
              xerr=[e.first_conf for e in rows], ecolor=INK, error_kw=style)  # fmt: skip
    axes.set_yticks(place, [short_path(path) for path in order], fontsize=8.5)
    axes.invert_yaxis()
    longest = max(max(e.first + e.first_conf, e.total + e.total_conf) for e in result.effects)
    axes.set_xlim(min(0.0, *(e.first - e.first_conf for e in result.effects)), max(longest, 0.1) * 1.12)
    axes.text(0.5, 1.015, measure(name).axis, transform=axes.transAxes, ha="center", fontsize=9.5, color=INK)
    for at, effect in enumerate(rows):
        axes.text(1.0, at, _arrow(effect.trend), transform=axes.get_yaxis_transform(), va="center", ha="right",
                  fontsize=10, color=INK)  # fmt: skip
    axes.grid(True, axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)


def _arrow(trend: float | None) -> str:
    """Which way a measure goes when the parameter grows; nothing where it hardly does."""
    if trend is None or abs(trend) < 0.05:
        return ""
    return "↗" if trend > 0 else "↘"
