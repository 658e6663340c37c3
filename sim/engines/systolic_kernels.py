"""Systolic matrix engine: GEMM and attention on R x C arrays with software-managed SRAM.

The array part is sim/array.py. Around it stands the tile level: which tiles a core works on, what must be loaded
before the first block can start, how loading and computing overlap under the SRAM limits, what is read again.

Time of a GEMM on the critical core, in engine cycles::

    T = latency + max(memory, first + last + max(run, memory - first - stores + tail, front - first + later passes))

``run``     the array run: preload, all passes, skew (sim/array.py)
``memory``  channel time of all bytes of all cores, at the stream efficiency of the active cores
``first``   time to load what the first block needs on every active core
``last``    time to store the last block's results on every active core
``front``   weight stationary: time to load the first columns' weights and all activations of the first tiles; the
            passes of the other columns come after it
``stores``  time to store the last tile of every active core, which no load waits for
``tail``    array time of the passes that wait for the last load

Sources: the block recurrences and first/last terms restate ONNXim a1e86296 (tile: all loads first, n outer,
activations with the first n; block waits for its whole operands); SCALE-Sim 3.0.0 is the limit of unlimited
bandwidth and serial preload.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from models.jit import inlined, kernel
from sim.array import issue_interval, overlapped_cycles, pass_cycles
from sim.demand import BAD_MAPPING, BOUND, NO_ACCUM, NO_SPAD, OK
from sim.memory.stream import block_store_bytes, spanned_bytes, stream_efficiency

WS, OS, IS = 0, 1, 2
DATAFLOWS = ("ws", "os", "is")
KEEP_NONE, KEEP_ACT, KEEP_WEIGHT = 0, 1, 2
KEEPS = ("none", "act", "weight")
GRID, ROUND_ROBIN = 0, 1
COUNTED_TILES = 128  # round-robin deals of up to this many tiles are counted exactly
DEALS = ("grid", "round_robin")
ATTENTION = 1  # sim.demand.KIND_CODES["attention"], as a literal that compiled code can see
HOP = 1  # register stages between neighbouring PEs

PARAMS = np.dtype(
    [
        ("cores", "i8"),
        ("arrays", "i8"),
        ("rows", "i8"),
        ("cols", "i8"),
        ("dataflows", "i8"),  # bit set over WS, OS, IS
        ("accum_bits", "i8"),
        ("spad_bytes", "i8"),
        ("weight_buffer_bytes", "i8"),
        ("accum_bytes", "i8"),
        ("halves", "i8"),  # 2 where double buffered
        ("overlapped", "i8"),
        ("reuse_rows", "i8"),
        ("min_issue", "i8"),
        ("first_extra", "i8"),
        ("mac_pipe", "i8"),
        ("drain", "i8"),
        ("spad_port_bytes", "i8"),
        ("store_by_block", "i8"),
        ("request_bytes", "i8"),
        ("bytes_per_cycle", "f8"),  # memory peak per engine cycle
        ("efficiency", "f8"),
        ("interference", "f8"),
        ("latency", "f8"),  # engine cycles
        ("vector_rate", "f8"),  # element operations per engine cycle, 0 = no vector engine
    ]
)

MAPPING = np.dtype(
    [
        ("dataflow", "i8"),
        ("tile_m", "i8"),
        ("tile_k", "i8"),
        ("tile_n", "i8"),
        ("keep", "i8"),  # operand that stays while the other one streams
        ("grid_m", "i8"),  # cores along m
        ("grid_n", "i8"),
        ("deal", "i8"),
    ]
)


@inlined
def _cd(a: int, b: int) -> int:
    """ceil(a / b) through floating point, three times faster than integer division.

    Exact for 0 <= a < 2**52: a quotient that is not whole exceeds the whole below it by at least 1 / b, more than
    half a unit in the last place.
    """
    return int(np.ceil(a / b))


@inlined
def _step(p: Any, dataflow: int, stream: int) -> int:
    """Cycles from one pass to the next when ``stream`` rows go through the array."""
    preload = 0 if dataflow == OS else p["rows"]
    if p["overlapped"] == 0:
        return pass_cycles(preload, stream, p["rows"], p["cols"], HOP, p["mac_pipe"], p["drain"])
    hidden = p["drain"] if dataflow == OS else preload
    return issue_interval(stream, hidden, p["min_issue"])


@inlined
def _chunk(p: Any, dataflow: int, tile: int) -> int:
    """Rows that one preloaded block serves."""
    reuse = p["reuse_rows"] if dataflow == WS else 0
    return reuse if 0 < reuse < tile else tile


@inlined
def _stream_tile(p: Any, dataflow: int, tile: int) -> tuple[int, int]:
    """(cycles, passes) of streaming ``tile`` rows through one stationary block."""
    if tile <= 0:
        return 0, 0
    chunk = _chunk(p, dataflow, tile)
    if chunk == tile:
        return _step(p, dataflow, tile), 1
    full = int(tile / chunk)  # exact below 2**52, and faster than integer division
    rest = tile - full * chunk
    cycles = full * _step(p, dataflow, chunk)
    if rest > 0:
        return cycles + _step(p, dataflow, rest), full + 1
    return cycles, full


@inlined
def _axis(p: Any, dataflow: int, unit: int, size: int, tile: int) -> tuple[int, int, int, int, int]:
    """One dimension cut into tiles: (tiles, cycles or blocks of all, of a full tile, passes of all, of a full tile).

    ``unit`` > 0: the dimension lies across the array, ``unit`` wide; 0: it streams.
    """
    tiles = _cd(size, tile)
    edge = size - (tiles - 1) * tile
    if unit > 0:
        full = _cd(tile, unit)
        total = (tiles - 1) * full + _cd(edge, unit)
        return tiles, total, full, total, full
    full_cycles, full_passes = _stream_tile(p, dataflow, tile)
    if edge == tile:
        return tiles, tiles * full_cycles, full_cycles, tiles * full_passes, full_passes
    edge_cycles, edge_passes = _stream_tile(p, dataflow, edge)
    rest = tiles - 1
    return tiles, rest * full_cycles + edge_cycles, full_cycles, rest * full_passes + edge_passes, full_passes


@inlined
def _units(p: Any, dataflow: int) -> tuple[int, int, int]:
    """Array extent along m, k, n; 0 where the dimension streams."""
    if dataflow == WS:
        return 0, p["rows"], p["cols"]
    if dataflow == OS:
        return p["rows"], 0, p["cols"]
    return p["cols"], p["rows"], 0


@inlined
def _fits(op: Any, q: Any, p: Any, tiles_m: int, tiles_n: int) -> int:
    """Status of the SRAM limits for one mapping."""
    halves = p["halves"]
    tile_m, tile_k, tile_n = min(q["tile_m"], op["m"]), min(q["tile_k"], op["k"]), min(q["tile_n"], op["n"])
    act = tile_m * tile_k * op["a_bits"] * halves
    weight = tile_k * tile_n * op["w_bits"] * halves
    if q["keep"] == KEEP_ACT:
        act = tile_m * op["k"] * op["a_bits"] * (halves if tiles_m > 1 else 1)
    elif q["keep"] == KEEP_WEIGHT:
        weight = tile_n * op["k"] * op["w_bits"] * (halves if tiles_n > 1 else 1)
    result = tile_m * tile_n * p["accum_bits"] * halves
    spad = act
    if p["weight_buffer_bytes"] == 0:
        spad += weight
    elif weight > p["weight_buffer_bytes"] * 8:
        return NO_SPAD
    if p["accum_bytes"] == 0:
        spad += result
    elif result > p["accum_bytes"] * 8:
        return NO_ACCUM
    return OK if spad <= p["spad_bytes"] * 8 else NO_SPAD


@kernel
def gemm_depth(op: Any, q: Any, p: Any) -> Any:
    """What the dataflow and the k tile alone decide, so that a search computes it once for all other choices.

    Returns:
        (k axis as :func:`_axis` returns it, bytes of all activations, of all weights, of all results of one piece).
    """
    k, tile_k, request = op["k"], q["tile_k"], p["request_bytes"]
    axis = _axis(p, q["dataflow"], _units(p, q["dataflow"])[1], k, tile_k)
    acts = spanned_bytes(op["m"], k * op["a_bits"], tile_k * op["a_bits"], axis[0], request)
    weights = op["w_bytes"] + spanned_bytes(op["n"], k * op["w_bits"], tile_k * op["w_bits"], axis[0], request)
    weights -= (op["n"] * k * op["w_bits"] + 7) // 8  # group scales stay included
    results = (op["m"] * op["n"] * op["o_bits"] + 7) // 8
    if p["store_by_block"] != 0:
        blocks = _cd(op["n"], p["cols"])
        last = op["n"] - (blocks - 1) * p["cols"]
        results = block_store_bytes(op["m"], blocks, p["cols"] * op["o_bits"], last * op["o_bits"], request)
    return axis, acts, weights, results


@inlined
def operand_reads(q: Any, tiles_m: int, tiles_n: int) -> tuple[int, int]:
    """How often all activations and all weights are read from memory."""
    reads_a = min(q["grid_n"], tiles_n) if q["keep"] == KEEP_ACT else tiles_n
    reads_w = min(q["grid_m"], tiles_m) if q["keep"] == KEEP_WEIGHT else tiles_m
    return reads_a, reads_w


@inlined
def _critical(q: Any, cores: int, count: int, m: tuple[int, int, int], n: tuple[int, int, int]) -> tuple[int, int]:
    """(work of the busiest core along m x n, active cores); ``m``, ``n`` = (tiles, measure of all, of a full tile)."""
    tiles_m, all_m, full_m = m
    tiles_n, all_n, full_n = n
    tiles = count * tiles_m * tiles_n
    if q["deal"] == GRID:
        grid_m, grid_n = q["grid_m"], q["grid_n"]
        mine = _cd(count * tiles_m, grid_m)
        whole = int(mine / tiles_m)
        work_m = whole * all_m + (mine - whole * tiles_m) * full_m
        mine_n = _cd(tiles_n, grid_n)
        work_n = all_n if mine_n == tiles_n else mine_n * full_n
        return work_m * work_n, min(grid_m, count * tiles_m) * min(grid_n, tiles_n)
    total = count * all_m * all_n
    if cores == 1:
        return total, 1
    if tiles <= COUNTED_TILES:
        return _busiest(cores, count, m, n), min(cores, tiles)
    one = full_m * full_n
    return min(_cd(tiles, cores) * one, _cd(total, cores) + one), cores


@kernel
def _busiest(cores: int, count: int, m: tuple[int, int, int], n: tuple[int, int, int]) -> int:
    """Work of the busiest core when tiles are dealt round robin, m outer and n inner, counted tile by tile."""
    edge_m = m[1] - (m[0] - 1) * m[2]
    edge_n = n[1] - (n[0] - 1) * n[2]
    most = 0
    for core in range(cores):
        mine = 0
        for tile in range(core, count * m[0] * n[0], cores):
            along_m = edge_m if tile // n[0] % m[0] == m[0] - 1 else m[2]
            along_n = edge_n if tile % n[0] == n[0] - 1 else n[2]
            mine += along_m * along_n
        most = max(most, mine)
    return most


@kernel
def _bound(op: Any, p: Any, out: Any) -> int:
    """Roofline with the efficiency that one stream sees: the floor of every other fidelity."""
    peak = p["rows"] * p["cols"] * p["arrays"] * p["cores"]
    out["macs"] = op["macs"]
    out["dram_read_bytes"] = op["in_bytes"] + op["w_bytes"] * op["count"] + op["kv_read_bytes"]
    out["dram_write_bytes"] = op["out_bytes"] + op["kv_write_bytes"]
    out["busy"] = op["macs"] / peak
    moved = out["dram_read_bytes"] + out["dram_write_bytes"]
    out["memory"] = moved / p["efficiency"]
    out["noc_bytes"] = moved
    out["sram_write_bytes"] = out["dram_read_bytes"]
    out["sram_read_bytes"] = moved
    out["reg_bytes"] = op["macs"] * (op["a_bits"] + p["accum_bits"]) // 8
    out["cycles"] = max(out["busy"], out["memory"] / p["bytes_per_cycle"])
    out["fixed"] = 0.0
    return OK


@inlined
def _finish(p: Any, out: Any, cycles: float, run: float) -> int:
    """Split the kernel's total into what overlaps (busy, amounts) and what does not (fixed)."""
    if p["spad_port_bytes"] > 0:  # the array waits for its scratchpad: port time is engine time
        run = max(run, out["sram"] / p["spad_port_bytes"])
    hidden = max(run, out["memory"] / p["bytes_per_cycle"])
    if out["vector"] > 0.0 and p["vector_rate"] > 0.0:
        hidden = max(hidden, out["vector"] / p["vector_rate"])
    total = max(cycles, hidden)
    out["fixed"] = total - hidden
    out["busy"] = run
    out["cycles"] = out["fixed"] + hidden
    return OK


