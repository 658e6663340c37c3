"""Runs notebooks in fresh kernels and reads what their last cell printed."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
SCRIPT = ROOT / "scripts" / "build_notebooks"
BUILDER: dict[str, Any] = runpy.run_path(str(SCRIPT))


def run_notebook(name: str, folder: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run a notebook from its source into ``folder``; gives back its results."""
    command = [sys.executable, str(SCRIPT), name, "--into", str(folder)]
    environment = {**os.environ, **(variables or {})}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return results_of(folder / f"{name}.ipynb")


def stored_results(name: str) -> dict[str, Any]:
    """Results of the notebook as it is in the repository."""
    return results_of(NOTEBOOKS / f"{name}.ipynb")


def results_of(path: Path) -> dict[str, Any]:
    """What the last cell printed."""
    last = json.loads(path.read_text(encoding="utf-8"))["cells"][-1]
    found: dict[str, Any] = json.loads("".join(last["outputs"][0]["text"]))
    return found


def markdown_of(path: Path) -> str:
    """Everything that a notebook said in sentences with numbers."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "\n".join("".join(output.get("data", {}).get("text/markdown", "")) for output in outputs)


def flat(tree: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Numbers by path; texts and nothing become whether they are there, so that they compare exactly."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found |= flat(value, f"{path}{name}.")
        elif isinstance(value, list):
            found |= flat({str(place): item for place, item in enumerate(value)}, f"{path}{name}.")
        elif value is None or isinstance(value, str):
            found[f"{path}{name}={value}"] = 1
        else:
            found[f"{path}{name}"] = value
    return found
