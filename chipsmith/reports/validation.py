"""The report of a validation: errors by source, predictions against references, the worst records, skips, methods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chipsmith
from chipsmith.reports.page import write_report
from chipsmith.reports.sections import Fact, Facts, Interactive, Section, Table
from chipsmith.reports.style import INK, SOFT, Figure, Trace, axis, escaped, figure, heading, hover, layout
from chipsmith.reports.tables import manifest_table
from chipsmith.validate_output import BAND_PCT, Panel, panels, percent

if TYPE_CHECKING:
    from chipsmith.validate import Comparison, Report, SourceRow

_COLUMNS = 3
_PANEL_PIXELS = 370
_MOST_COMPARISONS = 4000
_NAMED = 2  # worst records of a panel that are named in it
_NAME_LETTERS = 26
_EDGE_PCT = 103.0  # where errors above 100 % are drawn
_BLUE, _RED, _GREY = "#0072B2", "#D55E00", "#9AA5B4"


def write_validation_report(report: Report, path: str | Path, files: Sequence[str | Path] = ()) -> None:
    """Write the report of a validation.

    Args:
        report: as ``chipsmith.validate.compare`` returns it.
        path: of the HTML file.
        files: the reference files, named with the hash of their content.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    sources = dict.fromkeys(row.source for row in report.rows if row.n)
    summary = "Our models against reference records" + (f" of {', '.join(sources)}." if sources else ".")
    write_report(path, validation_sections(report, files), "Validation", summary)


def validation_sections(report: Report, files: Sequence[str | Path] = ()) -> list[Section]:
    """All sections of a validation's report."""
    shown = [panel for panel in panels(report.comparisons) if panel.reference]
    plots: list[Section] = [_scatter_section(shown)] if shown else []
    if any(row.mape_pct is not None for row in report.rows):
        plots.append(_errors_section(report.rows))
    return [
        _facts(report),
        *plots,
        error_table(report.rows),
        worst_table(report.comparisons),
        *_others(report.rows),
        *_skips(report.rows),
        methods_table(report.rows),
        comparison_table(report.comparisons),
        _manifest(files),
    ]


def _facts(report: Report) -> Facts:
    done = [item for item in report.comparisons if not item.skip_reason]
    records = {item.record.where for item in done}
    every = {item.record.where for item in report.comparisons}
    errors = [abs(item.error_pct or 0.0) for item in done if item.kind == "error"]
    exact = sum(error == 0 for error in errors)
    fitted = {name for item in done for name in item.fitted}
    facts = [
        Fact("records compared", f"{len(records):,}", f"of {len(every):,} read"),
        Fact("figures compared", f"{len(done):,}", _sources(done)),
        Fact("exact", f"{exact / max(1, len(errors)):.0%}", f"{exact:,} of {len(errors):,} with no error at all"),
        Fact("constants fitted", str(len(fitted)), ", ".join(sorted(fitted)) or "none"),
        Fact("thresholds missed", str(len(report.misses())), "; ".join(report.misses())),
    ]
    return Facts("In short", facts)


def _sources(done: Sequence[Comparison]) -> str:
    count = len({item.record.source for item in done})
    return f"from {count} source{'' if count == 1 else 's'}"


# ---------------------------------------------------------------- figures


def _scatter_section(shown: Sequence[Panel]) -> Interactive:
    note = (
        f"A point is a record; on the line our model says what the reference says, the grey band is ±{BAND_PCT:g} %. "
        "The records with the largest errors are marked in red and named."
    )
    return Interactive("Predicted against reference", scatter_plot(shown), note)