@kernel
def _reads(op: Any, p: Any, q: Any, m: Any, n: Any, out: Any) -> None:
    """Operand words that the arrays read from SRAM, all pieces."""
    acts = op["m"] * op["k"] * op["count"]
    weights = op["k"] * op["n"] * op["count"]
    again = m[1]
    if q["dataflow"] == WS:
        again = m[3] if p["reuse_rows"] > 0 else m[0]
    out["act_reads"] = acts * (n[0] if q["dataflow"] == IS else n[1])
    out["weight_reads"] = weights * again


@kernel
def _gemm_events(op: Any, p: Any, q: Any, m: Any, k: Any, n: Any, out: Any) -> None:
    """Event counts of all pieces; ``m``, ``k``, ``n`` as :func:`_axis` returns them."""
    _reads(op, p, q, m, n, out)
    count = op["count"]
    results = op["m"] * op["n"] * count
    writes = results * (k[0] if q["dataflow"] == OS else k[1])
    accum = p["accum_bits"]
    out["out_writes"] = writes
    out["blocks"] = m[3] * k[3] * n[3] * count
    out["macs"] = op["macs"]
    # every write but the first of a result reads the partial sum back, and the last is read to be stored
    reads = out["act_reads"] * op["a_bits"] + out["weight_reads"] * op["w_bits"] + writes * accum
    moved_in = out["dram_read_bytes"]
    out["sram_read_bytes"] = reads // 8
    out["sram_write_bytes"] = moved_in + writes * accum // 8
    out["reg_bytes"] = op["macs"] * (op["a_bits"] + accum) // 8
    out["noc_bytes"] = moved_in + out["dram_write_bytes"]


