"""Pictures of Results as PNG files: roofline, breakdown, timeline, comparison.

What they show is computed in sim/figure_data.py; here it is only drawn. matplotlib is imported when a picture is
drawn, through its Agg canvas, so nothing depends on a display or changes the user's own figures.

Colours are Okabe and Ito's palette (Color Universal Design, 2008), which readers with any common kind of colour
vision tell apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.figure_data import (
    ENERGY_GROUPS,
    LATENCY,
    Breakdown,
    Comparison,
    Cut,
    Label,
    Measure,
    Panel,
    Point,
    Roofline,
    Steps,
    TimeBar,
    Timeline,
    breakdown_data,
    comparison_data,
    roofline_data,
    roofline_labels,
    short_name,
    si,
    time_unit,
    timeline_data,
)
from sim.result import Result
from workloads.errors import ChipsmithError
from workloads.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.transforms import Bbox

__all__ = [
    "breakdown_data",
    "breakdown_figure",
    "comparison_data",
    "comparison_figure",
    "roofline_compare_figure",
    "roofline_data",
    "roofline_figure",
    "timeline_data",
    "timeline_figure",
]

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, GREY, BLACK = "#56B4E9", "#CC79A7", "#8C8C8C", "#222222"
KIND_COLOURS: Mapping[str, str] = {
    "gemm": BLUE,
    "attention": RED,
    "softmax": PINK,
    "norm": GREEN,
    "elementwise": ORANGE,
    "scan": SKY,
    "gather": GREY,
    "collective": "#5D3A9B",
}
_CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, "#5D3A9B", "#7A6A2B")
_GROUP_COLOURS = dict(zip(ENERGY_GROUPS, (BLUE, GREEN, ORANGE, PINK, GREY), strict=True))
_PHASE_MARKERS = {"prefill": "o", "decode": "s", "mixed": "D"}
_PHASE_COLOURS = {"prefill": BLUE, "decode": ORANGE, "mixed": GREEN}
_DPI = 160
_STYLE: Any = {  # matplotlib types the keys as one Literal of all of its settings
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": BLACK,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,
}


@contextmanager
def _picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches that is written to ``path`` when the block ends well."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI, metadata={"Software": None})


def _settle(figure: Figure) -> None:
    """Fix the layout, so that what is measured now stays where it is."""
    figure.canvas.draw()
    figure.set_layout_engine("none")


def _text_colour(background: str) -> str:
    """Black or white, whichever reads better (ITU-R BT.601 luma)."""
    red, green, blue = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else BLACK


def _tick(value: float, unit: str) -> str:
    """Axis label with as few digits as say it."""
    number, space, rest = si(value, unit).partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + rest


def _kind_colour(kind: str) -> str:
    return KIND_COLOURS.get(kind, "#666666")


# Roofline


def roofline_figure(result: Result, path: str | Path) -> None:
    """Draw the roofline of a result: operators as points of the size of their time, under the chip's ceilings.

    Raises:
        ChipsmithError: no operator has both operations and off-chip traffic, or the path cannot be written.
    """
    data = roofline_data(result)
    _need_points([data])
    with _picture(Path(path), 9.0, 6.0) as figure:
        axes = figure.add_subplot()
        axes.set_title(f"Roofline: {data.title}")
        _roofline_frame(axes, [data], room=20)
        _draw_roofs(axes, data, BLACK)
        _draw_ridge(axes, data)
        for kind in dict.fromkeys(p.kind for p in data.points):
            points = [p for p in data.points if p.kind == kind]
            _scatter(axes, points, _kind_colour(kind), "o", kind)
        _kind_legend(axes, data)
        _settle(figure)
        _roof_labels(axes, data)
        _place_labels(axes, roofline_labels(data.points), data.points)


def roofline_compare_figure(results: Sequence[Result], path: str | Path) -> None:
    """Draw several results in one roofline: a colour per chip, a marker per phase, large markers for whole traces.

    Raises:
        ChipsmithError: no results, or one without any operator that has operations and off-chip traffic.
    """
    datas = [roofline_data(result) for result in results]
    _need_points(datas)
    chips = list(dict.fromkeys(data.chip for data in datas))
    colours = {chip: _CYCLE[i % len(_CYCLE)] for i, chip in enumerate(chips)}
    with _picture(Path(path), 9.5, 6.4) as figure:
        axes = figure.add_subplot()
        models = ", ".join(dict.fromkeys(str(r.trace.meta.get("model") or r.trace.name) for r in results))
        axes.set_title(f"Roofline: {models} on {', '.join(chips)}")
        _roofline_frame(axes, datas, room=4)
        for chip in chips:
            _draw_roofs(axes, _matrix_only(next(d for d in datas if d.chip == chip)), colours[chip])
        for data in datas:
            _draw_whole(axes, data, colours[data.chip])
        _compare_legend(axes, datas, colours)


def _matrix_only(data: Roofline) -> Roofline:
    """Without the ceilings of vector engines, unless there is no other."""
    return replace(data, compute=tuple(roof for roof in data.compute if roof.matrix) or data.compute)


def _need_points(datas: Sequence[Roofline]) -> None:
    if not datas:
        raise ChipsmithError("results", None, "at least one result is needed")
    for data in datas:
        if not data.points:
            raise ChipsmithError("roofline", data.title, "no operator has both operations and off-chip traffic")


def _roofline_frame(axes: Axes, datas: Sequence[Roofline], room: float) -> None:
    """Log axes that hold all points, ridges and ceilings, with a factor of ``room`` to the right."""
    xs = [p.intensity for data in datas for p in data.points] + [d.ridge for d in datas if d.ridge]
    rates = [p.rate for data in datas for p in data.points]
    tops = [roof.rate for data in datas for roof in data.compute]
    axes.set(xscale="log", yscale="log", xlim=(min(xs) / 3, max(xs) * room))
    axes.set_ylim(min(rates) / 3, max(rates + tops) * 3)
    axes.set_xlabel("Arithmetic intensity (operations per byte of off-chip traffic)")
    axes.set_ylabel("Performance (operations per second)")
    axes.yaxis.set_major_formatter(lambda value, _: _tick(value, "OP/s"))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.grid(True, which="major")


def _draw_roofs(axes: Axes, data: Roofline, colour: str) -> None:
    """Memory slopes up to the highest ceiling; compute ceilings from where the fastest memory reaches them."""
    low, high = axes.get_xlim()
    top = data.compute[0].rate if data.compute else axes.get_ylim()[1]
    for memory in data.memory:
        for bandwidth, style in ((memory.peak, "-"), (memory.streaming, "--")):
            end = min(high, top / bandwidth)
            axes.plot([low, end], [low * bandwidth, end * bandwidth], style, color=colour, linewidth=1.4, zorder=2)
    for roof in data.compute:
        begin = roof.rate / data.memory[0].peak if data.memory else low
        style = "-" if roof.matrix else ":"
        axes.plot([max(low, begin), high], [roof.rate] * 2, style, color=colour, linewidth=1.4, zorder=2)


def _draw_ridge(axes: Axes, data: Roofline) -> None:
    if data.ridge is None:
        return
    bottom = axes.get_ylim()[0]
    axes.plot([data.ridge] * 2, [bottom, data.compute[0].rate], ":", color=GREY, linewidth=1.0, zorder=1)
    axes.annotate(
        f"ridge {data.ridge:.3g} OP/byte",
        (data.ridge, bottom),
        xytext=(4, 5),
        textcoords="offset points",
        color="#555555",
        fontsize=9,
    )


def _scatter(
    axes: Axes, points: Sequence[Point], colour: str, marker: str, label: str | None, alpha: float = 0.8
) -> None:
    """Points whose area is their share of the time."""
    axes.scatter(
        [p.intensity for p in points],
        [p.rate for p in points],
        s=[_area(p) for p in points],
        color=colour,
        marker=marker,
        alpha=alpha,
        edgecolors="white",
        linewidths=0.8,
        zorder=4,
        label=label,
    )


def _area(point: Point) -> float:
    """Marker area in square points: 1600 for an operator that takes all the time, at least 24."""
    return max(24.0, 1600.0 * point.share)


def _draw_whole(axes: Axes, data: Roofline, colour: str) -> None:
    """One result of a comparison: its operators as small dots, the whole trace boldly."""
    marker = _PHASE_MARKERS.get(data.phase, "D")
    dots: dict[str, Any] = {"s": 16, "color": colour, "marker": marker, "alpha": 0.45, "linewidths": 0, "zorder": 4}
    axes.scatter([p.intensity for p in data.points], [p.rate for p in data.points], **dots)
    if data.total is not None:
        bold: dict[str, Any] = {
            "s": 100,
            "color": colour,
            "marker": marker,
            "edgecolors": BLACK,
            "linewidths": 1.1,
            "zorder": 5,
        }
        axes.scatter([data.total.intensity], [data.total.rate], **bold)


def _kind_legend(axes: Axes, data: Roofline) -> None:
    """Legend in the upper left corner, above the roof, where no point can be; markers of one size."""
    left = (
        f"; not shown: operators without\noperations or off-chip traffic ({len(data.left_out)})"
        if data.left_out
        else ""
    )
    note = f"area ~ share of time{left}"
    handles = [*axes.get_legend_handles_labels()[0], *_streaming_handles(data)]
    legend = axes.legend(handles=handles, loc="upper left", title=note, title_fontsize=9, fontsize=9, alignment="left")
    for handle in legend.legend_handles:
        if isinstance(handle, _collection()):
            handle.set_sizes([60])


def _streaming_handles(data: Roofline) -> list[Line2D]:
    """Legend entries of the dashed slopes."""
    from matplotlib.lines import Line2D

    slower = [roof for roof in data.memory if roof.streaming < roof.peak]
    labels = [f"{roof.memory} streaming, {roof.streaming / roof.peak:.0%} of peak" for roof in slower]
    return [Line2D([], [], color=BLACK, linestyle="--", linewidth=1.4, label=label) for label in labels]


def _collection() -> type[PathCollection]:
    from matplotlib.collections import PathCollection

    return PathCollection


def _compare_legend(axes: Axes, datas: Sequence[Roofline], colours: Mapping[str, str]) -> None:
    """Chips with their peaks, then the markers of phases and sizes."""
    from matplotlib.lines import Line2D

    handles = []
    for chip, colour in colours.items():
        data = next(data for data in datas if data.chip == chip)
        handles.append(Line2D([], [], color=colour, linewidth=2.5, label=f"{chip}{_peaks_text(data)}"))
    for phase in dict.fromkeys(data.phase for data in datas):
        marker = _PHASE_MARKERS.get(phase, "D")
        whole = Line2D([], [], color="white", marker=marker, markeredgecolor=BLACK, markersize=9, linestyle="none")
        whole.set_label(f"{phase}, whole step (dots: operators)")
        handles.append(whole)
    handles.append(Line2D([], [], color=BLACK, linestyle="--", label="memory when streaming"))
    axes.legend(handles=handles, loc="upper left", fontsize=9)


def _peaks_text(data: Roofline) -> str:
    peaks = [f"{si(roof.rate, 'OP/s')} {roof.formats}".rstrip() for roof in data.compute if roof.matrix]
    return "".join(f", {text}" for text in [*peaks, *(si(roof.peak, "B/s") for roof in data.memory)])


def _roof_labels(axes: Axes, data: Roofline) -> None:
    """Names and figures of the ceilings; memory labels along their slope."""
    high = axes.get_xlim()[1]
    for roof in data.compute:
        text = " ".join(part for part in (roof.engine, "peak", roof.formats) if part)
        axes.annotate(
            f"{text}: {si(roof.rate, 'OP/s')}",
            (high, roof.rate),
            xytext=(-3, 3),
            textcoords="offset points",
            ha="right",
            fontsize=9,
        )
    for memory in data.memory:
        _slope_label(axes, memory.peak, f"{memory.memory} peak {si(memory.peak, 'B/s')}", data.points)


def _slope_label(axes: Axes, bandwidth: float, text: str, points: Sequence[Point]) -> None:
    """Text along a memory slope, above it, as far down as it meets no point."""
    from math import atan2, degrees

    low, bottom = axes.get_xlim()[0], axes.get_ylim()[0]
    first = max(low, bottom / bandwidth) * 1.25
    x0, y0 = axes.transData.transform((first, first * bandwidth))
    x1, y1 = axes.transData.transform((first * 10, first * 10 * bandwidth))
    words = axes.annotate(
        text,
        (first, first * bandwidth),
        xytext=(-2, 4),
        textcoords="offset points",
        rotation=degrees(atan2(y1 - y0, x1 - x0)),
        rotation_mode="anchor",
        fontsize=9,
    )
    extent = _box(words.get_window_extent())
    taken = [_point_box(axes, point) for point in points]
    for decades in (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5):
        right, up = (x1 - x0) * decades, (y1 - y0) * decades
        moved = (extent[0] + right, extent[1] + up, extent[2] + right, extent[3] + up)
        if not any(_overlap(piece, point) for piece in _along(moved, 1.0) for point in taken):
            words.xy = (first * 10**decades, first * 10**decades * bandwidth)
            return


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
_PIXELS_PER_POINT = _DPI / 72
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels


def _place_labels(axes: Axes, labels: Sequence[Label], points: Sequence[Point]) -> list[Box]:
    """Put every label where it covers neither a point, nor a line, nor another text; leave it out if it can't.

    Returns:
        Boxes of the labels that found a place.
    """
    taken = _taken_boxes(axes, points)
    inside = _box(axes.get_window_extent())
    placed = []
    for label in labels:
        words = f"{label.text} ({label.share:.0%})"
        wide, high = _text_size(axes, words)
        x, y = axes.transData.transform((label.intensity, label.rate))
        for dx, dy, ha, va in _OFFSETS:
            left = x + dx * _PIXELS_PER_POINT + _SHIFT[ha] * wide
            low = y + dy * _PIXELS_PER_POINT + _SHIFT[va] * high
            box = (left - 2, low - 2, left + wide + 2, low + high + 2)
            if _within(box, inside) and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                placed.append(box)
                _annotate(axes, label, words, (dx, dy), ha, va)
                break
    return placed


def _taken_boxes(axes: Axes, points: Sequence[Point]) -> list[Box]:
    """What no label may cover: points, texts, lines and the legend."""
    taken = [_point_box(axes, point) for point in points]
    for text in axes.texts:
        taken += _along(_box(text.get_window_extent()), text.get_rotation())
    taken += [box for line in axes.lines for box in _on_line(axes, line)]
    legend = axes.get_legend()
    return [*taken, _box(legend.get_window_extent())] if legend is not None else taken


def _within(box: Box, frame: Box) -> bool:
    return frame[0] <= box[0] and frame[1] <= box[1] and box[2] <= frame[2] and box[3] <= frame[3]


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _box(extent: Bbox) -> Box:
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


def _along(box: Box, rotation: float) -> list[Box]:
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


def _point_box(axes: Axes, point: Point) -> Box:
    """Square around a point's marker."""
    x, y = axes.transData.transform((point.intensity, point.rate))
    half = _area(point) ** 0.5 / 2 * _PIXELS_PER_POINT
    return (x - half, y - half, x + half, y + half)


