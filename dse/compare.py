"""Two or more studies side by side: whose front is better where, by how much, and what each found that others lack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.ledger import Numbers
from dse.objectives import Floats, Objective
from dse.pareto import hypervolume, non_dominated, reference_of
from dse.results import StudyResults
from dse.space import Value
from dse.variants import READERS
from models.chip import Chip, get_field
from workloads.errors import ChipsmithError, nearest

_SAME = ("workload", "evaluation", "model", "quality")  # facts without which numbers aren't comparable


@dataclass(frozen=True)
class Side:
    """One study of a comparison.

    Attributes:
        name: how the comparison calls it.
        designs, feasible: counts.
        sampler, seed: how it was searched.
        front: numbers of its non-dominated designs in the objectives of the comparison, best first in the first.
        values: their objectives as quantities to minimise, shape (front, objectives).
        hypervolume: of its front up to the common reference point.
        on_joint: of its front, designs that no other study's front dominates.
        new: of its front, designs that no other study has evaluated.
        evaluations, curve: hypervolume after so many designs.
    """

    name: str
    designs: int
    feasible: int
    sampler: str
    seed: str
    front: Numbers
    values: Floats
    hypervolume: float
    on_joint: NDArray[np.bool_]
    new: NDArray[np.bool_]
    evaluations: Numbers
    curve: Floats


@dataclass(frozen=True)
class Comparison:
    """Studies compared.

    Attributes:
        objectives: what they are compared in.
        reference: reference point of all hypervolumes by objective: the worst values on any front, moved out by a
            tenth.
        sides: one a study.
        coverage: ``coverage[i][j]`` is C(i, j): the share of j's front that some design on i's front dominates or
            equals (Zitzler and Thiele, IEEE TEC 3(4), 1999).
        joint: the front of all studies together: study, number, parameters, objectives, ``new``; best first.
        notes: why the numbers may not be comparable, and what every reader must know.
    """

    objectives: tuple[Objective, ...]
    reference: Mapping[str, float]
    sides: tuple[Side, ...]
    coverage: tuple[tuple[float, ...], ...]
    joint: tuple[Mapping[str, Any], ...]
    notes: tuple[str, ...]


def compare(studies: Mapping[str, StudyResults], objectives: Sequence[str] | None = None) -> Comparison:
    """Compare studies.

    Args:
        studies: at least two, by name; each with a feasible design.
        objectives: what to compare in; None = the objectives of the first study.

    Raises:
        ChipsmithError: fewer than two studies, one without a feasible design or that does not store an objective.
    """
    if len(studies) < 2:
        raise ChipsmithError("studies", list(studies), "at least two")
    first = next(iter(studies.values()))
    names = tuple(objectives) if objectives is not None else first.description.objectives
    for label, study in studies.items():
        _check(label, study, names)
    fronts = {label: _front(study, names) for label, study in studies.items()}
    values = {label: study.minimised(names, fronts[label]) for label, study in studies.items()}
    point = reference_of(np.concatenate(list(values.values())))
    sides = tuple(_side(label, studies, fronts, values, names, point) for label in studies)
    wanted = tuple(next(m for m in first.measures if m.name == name) for name in names)
    return Comparison(
        wanted,
        {o.name: float(v * o.sign) for o, v in zip(wanted, point, strict=True)},
        sides,
        tuple(tuple(coverage(a.values, b.values) for b in sides) for a in sides),
        tuple(_joint(studies, sides, wanted)),
        tuple(_notes(studies)),
    )


def coverage(a: Floats, b: Floats) -> float:
    """C(a, b): share of the rows of ``b`` that some row of ``a`` dominates or equals (values to be minimised)."""
    hit = [bool((a <= row).all(axis=1).any()) for row in b]
    return float(np.mean(hit)) if hit else 0.0


def _check(label: str, study: StudyResults, names: Sequence[str]) -> None:
    for name in names:
        if name not in study.description.measures:
            legal = f"{label} does not store it; {nearest(name, study.description.measures)}"
            raise ChipsmithError("objective", name, legal)
    if len(study.feasible_numbers) == 0:
        raise ChipsmithError(label, len(study), "designs and none of them feasible: there is no front to compare")


def _front(study: StudyResults, names: tuple[str, ...]) -> Numbers:
    feasible = study.feasible_numbers
    values = study.minimised(names, feasible)
    keep = np.flatnonzero(non_dominated(values))
    order = np.lexsort((feasible[keep], *values[keep].T[::-1]))
    return feasible[keep][order]


def _side(
    label: str,
    studies: Mapping[str, StudyResults],
    fronts: Mapping[str, Numbers],
    values: Mapping[str, Floats],
    names: tuple[str, ...],
    point: Floats,
) -> Side:
    study, own = studies[label], values[label]
    others = np.concatenate([values[other] for other in studies if other != label])
    evaluations, curve = study.hypervolume_curve(names=names, reference=point)
    facts = study.manifest()
    return Side(
        label,
        len(study),
        len(study.feasible_numbers),
        facts["sampler"],
        facts["seed"],
        fronts[label],
        own,
        hypervolume(own, point),
        np.asarray([not _dominated(row, others) for row in own], dtype=np.bool_),
        _unknown(label, studies, fronts[label]),
        evaluations,
        curve,
    )


def _dominated(row: Floats, others: Floats) -> bool:
    return bool(((others <= row).all(axis=1) & (others < row).any(axis=1)).any())


# Which designs does another study know? Two studies may vary different fields of the same chip.


def _unknown(label: str, studies: Mapping[str, StudyResults], numbers: Numbers) -> NDArray[np.bool_]:
    """Designs of a study that no other study has evaluated."""
    study = studies[label]
    unknown = np.ones(len(numbers), dtype=np.bool_)
    for other in (s for name, s in studies.items() if name != label):
        paths = sorted(set(_all_paths(study)) | set(_all_paths(other)))
        if not _same_chip(study.base, other.base, paths):
            continue
        known = set(_designs(other, np.arange(len(other)), paths))
        unknown &= np.asarray([design not in known for design in _designs(study, numbers, paths)], dtype=np.bool_)
    return unknown


def _all_paths(study: StudyResults) -> list[str]:
    return [path for p in study.description.parameters for path in p.paths]


def _same_chip(a: Chip, b: Chip, but: Sequence[str]) -> bool:
    """Whether two base chips are equal but for the fields that the studies vary."""
    try:
        return a.with_fields({path: get_field(b, path) for path in but if path not in READERS}) == b
    except ChipsmithError:
        return False


def _designs(study: StudyResults, numbers: Numbers, paths: Sequence[str]) -> list[tuple[Value, ...]]:
    """Values of ``paths`` for each design; fields that the study does not vary have those of its base chip."""
    columns = study.columns(numbers)
    rows = [columns[path] if path in columns else [_held(study.base, path)] * len(numbers) for path in paths]
    return list(zip(*rows, strict=True))


def _held(chip: Chip, path: str) -> Value:
    value: Value = "" if path in READERS else get_field(chip, path)  # what nobody varies is as the trace has it
    return value


def _joint(
    studies: Mapping[str, StudyResults], sides: Sequence[Side], objectives: Sequence[Objective]
) -> list[Mapping[str, Any]]:
    """The common front, equal designs of several studies once each study."""
    rows: list[Mapping[str, Any]] = []
    for side in sides:
        study = studies[side.name]
        for at in np.flatnonzero(side.on_joint):
            number = int(side.front[at])
            parameters = {p.path: study.design(number)[p.path] for p in study.description.parameters}
            found = {o.name: float(v * o.sign) for o, v in zip(objectives, side.values[at], strict=True)}
            rows.append({"study": side.name, "number": number, **parameters, **found, "new": bool(side.new[at])})
    return sorted(rows, key=lambda row: [o.sign * row[o.name] for o in objectives])


def _notes(studies: Mapping[str, StudyResults]) -> list[str]:
    facts = {label: study.manifest() for label, study in studies.items()}
    notes = []
    for key in _SAME:
        if len({fact.get(key) for fact in facts.values()}) > 1:
            what = {"model": "the models they were simulated with"}.get(key, key)
            notes.append(f"the studies differ in {what}: their numbers are not comparable")
    limits = {label: fact["constraints"] or "none" for label, fact in facts.items()}
    if len(set(limits.values())) > 1:
        notes.append("constraints differ: " + "; ".join(f"{label}: {text}" for label, text in limits.items()))
    warned = [f"{label}: {s.description.warning}" for label, s in studies.items() if s.description.warning]
    return notes + warned
