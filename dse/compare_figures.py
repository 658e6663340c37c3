"""Pictures of several studies: fronts over each other, and hypervolume against the number of designs on one axis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.compare import Comparison, Side
from dse.drawing import GREY, INK, MARKERS, SERIES, WARN, count_axis, frame, picture, scale, title
from dse.objectives import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LEAST_GAP = 1e-6  # of the best hypervolume: closer than this the logarithmic axis ends


def comparison_figure(comparison: Comparison, path: str | Path) -> None:
    """Fronts in the first two objectives, and the way there.

    Raises:
        ChipsmithError: unknown file format; the file cannot be written.
    """
    with picture(path, 11.5, 5.6) as figure:
        main, side = figure.subplots(1, 2, width_ratios=(1.9, 1))
        _draw_fronts(main, comparison)
        _draw_curves(side, comparison)
        names = ", ".join(s.name for s in comparison.sides)
        title(main, f"Pareto fronts of {names}", _reference(comparison), "; ".join(comparison.notes[:1]))


def budget_figure(comparison: Comparison, path: str | Path) -> None:
    """Hypervolume against designs evaluated, and what is still missing to the best that any study reached.

    Raises:
        ChipsmithError: unknown file format; the file cannot be written.
    """
    with picture(path, 11.5, 4.8) as figure:
        left, right = figure.subplots(1, 2)
        _draw_curves(left, comparison)
        _draw_gaps(right, comparison)
        title(left, "Hypervolume against budget", _reference(comparison))


def gaps(comparison: Comparison) -> dict[str, Floats]:
    """Share of the best hypervolume that each study still lacked, along its curve."""
    best = max(float(side.curve[-1]) for side in comparison.sides)
    return {side.name: 1 - side.curve / best for side in comparison.sides}


def _reference(comparison: Comparison) -> str:
    point = ", ".join(f"{name} {value:.4g}" for name, value in comparison.reference.items())
    return f"hypervolume: share of the box up to {point}"


def _style(place: int) -> tuple[str, str]:
    return SERIES[place % len(SERIES)], MARKERS[place % len(MARKERS)]


def _draw_fronts(axes: Axes, comparison: Comparison) -> None:
    x, y = comparison.objectives[0], comparison.objectives[min(1, len(comparison.objectives) - 1)]
    every = np.concatenate([_points(side, comparison) for side in comparison.sides])
    frame(axes, x.axis, y.axis)
    scale(axes.set_xscale, axes.xaxis, every[:, 0])
    scale(axes.set_yscale, axes.yaxis, every[:, 1])
    stairs = len(comparison.objectives) == 2
    for place, side in enumerate(comparison.sides):
        colour, marker = _style(place)
        points = _points(side, comparison)
        label = f"{side.name}: {len(points)} designs, {int(side.on_joint.sum())} of them on the common front"
        if stairs:
            where = "post" if x.sign > 0 else "pre"
            order = np.argsort(points[:, 0], kind="stable")
            axes.step(*points[order].T, where=where, color=colour, linewidth=1.1, alpha=0.6)  # type: ignore[arg-type]  # "pre"
        kept = side.on_joint
        style: dict[str, Any] = {"color": colour, "marker": marker, "s": 42, "zorder": 3}
        axes.scatter(*points[kept].T, edgecolors="white", linewidths=0.6, label=label, **style)
        hollow: dict[str, Any] = {
            "facecolors": "white",
            "edgecolors": colour,
            "marker": marker,
            "s": 30,
            "linewidths": 1.0,
        }
        axes.scatter(*points[~kept].T, **hollow)
    axes.scatter([], [], facecolors="white", edgecolors=GREY, s=30, label="hollow: dominated by another study")
    axes.legend(frameon=False, fontsize=8.5, loc="best")


def _points(side: Side, comparison: Comparison) -> Floats:
    """The front in the first two objectives as they are."""
    signs = np.asarray([o.sign for o in comparison.objectives])
    values = side.values * signs
    return values[:, :2] if values.shape[1] > 1 else np.repeat(values, 2, axis=1)


def _draw_curves(axes: Axes, comparison: Comparison) -> None:
    frame(axes, "designs evaluated", "hypervolume")
    for place, side in enumerate(comparison.sides):
        axes.plot(side.evaluations, side.curve, color=_style(place)[0], linewidth=1.8, label=side.name)
    counts = np.concatenate([side.evaluations for side in comparison.sides]).astype(np.float64)
    count_axis(axes, counts)
    axes.legend(frameon=False, fontsize=8.5, loc="lower right")


def _draw_gaps(axes: Axes, comparison: Comparison) -> None:
    frame(axes, "designs evaluated", "missing to the best hypervolume (%)")
    for place, side in enumerate(comparison.sides):
        missing = 100 * np.maximum(gaps(comparison)[side.name], _LEAST_GAP)
        axes.plot(side.evaluations, missing, color=_style(place)[0], linewidth=1.8, label=side.name)
    count_axis(axes, np.concatenate([side.evaluations for side in comparison.sides]).astype(np.float64))
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.tick_params(colors=INK)
    if comparison.notes:
        axes.text(0.02, 0.02, comparison.notes[0], transform=axes.transAxes, color=WARN, fontsize=8)
