"""Every legal mapping of a small GEMM, priced one by one: what the search is measured against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from models.jit import load_numba
from sim.demand import AUTO, DEMAND, GEMMINI, OK, TILE
from sim.engine import Array
from sim.engines.systolic import ENGINE, mapping_to_dict
from sim.engines.systolic_kernels import KEEPS, MAPPING, ROUND_ROBIN, gemm_tile

FLOWS = 3
_GRID = 0


# Not cached: the cache would hold the name of this module, which tests and benchmark import under different ones.
@load_numba().njit(error_model="numpy")  # type: ignore[untyped-decorator]  # numba ships no types
def _cheapest(op: Any, p: Any, q: Any, trial: Any, best: Any, best_q: Any, m: Array, k: Array, n: Array) -> int:
    """Price all tile sizes in ``m`` x ``k`` x ``n`` for the rest of ``q``; returns the number of legal ones."""
    legal = 0
    for tile_m in m:
        for tile_k in k:
            for tile_n in n:
                q["tile_m"] = tile_m
                q["tile_k"] = tile_k
                q["tile_n"] = tile_n
                if gemm_tile(op, q, p, trial) != OK:
                    continue
                legal += 1
                if best["cycles"] == 0.0 or trial["cycles"] < best["cycles"]:
                    best["cycles"] = trial["cycles"]
                    best_q["dataflow"] = q["dataflow"]
                    best_q["keep"] = q["keep"]
                    best_q["deal"] = q["deal"]
                    best_q["grid_m"] = q["grid_m"]
                    best_q["grid_n"] = q["grid_n"]
                    best_q["tile_m"] = tile_m
                    best_q["tile_k"] = tile_k
                    best_q["tile_n"] = tile_n
    return legal


@dataclass(frozen=True)
class Best:
    """The fastest mapping.

    Attributes:
        cycles: its cycles, NaN where none is legal. mapping: readable form. legal: number of legal mappings.
    """

    cycles: float
    mapping: dict[str, Any]
    legal: int


def sizes(size: int, unit: int) -> Array:
    """Tile sizes of one dimension: every multiple of the array's ``unit``; 0 = it streams, and every size is tried.

    A tile larger than the dimension takes more SRAM and saves nothing.
    """
    return np.minimum(np.arange(1, -(-size // max(1, unit)) + 1, dtype=np.int64) * max(1, unit), size)


def units(p: Any, flow: int) -> tuple[int, int, int]:
    """Array extent along m, k and n of WS, OS and IS."""
    rows, cols = int(p["rows"]), int(p["cols"])
    return ((0, rows, cols), (rows, 0, cols), (cols, rows, 0))[flow]


def _placements(p: Any) -> Iterator[tuple[int, int, int]]:
    """(deal, cores along m, cores along n)."""
    cores = int(p["cores"])
    yield from ((_GRID, a, b) for a, b in product(range(1, cores + 1), repeat=2) if a * b <= cores)
    if cores > 1:
        yield ROUND_ROBIN, 1, 1


def exhaustive(op: Any, p: Any) -> Best:
    """Price every tile size x operand kept x core grid x dataflow x k tile."""
    q, trial, best, best_q = np.zeros(1, MAPPING), np.zeros(1, DEMAND), np.zeros(1, DEMAND), np.zeros(1, MAPPING)
    legal = 0
    for flow in range(FLOWS):
        if not int(p["dataflows"]) >> flow & 1:
            continue
        m, k, n = (sizes(int(op[axis]), unit) for axis, unit in zip("mkn", units(p, flow), strict=True))
        for keep, (deal, grid_m, grid_n) in product(range(len(KEEPS)), _placements(p)):
            q["dataflow"], q["keep"], q["deal"], q["grid_m"], q["grid_n"] = flow, keep, deal, grid_m, grid_n
            legal += _cheapest(op, p, q[0], trial[0], best[0], best_q[0], m, k, n)
    cycles = float(best[0]["cycles"]) if legal else float("nan")
    return Best(cycles, mapping_to_dict(best_q[0]), legal)


def searched(op: Any, p: Any, mode: int = AUTO) -> tuple[int, float, dict[str, Any]]:
    """(status, cycles, readable mapping) of the engine's own search, or of the named heuristic."""
    ops, params = np.zeros(1, op.dtype), np.zeros(1, p.dtype)
    ops[0], params[0] = op, p
    mapping, out, status = np.zeros((1, 1), MAPPING), np.zeros((1, 1), DEMAND), np.zeros((1, 1), np.int64)
    assert ENGINE.loop is not None
    ENGINE.loop(ops, params, mapping, mode, TILE, out, status)
    return int(status[0, 0]), float(out[0, 0]["cycles"]), mapping_to_dict(mapping[0, 0])


def heuristic(op: Any, p: Any) -> tuple[int, float, dict[str, Any]]:
    """The same for Gemmini's heuristic."""
    return searched(op, p, GEMMINI)


@dataclass(frozen=True)
class Case:
    """One comparison.

    Attributes:
        gap: searched over exhaustive cycles, minus one. text: the case and both mappings.
    """

    gap: float
    text: str


def random_case(seed: int) -> tuple[dict[str, Any], dict[str, Any], tuple[int, int, int]]:
    """A small engine, a memory, and (m, k, n) that is not much larger than what fits the SRAM."""
    draw = np.random.default_rng(seed)

    def one(*values: Any) -> Any:
        return values[int(draw.integers(len(values)))]

    npu = {
        "cores": one(1, 1, 2, 4),
        "arrays": one(1, 1, 2),
        "rows": one(4, 8, 16),
        "cols": one(4, 8, 16),
        "dataflows": one(["ws"], ["os"], ["is"], ["ws", "os"], ["ws", "os", "is"]),
        "spad_bytes": one(1024, 4096, 16384),
        "accum_bytes": one(0, 1024, 4096),
        "weight_buffer_bytes": one(0, 0, 2048),
        "double_buffered": one(True, True, False),
        "preload": one("overlapped", "overlapped", "serial"),
        "weight_reuse_rows": one(0, 0, 4, 16),
    }
    memory = {"bandwidth_bytes_per_s": one(2e9, 8e9, 32e9, 256e9), "latency_s": one(0.0, 2e-8)}
    top = one(24, 64, 96)
    m, k, n = (int(draw.integers(1, top + 1)) for _ in range(3))
    return npu, memory, (one(1, m), k, n)
