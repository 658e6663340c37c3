"""Quasi-random search: a scrambled Halton sequence (scipy.stats.qmc), even after any number of designs.

The designs of Optuna's ``QMCSampler(qmc_type="halton", scramble=True, seed=seed)``, one by one: a test compares them.
That sampler builds the sequence anew for each trial and knows no choices without an order; drawn from the library
beneath it a population at a time, a design costs a hundredth of that. The sequence of ``sobol`` is evener still where
its designs are a power of two.
"""

from __future__ import annotations

from dse.samplers.base import Problem
from dse.samplers.random_search import RandomSearch
from dse.samplers.sobol import indices_of
from dse.space import Index


class Qmc(RandomSearch):
    """Designs of a scrambled Halton sequence, repeated and forbidden ones left out."""

    name = "qmc"
    default_population = 1024

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        from scipy.stats import qmc  # heavy: only the quasi-random samplers need it

        self.sequence = qmc.Halton(len(problem.space.paths), seed=problem.seed)  # as Optuna seeds it

    def draw(self, n: int) -> Index:
        """The next points of the sequence as indices."""
        return indices_of(self.problem.space, self.sequence.random(n))


SAMPLER = Qmc
