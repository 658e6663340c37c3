"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002) by pymoo, a population of value indices at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.space import Index

_FAR = 1e30  # stands in for values that a design without numbers doesn't have; its violation keeps it last anyway
_ETA = 3.0  # spread of crossover and mutation: wide, because indices are few and rounding swallows small steps


class Nsga2(Sampler):
    """Integer-coded NSGA-II: simulated binary crossover and polynomial mutation, rounded to indices.

    Designs that a constraint over fields forbids are proposed too (their violation leads the search back), but never
    in the first population; a design that was proposed before is not proposed again.
    """

    name = "nsga2"
    default_population = 256

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.proposed: set[bytes] = set()
        self.algorithm = _algorithm(problem, self._first(), self.proposed)
        self.asked: Any = None

    def ask(self) -> Index:
        """The next offspring; zero rows when mating finds nothing new."""
        if not self.algorithm.has_next():
            return np.empty((0, len(self.problem.space.paths)), dtype=np.int64)
        self.asked = self.algorithm.ask()
        index = np.asarray(self.asked.get("X") if self.asked is not None else [], dtype=np.int64)
        index = index.reshape(-1, len(self.problem.space.paths))
        self.proposed.update(row.tobytes() for row in index)
        return index

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Select the survivors."""
        self.asked.set("F", np.where(np.isfinite(values), values, _FAR))
        self.asked.set("G", np.minimum(violation, _FAR)[:, None])
        for individual in self.asked:
            individual.evaluated = {"F", "G", "H"}
        self.algorithm.evaluator.n_eval += len(index)
        self.algorithm.tell(infills=self.asked)

    def _first(self) -> Index:
        """The first population: random, allowed, each design once."""
        from dse.samplers.random_search import RandomSearch

        problem = Problem(
            self.problem.space, self.problem.objectives, self.problem.seed, self.population, self.problem.names
        )
        return RandomSearch(problem).ask()


def _algorithm(problem: Problem, first: Index, proposed: set[bytes]) -> Any:
    """A pymoo NSGA-II that is ready to be asked."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    algorithm = NSGA2(
        pop_size=max(1, len(first)),
        sampling=first,
        crossover=SBX(prob=0.9, eta=_ETA, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=_ETA, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=_new_designs_only(proposed),
    )
    algorithm.setup(_described(problem), termination=NoTermination(), seed=problem.seed, verbose=False)
    return algorithm


def _described(problem: Problem) -> Any:
    from pymoo.core.problem import Problem as PymooProblem

    highest = np.asarray(problem.space.cardinalities) - 1
    return PymooProblem(
        n_var=len(highest), n_obj=problem.objectives, n_ieq_constr=1, xl=np.zeros(len(highest)), xu=highest, vtype=int
    )


def _new_designs_only(proposed: set[bytes]) -> Any:
    """A duplicate check against everything ever proposed, not only against the present population."""
    from pymoo.core.duplicate import DuplicateElimination

    class NewDesignsOnly(DuplicateElimination):  # type: ignore[misc]  # pymoo has no types
        """Marks rows that were proposed before, or that stand twice in the same offspring."""

        def _do(self, pop: Any, other: Any, is_duplicate: Any) -> Any:
            taken = proposed if other is None else {_key(row) for row in other.get("X")} | proposed
            met: set[bytes] = set()
            for i, row in enumerate(pop.get("X")):
                key = _key(row)
                is_duplicate[i] |= key in taken or key in met
                met.add(key)
            return is_duplicate

    return NewDesignsOnly()


def _key(row: Any) -> bytes:
    return np.asarray(row, dtype=np.int64).tobytes()


SAMPLER = Nsga2
