"""Draws rooflines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.pictures.canvas import picture, settle, tick
from sim.pictures.labels import along, box_of, marker_area, overlap, place_labels, point_box
from sim.pictures.palette import BLACK, CYCLE, GREY, PHASE_MARKERS, kind_colour
from sim.pictures.roofline_data import Point, Roofline, roofline_data, roofline_labels
from sim.pictures.words import si
from sim.result import Result
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D


def roofline_figure(result: Result, path: str | Path) -> None:
    """Draw the roofline of a result: operators as points of the size of their time, under the chip's ceilings.

    Raises:
        ChipsmithError: no operator has both operations and off-chip traffic, or the path cannot be written.
    """
    data = roofline_data(result)
    _need_points([data])
    with picture(Path(path), 9.0, 6.0) as figure:
        axes = figure.add_subplot()
        axes.set_title(f"Roofline: {data.title}")
        _roofline_frame(axes, [data], room=20)
        _draw_roofs(axes, data, BLACK)
        _draw_ridge(axes, data)
        for kind in dict.fromkeys(p.kind for p in data.points):
            points = [p for p in data.points if p.kind == kind]
            _scatter(axes, points, kind_colour(kind), "o", kind)
        _kind_legend(axes, data)
        settle(figure)
        _roof_labels(axes, data)
        place_labels(axes, roofline_labels(data.points), data.points)


def roofline_compare_figure(results: Sequence[Result], path: str | Path) -> None:
    """Draw several results in one roofline: a colour per chip, a marker per phase, large markers for whole traces.

    Raises:
        ChipsmithError: no results, or one without any operator that has operations and off-chip traffic.
    """
    datas = [roofline_data(result) for result in results]
    _need_points(datas)
    chips = list(dict.fromkeys(data.chip for data in datas))
    colours = {chip: CYCLE[i % len(CYCLE)] for i, chip in enumerate(chips)}
    with picture(Path(path), 9.5, 6.4) as figure:
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
    axes.yaxis.set_major_formatter(lambda value, _: tick(value, "OP/s"))
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
        s=[marker_area(p) for p in points],
        color=colour,
        marker=marker,
        alpha=alpha,
        edgecolors="white",
        linewidths=0.8,
        zorder=4,
        label=label,
    )


def _draw_whole(axes: Axes, data: Roofline, colour: str) -> None:
    """One result of a comparison: its operators as small dots, the whole trace boldly."""
    marker = PHASE_MARKERS.get(data.phase, "D")
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
        marker = PHASE_MARKERS.get(phase, "D")
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
    extent = box_of(words.get_window_extent())
    taken = [point_box(axes, point) for point in points]
    for decades in (0.0, 0.15, 0.3, 0.5, 0.75, 1.0, 1.25, 1.5):
        right, up = (x1 - x0) * decades, (y1 - y0) * decades
        moved = (extent[0] + right, extent[1] + up, extent[2] + right, extent[3] + up)
        if not any(overlap(piece, point) for piece in along(moved, 1.0) for point in taken):
            words.xy = (first * 10**decades, first * 10**decades * bandwidth)
            return