@inlined
def _faces(op: Any, q: Any, p: Any) -> Any:
    """The dimensions of the result as :func:`_axis` cuts them: m, n."""
    unit_m, _, unit_n = _units(p, q["dataflow"])
    m = _axis(p, q["dataflow"], unit_m, op["m"], q["tile_m"])
    n = _axis(p, q["dataflow"], unit_n, op["n"], q["tile_n"])
    return m, n


@inlined
def _legal(q: Any, p: Any) -> bool:
    sizes = q["tile_m"] >= 1 and q["tile_k"] >= 1 and q["tile_n"] >= 1 and (p["dataflows"] >> q["dataflow"]) & 1 == 1
    if q["deal"] == ROUND_ROBIN and q["keep"] != KEEP_NONE:  # a core's tiles are no neighbours: nothing to keep
        return False
    return bool(sizes and q["grid_m"] >= 1 and q["grid_n"] >= 1 and q["grid_m"] * q["grid_n"] <= p["cores"])


@kernel
def gemm_cost(op: Any, q: Any, p: Any, depth: Any, out: Any) -> int:
    """Cycles and memory traffic of a GEMM at fidelity ``tile``, without the other events: what a search compares.

    Fills ``cycles``, ``fixed``, ``busy``, ``memory``, ``sram`` and ``dram_*_bytes``; where SRAM ports limit the
    array, all events. ``depth`` is what :func:`gemm_depth` returns; other arguments and status as :func:`gemm_tile`.
    """
    if not _legal(q, p):
        return BAD_MAPPING
    m, n = _faces(op, q, p)
    status = _fits(op, q, p, _cd(m[0], q["grid_m"]), _cd(n[0], q["grid_n"]))
    if status != OK:
        return status
    k, acts, weights, results = depth
    reads_a, reads_w = operand_reads(q, m[0], n[0])
    count = op["count"]
    out["dram_read_bytes"] = (reads_a * acts + reads_w * weights) * count
    out["dram_write_bytes"] = results * count
    work, active = _critical(q, p["cores"], count, (m[0], m[1], m[2]), (n[0], n[1], n[2]))
    work = _cd(work * k[1], p["arrays"])
    efficiency = stream_efficiency(p["efficiency"], p["interference"], active)
    out["memory"] = (out["dram_read_bytes"] + out["dram_write_bytes"]) / efficiency
    if p["spad_port_bytes"] > 0:
        _gemm_events(op, p, q, m, k, n, out)
        out["sram"] = out["sram_read_bytes"] / p["cores"]
    return _compose(op, q, p, work, active, efficiency, m[1] if m[0] == 1 else m[2], out)


