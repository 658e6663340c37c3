"""How fast designs are priced: one chip, and a table of 100,000 of which five fields vary."""

from __future__ import annotations

import numpy as np

from benchmarks.measure import Row, timed
from models.chip import ChipTable, load_chip
from models.prices import price

_DESIGNS = 100_000


def _table() -> ChipTable:
    generator = np.random.default_rng(0)
    columns = {
        "engines.npu.rows": generator.integers(8, 513, _DESIGNS),
        "engines.npu.cols": generator.integers(8, 513, _DESIGNS),
        "engines.npu.spad_bytes": generator.integers(2**14, 2**26, _DESIGNS),
        "engines.npu.act_dtype": generator.choice(["int8", "fp16", "bf16"], _DESIGNS),
        "technology.node_nm": generator.choice([7.0, 16.0, 28.0], _DESIGNS),
    }
    return ChipTable(load_chip("tpu_v4"), columns)


def main() -> list[Row]:
    """Seconds to price one design and many."""
    one, many = ChipTable(load_chip("tpu_v4")), _table()
    return [
        Row("price a design", "chipsmith", timed(lambda: price(one)), 1, "designs"),
        Row("price 100,000 designs", "chipsmith", timed(lambda: price(many)), _DESIGNS, "designs"),
    ]
