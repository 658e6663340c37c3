"""A report as one HTML file that needs no network: tables, pictures, and a figure that can be explored.

A report is a sequence of sections. Everything in them is escaped; pictures are embedded as base64, and plotly's
script once, if there is an interactive figure at all. Same sections, same bytes.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chipsmith
from chipsmith.output import format_cell
from sim.result import Result
from workloads.errors import ChipsmithError
from workloads.files import write_text

if TYPE_CHECKING:
    import pandas as pd

    from dse.study import Study

_PNG = b"\x89PNG\r\n\x1a\n"
_CSS_PIXELS_PER_PNG_PIXEL = 0.5  # pictures are drawn at 160 dpi, for print and dense screens
_DOMINATED_SHOWN = 3000  # points that a browser still pans smoothly without WebGL


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: heading. columns: names with their units. rows: one cell a column; None is shown as a dash.
        note: how to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file, embedded. ``alt`` says in words what it shows; ``note`` how to read it."""

    title: str
    png_path: str | Path
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Interactive:
    """A plotly figure (``plotly.graph_objects.Figure``) with how to read it."""

    title: str
    plotly_figure: Any
    note: str = ""


@dataclass(frozen=True)
class Text:
    """Plain paragraphs, separated by empty lines; no markup."""

    title: str
    text: str
    note: str = ""


Section = Table | Picture | Interactive | Text


@dataclass(frozen=True)
class _Cell:
    text: str
    number: bool


@dataclass(frozen=True)
class _Column:
    name: str
    number: bool


@dataclass(frozen=True)
class _Part:
    """A section as the template takes it."""

    kind: str
    anchor: str
    title: str
    note: str
    columns: Sequence[_Column] = ()
    rows: Sequence[Sequence[_Cell]] = ()
    data: str = ""
    alt: str = ""
    width: int = 0
    height: int = 0
    paragraphs: Sequence[str] = field(default_factory=tuple)


def write_report(
    path: str | Path, sections: Sequence[Section], title: str = "Chipsmith report", summary: str = ""
) -> None:
    """Write a report; the file appears whole or not at all.

    Args:
        path: of the HTML file.
        sections: in order; the headline table comes first.
        title: of the page. summary: one sentence under it.

    Raises:
        ChipsmithError: no section, a row with too many or too few cells, a picture that is no PNG file, or a path
            that cannot be written.
    """
    write_text(path, render_report(sections, title, summary))


def render_report(sections: Sequence[Section], title: str = "Chipsmith report", summary: str = "") -> str:
    """The report's HTML text; see :func:`write_report`."""
    if not sections:
        raise ChipsmithError("sections", None, "a report has at least one section")
    parts = [_part(section, number) for number, section in enumerate(sections)]
    script = _plotly_script() if any(isinstance(section, Interactive) for section in sections) else ""
    text: str = _template().render(
        title=title, summary=summary, parts=parts, script=script, version=chipsmith.__version__
    )
    return text


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    source = (resources.files("chipsmith") / "templates" / "report.html.j2").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(source)


def _part(section: Section, number: int) -> _Part:
    where, anchor = f"sections[{number}]", f"section-{number + 1}"
    if isinstance(section, Table):
        return _table_part(section, anchor, where)
    if isinstance(section, Picture):
        return _picture_part(section, anchor, where)
    if isinstance(section, Interactive):
        data = _plotly_div(section.plotly_figure, f"plot-{number + 1}", where)
        return _Part("interactive", anchor, section.title, section.note, data=data)
    paragraphs = [" ".join(part.split()) for part in section.text.split("\n\n") if part.strip()]
    return _Part("text", anchor, section.title, section.note, paragraphs=paragraphs)


def _table_part(section: Table, anchor: str, where: str) -> _Part:
    for at, row in enumerate(section.rows):
        if len(row) != len(section.columns):
            raise ChipsmithError(f"{where}.rows[{at}]", len(row), f"{len(section.columns)} cells, one a column")
    rows = [[_cell(value) for value in row] for row in section.rows]
    columns = [_Column(str(name), _is_numeric(rows, at)) for at, name in enumerate(section.columns)]
    kind = "table headline" if where == "sections[0]" else "table"
    return _Part(kind, anchor, section.title, section.note, columns=columns, rows=rows)


