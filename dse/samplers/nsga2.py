"""NSGA-II (Deb et al., IEEE TEC 6(2), 2002) on value indices, whole populations as arrays.

Ranks and crowding distances are pymoo's; mating works on the index arrays directly, because pymoo's own loop keeps an
object a design and spends several times longer on it than the evaluator on its simulation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.samplers.random_search import RandomSearch
from dse.space import Index

_MATINGS = 8  # rounds of mating to fill a population; what is missing then is filled with random designs
_CROSSOVER = 0.9  # share of children with two parents (Deb et al., section V)
_STEP = 0.5  # parameter of the geometric step length of a mutation: mostly neighbours, sometimes far


@dataclass(frozen=True)
class Survivors:
    """The parents of the next population.

    Attributes:
        index: shape (n, parameters).
        values: shape (n, objectives).
        violation: shape (n,).
        rank: shape (n,): front number; designs that violate constraints follow, least violation first.
        crowding: shape (n,): room around a design on its front.
    """

    index: Index
    values: Floats
    violation: Floats
    rank: NDArray[np.int64]
    crowding: Floats


class Nsga2(Sampler):
    """Elitist non-dominated sorting with binary tournaments, uniform crossover and integer mutation.

    No design is proposed twice and none that a constraint over fields forbids. Where mating finds nothing new, random
    designs fill the population, so that the search ends only when the space is used up.
    """

    name = "nsga2"
    default_population = 256

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.fresh = RandomSearch(replace(problem, population=self.population))
        self.rng = np.random.default_rng((problem.seed, 1))  # not the stream of the random designs
        self.highest = np.asarray(problem.space.cardinalities) - 1
        self.ordered = np.asarray([p.ordered for p in problem.space.parameters])
        self.survivors: Survivors | None = None

    def ask(self) -> Index:
        """A random first population, then offspring; zero rows when the space is used up."""
        bred = [] if self.survivors is None else self._bred(self.survivors)
        self.fresh.population = self.population - len(bred)
        random = self.fresh.ask() if self.fresh.population else np.empty((0, len(self.highest)), dtype=np.int64)
        return np.concatenate([np.asarray(bred, dtype=np.int64).reshape(-1, len(self.highest)), random])

    def tell(self, index: Index, values: Floats, violation: Floats) -> None:
        """Keep the best of parents and offspring."""
        old = self.survivors
        if old is not None:
            index, values = np.concatenate([old.index, index]), np.concatenate([old.values, values])
            violation = np.concatenate([old.violation, violation])
        self.survivors = select(index, values, violation, self.population)

    def _bred(self, parents: Survivors) -> list[Index]:
        """Children that were never proposed, at most a population."""
        children: list[Index] = []
        for _ in range(_MATINGS):
            missing = self.population - len(children)
            if missing == 0:
                break
            children.extend(self.fresh.unseen(self._children(parents, missing)))
        return children

    def _children(self, parents: Survivors, n: int) -> Index:
        mothers, fathers = self._tournament(parents, n), self._tournament(parents, n)
        swap = self.rng.random((n, len(self.highest))) < 0.5
        swap &= self.rng.random((n, 1)) < _CROSSOVER
        return self._mutated(np.where(swap, parents.index[fathers], parents.index[mothers]))

    def _tournament(self, parents: Survivors, n: int) -> NDArray[np.int64]:
        """The better of two random parents, n times: lower rank, then more room."""
        a, b = self.rng.integers(0, len(parents.rank), (2, n))
        tied = parents.rank[a] == parents.rank[b]
        better = np.where(tied, parents.crowding[a] >= parents.crowding[b], parents.rank[a] < parents.rank[b])
        return np.asarray(np.where(better, a, b), dtype=np.int64)

    def _mutated(self, index: Index) -> Index:
        """Change each gene with probability 1 / genes: a number moves some steps, a name is drawn anew."""
        chosen = self.rng.random(index.shape) < 1 / index.shape[1]
        steps = self.rng.geometric(_STEP, index.shape) * self.rng.choice((-1, 1), index.shape)
        moved = np.clip(index + steps, 0, self.highest)
        drawn = self.rng.integers(0, self.highest + 1, index.shape)
        mutated: Index = np.where(chosen, np.where(self.ordered, moved, drawn), index)
        return mutated


def select(index: Index, values: Floats, violation: Floats, n: int) -> Survivors:
    """The best n designs: feasible ones front by front (the last by crowding), then the least violating ones."""
    rank = np.zeros(len(index), dtype=np.int64)
    crowding = np.zeros(len(index))
    feasible = np.flatnonzero(violation == 0)
    fronts = _fronts(values[feasible], n)
    for number, members in enumerate(fronts):
        rank[feasible[members]] = number
        crowding[feasible[members]] = _crowding(values[feasible[members]])
    infeasible = np.flatnonzero(violation != 0)
    levels = np.unique(violation[infeasible], return_inverse=True)[1].reshape(-1)
    rank[infeasible] = len(fronts) + levels
    sorted_out = np.setdiff1d(feasible, feasible[np.concatenate([*fronts, np.empty(0, dtype=np.int64)])])
    rank[sorted_out] = len(index) * 2  # fronts beyond the n best were not even sorted
    best = np.lexsort((np.arange(len(index)), -crowding, rank))[:n]
    return Survivors(index[best], values[best], violation[best], rank[best], crowding[best])


def _fronts(values: Floats, n: int) -> list[NDArray[np.int64]]:
    if len(values) == 0:
        return []
    from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting

    return [np.asarray(front, dtype=np.int64) for front in NonDominatedSorting().do(values, n_stop_if_ranked=n)]


def _crowding(values: Floats) -> Floats:
    from pymoo.operators.survival.rank_and_crowding.metrics import calc_crowding_distance

    distance: Any = calc_crowding_distance(values)
    return np.asarray(distance, dtype=np.float64)


SAMPLER = Nsga2