# Breakdown


def breakdown_figure(result: Result, path: str | Path) -> None:
    """Draw where time, energy and area of a result go.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    data = breakdown_data(result)
    tall = max(5.6, 0.34 * len(data.times) + 2.4, 0.3 * (len(data.energy_j) + len(data.area_mm2)) + 2.4)
    with _picture(Path(path), 12.0, tall) as figure:
        figure.suptitle(f"Breakdown: {data.title}", x=0.01, ha="left", fontweight="bold", fontsize=12)
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1.0), wspace=0.03, squeeze=False)[0]
        limits, times = left.subplots(2, 1, gridspec_kw={"height_ratios": (0.55, len(data.times))})
        energy, area = right.subplots(
            2, 1, gridspec_kw={"height_ratios": (len(data.energy_j) + 0.6, len(data.area_mm2) + 0.6)}
        )
        colours = _limit_colours(data)
        _draw_limits(limits, data, colours)
        _draw_times(times, data, colours)
        _draw_energy(energy, data)
        _draw_area(area, data, {name.removeprefix("memory:"): colour for name, colour in colours.items()})


def _limit_colours(data: Breakdown) -> dict[str, str]:
    """Engines from blue on, memories from orange on, then links, fixed latency grey: one colour per limit."""
    names = {*data.limits, *(name for bar in data.times for name in bar.parts_s)} - {LATENCY}
    memories = sorted(name for name in names if name.startswith("memory:"))
    others = sorted(names - set(memories), key=lambda name: (":" in name, name))
    colours = dict(zip(memories, (ORANGE, RED, "#7A6A2B"), strict=False))
    colours |= dict(zip(others, (BLUE, GREEN, PINK, SKY, "#5D3A9B", "#004D40"), strict=False))
    return {**{name: colours.get(name, "#666666") for name in [*others, *memories]}, LATENCY: "#BBBBBB"}


def _draw_limits(axes: Axes, data: Breakdown, colours: Mapping[str, str]) -> None:
    """One bar of shares: what limits how much of the time."""
    begin = 0.0
    for name, share in data.limits.items():
        axes.barh([0], [share], left=[begin], color=colours[name], edgecolor="white", height=0.8)
        if share >= 0.08:
            text = f"{name} {share:.0%}" if share >= 0.2 else f"{share:.0%}"
            axes.text(begin + share / 2, 0, text, ha="center", va="center", color=_text_colour(colours[name]))
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

    colours = [_GROUP_COLOURS.get(data.energy_group[name], GREY) for name in data.energy_j]
    _plain_bars(axes, data.energy_j, colours, lambda value: si(value, "J"), data.total_energy_j)
    groups = dict.fromkeys(data.energy_group.values())
    handles = [Patch(color=_GROUP_COLOURS.get(group, GREY), label=group) for group in groups]
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


# Timeline


def timeline_figure(result: Result, path: str | Path) -> None:
    """Draw one iteration of every block: engines as rows, then the use of every shared resource.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    data = timeline_data(result)
    unit_s, unit = time_unit(data.span_s)
    heights = (0.75 * len(data.rows) + 0.2, *(0.75 for _ in data.uses))
    with _picture(Path(path), 12.0, sum(heights) + 1.7) as figure:
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
        _settle(figure)
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
            color=_kind_colour(bar.kind),
            edgecolor=_kind_colour(bar.kind) if thin else "white",
            linewidth=0.8 if thin else 0.5,
        )
    axes.set_yticks(range(len(data.rows)), data.rows)
    axes.set_ylim(len(data.rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    kinds = dict.fromkeys(bar.kind for bar in data.bars)
    handles = [Patch(color=_kind_colour(kind), label=kind) for kind in kinds]
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
            color=_text_colour(_kind_colour(bar.kind)),
        )
        if text.get_window_extent(renderer).width + 4 <= width:
            continue
        text.set_rotation(90)
        box = text.get_window_extent(renderer)
        if box.width + 2 > width or box.height + 2 > height:
            text.remove()


# Comparison


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
    with _picture(Path(path), width, 3.1 * rows + 0.5) as figure:
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
        colour = _PHASE_COLOURS.get(name, GREY)
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
        lambda value, _: _tick(value, panel.unit) if panel.unit in {"s", "J"} else f"{value:g}"
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

    handles = [Patch(color=_PHASE_COLOURS.get(name, GREY), label=name) for name in panel.series]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=len(handles), fontsize=9)
