"""Reports as one HTML file each that need no network: of a run, a study, a validation, or of own sections.

This is the face; the parts are in chipsmith/reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chipsmith.reports.page import render_report, write_report
from chipsmith.reports.result_plots import costs_plot, roofline_plot, timeline_plot, times_plot
from chipsmith.reports.sections import Designs, Fact, Facts, Interactive, Picture, Section, Table, Text
from chipsmith.reports.tables import evidence_table, headline_table, manifest_table, operator_table, result_facts
from sim.pictures.breakdown_data import breakdown_data
from sim.pictures.roofline_data import roofline_data
from sim.pictures.timeline_data import timeline_data
from sim.result import Result
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from chipsmith.validate import Report
    from dse.study import Study
    from dse.verify import Verification

__all__ = [
    "Designs",
    "Fact",
    "Facts",
    "Interactive",
    "Picture",
    "Section",
    "Table",
    "Text",
    "designs_section",
    "evidence_table",
    "headline_table",
    "manifest_table",
    "operator_table",
    "render_report",
    "result_facts",
    "result_sections",
    "write_report",
    "write_run_report",
    "write_study_report",
    "write_validation_report",
]

_NOTES: Mapping[str, str] = {
    "roofline": "Each point is an operator, its area the share of the time. Points on the slope wait for memory, "
    "points on the flat line for arithmetic; the gap below a line is what tiling, pipeline fill and latency cost.",
    "time": "Work of the engine, what waiting for a shared resource adds, and fixed latency. Engines run side by "
    "side, so the sum can pass the step's time.",
    "costs": "Energy of a whole step, leakage and clock included; area of the blocks that are modelled.",
    "timeline": "Each block is drawn once; the shaded bands stand for its other iterations. Below, how much of each "
    "shared resource is in use.",
    "compare": "Large markers are whole steps. Where a marker lies on the slope, more bandwidth helps; on the flat "
    "line, more arithmetic does.",
    "chips": "Error bars show the mean error that validation gives the total, where it was compared.",
}


def write_run_report(result: Result, path: str | Path) -> None:
    """Write the report of one simulation: totals, figures, operators, evidence, manifest.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    sections = [
        result_facts(result),
        *_result_pictures(result),
        operator_table(result),
        evidence_table([result]),
        manifest_table(result.manifest),
    ]
    write_report(path, sections, f"{result.trace.name} on {result.chip.name}", f"Fidelity {result.fidelity}.")


def write_study_report(study: Study, path: str | Path, verification: Verification | None = None) -> None:
    """Write the report of a study; see :func:`chipsmith.reports.study.write_study_report`."""
    from chipsmith.reports.study import write_study_report as write

    write(study, path, verification)


def write_validation_report(report: Report, path: str | Path, files: Sequence[str | Path] = ()) -> None:
    """Write the report of a validation; see :func:`chipsmith.reports.validation.write_validation_report`."""
    from chipsmith.reports.validation import write_validation_report as write

    write(report, path, files)


def designs_section(study: Study) -> Designs:
    """A study's designs as a section; see :func:`chipsmith.reports.designs.designs_section`."""
    from chipsmith.reports.designs import designs_section as section

    return section(study)


def result_sections(results: Sequence[Result], folder: str | Path) -> tuple[Section, ...]:
    """The usual report of some results: totals, figures, evidence, operators, manifests.

    Args:
        results: at most one per chip, model and phase.
        folder: where the pictures that compare several results are drawn; they are embedded in the report.

    Raises:
        ChipsmithError: no result, or two of the same chip, model and phase.
    """
    if not results:
        raise ChipsmithError("results", None, "at least one result is needed")
    out = Path(folder)
    sections: list[Section] = [headline_table(results)]
    if len(results) > 1:
        sections += _compare_pictures(results, out)
    for result in results:
        sections += _result_pictures(result)
    sections.append(evidence_table(results))
    sections += [operator_table(result) for result in results]
    sections += [manifest_table(r.manifest, f"Manifest: {r.trace.name} on {r.chip.name}") for r in results]
    return tuple(sections)


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


def _result_pictures(result: Result) -> list[Section]:
    """The figures of one result; where nothing has both operations and traffic there is no roofline."""
    what = f"{result.trace.name} on {result.chip.name}"
    roofline, breakdown = roofline_data(result), breakdown_data(result)
    found: list[Section] = []
    if roofline.points:
        found.append(Interactive(f"Roofline: {what}", roofline_plot([roofline]), _NOTES["roofline"]))
    return [
        *found,
        Interactive(f"Time by operator: {what}", times_plot(breakdown), _NOTES["time"]),
        Interactive(f"Energy and area: {what}", costs_plot(breakdown), _NOTES["costs"]),
        Interactive(f"Timeline: {what}", timeline_plot(timeline_data(result)), _NOTES["timeline"]),
    ]
