"""The plan of a study: what is varied, measured, wanted and forbidden, checked once; and how a population is judged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.constraints import Constraint, parse_constraint
from dse.description import KEY, Description
from dse.objectives import OBJECTIVES, Floats, Objective, objective
from dse.quality import METRICS, QualityTable, check_iso_quality
from dse.space import Index, Space, field_lookup, total_violation
from dse.variants import AS_GIVEN, Variant
from dse.workload import (
    Evaluator,
    Outcomes,
    Workload,
    evaluate_phases,
    joint_status,
    measured,
    objective_values,
)
from models.chip import ChipTable, get_field
from workloads.errors import ChipsmithError, nearest

FORBIDDEN = -1  # status of a design that a constraint over fields forbids


@dataclass(frozen=True)
class Plan:
    """A checked description of a study. Made by :func:`make_plan`.

    Attributes:
        space: what varies.
        workload: what runs.
        objectives: what is optimised, in the user's order.
        constraints: those of the space and of the study.
        quality: quality table, if any.
        iso_quality: ``required`` or ``none``.
        evaluator: prices a population; None = ``sim.batch.evaluate``.
        mapping, fidelity: passed to the evaluator.
    """

    space: Space
    workload: Workload
    objectives: tuple[Objective, ...]
    constraints: tuple[Constraint, ...]
    quality: QualityTable | None
    iso_quality: str
    evaluator: Evaluator | None
    mapping: str
    fidelity: str

    @cached_property
    def measures(self) -> tuple[Objective, ...]:
        """Everything that is stored of a design: all that the workload yields, and quality."""
        return (*self.workload.objectives, *([self.quality.metric] if self.quality else []))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the measures."""
        return tuple(m.name for m in self.measures)

    @cached_property
    def columns(self) -> NDArray[np.int64]:
        """Columns of the measures that are objectives."""
        return np.asarray([self.names.index(o.name) for o in self.objectives], dtype=np.int64)

    @cached_property
    def signs(self) -> Floats:
        """Factor per objective that makes it a quantity to minimise."""
        return np.asarray([o.sign for o in self.objectives])

    @cached_property
    def structural(self) -> tuple[Constraint, ...]:
        """Constraints over fields alone: checked before a design is simulated."""
        return tuple(c for c in self.constraints if not set(c.names) & set(self.names))

    @property
    def unchecked_quality(self) -> bool:
        """Whether designs of unequal accuracy are compared without judging it; every figure says so."""
        return bool(self.space.varied_precision) and self.iso_quality == "none"

    @property
    def description(self) -> Description:
        """What a reader of the study is told."""
        work = (self.workload.prefill, self.workload.decode)
        return Description(
            self.space.base.name,
            self.space.base.to_yaml(),
            self.space.name,
            " + ".join(trace.name for trace in work if trace is not None),
            self.space.parameters,
            self.names,
            tuple(o.name for o in self.objectives),
            self.fidelity,
            self.space.varied_precision if self.unchecked_quality else (),
        )

    def evaluate(self, index: Index) -> Outcomes:
        """Simulate designs and judge them.

        Raises:
            ChipsmithError: the evaluator gave a number that is not finite for a design it called legal.
        """
        values = np.full((len(index), len(self.measures)), np.nan)
        status = np.full(len(index), FORBIDDEN, dtype=np.int16)
        reasons = [""] * len(index)
        allowed = np.flatnonzero(self._structural_violation(index) == 0)
        if len(allowed):
            values[allowed], status[allowed], texts = self._simulate(index[allowed])
            for row, text in zip(allowed, texts, strict=True):
                reasons[row] = text
        return self.judge(index, values, status, reasons)

    def _simulate(self, index: Index) -> tuple[Floats, NDArray[np.int16], list[str]]:
        variants = self.space.variants(index)
        values = np.full((len(index), len(self.workload.objectives)), np.nan)
        status = np.zeros(len(index), dtype=np.int16)
        reasons = [""] * len(index)
        for variant, rows in _grouped(variants).items():
            values[rows], status[rows], texts = self._simulate_work(index[rows], self.work(variant))
            for row, reason in zip(rows, texts, strict=True):
                reasons[row] = reason
        if self.quality is not None:
            values = np.column_stack([values, self.quality.values(self.space, index)])
        return values, status, reasons

    def _simulate_work(self, index: Index, work: Workload) -> tuple[Floats, NDArray[np.int16], list[str]]:
        """One workload on some designs."""
        table = self.space.decode(index)
        phases = evaluate_phases(self.evaluator or _batch(), table, work, self.mapping, self.fidelity)
        status, reasons = joint_status(phases, len(index))
        return objective_values(work.objectives, measured(work, *phases)), status, reasons

    def work(self, variant: Variant) -> Workload:
        """The workload as a design wants it, made once."""
        if variant not in self._works:
            self._works[variant] = self.workload.varied(variant)
        return self._works[variant]

    @cached_property
    def _works(self) -> dict[Variant, Workload]:
        return {AS_GIVEN: self.workload}

    def _structural_violation(self, index: Index) -> Floats:
        return total_violation(self.structural, field_lookup(self.space.decode(index)), len(index))

    def judge(self, index: Index, values: Floats, status: NDArray[np.int16], reasons: Sequence[str]) -> Outcomes:
        """Apply the constraints to measured values.

        Args:
            index: designs, shape (n, parameters).
            values: shape (n, measures).
            status: shape (n,), 0 = has numbers.
            reasons: per design, why it has no numbers.

        Raises:
            ChipsmithError: a needed value is not finite although the status is 0.
        """
        self._check_finite(index, values, status)
        values = np.where((status == 0)[:, None], values, np.nan)
        lookup = self._lookup(self.space.decode(index), values)
        parts = [constraint.violation(lookup) for constraint in self.constraints]
        violation = np.sum(parts, axis=0) if parts else np.zeros(len(index))
        texts = list(reasons)
        for constraint, part in zip(self.constraints, parts, strict=True):
            for row in np.flatnonzero((part > 0) & (status <= 0)):
                texts[row] = texts[row] or f"violates {constraint.text}"
        return Outcomes(values, status, tuple(texts), np.where(status == 0, violation, np.inf))

    def _lookup(self, table: ChipTable, values: Floats) -> Any:
        fields = field_lookup(table)
        return lambda name: values[:, self.names.index(name)] if name in self.names else fields(name)

    def _check_finite(self, index: Index, values: Floats, status: NDArray[np.int16]) -> None:
        needed = {o.name for o in self.objectives} | {name for c in self.constraints for name in c.names}
        for column, name in enumerate(self.names):
            if name not in needed:
                continue
            bad = np.flatnonzero((status == 0) & ~np.isfinite(values[:, column]))
            if len(bad):
                design = self.space.design(index[bad[0]])
                named = ", ".join(f"{path}={value}" for path, value in design.items())
                legal = "the evaluator must give a finite number, or a status that says why not"
                raise ChipsmithError(f"{name} of design {named}", float(values[bad[0], column]), legal)

    def manifest(self, sampler: str, seed: int) -> dict[str, str]:
        """Facts that a resumed study must share; those with a leading ``_`` are for the reader."""
        return {
            "space": self.space.fingerprint,
            "workload": self.workload.fingerprint,
            "objectives": ", ".join(o.name for o in self.objectives),
            "constraints": "; ".join(c.text for c in self.constraints),
            "quality": self.quality.fingerprint if self.quality else "none",
            "iso_quality": self.iso_quality,
            "sampler": sampler,
            "seed": str(seed),
            "evaluation": f"{_name_of(self.evaluator)}, mapping {self.mapping}, fidelity {self.fidelity}",
            "model": _model_hash() if self.evaluator is None else "the caller's",
            KEY: self.description.to_json(),
            "_chip": self.space.base.name,
            "_space": self.space.name,
            "_parameters": ", ".join(self.space.paths),
            "_chipsmith_version": _version("chipsmith"),
            "_numpy_version": np.__version__,
        }


