"""Does the search believe what the simulator says? Each design of the front is simulated again, alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Floats
from dse.plan import Plan
from dse.space import Index
from dse.workload import measured, objective_values
from models.chip import Chip
from workloads.errors import ChipsmithError
from workloads.trace import Trace


class SingleTotals(Protocol):
    """Totals of one trace on one chip."""

    @property
    def latency_s(self) -> float:
        """Duration, s."""

    @property
    def energy_j(self) -> float:
        """Energy, J."""

    @property
    def area_mm2(self) -> float:
        """Die area, mm2."""


class Simulator(Protocol):
    """What simulates one chip: ``sim.simulate.simulate`` or a stand-in."""

    def __call__(self, trace: Trace, chip: Chip, mapping: str = "auto", fidelity: str = "tile") -> SingleTotals:
        """Totals of the trace on the chip."""


@dataclass(frozen=True)
class Verification:
    """How far the search's numbers are from those of the simulator.

    Attributes:
        numbers: design numbers, shape (n,).
        differences: largest relative difference over all measures of each design, shape (n,); inf where the
            simulator refuses the design.
        worst: what differs most, or ``""`` where nothing does.
    """

    numbers: NDArray[np.int64]
    differences: Floats
    worst: str

    @property
    def largest_difference(self) -> float:
        """Largest relative difference of any measure of any design; must be 0."""
        return float(self.differences.max(initial=0.0))


def verify_designs(
    plan: Plan,
    numbers: NDArray[np.int64],
    index: Index,
    values: Floats,
    simulator: Simulator | None,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Simulate designs again and compare.

    Args:
        plan: of the study.
        numbers: design numbers, shape (n,).
        index: their index rows, shape (n, parameters).
        values: their measures as the search found them, shape (n, measures).
        simulator: None = ``sim.simulate.simulate``.
        progress: called with (done, all).
    """
    run = simulator or _simulate()
    differences = np.zeros(len(numbers))
    worst, largest = "", 0.0
    for i, row in enumerate(index):
        differences[i], what = _difference(plan, run, row, values[i])
        if differences[i] > largest:
            worst, largest = f"design {numbers[i]}: {what}", float(differences[i])
        if progress is not None:
            progress(i + 1, len(numbers))
    return Verification(numbers, differences, worst)


def _difference(plan: Plan, run: Simulator, row: NDArray[np.int64], searched: Floats) -> tuple[float, str]:
    """Largest relative difference of one design, and the measure that has it."""
    try:
        alone = _alone(plan, run, row)
    except ChipsmithError as error:
        return np.inf, f"the simulator refuses it: {error}"
    known = searched[: len(alone)]  # quality comes from a table, not from the simulator
    scale = np.maximum(np.abs(alone), np.finfo(np.float64).tiny)
    relative = np.where(known == alone, 0.0, np.abs(known - alone) / scale)
    relative = np.where(np.isnan(relative), np.inf, relative)
    at = int(np.argmax(relative))
    return float(relative[at]), f"{plan.names[at]} is {known[at]!r} in the search, {alone[at]!r} alone"


def _alone(plan: Plan, run: Simulator, row: NDArray[np.int64]) -> Floats:
    work, chip = plan.work(plan.space.variants(row[None, :])[0]), plan.space.chip(row)
    phases = [
        _as_arrays(run(trace, chip, mapping=plan.mapping, fidelity=plan.fidelity)) if trace is not None else None
        for trace in (work.prefill, work.decode)
    ]
    values: Floats = objective_values(work.objectives, measured(work, *phases))[0]
    return values


def _as_arrays(totals: SingleTotals) -> Any:
    names = ("latency_s", "energy_j", "area_mm2")
    return SimpleNamespace(**{name: np.asarray([getattr(totals, name)], dtype=np.float64) for name in names})


def _simulate() -> Simulator:
    from sim.simulate import simulate  # compiled kernels: imported when the front is verified

    return simulate
