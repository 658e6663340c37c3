"""The picture of a study: its Pareto front among all designs, and how the hypervolume grew.

``pareto_data`` computes everything that is shown; ``pareto_figure`` only draws it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.drawing import (
    ACCENT,
    GREY,
    INK,
    as_drawn,
    count_axis,
    frame,
    picture,
    plain_value,
    scale,
    short_path,
    title,
    unit_range,
)  # fmt: skip
from dse.objectives import Floats, Objective
from dse.results import StudyResults
from workloads.errors import ChipsmithError, nearest

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 20_000  # dominated designs that are drawn; more only darken the picture
_LONGEST_LINE = 170


@dataclass(frozen=True)
class ParetoData:
    """What the picture shows.

    Attributes:
        title: study and workload.
        subtitle: sampler, seed, counts, constraints.
        x, y, colour: the three quantities; colour is None where the study measures only two.
        dominated: feasible designs off the front, shape (n, 2), at most ``MOST_POINTS``, evenly chosen.
        left_out: feasible dominated designs that are not shown.
        front: designs of the front, shape (m, 2), in the order of x.
        front_colour: third quantity of the front, shape (m,).
        front_numbers: their design numbers, shape (m,).
        knee: row of the front nearest to its ideal corner, all objectives scaled to the front's extent.
        knee_label: its number and parameters, a line each.
        corner: where the fewest designs are, (0 left or 1 right, 0 bottom or 1 top): room for the label.
        joined: whether the front is a staircase in these two axes (a study of exactly these two objectives).
        evaluations, hypervolume: the curve, shape (k,) each.
        reference: the reference point in words.
        warning: what every reader must know, ``""`` if nothing.
    """

    title: str
    subtitle: str
    x: Objective
    y: Objective
    colour: Objective | None
    dominated: Floats
    left_out: int
    front: Floats
    front_colour: Floats
    front_numbers: NDArray[np.int64]
    knee: int
    knee_label: str
    corner: tuple[int, int]
    joined: bool
    evaluations: NDArray[np.int64]
    hypervolume: Floats
    reference: str
    warning: str


def pareto_data(
    study: StudyResults, x: str | None = None, y: str | None = None, colour: str | None = None
) -> ParetoData:
    """What the picture of a study shows.

    Args:
        study: a study with at least one feasible design.
        x, y: measures on the axes; the first two objectives (or the first and another measure).
        colour: measure that colours the front; the third objective, or another measure.

    Raises:
        ChipsmithError: no feasible design, or an unknown measure.
    """
    trials = study.trials
    if not trials["feasible"].any():
        raise ChipsmithError("study", len(study), "designs and none of them feasible: there is no front to draw")
    axes = _axes(study, x, y, colour)
    numbers = study.front_numbers
    feasible = np.flatnonzero(trials["feasible"].to_numpy())
    others = np.setdiff1d(feasible, numbers)
    shown = others[np.unique(np.linspace(0, len(others) - 1, min(len(others), MOST_POINTS)).astype(np.int64))]
    values = trials[[a.name for a in axes]].to_numpy(dtype=np.float64)
    order = numbers[np.lexsort((values[numbers, 1], values[numbers, 0]))]
    knee = _knee(study.minimised(study.description.objectives, order))
    counts, curve = study.hypervolume_curve()
    return ParetoData(
        title=f"{study.description.chip} · {study.description.work}",
        subtitle=_subtitle(study, len(feasible), len(numbers)),
        x=axes[0],
        y=axes[1],
        colour=axes[2] if len(axes) > 2 else None,
        dominated=values[shown, :2],
        left_out=len(others) - len(shown),
        front=values[order, :2],
        front_colour=values[order, 2] if len(axes) > 2 else np.zeros(len(order)),
        front_numbers=order,
        knee=knee,
        knee_label=_design_label(study, int(order[knee])),
        corner=_emptiest_corner(np.concatenate([values[shown, :2], values[order, :2]])),
        joined={a.name for a in axes[:2]} == set(study.description.objectives),
        evaluations=counts,
        hypervolume=curve,
        reference=", ".join(f"{name} {value:.4g}" for name, value in (study.reference or {}).items()),
        warning=study.description.warning,
    )


def _axes(study: StudyResults, *wanted: str | None) -> list[Objective]:
    """Measures for x, y and colour: those asked for, else objectives, else what is measured besides."""
    known = {m.name: m for m in study.measures}
    for name in wanted:
        if name is not None and name not in known:
            raise ChipsmithError("axis", name, nearest(name, known))
    rest = [*study.description.objectives, "area_mm2", "energy_per_token_j", "latency_s", *known]
    queue = [name for name in dict.fromkeys(rest) if name in known and name not in wanted]
    names = [name if name is not None else queue.pop(0) for name in wanted if name is not None or queue]
    return [known[name] for name in names]


def _subtitle(study: StudyResults, feasible: int, front: int) -> str:
    manifest = study.manifest()
    limits = f"  ·  {manifest['constraints']}" if manifest["constraints"] else ""
    counts = f"{len(study):,} designs, {feasible:,} feasible, {front:,} on the front"
    text = f"{manifest['sampler']}, seed {manifest['seed']}  ·  {counts}{limits}"
    return text if len(text) <= _LONGEST_LINE else text[: _LONGEST_LINE - 2] + " …"


def _knee(front: Floats) -> int:
    """Row nearest to the best corner of the front's bounding box (values to be minimised)."""
    return int(np.argmin(np.linalg.norm(unit_range(as_drawn(front)), axis=1)))