def _grouped(variants: Sequence[Variant]) -> dict[Variant, NDArray[np.int64]]:
    """Rows of each variant, variants in their own order."""
    rows: dict[Variant, list[int]] = {variant: [] for variant in sorted(set(variants))}
    for row, variant in enumerate(variants):
        rows[variant].append(row)
    return {variant: np.asarray(found, dtype=np.int64) for variant, found in rows.items()}


def make_plan(
    space: Space,
    workload: Workload,
    objectives: Sequence[str],
    constraints: Sequence[str] = (),
    iso_quality: str = "required",
    quality: QualityTable | None = None,
    evaluator: Evaluator | None = None,
    mapping: str = "auto",
    fidelity: str = "tile",
) -> Plan:
    """Check everything that a study is given.

    Raises:
        ChipsmithError: unknown objective or name in a constraint, an objective that the workload does not yield, a
            space that varies precision without quality being judged.
    """
    extra = {quality.metric.name: quality.metric} if quality else {}
    wanted = _wanted(objectives, workload, extra)
    parsed = (*space.constraints, *map(parse_constraint, constraints))
    plan = Plan(space, workload, wanted, parsed, quality, iso_quality, evaluator, mapping, fidelity)
    for constraint in parsed:
        for name in constraint.names:
            _check_name(name, plan)
    used = {o.name for o in wanted} | {name for c in parsed for name in c.names}
    check_iso_quality(space, iso_quality, quality, used)
    return plan


