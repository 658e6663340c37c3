"""The vector engine: passes and trees with exact values, rows over units, memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chip import Chip, ChipTable
from sim.demand import AUTO, BOUND, OK, TILE
from sim.engine import Array, new_demands
from sim.engines.vector import ENGINE, row_cycles, tree_cycles
from sim.memory.stream import block_store_bytes, spanned_bytes, stream_efficiency
from workloads.trace import Operator

from .designs import chip, rows_of, vector

ROOT = Path(__file__).resolve().parents[2]


def tree(elements: int, lanes: int) -> int:
    """tree(x) = 1 if x <= lanes else it(x) + tree(it(x))."""
    passes = -(-elements // lanes)
    return 1 if elements <= lanes else passes + tree(passes, lanes)


@pytest.mark.parametrize(
    ("elements", "lanes", "cycles"),
    [(1, 128, 1), (128, 128, 1), (129, 128, 2 + 1), (4096, 128, 32 + 1), (20000, 128, 157 + 2 + 1), (8, 2, 4 + 2 + 1)],
)
def test_trees(elements: int, lanes: int, cycles: int) -> None:
    assert tree_cycles(elements, lanes) == cycles


@given(st.integers(1, 10**6), st.integers(2, 2048))
def test_trees_follow_the_recurrence(elements: int, lanes: int) -> None:
    assert tree_cycles(elements, lanes) == tree(elements, lanes)


def test_one_lane_reduces_one_value_a_cycle() -> None:
    """In a process of its own, because a loop that never ends cannot be interrupted in compiled code."""
    code = "from sim.engines.vector import tree_cycles; print(tree_cycles(100, 1))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100, check=True
    )
    assert int(done.stdout) in (100, 101)


def params(spec: Chip) -> Any:
    return ENGINE.pack(ChipTable(spec), "engines.vector")[0]


@pytest.mark.parametrize(
    ("kind", "function", "exp", "cycles"),
    [
        ("softmax", "softmax", 1, 2 * 33 + 3 * 32),
        ("norm", "layernorm", 1, 2 * 33 + 5 * 32),
        ("norm", "rmsnorm", 1, 1 * 33 + 3 * 32),
        ("elementwise", "add", 1, 32),
        ("elementwise", "gelu", 4, 4 * 32),
        ("softmax", "softmax", 4, 2 * 33 + (1 + 2 * 4) * 32),
        ("elementwise", "copy", 4, 0),
    ],
)
def test_cycles_of_one_row_of_4096_on_128_lanes(kind: str, function: str, exp: int, cycles: int) -> None:
    spec = chip(vector={"lanes": 128, "exp_cycles": exp})
    (row,) = rows_of(vector(kind, function, 1, 4096))
    assert row_cycles(row, params(spec), 4096) == cycles


def priced(spec: Chip, op: Operator, fidelity: int = TILE) -> Any:
    out, status = new_demands(1, 1), np.zeros((1, 1), np.int64)
    assert ENGINE.loop is not None
    none: Array = np.zeros((1, 1), ENGINE.mapping)
    ENGINE.loop(rows_of(op), ENGINE.pack(ChipTable(spec), "engines.vector"), none, AUTO, fidelity, out, status)
    assert status[0, 0] == OK
    return out[0, 0]


@pytest.mark.parametrize(
    ("rows", "units", "cycles"),
    [
        (1, 1, 32),  # 1 row of 4096 on 128 lanes
        (5, 2, 3 * 32),  # the busier unit has 3 rows
        (8, 8, 32),
        (2, 8, 8),  # each row over 4 units: 1024 elements each
        (3, 8, 16),  # each row over 2 units; 2 units idle
    ],
)
def test_rows_are_spread_over_units(rows: int, units: int, cycles: int) -> None:
    spec = chip(vector={"lanes": 128, "units": units})
    assert priced(spec, vector("elementwise", "add", rows, 4096))["busy"] == cycles


def test_memory_limits_a_stream() -> None:
    """10 rows of 100 fp16 in and out on 2 units: 4000 bytes at 64 bytes a cycle, two streams share 90 % less 10 %."""
    out = priced(chip(), vector("elementwise", "add", 10, 100))
    efficiency = 0.9 * (1 - 0.2 * (1 - 1 / 2))
    assert (out["dram_read_bytes"], out["dram_write_bytes"]) == (2000, 2000)
    assert out["memory"] == pytest.approx(4000 / efficiency)
    assert out["cycles"] == pytest.approx(20 + 4000 / efficiency / 64)
    assert out["vector_ops"] == 1000


def test_the_bound_is_lanes_or_bytes() -> None:
    out = priced(chip(), vector("elementwise", "silu_mul", 10, 100), BOUND)
    assert out["busy"] == 1000 * 3 / (2 * 16)
    assert out["cycles"] == pytest.approx(max(1000 * 3 / 32, 4000 / 0.9 / 64))
    assert out["fixed"] == 0.0


@given(st.floats(0.1, 1.0), st.floats(0.0, 0.9), st.integers(1, 64))
def test_streams_disturb_each_other_ever_less(single: float, interference: float, streams: int) -> None:
    here, more = (stream_efficiency(single, interference, s) for s in (streams, streams + 1))
    assert single * (1 - interference) <= more <= here <= single
    assert stream_efficiency(single, interference, 1) == single


def requests_touched(rows: int, row_bits: int, tile_bits: int, request_bytes: int) -> int:
    """Bytes of whole requests that rows of whole requests take when each tile reads the requests it touches."""
    request = 8 * request_bytes
    total = 0
    for start in range(0, row_bits, tile_bits):
        end = min(row_bits, start + tile_bits)
        total += -(-end // request) - start // request
    return rows * total * request_bytes


@given(st.integers(1, 5), st.integers(1, 40), st.integers(1, 40), st.sampled_from([4, 8, 16]))
def test_split_requests_are_read_twice(rows: int, requests: int, elements: int, bits: int) -> None:
    row_bits, tile_bits = requests * 256, elements * bits
    tiles = -(-row_bits // tile_bits)
    found = spanned_bytes(rows, row_bits, tile_bits, tiles, 32)
    if tile_bits >= 256 or tiles == 1:
        assert found == requests_touched(rows, row_bits, tile_bits, 32)
    assert found >= rows * row_bits // 8


def test_rows_that_share_requests_are_charged_plain() -> None:
    assert spanned_bytes(10, 100 * 16, 40 * 16, 3, 32) == 2000
    assert spanned_bytes(10, 128 * 16, 128 * 16, 1, 32) == 2560


def test_blocks_store_whole_requests() -> None:
    assert block_store_bytes(10, 3, 8 * 16, 8 * 16, 32) == 10 * 3 * 32
    assert block_store_bytes(10, 1, 8 * 16, 3 * 16, 1) == 10 * 6
    assert block_store_bytes(4, 2, 32 * 16, 1 * 16, 32) == 4 * (64 + 32)
