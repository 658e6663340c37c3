"""The results of a study, running or stored: its designs, its Pareto front, its hypervolume."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dse.description import KEY, Description, measure
from dse.ledger import Ledger, Numbers
from dse.objectives import Floats, Objective
from dse.pareto import hypervolume, non_dominated, overlaps, tie_groups
from dse.space import fields_of
from dse.store import Store
from models.chip import Chip, parse_chip
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    import pandas as pd

_TIE_CHUNK = 1024


class StudyResults:
    """What is known about the designs of a study.

    Args:
        description: of the study.
        store: that keeps it.
        ledger: its designs.
        reference: reference point of the hypervolume as quantities to minimise, None = the one that the store keeps.
    """

    def __init__(self, description: Description, store: Store, ledger: Ledger, reference: Floats | None = None) -> None:
        self.description = description
        self._store = store
        self._ledger = ledger
        self._given_reference = reference

    def __len__(self) -> int:
        """Designs in the study."""
        return len(self._ledger)

    def manifest(self) -> dict[str, str]:
        """Facts of the study: hashes, seed, sampler, versions; keys with a leading ``_`` needn't match to resume.

        The :attr:`description` is left out.
        """
        return {key: value for key, value in self._store.manifest().items() if key != KEY}

    @cached_property
    def measures(self) -> tuple[Objective, ...]:
        """Every quantity that is stored of a design."""
        return tuple(map(measure, self.description.measures))

    @cached_property
    def objectives(self) -> tuple[Objective, ...]:
        """What is optimised, in the user's order."""
        return tuple(map(measure, self.description.objectives))

    @cached_property
    def base(self) -> Chip:
        """The chip whose fields vary."""
        import yaml

        return parse_chip(yaml.safe_load(self.description.chip_yaml), self.description.chip)

    @property
    def feasible_numbers(self) -> Numbers:
        """Numbers of the feasible designs."""
        return np.flatnonzero(self._ledger.rows.violation == 0)

    def minimised(self, names: tuple[str, ...], numbers: Numbers) -> Floats:
        """Measures of designs as quantities to minimise, shape (n, len(names))."""
        columns = [self.description.measures.index(name) for name in names]
        signs = np.asarray([measure(name).sign for name in names])
        values: Floats = self._ledger.rows.values[numbers][:, columns] * signs
        return values

    # Tables

    @property
    def trials(self) -> pd.DataFrame:
        """Every design: number, population, parameters, measures, status, reason, feasible, violation."""
        return self.frame(np.arange(len(self)))

    def frame(self, numbers: Numbers) -> pd.DataFrame:
        """Some designs as a table, see :attr:`trials`."""
        import pandas as pd  # half a second: imported by those who want a table

        rows = self._ledger.rows
        columns: dict[str, Any] = {"number": numbers, "population": rows.population[numbers]}
        for j, parameter in enumerate(self.description.parameters):
            columns[parameter.path] = parameter.array[rows.index[numbers, j]]
        for j, name in enumerate(self.description.measures):
            columns[name] = rows.values[numbers, j]
        columns["status"] = rows.status[numbers]
        columns["reason"] = [rows.reasons[i] for i in numbers]
        columns["feasible"] = rows.violation[numbers] == 0
        columns["violation"] = np.where(np.isinf(rows.violation), np.nan, rows.violation)[numbers]
        return pd.DataFrame(columns)

    def columns(self, numbers: Numbers) -> dict[str, list[Any]]:
        """Values of every varied field, linked ones included, by path: one plain Python value a design."""
        index = self._ledger.rows.index[numbers]
        return {
            path: [p.values_of(path)[i] for i in index[:, j].tolist()]
            for j, p in enumerate(self.description.parameters)
            for path in p.paths
        }

    def design(self, number: int) -> dict[str, Any]:
        """One design as field path to value, linked fields included.

        Raises:
            ChipsmithError: there is no such design.
        """
        if not 0 <= number < len(self):
            raise ChipsmithError("design", number, f"a number from 0 to {len(self) - 1}")
        row = self._ledger.rows.index[number]
        parameters = self.description.parameters
        return {path: p.values_of(path)[int(i)] for p, i in zip(parameters, row, strict=True) for path in p.paths}

    def chip(self, number: int) -> Chip:
        """One design as a checked chip.

        Raises:
            ChipsmithError: there is no such design.
        """
        return self.base.with_fields(fields_of(self.design(number)))

    @property
    def front_numbers(self) -> Numbers:
        """Design numbers of the Pareto front, best first in the first objective."""
        ledger = self._ledger
        keys = (ledger.front, *ledger.front_values.T[::-1])
        return ledger.front[np.lexsort(keys)]

    def front(self, tie_pct: float | Mapping[str, float] | None = None) -> pd.DataFrame:
        """The Pareto front, best first in the first objective.

        Args:
            tie_pct: error interval, in per cent of a value to either side (one for all, or by objective). Adds a
                column ``tie``: designs with the same number can't be told apart, because the intervals of their
                objectives overlap, directly or through a third design.
        """
        numbers = self.front_numbers
        frame = self.frame(numbers).drop(columns=["status", "reason", "feasible", "violation"])
        if tie_pct is not None:
            frame["tie"] = tie_groups(self._ledger.minimised(numbers), self._tolerance(tie_pct))
        return frame

    # Evidence

    def evidence_pct(self) -> dict[str, float]:
        """Error interval of each objective in per cent, as far as validation gives one (``sim/evidence.py``).

        An objective made of several totals has the sum of their intervals; one that rests on a total which nothing
        was compared with has none and is left out.
        """
        from sim.evidence import evidence_of

        known = {name: e.interval_pct for name, e in evidence_of(self.base, self.description.fidelity).items()}
        found = {o.name: [known.get(total) for total in o.totals] for o in self.objectives}
        return {name: sum(filter(None, parts)) for name, parts in found.items() if parts and None not in parts}

    def contenders(self, tie_pct: float | Mapping[str, float]) -> Numbers:
        """Numbers of dominated designs whose error intervals overlap with those of a design on the front."""
        tolerance = self._tolerance(tie_pct)
        others = np.setdiff1d(self.feasible_numbers, self._ledger.front)
        front = self._ledger.front_values
        hits = [
            overlaps(self._ledger.minimised(part), front, tolerance).any(axis=1)
            for part in np.array_split(others, max(1, len(others) // _TIE_CHUNK))
        ]
        return others[np.concatenate(hits)]

    def _tolerance(self, tie_pct: float | Mapping[str, float]) -> Floats:
        names = self.description.objectives
        if isinstance(tie_pct, Mapping):
            for name in tie_pct:
                if name not in names:
                    raise ChipsmithError("tie_pct", name, f"objectives of the study: {', '.join(names)}")
        given = [tie_pct.get(name, 0.0) if isinstance(tie_pct, Mapping) else tie_pct for name in names]
        if min(given) < 0:
            raise ChipsmithError("tie_pct", tie_pct, "at least 0")
        return np.asarray(given, dtype=np.float64) / 100

    # Hypervolume

    @property
    def reference(self) -> dict[str, float] | None:
        """Reference point of the hypervolume by objective; None before the first feasible design."""
        point = self._reference
        if point is None:
            return None
        return {o.name: float(v * o.sign) for o, v in zip(self.objectives, point, strict=True)}

    def hypervolume(self) -> float:
        """Hypervolume of the front (see :func:`dse.pareto.hypervolume`) up to :attr:`reference`."""
        point = self._reference
        return 0.0 if point is None else hypervolume(self._ledger.front_values, point)

    def hypervolume_curve(
        self, points: int = 200, names: tuple[str, ...] | None = None, reference: Floats | None = None
    ) -> tuple[Numbers, Floats]:
        """Hypervolume after so many designs: counts, shape (k,), and values, shape (k,), never falling.

        Args:
            points: about so many counts, evenly spaced, and half as many by factors, for a logarithmic axis.
            names: measures that span the volume; None = the objectives.
            reference: reference point in those, as quantities to minimise; None = the study's own.
        """
        names = self.description.objectives if names is None else names
        point = self._reference if reference is None else reference
        counts = _counts(len(self), points)
        if point is None:
            return counts, np.zeros(len(counts))
        values = []
        front: Numbers = np.empty(0, dtype=np.int64)
        feasible = self._ledger.rows.violation == 0
        for low, high in zip([0, *counts[:-1]], counts, strict=True):
            front = np.concatenate([front, low + np.flatnonzero(feasible[low:high])])
            front = front[non_dominated(self.minimised(names, front))]
            values.append(hypervolume(self.minimised(names, front), point))
        return counts, np.asarray(values, dtype=np.float64)

    @property
    def _reference(self) -> Floats | None:
        if self._given_reference is not None:
            return self._given_reference
        stored = self._store.get("_reference")
        return None if stored is None else parsed_point(stored)


def _counts(n: int, points: int) -> Numbers:
    evenly = np.linspace(0, n, points + 1)
    by_factors = np.geomspace(1, max(n, 1), points // 2 + 1)
    counts = np.unique(np.concatenate([evenly, by_factors]).astype(np.int64))
    return counts[(counts > 0) & (counts <= n)]


def parsed_point(text: str) -> NDArray[np.float64]:
    """A point as the store keeps it: hexadecimal floats, exact to the bit."""
    return np.asarray([float.fromhex(part) for part in text.split()], dtype=np.float64)
