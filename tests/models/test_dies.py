"""Published dies: every comparison is stored, so that a change of the area model is seen."""

from __future__ import annotations

import pytest

from models.datafiles import load_data
from models.dies import WHOLE_DIE, compare_dies

ROWS = {(row.die, row.block): row for row in compare_dies()}


@pytest.mark.parametrize(
    ("die", "block", "error_pct"),
    [
        ("gemmini", "spatial array", 0.0),
        ("gemmini", "scratchpad (256 KiB)", 4.3),
        ("gemmini", "accumulators (64 KiB)", -2.8),
        ("tpu_v1", "matrix multiply unit", -57.7),
        ("tpu_v1", "unified buffer (24 MiB)", -21.7),
        ("tpu_v1", "accumulators (4 MiB)", -37.0),
        ("tpu_v1", "DDR3 ports", -0.9),
        ("tpu_v3", "two of the four matrix units", 88.7),
        ("tpu_v4i", WHOLE_DIE, -59.0),
    ],
)
def test_error_against_a_published_area(die: str, block: str, error_pct: float) -> None:
    row = ROWS[die, block]
    assert round(row.error_pct, 1) == error_pct
    assert row.error_pct == pytest.approx(100 * (row.modelled_mm2 - row.published_mm2) / row.published_mm2)


def test_constants_fitted_to_a_block_reproduce_it() -> None:
    for block in ("spatial array", "scratchpad (256 KiB)", "accumulators (64 KiB)"):
        assert ROWS["gemmini", block].fitted
        assert abs(ROWS["gemmini", block].error_pct) < 5


def test_unmodelled_share_is_what_published_blocks_leave() -> None:
    gemmini = ROWS["gemmini", WHOLE_DIE]
    assert gemmini.unmodelled_pct == pytest.approx(100 * (1 - (0.116 + 0.544 + 0.146) / 1.029))
    tpu_v4i = ROWS["tpu_v4i", WHOLE_DIE]
    assert tpu_v4i.unmodelled_pct == pytest.approx(-tpu_v4i.error_pct)
    assert [row.unmodelled_pct for row in ROWS.values() if row.block != WHOLE_DIE] == [None] * 10


def test_every_die_has_a_source_and_ends_with_its_total() -> None:
    dies = load_data("dies.yaml").content["dies"]
    for name, die in dies.items():
        rows = [row for row in ROWS.values() if row.die == name]
        assert rows[-1].block == WHOLE_DIE
        assert rows[-1].published_mm2 == die["total_mm2"]
        assert all(row.source == die["source"] for row in rows)
        assert sum(row.published_mm2 for row in rows[:-1]) <= die["total_mm2"]