@kernel
def gemm_reads(op: Any, q: Any, p: Any, out: Any) -> None:
    """Fill ``act_reads`` and ``weight_reads``: the operand words that the arrays read from SRAM, all pieces."""
    m, n = _faces(op, q, p)
    _reads(op, p, q, m, n, out)


@kernel
def gemm_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """GEMM at fidelity ``tile``: see the module docstring.

    Args:
        op: ``OP`` record. q: ``MAPPING`` record. p: ``PARAMS`` record. out: ``DEMAND`` record to fill.

    Returns:
        A status code of sim/demand.py.
    """
    if q["tile_k"] < 1:
        return BAD_MAPPING
    depth = gemm_depth(op, q, p)
    status = gemm_cost(op, q, p, depth, out)
    if status == OK:
        m, n = _faces(op, q, p)
        _gemm_events(op, p, q, m, depth[0], n, out)
    return status


@inlined
def _granule(op: Any, q: Any, p: Any) -> tuple[int, int]:
    """(rows, columns) of the first block: what must be there before the array can start."""
    rows = p["reuse_rows"] if p["reuse_rows"] > 0 else p["rows"]
    return min(q["tile_m"], op["m"], rows), min(q["tile_n"], op["n"], p["cols"])


@inlined
def array_run(op: Any, q: Any, p: Any, work: int) -> int:
    """Cycles of an array run whose passes take ``work`` cycles: with preload, skew and drain where they overlap."""
    if p["overlapped"] == 0:
        return work
    flow = q["dataflow"]
    rows, cols = _granule(op, q, p)
    stream = rows if flow == WS else (min(q["tile_k"], op["k"]) if flow == OS else cols)
    first_preload = 0 if flow == OS else p["rows"] + p["first_extra"]
    held = max(stream, p["min_issue"])
    step = _step(p, flow, stream)
    return overlapped_cycles(first_preload, work, step, held, p["rows"], p["cols"], HOP, p["mac_pipe"], p["drain"])