def scatter_plot(shown: Sequence[Panel]) -> Figure:
    """One log-log panel a source: its records, the diagonal, the band, the worst records named."""
    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    frame = layout(_PANEL_PIXELS * rows + 50, showlegend=False, annotations=[])
    frame["margin"] = {"l": 60, "r": 20, "t": 20, "b": 30}
    traces: list[Trace] = []
    for number, panel in enumerate(shown):
        end = "" if number == 0 else str(number + 1)
        wide, high = 1 / columns, 1 / rows
        left, low = (number % columns) * wide, 1 - (number // columns + 1) * high
        right, top = left + wide * 0.82, low + high * 0.9
        ends = _ends(panel)
        reach = [log10(end) for end in ends]
        every = max(1, round((reach[1] - reach[0]) / 4))
        common: dict[str, Any] = {"type": "log", "range": reach, "exponentformat": "power", "dtick": every}
        frame[f"xaxis{end}"] = axis(f"{panel.metric}, reference", domain=[left, right], anchor=f"y{end}", **common)
        bottom = low + high * 0.19
        frame[f"yaxis{end}"] = axis("predicted", domain=[bottom, top], anchor=f"x{end}", **common)
        title = f"{_short(panel.source)}: {len(panel.reference)} records, {percent(panel.mape_pct)}"
        frame["annotations"].append(heading(title, left, top + 0.012))
        traces += [trace | {"xaxis": f"x{end}", "yaxis": f"y{end}"} for trace in _panel_traces(panel, ends)]
    return figure(traces, frame)


def _ends(panel: Panel) -> tuple[float, float]:
    values = (*panel.reference, *panel.predicted)
    return min(values) / 2, max(values) * 2


def _panel_traces(panel: Panel, ends: tuple[float, float]) -> list[Trace]:
    """Band, diagonal, records, and the worst of them."""
    margin = 1 + BAND_PCT / 100
    low, high = ends
    around = {"x": [low, high, high, low], "y": [low * margin, high * margin, high / margin, low / margin]}
    band = {"type": "scatter", "mode": "lines", **around, "fill": "toself", "fillcolor": "rgba(154,165,180,0.25)",
            "line": {"width": 0}, "hoverinfo": "skip"}  # fmt: skip
    line = {"type": "scatter", "mode": "lines", "x": [low, high], "y": [low, high], "hoverinfo": "skip",
            "line": {"color": SOFT, "width": 1}}  # fmt: skip
    worst = _worst(panel)
    rest = [i for i in range(len(panel.reference)) if i not in worst]
    return [band, line, _records(panel, rest, _BLUE, named=False), _records(panel, worst, _RED, named=True)]


def _error(panel: Panel, at: int) -> float:
    return 100 * (panel.predicted[at] / panel.reference[at] - 1)


def _worst(panel: Panel) -> list[int]:
    """The records with the largest errors, where there is any error worth naming."""
    order = sorted(range(len(panel.reference)), key=lambda at: -abs(_error(panel, at)))
    return [at for at in order[:_NAMED] if abs(_error(panel, at)) > 0.1]


def _records(panel: Panel, chosen: Sequence[int], colour: str, named: bool) -> Trace:
    names = [panel.ids[at] for at in chosen]
    text = [
        hover(name, f"reference {panel.reference[at]:.6g}", f"predicted {panel.predicted[at]:.6g}",
              f"error {_error(panel, at):+.3g} %")
        for name, at in zip(names, chosen, strict=True)
    ]  # fmt: skip
    trace: Trace = {
        "type": "scatter",
        "mode": "markers+text" if named else "markers",
        "x": [panel.reference[at] for at in chosen],
        "y": [panel.predicted[at] for at in chosen],
        "hovertext": text,
        "hoverinfo": "text",
        "marker": {"color": colour, "size": 9 if named else 6, "opacity": 1 if named else 0.65},
    }
    if named:
        words = [f"{escaped(_tail(name))} {_error(panel, at):+.2g} %" for name, at in zip(names, chosen, strict=True)]
        trace |= {"text": words, "textposition": _sides(trace["x"], panel), "textfont": {"size": 10, "color": INK}}
    return trace


def _sides(across: Sequence[float], panel: Panel) -> list[str]:
    """Where a name has room: left of points in the right half of the panel."""
    low, high = _ends(panel)
    middle = (low * high) ** 0.5
    return ["middle left" if x > middle else "middle right" for x in across]


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LETTERS else f"{name[: _NAME_LETTERS - 1]}…"


def _tail(name: str) -> str:
    """The end of a record's id, which is what tells records of one source apart."""
    return name.rpartition("/")[2]


def _errors_section(rows: Sequence[SourceRow]) -> Interactive:
    note = (
        "Blue: mean absolute error of our models. Grey: that of a roofline of the same chip, the least that a model "
        "must beat. Red: the largest error of any record. Beyond 100 % a mark stands "
        "at the edge; point at it for the value."
    )
    return Interactive("Error by source and metric", errors_plot(rows), note)


def errors_plot(rows: Sequence[SourceRow]) -> Figure:
    """Mean, largest and null error, a line a source and metric."""
    done = [row for row in rows if row.mape_pct is not None]
    names = [escaped(f"{_short(row.source)}  {row.metric}  (n={row.n})") for row in done]
    layers = (
        ("roofline, mean error", [row.null_mape_pct for row in done], _GREY, "diamond", 10),
        ("largest error", [row.max_ape_pct for row in done], _RED, "line-ns-open", 14),
        ("mean error", [row.mape_pct for row in done], _BLUE, "circle", 11),
    )
    traces: list[Trace] = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": name,
            "x": [None if value is None else min(value, _EDGE_PCT) for value in values],
            "y": names,
            "customdata": values,
            "marker": {"color": colour, "symbol": symbol, "size": size, "line": {"width": 2, "color": colour}},
            "hovertemplate": f"{name}: %{{customdata:.4g}} %<extra></extra>",
        }
        for name, values, colour, symbol, size in layers
    ]
    widest = max(min(v or 0.0, _EDGE_PCT) for _, values, *_ in layers for v in values)
    frame = layout(
        26 * len(names) + 130,
        xaxis=axis("error (%)", range=[-0.01 * widest, 1.04 * widest]),
        yaxis=axis(autorange="reversed", ticks="", showgrid=True),
    )
    return figure(traces, frame)


