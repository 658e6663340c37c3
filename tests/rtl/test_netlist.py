from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rtl import netlist as netlist_module
from rtl.coverage import required_bins
from rtl.lint import structure
from rtl.netlist import run_netlist, synthesise
from rtl.params import SystolicParams
from rtl.simulate import BenchError
from rtl.systolic import generate_systolic
from rtl.tools import Tool
from workloads.errors import MissingToolError

pytestmark = pytest.mark.rtl
SMALL = [
    SystolicParams(2, 2, a_bits=4, w_bits=4, acc_bits=12, double_buffer=True, max_beats=4),
    SystolicParams(2, 2, "os", a_bits=4, w_bits=4, acc_bits=12, max_beats=4095),
]


@pytest.mark.parametrize("params", SMALL, ids=lambda params: params.name)
def test_the_netlist_passes_the_same_bench(params: SystolicParams, icarus: Tool, yosys: Tool, tmp_path: Path) -> None:
    design = generate_systolic(params)
    netlist = synthesise(design, tmp_path / "synthesis")
    assert "$_" not in netlist.text.split("endmodule")[0].split("(")[0]
    assert netlist.text.count("endmodule") == 1
    assert 0 < netlist.flip_flops <= structure(design)[0].register_bits
    assert netlist.cells > netlist.flip_flops
    run = run_netlist(netlist, tmp_path / "run", seed=1)
    assert [one for one in run.outcomes if not one.passed] == []
    assert {name for name in required_bins(params, netlist=True) if not run.bins.get(name)} == set()
    assert all(row.measured_cycles == row.model_cycles for row in run.cycles)


def test_a_fault_in_the_netlist_is_caught(icarus: Tool, yosys: Tool, tmp_path: Path) -> None:
    netlist = synthesise(generate_systolic(SMALL[1]), tmp_path / "synthesis")
    gate = next(line for line in netlist.text.splitlines() if line.strip().startswith("assign o_data[0] ="))
    broken = replace(netlist, text=netlist.text.replace(gate, "  assign o_data[0] = 1'b0;"))
    assert not run_netlist(broken, tmp_path / "run", seed=1).passed


def test_yosys_errors_are_shown(yosys: Tool, tmp_path: Path) -> None:
    design = generate_systolic(SMALL[1])
    broken = replace(design, sources={name: text.replace("endmodule", "") for name, text in design.sources.items()})
    with pytest.raises(BenchError, match=r"yosys on os_2x2_a4w4p12_m4095: .*ERROR"):
        synthesise(broken, tmp_path)


def test_without_yosys_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(netlist_module, "find_yosys", lambda: None)
    with pytest.raises(MissingToolError, match=r"^yosys; not found; install it with: apt-get install -y yosys$"):
        synthesise(generate_systolic(SMALL[0]), tmp_path)
