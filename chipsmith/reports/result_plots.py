"""Interactive figures of Results; what they show comes from the same functions as the PNG pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import Any

from chipsmith.reports.style import INK, SOFT, Figure, Trace, axis, escaped, figure, heading, hover, layout
from sim.pictures.breakdown_data import LATENCY, Breakdown
from sim.pictures.comparison_data import Comparison, Panel
from sim.pictures.palette import (
    CYCLE,
    GREY,
    GROUP_COLOURS,
    PHASE_COLOURS,
    SKY,
    kind_colour,
    limit_colours,
)
from sim.pictures.roofline_data import Point, Roofline, roofline_labels
from sim.pictures.timeline_data import Cut, Timeline
from sim.pictures.words import short_name, si, time_unit

_SYMBOLS = {"prefill": "circle", "decode": "square", "mixed": "diamond"}
_ROW_PIXELS = 27
_PREFIXED = ("s", "J")  # units that take SI prefixes
_THIN = 0.005  # share of the axis below which a bar's white edge would hide it


# Roofline


def roofline_plot(datas: Sequence[Roofline]) -> Figure:
    """Operators under the ceilings of their chips.

    One result: a colour a kind of operator. Several: a colour a chip, a symbol a phase, large ones for whole steps.
    """
    single = len(datas) == 1
    chips = list(dict.fromkeys(data.chip for data in datas))
    colours = {chip: INK if single else CYCLE[i % len(CYCLE)] for i, chip in enumerate(chips)}
    low, high, bottom, top = _roofline_frame(datas)
    traces: list[Trace] = []
    for chip in chips:
        traces += _roofs(next(d for d in datas if d.chip == chip), colours[chip], (low, high), single)
    for data in datas:
        traces += _kinds(data) if single else _whole(data, colours[data.chip])
    frame = layout(
        540,
        annotations=_labels(datas[0], high) if single else [],
        xaxis=axis("operations per byte of off-chip traffic", type="log", range=[log10(low), log10(high)], dtick=1),
        yaxis=axis(
            "operations per second",
            type="log",
            range=[log10(bottom), log10(top)],
            dtick=1,
            tickformat="~s",
            ticksuffix="OP/s",
        ),
    )
    return figure(traces, frame)


def _roofline_frame(datas: Sequence[Roofline]) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of axes that hold all points, ridges and ceilings."""
    points = [point for data in datas for point in data.points]
    across = [p.intensity for p in points] + [data.ridge for data in datas if data.ridge]
    up = [p.rate for p in points] + [roof.rate for data in datas for roof in data.compute]
    return min(across) / 3, max(across) * 6, min(p.rate for p in points) / 3, max(up) * 3


def _roofs(data: Roofline, colour: str, ends: tuple[float, float], single: bool) -> list[Trace]:
    """Memory slopes up to the highest ceiling, then the ceilings."""
    low, high = ends
    top = data.compute[0].rate if data.compute else float("inf")
    traces = []
    for memory in data.memory:
        for speed, dash, what in ((memory.peak, "solid", "peak"), (memory.streaming, "dash", "streaming")):
            end = min(high, top / speed)
            name = f"{data.chip} {memory.memory} {what} {si(speed, 'B/s')}"
            traces.append(_line((low, end), (low * speed, end * speed), colour, dash, name, single))
    for roof in data.compute:
        if roof.matrix or single:
            begin = max(low, roof.rate / data.memory[0].peak) if data.memory else low
            name = f"{data.chip} {roof.engine} {roof.formats} {si(roof.rate, 'OP/s')}".replace("  ", " ")
            dash = "solid" if roof.matrix else "dot"
            traces.append(_line((begin, high), (roof.rate, roof.rate), colour, dash, name, single))
    return traces


def _line(
    across: tuple[float, float], up: tuple[float, float], colour: str, dash: str, name: str, single: bool
) -> Trace:
    """A ceiling; points between its ends, so that the pointer finds it anywhere."""
    steps = [i / 12 for i in range(13)]
    x = [across[0] * (across[1] / across[0]) ** t for t in steps]
    y = [up[0] * (up[1] / up[0]) ** t for t in steps]
    line = {"color": colour, "width": 1.6, "dash": dash}
    text = {"name": escaped(name), "hoverinfo": "name", "hoverlabel": {"namelength": -1}}
    return {"type": "scatter", "mode": "lines", "x": x, "y": y, "line": line, "showlegend": False, **text}


