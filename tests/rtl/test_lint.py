from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

import pytest

from rtl import lint as lint_module
from rtl.design import Design
from rtl.lint import data_flow, lint, structure
from rtl.matrix import matrix
from rtl.params import SystolicParams
from rtl.systolic import generate_systolic
from rtl.tools import Tool
from workloads.errors import MissingToolError

pytestmark = pytest.mark.rtl
SMALL = generate_systolic(SystolicParams(2, 2))


def edited(part: str, old: str, new: str, design: Design = SMALL) -> Design:
    name = f"{design.name}{part}.v"
    assert design.sources[name].count(old) >= 1
    return replace(design, sources={**design.sources, name: design.sources[name].replace(old, new)})


@pytest.mark.parametrize("params", matrix("full"), ids=lambda params: params.name)
def test_every_design_elaborates_with_one_clock(params: SystolicParams) -> None:
    found, findings = structure(generate_systolic(params))
    assert findings == ()
    assert found.instances["pe"] == params.rows * params.cols
    assert found.clocked_blocks > params.rows * params.cols


def test_register_bits_by_hand() -> None:
    params = SystolicParams(2, 2, "os", a_bits=4, w_bits=3, acc_bits=10, max_beats=7)
    found, _ = structure(generate_systolic(params))
    pe = 4 + 3 + 10 + 2  # operands passed on, sum, valid and clear
    skew = (4 + 1 + 1) + 3  # second row, second column
    command = 1 + 3 + 2  # waiting: full, beats, accumulate, store
    running = 1 + 2 + 3 + 1 + 1 + 1 + 1  # active, clear and store, left, settling, drain, settle and drain counters
    assert found.register_bits == 4 * pe + skew + command + running


@pytest.mark.parametrize(
    ("part", "old", "new", "finding"),
    [
        ("", "always @(posedge clk)", "always @(negedge clk)", "clock: 1 blocks wait for 'negedge clk'"),
        (
            "_acc",
            "always @(posedge clk)\n        if (en &&",
            "always @*\n        if (en &&",
            "clock: 2 blocks wait for 'something else than one edge'",
        ),
        ("_pe", "psum_in +", "psum_inn +", "elaboration: TypoIdentifier ['psum_inn', 'psum_in']"),
    ],
)
def test_bad_sources_are_found(part: str, old: str, new: str, finding: str) -> None:
    _, findings = structure(edited(part, old, new))
    assert any(text.startswith(finding) for text in findings), findings


def test_a_missing_element_is_found() -> None:
    _, findings = structure(
        edited("_array", "for (c = 0; c < C; c = c + 1) begin : g_col", "for (c = 1; c < C; c = c + 1) begin : g_col")
    )
    assert "structure: 2 processing elements, want 4" in findings


def test_data_flow_of_good_sources(icarus: Tool) -> None:
    assert data_flow(SMALL) == ()


def test_data_flow_finds_what_nothing_drives(icarus: Tool) -> None:
    assert "data flow: nothing drives ws_2x2_a8w8p32.o_last" in data_flow(
        edited("", "    assign o_last = out_last;\n", "")
    )


def test_data_flow_finds_a_second_clock(icarus: Tool) -> None:
    findings = data_flow(
        edited("", ".clk(clk), .rst(rst), .en(en), .a_row", ".clk(a_valid), .rst(rst), .en(en), .a_row")
    )
    assert findings
    assert all(text.startswith("clock: ws_2x2_a8w8p32.u_array.") for text in findings)


def test_lint_finds_an_unused_signal(verilator: Tool) -> None:
    report = lint(edited("", "    wire [3:0]  tokens;", "    wire spare;\n    wire [3:0]  tokens;"), flow=False)
    assert not report.passed
    assert report.checks == {"elaboration": "pass", "lint": "fail"}
    assert any("Signal is not driven, nor used: 'spare'" in text for text in report.findings)


@pytest.mark.parametrize("params", matrix("standard"), ids=lambda params: params.name)
def test_standard_designs_are_clean(params: SystolicParams, verilator: Tool) -> None:
    report = lint(generate_systolic(params), flow=False)
    assert report.findings == ()
    assert report.checks == {"elaboration": "pass", "lint": "pass"}


def test_missing_tools_are_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint_module, "find_verilator", lambda: None)
    monkeypatch.setattr(lint_module, "find_iverilog", lambda: None)
    report = lint(SMALL)
    assert report.passed
    assert report.checks == {
        "elaboration": "pass",
        "lint": "skipped: Verilator is not installed",
        "data flow": "skipped: pyverilog needs Icarus as its preprocessor",
    }


def test_without_the_elaborator_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("pyslang"):
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingToolError, match=r"pip install 'chipsmith\[rtl\]'"):
        lint(SMALL)
