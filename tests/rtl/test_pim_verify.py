from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rtl.lint import lint, structure
from rtl.mutants import mutate, run_mutant
from rtl.netlist import run_netlist, synthesise
from rtl.pim_bank import generate_pim_bank
from rtl.pim_matrix import PIM_NETLIST_DESIGNS, pim_matrix
from rtl.pim_mutants import PIM_MUTANTS, pim_mutant_designs
from rtl.pim_params import PimBankParams
from rtl.pim_plan import PIM_PLAN
from rtl.pim_stimulus import required_bins
from rtl.simulate import BenchOptions, run_bench
from rtl.stimulus import BenchJob
from rtl.tools import Tool
from rtl.verify import verify

pytestmark = pytest.mark.rtl
SMALL = PimBankParams(lanes=4, columns=8)
FLOATS = [
    PimBankParams("neupims", "fp16", lanes=4, columns=8, tree_pipe=1),
    PimBankParams("aim", "bf16", lanes=4, columns=8),
]
# One fault of each kind; `rtl verify --unit pim_bank --matrix full` runs all of them.
CHOSEN = (
    "units' columns one clock early",
    "activations of another rank counted",
    "a row may be open in both buffers",
    "registers answer in memory mode",
    "the next composite does not wait for the sum",
    "the sum is announced a clock early",
    "the first column does not start a sum",
    "ties are rounded up",
    "bits shifted out are forgotten",
    "infinity less infinity stays infinite",
)


def test_the_whole_bench_on_the_smallest_unit(icarus: Tool) -> None:
    report = verify(SMALL)
    assert report.complaints() == ()
    (case,) = report.cases
    assert case.passed
    assert (case.measured_cycles, case.model_cycles, case.gemms) == (1000, 1000, 5)
    assert case.coverage_percent == 100.0
    assert len(case.outcomes) == 10
    assert {row.result for row in report.plan} == {"pass"}


@pytest.mark.parametrize("params", FLOATS, ids=lambda params: params.name)
def test_schedules_and_numbers_of_floats(params: PimBankParams, icarus: Tool, tmp_path: Path) -> None:
    design = generate_pim_bank(params)
    run = run_bench(BenchJob(design, 1), tmp_path, BenchOptions(tests=("model_schedules", "directed_columns")))
    assert [one for one in run.outcomes if not one.passed] == []
    assert len(run.cycles) == 5
    assert all(row.measured_cycles == row.model_cycles for row in run.cycles)
    wanted = {name for name in required_bins(params) if name.startswith(("operand", "sum"))}
    assert {name for name in wanted if not run.bins.get(name)} == set()


@pytest.mark.parametrize("params", pim_matrix("pim_full"), ids=lambda params: params.name)
def test_every_unit_elaborates_with_one_clock(params: PimBankParams) -> None:
    design = generate_pim_bank(params)
    found, findings = structure(design)
    assert findings == ()
    assert found.instances["mul"] == params.lanes + (params.device == "aim" and params.dtype == "fp16")
    adders = 0 if params.dtype == "int8" else params.lanes  # lanes - 1 in the tree, one before the accumulator
    assert found.instances.get("add", 0) == adders


def test_no_check_has_a_finding(icarus: Tool) -> None:
    report = lint(generate_pim_bank(FLOATS[1]))
    assert report.findings == ()
    assert report.checks["elaboration"] == report.checks["data flow"] == "pass"


def test_a_missing_multiplier_is_found() -> None:
    design = generate_pim_bank(SMALL)
    name = f"{SMALL.name}_mac.v"
    lost = f"{SMALL.name}_mul u_mul_3 (.a(w[31:24]), .b(x[31:24]), .product(m3));"
    assert lost in design.sources[name]
    sources = {**design.sources, name: design.sources[name].replace(lost, "assign m3 = 16'd0;")}
    assert "structure: 3 multipliers, want 4" in structure(replace(design, sources=sources))[1]


def test_ports_are_those_of_the_top_module() -> None:
    for params in (SMALL, *FLOATS):
        design = generate_pim_bank(params)
        header = design.sources[f"{design.top}.v"].split("module ")[1].split(");")[0]
        for port in design.ports:
            shape = "       " if port.bits == 1 else f"[{port.bits - 1}:0]"
            assert f"{port.direction:6} wire {shape} {port.name}".replace(" ", "") in header.replace(" ", ""), port.name
        assert header.count("put") == len(design.ports)


def test_mutants_have_names_of_their_own_and_planned_tests() -> None:
    assert len({mutant.name for mutant in PIM_MUTANTS}) == len(PIM_MUTANTS) >= 25
    assert {test for mutant in PIM_MUTANTS for test in mutant.tests} <= {row.test for row in PIM_PLAN}
    designs = pim_mutant_designs()
    for mutant in PIM_MUTANTS:
        design = designs[mutant.design]
        sources = mutate(design, mutant)
        assert sum(sources[name] != text for name, text in design.sources.items()) == 1


@pytest.mark.parametrize("name", CHOSEN)
def test_faults_are_caught(name: str, icarus: Tool, tmp_path: Path) -> None:
    mutant = next(one for one in PIM_MUTANTS if one.name == name)
    result = run_mutant(mutant, pim_mutant_designs()[mutant.design], tmp_path)
    assert result.caught, result.by


def test_the_netlist_keeps_the_channel_models_clocks(icarus: Tool, yosys: Tool, tmp_path: Path) -> None:
    params = PIM_NETLIST_DESIGNS[0]
    netlist = synthesise(generate_pim_bank(params), tmp_path / "synthesis")
    assert 0 < netlist.flip_flops < netlist.cells
    run = run_netlist(netlist, tmp_path / "run", 1, BenchOptions(tests=("model_schedules",)))
    assert [one for one in run.outcomes if not one.passed] == []
    assert [row.measured_cycles for row in run.cycles] == [row.model_cycles for row in run.cycles] != []