def _kinds(data: Roofline) -> list[Trace]:
    """A trace a kind of operator, its points as large as their share of the time."""
    return [
        _points([p for p in data.points if p.kind == kind], kind, kind_colour(kind), "circle")
        for kind in dict.fromkeys(p.kind for p in data.points)
    ]


def _labels(data: Roofline, high: float) -> list[dict[str, Any]]:
    """Names of the operators that take the most time, and of the ceilings at their right end."""
    plain = {"xref": "x", "yref": "y", "font": {"size": 12, "color": INK}}
    arrow = {"showarrow": True, "arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": SOFT, "standoff": 4}
    found = [
        {"text": escaped(f"{label.text} ({label.share:.0%})"), "x": log10(label.intensity), "y": log10(label.rate),
         "ax": 42, "ay": 26 + 16 * (number % 3), "xanchor": "left", **plain, **arrow}
        for number, label in enumerate(roofline_labels(data.points, least_share=0.02, most=6))
    ]  # fmt: skip
    for roof in data.compute:
        words = f"{roof.engine} peak {roof.formats}: {si(roof.rate, 'OP/s')}"
        place = {"x": log10(high), "y": log10(roof.rate), "xanchor": "right", "yanchor": "bottom", "showarrow": False}
        found.append({"text": escaped(words), **place, **plain})
    return found


def _whole(data: Roofline, colour: str) -> list[Trace]:
    """One result among several: its operators as dots, the whole step large."""
    symbol = _SYMBOLS.get(data.phase, "diamond")
    dots = _points(data.points, f"{data.chip} {data.phase} operators", colour, symbol)
    dots["marker"] = {**dots["marker"], "size": 6, "opacity": 0.5}
    dots["showlegend"] = False
    if data.total is None:
        return [dots]
    large = _points([data.total], f"{data.chip} {data.phase}", colour, symbol)
    large["marker"] = {**large["marker"], "size": 15, "opacity": 1, "line": {"color": INK, "width": 1.2}}
    return [dots, large]


def _points(points: Sequence[Point], name: str, colour: str, symbol: str) -> Trace:
    sizes = [max(7.0, 44 * p.share**0.5) for p in points]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": escaped(name),
        "x": [p.intensity for p in points],
        "y": [p.rate for p in points],
        "hovertext": [_point_text(p) for p in points],
        "hoverinfo": "text",
        "marker": {
            "color": colour,
            "symbol": symbol,
            "size": sizes,
            "opacity": 0.8,
            "line": {"color": "white", "width": 1},
        },
    }


def _point_text(point: Point) -> str:
    return hover(
        point.name,
        f"{point.intensity:.4g} operations/byte, {si(point.rate, 'OP/s')}",
        f"{si(point.time_s, 's')}, {point.share:.1%} of the time",
        f"bound by {point.bound_by}",
    )


# Breakdown


def times_plot(data: Breakdown) -> Figure:
    """Time of every operator as one bar: work of its engine, waiting, fixed latency."""
    colours = limit_colours(data)
    unit_s, unit = time_unit(max(bar.total_s for bar in data.times))
    whole = sum(bar.total_s for bar in data.times)
    names = [bar.name for bar in data.times]
    traces = []
    for part, colour in colours.items():
        seconds = [bar.parts_s.get(part, 0.0) for bar in data.times]
        if not any(seconds):
            continue
        words = _part_words(part)
        shares = [f"operator: {si(bar.total_s, 's')}, {bar.total_s / whole:.1%}" for bar in data.times]
        parts = [f"{words}: {si(s, 's')}" for s in seconds]
        text = [hover(*lines) for lines in zip(names, parts, shares, strict=True)]
        traces.append(_bars([s / unit_s for s in seconds], names, colour, words, text))
    frame = layout(
        _ROW_PIXELS * len(names) + 130,
        barmode="stack",
        bargap=0.25,
        xaxis=axis(f"time of all iterations ({unit})", rangemode="tozero"),
        yaxis=axis(autorange="reversed", ticks=""),
    )
    return figure(traces, frame)


def _part_words(part: str) -> str:
    """What a part of an operator's time is spent on."""
    if part == LATENCY:
        return "fixed latency"
    return f"waiting for {part}" if part.startswith("memory:") else f"{part} busy"


def _bars(values: Sequence[float], names: Sequence[str], colour: Any, label: str, text: Sequence[str]) -> Trace:
    return {
        "type": "bar",
        "orientation": "h",
        "x": list(values),
        "y": [escaped(name) for name in names],
        "name": escaped(label),
        "hovertext": list(text),
        "hoverinfo": "text",
        "textposition": "none",
        "marker": {"color": colour},
    }


