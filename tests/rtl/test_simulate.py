from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from rtl import simulate
from rtl.params import SystolicParams
from rtl.simulate import BenchError, BenchOptions, TestOutcome, read_results, run_sources, simulator_tool, source_list
from rtl.stimulus import BenchJob, gemm_shapes
from rtl.systolic import generate_systolic
from rtl.tools import Tool
from workloads.errors import ChipsmithError, MissingToolError

PASSING = '<testcase name="a" classname="m" time="0.5"/>'
FAILING = (
    '<testcase name="b" time="0.1"><failure message="x"><![CDATA[AssertionError: cycle 3\nmore]]></failure></testcase>'
)


def results(folder: Path, *cases: str) -> Path:
    path = folder / "results.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    return path


def test_results_are_read_from_the_file(tmp_path: Path) -> None:
    good, bad = read_results(results(tmp_path, PASSING, FAILING))
    assert good == TestOutcome("a", True, "", 0.5)
    assert (bad.name, bad.passed, bad.message) == ("b", False, "x")


def test_no_file_no_test_and_no_xml_are_errors(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no readable result file"):
        read_results(tmp_path / "absent.xml")
    with pytest.raises(BenchError, match="the result file holds no test"):
        read_results(results(tmp_path))
    (tmp_path / "results.xml").write_text("<testsuites>")
    with pytest.raises(BenchError, match="no readable result file"):
        read_results(tmp_path / "results.xml")


def test_an_unknown_simulator_is_refused() -> None:
    with pytest.raises(ChipsmithError) as caught:
        simulator_tool("verilatr")
    assert str(caught.value) == "simulator: got 'verilatr'; did you mean 'verilator'? known: icarus, verilator"


def test_a_missing_simulator_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulate, "_FINDERS", {"icarus": ("iverilog", lambda: None)})
    with pytest.raises(MissingToolError, match=r"^simulator icarus; not found; install it with: apt-get install"):
        simulator_tool("icarus")


@pytest.mark.parametrize("params", [SystolicParams(4, 4), SystolicParams(3, 5, "os")], ids=lambda params: params.name)
def test_the_job_holds_the_models_cycles(params: SystolicParams) -> None:
    design = generate_systolic(params)
    document = BenchJob(design, 7).document("report.json")
    assert [tuple(shape[:3]) for shape in document["shapes"]] == gemm_shapes(params, 7)
    assert all(cycles == design.cycles(m, k, n) for m, k, n, cycles in document["shapes"])


def test_the_seed_changes_only_the_random_shapes() -> None:
    one, two = gemm_shapes(SystolicParams(4, 4), 1), gemm_shapes(SystolicParams(4, 4), 2)
    assert one[:-2] == two[:-2]
    assert one[-2:] != two[-2:]
    assert one == gemm_shapes(SystolicParams(4, 4), 1)


@pytest.mark.rtl
def test_a_design_that_does_not_build_is_an_error_with_the_log(tmp_path: Path, icarus: Tool) -> None:
    design = generate_systolic(SystolicParams(2, 2))
    sources = source_list(design)
    sources[f"{design.name}.v"] = sources[f"{design.name}.v"].replace("endmodule", "endmodul")
    with pytest.raises(BenchError, match=r"ws_2x2_a8w8p32 on icarus: Command failed(.|\n)*syntax error"):
        run_sources(BenchJob(design, 1), sources, tmp_path)


@pytest.mark.rtl
def test_a_bench_without_tests_is_an_error(tmp_path: Path, icarus: Tool) -> None:
    design = generate_systolic(SystolicParams(2, 2))
    options = BenchOptions(tests=("no_such_test",))
    with pytest.raises(BenchError):
        run_sources(BenchJob(design, 1), source_list(design), tmp_path, options)


@pytest.mark.rtl
def test_a_run_leaves_this_process_as_it_was(tmp_path: Path, icarus: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHIPSMITH_BENCH", "something else")
    variables, path = dict(os.environ), list(sys.path)
    design = generate_systolic(SystolicParams(2, 2))
    run = run_sources(BenchJob(design, 1), source_list(design), tmp_path / "run", BenchOptions(tests=("reset_state",)))
    assert run.passed
    assert [one.name for one in run.outcomes] == ["reset_state"]
    assert (dict(os.environ), list(sys.path)) == (variables, path)
    assert [item.name for item in tmp_path.iterdir()] == ["run"]
