"""Gaussian processes by Optuna: expected hypervolume improvement (Daulton et al., arXiv:2006.05078).

Learns most from each design and takes longest to think, seconds a design and growing: for evaluators that cost
minutes (command fidelity, synthesis), and studies of tens to a few hundred designs. Needs PyTorch.
"""

from __future__ import annotations

import importlib.util
import warnings
from typing import Any

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem
from dse.samplers.optuna_search import OptunaSearch
from workloads.errors import MissingToolError

_SMALLEST = 1e-15  # where the logarithm of a value turns linear; far below any area, time or energy that we measure


class Gp(OptunaSearch):
    """Optuna's GP sampler on the logarithms of the objectives.

    Areas, times and energies span decades; on their logarithms a smooth model fits, and who dominates whom stays as
    it is. A design without numbers counts as bad as the worst one so far, which keeps the model's scale.

    Raises:
        MissingToolError: PyTorch is not installed.
    """

    name = "gp"
    default_population = 8

    def __init__(self, problem: Problem) -> None:
        if importlib.util.find_spec("torch") is None:
            install = "install it (python -m pip install torch; the CPU build will do) or choose tpe"
            raise MissingToolError("sampler gp", None, f"needs PyTorch, which is not installed: {install}")
        super().__init__(problem)
        self.worst = np.zeros(problem.objectives)
        self.most_violating = 1.0

    def make(self, seed: int) -> Any:
        """Random first trials, then the model."""
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # deterministic_objective is one
            return optuna.samplers.GPSampler(
                seed=seed,
                n_startup_trials=max(8, self.population),
                deterministic_objective=True,
                warn_independent_sampling=False,
            )

    def stand_in(self, values: Floats, violation: Floats) -> tuple[Floats, Floats]:
        """Logarithms; what is missing becomes the worst that was told so far."""
        logs = np.arcsinh(values / _SMALLEST)
        known = np.asarray(np.isfinite(logs).all(axis=1), dtype=np.bool_)
        if known.any():
            first = not self.worst.any()
            best = logs[known].max(axis=0)
            self.worst = best if first else np.maximum(self.worst, best)
        limit = np.isfinite(violation)
        self.most_violating = max(self.most_violating, float(violation[limit].max(initial=0.0)))
        return np.where(known[:, None], logs, self.worst), np.where(limit, violation, self.most_violating)


SAMPLER = Gp