def costs_plot(data: Breakdown) -> Figure:
    """Energy by component and area by block, largest first."""
    limits = limit_colours(data)
    engines = {name.removeprefix("memory:"): colour for name, colour in limits.items()}
    energy = [GROUP_COLOURS.get(data.energy_group[name], GREY) for name in data.energy_j]
    area = [engines.get(name.split(".")[0], GREY) for name in data.area_mm2]
    left = _cost_bars(data.energy_j, energy, lambda value: si(value, "J"))
    right = {**_cost_bars(data.area_mm2, area, lambda value: f"{value:.4g} mm²"), "xaxis": "x2", "yaxis": "y2"}
    frame = layout(
        _ROW_PIXELS * max(len(data.energy_j), len(data.area_mm2)) + 130,
        showlegend=False,
        bargap=0.25,
        xaxis=axis("energy of a step (J)", domain=[0, 0.44], rangemode="tozero"),
        yaxis=axis(autorange="reversed", ticks=""),
        xaxis2=axis("area (mm²)", domain=[0.58, 1], anchor="y2", rangemode="tozero"),
        yaxis2=axis(autorange="reversed", ticks="", anchor="x2"),
        annotations=[
            heading(f"Energy: {si(data.total_energy_j, 'J')}", 0, 1.01),
            heading(f"Area of the modelled blocks: {data.total_area_mm2:.4g} mm²", 0.58, 1.01),
        ],
    )
    return figure([left, right], frame)


def _cost_bars(values: Mapping[str, float], colours: Sequence[str], words: Any) -> Trace:
    whole = sum(values.values()) or 1.0
    text = [hover(name, f"{words(value)}, {value / whole:.1%}") for name, value in values.items()]
    return _bars(list(values.values()), list(values), list(colours), "", text)


# Timeline


def timeline_plot(data: Timeline) -> Figure:
    """Engines as rows, one iteration of every block; below, the use of every shared resource."""
    unit_s, unit = time_unit(data.span_s)
    rows, uses = len(data.rows), len(data.uses)
    height = 62 * rows + 90 * uses + 130
    split = rows / (rows + 1.45 * uses) if uses else 1.0
    traces = _gantt(data, unit_s)
    frame = layout(
        height,
        barmode="overlay",
        bargap=0.15,
        xaxis=axis(
            f"time within the iterations drawn ({unit}); the whole step takes {si(data.latency_s, 's')}",
            range=[0, data.span_s / unit_s],
            anchor=f"y{uses + 1}" if uses else "y",
        ),
        yaxis=axis(
            domain=[1 - split, 1], categoryorder="array", categoryarray=list(data.rows), autorange="reversed", ticks=""
        ),
        shapes=[_cut_shape(cut, unit_s) for cut in data.cuts],
        annotations=[_cut_text(cut, unit_s, 1 - split / 2) for cut in data.cuts],
    )
    for number, (name, steps) in enumerate(data.uses.items(), 2):
        top = (1 - split) * (1 - (number - 2) / uses) - 0.05
        shares = [*steps.share.clip(0, 1).tolist(), 0.0]
        edges = [edge / unit_s for edge in steps.edges_s.tolist()]
        traces.append(_use(name, edges, shares, f"y{number}"))
        low = (1 - split) * (1 - (number - 1) / uses)
        title = {"text": f"{escaped(name)}<br>in use", "font": {"size": 11}}
        tick: dict[str, Any] = {"tickformat": ".0%", "tickvals": [0, 0.5, 1]}
        frame[f"yaxis{number}"] = axis(domain=[low, top], range=[0, 1.05], **tick) | {"title": title}
    return figure(traces, frame)


def _gantt(data: Timeline, unit_s: float) -> list[Trace]:
    """A trace a kind of operator; a bar an operator."""
    traces = []
    for kind in dict.fromkeys(bar.kind for bar in data.bars):
        bars = [bar for bar in data.bars if bar.kind == kind]
        seconds = [bar.end_s - bar.begin_s for bar in bars]
        text = [hover(bar.name, f"{bar.row}: {si(s, 's')}") for bar, s in zip(bars, seconds, strict=True)]
        trace = _bars([s / unit_s for s in seconds], [bar.row for bar in bars], kind_colour(kind), kind, text)
        trace["base"] = [bar.begin_s / unit_s for bar in bars]
        trace["text"] = [escaped(short_name(bar.name)) for bar in bars]
        trace |= {"textposition": "inside", "insidetextanchor": "middle", "constraintext": "inside"}
        thin = [s < _THIN * data.span_s for s in seconds]
        edges = [kind_colour(kind) if is_thin else "white" for is_thin in thin]
        trace["marker"] = {"color": kind_colour(kind), "line": {"color": edges, "width": 0.8}}
        traces.append(trace)
    return traces


