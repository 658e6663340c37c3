"""Quasi-random search: a scrambled Sobol sequence (scipy.stats.qmc), spread more evenly than random draws."""

from __future__ import annotations

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem
from dse.samplers.random_search import RandomSearch
from dse.space import Index, Space


class Sobol(RandomSearch):
    """Designs of a scrambled Sobol sequence, repeated and forbidden ones left out."""

    name = "sobol"
    default_population = 1024

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        from scipy.stats import qmc  # heavy: only this sampler needs it

        self.sequence = qmc.Sobol(len(problem.space.paths), rng=np.random.default_rng(problem.seed))

    def draw(self, n: int) -> Index:
        """The next points of the sequence as indices; a power of two of them, which keeps it balanced."""
        return indices_of(self.problem.space, self.sequence.random(1 << max(0, n - 1).bit_length()))


def indices_of(space: Space, points: Floats) -> Index:
    """Value indices of points in [0, 1), shape (n, parameters)."""
    index: Index = np.floor(points * np.asarray(space.cardinalities)).astype(np.int64)
    return index


SAMPLER = Sobol