def _cell(value: object) -> _Cell:
    number = not isinstance(value, (str, bool)) and hasattr(value, "__float__")
    text = format_cell(value)
    return _Cell("" if text == "-" else text, number)


def _is_numeric(rows: Sequence[Sequence[_Cell]], at: int) -> bool:
    """Whether a column holds numbers and nothing else (empty cells aside)."""
    filled = [row[at] for row in rows if row[at].text]
    return bool(filled) and all(cell.number for cell in filled)


def _picture_part(section: Picture, anchor: str, where: str) -> _Part:
    try:
        raw = Path(section.png_path).read_bytes()
    except OSError as error:
        raise ChipsmithError(f"{where}.png_path", str(section.png_path), f"cannot be read: {error.strerror}") from None
    if raw[:8] != _PNG or raw[12:16] != b"IHDR":
        raise ChipsmithError(f"{where}.png_path", str(section.png_path), "a PNG file is needed")
    wide, high = (round(n * _CSS_PIXELS_PER_PNG_PIXEL) for n in struct.unpack(">II", raw[16:24]))
    data = base64.b64encode(raw).decode("ascii")
    return _Part("picture", anchor, section.title, section.note, data=data, alt=section.alt, width=wide, height=high)


# plotly, reached only here


def _plotly_script() -> str:
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _plotly_div(figure: Any, div_id: str, where: str) -> str:
    """The figure without its script; plotly escapes what is in its data."""
    from markupsafe import Markup
    from plotly.io import to_html

    if not hasattr(figure, "to_plotly_json"):
        raise ChipsmithError(f"{where}.plotly_figure", type(figure).__name__, "a plotly figure is needed")
    config = {"responsive": True, "displaylogo": False, "showSendToCloud": False}  # no button that uploads the data
    return Markup(to_html(figure, config, include_plotlyjs=False, full_html=False, div_id=div_id))


# Sections that most reports have


def manifest_table(manifest: Mapping[str, object]) -> Table:
    """Versions and hashes that the figures come from."""
    rows = [(name, "none" if value is None else str(value)) for name, value in manifest.items()]
    note = "Equal hashes of trace, chip, mapping and calibration, at an equal version, give equal numbers to the bit."
    return Table("Manifest", ("what", "value"), rows, note)


def headline_table(results: Sequence[Result]) -> Table:
    """Totals of each result, one row each."""
    columns = (
        "chip", "workload", "latency (ms)", "tokens/s", "energy (mJ/token)", "power (W)", "area (mm²)",
        "utilisation (%)", "bound by",
    )  # fmt: skip
    rows = [
        (
            r.chip.name, r.trace.name, r.latency_s * 1e3, r.tokens_per_s, r.energy_per_token_j * 1e3, r.power_w,
            r.area_mm2, r.utilisation * 100, r.bound_by,
        )
        for r in results
    ]  # fmt: skip
    note = (
        "One step of the workload: a prefill step processes whole prompts (its latency is the time to first token), "
        "a decode step adds one token to every request (its latency is the time per output token)."
    )
    return Table("Totals", columns, rows, note)


def evidence_table(results: Sequence[Result]) -> Table:
    """What stands behind each total."""
    found = dict.fromkeys(
        (r.chip.name, r.fidelity, total, e.kind, e.interval_pct, e.source)
        for r in results
        for total, e in r.evidence.items()
    )
    columns = ("chip", "fidelity", "total", "evidence", "mean error (%)", "compared with")
    note = "The mean absolute error is the one that validation measured for this class of total; a dash: not compared."
    return Table("Evidence", columns, list(found), note)


