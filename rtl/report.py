"""What a verification run gave: one case a design and bench, as table, CSV and JUnit XML."""

from __future__ import annotations

import csv
import io
import os
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtl.linecov import LineCoverage
from rtl.mutants import MutantResult
from rtl.plan import PlanResult
from rtl.simulate import TestOutcome

COLUMNS = (
    "design",
    "bench",
    "seed",
    "tests",
    "failed",
    "vectors",
    "gemms",
    "measured_cycles",
    "model_cycles",
    "coverage_percent",
    "simulator",
    "version",
    "seconds",
    "result",
)


@dataclass(frozen=True, slots=True)
class VerifyCase:
    """One design on one bench.

    Attributes:
        design: design name.
        bench: ``engine``, ``axis`` (AXI-Stream wrapper) or ``netlist`` (synthesised gates).
        parameters: what the design was generated from.
        seed: job seed; the same seed repeats the run.
        simulator, version: what ran it.
        outcomes: bench tests.
        vectors: result rows compared.
        gemms: GEMMs whose cycles were compared.
        measured_cycles, model_cycles: sums over the GEMMs without stalls; the model is ``Design.cycles``.
        simulated_cycles: all clock cycles.
        coverage_percent: functional bins hit, None where the bench collects none.
        missing_bins: those that were not.
        problems: what went wrong outside the tests (cycles, coverage, build).
        seconds: real time.
        kept: folder with log and waveform of a failure, else empty.
    """

    design: str
    bench: str
    parameters: str
    seed: int
    simulator: str
    version: str
    outcomes: tuple[TestOutcome, ...] = ()
    vectors: int = 0
    gemms: int = 0
    measured_cycles: int = 0
    model_cycles: int = 0
    simulated_cycles: int = 0
    coverage_percent: float | None = None
    missing_bins: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    seconds: float = 0.0
    kept: str = ""

    @property
    def failed(self) -> int:
        """Tests that failed."""
        return sum(not one.passed for one in self.outcomes)

    @property
    def passed(self) -> bool:
        """At least one test ran, all passed, and nothing else went wrong."""
        return bool(self.outcomes) and not self.failed and not self.problems

    def row(self) -> dict[str, Any]:
        """The case as a row of the table (columns: :data:`COLUMNS`)."""
        own = {"tests": len(self.outcomes), "result": "pass" if self.passed else "FAIL"}
        row = {name: own[name] if name in own else getattr(self, name) for name in COLUMNS}
        row["seconds"] = round(self.seconds, 2)
        return row

    def complaints(self) -> tuple[str, ...]:
        """One line for each failed test and other problem, with the way to repeat it."""
        tests = tuple(f"{one.name}: {one.message}" for one in self.outcomes if not one.passed)
        where = f" (kept in {self.kept})" if self.kept else ""
        return tuple(f"{self.design} seed {self.seed}: {text}{where}" for text in (*tests, *self.problems))


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """All cases of a run.

    Attributes:
        cases: one a design and bench.
        plan: the test plan with results.
        mutants: fault injection results, where asked for.
        line_coverage: design name to line coverage, where measured.
        notes: what was not done and why.
        problems: what failed outside any case (a mutant that lived, line coverage below its threshold).
    """

    cases: tuple[VerifyCase, ...]
    plan: tuple[PlanResult, ...] = ()
    mutants: tuple[MutantResult, ...] = ()
    line_coverage: Mapping[str, LineCoverage] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """There was a case, every one passed, and nothing else failed."""
        return bool(self.cases) and all(case.passed for case in self.cases) and not self.problems

    def rows(self) -> list[dict[str, Any]]:
        """The table, one row a case."""
        return [case.row() for case in self.cases]

    def complaints(self) -> tuple[str, ...]:
        """Everything that failed, one line each."""
        return tuple(text for case in self.cases for text in case.complaints()) + self.problems

    def to_csv(self) -> str:
        """CSV text: the table's columns, then parameters and missing bins."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, "parameters", "missing_bins"])
        for case in self.cases:
            row = case.row()
            writer.writerow([*(row[name] for name in COLUMNS), case.parameters, " ".join(case.missing_bins)])
        return text.getvalue()

    def to_junit(self) -> str:
        """JUnit XML: one suite a case, one test case a bench test."""
        root = ET.Element("testsuites")
        for case in self.cases:
            root.append(_suite(case))
        ET.indent(root)
        return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(case: VerifyCase) -> ET.Element:
    name = f"{case.design}.{case.bench}"
    failures = case.failed + len(case.problems)
    attributes = {"tests": str(len(case.outcomes) + len(case.problems)), "failures": str(failures)}
    suite = ET.Element("testsuite", {"name": name, **attributes, "time": f"{case.seconds:.3f}"})
    properties = ET.SubElement(suite, "properties")
    for key in ("parameters", "seed", "simulator", "version", "measured_cycles", "model_cycles", "coverage_percent"):
        ET.SubElement(properties, "property", {"name": key, "value": str(getattr(case, key))})
    for one in case.outcomes:
        _test_case(suite, name, one.name, one.seconds, "" if one.passed else one.message or "failed")
    for index, problem in enumerate(case.problems):
        _test_case(suite, name, f"check_{index}", 0.0, problem)
    return suite


def _test_case(suite: ET.Element, classname: str, name: str, seconds: float, failure: str) -> None:
    element = ET.SubElement(suite, "testcase", {"classname": classname, "name": name, "time": f"{seconds:.3f}"})
    if failure:
        ET.SubElement(element, "failure", {"message": failure})


def write_text(path: str | Path, text: str) -> Path:
    """Write a file through a temporary name beside it, so that none is left half-written."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        out.write(text)
    Path(name).chmod(0o644)
    return Path(name).replace(target)
