from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from rtl.linecov import read_coverage
from rtl.matrix import AXIS_DESIGNS, matrix
from rtl.mutants import MUTANTS, mutate
from rtl.params import SystolicParams
from rtl.simulate import BenchOptions, run_bench
from rtl.stimulus import BenchJob
from rtl.systolic import generate_systolic
from rtl.tools import Tool
from rtl.verify import (
    AXIS_MODULE,
    LINE_COVERAGE_PERCENT,
    add_regression_seed,
    quick_verify,
    regression_seeds,
    verify,
)
from workloads.errors import ChipsmithError

rtl = pytest.mark.rtl


def test_an_unknown_matrix_is_refused(icarus: Tool) -> None:
    with pytest.raises(ChipsmithError) as caught:
        verify("standart")
    assert str(caught.value) == "matrix: got 'standart'; did you mean 'standard'? known: full, quick, smoke, standard"


def test_the_standard_matrix_holds_both_dataflows_small_and_narrow() -> None:
    designs = matrix("standard")
    assert {(p.dataflow, p.rows, p.cols) for p in designs} >= {
        (flow, side, side) for flow in ("ws", "os") for side in (4, 8)
    }
    assert any(p.may_wrap for p in designs)
    assert any(p.w_bits <= 4 for p in designs)
    assert any(p.double_buffer and p.mac_pipe for p in designs)
    assert set(designs) <= set(matrix("full"))


@rtl
@pytest.mark.parametrize("params", matrix("standard"), ids=lambda params: params.name)
def test_standard_matrix(params: SystolicParams, icarus: Tool) -> None:
    report = verify(params)
    assert report.complaints() == ()
    (case,) = report.cases
    assert case.passed
    assert case.measured_cycles == case.model_cycles > 0
    assert case.coverage_percent == 100.0
    assert case.gemms >= 9
    assert len(case.outcomes) == 10


@rtl
@pytest.mark.parametrize("params", AXIS_DESIGNS, ids=lambda params: params.name)
def test_axi_stream_wrapper(params: SystolicParams, icarus: Tool, tmp_path: Path) -> None:
    design = generate_systolic(params)
    options = BenchOptions(module=AXIS_MODULE, top=f"{design.name}_axis")
    run = run_bench(BenchJob(design, 1), tmp_path, options)
    assert [(one.name, one.passed) for one in run.outcomes] == [("axis_streaming", True), ("axis_pauses", True)]
    assert run.vectors > 40


@rtl
def test_the_same_seed_gives_the_same_run(icarus: Tool) -> None:
    one, two = (verify(SystolicParams(2, 3), seed=5).cases[0] for _ in range(2))
    assert one.passed
    assert (one.vectors, one.simulated_cycles, one.measured_cycles) == (
        two.vectors,
        two.simulated_cycles,
        two.measured_cycles,
    )
    other = verify(SystolicParams(2, 3), seed=6).cases[0]
    assert other.passed
    assert other.simulated_cycles != one.simulated_cycles


@rtl
def test_a_failure_keeps_waves_names_its_seed_and_joins_the_regressions(icarus: Tool, tmp_path: Path) -> None:
    design = generate_systolic(SystolicParams(4, 4))
    mutant = next(one for one in MUTANTS if one.name == "accumulate flag ignored")
    sources = {name: text for name, text in mutate(design, mutant).items() if name in design.sources}
    report = verify(
        replace(design, sources=sources), seed=3, keep=tmp_path / "kept", regressions=tmp_path / "seeds.json"
    )
    assert not report.passed
    assert report.complaints()[0].startswith("ws_4x4_a8w8p32 seed 3: ragged_gemms: cycle ")
    assert list((tmp_path / "kept").rglob("*.fst"))
    assert json.loads((tmp_path / "seeds.json").read_text()) == {"ws_4x4_a8w8p32": [3]}


@rtl
def test_a_design_that_does_not_build_fails_its_case(icarus: Tool, tmp_path: Path) -> None:
    design = generate_systolic(SystolicParams(2, 2))
    broken = {name: text.replace("endmodule", "") for name, text in design.sources.items()}
    report = verify(replace(design, sources=broken), keep=tmp_path)
    assert not report.passed
    assert "no result: ws_2x2_a8w8p32 on icarus: Command failed" in report.complaints()[0]


@rtl
def test_a_wrong_cycle_model_fails_the_case(icarus: Tool, tmp_path: Path) -> None:
    design = generate_systolic(SystolicParams(2, 2))
    report = verify(replace(design, cycle_model=lambda m, k, n: design.cycles(m, k, n) + 1), keep=tmp_path)
    assert not report.passed
    assert any("cycles measured, the kernel says" in text for text in report.complaints())


@rtl
def test_quick_verify_takes_a_list(icarus: Tool) -> None:
    report = quick_verify([SystolicParams(2, 2), SystolicParams(2, 2, "os")])
    assert report.passed
    assert [case.design for case in report.cases] == ["ws_2x2_a8w8p32", "os_2x2_a8w8p32"]


def test_regression_seeds_are_listed_once(tmp_path: Path) -> None:
    path = tmp_path / "seeds.json"
    assert regression_seeds(path) == regression_seeds()
    for seed in (4, 9, 4):
        add_regression_seed(path, "ws_4x4", seed)
    assert regression_seeds(path)["ws_4x4"] == [4, 9]


@rtl
def test_regression_seeds_are_run_again(icarus: Tool, tmp_path: Path) -> None:
    add_regression_seed(tmp_path / "seeds.json", "ws_2x2_a8w8p32", 11)
    report = verify(SystolicParams(2, 2), regressions=tmp_path / "seeds.json")
    assert [case.seed for case in report.cases] == [1, 11]


@rtl
def test_verilator_sees_the_same_cycles_and_covers_the_lines(icarus: Tool, verilator: Tool, tmp_path: Path) -> None:
    job = BenchJob(generate_systolic(SystolicParams(3, 2, double_buffer=True, mac_pipe=1)), 1)
    ours = run_bench(job, tmp_path / "icarus")
    theirs = run_bench(job, tmp_path / "verilator", BenchOptions("verilator", coverage=True))
    assert ours.passed
    assert theirs.passed
    assert (ours.vectors, ours.simulated_cycles, ours.cycles) == (
        theirs.vectors,
        theirs.simulated_cycles,
        theirs.cycles,
    )
    lines = read_coverage(tmp_path / "verilator" / "coverage.dat", job.design.sources)
    assert lines.total > 20
    assert lines.percent >= LINE_COVERAGE_PERCENT, lines.missed


@rtl
@pytest.mark.skipif(
    "true" not in (os.environ.get("CI"), os.environ.get("CHIPSMITH_RTL_LARGE")),
    reason="a minute a design; CI runs it, and so does CHIPSMITH_RTL_LARGE=true",
)
@pytest.mark.parametrize(
    "params",
    [SystolicParams(16, 16, double_buffer=True), SystolicParams(16, 16, "os")],
    ids=lambda params: params.name,
)
def test_large_arrays_on_verilator(params: SystolicParams, verilator: Tool) -> None:
    assert verify(params, "verilator").complaints() == ()