def operator_table(result: Result) -> Table:
    """Every operator of a result."""
    columns = (
        "operator", "engine", "times", "time each (µs)", "share of time (%)", "GMAC", "DRAM (MB)", "energy (µJ)",
        "bound by",
    )  # fmt: skip
    total_s = sum(op.duration_s * op.count for op in result.ops) or 1.0
    rows = [
        (
            op.name, op.engine, op.count, op.duration_s * 1e6, 100 * op.duration_s * op.count / total_s,
            op.macs / 1e9, (op.bytes.get("dram_read", 0) + op.bytes.get("dram_write", 0)) / 1e6,
            sum(op.energy_pj.values()) / 1e6, op.bound_by,
        )
        for op in result.ops
    ]  # fmt: skip
    note = (
        "Time, work, traffic and energy are of one iteration at a full share of the shared resources; the share of "
        "time counts all iterations. Energy is the dynamic part: leakage, clock and DRAM background are in the totals."
    )
    return Table(f"Operators: {result.trace.name} on {result.chip.name}", columns, rows, note)


_NOTES: Mapping[str, str] = {
    "roofline": "Each point is an operator, its area the share of the time. Points on the slope wait for memory, "
    "points on the flat line for arithmetic; the gap below a line is what tiling, pipeline fill and latency cost.",
    "breakdown": "Left, the time of every operator: work of its engine, what waiting for a shared resource adds, and "
    "fixed latency. Engines run side by side, so the sum can pass the step's time. Right, energy and area.",
    "timeline": "Each block is drawn once; hatched bands stand for its other iterations. Below, how much of each "
    "shared resource is in use.",
    "compare": "Large markers are whole steps. Where a marker lies on the slope, more bandwidth helps; on the flat "
    "line, more arithmetic does.",
    "chips": "Error bars show the mean error that validation gives the total, where it was compared.",
}


def result_sections(results: Sequence[Result], folder: str | Path) -> tuple[Section, ...]:
    """The usual report of some results: totals, pictures, evidence, operators, manifests.

    Args:
        results: at most one per chip, model and phase.
        folder: where the pictures are drawn; they are embedded when the report is written.

    Raises:
        ChipsmithError: no result, or two of the same chip, model and phase.
    """
    if not results:
        raise ChipsmithError("results", None, "at least one result is needed")
    out = Path(folder)
    sections: list[Section] = [headline_table(results)]
    if len(results) > 1:
        sections += _compare_pictures(results, out)
    for number, result in enumerate(results):
        sections += _result_pictures(result, out, number)
    sections.append(evidence_table(results))
    sections += [operator_table(result) for result in results]
    sections += [_named_manifest(result) for result in results]
    return tuple(sections)


def _named_manifest(result: Result) -> Table:
    table = manifest_table(result.manifest)
    return Table(f"Manifest: {result.trace.name} on {result.chip.name}", table.columns, table.rows, table.note)


def _compare_pictures(results: Sequence[Result], folder: Path) -> list[Section]:
    from sim.figures import comparison_figure, roofline_compare_figure

    comparison_figure(results, folder / "comparison.png")
    roofline_compare_figure(results, folder / "roofline_all.png")
    names = ", ".join(dict.fromkeys(result.chip.name for result in results))
    bars, lines = f"Bars: latency, energy per token and area of {names}", f"Rooflines of {names}"
    return [
        Picture("Chips compared", folder / "comparison.png", bars, _NOTES["chips"]),
        Picture("Rooflines compared", folder / "roofline_all.png", lines, _NOTES["compare"]),
    ]


def _result_pictures(result: Result, folder: Path, number: int) -> list[Section]:
    draw = {"roofline": result.roofline, "breakdown": result.breakdown, "timeline": result.timeline}
    what = f"{result.trace.name} on {result.chip.name}"
    pictures: list[Section] = []
    for name, function in draw.items():
        path = folder / f"{name}_{number}.png"
        function(path)
        heading = f"{name.capitalize()}: {what}"
        pictures.append(Picture(heading, path, f"{heading}; {_in_words(result, name)}", _NOTES[name]))
    return pictures


