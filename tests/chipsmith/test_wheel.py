"""Builds sdist -> wheel, installs it in a fresh environment and uses it from a folder with a decoy `models`."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chipsmith import cli
from rtl.tools import find_iverilog

ROOT = Path(__file__).resolve().parents[2]
LISTING: dict[str, Any] = runpy.run_path(str(ROOT / "scripts" / "wheel_contents"))
COMMANDS = {command.NAME: command for command in cli.commands()}
pytestmark = pytest.mark.wheel


def checked(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command} exited {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    checked(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    assert len(list(out.glob("*.tar.gz"))) == 1
    (built,) = out.glob("*.whl")
    return built


@dataclass(frozen=True)
class Installed:
    """A fresh environment with the wheel in it.

    Attributes:
        folder: where commands run; it holds a foreign ``models`` package that breaks when imported.
        python: its interpreter.
    """

    folder: Path
    python: Path

    def chipsmith(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        script = self.python.with_name("chipsmith")
        env = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV"))}
        return subprocess.run(
            [script, *arguments], cwd=self.folder, env=env, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Our wheel alone is installed; its dependencies are borrowed from the environment that runs the tests.

    A ``.pth`` line puts that environment's packages last on the path. Its own ``.pth`` files are not read there,
    so the checkout that is installed in it is out of reach.
    """
    base = tmp_path_factory.mktemp("fresh")
    checked(sys.executable, "-m", "venv", "--without-pip", base / "env", cwd=base)
    python = base / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    checked(*pip, "--no-deps", "--no-index", "--no-compile", wheel, cwd=base)
    site = Path(checked(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=base).strip())
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    folder = base / "elsewhere"
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "__init__.py").write_text("raise RuntimeError('foreign package imported')\n")
    return Installed(folder, python)


# ---------------------------------------------------------------- contents


def test_the_stored_list_is_the_tree() -> None:
    listed = {name for name in LISTING["tree_files"]() if LISTING["is_listed"](name)}
    difference = LISTING["difference"](LISTING["stored"](), listed)
    assert not difference, f"{difference}\nif that is meant: scripts/wheel_contents --update"


def test_the_wheel_holds_the_list_and_every_source(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {name for name in LISTING["tree_files"]() if not LISTING["is_listed"](name)}
    difference = LISTING["difference"](LISTING["stored"]() | sources, names)
    assert not difference, difference


def test_differences_are_readable() -> None:
    text = LISTING["difference"]({"models/a.yaml", "sim/py.typed"}, {"sim/py.typed", "tests/x.txt"})
    assert text == "missing: models/a.yaml\nnot in the list: tests/x.txt"


def test_the_licence_is_in_the_wheel(wheel: Path) -> None:
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in zipfile.ZipFile(wheel).namelist())


# ---------------------------------------------------------------- use


def test_it_is_the_installed_copy_that_runs(installed: Installed) -> None:
    code = "import chipsmith, pathlib; print(pathlib.Path(chipsmith.__file__).parent)"
    where = checked(installed.python, "-P", "-c", code, cwd=installed.folder).strip()
    assert Path(where).is_relative_to(installed.python.parent.parent)


@pytest.mark.parametrize("arguments", [["--version"], ["doctor"]])
def test_script_and_module_work_beside_a_foreign_package(installed: Installed, arguments: list[str]) -> None:
    by_script = installed.chipsmith(*arguments)
    by_module = checked(installed.python, "-m", "chipsmith", *arguments, cwd=installed.folder)
    assert (by_script.returncode, by_script.stderr) == (0, "")
    assert by_script.stdout == by_module


@pytest.mark.parametrize("name", ["run", "explore"])
def test_the_example_of_a_command_works(installed: Installed, name: str) -> None:
    arguments = shlex.split(COMMANDS[name].EXAMPLE)[1:]
    if "--format" not in arguments:
        arguments += ["--format", "json"]
    done = installed.chipsmith(*arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout and (arguments[-1] != "json" or json.loads(done.stdout))


def test_validate_works(installed: Installed, reference_dir: Path) -> None:
    done = installed.chipsmith("validate", str(reference_dir / "npu" / "scalesim.jsonl"), "--format", "json")
    assert done.returncode in (0, 1), done.stderr
    assert json.loads(done.stdout)


def test_rtl_verify_works(installed: Installed) -> None:
    if find_iverilog() is None:
        assert os.environ.get("CI") != "true", "Icarus Verilog is missing"
        pytest.skip("Icarus Verilog is not installed")
    done = installed.chipsmith("rtl", "verify", "--matrix", "smoke", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)
