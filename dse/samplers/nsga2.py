"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002) by pymoo, a population of value indices at a time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.samplers.random_search import RandomSearch
from dse.space import Index

_FAR = 1e30  # stands in for values that a design without numbers doesn't have; its violation keeps it last anyway
_ETA = 3.0  # spread of crossover and mutation: wide, because indices are few and rounding swallows small steps
_MATINGS = 8  # rounds of mating to fill a population; what is missing then is filled with random designs


class Nsga2(Sampler):
    """Integer-coded NSGA-II: simulated binary crossover and polynomial mutation, rounded to indices.

    No design is proposed twice and none that a constraint over fields forbids. Where mating finds nothing new, random
    designs fill the population, so that the search ends only when the space is used up.
    """

    name = "nsga2"
    default_population = 256

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.fresh = RandomSearch(replace(problem, population=self.population))
        self.algorithm: Any = None
        self.asked: Any = None

    def ask(self) -> Index:
        """A random first population, then offspring."""
        if self.algorithm is None:
            index = self.fresh.ask()
            self.algorithm = _algorithm(self.problem, index, self.fresh) if len(index) else None
            self.asked = self.algorithm.ask() if len(index) else None
            return index
        # fewer than a population were to be had last time: the space is used up
        index = self._offspring() if len(self.asked) == self.population else np.empty(0, dtype=np.int64)
        return index.reshape(-1, len(self.problem.space.paths))

    def _offspring(self) -> Index:
        offspring = self.algorithm.ask()
        self.algorithm.termination.force_termination = False  # pymoo gives up where mating found nothing at all
        bred = _indices(offspring)
        self.fresh.seen.update(row.tobytes() for row in bred)
        missing = self.population - len(bred)
        if missing:
            self.fresh.population = missing
            bred = np.concatenate([bred.reshape(-1, len(self.problem.space.paths)), self.fresh.ask()])
            self.fresh.waiting.clear()
        self.asked = _individuals(bred)
        return bred

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Select the survivors."""
        self.asked.set("F", np.where(np.isfinite(values), values, _FAR))
        self.asked.set("G", np.minimum(violation, _FAR)[:, None])
        for individual in self.asked:
            individual.evaluated = {"F", "G", "H"}
        self.algorithm.tell(infills=self.asked)


def _indices(population: Any) -> Index:
    return np.asarray(population.get("X") if population is not None else [], dtype=np.int64)


def _individuals(index: Index) -> Any:
    from pymoo.core.population import Population

    return Population.new(X=index)


def _algorithm(problem: Problem, first: Index, fresh: RandomSearch) -> Any:
    """A pymoo NSGA-II that is ready to be asked."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.termination import NoTermination
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair

    algorithm = NSGA2(
        pop_size=len(first),
        sampling=first,
        crossover=SBX(prob=0.9, eta=_ETA, vtype=float, repair=RoundingRepair()),
        mutation=PM(eta=_ETA, vtype=float, repair=RoundingRepair()),
        eliminate_duplicates=_new_designs_only(problem, fresh),
    )
    algorithm.setup(_described(problem), termination=NoTermination(), seed=problem.seed, verbose=False)
    algorithm.mating.n_max_iterations = _MATINGS
    return algorithm


def _described(problem: Problem) -> Any:
    from pymoo.core.problem import Problem as PymooProblem

    highest = np.asarray(problem.space.cardinalities) - 1
    return PymooProblem(
        n_var=len(highest), n_obj=problem.objectives, n_ieq_constr=1, xl=np.zeros(len(highest)), xu=highest, vtype=int
    )


def _new_designs_only(problem: Problem, fresh: RandomSearch) -> Any:
    """A duplicate check against everything ever proposed, not only against the present population."""
    from pymoo.core.duplicate import DuplicateElimination

    class NewDesignsOnly(DuplicateElimination):  # type: ignore[misc]  # pymoo has no types
        """Marks rows that were proposed before, stand twice in the same offspring, or are forbidden."""

        def _do(self, pop: Any, other: Any, is_duplicate: Any) -> Any:
            if other is None:
                index = _indices(pop)
                return is_duplicate | _repeated(index, fresh.seen) | ~problem.allowed(index)
            return is_duplicate | _repeated(_indices(pop), {row.tobytes() for row in _indices(other)})

    return NewDesignsOnly()


def _repeated(index: Index, taken: set[bytes]) -> Any:
    met: set[bytes] = set()
    marks = []
    for row in index:
        key = row.tobytes()
        marks.append(key in taken or key in met)
        met.add(key)
    return np.asarray(marks, dtype=np.bool_)


SAMPLER = Nsga2
