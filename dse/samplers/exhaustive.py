"""Every allowed design once."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.space import Index
from workloads.errors import ChipsmithError

_LARGEST = 1 << 31  # two factors below it multiply within int64
_GOLDEN = (math.sqrt(5) - 1) / 2


class Exhaustive(Sampler):
    """Walks the whole grid in strides of about the golden section of its size.

    A stride that shares no factor with the size visits every design exactly once, and any first part of the walk is
    spread evenly over the space, so that a study stopped early is still a fair sample.
    """

    name = "exhaustive"
    default_population = 8192

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.size = problem.space.size
        if self.size >= _LARGEST:
            raise ChipsmithError("sampler exhaustive", f"{self.size} designs", f"below {_LARGEST}; use nsga2 or random")
        self.stride = _coprime_near(round(self.size * _GOLDEN), self.size)
        self.at = 0

    def ask(self) -> Index:
        """The next designs of the walk that are allowed."""
        while self.at < self.size:
            steps = np.arange(self.at, min(self.size, self.at + self.population))
            index = self.problem.space.unravel(_positions(steps, self.stride, self.size))
            allowed = self.problem.allowed(index)
            self.at = int(steps[-1]) + 1
            if allowed.any():
                return index[allowed]
        return np.empty((0, len(self.problem.space.paths)), dtype=np.int64)

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Nothing to learn."""


def _positions(steps: NDArray[np.int64], stride: int, size: int) -> NDArray[np.int64]:
    return np.asarray(steps * stride % size, dtype=np.int64)


def _coprime_near(start: int, size: int) -> int:
    stride = max(1, start)
    while math.gcd(stride, size) != 1:
        stride += 1
    return stride


SAMPLER = Exhaustive
