"""Builds a design with its bench in a private folder, runs it in a simulator, and reads what came out.

The cocotb runner leaves result files where it likes, does not raise outside pytest and exits inside it; so build
folder, test folder and result file are private, and nothing counts but the result file itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtl.design import Design
from rtl.stimulus import BenchJob
from rtl.tools import INSTALL, Tool, find_iverilog, find_verilator
from workloads.errors import ChipsmithError, MissingToolError, nearest

_ROOT = Path(__file__).resolve().parent.parent
_FINDERS = {"icarus": ("iverilog", find_iverilog), "verilator": ("verilator", find_verilator)}
SIMULATORS = tuple(_FINDERS)
VERILATOR_ARGS = ("-O3", "-Wall", "--x-assign", "unique", "--x-initial", "unique", "--assert")
# Benches run for seconds, so the C++ compiler's time is what counts.
_QUICK_COMPILE = "OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0"


class BenchError(Exception):
    """The bench could not be built or left no result; the message holds the end of the log."""


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """One bench test.

    Attributes:
        name: its function's name.
        passed: whether it passed.
        message: first line of the failure, else empty.
        seconds: real time.
    """

    __test__ = False  # pytest: not a test class

    name: str
    passed: bool
    message: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CycleRow:
    """Cycles of one GEMM in the bench.

    Attributes:
        test: the bench test.
        m, k, n: shape.
        measured_cycles: in the simulator.
        model_cycles: kernel, plus counted stalls where the test stalls.
    """

    test: str
    m: int
    k: int
    n: int
    measured_cycles: int
    model_cycles: int


@dataclass(frozen=True, slots=True)
class BenchRun:
    """What one simulator run of one design gave.

    Attributes:
        design: design name.
        simulator: simulator name.
        version: its version.
        seed: job seed.
        outcomes: one entry a bench test.
        cycles: one entry a measured GEMM.
        bins: coverage bin to count.
        vectors: result rows compared.
        simulated_cycles: clock cycles.
        log: end of the simulator's log.
    """

    design: str
    simulator: str
    version: str
    seed: int
    outcomes: tuple[TestOutcome, ...]
    cycles: tuple[CycleRow, ...]
    bins: Mapping[str, int]
    vectors: int
    simulated_cycles: int
    log: str

    @property
    def passed(self) -> bool:
        """Every test passed, and there was at least one."""
        return bool(self.outcomes) and all(one.passed for one in self.outcomes)


def simulator_tool(simulator: str) -> Tool:
    """The program behind a simulator name.

    Raises:
        ChipsmithError: for an unknown simulator.
        MissingToolError: where it is not installed, with how to install it.
    """
    if simulator not in _FINDERS:
        raise ChipsmithError("simulator", simulator, nearest(simulator, _FINDERS))
    program, finder = _FINDERS[simulator]
    tool = finder()
    if tool is None:
        raise MissingToolError(f"simulator {simulator}", None, f"not found; install it with: {INSTALL[program]}")
    return tool


@contextlib.contextmanager
def _surroundings(tool: Tool) -> Iterator[None]:
    """The runner hands this process's variables and module path to the simulator: set both, then restore them."""
    saved, path = dict(os.environ), list(sys.path)
    os.environ.update(tool.env)
    os.environ["MAKEFLAGS"] = f"{os.environ.get('MAKEFLAGS', '')} {_QUICK_COMPILE}".strip()
    os.environ.pop("CHIPSMITH_BENCH", None)
    sys.path.insert(0, str(_ROOT))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)
        sys.path[:] = path


def _build_args(simulator: str, tool: Tool, coverage: bool) -> list[str]:
    if simulator == "icarus":
        return [*tool.args, "-Wall"]
    return [*tool.args, *VERILATOR_ARGS, *(["--coverage-line"] if coverage else [])]


def _run_args(simulator: str, seed: int) -> list[str]:
    """Verilator starts every register at random, so that a missing reset shows."""
    return ["+verilator+rand+reset+2", f"+verilator+seed+{seed % 2**31 or 1}"] if simulator == "verilator" else []


def _bench_env(folder: Path) -> dict[str, str]:
    """Variables of the simulator process; rewriting every imported module's asserts would cost a second a run."""
    return {
        "CHIPSMITH_BENCH": str(folder / "job.json"),
        "COCOTB_ANSI_OUTPUT": "0",
        "COCOTB_REWRITE_ASSERTION_FILES": "",
    }