def _in_words(result: Result, name: str) -> str:
    """What a picture shows, for those who can't see it."""
    if name == "breakdown":
        parts = sorted(result.energy_parts_j.items(), key=lambda item: -item[1])[:3]
        return "most energy goes to " + ", ".join(f"{part} ({joule:.3g} J)" for part, joule in parts)
    slowest = sorted(result.ops, key=lambda op: -op.duration_s * op.count)[:3]
    return "most time goes to " + ", ".join(f"{op.name} ({op.bound_by})" for op in slowest)


def pareto_section(study: Study) -> Interactive:
    """The designs of a study as an interactive scatter of its first two objectives.

    The front is complete; of the dominated designs an evenly spaced part is shown where they are many.

    Raises:
        ChipsmithError: the study has fewer than two objectives, or no feasible design.
    """
    objectives = study.plan.objectives
    if len(objectives) < 2:
        raise ChipsmithError("study.objectives", [o.name for o in objectives], "a scatter needs two objectives")
    front, trials = study.front(), study.trials
    if len(front) == 0:
        raise ChipsmithError("study", len(trials), "no design is feasible, so there is no front to show")
    rest = trials[trials["feasible"] & ~trials["number"].isin(front["number"])]
    shown = rest.iloc[:: 1 + len(rest) // _DOMINATED_SHOWN]
    x, y = objectives[0], objectives[1]
    shown_of = f"{len(shown)} of {len(rest)}" if len(shown) < len(rest) else f"all {len(rest)}"
    stairs = len(objectives) == 2 and x.direction == y.direction == "min"
    figure = pareto_scatter(front, shown, (x.name, x.axis), (y.name, y.axis), study.space.paths, stairs)
    note = (
        f"Each point is a design; hover to see its parameters, drag to zoom. Blue: the {len(front)} designs of "
        f"the Pareto front, which no other design beats in every objective; grey: {shown_of} dominated designs."
        + (" Designs of unequal accuracy are compared here without judging it." if study.plan.unchecked_quality else "")
    )
    return Interactive("Pareto front", figure, note)


def pareto_scatter(
    front: pd.DataFrame,
    dominated: pd.DataFrame,
    x: tuple[str, str],
    y: tuple[str, str],
    parameters: Sequence[str],
    stairs: bool = True,
) -> Any:
    """A plotly scatter of a front and the designs it dominates.

    Args:
        front: its designs, at least the columns ``x``, ``y`` and the parameters.
        dominated: other feasible designs, same columns.
        x, y: (column, label with unit).
        parameters: columns that the hover text names.
        stairs: join the front by the stairs that bound what it dominates (two objectives, both minimised).
    """
    from plotly.graph_objects import Figure

    figure = Figure()
    layers = (
        (dominated, "dominated", "#B4BAC4", 6, "markers"),
        (front, "Pareto front", "#0072B2", 10, "lines+markers" if stairs else "markers"),
    )
    for frame, name, colour, size, mode in layers:
        ordered = frame.sort_values([x[0], y[0]])
        figure.add_scatter(
            x=ordered[x[0]].tolist(),
            y=ordered[y[0]].tolist(),
            mode=mode,
            name=name,
            marker={"color": colour, "size": size, "line": {"color": "white", "width": 1}},
            line={"color": colour, "width": 1.5, "shape": "hv"},
            hovertext=[_hover(row, parameters) for row in ordered.to_dict("records")],
        )
    figure.update_layout(
        xaxis_title=x[1],
        yaxis_title=y[1],
        template="plotly_white",
        height=560,
        margin={"l": 70, "r": 20, "t": 30, "b": 60},
        legend={"orientation": "h", "y": 1.06},
        font={"family": "system-ui, Liberation Sans, Arial, sans-serif", "size": 13},
    )
    return figure


def _hover(row: Mapping[Any, Any], parameters: Sequence[str]) -> str:
    """Lines of parameters; plotly reads a little HTML here, so the values are escaped."""
    from markupsafe import escape

    number = [f"design {row['number']}"] if "number" in row else []
    return "<br>".join([*number, *(str(escape(f"{name} = {format_cell(row[name])}")) for name in parameters)])
