"""Tree-structured Parzen estimator by Optuna (Watanabe, arXiv:2304.11127), asked in small batches.

Learns from few designs, but each costs milliseconds: for evaluators that are slow, or studies of a few thousand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.objectives import Floats
from dse.samplers.optuna_search import OptunaSearch

_FAR = 1e30  # stands in for values and violations that a design without numbers doesn't have; TPE only ranks them


class Tpe(OptunaSearch):
    """Optuna's multi-objective TPE; open trials repel each other through the constant liar."""

    name = "tpe"
    default_population = 32

    def make(self, seed: int) -> Any:
        """Random first trials, then the estimator."""
        import optuna

        startup = max(32, self.population)
        return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, multivariate=True)

    def stand_in(self, values: Floats, violation: Floats) -> tuple[Floats, Floats]:
        """Missing numbers become very large."""
        return _finite(values), _finite(violation)


def _finite(values: Floats) -> Floats:
    return np.where(np.isfinite(values), values, _FAR)


SAMPLER = Tpe