def _emptiest_corner(points: Floats) -> tuple[int, int]:
    """The corner of the picture with the fewest points in a box of about the label's size."""
    x, y = unit_range(as_drawn(points)).T
    boxes = {(right, top): ((x > 0.62) if right else (x < 0.38)) & ((y > 0.7) if top else (y < 0.3))
             for right in (1, 0) for top in (1, 0)}  # fmt: skip
    return min(boxes, key=lambda corner: int(boxes[corner].sum()))


def _design_label(study: StudyResults, number: int) -> str:
    row = study.trials.iloc[number]
    parts = [f"{short_path(p.path)} {plain_value(row[p.path])}" for p in study.description.parameters]
    return f"design {number}\n" + "\n".join(parts)


def pareto_figure(
    study: StudyResults, path: str | Path, x: str | None = None, y: str | None = None, colour: str | None = None
) -> ParetoData:
    """Draw the front of a study into a picture file and return what it shows.

    Args:
        study: as in :func:`pareto_data`, and ``x``, ``y``, ``colour``.
        path: the file; its ending chooses the format (png, svg, pdf).

    Raises:
        ChipsmithError: as :func:`pareto_data`; an unknown file format; the file cannot be written.
    """
    with picture(path, 11.5, 5.6) as figure:
        data = pareto_data(study, x, y, colour)
        _draw(figure, data)
    return data


def _draw(figure: Figure, data: ParetoData) -> None:
    main, side = figure.subplots(1, 2, width_ratios=(2.7, 1))
    _draw_designs(figure, main, data)
    _draw_hypervolume(side, data)
    title(main, data.title, data.subtitle, data.warning)


def _draw_designs(figure: Figure, axes: Axes, data: ParetoData) -> None:
    """Dominated designs in grey, the front on top, coloured by the third quantity."""
    everything = np.concatenate([data.dominated, data.front])
    frame(axes, data.x.axis, data.y.axis)
    scale(axes.set_xscale, axes.xaxis, everything[:, 0])
    scale(axes.set_yscale, axes.yaxis, everything[:, 1])
    _draw_dominated(axes, data)
    x, y = data.front.T
    if data.joined:
        axes.step(x, y, where="post" if data.x.sign > 0 else "pre", color=INK, linewidth=1, alpha=0.55, zorder=2)
    style: dict[str, Any] = {"cmap": "viridis", "s": 46, "edgecolors": "white", "linewidths": 0.7, "zorder": 3}
    points = axes.scatter(x, y, c=data.front_colour, label="Pareto front", **style)
    if data.colour is not None:
        bar = figure.colorbar(points, ax=axes, pad=0.015, aspect=32)
        bar.set_label(data.colour.axis, color=INK)
        bar.ax.spines[:].set_visible(False)
    _draw_knee(axes, data)
    axes.legend(frameon=False, fontsize=9, loc="lower left", bbox_to_anchor=(-0.01, 0.99), ncols=2, borderaxespad=0)


def _draw_dominated(axes: Axes, data: ParetoData) -> None:
    if len(data.dominated) == 0:
        return
    left_out = f" ({data.left_out:,} not drawn)" if data.left_out else ""
    x, y = data.dominated.T
    axes.scatter(x, y, s=9, color=GREY, alpha=0.25, linewidths=0, rasterized=True, label=f"dominated{left_out}")


def _draw_knee(axes: Axes, data: ParetoData) -> None:
    """Ring the knee; its parameters stand in the corner where designs are worst."""
    x, y = (float(v) for v in data.front[data.knee])
    axes.scatter([x], [y], s=150, facecolors="none", edgecolors=ACCENT, linewidths=1.6, zorder=4)
    right, top = data.corner
    axes.annotate(
        data.knee_label,
        (x, y),
        xytext=(0.99 if right else 0.01, 0.985 if top else 0.015),
        textcoords="axes fraction",
        ha="right" if right else "left",
        va="top" if top else "bottom",
        multialignment="left",
        fontsize=8,
        color=INK,
        bbox={"boxstyle": "round,pad=0.5", "facecolor": "white", "edgecolor": ACCENT, "alpha": 0.92},
        arrowprops={"arrowstyle": "-", "color": ACCENT, "alpha": 0.45},
        zorder=5,
    )


def _draw_hypervolume(axes: Axes, data: ParetoData) -> None:
    axes.plot(data.evaluations, data.hypervolume, color=ACCENT, linewidth=1.8)
    axes.fill_between(data.evaluations, data.hypervolume.min(), data.hypervolume, color=ACCENT, alpha=0.12)
    frame(axes, "designs evaluated", "hypervolume")
    count_axis(axes, data.evaluations.astype(np.float64))
    note = "reference point\n" + data.reference.replace(", ", "\n")
    axes.text(0.98, 0.03, note, transform=axes.transAxes, ha="right", fontsize=7.5, color=INK)
