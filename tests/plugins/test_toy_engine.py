"""An engine of another package: installed, found by its entry point, checked, and run by the command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
CHIP = HERE / "toychip.yaml"
RUN = ("run", "--model", "opt-125m", "--batch", "2", "--context", "16", "--phase", "prefill")


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy engine installed: its wheel unpacked, and with it its entry point."""
    source = tmp_path_factory.mktemp("source") / "toy_engine"
    shutil.copytree(HERE / "toy_engine", source, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=source, check=True)
    target = tmp_path_factory.mktemp("site")
    (wheel,) = source.glob("dist/*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    return target


def python(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run([sys.executable, *arguments], env=env, capture_output=True, text=True, check=False)


def command(site: Path, *arguments: str) -> dict[str, Any]:
    done = python(site, "-m", "chipsmith", *arguments, "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout, parse_constant=not_json)
    return found


def not_json(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def test_the_engine_conforms(site: Path) -> None:
    code = (
        "from models.chip import load_chip\n"
        "from sim.conformance import check_engine, standard_traces\n"
        "from sim.engine import find_engine\n"
        f"check_engine(find_engine('toy'), load_chip({str(CHIP)!r}), standard_traces())\n"
    )
    done = python(site, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_command_runs_a_chip_with_it(site: Path) -> None:
    found = command(site, *RUN, "--chip", str(CHIP))
    by_engine = {op["name"]: op["engine"] for op in found["operators"]}
    assert by_engine["layer.q_proj"] == "block"
    assert by_engine["layer.attn_norm"] == "vector"
    gemm = next(op for op in found["operators"] if op["name"] == "layer.q_proj")
    # 2 x 16 tokens, 768 x 768 fp16 weights with a bias: 1 MiB of weights at 500 bytes a cycle
    moved = 2 * (32 * 768 + 768 * 768 + 768 + 32 * 768)
    assert gemm["macs"] == 32 * 768 * 768
    assert gemm["bytes"]["dram_read"] + gemm["bytes"]["dram_write"] == moved
    assert gemm["cycles"] == pytest.approx(20 + max(32 * 768 * 768 / 4096, moved / 500), rel=1e-12)
    assert gemm["energy_pj"]["mac"] == pytest.approx(32 * 768 * 768 * 1.0)
    assert found["area_by_block_mm2"]["block.multipliers"] == pytest.approx(4.096)


def test_the_bound_is_below_it(site: Path) -> None:
    tile = command(site, *RUN, "--chip", str(CHIP))
    bound = command(site, *RUN, "--chip", str(CHIP), "--fidelity", "bound")
    assert bound["latency_s"] < tile["latency_s"]


def test_many_chips_equal_one(site: Path) -> None:
    """The batch varies a field of the foreign specification."""
    code = (
        "import numpy as np\n"
        "from models.chip import ChipTable, load_chip\n"
        "from sim.batch import evaluate\n"
        "from sim.simulate import simulate\n"
        "from workloads.batch import Batch\n"
        "from workloads.build import build_trace\n"
        f"chip = load_chip({str(CHIP)!r})\n"
        "table = ChipTable(chip, {'engines.block.macs_per_cycle': np.array([64, 4096])})\n"
        "trace = build_trace('opt-125m', Batch.decode(2, 64))\n"
        "batch = evaluate(table, trace)\n"
        "alone = [simulate(trace, table.chip(row)) for row in range(2)]\n"
        "assert [r.latency_s for r in alone] == list(batch.latency_s)\n"
        "assert [r.energy_j for r in alone] == list(batch.energy_j)\n"
        "assert batch.latency_s[0] > batch.latency_s[1]\n"
    )
    done = python(site, "-c", code)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_the_package_the_type_is_unknown(tmp_path: Path) -> None:
    done = python(tmp_path, "-m", "chipsmith", *RUN, "--chip", str(CHIP))
    assert (done.returncode, done.stderr) == (
        2,
        "chipsmith: error: chip.engines.block.type: got 'toy'; known: pim, systolic, vector, xpu\n",
    )


def test_a_wrong_field_is_refused_with_the_nearest(site: Path, tmp_path: Path) -> None:
    chip = tmp_path / "chip.yaml"
    chip.write_text(CHIP.read_text().replace("macs_per_cycle", "macs_per_cycles"))
    done = python(site, "-m", "chipsmith", *RUN, "--chip", str(chip))
    known = "clock_hz, macs_per_cycle, memory, start_cycles, type"
    assert (done.returncode, done.stderr) == (
        2,
        "chipsmith: error: chip.engines.block.macs_per_cycles: unknown field; "
        f"did you mean 'macs_per_cycle'? known: {known}\n",
    )
