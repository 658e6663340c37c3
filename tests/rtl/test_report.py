from __future__ import annotations

import csv
import io
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

from rtl.mutants import MutantResult
from rtl.report import VerifyCase, VerifyReport, write_text
from rtl.simulate import TestOutcome

GOOD = VerifyCase(
    design="ws_4x4",
    bench="engine",
    parameters="rows=4",
    seed=3,
    simulator="icarus",
    version="11.0",
    outcomes=(TestOutcome("ragged_gemms", True, "", 0.5),),
    vectors=12,
    gemms=2,
    measured_cycles=40,
    model_cycles=40,
    coverage_percent=100.0,
    seconds=1.234,
)
BAD = replace(
    GOOD,
    outcomes=(TestOutcome("sink_stalls", False, "cycle 7: <got> 1", 0.1),),
    problems=("coverage bins not hit: wrap.sum",),
    missing_bins=("wrap.sum", "reset.load"),
    coverage_percent=90.0,
    kept="/tmp/kept",
)


def test_a_case_passes_only_with_tests_and_without_problems() -> None:
    assert GOOD.passed
    assert not BAD.passed
    assert not replace(GOOD, outcomes=()).passed
    assert not replace(GOOD, problems=("cycles",)).passed


def test_a_report_passes_only_with_cases_and_without_problems() -> None:
    assert VerifyReport((GOOD,)).passed
    assert not VerifyReport(()).passed
    assert not VerifyReport((GOOD, BAD)).passed
    assert not VerifyReport((GOOD,), problems=("mutant not caught",)).passed
    assert VerifyReport((GOOD,), mutants=(MutantResult("skew", "ws", True, "ragged_gemms"),)).passed


def test_complaints_say_how_to_repeat() -> None:
    assert VerifyReport((GOOD, BAD)).complaints() == (
        "ws_4x4 seed 3: sink_stalls: cycle 7: <got> 1 (kept in /tmp/kept)",
        "ws_4x4 seed 3: coverage bins not hit: wrap.sum (kept in /tmp/kept)",
    )


def test_csv_has_a_row_a_case() -> None:
    rows = list(csv.DictReader(io.StringIO(VerifyReport((GOOD, BAD)).to_csv())))
    assert [row["result"] for row in rows] == ["pass", "FAIL"]
    assert rows[0] == {
        "design": "ws_4x4",
        "bench": "engine",
        "seed": "3",
        "tests": "1",
        "failed": "0",
        "vectors": "12",
        "gemms": "2",
        "measured_cycles": "40",
        "model_cycles": "40",
        "coverage_percent": "100.0",
        "simulator": "icarus",
        "version": "11.0",
        "seconds": "1.23",
        "result": "pass",
        "parameters": "rows=4",
        "missing_bins": "",
    }
    assert rows[1]["missing_bins"] == "wrap.sum reset.load"


def test_junit_counts_failures() -> None:
    root = ET.fromstring(VerifyReport((GOOD, BAD)).to_junit())
    suites = root.findall("testsuite")
    assert [(suite.get("tests"), suite.get("failures")) for suite in suites] == [("1", "0"), ("2", "2")]
    failures = [element.get("message") for element in suites[1].iter("failure")]
    assert failures == ["cycle 7: <got> 1", "coverage bins not hit: wrap.sum"]
    assert {item.get("name"): item.get("value") for item in suites[0].iter("property")}["seed"] == "3"


def test_files_are_written_whole(tmp_path: Path) -> None:
    path = write_text(tmp_path / "deep" / "report.csv", "text\n")
    assert path.read_text() == "text\n"
    assert [item.name for item in path.parent.iterdir()] == ["report.csv"]
