"""The designs of a study as data for a page: compact columns that a browser reads in milliseconds.

Measured values are 32-bit floats, parameters 8-bit codes of their levels (16-bit where a parameter has more than 256),
all little-endian and base64: 100,000 designs of 13 columns are 5 MB. The tables of a report hold all digits.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from chipsmith.reports.sections import Designs
from chipsmith.reports.style import axis, layout
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    import pandas as pd

    from dse.objectives import Objective
    from dse.space import Parameter
    from dse.study import Study

#: Dominated designs that a page holds; a front is always whole.
MOST_DESIGNS = 200_000
_BYTE = 256
_Numbers = NDArray[np.int64]


def designs_section(study: Study, most: int = MOST_DESIGNS) -> Designs:
    """The designs of a study as points and parallel coordinates.

    Args:
        study: with at least two objectives and a feasible design.
        most: dominated designs at most, evenly spaced in the order of the search; the page says how many are left out.

    Raises:
        ChipsmithError: the study has fewer than two objectives, or no feasible design.
    """
    objectives = study.plan.objectives
    if len(objectives) < 2:
        raise ChipsmithError("study.objectives", [o.name for o in objectives], "a scatter needs two objectives")
    trials = study.trials
    if not trials["feasible"].any():
        raise ChipsmithError("study", len(trials), "no design is feasible, so there is no front to show")
    return Designs("Designs and their Pareto front", designs_data(study, trials, most), _note(study))


def _note(study: Study) -> str:
    warning = (
        " Designs of unequal accuracy are compared here without judging it." if study.plan.unchecked_quality else ""
    )
    return (
        "Every point is a design that was evaluated; the coloured ones are the Pareto front, which no other design "
        "beats in every objective. Point at a design to see its parameters, drag to zoom, double-click to zoom out. "
        f"Below, a line is a design; drag along an axis to keep a range, in both figures.{warning}"
    )


def designs_data(study: Study, trials: pd.DataFrame, most: int = MOST_DESIGNS) -> dict[str, Any]:
    """Columns, front and settings of a cloud of designs, as the page's script reads them.

    Args:
        study: whose designs. trials: its ``trials``. most: as in :func:`designs_section`.
    """
    shown, left_out = _shown(trials, study.front_numbers, most)
    rows = trials.iloc[shown]
    measures = _measures(study)
    columns = [_measure_column(rows, m) for m in measures] + _parameter_columns(study, rows)
    objectives = study.plan.objectives
    both_least = len(objectives) == 2 and all(o.direction == "min" for o in objectives)
    return {
        "count": len(rows),
        "left_out": left_out,
        "numbers": _packed(rows["number"].to_numpy(), "<i4"),
        "front": np.flatnonzero(np.isin(shown, study.front_numbers)).tolist(),
        "columns": columns,
        "x": 0,
        "y": 1,
        "colour": 2 if len(measures) > 2 else 1,
        "parallel": [*range(len(measures), len(columns)), *range(len(objectives))],
        "stairs": both_least,
        "axis": axis(exponentformat="SI", nticks=8),
        "layout": layout(540, margin={"l": 70, "r": 20, "t": 14, "b": 56}),
    }


def _measures(study: Study) -> list[Objective]:
    """Objectives first, then what else was measured."""
    objectives = list(study.plan.objectives)
    known = {o.name for o in objectives}
    return objectives + [m for m in study.plan.measures if m.name not in known]


def _shown(trials: pd.DataFrame, front: _Numbers, most: int) -> tuple[_Numbers, int]:
    """Rows that the page holds, in the order of the search, and how many feasible ones it leaves out."""
    feasible = np.flatnonzero(trials["feasible"].to_numpy())
    rest = np.setdiff1d(feasible, front)
    if len(rest) > most:
        rest = rest[np.unique(np.linspace(0, len(rest) - 1, most).astype(np.int64))]
    shown = np.sort(np.concatenate([front, rest]))
    return shown, len(feasible) - len(shown)


def _measure_column(rows: pd.DataFrame, measure: Objective) -> dict[str, Any]:
    data = _packed(rows[measure.name].to_numpy(), "<f4")
    return {"name": measure.name, "label": measure.label, "unit": measure.unit, "data": data}


def _parameter_columns(study: Study, rows: pd.DataFrame) -> list[dict[str, Any]]:
    parameters = study.space.parameters
    labels = short_names([p.path for p in parameters])
    return [_parameter_column(rows[p.path].to_numpy(), p, label) for p, label in zip(parameters, labels, strict=True)]


def _parameter_column(values: NDArray[Any], parameter: Parameter, label: str) -> dict[str, Any]:
    """Codes of levels; numbers are sorted, words keep the order of the space, those without a design left out."""
    if values.dtype.kind in "iuf":
        levels, codes = np.unique(values, return_inverse=True)
        return _coded(parameter.path, label, levels.tolist(), codes)
    words = [str(value) for value in values.tolist()]
    there = set(words)
    known = [word for word in map(str, parameter.values) if word in there]
    code = {word: number for number, word in enumerate(known)}
    return _coded(parameter.path, label, known, np.asarray([code[word] for word in words], dtype=np.int64))


def _coded(path: str, label: str, levels: Sequence[Any], codes: NDArray[Any]) -> dict[str, Any]:
    data = _packed(codes, "<u2" if len(levels) > _BYTE else "u1")
    return {"name": path, "label": label, "unit": "", "levels": list(levels), "data": data}


def short_names(paths: Sequence[str]) -> list[str]:
    """Last parts of parameter paths, with the part before where two would be alike."""
    tails = [path.rpartition(".")[2] for path in paths]
    return [
        tail if tails.count(tail) == 1 else ".".join(path.split(".")[-2:])
        for path, tail in zip(paths, tails, strict=True)
    ]


def _packed(values: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode("ascii")
