"""What every sampler must do, as checks: run ``check_sampler`` on a sampler of your own.

Each check raises AssertionError with a sentence about what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from dse.objectives import Floats
from dse.samplers.base import Problem, Sampler
from dse.space import Index, Space

Make = Callable[[Problem], Sampler]
Told = tuple[Index, Floats, Floats]


def results(index: Index, objectives: int) -> tuple[Floats, Floats]:
    """Made-up results: smooth values; every 7th combination infeasible, every 11th without numbers."""
    values = np.stack([((index - j) ** 2).sum(axis=1) + 1.0 for j in range(objectives)], axis=1).astype(np.float64)
    code = (index * np.arange(1, index.shape[1] + 1)).sum(axis=1)
    violation = np.where(code % 7 == 3, 0.25 + code / 100, 0.0)
    violation = np.where(code % 11 == 5, np.inf, violation)
    values[np.isinf(violation)] = np.nan
    return values, violation


def search(sampler: Sampler, populations: int) -> list[Told]:
    """Ask and tell that often, or until the sampler has finished."""
    told: list[Told] = []
    for _ in range(populations):
        index = sampler.ask()
        if len(index) == 0:
            break
        values, violation = results(index, sampler.problem.objectives)
        sampler.tell(index, values, violation)
        told.append((index, values, violation))
    return told


def check_sampler(make: Make, space: Space, objectives: int = 2, population: int = 8, populations: int = 4) -> None:
    """Run every check.

    Args:
        make: the sampler's class.
        space: a space of a few hundred designs; its constraints may mention chip fields only.
        objectives: number of objectives.
        population: designs per population.
        populations: populations to search.

    Raises:
        AssertionError: the sampler breaks the contract of :class:`~dse.samplers.base.Sampler`.
    """
    problem = Problem(space, objectives, seed=3, population=population, constraints=space.constraints)
    told = search(make(problem), populations)
    check_proposals(told, problem)
    check_repeats(make, problem, told)
    check_replay(make, problem, told)


def check_proposals(told: Sequence[Told], problem: Problem) -> None:
    """Proposals are index rows of the space, at most a population at a time, and there are some."""
    assert told, "the first population is empty"
    highest = np.asarray(problem.space.cardinalities)
    for index, _, _ in told:
        assert index.dtype == np.int64, f"index rows are int64, not {index.dtype}"
        assert index.shape[1:] == highest.shape, f"rows have {index.shape[1:]} columns, the space {highest.shape}"
        assert len(index) <= problem.population, f"{len(index)} designs in a population of {problem.population}"
        assert ((index >= 0) & (index < highest)).all(), "an index is out of range"


def check_repeats(make: Make, problem: Problem, told: Sequence[Told]) -> None:
    """The same seed proposes the same designs, whatever the global random state is."""
    state = np.random.get_state()
    try:
        for global_seed in (98, 99):
            np.random.seed(global_seed)
            again = search(make(problem), len(told))
            same = [np.array_equal(first[0], second[0]) for first, second in zip(told, again, strict=False)]
            assert len(again) == len(told) and all(same), "the same seed proposes other designs"
    finally:
        np.random.set_state(state)


def check_replay(make: Make, problem: Problem, told: Sequence[Told]) -> None:
    """After any number of replayed populations a fresh sampler goes on like the one that was told them."""
    for done in range(len(told)):
        sampler = make(problem)
        for population in told[:done]:
            sampler.replay(*population)
        assert np.array_equal(sampler.ask(), told[done][0]), f"after {done} replayed populations it goes another way"
