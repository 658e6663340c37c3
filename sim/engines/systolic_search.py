"""Mapping search of the systolic engine: the best of a few hundred structured candidates per operator.

Candidates are: dataflow x core grid x operand kept x k tile x number of m tiles, with the n tile as large as the
SRAM allows and tiles balanced. A cheap floor (work and traffic, no edges) skips most of them before the full
kernel prices the rest; Gemmini's heuristic is one candidate, so the search is never slower than it.
"""

from __future__ import annotations

from typing import Any

from models.jit import kernel
from sim.demand import BOUND, NO_SPAD, OK
from sim.engines.systolic_kernels import (
    ATTENTION,
    GRID,
    KEEP_ACT,
    KEEP_NONE,
    KEEP_WEIGHT,
    OS,
    WS,
    _cd,
    _units,
    gemm_cost,
    gemm_tile,
    gemmini_mapping,
    price_given,
)

MAX_PARTS = 4096


@kernel
def copy_mapping(source: Any, target: Any) -> None:
    """Copy all fields of a mapping record."""
    target["dataflow"] = source["dataflow"]
    target["tile_m"] = source["tile_m"]
    target["tile_k"] = source["tile_k"]
    target["tile_n"] = source["tile_n"]
    target["keep"] = source["keep"]
    target["grid_m"] = source["grid_m"]
    target["grid_n"] = source["grid_n"]
    target["deal"] = source["deal"]


@kernel
def _round_up(value: int, unit: int) -> int:
    return _cd(value, unit) * unit if unit > 1 else value


