"""Fixtures of the RTL tests: the simulators, skipped with a reason where missing (Icarus must be there in CI)."""

from __future__ import annotations

import os

import pytest

from rtl.tools import Tool, find_iverilog, find_verilator, find_yosys


def _need(name: str, tool: Tool | None, required_in_ci: bool) -> Tool:
    if tool is None and required_in_ci and os.environ.get("CI") == "true":
        pytest.fail(f"{name} must be installed in CI")
    if tool is None:
        pytest.skip(f"{name} is not installed")
    return tool


@pytest.fixture(scope="session")
def icarus() -> Tool:
    return _need("Icarus Verilog", find_iverilog(), required_in_ci=True)


@pytest.fixture(scope="session")
def verilator() -> Tool:
    return _need("Verilator", find_verilator(), required_in_ci=False)


@pytest.fixture(scope="session")
def yosys() -> Tool:
    return _need("yosys", find_yosys(), required_in_ci=False)
