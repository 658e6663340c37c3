"""The report of a comparison of chips."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from chipsmith.comparison import Candidate, notes, ratio_rows, results_of, value_rows
from chipsmith.reports.page import write_report
from chipsmith.reports.result_plots import comparison_plot, roofline_plot
from chipsmith.reports.sections import Interactive, Section, Table
from chipsmith.reports.tables import evidence_table, manifest_table
from sim.pictures.comparison_data import comparison_data
from sim.pictures.roofline_data import roofline_data


def write_comparison_report(candidates: Sequence[Candidate], path: str | Path) -> None:
    """Write the report of a comparison.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    results = results_of(candidates)
    workloads = ", ".join(dict.fromkeys(result.trace.name for result in results))
    chips = ", ".join(candidate.chip for candidate in candidates)
    write_report(path, comparison_sections(candidates), f"Chips compared: {workloads}", f"{chips}.")


def comparison_sections(candidates: Sequence[Candidate]) -> list[Section]:
    """Figures, ratios, bars, rooflines, evidence, manifests."""
    results = results_of(candidates)
    rooflines = [data for data in map(roofline_data, results) if data.points]
    ratios = ratio_rows(candidates)
    facts = [
        manifest_table(result.manifest, f"Manifest: {result.trace.name} on {result.chip.name}") for result in results
    ]
    sections: list[Section] = [_table("Figures", value_rows(candidates), _sentences(notes(candidates)))]
    if ratios:
        sections.append(_table("Ratios to the first chip", ratios, "A tie: the error intervals overlap."))
    bars = "Whiskers show the mean error that validation gives the figure, where it was compared."
    sections.append(Interactive("Side by side", comparison_plot(comparison_data(results)), bars))
    if rooflines:
        note = "Large markers are whole steps, small ones operators. On the slope, bandwidth helps; else arithmetic."
        sections.append(Interactive("Rooflines", roofline_plot(rooflines), note))
    return [*sections, evidence_table(results), *facts]


def _sentences(lines: Iterable[str]) -> str:
    return " ".join(f"{line[:1].upper()}{line[1:]}." for line in lines)


def _table(title: str, rows: Sequence[dict[str, Any]], note: str) -> Table:
    return Table(title, list(rows[0]), [list(row.values()) for row in rows], note)
