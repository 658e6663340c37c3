"""A chip in words, and the command that lists chips."""

from __future__ import annotations

import json
from typing import Any

import pytest

from chipsmith.cli import main
from models.chip import list_chips, load_chip
from models.describe import describe_chip


@pytest.mark.parametrize("name", list_chips())
def test_description_is_json_and_text(name: str) -> None:
    data, text = describe_chip(load_chip(name))
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert text.startswith(f"{name}: ")
    for part in (*data["engines"], *data["memories"], *data["links"]):
        assert part in text


def test_peaks_storage_and_areas_of_tpu_v1() -> None:
    data, text = describe_chip(load_chip("tpu_v1"))
    npu = data["engines"]["npu"]
    assert npu["peak_per_s"] == {"MAC/s int8 x int8": 256 * 256 * 700e6}
    assert npu["storage_bytes"] == {"scratchpad": 24 * 2**20, "accumulators": 4 * 2**20, "weight_buffer": 2**18}
    assert data["engines"]["vector"]["peak_per_s"] == {"op/s int32": 256 * 700e6}
    assert data["area_mm2"] == pytest.approx(
        sum(sum(engine["area_mm2"].values()) for engine in data["engines"].values())
        + data["noc"]["area_mm2"]
        + data["memories"]["dram"]["prices"]["interface_mm2"]
    )
    assert "  peak    10^12 MAC/s int8 x int8                  45.88" in text.splitlines()
    assert "data files: " + data["constants"]["calibration_hash"] in text


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(argv) == 0
    return capsys.readouterr().out


def test_chips_lists_the_presets(capsys: pytest.CaptureFixture[str]) -> None:
    lines = run(capsys, "chips").splitlines()
    assert [line.split()[0] for line in lines[2:]] == list_chips()
    rows: list[dict[str, Any]] = json.loads(run(capsys, "chips", "--format", "json"))
    tpu = next(row for row in rows if row["chip"] == "tpu_v1")
    assert tpu["peak TMAC/s"] == "45.88 int8 x int8"
    assert (tpu["GB/s"], tpu["nm"], tpu["engines"]) == (34.0, 28.0, "npu (systolic), vector (vector)")


def test_chips_compares_dies(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "chips", "--dies")
    assert "tpu_v1: Jouppi et al., ISCA 2017, Fig. 2" in text
    rows: list[dict[str, Any]] = json.loads(run(capsys, "chips", "--dies", "--format", "json"))
    assert rows[0]["die"] == "gemmini"
    assert rows[0]["fitted"] is True
