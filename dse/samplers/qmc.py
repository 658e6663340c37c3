"""Quasi-random search by Optuna: a scrambled Halton sequence, even after any number of designs.

The sequence of ``sobol`` is evener still where its designs are a power of two, and ten times faster to draw.
"""

from __future__ import annotations

import warnings
from typing import Any

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.samplers.optuna_search import OptunaSearch
from dse.space import Index


class Qmc(OptunaSearch):
    """Optuna's QMC sampler. It learns nothing, so one sampler serves the whole study, and a replay asks it again."""

    name = "qmc"
    default_population = 256

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.sequence = _halton(problem.seed)

    def make(self, seed: int) -> Any:
        """The sequence, which goes on."""
        return self.sequence

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Nothing to learn: the trials stay open."""
        self.populations += 1

    def replay(self, index: Index, values: Floats, violation: Floats) -> None:
        """Ask again; the same designs must come."""
        Sampler.replay(self, index, values, violation)


def _halton(seed: int) -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # the whole sampler is one
        return optuna.samplers.QMCSampler(
            qmc_type="halton",
            scramble=True,
            seed=seed,
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )


SAMPLER = Qmc