def _use(name: str, edges: Sequence[float], shares: Sequence[float], yaxis: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(edges),
        "y": list(shares),
        "line": {"shape": "hv", "color": "#2b8cc4", "width": 1},
        "fill": "tozeroy",
        "fillcolor": SKY + "99",
        "name": escaped(name),
        "showlegend": False,
        "hovertemplate": f"{escaped(name)} in use: %{{y:.1%}}<extra></extra>",
        "yaxis": yaxis,
    }


def _cut_shape(cut: Cut, unit_s: float) -> dict[str, Any]:
    ends = {"x0": cut.begin_s / unit_s, "x1": cut.end_s / unit_s, "y0": 0, "y1": 1, "xref": "x", "yref": "paper"}
    return {"type": "rect", **ends, "fillcolor": "#e8ebf0", "line": {"color": "#b9c0cb", "width": 1, "dash": "dot"}}


def _cut_text(cut: Cut, unit_s: float, y: float) -> dict[str, Any]:
    text = f"{escaped(cut.block)}: {cut.iterations} more,<br>{si(cut.skipped_s, 's')}"
    place = {"x": (cut.begin_s + cut.end_s) / 2 / unit_s, "y": y, "xref": "x", "yref": "paper"}
    return {"text": text, **place, "textangle": -90, "showarrow": False, "font": {"size": 11, "color": SOFT}}


# Comparison


def comparison_plot(data: Comparison) -> Figure:
    """Chips side by side, a panel a quantity; whiskers show the mean error that validation gives it."""
    rows = -(-len(data.panels) // 2)
    frame = layout(270 * rows + 60, barmode="group", bargap=0.3, annotations=[])
    frame["margin"] = {**frame["margin"], "b": 20}
    traces: list[Trace] = []
    named: set[str] = set()
    for number, panel in enumerate(data.panels):
        left, low = 0.54 * (number % 2), 1 - (number // 2 + 1) / rows
        high = low + 1 / rows
        end = "" if number == 0 else str(number + 1)
        for name in panel.series:
            traces.append(_panel_bars(data, panel, name, number, named))
            named.add(name)
        values = [m.value for row in panel.series.values() for m in row if m.value is not None]
        kind = {"type": "log"} if max(values) > 50 * min(values) > 0 else {"rangemode": "tozero"}
        scaled = panel.unit in _PREFIXED
        frame[f"xaxis{end}"] = axis(domain=[left, left + 0.46], anchor=f"y{end}", ticks="")
        frame[f"yaxis{end}"] = axis(
            "" if scaled else panel.unit,
            domain=[low + 0.2 / rows, high - 0.12 / rows],
            anchor=f"x{end}",
            tickformat="~s" if scaled else "",
            ticksuffix=panel.unit if scaled else "",
            **kind,
        )
        frame["annotations"].append(heading(panel.name, left, high - 0.11 / rows))
    return figure(traces, frame)


def _panel_bars(data: Comparison, panel: Panel, name: str, number: int, named: set[str]) -> Trace:
    """Bars of one phase in one panel."""
    measures = panel.series[name]
    values = [measure.value for measure in measures]
    errors = [(m.value or 0.0) * (m.interval_pct or 0.0) / 100 for m in measures]
    words = [_amount(value, panel.unit) for value in values]
    text = [hover(label.replace("\n", " "), word) for label, word in zip(data.labels, words, strict=True)]
    end = "" if number == 0 else str(number + 1)
    shown = name in PHASE_COLOURS and name not in named
    return {
        "type": "bar",
        "x": [escaped(label).replace("\n", "<br>") for label in data.labels],
        "y": values,
        "name": escaped(name),
        "legendgroup": name,
        "showlegend": shown,
        "error_y": {"type": "data", "array": errors, "color": INK, "thickness": 1.2, "visible": any(errors)},
        "hovertext": text,
        "hoverinfo": "text",
        "marker": {"color": PHASE_COLOURS.get(name, GREY)},
        "xaxis": f"x{end}",
        "yaxis": f"y{end}",
    }


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return "not run"
    return si(value, unit) if unit in _PREFIXED else f"{value:.4g} {unit}"
