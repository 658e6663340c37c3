"""The notebooks on published systems, run in fresh kernels; what they claim, and their numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from .running import flat, run_notebook, stored_results

NAMES = ("05_duplex", "06_attacc")
pytestmark = [pytest.mark.notebook, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, dict[str, Any]]:
    """Results of the notebooks, run now."""
    return {name: run_notebook(name, folder) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_results_are_those_of_this_version(found: dict[str, dict[str, Any]], name: str) -> None:
    assert flat(found[name]) == pytest.approx(flat(stored_results(name)), rel=1e-6), "run scripts/build_notebooks"


def test_attacc_is_met_where_its_simulator_is_sound(found: dict[str, dict[str, Any]]) -> None:
    time = found["06_attacc"]["time"]
    assert time["mean_pct"] < 2.5
    assert time["max_pct"] < 11
    assert time["tau"] > 0.9
    assert time["roofline_pct"] > 20


def test_more_units_attend_faster(found: dict[str, dict[str, Any]]) -> None:
    attention = found["06_attacc"]["attention_ms"]
    assert attention["bank"] < attention["bank group"] < attention["buffer die"] < attention["GPU"]


def test_the_device_of_duplex_is_the_published_one(found: dict[str, dict[str, Any]]) -> None:
    device = found["05_duplex"]["device"]
    assert device["TFLOPS a stack"] == pytest.approx(21.3, rel=0.01)
    assert device["bandwidth over the interface's"] == pytest.approx(4, rel=0.01)


def test_the_trends_of_duplex_are_the_published_ones(found: dict[str, dict[str, Any]]) -> None:
    headlines = found["05_duplex"]["headlines"]
    assert headlines["throughput over GPUs, largest"] == pytest.approx(2.67, rel=0.2)
    assert headlines["throughput over GPUs, mean"] == pytest.approx(2.07, rel=0.2)
    assert headlines["GLaM, median time between tokens, reduction %"] == pytest.approx(58.3, rel=0.2)
    assert headlines["energy of a token, mean reduction %"] > 0
    assert all(ratio < 1 for ratio in found["05_duplex"]["edap"])
