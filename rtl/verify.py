"""Verifies designs: simulate the bench, compare cycles with the model, require full functional coverage.

Everything random comes from the seed, which every report shows. A case that fails is run once more with a waveform,
and its folder is kept.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from rtl.design import Design
from rtl.linecov import LineCoverage, read_coverage
from rtl.matrix import AXIS_DESIGNS, COVERAGE_DESIGNS, NETLIST_DESIGNS, matrix
from rtl.mutants import MutantResult, run_mutants
from rtl.netlist import run_netlist, synthesise
from rtl.params import SystolicParams
from rtl.pim_bank import generate_pim_bank
from rtl.pim_matrix import PIM_COVERAGE_DESIGNS, PIM_NETLIST_DESIGNS, is_pim_matrix, pim_matrix
from rtl.pim_mutants import run_pim_mutants
from rtl.pim_params import PimBankParams
from rtl.plan import PlanResult, results_of
from rtl.report import VerifyCase, VerifyReport, write_text
from rtl.simulate import BenchError, BenchOptions, BenchRun, run_bench, run_sources, simulator_tool, source_list
from rtl.stimulus import BenchJob
from rtl.systolic import generate_systolic
from rtl.tools import find_verilator, find_yosys

DEFAULT_SEED = 1
LINE_COVERAGE_PERCENT = 95.0
AXIS_MODULE = "rtl.benches.bench_axis"
One = Design | SystolicParams | PimBankParams
Verifiable = One | str | Sequence[One]
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class _Work:
    """One case to run.

    Attributes:
        design: the engine.
        bench: ``engine``, ``axis`` or ``netlist``.
        seed: job seed.
        options: simulator and bench module.
    """

    design: Design
    bench: str
    seed: int
    options: BenchOptions

    def run(self, folder: Path, options: BenchOptions) -> BenchRun:
        """Simulate in ``folder``."""
        if self.bench != "netlist":
            return run_bench(BenchJob(self.design, self.seed), folder, options)
        return run_netlist(synthesise(self.design, folder / "synthesis"), folder, self.seed, options)


_NETLISTS: Mapping[str, Sequence[One]] = {"full": NETLIST_DESIGNS, "pim_full": PIM_NETLIST_DESIGNS}


def designs_of(what: Verifiable) -> tuple[Design, ...]:
    """Designs of what :func:`verify` takes.

    Raises:
        ChipsmithError: for an unknown matrix.
    """
    if isinstance(what, str):
        what = pim_matrix(what) if is_pim_matrix(what) else matrix(what)
    if isinstance(what, One):
        what = (what,)
    return tuple(_design(one) for one in what)


def _design(one: One) -> Design:
    if isinstance(one, Design):
        return one
    return generate_pim_bank(one) if isinstance(one, PimBankParams) else generate_systolic(one)


def regression_seeds(path: Path | None = None) -> dict[str, list[int]]:
    """Seeds that once failed, by design: those shipped with the benches and those in ``path``."""
    seeds: dict[str, list[int]] = defaultdict(list)
    shipped = resources.files("rtl.benches").joinpath("regression_seeds.json").read_text(encoding="utf-8")
    texts = [shipped] + ([path.read_text()] if path is not None and path.exists() else [])
    for text in texts:
        for design, listed in json.loads(text).items():
            seeds[design] += [int(seed) for seed in listed if seed not in seeds[design]]
    return dict(seeds)


def add_regression_seed(path: Path, design: str, seed: int) -> None:
    """Put a failing seed on the list in ``path``, which later runs repeat."""
    seeds = json.loads(path.read_text()) if path.exists() else {}
    listed = seeds.setdefault(design, [])
    if seed not in listed:
        listed.append(seed)
        write_text(path, json.dumps(seeds, indent=2, sort_keys=True) + "\n")


def _work_list(what: Verifiable, seed: int, options: BenchOptions, known: Mapping[str, list[int]]) -> list[_Work]:
    """Cases of a design list: each with the seed, then with its regression seeds; wrappers and netlists last."""
    designs = designs_of(what)
    work = [
        _Work(design, "engine", one, options)
        for design in designs
        for one in dict.fromkeys([seed, *known.get(design.name, ())])
    ]
    if what in ("standard", "full"):
        work += [_axis(generate_systolic(params), seed, options) for params in AXIS_DESIGNS]
    if isinstance(what, str) and what in _NETLISTS and find_yosys() is not None:
        work += [_Work(_design(params), "netlist", seed, options) for params in _NETLISTS[what]]
    return work


def _axis(design: Design, seed: int, options: BenchOptions) -> _Work:
    return _Work(design, "axis", seed, replace(options, module=AXIS_MODULE, top=f"{design.name}_axis"))


def _coverage(work: _Work, run: BenchRun) -> tuple[float | None, tuple[str, ...]]:
    if work.bench == "axis":
        return None, ()
    wanted = work.design.bench.bins(work.bench == "netlist")
    missing = tuple(name for name in wanted if not run.bins.get(name))
    return round(100.0 * (1 - len(missing) / len(wanted)), 1), missing


def _case(work: _Work, run: BenchRun, seconds: float) -> VerifyCase:
    """Judge a run: cycles of every unstalled product against the design's model, functional coverage complete."""
    plain = [row for row in run.cycles if row.test == work.design.bench.measured]
    model = [work.design.cycles(row.m, row.k, row.n) for row in plain]
    problems = [
        f"{row.m}x{row.k}x{row.n}: {row.measured_cycles} cycles measured, model {want}"
        for row, want in zip(plain, model, strict=True)
        if row.measured_cycles != want
    ]
    percent, missing = _coverage(work, run)
    if missing and run.passed:
        problems.append(f"coverage bins not hit: {', '.join(missing)}")
    if work.bench != "axis" and not plain and run.passed:
        problems.append("no product was measured")
    return VerifyCase(
        design=work.design.name,
        bench=work.bench,
        parameters=work.design.params.summary,
        seed=work.seed,
        simulator=run.simulator,
        version=run.version,
        outcomes=run.outcomes,
        vectors=run.vectors,
        gemms=len(plain),
        measured_cycles=sum(row.measured_cycles for row in plain),
        model_cycles=sum(model),
        simulated_cycles=run.simulated_cycles,
        coverage_percent=percent,
        missing_bins=missing,
        problems=tuple(problems),
        seconds=seconds,
    )


