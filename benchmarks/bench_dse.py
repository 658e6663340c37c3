"""The search: how fast it goes, what the store costs, and how good a front it finds for the same number of designs.

``python -m benchmarks.bench_dse FILE.png`` draws hypervolume against budget for every sampler on one real space.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import Row, timed
from dse.compare import compare
from dse.compare_figures import budget_figure
from dse.pareto import hypervolume
from dse.plan import Plan, make_plan
from dse.space import Space
from dse.store import Rows, open_store, part_of
from dse.study import Study
from dse.workload import Workload
from workloads.batch import Batch
from workloads.build import build_trace

_ROOT = Path(__file__).parents[1]
_SPACE = _ROOT / "dse" / "spaces" / "npu.yaml"
_DESIGNS, _STORED, _PLAIN, _TPE = 4096, 100_000, 200, 192
_BUDGETS = {
    "nsga2": 4096,
    "random": 4096,
    "sobol": 4096,
    "qmc": 4096,
    "tpe": 512,
    "gp": 48,
}  # gp takes minutes
_LARGE = """
import json, resource, sys, time
from benchmarks import bench_dse
from dse.stored import open_study

path, designs = sys.argv[1], int(sys.argv[2])
begin, cpu = time.perf_counter(), time.process_time()
if sys.argv[3] == "read":
    with open_study(path) as study:
        front = len(study.front_numbers)
else:
    with bench_dse.large(path, sys.argv[3] == "resume") as study:
        begin, cpu = (begin, cpu) if sys.argv[3] == "resume" else (time.perf_counter(), time.process_time())
        study.run(designs)
        front = len(study.front_numbers)
done = {"wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu, "front": front}
print(json.dumps({**done, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))
"""  # Linux counts ru_maxrss in KiB
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
    parts = [part_of(rows, slice(at, at + 4096)) for at in range(0, _STORED, 4096)]

    def write() -> None:
        with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "s.db", {}, _MEASURES, 4) as store:
            for number, part in enumerate(parts):
                first = number * 4096
                store.append(part, first, np.arange(first, first + len(part.index)), number)

    return Row("store designs", "chipsmith", timed(write, repeats=3), _STORED, "designs", "on disk, 25 transactions")


def large(path: str, resume: bool) -> Study:
    """The study of many designs; what it costs besides the simulation is what is measured."""
    study = _study("nsga2", store=path, resume=resume, population=4096)
    if not resume:
        study.plan.evaluate(np.zeros((1, len(study.space.paths)), dtype=np.int64))  # loads the kernels
    return study


def _in_process(path: Path, what: str) -> dict[str, float]:
    """One step of the large study in a process of its own, so that its memory is its own."""
    argv = [sys.executable, "-c", _LARGE, str(path), str(_STORED), what]
    done = subprocess.run(argv, check=True, capture_output=True, cwd=_ROOT)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _large() -> list[Row]:
    """Search, resume and read a study of ``_STORED`` designs."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.db"
        told = {what: _in_process(path, what) for what in ("search", "resume", "read")}
        size = path.stat().st_size
    memory = {what: f"peak memory {found['peak_bytes'] / 1e6:.0f} MB" for what, found in told.items()}
    search = f"nsga2, kept on disk; {size / 1e6:.1f} MB, {size / _STORED:.0f} bytes a design, {memory['search']}"
    count = f"{_STORED:,} designs"
    return [
        _large_row(f"search {count}", told["search"], search, "10,000/s", _STORED),
        _large_row(f"resume a study of {count}", told["resume"], memory["resume"], "below 5 s"),
        _large_row(f"read a study of {count}", told["read"], memory["read"], "below 3 s"),
    ]


def _large_row(what: str, found: dict[str, float], note: str, target: str, items: int = 0) -> Row:
    return Row(what, "chipsmith", (found["wall_s"],), items, "designs" if items else "", note,
               (found["cpu_s"],), target)  # fmt: skip


def budget_figure_of(path: str) -> None:
    """Draw hypervolume against budget: every sampler on the npu space, as many designs as a minute or so allows."""
    studies = {}
    for sampler, budget in _BUDGETS.items():
        studies[sampler] = _study(sampler)
        state = studies[sampler].run(budget)
        print(f"{sampler}: {state.designs} designs, {state.designs_per_s:.1f} designs/s")
    found = compare(studies)
    for side in found.sides:
        print(f"{side.name}: hypervolume {side.hypervolume:.5f}, {len(side.front)} on the front")
    budget_figure(found, path)


def main() -> list[Row]:
    """Samplers beside each other, the search beside a plain loop, a large study, and the store alone."""
    return [
        _row("chipsmith", "nsga2", _DESIGNS),
        _row("chipsmith, random", "random", _DESIGNS),
        _row("chipsmith, sobol", "sobol", _DESIGNS),
        _row("chipsmith, qmc", "qmc", _DESIGNS),
        _row("chipsmith, tpe (Optuna)", "tpe", _TPE),
        _pymoo(),
        _one_by_one(),
        *_large(),
        _store(),
    ]


if __name__ == "__main__":
    budget_figure_of(sys.argv[1])
