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
    return bool(out["sram_read_bytes"] + out["sram_write_bytes"] < best["sram_read_bytes"] + best["sram_write_bytes"])


@kernel
def _copy_demand(source: Any, target: Any) -> None:
    target["cycles"] = source["cycles"]
    target["fixed"] = source["fixed"]
    target["busy"] = source["busy"]
    target["memory"] = source["memory"]
    target["sram"] = source["sram"]
    target["vector"] = source["vector"]
    target["macs"] = source["macs"]
    target["vector_ops"] = source["vector_ops"]
    target["reg_bytes"] = source["reg_bytes"]
    target["sram_read_bytes"] = source["sram_read_bytes"]
    target["sram_write_bytes"] = source["sram_write_bytes"]
    target["noc_bytes"] = source["noc_bytes"]
    target["dram_read_bytes"] = source["dram_read_bytes"]
    target["dram_write_bytes"] = source["dram_write_bytes"]
    target["act_reads"] = source["act_reads"]
    target["weight_reads"] = source["weight_reads"]
    target["out_writes"] = source["out_writes"]
    target["blocks"] = source["blocks"]


@kernel
def _try(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """Price the mapping in ``q``; keep it where it beats the best. Returns whether any is kept."""
    if gemm_tile(op, q, p, trial) != OK:
        return found
    if found == 0 or _better(trial, best):
        copy_mapping(q, best_q)
        _copy_demand(trial, best)
        return 1
    return found


@kernel
def _search_shapes(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """All m tilings for the dataflow, grid, keep and tile_k in ``q``."""
    unit_m, _, unit_n = _units(p, q["dataflow"])
    grain_m = unit_m if unit_m > 0 else max(1, p["reuse_rows"])
    grain_n = unit_n if unit_n > 0 else 1
    count = op["count"]
    share_m = op["m"] if count >= q["grid_m"] else _cd(op["m"], _cd(q["grid_m"], count))
    share_n = _cd(op["n"], q["grid_n"])
    work = op["macs"] / (p["rows"] * p["cols"] * p["arrays"] * p["cores"])
    per_cycle = p["efficiency"] * p["bytes_per_cycle"]
    parts = 1
    while parts <= MAX_PARTS:
        tile_m = min(_round_up(_cd(share_m, parts), grain_m), _round_up(op["m"], grain_m))
        q["tile_m"] = tile_m
        widest = _widest_n(op, q, p, _cd(_cd(op["m"], tile_m), q["grid_m"]))
        tile_n = widest // grain_n * grain_n if widest >= grain_n else 0
        if tile_n == 0 and widest >= op["n"]:
            tile_n = widest
        if tile_n > 0:
            pieces = _cd(share_n, tile_n)
            q["tile_n"] = min(_round_up(_cd(share_n, pieces), grain_n), tile_n)
            if found == 0 or _floor(op, q, p, work, per_cycle) <= best["cycles"]:
                found = _try(op, q, p, trial, best_q, best, found)
            if pieces == 1 and q["keep"] != KEEP_WEIGHT and tile_m <= p["rows"]:
                break
            if pieces == 1 and parts >= 4:
                break
        if tile_m <= grain_m or tile_m == 1:
            break
        parts = parts + 1 if parts < 4 else parts + parts // 2
    return found


@kernel
def _search_depths(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """The k tiles worth trying: one array height, a few, and everything."""
    k = op["k"]
    grain = max(1, p["rows"])
    q["tile_k"] = k
    found = _search_shapes(op, q, p, trial, best_q, best, found)
    if k > grain:
        q["tile_k"] = grain
        found = _search_shapes(op, q, p, trial, best_q, best, found)
        if (q["dataflow"] == OS or found == 0) and k > 8 * grain:
            q["tile_k"] = 8 * grain
            found = _search_shapes(op, q, p, trial, best_q, best, found)
    return found


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
    gemmini_mapping(op, p, q)
    found = _try(op, q, p, trial, best_q, best, 0)
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
    return OK if found == 1 else NO_SPAD


@kernel
def search(op: Any, p: Any, fidelity: int, q: Any, trial: Any, best_q: Any, best: Any) -> int:
    """Map and price one row: searched for a GEMM at ``tile``; attention and ``bound`` have nothing to choose."""
    if fidelity == BOUND or op["kind"] == ATTENTION:
        best_q["dataflow"] = WS if p["dataflows"] & 1 else OS
        return price_given(op, best_q, p, fidelity, best)
    return search_gemm(op, p, q, trial, best_q, best)