def _broken(work: _Work, problem: BenchError, version: str, seconds: float) -> VerifyCase:
    text = " | ".join(str(problem).splitlines()[:4])
    return VerifyCase(
        work.design.name,
        work.bench,
        work.design.params.summary,
        work.seed,
        work.options.simulator,
        version,
        problems=(f"no result: {text}",),
        seconds=seconds,
    )


def _attempt(work: _Work, folder: Path, version: str) -> VerifyCase:
    start = time.monotonic()
    try:
        run = work.run(folder, work.options)
    except BenchError as problem:
        return _broken(work, problem, version, time.monotonic() - start)
    return _case(work, run, time.monotonic() - start)


def _keep_waves(work: _Work, case: VerifyCase, folder: Path) -> VerifyCase:
    """Repeat a failed case with a waveform; the folder stays."""
    failed = tuple(one.name for one in case.outcomes if not one.passed)
    if case.outcomes and not work.options.waves:
        with contextlib.suppress(BenchError):  # the log in the folder says why; the first run's verdict stands
            work.run(folder / "waves", replace(work.options, waves=True, tests=failed))
    return replace(case, kept=str(folder))


def _run_case(work: _Work, keep: Path | None, version: str) -> VerifyCase:
    """Run one case in a private folder that only a failure, or a wanted waveform, leaves behind."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"chipsmith-{work.design.name}-", dir=keep))
    case = _attempt(work, folder / "run", version)
    if not case.passed:
        return _keep_waves(work, case, folder)
    if work.options.waves:
        return replace(case, kept=str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return case


def _outcomes(cases: Iterable[VerifyCase]) -> dict[str, list[bool]]:
    """Bench test to whether it passed, once a case."""
    outcomes: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        for one in case.outcomes:
            outcomes[one.name].append(one.passed)
    return dict(outcomes)


def _hit_bins(work: Sequence[_Work], cases: Sequence[VerifyCase]) -> Counter[str]:
    """Coverage bins that some case hit."""
    bins: Counter[str] = Counter()
    for one, case in zip(work, cases, strict=True):
        if case.coverage_percent is not None:
            bins.update(set(one.design.bench.bins(one.bench == "netlist")) - set(case.missing_bins))
    return bins


def _quiet(_text: str) -> None:
    """Progress that nobody asked for."""


def verify(
    what: Verifiable = "standard",
    simulator: str = "icarus",
    seed: int | None = None,
    waves: bool = False,
    *,
    keep: Path | None = None,
    regressions: Path | None = None,
    progress: Progress = _quiet,
) -> VerifyReport:
    """Simulate designs on their benches and compare data and cycles with the models.

    Args:
        what: a design, parameters, a list of either, or a matrix name (``smoke``, ``quick``, ``standard``, ``full``;
            with ``pim_`` in front the PIM bank units). ``full`` adds netlists, mutants and line coverage where yosys
            and Verilator are installed.
        simulator: ``icarus`` or ``verilator``.
        seed: job seed of every case; 1 if None.
        waves: keep a waveform of every case.
        keep: folder for what failures leave; the system's temporary folder if None.
        regressions: JSON file of seeds that failed before; read if it exists, failing seeds are added.
        progress: called with one line a case.

    Raises:
        ChipsmithError: for an unknown simulator or matrix.
        MissingToolError: where the simulator is not installed.
    """
    version = simulator_tool(simulator).version
    chosen = DEFAULT_SEED if seed is None else seed
    work = _work_list(what, chosen, BenchOptions(simulator=simulator, waves=waves), regression_seeds(regressions))
    cases = []
    for one in work:
        case = _run_case(one, keep, version)
        if not case.passed and regressions is not None:
            add_regression_seed(regressions, case.design, case.seed)
        progress(f"{case.design} {case.bench} seed {case.seed}: {'pass' if case.passed else 'FAIL'}")
        cases.append(case)
    report = VerifyReport(tuple(cases), _plan(work, cases))
    return _with_extras(report, what, chosen, simulator, progress) if what in ("full", "pim_full") else report


def _plan(work: Sequence[_Work], cases: Sequence[VerifyCase]) -> tuple[PlanResult, ...]:
    """The test plans of the kinds of design that were run, with results."""
    engines = [one.design for one in work if one.bench == "engine"]
    plans = dict.fromkeys(design.bench.plan for design in engines)
    possible = {name for design in engines for name in design.bench.bins(False)}
    outcomes, hit = _outcomes(cases), _hit_bins(work, cases)
    return tuple(row for plan in plans for row in results_of(plan, possible, outcomes, hit))


def line_coverage(design: Design, seed: int = DEFAULT_SEED) -> LineCoverage:
    """Line coverage of a design's sources over its whole bench, measured by Verilator.

    Raises:
        MissingToolError: where Verilator is not installed.
        BenchError: where the bench can't be built.
    """
    with tempfile.TemporaryDirectory(prefix="chipsmith-coverage-") as name:
        run_sources(BenchJob(design, seed), source_list(design), Path(name), BenchOptions("verilator", coverage=True))
        return read_coverage(Path(name) / "coverage.dat", design.sources)


def _mutants(what: object, seed: int, simulator: str) -> tuple[MutantResult, ...]:
    runs = run_pim_mutants if what == "pim_full" else run_mutants
    return runs(seed=seed, simulator=simulator)


def _with_extras(report: VerifyReport, what: object, seed: int, simulator: str, progress: Progress) -> VerifyReport:
    """Add mutants and line coverage; say what was left out."""
    notes = [] if find_yosys() else ["netlist simulation: not run, yosys is not installed"]
    mutants = _mutants(what, seed, simulator)
    problems = [f"mutant not caught: {one.name} ({one.by})" for one in mutants if not one.caught]
    progress(f"mutants: {sum(one.caught for one in mutants)} of {len(mutants)} caught")
    coverage = {}
    if find_verilator() is None:
        notes.append("line coverage: not measured, Verilator is not installed")
    else:
        measured = PIM_COVERAGE_DESIGNS if what == "pim_full" else COVERAGE_DESIGNS
        coverage = {params.name: line_coverage(_design(params), seed) for params in measured}
    for name, found in coverage.items():
        progress(f"line coverage of {name}: {found.percent:.1f} %")
        if found.percent < LINE_COVERAGE_PERCENT:
            problems.append(f"line coverage of {name} is {found.percent:.1f} %, want {LINE_COVERAGE_PERCENT} %")
    return replace(
        report, mutants=mutants, line_coverage=coverage, notes=tuple(notes), problems=report.problems + tuple(problems)
    )


def quick_verify(params_list: Sequence[SystolicParams] | None = None, simulator: str = "icarus") -> VerifyReport:
    """Verify a few small designs in seconds (4x4 and 8x8 if none are named).

    Raises:
        MissingToolError: where the simulator is not installed.
    """
    return verify(matrix("quick") if params_list is None else tuple(params_list), simulator)
