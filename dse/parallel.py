"""Parallel coordinates: one axis a parameter or objective, one line a design; which values do good designs share?

``parallel_data`` computes what is shown; ``parallel_figure`` draws it with matplotlib, ``parallel_plot`` makes the
plotly figure that an HTML report embeds (drag along an axis to filter).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.drawing import GREY, INK, picture, plain_value, scale, short_path, spans_far, title, unit_range
from dse.objectives import Floats, Objective
from dse.results import StudyResults
from dse.space import Parameter
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LINES = 600  # dominated designs that are drawn
_MOST_TICKS = 12
_FAN = 0.012  # lines through one value spread by so much of the axis to either side, in the order of their colour


@dataclass(frozen=True)
class Axis:
    """One vertical axis.

    Attributes:
        name: field path or name of the measure.
        label: words under it.
        at: tick positions, 0 (bottom) to 1. texts: what stands there.
        discrete: whether designs lie on the ticks only (a parameter).
    """

    name: str
    label: str
    at: tuple[float, ...]
    texts: tuple[str, ...]
    discrete: bool


@dataclass(frozen=True)
class ParallelData:
    """What the picture shows.

    Attributes:
        title, subtitle, warning: words.
        axes: parameters that take more than one value, then objectives.
        lines: position of each design on each axis, shape (n, axes), 0 to 1; dominated designs first.
        on_front: shape (n,).
        numbers: design numbers, shape (n,).
        colour: the objective that colours the front. colour_values: shape (n,).
        left_out: feasible dominated designs that are not shown.
    """

    title: str
    subtitle: str
    warning: str
    axes: tuple[Axis, ...]
    lines: Floats
    on_front: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    colour: Objective
    colour_values: Floats
    left_out: int


def parallel_data(study: StudyResults) -> ParallelData:
    """What the picture of a study shows.

    Raises:
        ChipsmithError: no feasible design.
    """
    feasible, front = study.feasible_numbers, study.front_numbers
    if len(feasible) == 0:
        raise ChipsmithError("study", len(study), "designs and none of them feasible: there is nothing to draw")
    others = np.setdiff1d(feasible, front)
    shown = others[np.unique(np.linspace(0, len(others) - 1, min(len(others), MOST_LINES)).astype(np.int64))]
    numbers = np.concatenate([shown, front])
    frame = study.frame(numbers)
    varied = [p for p in study.description.parameters if len(p.values) > 1]
    pairs = [_parameter_axis(p, frame[p.path].tolist()) for p in varied]
    pairs += [_measure_axis(o, frame[o.name].to_numpy(dtype=np.float64)) for o in study.objectives]
    colour = study.objectives[0]
    return ParallelData(
        f"{study.description.chip} · {study.description.work}",
        f"{len(front):,} designs of the Pareto front, coloured; {len(shown):,} dominated ones, grey",
        study.description.warning,
        tuple(axis for axis, _ in pairs),
        np.stack([places for _, places in pairs], axis=1),
        np.arange(len(numbers)) >= len(shown),
        numbers,
        colour,
        frame[colour.name].to_numpy(dtype=np.float64),
        len(others) - len(shown),
    )


def _parameter_axis(parameter: Parameter, values: list[Any]) -> tuple[Axis, Floats]:
    """Values evenly spaced in their order."""
    known = sorted(parameter.values) if parameter.ordered else list(parameter.values)
    step = 1 / (len(known) - 1)
    place = {value: i * step for i, value in enumerate(known)}
    ticks = sorted({round(i) for i in np.linspace(0, len(known) - 1, min(len(known), _MOST_TICKS))})
    at = tuple(i * step for i in ticks)
    texts = tuple(plain_value(known[i]) for i in ticks)
    label = short_path(parameter.path).replace(".", "\n")
    return Axis(parameter.path, label, at, texts, True), np.asarray([place[v] for v in values])


def _measure_axis(measure: Objective, values: Floats) -> tuple[Axis, Floats]:
    """A measure from its least to its largest value, logarithmic where it spans far."""
    shown = np.log(values) if spans_far(values) else values
    low, high = float(shown.min()), float(shown.max())
    at = np.linspace(0, 1, 5) if high > low else np.zeros(1)
    marks = low + at * (high - low)
    texts = tuple(f"{np.exp(m) if spans_far(values) else m:.3g}" for m in marks)
    better = "less" if measure.direction == "min" else "more"
    unit = f" ({measure.unit})" if measure.unit else ""
    words = f"{measure.label}{unit}\n{better} is better"
    return Axis(measure.name, words, tuple(at.tolist()), texts, False), unit_range(shown[:, None])[:, 0]


def parallel_figure(study: StudyResults, path: str | Path) -> ParallelData:
    """Draw the designs of a study into a picture file and return what it shows.

    Raises:
        ChipsmithError: as :func:`parallel_data`; an unknown file format; the file cannot be written.
    """
    data = parallel_data(study)
    with picture(path, max(7.0, 1.45 * len(data.axes) + 1.5), 5.4) as figure:
        axes = figure.subplots()
        _draw_lines(axes, data)
        _draw_axes(axes, data)
        bar = figure.colorbar(axes.collections[-1], ax=axes, pad=0.02, aspect=32)
        scale(bar.ax.set_yscale, bar.ax.yaxis, data.colour_values[data.on_front])
        bar.set_label(data.colour.axis, color=INK)
        bar.ax.spines[:].set_visible(False)
        title(axes, data.title, data.subtitle, data.warning)
    return data


def _draw_lines(axes: Axes, data: ParallelData) -> None:
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LogNorm, Normalize

    across = np.arange(len(data.axes))
    places = _fanned(data)
    grey = [np.column_stack([across, line]) for line in places[~data.on_front]]
    axes.add_collection(LineCollection(grey, colors=GREY, alpha=0.13, linewidths=0.7, rasterized=True))
    values = data.colour_values[data.on_front]
    norm = (LogNorm if spans_far(values) else Normalize)(values.min(), values.max())
    front = [np.column_stack([across, line]) for line in places[data.on_front]]
    lines = LineCollection(front, cmap="viridis", norm=norm, alpha=0.85, linewidths=1.5)
    lines.set_array(values)
    axes.add_collection(lines)


def _fanned(data: ParallelData) -> Floats:
    """Lines spread a little where many pass through one value."""
    order = np.argsort(np.argsort(data.colour_values, kind="stable"), kind="stable")
    spread = (order / max(1, len(order) - 1) * 2 - 1) * _FAN
    discrete = np.asarray([axis.discrete for axis in data.axes])
    fanned: Floats = data.lines + np.where(discrete, spread[:, None], 0.0)
    return fanned


def _draw_axes(axes: Axes, data: ParallelData) -> None:
    axes.set_xlim(-0.25, len(data.axes) - 0.6)
    axes.set_ylim(-0.04, 1.04)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    axes.set_xticks(range(len(data.axes)), [axis.label for axis in data.axes], fontsize=8.5, color=INK)
    axes.tick_params(axis="x", length=0)
    for x, axis in enumerate(data.axes):
        axes.axvline(x, color=INK, linewidth=0.9, zorder=3)
        for at, text in zip(axis.at, axis.texts, strict=True):
            box = {"boxstyle": "round,pad=0.12", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
            axes.text(x + 0.04, at, text, fontsize=7.5, color=INK, va="center", zorder=4, bbox=box)


def parallel_plot(study: StudyResults) -> Any:
    """The same as a plotly figure; drag along an axis to keep a range, drag an axis' name to move it.

    Raises:
        ChipsmithError: no feasible design.
    """
    from plotly.graph_objects import Figure, Parcoords

    data = parallel_data(study)
    dimensions = [
        {"label": axis.label.split("\n")[-1 if axis.discrete else 0], "values": data.lines[:, j].tolist(),
         "tickvals": list(axis.at), "ticktext": list(axis.texts), "range": [0, 1]}
        for j, axis in enumerate(data.axes)
    ]  # fmt: skip
    front = {"label": "Pareto front", "values": data.on_front.astype(int).tolist(), "tickvals": [0, 1],
             "ticktext": ["dominated", "front"], "range": [0, 1], "constraintrange": [0.5, 1]}  # fmt: skip
    at = [axis.name for axis in data.axes].index(data.colour.name)
    ticks = {"tickvals": list(data.axes[at].at), "ticktext": list(data.axes[at].texts)}
    line = {
        "color": data.lines[:, at].tolist(),
        "cmin": 0,
        "cmax": 1,
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": {"title": {"text": data.colour.axis, "side": "right"}, **ticks},
    }
    figure = Figure(Parcoords(line=line, dimensions=[*dimensions, front], unselected={"line": {"opacity": 0.05}}))
    figure.update_layout(
        template="plotly_white",
        height=480,
        margin={"l": 110, "r": 30, "t": 60, "b": 30},
        font={"family": "system-ui, Liberation Sans, Arial, sans-serif", "size": 12},
    )
    return figure
