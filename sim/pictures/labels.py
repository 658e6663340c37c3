"""Labels of points: put where they cover neither a point, nor a line, nor another text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sim.pictures.canvas import DPI
from sim.pictures.palette import BLACK, GREY
from sim.pictures.roofline_data import Label, Point

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox

#: Where a label may stand relative to its point: right and left of it, below and above, ever further away.
_OFFSETS = tuple(
    (dx * reach, dy * reach, ha, va)
    for reach in (14.0, 25.0, 39.0, 56.0, 77.0, 105.0)
    for dx, dy, ha, va in (
        (1.0, -0.6, "left", "top"),
        (1.0, 0.6, "left", "bottom"),
        (-1.0, 0.6, "right", "bottom"),
        (-1.0, -0.6, "right", "top"),
        (0.0, -1.2, "center", "top"),
        (0.0, 1.2, "center", "bottom"),
    )
)
_SHIFT = {"left": 0.0, "bottom": 0.0, "center": -0.5, "right": -1.0, "top": -1.0}
PIXELS_PER_POINT = DPI / 72
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


def place_labels(axes: Axes, labels: Sequence[Label], points: Sequence[Point]) -> list[Box]:
    """Put every label where it covers neither a point, nor a line, nor another text; leave it out if it can't.

    Returns:
        Boxes of the labels that found a place.
    """
    taken = _taken_boxes(axes, points)
    inside = box_of(axes.get_window_extent())
    placed = []
    for label in labels:
        words = f"{label.text} ({label.share:.0%})"
        wide, high = _text_size(axes, words)
        x, y = axes.transData.transform((label.intensity, label.rate))
        for dx, dy, ha, va in _OFFSETS:
            left = x + dx * PIXELS_PER_POINT + _SHIFT[ha] * wide
            low = y + dy * PIXELS_PER_POINT + _SHIFT[va] * high
            box = (left - 2, low - 2, left + wide + 2, low + high + 2)
            if within(box, inside) and not any(overlap(box, other) for other in taken):
                taken.append(box)
                placed.append(box)
                _annotate(axes, label, words, (dx, dy), ha, va)
                break
    return placed


def _taken_boxes(axes: Axes, points: Sequence[Point]) -> list[Box]:
    """What no label may cover: points, texts, lines and the legend."""
    taken = [point_box(axes, point) for point in points]
    for text in axes.texts:
        taken += along(box_of(text.get_window_extent()), text.get_rotation())
    taken += [box for line in axes.lines for box in _on_line(axes, line)]
    legend = axes.get_legend()
    return [*taken, box_of(legend.get_window_extent())] if legend is not None else taken


def within(box: Box, frame: Box) -> bool:
    """Whether a box lies wholly in a frame."""
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def overlap(a: Box, b: Box) -> bool:
    """Whether two boxes share more than an edge."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def box_of(extent: Bbox) -> Box:
    """The box of a text or a legend, as matplotlib measured it."""
    return (extent.x0, extent.y0, extent.x1, extent.y1)


def _text_size(axes: Axes, words: str) -> tuple[float, float]:
    """Width and height of a label, in pixels."""
    text = axes.text(0.5, 0.5, words, transform=axes.transAxes, fontsize=9)
    extent = text.get_window_extent()
    text.remove()
    return extent.width, extent.height


def _on_line(axes: Axes, line: Line2D) -> list[Box]:
    """Small boxes along a straight line; none for the faint line at the ridge."""
    if line.get_color() == GREY:
        return []
    (x0, y0), (x1, y1) = axes.transData.transform(line.get_xydata())
    pieces = 1 + int(max(abs(x1 - x0), abs(y1 - y0)) / 8)
    middles = ((x0 + (x1 - x0) * i / pieces, y0 + (y1 - y0) * i / pieces) for i in range(pieces + 1))
    return [(x - 3, y - 3, x + 3, y + 3) for x, y in middles]


def along(box: Box, rotation: float) -> list[Box]:
    """A text's box; of a slanted one small boxes along its diagonal, because the whole box is mostly empty."""
    if rotation == 0:
        return [box]
    pieces, size = 24, 14.0
    x0, y0, x1, y1 = box
    steps = ((i + 0.5) / pieces for i in range(pieces))
    middles = ((x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in steps)
    return [(x - size, y - size, x + size, y + size) for x, y in middles]


def _annotate(axes: Axes, label: Label, words: str, offset: tuple[float, float], ha: str, va: str) -> None:
    axes.annotate(
        words,
        (label.intensity, label.rate),
        xytext=offset,
        textcoords="offset points",
        ha=ha,
        va=va,
        fontsize=9,
        color=BLACK,
        zorder=6,
        arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
    )


def point_box(axes: Axes, point: Point) -> Box:
    """Square around a point's marker."""
    x, y = axes.transData.transform((point.intensity, point.rate))
    half = marker_area(point) ** 0.5 / 2 * PIXELS_PER_POINT
    return (x - half, y - half, x + half, y + half)


def marker_area(point: Point) -> float:
    """Marker area in square points: 1600 for an operator that takes all the time, at least 24."""
    return max(24.0, 1600.0 * point.share)
