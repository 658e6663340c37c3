"""The ledger: every design of a study in memory, with the numbers of those that are already known."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dse.pareto import non_dominated
from dse.space import Index
from dse.store import Rows

Numbers = NDArray[np.int64]


class Ledger:
    """Designs in the order of their numbers, and the non-dominated ones among them.

    Args:
        rows: designs to begin with.
        columns: columns of ``rows.values`` that are objectives.
        signs: factor per objective that makes it a quantity to minimise.

    Attributes:
        front: numbers of the non-dominated feasible designs.
        front_values: their objectives as quantities to minimise.
        feasible: number of feasible designs.
    """

    def __init__(self, rows: Rows, columns: Numbers, signs: NDArray[np.float64]) -> None:
        self._columns = columns
        self._signs = signs
        self._parts: list[Rows] = []
        self._numbers: dict[bytes, int] = {}
        self.front: Numbers = np.empty(0, dtype=np.int64)
        self.front_values = np.empty((0, len(columns)))
        self.feasible = 0
        self.append(rows)

    def __len__(self) -> int:
        return len(self._numbers)

    def append(self, rows: Rows) -> None:
        """Add new designs; they get the next numbers."""
        first = len(self._numbers)
        for number, row in enumerate(rows.index, start=first):
            self._numbers[row.tobytes()] = number
        self._parts.append(rows)
        self.__dict__.pop("rows", None)
        fine = first + np.flatnonzero(rows.violation == 0)
        self.feasible += len(fine)
        self._update_front(fine)

    def find(self, index: Index) -> Numbers:
        """Number of each design, -1 for an unknown one."""
        return np.asarray([self._numbers.get(row.tobytes(), -1) for row in index], dtype=np.int64)

    def minimised(self, numbers: Numbers) -> NDArray[np.float64]:
        """Objectives of designs as quantities to minimise, shape (n, objectives)."""
        return self._objectives(self.rows.values[numbers])

    @cached_property
    def rows(self) -> Rows:
        """All designs as one block."""
        if len(self._parts) > 1:
            self._parts = [_joined(self._parts)]
        return self._parts[0]

    def _objectives(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return values[:, self._columns] * self._signs

    def _update_front(self, fresh: Numbers) -> None:
        if len(fresh) == 0:
            return
        candidates = np.concatenate([self.front, fresh])
        last = self._parts[-1].values
        values = np.concatenate([self.front_values, self._objectives(last[fresh - (len(self) - len(last))])])
        keep = non_dominated(values)
        self.front, self.front_values = candidates[keep], values[keep]


def _joined(parts: list[Rows]) -> Rows:
    return Rows(
        np.concatenate([p.index for p in parts]),
        np.concatenate([p.values for p in parts]),
        np.concatenate([p.status for p in parts]),
        np.concatenate([p.violation for p in parts]),
        tuple(reason for p in parts for reason in p.reasons),
        np.concatenate([p.population for p in parts]),
    )
