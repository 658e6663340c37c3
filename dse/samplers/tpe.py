"""Tree-structured Parzen estimator by Optuna (Watanabe, arXiv:2304.11127), asked in small batches.

Learns from few designs, but each costs milliseconds: for evaluators that are slow, or studies of a few thousand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.space import Index, Parameter

_FAR = 1e30  # stands in for values and violations that a design without numbers doesn't have


class Tpe(Sampler):
    """Optuna's multi-objective TPE over value indices, in memory (the study's own store is what lasts).

    Each population has a generator of its own, seeded by the study's seed and the population's number, so that a
    stored study resumes by adding its trials instead of searching again.
    """

    name = "tpe"
    default_population = 32

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.distributions = {str(j): _distribution(p) for j, p in enumerate(problem.space.parameters)}
        self.study = _study(problem.objectives)
        self.asked: list[Any] = []
        self.populations = 0

    def ask(self) -> Index:
        """Ask for a batch; trials that are still open repel each other (constant liar)."""
        self.study.sampler = _sampler(self.problem.seed, self.populations, self.population)
        self.asked = [self.study.ask(self.distributions) for _ in range(self.population)]
        rows = [[trial.params[key] for key in self.distributions] for trial in self.asked]
        return np.asarray(rows, dtype=np.int64)

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Close the open trials."""
        for trial, row, bad in zip(self.asked, _finite(values), _finite(violation), strict=True):
            trial.set_constraint("violation", float(bad))
            self.study.tell(trial, row.tolist())
        self.populations += 1

    def replay(self, index: Index, values: Floats, violation: Floats) -> None:
        """Add stored trials."""
        from optuna.trial import create_trial

        for row, result, bad in zip(index, _finite(values), _finite(violation), strict=True):
            trial = create_trial(
                params={key: int(i) for key, i in zip(self.distributions, row, strict=True)},
                distributions=self.distributions,
                values=result.tolist(),
                constraints={"violation": float(bad)},
            )
            self.study.add_trial(trial)
        self.populations += 1


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, _FAR)


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    count = len(parameter.values)
    return IntDistribution(0, count - 1) if parameter.ordered else CategoricalDistribution(list(range(count)))


def _study(objectives: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=["minimize"] * objectives, sampler=_sampler(0, 0, 1))


def _sampler(seed: int, population: int, startup: int) -> Any:
    import optuna

    drawn = int(np.random.default_rng((seed, population)).integers(2**31))
    return optuna.samplers.TPESampler(seed=drawn, n_startup_trials=max(32, startup), multivariate=True)


SAMPLER = Tpe
