"""The Study: a space, a workload, objectives, constraints, a sampler and a store; from many chips to a Pareto front.

``ask`` and ``tell`` lie underneath, a whole population at a time; ``run`` loops over them. What was told is in the
store before ``run`` reports it; a study that was killed resumes and goes on as if nothing had happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dse.ledger import Ledger, Numbers
from dse.objectives import Floats
from dse.pareto import reference_of
from dse.plan import Plan, make_plan
from dse.quality import QualityTable, load_quality
from dse.results import StudyResults
from dse.samplers.base import Problem
from dse.samplers.registry import sampler_class
from dse.space import Index, Space
from dse.store import Rows, open_store
from dse.verify import Simulator, Verification, verify_designs
from dse.workload import Evaluator, Outcomes, Workload
from workloads.errors import ChipsmithError
from workloads.trace import Trace

_IDLE_POPULATIONS = 20  # in a row without a new design: the sampler has nothing more to find


@dataclass(frozen=True)
class Population:
    """Designs that a sampler proposed together.

    Attributes:
        number: its place in the study.
        index: index rows, shape (n, parameters).
        fresh: rows that are not in the study yet, to be evaluated.
    """

    number: int
    index: Index
    fresh: Numbers


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running study stands.

    Attributes:
        designs: designs in the study.
        new: of them, evaluated by this run.
        feasible: of them, feasible.
        front: designs on the Pareto front.
        hypervolume: see :func:`dse.pareto.hypervolume`; 0 before the first feasible design.
        elapsed_s: seconds of this run.
    """

    designs: int
    new: int
    feasible: int
    front: int
    hypervolume: float
    elapsed_s: float

    @property
    def designs_per_s(self) -> float:
        """New designs a second."""
        return self.new / self.elapsed_s if self.elapsed_s > 0 else 0.0


