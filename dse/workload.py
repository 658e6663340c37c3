"""The Workload of a study (a prefill step, decode steps, or both) and its measurement on a table of chips."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Floats, Measured, Objective, computable
from dse.variants import Variant, varied
from models.chip import ChipTable
from workloads.errors import ChipsmithError
from workloads.trace import Trace


class BatchTotals(Protocol):
    """Totals of one trace on n chips; rows with a status other than 0 are infeasible and hold NaN."""

    @property
    def latency_s(self) -> Floats:
        """Shape (n,), s."""

    @property
    def energy_j(self) -> Floats:
        """Shape (n,), J."""

    @property
    def area_mm2(self) -> Floats:
        """Shape (n,), mm2."""

    @property
    def status(self) -> NDArray[np.int8]:
        """Shape (n,): 0 ok, else a reason code."""

    @property
    def reasons(self) -> tuple[str, ...]:
        """Text of each reason code."""


class Evaluator(Protocol):
    """What prices a population: ``sim.batch.evaluate`` or a stand-in."""

    def __call__(self, table: ChipTable, trace: Trace, mapping: str = "auto", fidelity: str = "tile") -> BatchTotals:
        """Totals of the trace on every chip of the table."""


@dataclass(frozen=True)
class Workload:
    """What the designs are to run: a prefill step, then ``decode_steps`` decode steps.

    Attributes:
        prefill: trace of the prompt, or None.
        decode: trace of one representative decode step (at the mean context), or None.
        decode_steps: decode steps of the whole workload; weighs decode against prefill in ``latency_s``,
            ``power_w`` and ``edp_js``.
    """

    prefill: Trace | None = None
    decode: Trace | None = None
    decode_steps: int = 1

    def __post_init__(self) -> None:
        if self.prefill is None and self.decode is None:
            raise ChipsmithError("workload", None, "a workload needs a prefill or a decode trace")
        if self.decode_steps < 1:
            raise ChipsmithError("workload.decode_steps", self.decode_steps, "at least 1")

    @classmethod
    def of(cls, work: Workload | Trace) -> Workload:
        """A workload from a single trace: decode where its rows say so, else prefill."""
        if isinstance(work, Workload):
            return work
        decoding = any(op.phase == "decode" for op in work.ops)
        return cls(decode=work) if decoding else cls(prefill=work)

    def varied(self, variant: Variant) -> Workload:
        """The same work in other number formats, or with other sparsity."""
        prefill, decode = (None if t is None else varied(t, variant) for t in (self.prefill, self.decode))
        return Workload(prefill, decode, self.decode_steps)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of everything in it (16 hex digits)."""
        parts = (self.prefill, self.decode, self.decode_steps)
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """Every objective that it yields."""
        return computable(self.prefill is not None, self.decode is not None)


def step_tokens(trace: Trace | None) -> float:
    """Tokens that one step yields: where drafts are verified those expected, else the most that any operator takes.

    Experts see each token several times, so they don't count.
    """
    if trace is None:
        return 0
    if "expected_tokens" in trace.meta:
        return trace.expected_tokens
    return max((op.tokens for op in trace.ops if not op.per_segment_weights), default=0)


@dataclass(frozen=True)
class Outcomes:
    """Measured designs.

    Attributes:
        values: shape (n, measures); NaN where infeasible.
        status: shape (n,), 0 = the evaluator gave numbers; else its reason code, -1 for a forbidden combination.
        reasons: why a design has no numbers or is not allowed, ``""`` where it is.
        violation: shape (n,), sum of constraint violations; 0 = feasible, inf = no numbers.
    """

    values: Floats
    status: NDArray[np.int16]
    reasons: tuple[str, ...]
    violation: Floats


def measured(workload: Workload, prefill: object, decode: object) -> Measured:
    """Totals of the phases with the workload's token counts (``None`` for a phase it lacks)."""
    return Measured(
        prefill,  # type: ignore[arg-type]  # any object with the three totals: a batch, or a single result's arrays
        decode,  # type: ignore[arg-type]  # the same
        step_tokens(workload.prefill),
        step_tokens(workload.decode),
        workload.decode_steps,
        workload.decode.steps_per_token if workload.decode is not None else 1.0,
    )


def evaluate_phases(
    evaluator: Evaluator, table: ChipTable, workload: Workload, mapping: str, fidelity: str
) -> list[BatchTotals | None]:
    """The evaluator's totals of prefill and decode, None for a phase the workload lacks."""
    return [
        evaluator(table, trace, mapping=mapping, fidelity=fidelity) if trace is not None else None
        for trace in (workload.prefill, workload.decode)
    ]


def joint_status(phases: Sequence[BatchTotals | None], n: int) -> tuple[NDArray[np.int16], list[str]]:
    """Status and reason per design: the first phase that has one."""
    status = np.zeros(n, dtype=np.int16)
    reasons = [""] * n
    for totals in phases:
        if totals is None:
            continue
        fresh = (status == 0) & (np.asarray(totals.status) != 0)
        status = np.where(fresh, np.asarray(totals.status), status).astype(np.int16)
        for row in np.flatnonzero(fresh):
            reasons[row] = _reason(totals, int(row))
    return status, reasons


def _reason(totals: BatchTotals, row: int) -> str:
    code = int(totals.status[row])
    return totals.reasons[code] if 0 <= code < len(totals.reasons) else f"reason {code}"


def objective_values(objectives: Sequence[Objective], totals: Measured) -> Floats:
    """One column an objective, shape (n, objectives)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        columns = [np.asarray(o.compute(totals), dtype=np.float64) for o in objectives if o.compute is not None]
    return np.stack(columns, axis=1)
