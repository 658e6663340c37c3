from __future__ import annotations

import ast
from pathlib import Path

from rtl.coverage import required_bins
from rtl.params import SystolicParams
from rtl.pim_plan import PIM_PLAN
from rtl.plan import PLAN, PlanResult, plan_results

WS, DOUBLE, NARROW = SystolicParams(4, 4), SystolicParams(4, 4, double_buffer=True), SystolicParams(4, 4, acc_bits=18)


def bench_tests(root: Path) -> set[str]:
    names = set()
    for bench in (root / "rtl" / "benches").glob("bench_*.py"):
        for node in ast.parse(bench.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef) and node.decorator_list:
                names.add(node.name)
    return names


def test_every_bench_test_is_planned_and_every_planned_test_exists(root: Path) -> None:
    assert {row.test for row in PLAN + PIM_PLAN} == bench_tests(root)


def test_every_coverage_bin_belongs_to_a_feature() -> None:
    planned = {name for row in PLAN for name in row.bins}
    required = {name for params in (WS, DOUBLE, NARROW) for name in required_bins(params)}
    assert required <= planned


def test_results_come_from_outcomes_and_bins() -> None:
    outcomes = {"sink_stalls": [True, True], "source_gaps": [True, False]}
    results = plan_results([WS], outcomes, {"stall.source.a": 4, "stall.sink": 1})
    assert PlanResult("a slow sink loses nothing", "sink_stalls", 1, 1, "pass") in results
    assert PlanResult("gaps in the inputs lose nothing", "source_gaps", 1, 3, "fail") in results
    assert PlanResult("operations back to back", "back_to_back", 0, 9, "not run") in results


def test_features_that_no_design_has_are_left_out() -> None:
    plain = {row.feature for row in plan_results([WS], {}, {})}
    both = {row.feature for row in plan_results([WS, DOUBLE, NARROW], {}, {})}
    assert both - plain == {"weights load while rows stream", "sums wrap at their width, and only there"}


def test_a_netlist_hides_the_checkers_inner_signals() -> None:
    assert set(required_bins(NARROW)) - set(required_bins(NARROW, netlist=True)) == {"wrap.checker"}