class Study(StudyResults):
    """A search over a space of chips.

    Args:
        space: what varies.
        workload: what runs: a :class:`~dse.workload.Workload`, or one trace.
        objectives: names (see dse/objectives.py).
        constraints: comparisons, added to those of the space.
        sampler: name of a file in dse/samplers.
        store: SQLite file, or None to keep the study in memory.
        seed: of all random choices; the same seed gives the same designs in the same order.
        iso_quality: ``required``: a space that varies number formats or sparsity needs ``quality``; ``none``: it does
            not, and every figure says so.
        quality: a quality table, or the CSV file that holds one.
        population: designs per population, 0 = the sampler's own default.
        reference: objective name to the reference point of the hypervolume; without it the worst feasible values of
            the first results, moved out by a tenth.
        mapping, fidelity: how designs are simulated.
        evaluator: stands in for ``sim.batch.evaluate``.
        simulator: stands in for ``sim.simulate.simulate`` when the front is verified.
        resume: continue the study in ``store``.

    Raises:
        ChipsmithError: for anything that does not fit together, and as ``open_store`` does.
    """

    def __init__(
        self,
        space: Space,
        workload: Workload | Trace,
        objectives: Sequence[str],
        constraints: Sequence[str] = (),
        sampler: str = "nsga2",
        store: str | Path | None = None,
        seed: int = 0,
        *,
        iso_quality: str = "required",
        quality: QualityTable | str | Path | None = None,
        population: int = 0,
        reference: Mapping[str, float] | None = None,
        mapping: str = "auto",
        fidelity: str = "tile",
        evaluator: Evaluator | None = None,
        simulator: Simulator | None = None,
        resume: bool = False,
    ) -> None:
        table = load_quality(quality) if isinstance(quality, (str, Path)) else quality
        self.plan: Plan = make_plan(
            space, Workload.of(workload), objectives, constraints, iso_quality, table, evaluator, mapping, fidelity
        )
        self.space = space
        self.seed = _checked_seed(seed)
        self._simulator = simulator
        problem = Problem(
            space, len(self.plan.objectives), self.seed, _checked_population(population), self.plan.structural
        )
        self._sampler = sampler_class(sampler)(problem)
        facts = self.plan.manifest(f"{sampler}, population {self._sampler.population}", self.seed)
        kept = open_store(store, facts, self.plan.names, len(space.paths), resume)
        try:
            ledger = Ledger(kept.load(), self.plan.columns, self.plan.signs)
            super().__init__(self.plan.description, kept, ledger, _given_reference(self.plan, reference))
            self._restore()
        except BaseException:
            kept.close()
            raise

    def __enter__(self) -> Study:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the store; everything told is in it already."""
        self._store.close()

    def _restore(self) -> None:
        """Take over what the store holds, the sampler's state included."""
        self._fix_reference()  # its writer may have been killed between the designs and the reference point
        populations = self._store.populations()
        rows = self._ledger.rows
        for numbers in populations:
            self._sampler.replay(rows.index[numbers], self._ledger.minimised(numbers), rows.violation[numbers])
        self._complete = len(populations)
        self._pending: Population | None = None

    # Ask and tell

    def ask(self) -> Population:
        """The next population, or the rest of one that was told in part; no rows when the sampler has finished."""
        if self._pending is None:
            index = self._sampler.ask()
            self._pending = Population(self._complete, index, self._unknown(index))
        return self._pending

    def tell(
        self,
        population: Population,
        values: Mapping[str, Sequence[float] | Floats],
        status: Sequence[int] | None = None,
        reasons: Sequence[str] | None = None,
    ) -> None:
        """Give the results of a population's fresh designs, or of the first of them, and store them.

        Args:
            population: from :meth:`ask`.
            values: measure name to one number a design; measures that are neither objective nor in a constraint may
                be left out.
            status: per design, 0 = it has numbers.
            reasons: per design, why it has none.

        Raises:
            ChipsmithError: not the population that was asked last, a missing or illegal number.
        """
        count = min((len(v) for v in values.values()), default=0)
        matrix = np.full((count, len(self.plan.names)), np.nan)
        for name, column in values.items():
            if name not in self.plan.names or len(column) != count:
                raise ChipsmithError(f"values of {name}", len(column), f"{count} numbers of {self.plan.names}")
            matrix[:, self.plan.names.index(name)] = column
        index = population.index[population.fresh[:count]]
        codes = np.zeros(count, dtype=np.int16) if status is None else np.asarray(status, dtype=np.int16)
        self._commit(population, self.plan.judge(index, matrix, codes, reasons or [""] * count))

    def _commit(self, population: Population, outcomes: Outcomes) -> None:
        """Store results; tell the sampler when its population is complete."""
        if population is not self._pending:
            raise ChipsmithError("population", population.number, "tell the population that was asked last")
        done, rest = np.split(population.fresh, [len(outcomes.status)])
        number = np.full(len(done), population.number, dtype=np.int64)
        rows = Rows(
            population.index[done], outcomes.values, outcomes.status, outcomes.violation, outcomes.reasons, number
        )
        before = len(self)
        asked = self._numbers(population, done) if len(rest) == 0 else None
        self._store.append(rows, before, asked, population.number)
        self._ledger.append(rows)
        self._fix_reference()
        if asked is None:
            self._pending = Population(population.number, population.index, rest)
        else:
            self._finish(population, asked)

    def _unknown(self, index: Index) -> Numbers:
        """Rows of designs that are not in the study, each design once."""
        unknown = np.flatnonzero(self._ledger.find(index) < 0)
        first = {index[row].tobytes(): int(row) for row in unknown[::-1]}
        return np.asarray(sorted(first.values()), dtype=np.int64)

    def _numbers(self, population: Population, done: Numbers) -> Numbers:
        """Design numbers of a population whose last designs are about to be stored."""
        numbers = self._ledger.find(population.index)
        new = {population.index[row].tobytes(): len(self) + i for i, row in enumerate(done)}
        for row in np.flatnonzero(numbers < 0):
            numbers[row] = new[population.index[row].tobytes()]
        return numbers

    def _finish(self, population: Population, numbers: Numbers) -> None:
        violation = self._ledger.rows.violation[numbers]
        self._sampler.tell(population.index, self._ledger.minimised(numbers), violation)
        self._complete += 1
        self._pending = None

    # Running

    def run(
        self,
        budget_designs: int | None = None,
        budget_s: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> Progress:
        """Search until a budget is used up or the sampler has finished.

        Args:
            budget_designs: designs in the whole study, those of earlier runs included.
            budget_s: seconds of this run; the population that is under way is finished.
            progress: called after each population, when its designs are safely stored.

        Raises:
            ChipsmithError: no budget (an exhaustive search needs none), or as the evaluator raises.
        """
        self._check_budget(budget_designs, budget_s)
        begin, before, idle = time.monotonic(), len(self), 0
        while idle < _IDLE_POPULATIONS and len(self) < self.space.size:
            if budget_designs is not None and len(self) >= budget_designs:
                break
            if budget_s is not None and time.monotonic() - begin >= budget_s:
                break
            found = self._step(budget_designs)
            if found is None:
                break
            idle = 0 if found else idle + 1
            if progress is not None:
                progress(self._state(before, begin))
        return self._state(before, begin)

    def _step(self, budget_designs: int | None) -> int | None:
        """Evaluate one population, or what the budget leaves of it; None when the sampler has finished."""
        population = self.ask()
        if len(population.index) == 0:
            return None
        room = None if budget_designs is None else budget_designs - len(self)
        fresh = population.fresh[:room]
        self._commit(population, self.plan.evaluate(population.index[fresh]))
        return len(fresh)

    def _check_budget(self, designs: int | None, seconds: float | None) -> None:
        if designs is None and seconds is None and self._sampler.name != "exhaustive":
            raise ChipsmithError("budget", None, "give a number of designs or of seconds; only exhaustive needs none")
        if designs is not None and designs < 1:
            raise ChipsmithError("budget_designs", designs, "at least 1")
        if seconds is not None and not seconds > 0:
            raise ChipsmithError("budget_s", seconds, "more than 0")

    def _state(self, before: int, begin: float) -> Progress:
        ledger = self._ledger
        elapsed = time.monotonic() - begin
        return Progress(len(self), len(self) - before, ledger.feasible, len(ledger.front), self.hypervolume(), elapsed)

    # Results

    def _fix_reference(self) -> None:
        """Take the reference point from the first feasible designs, once and for all."""
        if self._reference is None and self._ledger.feasible:
            point = reference_of(self._ledger.minimised(self.feasible_numbers))
            self._store.put("_reference", " ".join(float(v).hex() for v in point))

    def verify_front(self, progress: Callable[[int, int], None] | None = None) -> Verification:
        """Simulate every design of the front again, alone, and compare all measures with those of the search.

        Args:
            progress: called with (designs done, designs in all).
        """
        rows = self._ledger.rows
        numbers = self.front_numbers
        return verify_designs(self.plan, numbers, rows.index[numbers], rows.values[numbers], self._simulator, progress)


def _checked_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**32:
        raise ChipsmithError("seed", seed, "a whole number from 0 to 4294967295")
    return int(seed)


def _checked_population(population: int) -> int:
    if population < 0:
        raise ChipsmithError("population", population, "at least 1, or 0 for the sampler's own")
    return population


def _given_reference(plan: Plan, reference: Mapping[str, float] | None) -> NDArray[np.float64] | None:
    if reference is None:
        return None
    names = [o.name for o in plan.objectives]
    if set(reference) != set(names):
        raise ChipsmithError("reference", dict(reference), f"one number for each of {', '.join(names)}")
    return np.asarray([reference[name] for name in names], dtype=np.float64) * plan.signs