def _wanted(names: Sequence[str], workload: Workload, extra: Mapping[str, Objective]) -> tuple[Objective, ...]:
    if isinstance(names, str) or not names:
        raise ChipsmithError("objectives", names or None, "a list of at least one objective")
    for name in names:
        if name in METRICS and name not in extra:
            raise ChipsmithError("objective", name, "comes from a quality table: give one that has it")
    found = tuple(objective(name, extra) for name in names)
    if len(set(names)) != len(names):
        raise ChipsmithError("objectives", list(names), "each objective once")
    for wanted in found:
        _check_phase(wanted, workload)
    return found


def _check_phase(wanted: Objective, workload: Workload) -> None:
    if wanted.phase and getattr(workload, wanted.phase) is None:
        raise ChipsmithError("objective", wanted.name, f"needs a {wanted.phase} trace, which the workload lacks")


def _check_name(name: str, plan: Plan) -> None:
    """A name in a constraint is a measure, or a field of the chip that holds a number."""
    if name in plan.names:
        return
    if name in OBJECTIVES:
        _check_phase(OBJECTIVES[name], plan.workload)
    try:
        get_field(plan.space.base, name)
    except ChipsmithError as error:
        if "." in name:
            raise
        raise ChipsmithError("constraint", name, nearest(name, (*plan.names, *plan.space.paths))) from error
    field_lookup(ChipTable(plan.space.base))(name)


def _batch() -> Evaluator:
    from sim.batch import evaluate  # compiled kernels: imported when the first population is due

    return evaluate


def _name_of(evaluator: Evaluator | None) -> str:
    if evaluator is None:
        return "sim.batch.evaluate"
    return str(getattr(evaluator, "__qualname__", type(evaluator).__qualname__))


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _model_hash() -> str:
    """Hash of all kernel sources and of the data files that prices come from (16 hex digits)."""
    from models.jit import source_hash

    digest = hashlib.sha256(source_hash().encode())
    for name, content in sorted(_data_files(resources.files("models") / "data", "")):
        digest.update(name.encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _data_files(folder: Any, prefix: str) -> list[tuple[str, bytes]]:
    if not folder.is_dir():
        return []
    found: list[tuple[str, bytes]] = []
    for item in folder.iterdir():
        name = f"{prefix}/{item.name}"
        found += _data_files(item, name) if item.is_dir() else [(name, item.read_bytes())]
    return found
