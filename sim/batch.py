"""The same kernels over arrays of designs: what the explorer calls."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.chip import ChipTable
from sim.demand import STATUS_TEXT
from sim.engine import Array
from sim.evaluate import evaluate_chips, total_energy_j, utilisation
from sim.mapping import Mapping, load_mapping
from workloads.trace import Trace


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
    evaluation = evaluate_chips(trace, table, load_mapping(mapping), fidelity)
    _, energy = total_energy_j(evaluation)
    latency = evaluation.makespan_s
    area = np.where(np.isnan(latency), np.nan, evaluation.prices.area_mm2)
    return BatchResult(
        latency, energy, area, energy / latency, utilisation(evaluation), evaluation.status.astype(np.int8)
    )