@inlined
def _waiting(op: Any, q: Any, p: Any) -> int:
    """Cycles of the passes that wait for the last load."""
    flow = q["dataflow"]
    rows, cols = _granule(op, q, p)
    tile_k = min(q["tile_k"], op["k"])
    step = _step(p, flow, rows if flow == WS else (tile_k if flow == OS else cols))
    return step * (1 if flow == OS else _cd(_cd(tile_k, p["rows"]), p["arrays"]))


@inlined
def first_and_last(op: Any, q: Any, p: Any, active: int, per_cycle: float) -> tuple[float, float]:
    """Cycles to load the first block's operands, and to store the last block's results, on every active core.

    ``per_cycle``: bits that memory moves a cycle.
    """
    rows, cols = _granule(op, q, p)
    first = active * min(q["tile_k"], op["k"]) * (rows * op["a_bits"] + cols * op["w_bits"]) / per_cycle
    return first, active * rows * cols * op["o_bits"] / per_cycle


@inlined
def _compose(op: Any, q: Any, p: Any, work: int, active: int, efficiency: float, pass_m: int, out: Any) -> int:
    """Overlap of the array run with the memory stream (module docstring); ``pass_m``: cycles or blocks of an m tile."""
    flow = q["dataflow"]
    waiting = _waiting(op, q, p)
    tail = array_run(op, q, p, waiting)
    run = max(array_run(op, q, p, work), tail)
    per_cycle = efficiency * p["bytes_per_cycle"] * 8
    memory = out["memory"] / p["bytes_per_cycle"]
    if p["halves"] == 1:
        return _finish(p, out, p["latency"] + memory + run, run)
    first, last = first_and_last(op, q, p, active, per_cycle)
    tile = min(q["tile_m"], op["m"]) * min(q["tile_n"], op["n"])
    stores = min(active * tile, op["m"] * op["n"] * op["count"]) * op["o_bits"] / per_cycle
    rest = max(0.0, memory - first - stores) + tail
    if flow == WS:
        tile_k, cols = min(q["tile_k"], op["k"]), min(q["tile_n"], op["n"], p["cols"])
        front = active * tile_k * (min(q["tile_m"], op["m"]) * op["a_bits"] + cols * op["w_bits"]) / per_cycle
        opening = _cd(_cd(tile_k, p["rows"]) * pass_m, p["arrays"])
        rest = max(rest, front - first + run - opening + waiting)
    total = max(memory, first + last + max(float(run), rest))
    return _finish(p, out, p["latency"] + total, run)


