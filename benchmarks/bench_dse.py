"""The search: how fast it goes, what the store costs, and how good a front it finds for the same number of designs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, timed
from dse.pareto import hypervolume
from dse.plan import Plan, make_plan
from dse.space import Space
from dse.store import Rows, open_store
from dse.study import Study
from dse.workload import Workload
from workloads.batch import Batch
from workloads.build import build_trace

_SPACE = Path(__file__).parents[1] / "dse" / "spaces" / "npu.yaml"
_DESIGNS, _STORED, _PLAIN, _TPE = 4096, 100_000, 200, 192
_REFERENCE = np.array([600.0, 1.0])
_MEASURES = ("area_mm2", "energy_per_token_j", "throughput_tokens_per_s", "tpot_s", "edp_js", "power_w", "latency_s")


def _work() -> Workload:
    return Workload(decode=build_trace("llama-2-7b", Batch.decode(16, 2048)))


def _study(sampler: str, **changes: Any) -> Study:
    return Study(Space.from_yaml(_SPACE), _work(), ["area_mm2", "tpot_s"], sampler=sampler, seed=1, **changes)


def _search(sampler: str, designs: int) -> Callable[[], Study]:
    def search() -> Study:
        study = _study(sampler)
        study.run(designs)
        return study

    return search


def _row(subject: str, sampler: str, designs: int) -> Row:
    """A search with the hypervolume that it reached, to one reference point for all samplers."""
    samples = timed(_search(sampler, designs), repeats=3)
    study = _study(sampler, reference=dict(zip(("area_mm2", "tpot_s"), _REFERENCE, strict=True)))
    study.run(designs)
    note = f"hypervolume {study.hypervolume():.5f}, {len(study.front_numbers)} on the front"
    return Row("search", subject, samples, designs, "designs", note)


def _one_by_one() -> Row:
    """What a user writes without a batch evaluator: simulate in a loop."""
    from sim.simulate import simulate

    space, trace = Space.from_yaml(_SPACE), build_trace("llama-2-7b", Batch.decode(16, 2048))
    index = space.sample(np.random.default_rng(1), _PLAIN)
    runs = _work_plan().evaluate(index).status == 0  # simulate() refuses the others
    chips = [space.chip(row) for row in index[runs]]

    def loop() -> None:
        for chip in chips:
            simulate(trace, chip)

    return Row("search", "simulate() in a loop", timed(loop, repeats=3), len(chips), "designs")


def _work_plan() -> Plan:
    return make_plan(Space.from_yaml(_SPACE), _work(), ["area_mm2", "tpot_s"])


def _pymoo() -> Row:
    """The same search by pymoo's own NSGA-II loop around our batch evaluator."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.problem import Problem
    from pymoo.operators.crossover.sbx import SBX
    from pymoo.operators.mutation.pm import PM
    from pymoo.operators.repair.rounding import RoundingRepair
    from pymoo.optimize import minimize

    plan = _work_plan()
    highest = np.asarray(plan.space.cardinalities) - 1

    class Designs(Problem):  # type: ignore[misc]  # pymoo has no types
        """Area and time per token; designs without numbers are infeasible."""

        def _evaluate(self, x: Any, out: dict[str, Any], *_: Any, **__: Any) -> None:
            told = plan.evaluate(np.asarray(x, dtype=np.int64))
            out["F"] = np.nan_to_num(told.values[:, plan.columns], nan=1e30)
            out["G"] = np.minimum(told.violation, 1e30)[:, None]

    def search() -> Any:
        whole = {"vtype": float, "repair": RoundingRepair()}
        first = plan.space.sample(np.random.default_rng(1), 256)
        algorithm = NSGA2(256, sampling=first, crossover=SBX(eta=3, **whole), mutation=PM(eta=3, **whole))
        problem = Designs(n_var=len(highest), n_obj=2, n_ieq_constr=1, xl=np.zeros(len(highest)), xu=highest, vtype=int)
        return minimize(problem, algorithm, ("n_eval", _DESIGNS), seed=1)

    samples = timed(search, repeats=3)
    front = search().F
    note = f"hypervolume {hypervolume(front, _REFERENCE):.5f}, {len(front)} on the front, nothing stored"
    return Row("search", "pymoo's own NSGA-II loop", samples, _DESIGNS, "designs", note)


def _store() -> Row:
    numbers = np.arange(_STORED)
    rows = Rows(
        np.stack([numbers, numbers % 97, numbers % 13, numbers % 7], axis=1),
        np.random.default_rng(0).random((_STORED, len(_MEASURES))),
        np.zeros(_STORED, dtype=np.int16),
        np.zeros(_STORED),
        ("",) * _STORED,
        numbers // 4096,
    )
    parts = [_part(rows, slice(at, at + 4096)) for at in range(0, _STORED, 4096)]

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "s.db", {}, _MEASURES, 4) as store:
            for number, part in enumerate(parts):
                first = number * 4096
                store.append(part, first, np.arange(first, first + len(part.index)), number)

    return Row("store designs", "chipsmith", timed(write, repeats=3), _STORED, "designs", "on disk, 25 transactions")


def _part(rows: Rows, cut: slice) -> Rows:
    return Rows(
        rows.index[cut],
        rows.values[cut],
        rows.status[cut],
        rows.violation[cut],
        rows.reasons[cut],
        rows.population[cut],
    )


def main() -> list[Row]:
    """Samplers beside each other, the search beside a plain loop, and the store alone."""
    return [
        _row("chipsmith", "nsga2", _DESIGNS),
        _row("chipsmith, random", "random", _DESIGNS),
        _row("chipsmith, sobol", "sobol", _DESIGNS),
        _row("chipsmith, tpe (Optuna)", "tpe", _TPE),
        _pymoo(),
        _one_by_one(),
        _store(),
    ]