def write_sources(folder: Path, sources: Mapping[str, str]) -> list[Path]:
    """Write file name to text into ``folder``; returns the paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name for name in sources]
    for path, text in zip(paths, sources.values(), strict=True):
        path.write_text(text)
    return paths


def _log_tail(path: Path, lines: int = 25) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"


def _outcome(case: ET.Element) -> TestOutcome:
    bad = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
    message = "" if bad is None else (bad.get("error_msg") or bad.get("message") or bad.text or bad.tag)
    first = message.strip().splitlines()[0] if message.strip() else ""
    return TestOutcome(case.get("name", "?"), bad is None, first, float(case.get("time", "0")))


def read_results(path: Path) -> tuple[TestOutcome, ...]:
    """Bench tests of a result file.

    Raises:
        BenchError: where the file is missing, unreadable or holds no test.
    """
    try:
        cases = list(ET.parse(path).getroot().iter("testcase"))
    except (OSError, ET.ParseError) as problem:
        raise BenchError(f"no readable result file: {problem}") from problem
    if not cases:
        raise BenchError("the result file holds no test")
    return tuple(_outcome(case) for case in cases)


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """How a bench is run.

    Attributes:
        simulator: ``icarus`` or ``verilator``.
        waves: keep a waveform in the run's folder.
        tests: bench tests to run; all if empty.
        coverage: measure line coverage (Verilator).
        defines: preprocessor names to set.
        top: top module; the design's bench wrapper if empty.
        module: cocotb test module; the design's own if empty.
    """

    simulator: str = "icarus"
    waves: bool = False
    tests: tuple[str, ...] = ()
    coverage: bool = False
    defines: tuple[str, ...] = ()
    top: str = ""
    module: str = ""


DEFAULT_OPTIONS = BenchOptions()


def _run(tool: Tool, options: BenchOptions, sources: Sequence[Path], job: BenchJob, folder: Path) -> None:
    """Build and run through the cocotb runner; results lie in ``folder`` afterwards."""
    from cocotb_tools.runner import get_runner

    top, seed = options.top or job.design.bench_top, job.seed
    with _surroundings(tool):
        runner = get_runner(options.simulator)
        runner.log.setLevel(logging.CRITICAL)
        runner.build(
            sources=list(sources),
            hdl_toplevel=top,
            build_args=_build_args(options.simulator, tool, options.coverage),
            defines=dict.fromkeys(options.defines, 1),
            build_dir=folder / "build",
            always=True,
            waves=options.waves,
            log_file=folder / "build.log",
        )
        runner.test(
            hdl_toplevel=top,
            test_module=options.module or job.design.bench.module,
            testcase=list(options.tests) or None,
            seed=seed,
            plusargs=_run_args(options.simulator, seed),
            extra_env=_bench_env(folder),
            build_dir=folder / "build",
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            waves=options.waves,
            log_file=folder / "run.log",
        )


def _cycle_rows(report: Mapping[str, Any]) -> tuple[CycleRow, ...]:
    rows = []
    for row in report.get("runs", ()):
        m, k, n = row["shape"]
        rows.append(CycleRow(row["test"], m, k, n, row["measured_cycles"], row["model_cycles"]))
    return tuple(rows)


def run_bench(job: BenchJob, folder: Path, options: BenchOptions = DEFAULT_OPTIONS) -> BenchRun:
    """Build and run the bench of one design.

    Args:
        job: design and seed.
        folder: private folder; created.
        options: simulator and what to keep.

    Raises:
        MissingToolError: where the simulator is not installed.
        BenchError: where nothing could be built or no result came.
    """
    return run_sources(job, source_list(job.design), folder, options)


def run_sources(
    job: BenchJob, sources: Mapping[str, str], folder: Path, options: BenchOptions = DEFAULT_OPTIONS
) -> BenchRun:
    """:func:`run_bench` on other sources than the design's own (a mutant, a netlist)."""
    tool = simulator_tool(options.simulator)
    folder = folder.resolve()
    paths = write_sources(folder / "src", sources)
    report_path = folder / "report.json"
    (folder / "job.json").write_text(json.dumps(job.document(str(report_path))))
    problem = ""
    try:
        _run(tool, options, paths, job, folder)
    except (RuntimeError, SystemExit) as failure:  # the runner's ways to say that a command or a test failed
        problem = str(failure)
    if not (folder / "results.xml").exists():
        log = folder / ("run.log" if (folder / "run.log").exists() else "build.log")
        raise BenchError(f"{job.design.name} on {options.simulator}: {problem}\n{_log_tail(log)}")
    report = json.loads(report_path.read_text()) if report_path.exists() else {}
    return BenchRun(
        design=job.design.name,
        simulator=options.simulator,
        version=tool.version,
        seed=job.seed,
        outcomes=read_results(folder / "results.xml"),
        cycles=_cycle_rows(report),
        bins=report.get("bins", {}),
        vectors=int(report.get("vectors", 0)),
        simulated_cycles=int(report.get("cycles", 0)),
        log=_log_tail(folder / "run.log"),
    )


def source_list(design: Design) -> dict[str, str]:
    """Sources with the bench's own files, as :func:`run_bench` builds them."""
    return {**design.sources, **design.bench_sources}