@kernel
def _attention_work(op: Any, p: Any, flow: int) -> tuple[int, int, int, int]:
    """(score blocks, value blocks, passes per block, array cycles) of one request and KV head.

    ``seen`` queries see a key on average. Weight stationary: keys, then values, stay and queries stream; input
    stationary: queries, then probabilities, stay and keys (then values) stream; output stationary: scores, then
    results, stay.
    """
    keys = op["keys"]
    seen = _cd(op["pairs"], keys) * (op["heads"] // op["kv_heads"])
    rows, cols = p["rows"], p["cols"]
    if flow == WS:
        score = _cd(op["qk_dim"], rows) * _cd(keys, cols)
        value = _cd(keys, rows) * _cd(op["v_dim"], cols)
        cycles, passes = _stream_tile(p, flow, seen)
        return score, value, passes, (score + value) * cycles
    if flow == IS:
        score = _cd(op["qk_dim"], rows) * _cd(seen, cols)
        value = _cd(keys, rows) * _cd(seen, cols)
        return score, value, 1, score * _step(p, flow, keys) + value * _step(p, flow, op["v_dim"])
    score = _cd(seen, rows) * _cd(keys, cols)
    value = _cd(seen, rows) * _cd(op["v_dim"], cols)
    return score, value, 1, score * _step(p, flow, op["qk_dim"]) + value * _step(p, flow, keys)


@kernel
def attention_flow(op: Any, p: Any) -> int:
    """The supported dataflow with the least array cycles; the first of equals."""
    best, least = -1, 0
    for flow in range(3):
        if (p["dataflows"] >> flow) & 1 != 0:
            work = _attention_work(op, p, flow)[3]
            if best < 0 or work < least:
                best, least = flow, work
    return best


@kernel
def attention_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Fused attention: score and value GEMMs on the array, softmax on the vector engine beside them.

    Every (request, KV head) pair is one piece; pieces are spread over the cores by passes. The query block stays
    on chip; keys and values are read once for every query block that the scratchpad can hold. Causal masking skips
    what no query sees: a key block meets only the queries that see it (their mean). Softmax: maximum,
    subtract-exponential, sum, scale, and the rescaling of flash attention, 5 element operations a pair.

    The mapping's only choice is the dataflow; a mapping without one (``grid_m`` 0) gets the fastest.
    """
    flow = q["dataflow"] if q["grid_m"] > 0 else attention_flow(op, p)
    if (p["dataflows"] >> flow) & 1 == 0:
        return BAD_MAPPING
    group = op["heads"] // op["kv_heads"]
    keys = op["keys"]
    rows, cols = p["rows"], p["cols"]
    score, value, passes, work = _attention_work(op, p, flow)
    pieces = op["kv_heads"] * op["count"]
    active = min(p["cores"], pieces * (score + value))
    work = _cd(work * pieces, p["cores"] * p["arrays"])
    efficiency = stream_efficiency(p["efficiency"], p["interference"], active)
    held = max(1, p["spad_bytes"] * 8 // p["halves"] // ((op["qk_dim"] + op["v_dim"]) * op["a_bits"]))
    again = _cd(op["m"] * group, held)  # query blocks
    streamed = op["kv_read_bytes"] * again + (op["kv_write_bytes"] * (again - 1) + 1) // 2
    moved_in = op["in_bytes"] + streamed
    moved_out = op["out_bytes"] + op["kv_write_bytes"]
    out["memory"] = (moved_in + moved_out) / efficiency
    pairs = op["pairs"] * op["heads"] * op["count"]
    out["vector"] = float(5 * pairs)
    _attention_events(op, p, (score + value) * passes * pieces, moved_in, moved_out, pairs, out)
    out["sram"] = out["sram_read_bytes"] / p["cores"]
    first_preload = 0 if flow == OS else rows + p["first_extra"]
    fill = pass_cycles(first_preload, 0, rows, cols, HOP, p["mac_pipe"], p["drain"])
    run = work + 2 * fill if p["overlapped"] != 0 else work
    block = active * op["qk_dim"] * min(cols, keys) * op["kv_bits"] / 8 / efficiency / p["bytes_per_cycle"]
    memory = out["memory"] / p["bytes_per_cycle"]
    first = min(memory, block)
    return _finish(p, out, p["latency"] + first + max(float(run), memory - first + fill), run)


@kernel
def _attention_events(op: Any, p: Any, blocks: int, moved_in: int, moved_out: int, pairs: int, out: Any) -> None:
    out["blocks"] = blocks
    out["macs"] = op["macs"]
    out["vector_ops"] = 5 * pairs
    out["sram_write_bytes"] = moved_in + pairs * op["a_bits"] // 8
    out["sram_read_bytes"] = moved_in + 2 * pairs * op["a_bits"] // 8
    out["reg_bytes"] = op["macs"] * (op["a_bits"] + p["accum_bits"]) // 8
    out["noc_bytes"] = moved_in + moved_out
    out["dram_read_bytes"] = moved_in
    out["dram_write_bytes"] = moved_out


@kernel
def gemmini_mapping(op: Any, p: Any, q: Any) -> int:
    """The tiling heuristic of Gemmini as ONNXim uses it (Mapping.cc), restated.

    Half of a scratchpad half for each operand; a square output tile of s x s blocks that fills half of the
    accumulators; if there are fewer output tiles than cores the larger of m and n is split further; a remainder
    of tiles over the cores is added to its count; inner sizes are rounded down to whole blocks; output tiles
    are dealt round robin.
    """
    side = max(p["rows"], p["cols"])
    bits = max(op["a_bits"], op["w_bits"])
    spad_rows = p["spad_bytes"] * 8 // (p["halves"] * side * bits)
    accum_rows = max(1, p["accum_bytes"]) * 8 // (p["halves"] * side * p["accum_bits"])
    tile = max(1, int(np.sqrt(accum_rows // side)))
    depth = max(1, spad_rows // 2 // side // tile)
    m, k, n = _cd(op["m"], side) * side, _cd(op["k"], side) * side, _cd(op["n"], side) * side
    outer_m, outer_k, outer_n = _cd(m, tile * side), _cd(k, depth * side), _cd(n, tile * side)
    cores = p["cores"]
    if outer_m * outer_n < cores:
        factor = _cd(cores, outer_m * outer_n)
        outer_m, outer_n = (outer_m * factor, outer_n) if m > n else (outer_m, outer_n * factor if n > m else outer_n)
    rest = outer_m * outer_n % cores
    if rest > 0 and m != n:
        outer_m, outer_n = (outer_m + rest, outer_n) if m > n else (outer_m, outer_n + rest)
    q["dataflow"] = WS
    q["tile_m"] = max(side, _cd(m, outer_m) // side * side)
    q["tile_k"] = max(side, _cd(k, outer_k) // side * side)
    q["tile_n"] = max(side, _cd(n, outer_n) // side * side)
    q["keep"] = KEEP_NONE
    q["grid_m"] = 1
    q["grid_n"] = 1
    q["deal"] = ROUND_ROBIN
    return OK


@kernel
def price_given(op: Any, q: Any, p: Any, fidelity: int, out: Any) -> int:
    """Price one row with the mapping it is given."""
    if fidelity == BOUND:
        return _bound(op, p, out)
    if op["kind"] == ATTENTION:
        return attention_tile(op, q, p, out)
    return gemm_tile(op, q, p, out)