# ---------------------------------------------------------------- tables


def error_table(rows: Sequence[SourceRow]) -> Table:
    """Errors, one row per source and metric."""
    columns = (
        "source", "metric", "n", "skipped", "mean error (%)", "bias (%)", "largest (%)", "Kendall's tau",
        "roofline (%)", "fitted constants", "coverage (%)", "worst record",
    )  # fmt: skip
    cells = [
        (
            row.source, row.metric, row.n, row.skipped, row.mape_pct, row.bias_pct, row.max_ape_pct, row.kendall_tau,
            row.null_mape_pct, row.fitted_constants, row.coverage_pct, row.worst_id,
        )
        for row in rows
    ]  # fmt: skip
    note = (
        "Mean error: mean absolute percentage error; bias: the mean with its sign; tau: whether our order of the "
        "records is theirs (1 = the same); roofline: the mean error of a roofline of the same chip."
    )
    return Table("Errors", columns, cells, note)


def worst_table(comparisons: Sequence[Comparison], most: int = 20) -> Table:
    """The largest errors of all."""
    off = [item for item in comparisons if item.kind == "error" and item.error_pct]
    ordered = sorted(off, key=lambda item: -abs(item.error_pct or 0.0))[:most]
    columns = ("source", "metric", "record", "reference", "predicted", "error (%)", "line")
    rows = [
        (item.record.source, item.metric, str(item.record.data["id"]), item.reference, item.predicted, item.error_pct,
         f"{Path(item.record.file).name}:{item.record.line}")
        for item in ordered
    ]  # fmt: skip
    return Table("Worst records", columns, rows)


def _others(rows: Sequence[SourceRow]) -> Iterator[Table]:
    """Comparisons that are no plain errors."""
    sides = [
        (row.source, row.metric, row.n, s.within, s.faster, s.slower, s.below_bound)
        for row in rows
        if (s := row.one_sided) is not None
    ]
    if sides:
        columns = ("source", "metric", "n", "0 to 5 % above", "below", "further above", "below our lower bound")
        note = "Against the larger of the source's value and our lower bound; below the lower bound must be 0."
        yield Table("One-sided comparisons", columns, sides, note)
    ratios = [
        (row.source, row.metric, row.n, r.smallest, r.mean, r.largest, r.above_1)
        for row in rows
        if (r := row.ratio) is not None
    ]
    if ratios:
        yield Table("Ratios", ("source", "ratio", "n", "smallest", "mean", "largest", "above 1"), ratios)


def _skips(rows: Sequence[SourceRow]) -> Iterator[Table]:
    """What was not compared, and why."""
    cells = [
        (row.family, row.source, row.metric, count, reason)
        for row in rows
        for reason, count in row.skip_reasons.items()
    ]
    if cells:
        yield Table("Not compared", ("family", "source", "metric", "records", "why"), cells)


def methods_table(rows: Sequence[SourceRow]) -> Table:
    """How each source was run, and what its translation leaves out."""
    cells = dict.fromkeys(
        (row.source, ", ".join(row.authority), row.fidelity, row.mapping, ", ".join(row.quirks) or None,
         row.fitted_file, row.misses or None)
        for row in rows
        if row.n
    )  # fmt: skip
    columns = ("source", "authority", "fidelity", "mapping", "options in use", "fitted constants from", "not modelled")
    note = "Authority: what the source's own numbers are. A simulated source is another simulator, no silicon."
    return Table("Evidence and methods", columns, list(cells), note)


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Every comparison; where they are very many those with the largest errors."""
    done = [item for item in comparisons if not item.skip_reason]
    if len(done) > _MOST_COMPARISONS:
        done = sorted(done, key=lambda item: -abs(item.error_pct or 0.0))
    columns = ("source", "record", "metric", "reference", "predicted", "error (%)", "roofline's error (%)")
    rows = [
        (item.record.source, str(item.record.data["id"]), item.metric, item.reference, item.predicted, item.error_pct,
         item.null_error_pct)
        for item in done[:_MOST_COMPARISONS]
    ]  # fmt: skip
    left = len(done) - len(rows)
    note = f"The {left:,} with the smallest errors are left out; --output FILE.csv writes all." if left else ""
    return Table("All comparisons", columns, rows, note)


def _manifest(files: Sequence[str | Path]) -> Table:
    """The version, and the reference files by their content."""
    from hashlib import sha256

    facts: dict[str, object] = {"version": chipsmith.__version__}
    for file in files:
        facts[Path(file).name] = sha256(Path(file).read_bytes()).hexdigest()[:16]
    table = manifest_table(facts)
    return Table(table.title, table.columns, table.rows, "First 16 hex digits of the SHA-256 of each reference file.")
