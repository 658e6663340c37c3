"""Synthesises a small design to generic gates with yosys, and runs the same bench on the netlist."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from rtl.design import Design
from rtl.simulate import DEFAULT_OPTIONS, BenchError, BenchOptions, BenchRun, run_sources, write_sources
from rtl.stimulus import BenchJob
from rtl.tools import INSTALL, find_yosys
from workloads.errors import MissingToolError

_SYNTH_TIMEOUT_S = 300.0
_CELLS = re.compile(r"Number of cells:\s+(\d+)")
_FLIP_FLOP = re.compile(r"^\s+\$_\w*DFF\w*\s+(\d+)", re.MULTILINE)
NETLIST_DEFINE = "CHIPSMITH_NETLIST"


@dataclass(frozen=True, slots=True)
class Netlist:
    """A synthesised design.

    Attributes:
        design: what was synthesised.
        text: flat Verilog of generic gates.
        cells: number of cells, flip-flops included.
        flip_flops: number of flip-flops (one bit each).
        version: of yosys.
    """

    design: Design
    text: str
    cells: int
    flip_flops: int
    version: str


def synthesise(design: Design, folder: Path) -> Netlist:
    """Synthesise to generic gates, flat.

    Args:
        design: a small engine; the time grows with its PEs (4x4 int8: some 10 s).
        folder: private folder for sources, script and log.

    Raises:
        MissingToolError: without yosys.
        BenchError: where yosys fails; with the end of its log.
    """
    tool = find_yosys()
    if tool is None:
        raise MissingToolError("yosys", None, f"not found; install it with: {INSTALL['yosys']}")
    paths = write_sources(folder, design.sources)
    reads = "; ".join(f"read_verilog {path.name}" for path in paths)
    script = f"{reads}; synth -flatten -top {design.top}; check -assert; stat; write_verilog -noattr netlist.v"
    done = subprocess.run(
        tool.command("-p", script),
        cwd=folder,
        env=tool.environment(),
        capture_output=True,
        text=True,
        timeout=_SYNTH_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        raise BenchError(f"yosys on {design.name}: {(done.stderr or done.stdout).strip().splitlines()[-1:]}")
    cells = _CELLS.findall(done.stdout)
    flip_flops = sum(int(count) for count in _FLIP_FLOP.findall(done.stdout.rsplit("Number of cells", 1)[-1]))
    return Netlist(design, (folder / "netlist.v").read_text(), int(cells[-1]), flip_flops, tool.version)


def run_netlist(netlist: Netlist, folder: Path, seed: int, options: BenchOptions = DEFAULT_OPTIONS) -> BenchRun:
    """Run the bench on the netlist; the checker's looks inside the engine are off, the rest is the same.

    Raises:
        MissingToolError: where the simulator is not installed.
        BenchError: where nothing could be built.
    """
    sources = {f"{netlist.design.name}.v": netlist.text, **netlist.design.bench_sources}
    chosen = replace(options, defines=(*options.defines, NETLIST_DEFINE))
    return run_sources(BenchJob(netlist.design, seed, netlist=True), sources, folder, chosen)
