"""The same kernels over arrays of designs: what the explorer calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.chip import ChipTable
from sim.demand import STATUS_TEXT
from sim.engine import Array
from sim.evaluate import evaluate_chips, total_energy_j, utilisation
from sim.mapping import Mapping, load_mapping
from workloads.trace import Trace

#: Fields that decide how a trace is arranged, or which engine takes an operator.
_DECIDES = re.compile(r"^policy\.|\.(max_op_per_byte|device|dtype)$")
_TOTALS = ("latency_s", "energy_j", "area_mm2", "power_w", "utilisation", "status")


@dataclass(frozen=True)
class BatchResult:
    """Totals of n chips on one trace; rows that are illegal hold NaN.

    Attributes:
        latency_s, energy_j, area_mm2, power_w, utilisation: shape (n,).
        status: codes, shape (n,), 0 = ok. reasons: text per code.
    """

    latency_s: Array
    energy_j: Array
    area_mm2: Array
    power_w: Array
    utilisation: Array
    status: Array
    reasons: tuple[str, ...] = STATUS_TEXT


def evaluate(
    table: ChipTable, trace: Trace, mapping: str | Path | Mapping = "auto", fidelity: str = "tile"
) -> BatchResult:
    """Evaluate every chip of the table on the trace; equals :func:`sim.simulate.simulate` bit for bit.

    Args:
        table: n chips.
        trace: a checked trace.
        mapping: as in ``simulate``.
        fidelity: ``bound``, ``tile`` or ``command``.
    """
    given = load_mapping(mapping)
    parts = list(_alike(table))
    if len(parts) == 1:
        return _alike_totals(table, trace, given, fidelity)
    found = [(rows, _alike_totals(part, trace, given, fidelity)) for rows, part in parts]
    columns: dict[str, Any] = {
        name: _merged(table.n, [(rows, getattr(totals, name)) for rows, totals in found]) for name in _TOTALS
    }
    return BatchResult(**columns)


def _alike(table: ChipTable) -> Iterator[tuple[Array, ChipTable]]:
    """(row numbers, table) of the chips that arrange a trace alike and take the same operators."""
    deciding = [path for path in table.columns if _DECIDES.search(path)]
    if not deciding:
        yield np.arange(table.n), table
        return
    combinations = list(zip(*(table.columns[path].tolist() for path in deciding), strict=True))
    for values in dict.fromkeys(combinations):
        rows = np.array([i for i, own in enumerate(combinations) if own == values], np.int64)
        base = table.base.with_fields(dict(zip(deciding, values, strict=True)))
        columns = {path: column[rows] for path, column in table.columns.items() if path not in deciding}
        yield rows, ChipTable(base, columns, n=len(rows))


def _merged(n: int, parts: list[tuple[Array, Array]]) -> Array:
    """One array of n from those of its parts."""
    whole = np.zeros(n, parts[0][1].dtype)
    for rows, values in parts:
        whole[rows] = values
    return whole


def _alike_totals(table: ChipTable, trace: Trace, mapping: Mapping, fidelity: str) -> BatchResult:
    """Totals of chips that differ in nothing that places or arranges operators."""
    evaluation = evaluate_chips(trace, table, mapping, fidelity)
    _, energy = total_energy_j(evaluation)
    latency = evaluation.makespan_s
    area = np.where(np.isnan(latency), np.nan, evaluation.prices.area_mm2)
    return BatchResult(
        latency, energy, area, energy / latency, utilisation(evaluation), evaluation.status.astype(np.int8)
    )
