"""``chipsmith doctor``: which tools are there, in which version, and how to get the others."""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from typing import Any

from chipsmith.output import emit, table

NAME = "doctor"
HELP = "list the tools that Chipsmith uses: found or missing, version, how to install"
EXAMPLE = "chipsmith doctor --format json"
ORDER = 90

_LIBRARIES = {
    "cocotb": "pip install 'chipsmith[rtl]'",
    "pyslang": "pip install 'chipsmith[rtl]'",
    "pyverilog": "pip install 'chipsmith[rtl]'",
    "torch": "pip install torch (optional: traces PyTorch models)",
}
_PURPOSE = {
    "python": "runs everything",
    "numba": "compiles the kernels",
    "kernel cache": "keeps compiled kernels",
    "iverilog": "simulates RTL",
    "vvp": "simulates RTL (part of iverilog)",
    "verilator": "simulates large RTL, line coverage",
    "yosys": "synthesis, netlist simulation",
    "opensta": "timing and power of a netlist",
    "cocotb": "drives the RTL benches",
    "pyslang": "elaborates Verilog",
    "pyverilog": "data-flow checks of Verilog",
    "torch": "traces PyTorch models",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        tool: name of the tool.
        found: whether it is there.
        version: its version, None where missing.
        detail: where it is.
        install: how to get it, None where found.
        purpose: what Chipsmith uses it for.
        shell: what to set in a shell to use it outside Chipsmith, empty where nothing.
    """

    tool: str
    found: bool
    version: str | None
    detail: str
    install: str | None
    purpose: str
    shell: str = ""


def _python() -> Finding:
    return Finding("python", True, platform.python_version(), sys.executable, None, _PURPOSE["python"])


def _distribution_version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _library(name: str, install: str) -> Finding:
    """A Python library, looked up without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return Finding(name, False, None, "", install, _PURPOSE[name])
    return Finding(name, True, _distribution_version(name), spec.origin or "", None, _PURPOSE[name])


def _compiler() -> list[Finding]:
    """Numba with its thread count, and the folder that holds compiled kernels."""
    import numba

    from models.jit import cache_folder

    config: Any = numba.config  # a module whose names numba sets when it is imported
    if config.DISABLE_JIT:
        detail = "compilation is switched off (NUMBA_DISABLE_JIT)"
    else:
        detail = f"{config.NUMBA_NUM_THREADS} threads on {os.cpu_count()} cores"
    folder = cache_folder()
    where = str(folder) if folder else "no writable folder: kernels are compiled anew in every process"
    hint = None if folder else "set CHIPSMITH_CACHE to a writable folder"
    return [
        Finding("numba", True, numba.__version__, detail, None, _PURPOSE["numba"]),
        Finding("kernel cache", folder is not None, None, where, hint, _PURPOSE["kernel cache"]),
    ]


def _external(name: str) -> Finding:
    from rtl.tools import FINDERS, INSTALL

    tool = FINDERS[name]()
    if tool is None:
        return Finding(name, False, None, "", INSTALL[name], _PURPOSE[name])
    path = [f'PATH="{tool.path.parent}:$PATH"'] if "PATH" in tool.env else []
    others = [f'{key}="{value}"' for key, value in tool.env.items() if key != "PATH"]
    return Finding(name, True, tool.version, str(tool.path), None, _PURPOSE[name], " ".join(path + others))


def findings() -> list[Finding]:
    """Every tool, in the order of the report."""
    from rtl.tools import FINDERS

    return [
        _python(),
        *_compiler(),
        *map(_external, FINDERS),
        *(_library(name, install) for name, install in _LIBRARIES.items()),
    ]


def _row(finding: Finding) -> dict[str, object]:
    return {
        "tool": finding.tool,
        "state": "found" if finding.found else "missing",
        "version": finding.version,
        "used for": finding.purpose,
        "where, or how to install": finding.detail if finding.found else finding.install,
    }


def text(report: list[Finding]) -> str:
    """The table, then one line for each tool that needs something set outside Chipsmith."""
    notes = [f"to use {item.tool} by hand: export {item.shell}" for item in report if item.shell]
    return "\n".join([table(map(_row, report)), *notes])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """It has none of its own."""


def run(args: argparse.Namespace) -> int:
    """Print the report; a missing tool is no error here."""
    report = findings()
    emit(report, lambda: text(report), args)
    return 0
