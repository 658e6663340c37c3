"""What a sampler is: the contract that dse/conformance.py tests."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dse.constraints import Constraint
from dse.objectives import Floats
from dse.space import Index, Space, field_lookup, total_violation
from workloads.errors import ChipsmithError


@dataclass(frozen=True)
class Problem:
    """What a sampler is told about the study.

    Attributes:
        space: the space; a sampler works on its indices only.
        objectives: number of objectives, all to be minimised.
        seed: seed of every random choice.
        population: designs per population; 0 = the sampler's own default.
        constraints: those over chip fields alone, which can be checked before a design is simulated.
    """

    space: Space
    objectives: int
    seed: int = 0
    population: int = 0
    constraints: tuple[Constraint, ...] = ()

    def allowed(self, index: Index) -> NDArray[np.bool_]:
        """Designs that no constraint over fields alone forbids, shape (n,)."""
        if not self.constraints or len(index) == 0:
            return np.ones(len(index), dtype=np.bool_)
        lookup = field_lookup(self.space.decode(index))
        return np.asarray(total_violation(self.constraints, lookup, len(index)) == 0, dtype=np.bool_)


class Sampler(ABC):
    """Proposes designs, a population at a time.

    ``ask`` and ``tell`` alternate. Everything depends only on the problem and on what was told, so that a stored
    study resumes: a fresh sampler that was told the stored populations (``replay``) asks for what the old one would
    have asked for next. A sampler may propose a design again (the study answers from its store) or one that
    ``Problem.allowed`` forbids (the study tells its violation without simulating it).
    """

    name: ClassVar[str]
    default_population: ClassVar[int] = 256

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.population = problem.population or self.default_population

    @abstractmethod
    def ask(self) -> Index:
        """The next population, shape (n, parameters); zero rows when the sampler has no more to propose."""

    @abstractmethod
    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Take the results of the population that was asked last, in its order.

        Args:
            index: the population.
            values: shape (n, objectives), to be minimised; NaN where a design has no numbers.
            violation: shape (n,): 0 = feasible, larger = further from it, inf = no numbers.
        """

    def replay(self, index: Index, values: Floats, violation: Floats) -> None:
        """Take a stored population into a fresh sampler, as if it had been asked and told.

        Raises:
            ChipsmithError: the sampler asks for another population than the stored one.
        """
        if not np.array_equal(self.ask(), index):
            raise ChipsmithError(
                f"sampler {self.name}",
                None,
                "does not repeat the stored populations: another version of its library wrote the study",
            )
        self.tell(index, values, violation)