@kernel
def _widest_n(op: Any, q: Any, p: Any, panels_m: int) -> int:
    """Largest n tile that the SRAM limits allow for the tile_m, tile_k and keep in ``q`` (0 = none)."""
    halves = p["halves"]
    tile_m, tile_k = q["tile_m"], q["tile_k"]
    act = tile_m * tile_k * op["a_bits"] * halves
    column = tile_k * op["w_bits"] * halves
    if q["keep"] == KEEP_ACT:
        act = tile_m * op["k"] * op["a_bits"] * (halves if panels_m > 1 else 1)
    elif q["keep"] == KEEP_WEIGHT:
        column = op["k"] * op["w_bits"] * halves
    result = tile_m * p["accum_bits"] * halves
    room = p["spad_bytes"] * 8 - act
    if room < 0:
        return 0
    limit = op["n"]
    shared = 0
    if p["weight_buffer_bytes"] == 0:
        shared += column
    else:
        limit = min(limit, p["weight_buffer_bytes"] * 8 // column)
    if p["accum_bytes"] == 0:
        shared += result
    else:
        limit = min(limit, p["accum_bytes"] * 8 // result)
    return min(limit, room // shared) if shared > 0 else limit


@kernel
def _floor(op: Any, q: Any, p: Any, work: float, per_cycle: float) -> float:
    """Cycles that no mapping with these tile sizes can beat: work without edges, traffic without latency."""
    reads_a = _cd(op["n"], q["tile_n"])
    reads_w = _cd(op["m"], q["tile_m"])
    if q["keep"] == KEEP_ACT:
        reads_a = min(reads_a, q["grid_n"])
    elif q["keep"] == KEEP_WEIGHT:
        reads_w = min(reads_w, q["grid_m"])
    bits = reads_a * op["m"] * op["k"] * op["a_bits"] + op["m"] * op["n"] * op["o_bits"]
    moved = (bits / 8 + reads_w * op["w_bytes"]) * op["count"]
    return max(work, moved / per_cycle)


@kernel
def _better(out: Any, best: Any) -> bool:
    """Fewer cycles; among equals less memory traffic, then less SRAM traffic."""
    if out["cycles"] != best["cycles"]:
        return bool(out["cycles"] < best["cycles"])
    moved = out["dram_read_bytes"] + out["dram_write_bytes"]
    least = best["dram_read_bytes"] + best["dram_write_bytes"]
    if moved != least:
        return bool(moved < least)
    return bool(out["act_reads"] + out["weight_reads"] < best["act_reads"] + best["weight_reads"])


@kernel
def _try(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """Price the mapping in ``q``; keep it where it beats the best. Returns whether any is kept."""
    if gemm_cost(op, q, p, trial) != OK:
        return found
    if found == 0 or _better(trial, best):
        copy_mapping(q, best_q)
        best["cycles"] = trial["cycles"]
        best["dram_read_bytes"] = trial["dram_read_bytes"]
        best["dram_write_bytes"] = trial["dram_write_bytes"]
        best["act_reads"] = trial["act_reads"]
        best["weight_reads"] = trial["weight_reads"]
        return 1
    return found


@kernel
def _useless(q: Any, tiles_m: int, tiles_n: int) -> bool:
    """Keeping an operand that no core would read twice anyway only costs SRAM."""
    if q["keep"] == KEEP_ACT:
        return bool(tiles_n <= q["grid_n"])
    return bool(q["keep"] == KEEP_WEIGHT and tiles_m <= q["grid_m"])


@kernel
def _search_shapes(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """All m tilings for the dataflow, grid, keep and tile_k in ``q``."""
    unit_m, _, unit_n = _units(p, q["dataflow"])
    grain_m = unit_m if unit_m > 0 else max(1, p["reuse_rows"])
    grain_n = unit_n if unit_n > 0 else 1
    m, n, count = op["m"], op["n"], op["count"]
    share_m = m if count >= q["grid_m"] else _cd(m, _cd(q["grid_m"], count))
    share_n = _cd(n, q["grid_n"])
    work = op["macs"] / (p["rows"] * p["cols"] * p["arrays"] * p["cores"])
    per_cycle = p["efficiency"] * p["bytes_per_cycle"]
    whole_m = _round_up(m, grain_m)
    parts = 1
    while parts <= MAX_PARTS:
        tile_m = min(_round_up(_cd(share_m, parts), grain_m), whole_m)
        q["tile_m"] = tile_m
        tiles_m = _cd(m, tile_m)
        widest = _widest_n(op, q, p, _cd(tiles_m, q["grid_m"]))
        tile_n = widest // grain_n * grain_n if widest >= grain_n else 0
        if tile_n == 0 and widest >= n:
            tile_n = widest
        if tile_n > 0:
            pieces = _cd(share_n, tile_n)
            q["tile_n"] = min(_round_up(_cd(share_n, pieces), grain_n), tile_n)
            wanted = not _useless(q, tiles_m, _cd(n, q["tile_n"]))
            if wanted and (found == 0 or _floor(op, q, p, work, per_cycle) < best["cycles"]):
                found = _try(op, q, p, trial, best_q, best, found)
            if pieces == 1 and (parts >= 4 or tile_m <= p["rows"]):
                break
        if tile_m <= grain_m or tile_m == 1:
            break
        parts = parts + 1 if parts < 4 else parts + parts // 2
    return found


@kernel
def _shallow(op: Any, p: Any) -> int:
    """The least k tile that fills the array and ends on memory requests: the first load is as short as can be.

    Only the first load depends on the k tile where k is not streamed, so nothing deeper can be faster.
    """
    rows = p["rows"]
    bits = min(op["a_bits"], op["w_bits"])
    times = 1
    while times < 64 and rows * times * bits % (8 * p["request_bytes"]) != 0:
        times *= 2
    return rows * times if times < 64 and op["k"] * bits % (8 * p["request_bytes"]) == 0 else rows


@kernel
def _search_depths(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """The k tiles worth trying: shallow ones, and where k streams (output stationary) deep ones as well."""
    k = op["k"]
    q["tile_k"] = min(k, _shallow(op, p))
    found = _search_shapes(op, q, p, trial, best_q, best, found)
    if q["dataflow"] != OS:
        return found
    deep = q["tile_k"] * 8
    while deep < k:
        q["tile_k"] = deep
        found = _search_shapes(op, q, p, trial, best_q, best, found)
        deep *= 8
    q["tile_k"] = k
    return _search_shapes(op, q, p, trial, best_q, best, found)


@kernel
def _try_gemmini(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """The heuristic as one more candidate, so that the search is never slower than it."""
    gemmini_mapping(op, p, q)
    work = op["macs"] / (p["rows"] * p["cols"] * p["arrays"] * p["cores"])
    if found == 1 and _floor(op, q, p, work, p["efficiency"] * p["bytes_per_cycle"]) >= best["cycles"]:
        return found
    return _try(op, q, p, trial, best_q, best, found)


@kernel
def search_gemm(op: Any, p: Any, q: Any, trial: Any, best_q: Any, best: Any) -> int:
    """Find the fastest mapping of a GEMM; ties go to less memory traffic, then less SRAM traffic.

    Args:
        op, p: operator row and parameters.
        q, trial: scratch records (mapping, demand).
        best_q, best: records that receive the best mapping and its demand.

    Returns:
        ``OK`` or the reason why nothing fits.
    """
    found = 0
    q["deal"] = GRID
    cores = p["cores"]
    for dataflow in range(3):
        if (p["dataflows"] >> dataflow) & 1 == 0:
            continue
        q["dataflow"] = dataflow
        for grid_m in range(1, cores + 1):
            if cores % grid_m != 0:
                continue
            q["grid_m"] = grid_m
            q["grid_n"] = cores // grid_m
            for keep in (KEEP_NONE, KEEP_ACT, KEEP_WEIGHT):
                q["keep"] = keep
                found = _search_depths(op, q, p, trial, best_q, best, found)
    if p["dataflows"] & 1 != 0:
        found = _try_gemmini(op, q, p, trial, best_q, best, found)
    return gemm_tile(op, best_q, p, best) if found == 1 else NO_SPAD


@kernel
def search(op: Any, p: Any, fidelity: int, q: Any, trial: Any, best_q: Any, best: Any) -> int:
    """Map and price one row: searched for a GEMM at ``tile``; attention and ``bound`` have nothing to choose."""
    if fidelity == BOUND or op["kind"] == ATTENTION:
        best_q["dataflow"] = WS if p["dataflows"] & 1 else OS
        return price_given(op, best_q, p, fidelity, best)
    return search_gemm(op, p, q, trial, best_q, best)
