"""Random search without repetition."""

from __future__ import annotations

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.space import Index

_PATIENCE = 64  # draws in a row without anything new before the space counts as used up


class RandomSearch(Sampler):
    """Independent uniform designs, each allowed and proposed at most once."""

    name = "random"
    default_population = 1024

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.rng = np.random.default_rng(problem.seed)
        self.seen: set[bytes] = set()
        self.waiting: list[Index] = []

    def ask(self) -> Index:
        """Draw until the population is full or nothing new turns up."""
        idle = 0
        while len(self.waiting) < self.population and idle < _PATIENCE and len(self.seen) < self.problem.space.size:
            fresh = self.unseen(self.draw(self.population))
            self.waiting.extend(fresh)
            idle = 0 if fresh else idle + 1
        rows, self.waiting = self.waiting[: self.population], self.waiting[self.population :]
        return np.asarray(rows, dtype=np.int64).reshape(-1, len(self.problem.space.paths))

    def draw(self, n: int) -> Index:
        """The next ``n`` (or somewhat more) raw draws."""
        return self.problem.space.sample(self.rng, n)

    def unseen(self, index: Index) -> list[Index]:
        """Rows that are allowed and new here, each once; from now on they (and forbidden ones) are not new."""
        rows = []
        for row, allowed in zip(index, self.problem.allowed(index), strict=True):
            key = row.tobytes()
            if key not in self.seen:
                self.seen.add(key)
                if allowed:
                    rows.append(row)
        return rows

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Nothing to learn."""


SAMPLER = RandomSearch
