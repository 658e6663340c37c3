"""Classes of operators: their mixes, what tile and command say of them, and that the picture is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.datafiles import load_data
from sim.memory.classes import CLASSES, class_rates, draw_classes, main


def test_tile_is_right_about_weights_and_too_fast_for_what_writes() -> None:
    rates = class_rates("HBM2-2400")
    row = load_data("memory_efficiency.yaml").content["standards"]["HBM2"]
    assert rates.tile[0] == row["streaming_efficiency"]
    assert rates.command["GEMM, decode: weights"] == pytest.approx(rates.tile, rel=0.01)
    by_writes = ["GEMM, decode: weights", "GEMM, prefill: 1 write to 7 reads", "element-wise: 1 write to 2 reads"]
    for column in (0, 1):
        shares = [rates.command[name][column] for name in (*by_writes, "norm, softmax: 1 write to 1 read")]
        assert shares == sorted(shares, reverse=True)
    assert min(rates.command, key=lambda name: rates.command[name]) == "KV append: single tokens"
    assert rates.command["attention, decode: KV pages"][1] > rates.tile[1]


def test_the_picture_and_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(str(tmp_path / "classes.png"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "HBM2-2400, 1 and 4 streams"
    assert len(lines) == 2 * (2 + len(CLASSES))
    assert (tmp_path / "classes.png").read_bytes().startswith(b"\x89PNG")
    draw_classes([class_rates("LPDDR4-2400", (1, 2, 8))], tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 10_000
