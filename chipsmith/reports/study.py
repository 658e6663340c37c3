"""The report of a study: its figures in short, all designs, the front, how the search went, and the facts behind it."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chipsmith.output import format_cell
from chipsmith.reports.designs import designs_section, short_names
from chipsmith.reports.page import write_report
from chipsmith.reports.sections import Fact, Facts, Interactive, Section, Table
from chipsmith.reports.style import INK, Figure, axis, figure, layout
from chipsmith.reports.tables import manifest_table

if TYPE_CHECKING:
    from dse.study import Study
    from dse.verify import Verification

_MOST_FRONT_ROWS = 2000
_MOST_REASONS = 12
_MOST_LEVELS = 24
_CURVE_POINTS = 60


def write_study_report(study: Study, path: str | Path, verification: Verification | None = None) -> None:
    """Write the report of a study.

    Args:
        study: finished or not, in memory or from its store.
        path: of the HTML file.
        verification: of its front; without one every design of the front is simulated again here.

    Raises:
        ChipsmithError: the path cannot be written.
    """
    work = study.plan.workload
    names = " + ".join(trace.name for trace in (work.prefill, work.decode) if trace is not None)
    title = f"Study of {study.space.base.name}: {names}"
    objectives = ", ".join(f"{o.label} ({o.direction})" for o in study.plan.objectives)
    write_report(path, study_sections(study, verification), title, f"Objectives: {objectives}.")


def study_sections(study: Study, verification: Verification | None = None) -> list[Section]:
    """All sections of a study's report; one without a feasible design says why it has none."""
    if len(study.front_numbers) == 0:
        return [_facts(study, None), *_shared(study)]
    found = study.verify_front() if verification is None else verification
    cloud: list[Section] = [designs_section(study)] if len(study.plan.objectives) > 1 else []
    return [_facts(study, found), *cloud, front_table(study, found), *_curve(study), _intervals(study), *_shared(study)]


def _shared(study: Study) -> list[Section]:
    return [_space_table(study), *_reasons(study), _manifest(study)]


def _manifest(study: Study) -> Table:
    facts = {key.lstrip("_"): value for key, value in study.manifest().items()}
    return manifest_table(facts)


def _facts(study: Study, verification: Verification | None) -> Facts:
    feasible = int(study.trials["feasible"].sum())
    facts = [
        Fact("designs evaluated", f"{len(study):,}", f"of {study.space.size:,} in the space"),
        Fact("feasible", f"{feasible:,}", f"{feasible / max(1, len(study)):.1%} of the evaluated"),
        Fact("on the Pareto front", f"{len(study.front_numbers):,}", ""),
    ]
    if verification is not None:
        largest = verification.largest_difference
        state = "every design of the front simulated again" if largest == 0 else verification.worst
        facts.append(Fact("largest difference", f"{largest:g}", state))
        facts.append(Fact("hypervolume", f"{study.hypervolume():.6g}", _reference_words(study)))
        facts += _ties(study)
    warning = study.plan.description.warning
    return Facts("In short", facts, f"{warning[:1].upper()}{warning[1:]}." if warning else "")


def _ties(study: Study) -> list[Fact]:
    """How many designs can't be told apart from the front, where validation gives an interval."""
    intervals = study.evidence_pct()
    if not intervals:
        return []
    tied = len(study.contenders(intervals))
    words = ", ".join(f"{name} ±{pct:g} %" for name, pct in intervals.items())
    return [Fact("tied with the front", f"{tied:,}", f"dominated designs that {words} can't tell from it")]


def _reference_words(study: Study) -> str:
    point = ", ".join(f"{name} {value:.4g}" for name, value in (study.reference or {}).items())
    return f"of the box up to {point}"


def front_table(study: Study, verification: Verification) -> Table:
    """The front with parameters, measures, ties and what simulating it again gave."""
    intervals = study.evidence_pct()
    front = study.front(intervals if intervals else None)
    front["difference"] = verification.differences
    measures = {m.name: f"{m.label} ({m.unit})" if m.unit else m.label for m in study.plan.measures}
    objectives = [o.name for o in study.plan.objectives]
    paths = [parameter.path for parameter in study.space.parameters]
    ends = [name for name in ("tie", "difference") if name in front]
    order = ["number", *paths, *objectives, *(name for name in measures if name not in objectives), *ends]
    heads = ["number", *short_names(paths), *(measures.get(name, name) for name in order[1 + len(paths) :])]
    rows = [tuple(row[name] for name in order) for row in front.head(_MOST_FRONT_ROWS).to_dict("records")]
    left_out = f" The first {len(rows):,} of {len(front):,} are listed." if len(rows) < len(front) else ""
    note = (
        "Sorted by the first objective; click a heading to sort, or filter with, say, area<600. Designs with the same "
        "number under tie can't be told apart at the error that validation gives; difference is what simulating the "
        f"design again, alone, changed.{left_out}"
    )
    return Table("The Pareto front", heads, rows, note)


def _curve(study: Study) -> list[Section]:
    counts, values = study.hypervolume_curve(_CURVE_POINTS)
    note = f"Volume that the front dominates, {_reference_words(study)}. A curve that still climbs wants more designs."
    plot = hypervolume_plot(counts.tolist(), values.tolist())
    return [Interactive("Hypervolume against designs", plot, note)]


def hypervolume_plot(counts: Sequence[int], values: Sequence[float]) -> Figure:
    """Hypervolume after so many designs."""
    line: dict[str, Any] = {
        "type": "scatter",
        "mode": "lines",
        "x": list(counts),
        "y": list(values),
        "line": {"color": "#0072B2", "width": 2, "shape": "hv"},
        "hovertemplate": "%{x:,} designs: %{y:.6g}<extra></extra>",
    }
    frame = layout(
        360,
        showlegend=False,
        margin={"l": 80, "r": 24, "t": 16, "b": 60},
        xaxis=axis("designs evaluated", rangemode="tozero", tickcolor=INK),
        yaxis=axis("hypervolume"),
    )
    return figure([line], frame)


def _intervals(study: Study) -> Table:
    """What stands behind the objectives."""
    from sim.evidence import evidence_of

    known = evidence_of(study.space.base, study.plan.fidelity)
    rows = [
        (o.label, total, known[total].kind, known[total].interval_pct, known[total].source)
        for o in study.plan.objectives
        for total in o.totals
        if total in known
    ]
    columns = ("objective", "total", "evidence", "mean error (%)", "compared with")
    return Table("Evidence", columns, rows, "A dash: nothing was compared, so no interval is known.")


def _space_table(study: Study) -> Table:
    """The parameters that vary."""
    rows = [
        (p.path, len(p.array), ", ".join(map(format_cell, p.array[:_MOST_LEVELS].tolist())) + _rest(p.array))
        for p in study.space.parameters
    ]
    columns = ("parameter", "levels", "values")
    return Table("The space", columns, rows, f"{study.space.size:,} designs; the base is {study.space.base.name}.")


def _rest(levels: Sized) -> str:
    """What follows the levels that are listed."""
    return f", and {len(levels) - _MOST_LEVELS} more" if len(levels) > _MOST_LEVELS else ""


def _reasons(study: Study) -> list[Section]:
    """Why designs were refused, most frequent first."""
    trials = study.trials
    reasons = trials.loc[~trials["feasible"], "reason"].value_counts()
    if reasons.empty:
        return []
    rows = [(str(reason) or "breaks a constraint", int(count)) for reason, count in reasons.head(_MOST_REASONS).items()]
    return [Table("Designs that are not feasible", ("reason", "designs"), rows)]
