"""Mapping search of the systolic engine.

Three stages, each only where the one before left something to gain:

1. structured candidates: dataflow x core grid x operand kept x k tile x number of m tiles, with the n tile as large
   as the SRAM allows and tiles balanced. A cheap floor (work and traffic) skips most of them before the kernel
   prices the rest. Gemmini's heuristic is one candidate, so the search is never slower than it;
2. fewer cores, where memory binds and concurrent streams disturb each other;
3. where the best is still more than ``NEAR`` above the floor (``NEAR_LARGE`` for large operators): descent over
   single steps of every field, and for small operators, whose first loads and edges count, a lattice of tiles over
   all dataflows, core grids and operands kept.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.jit import inlined, kernel
from sim.demand import BOUND, NO_SPAD, OK
from sim.engines.systolic_kernels import (
    ATTENTION,
    GRID,
    KEEP_ACT,
    KEEP_NONE,
    KEEP_WEIGHT,
    OS,
    ROUND_ROBIN,
    WS,
    _cd,
    _step,
    _stream_tile,
    _units,
    array_run,
    attention_flow,
    first_and_last,
    gemm_cost,
    gemm_depth,
    gemm_reads,
    gemm_tile,
    gemmini_mapping,
    operand_reads,
    price_given,
)
from sim.memory.stream import stream_efficiency

MAX_PARTS = 4096
DEEPEST = 32  # array heights that a k tile is deepened by, at most, to end on memory requests
NEAR = 1.01  # of the floor: nothing worth a descent is left
FAR = 1.025  # of the floor: worth a lattice for a small operator
TINY = 1 << 20  # MACs up to which the lattice is enumerated
ROUNDS = 24  # steps of a descent
NEAR_LARGE = 1.1  # the same for operators above TINY, whose structured candidates are close
ROUNDS_LARGE = 2


@inlined
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


@inlined
def _fd(a: int, b: int) -> int:
    """floor(a / b) through floating point; exact for 0 <= a < 2**52 by the argument of ``_cd``."""
    return int(a / b)


@inlined
def _round_up(value: int, unit: int) -> int:
    return _cd(value, unit) * unit if unit > 1 else value


@inlined
def _widest_n(op: Any, q: Any, p: Any, panels_m: int) -> int:
    """Largest n tile that the SRAM limits allow for the tile_m, tile_k and keep in ``q`` (0 = none)."""
    halves = p["halves"]
    tile_m, tile_k = min(q["tile_m"], op["m"]), min(q["tile_k"], op["k"])
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
        limit = min(limit, _fd(p["weight_buffer_bytes"] * 8, column))
    if p["accum_bytes"] == 0:
        shared += result
    else:
        limit = min(limit, _fd(p["accum_bytes"] * 8, result))
    return min(limit, _fd(room, shared)) if shared > 0 else limit


@kernel
def _work_floor(op: Any, p: Any, dataflow: int) -> float:
    """Array cycles of the busiest core that no tiling of this dataflow can beat."""
    unit_m, unit_k, unit_n = _units(p, dataflow)
    blocks = op["count"]
    stream = 0
    for size, unit in ((op["m"], unit_m), (op["k"], unit_k), (op["n"], unit_n)):
        if unit > 0:
            blocks *= _cd(size, unit)
        else:
            stream = size
    return blocks * _stream_tile(p, dataflow, stream)[0] / (p["arrays"] * p["cores"])


@inlined
def _even_work(op: Any, q: Any, p: Any, depth: Any) -> int:
    """Array cycles of the busiest core, at least: blocks and rows shared as evenly as the core grid allows."""
    flow, count = q["dataflow"], op["count"]
    unit_m, _, unit_n = _units(p, flow)
    along_m = _cd(op["m"], unit_m) if unit_m > 0 else op["m"]
    along_n = _cd(op["n"], unit_n) if unit_n > 0 else op["n"]
    if q["deal"] == ROUND_ROBIN:
        share_m, share_n = along_m, along_n
    else:
        share_m, share_n = _cd(along_m * count, q["grid_m"]), _cd(along_n, q["grid_n"])
    if unit_m == 0:
        share_m = _streamed(p, flow, share_m)
    elif unit_n == 0:
        share_n = _streamed(p, flow, share_n)
    work = share_m * share_n * depth[0][1]
    if q["deal"] == ROUND_ROBIN:
        work = _cd(work * count, p["cores"])
    return _cd(work, p["arrays"])


@inlined
def _streamed(p: Any, dataflow: int, size: int) -> int:
    """Cycles to stream ``size`` rows through one stationary block, in however many passes, at least."""
    reuse = p["reuse_rows"] if dataflow == WS else 0
    passes = _cd(size, reuse) if reuse > 0 else 1
    least = _step(p, dataflow, 0) * passes
    return size + least if p["overlapped"] == 0 else max(size, least)


@inlined
def _moving(op: Any, p: Any, depth: Any, reads_a: int, reads_w: int, efficiency: float) -> float:
    """Cycles to move all operands and results."""
    moved = (reads_a * depth[1] + reads_w * depth[2] + depth[3]) * op["count"]
    return moved / (efficiency * p["bytes_per_cycle"])


@inlined
def _floor(op: Any, q: Any, p: Any, depth: Any, work: int) -> float:
    """Cycles that the mapping in ``q`` cannot beat; ``work`` = :func:`_even_work` of its dataflow, grid and deal."""
    tiles_m, tiles_n = _cd(op["m"], q["tile_m"]), _cd(op["n"], q["tile_n"])
    reads_a, reads_w = operand_reads(q, tiles_m, tiles_n)
    active = min(p["cores"], op["count"] * tiles_m * tiles_n)
    if q["deal"] == GRID:
        active = min(q["grid_m"], op["count"] * tiles_m) * min(q["grid_n"], tiles_n)
    efficiency = stream_efficiency(p["efficiency"], p["interference"], active)
    moving = _moving(op, p, depth, reads_a, reads_w, efficiency)
    first, last = first_and_last(op, q, p, active, efficiency * p["bytes_per_cycle"] * 8)
    return p["latency"] + max(moving, first + last + array_run(op, q, p, work))


@inlined
def _same_cost(op: Any, q: Any, p: Any, out: Any, best_q: Any, best: Any) -> bool:
    """Whether a mapping as fast as the best has less memory traffic, or as much and less SRAM traffic."""
    moved = out["dram_read_bytes"] + out["dram_write_bytes"]
    least = best["dram_read_bytes"] + best["dram_write_bytes"]
    if moved != least:
        return bool(moved < least)
    gemm_reads(op, q, p, out)
    gemm_reads(op, best_q, p, best)
    return bool(out["act_reads"] + out["weight_reads"] < best["act_reads"] + best["weight_reads"])


@kernel
def _try(op: Any, q: Any, p: Any, depth: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """Price the mapping in ``q``; keep it where it beats the best. Returns whether any is kept."""
    if gemm_cost(op, q, p, depth, trial) != OK:
        return found
    if found != 0:
        if trial["cycles"] > best["cycles"]:
            return found
        if trial["cycles"] == best["cycles"] and not _same_cost(op, q, p, trial, best_q, best):
            return found
    copy_mapping(q, best_q)
    best["cycles"] = trial["cycles"]
    best["dram_read_bytes"] = trial["dram_read_bytes"]
    best["dram_write_bytes"] = trial["dram_write_bytes"]
    return 1


@inlined
def _useless(q: Any, tiles_m: int, tiles_n: int) -> bool:
    """Keeping an operand that no core would read twice anyway only costs SRAM."""
    if q["keep"] == KEEP_ACT:
        return bool(tiles_n <= q["grid_n"])
    return bool(q["keep"] == KEEP_WEIGHT and tiles_m <= q["grid_m"])


@kernel
def _search_shapes(
    op: Any, q: Any, p: Any, depth: Any, work: int, trial: Any, best_q: Any, best: Any, found: int
) -> int:
    """All m tilings for the dataflow, grid, keep and tile_k in ``q``; ``work`` as in :func:`_floor`."""
    unit_m, _, unit_n = _units(p, q["dataflow"])
    grain_m = unit_m if unit_m > 0 else max(1, p["reuse_rows"])
    grain_n = unit_n if unit_n > 0 else 1
    m, n, count = op["m"], op["n"], op["count"]
    share_m = m if count >= q["grid_m"] else _cd(m, _cd(q["grid_m"], count))
    share_n = _cd(n, q["grid_n"])
    whole_m = _round_up(m, grain_m)
    whole_n = _round_up(n, grain_n)
    fewest_n = _cd(n, min(_round_up(share_n, grain_n), whole_n))  # tiles along n, at least
    parts = 1
    while parts <= MAX_PARTS:
        tile_m = min(_round_up(_cd(share_m, parts), grain_m), whole_m)
        q["tile_m"] = tile_m
        tiles_m = _cd(m, tile_m)
        if q["keep"] == KEEP_WEIGHT and tiles_m <= q["grid_m"]:
            if tile_m <= grain_m or tile_m == 1:
                break
            parts += 1
            continue
        if found != 0:  # smaller m tiles read the weights as often or more often
            reads_a, reads_w = operand_reads(q, tiles_m, fewest_n)
            active = min(q["grid_m"], count * tiles_m) * min(q["grid_n"], fewest_n)
            efficiency = stream_efficiency(p["efficiency"], p["interference"], active)
            if p["latency"] + _moving(op, p, depth, reads_a, reads_w, efficiency) >= best["cycles"]:
                break
        widest = _widest_n(op, q, p, _cd(tiles_m, q["grid_m"]))
        tile_n = whole_n if widest >= n else _fd(widest, grain_n) * grain_n
        if tile_n > 0:
            pieces = _cd(share_n, tile_n)
            q["tile_n"] = min(_round_up(_cd(share_n, pieces), grain_n), tile_n)
            wanted = not _useless(q, tiles_m, _cd(n, q["tile_n"]))
            if wanted and (found == 0 or _floor(op, q, p, depth, work) < best["cycles"]):
                found = _try(op, q, p, depth, trial, best_q, best, found)
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
    while times < DEEPEST and rows * times * bits % (8 * p["request_bytes"]) != 0:
        times *= 2
    return rows * times if times < DEEPEST and op["k"] * bits % (8 * p["request_bytes"]) == 0 else rows


@kernel
def _search_placements(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """All core grids and operands kept for the dataflow and tile_k in ``q``."""
    depth = gemm_depth(op, q, p)
    if found != 0 and p["latency"] + _moving(op, p, depth, 1, 1, p["efficiency"]) >= best["cycles"]:
        return found
    cores = p["cores"]
    for grid_m in range(1, cores + 1):
        if cores % grid_m != 0:
            continue
        q["grid_m"] = grid_m
        q["grid_n"] = cores // grid_m
        work = _even_work(op, q, p, depth)
        if found != 0 and p["latency"] + work >= best["cycles"]:
            continue
        for keep in (KEEP_NONE, KEEP_ACT, KEEP_WEIGHT):
            q["keep"] = keep
            found = _search_shapes(op, q, p, depth, work, trial, best_q, best, found)
    return found


@kernel
def _structured(op: Any, p: Any, q: Any, trial: Any, best_q: Any, best: Any, dataflow: int, found: int) -> int:
    """Stage 1 for one dataflow: shallow k tiles, and where k streams (output stationary) deep ones as well.

    Returns whether any mapping is found.
    """
    q["deal"] = GRID
    q["dataflow"] = dataflow
    k = op["k"]
    shallow = min(k, _shallow(op, p))
    q["tile_k"] = shallow
    found = _search_placements(op, q, p, trial, best_q, best, found)
    if shallow > 4 * p["rows"]:  # whole requests need a deep tile here: SRAM may be worth more
        q["tile_k"] = p["rows"]
        found = _search_placements(op, q, p, trial, best_q, best, found)
    if dataflow != OS:
        return found
    deep = shallow * 8
    while deep < k:
        q["tile_k"] = deep
        found = _search_placements(op, q, p, trial, best_q, best, found)
        deep *= 8
    q["tile_k"] = k
    return _search_placements(op, q, p, trial, best_q, best, found)


@kernel
def _try_gemmini(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """The heuristic as one more candidate, so that the search is never slower than it."""
    gemmini_mapping(op, p, q)
    depth = gemm_depth(op, q, p)
    if found == 1 and _floor(op, q, p, depth, _even_work(op, q, p, depth)) >= best["cycles"]:
        return found
    return _try(op, q, p, depth, trial, best_q, best, found)


@kernel
def _smallest(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any, found: int) -> int:
    """One array block per tile: where SRAM is too small for the structured candidates."""
    q["deal"] = GRID
    q["keep"] = KEEP_NONE
    q["grid_m"] = 1
    q["grid_n"] = 1
    for dataflow in range(3):
        if (p["dataflows"] >> dataflow) & 1 == 0:
            continue
        unit_m, unit_k, unit_n = _units(p, dataflow)
        q["dataflow"] = dataflow
        q["tile_m"] = max(1, unit_m)
        q["tile_k"] = max(1, unit_k)
        q["tile_n"] = max(1, unit_n)
        found = _try(op, q, p, gemm_depth(op, q, p), trial, best_q, best, found)
    return found


@kernel
def _fewer_cores(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any) -> None:
    """Stage 2: the best shape on half, a quarter ... of the cores."""
    copy_mapping(best_q, q)
    depth = gemm_depth(op, q, p)
    active = best_q["grid_m"] * best_q["grid_n"] // 2
    while active >= 1:
        for grid_m in (1, active):
            q["grid_m"] = grid_m
            q["grid_n"] = active // grid_m
            _try_promising(op, q, p, depth, _even_work(op, q, p, depth), trial, best_q, best)
        active //= 2


@kernel
def _next_tile(size: int, tile: int, unit: int, step: int) -> int:
    """A neighbouring tile size: one part more or less, twice or half, one unit more or less, all or one unit."""
    unit = max(1, unit)
    parts = _cd(size, tile)
    wanted = tile
    if step == 0:
        wanted = _cd(size, parts + 1)
    elif step == 1:
        wanted = _cd(size, parts - 1) if parts > 1 else tile
    elif step == 2:
        wanted = tile - unit
    elif step == 3:
        wanted = tile + unit
    elif step == 4:
        wanted = tile // 2
    elif step == 5:
        wanted = tile * 2
    elif step == 6:
        wanted = 1
    elif step == 7:
        wanted = size
    return min(max(unit, _round_up(wanted, unit)), _round_up(size, unit))


TILE_STEPS = 8


@kernel
def _try_promising(op: Any, q: Any, p: Any, depth: Any, work: int, trial: Any, best_q: Any, best: Any) -> None:
    """Price the mapping in ``q`` unless its floor is not below the best."""
    if _floor(op, q, p, depth, work) < best["cycles"]:
        _try(op, q, p, depth, trial, best_q, best, 1)


@kernel
def _step_tiles(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any) -> None:
    """All single tile steps from the mapping in ``q``; for small operators the exchanges of m against n too."""
    depth = gemm_depth(op, q, p)
    work = _even_work(op, q, p, depth)
    unit_m, unit_k, unit_n = _units(p, q["dataflow"])
    m, k, n = q["tile_m"], q["tile_k"], q["tile_n"]
    for step in range(TILE_STEPS):
        q["tile_m"] = _next_tile(op["m"], m, unit_m, step)
        if q["tile_m"] != m:
            _try_promising(op, q, p, depth, work, trial, best_q, best)
        for other in range(TILE_STEPS if op["macs"] <= TINY else 0):
            if (step ^ other) & 1 == 1:  # one grows while the other shrinks
                q["tile_n"] = _next_tile(op["n"], n, unit_n, other)
                _try_promising(op, q, p, depth, work, trial, best_q, best)
        q["tile_m"] = m
        q["tile_n"] = _next_tile(op["n"], n, unit_n, step)
        if q["tile_n"] != n:
            _try_promising(op, q, p, depth, work, trial, best_q, best)
        q["tile_n"] = n
        q["tile_k"] = _next_tile(op["k"], k, unit_k, step)
        if q["tile_k"] != k:
            deeper = gemm_depth(op, q, p)
            _try_promising(op, q, p, deeper, _even_work(op, q, p, deeper), trial, best_q, best)
        q["tile_k"] = k


@kernel
def _step_placement(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any) -> None:
    """Other grids, deals and operands kept for the tiles in ``q``."""
    depth = gemm_depth(op, q, p)
    work = _even_work(op, q, p, depth)
    grid_m, grid_n, keep, deal = q["grid_m"], q["grid_n"], q["keep"], q["deal"]
    for other in (KEEP_NONE, KEEP_ACT, KEEP_WEIGHT):
        q["keep"] = other
        if other != keep:
            _try_promising(op, q, p, depth, work, trial, best_q, best)
    q["keep"] = keep
    for along_m in range(1, min(p["cores"], MANY_CORES) + 1):
        for along_n in range(1, min(p["cores"], MANY_CORES) // along_m + 1):
            q["grid_m"] = along_m
            q["grid_n"] = along_n
            if along_m != grid_m or along_n != grid_n:
                _try_promising(op, q, p, depth, _even_work(op, q, p, depth), trial, best_q, best)
    q["grid_m"] = grid_m
    q["grid_n"] = grid_n
    if p["cores"] > 1:
        q["deal"] = GRID + ROUND_ROBIN - deal
        _try_promising(op, q, p, depth, _even_work(op, q, p, depth), trial, best_q, best)
        q["deal"] = deal


MANY_CORES = 8  # grids of up to this many cores are enumerated in a descent


@kernel
def _descend(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any) -> None:
    """Stage 3: steps to the best neighbour until none is better."""
    for _ in range(ROUNDS if op["macs"] <= TINY else ROUNDS_LARGE):
        before = best["cycles"]
        copy_mapping(best_q, q)
        _step_tiles(op, q, p, trial, best_q, best)
        copy_mapping(best_q, q)
        _step_placement(op, q, p, trial, best_q, best)
        if best["cycles"] >= before:
            return


@kernel
def _lowest(op: Any, p: Any) -> float:
    """Cycles that no mapping can beat."""
    work = np.inf
    for dataflow in range(3):
        if (p["dataflows"] >> dataflow) & 1 != 0:
            work = min(work, _work_floor(op, p, dataflow))
    bits = op["m"] * (op["k"] * op["a_bits"] + op["n"] * op["o_bits"])
    moved = (bits / 8 + op["w_bytes"]) * op["count"]
    return max(work, moved / (p["efficiency"] * p["bytes_per_cycle"]))


@kernel
def _lattice_size(size: int, unit: int, index: int) -> int:
    """One of ``LATTICE`` tile sizes of a dimension: all multiples where they are few, else parts and small ones."""
    unit = max(1, unit)
    if _cd(size, unit) <= LATTICE:
        return min((index + 1) * unit, _round_up(size, unit))
    if index >= LATTICE - 4:
        return unit << (index - (LATTICE - 4))
    return _round_up(_cd(size, index + 1), unit)


LATTICE = 16
FEW_CORES = 4  # a lattice tries every grid of up to so many cores, and those of all cores


@kernel
def _lattice_tiles(op: Any, q: Any, p: Any, trial: Any, best_q: Any, best: Any) -> None:
    """All lattice tiles for the dataflow, placement and operand kept in ``q``; floors skip most."""
    unit_m, unit_k, unit_n = _units(p, q["dataflow"])
    q["tile_k"] = op["k"]
    whole = gemm_depth(op, q, p)  # nothing is cut along k: no tile_k moves less or takes the array less
    work = _even_work(op, q, p, whole)
    for i in range(LATTICE):
        q["tile_m"] = _lattice_size(op["m"], unit_m, i)
        for j in range(LATTICE):
            q["tile_n"] = _lattice_size(op["n"], unit_n, j)
            if _useless(q, _cd(op["m"], q["tile_m"]), _cd(op["n"], q["tile_n"])):
                continue
            q["tile_k"] = 1  # the first load is shorter the less deep it is
            if _floor(op, q, p, whole, work) >= best["cycles"]:
                continue
            for depth in range(LATTICE):
                q["tile_k"] = _lattice_size(op["k"], unit_k, depth)
                _try(op, q, p, gemm_depth(op, q, p), trial, best_q, best, 1)


@kernel
def _lattice(op: Any, p: Any, q: Any, trial: Any, best_q: Any, best: Any) -> None:
    """Enumerate a lattice of tiles over all dataflows, core grids and operands kept."""
    cores = min(p["cores"], MANY_CORES)
    q["deal"] = GRID
    for dataflow in range(3):
        if (p["dataflows"] >> dataflow) & 1 == 0:
            continue
        q["dataflow"] = dataflow
        for grid_m in range(1, cores + 1):
            for grid_n in range(1, cores // grid_m + 1):
                if grid_m * grid_n > FEW_CORES and grid_m * grid_n != cores:
                    continue
                q["grid_m"] = grid_m
                q["grid_n"] = grid_n
                for keep in (KEEP_NONE, KEEP_ACT, KEEP_WEIGHT):
                    q["keep"] = keep
                    _lattice_tiles(op, q, p, trial, best_q, best)


@kernel
def _refine(op: Any, p: Any, q: Any, trial: Any, best_q: Any, best: Any, lowest: float) -> None:
    """Descend from the best; where a small operator is still far from the floor, from the best of a lattice too."""
    _descend(op, q, p, trial, best_q, best)
    if op["macs"] <= TINY and best["cycles"] > FAR * lowest:
        before = best["cycles"]
        _lattice(op, p, q, trial, best_q, best)
        if best["cycles"] < before:
            _descend(op, q, p, trial, best_q, best)


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
    for dataflow in range(3):
        if (p["dataflows"] >> dataflow) & 1 != 0:
            found = _structured(op, p, q, trial, best_q, best, dataflow, found)
    if p["dataflows"] & 1 != 0:
        found = _try_gemmini(op, q, p, trial, best_q, best, found)
    if found == 0:
        found = _smallest(op, q, p, trial, best_q, best, found)
    if found == 0:
        return NO_SPAD
    lowest = _lowest(op, p)
    if best["cycles"] > NEAR * lowest and p["cores"] > 1 and p["interference"] > 0.0 and best_q["deal"] == GRID:
        _fewer_cores(op, q, p, trial, best_q, best)
        active = best_q["grid_m"] * best_q["grid_n"]
        if op["macs"] > TINY:  # fewer cores were tried; small operators get every placement below
            lowest /= stream_efficiency(1.0, p["interference"], active)
    if best["cycles"] > (NEAR if op["macs"] <= TINY else NEAR_LARGE) * lowest:
        _refine(op, p, q, trial, best_q, best, lowest)
    return gemm_tile(op, best_q, p, best)


@kernel
def search(op: Any, p: Any, fidelity: int, q: Any, trial: Any, best_q: Any, best: Any) -> int:
    """Map and price one row: searched for a GEMM at ``tile``; attention chooses its dataflow, ``bound`` nothing."""
    if fidelity == BOUND:
        return price_given(op, best_q, p, fidelity, best)
    if op["kind"] == ATTENTION:
        best_q["dataflow"] = attention_flow(op, p)
        best_q["grid_m"] = 1
        best_q["grid_n"] = 1
        return price_given(op, best_q, p, fidelity, best)
    return search_gemm(op, p, q, trial, best_q, best)
