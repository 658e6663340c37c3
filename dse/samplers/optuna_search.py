"""Optuna's samplers behind the contract of dse/samplers/base.py: what TPE and GP have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.space import Index, Parameter


class OptunaSearch(Sampler):
    """An Optuna study over value indices, in memory (the study's own store is what lasts).

    Each population has a sampler of its own, seeded by the study's seed and the population's number, so that a
    stored study resumes by adding its trials instead of searching again.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.distributions = {str(j): _distribution(p) for j, p in enumerate(problem.space.parameters)}
        self.study = _study(problem.objectives)
        self.asked: list[Any] = []
        self.populations = 0

    @abstractmethod
    def make(self, seed: int) -> Any:
        """Optuna's sampler for the next population."""

    def stand_in(self, values: Floats, violation: Floats) -> tuple[Floats, Floats]:
        """Finite values and violations for a population, some of whose designs have none; depends on what was told."""
        return values, violation

    def ask(self) -> Index:
        """Ask for a batch; trials that are still open repel each other."""
        drawn = int(np.random.default_rng((self.problem.seed, self.populations)).integers(2**31))
        self.study.sampler = self.make(drawn)
        self.asked = [self.study.ask(self.distributions) for _ in range(self.population)]
        rows = [[trial.params[key] for key in self.distributions] for trial in self.asked]
        return np.asarray(rows, dtype=np.int64)

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Close the open trials."""
        for trial, row, bad in zip(self.asked, *self.stand_in(values, violation), strict=True):
            trial.set_constraint("violation", float(bad))
            self.study.tell(trial, row.tolist())
        self.populations += 1

    def replay(self, index: Index, values: Floats, violation: Floats) -> None:
        """Add stored trials."""
        from optuna.trial import create_trial

        for row, result, bad in zip(index, *self.stand_in(values, violation), strict=True):
            trial = create_trial(
                params={key: int(i) for key, i in zip(self.distributions, row, strict=True)},
                distributions=self.distributions,
                values=result.tolist(),
                constraints={"violation": float(bad)},
            )
            self.study.add_trial(trial)
        self.populations += 1


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    count = len(parameter.values)
    return IntDistribution(0, count - 1) if parameter.ordered else CategoricalDistribution(list(range(count)))


def _study(objectives: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna.create_study(directions=["minimize"] * objectives, sampler=optuna.samplers.RandomSampler(0))
