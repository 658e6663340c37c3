"""Kernels of units inside a memory: how pieces are dealt to channels, and what the fullest channel takes.

An attention operator is all its rows together: requests (or their heads) are dealt to channels, the fullest channel
binds, scores before softmax before contexts. Times are clocks of the memory. The loop puts the operator's time on its
first row and the events on each.
"""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np

from models.jit import kernel, parallel_kernel, prange
from sim.demand import BAD_PLACEMENT, BOUND, KIND_CODES, OK
from sim.engine import Array
from sim.pim.closed import FIELDS

#: Parameters of one design. The first ones say which device it is, for the command scheduler.
PARAMS = np.dtype(
    [
        ("device", "i8"),  # index into pim_devices()
        ("own_lanes", "i8"),  # overrides of the specification, 0 = the device's own
        ("own_row_buffers", "i8"),
        ("own_channels", "i8"),
        ("own_interval", "i8"),
        ("own_reuse", "i8"),
        ("own_format", "i8"),  # 1 + index into DTYPES
        ("channels", "i8"),  # of all copies
        ("whole", "i8"),  # a request stays on one channel
        ("mirrored", "i8"),  # contexts have tokens as outputs, as scores do
        ("host_softmax", "i8"),
        ("policy", "i8"),
        ("reuse", "i8"),
        ("element_bits", "i8"),
        ("mac_lanes", "i8"),  # multiplications of a column, all banks, one vector
        ("issue", "i8"),
        ("rate", "f8"),  # elements a clock, all channels
        ("bytes_per_cycle", "f8"),  # of the memory's bus
        ("host_lost", "f8"),  # share of the memory that work takes from the host
        ("vector_rate", "f8"),
    ]
    + [(name, "f8") for name in FIELDS]
)
ATTENTION, GEMM = KIND_CODES["attention"], KIND_CODES["gemm"]
ROUND_ROBIN, GREEDY, TRACE = 0, 1, 2
#: Element operations of softmax for each pair: maximum, subtract-exponential, sum, scale, and the rescaling of parts.
SOFTMAX_OPS = 5
#: NeuPIMs' own estimate (ASPLOS 2024, its request scheduler): clocks of a chunk and of a tile.
_CHUNK_CK, _TILE_CK = 100.0, 184.0
#: Totals of a product.
CYCLES, COLUMNS, PASSES, CHUNKS, CHUNK_COLUMNS, GROUPS, EVENS, ROWS, ESTIMATE = range(9)
TOTALS = 9


@kernel
def _up(a: float, b: float) -> float:
    return float(np.ceil(a / b))


@kernel
def product(p: Any, outputs: float, inputs: float, head_dim: float, vectors: float, exposed: float, out: Array) -> None:
    """Add what one product costs a channel to the totals.

    Args:
        outputs, inputs: of the channel's matrix. head_dim: elements that a composite command adds up; 0 = all.
        vectors: vectors that it is multiplied with.
        exposed: share of the writes and stores of vectors that nothing hides.
    """
    again = _up(vectors, p["reuse"])
    groups = _up(outputs, p["out_par"])
    full = np.floor(inputs / p["chunk"])
    chunks = _up(inputs, p["chunk"])
    for part in range(2):
        size = p["chunk"] if part == 0 else inputs - full * p["chunk"]
        times = full if part == 0 else chunks - full
        if times <= 0.0:
            continue
        composites = max(1.0, np.floor(size / head_dim)) if head_dim > 0.0 else 1.0
        columns = _up(size, composites * p["lanes"])
        one = p["pass_ck"] + composites * (p["comp_ck"] + p["col_ck"] * max(columns, p["min_cols"]))
        one += exposed * p["store_ck"] * vectors / again
        columns *= composites
        rows = _up(columns * groups, p["row_cols"])
        writes = exposed * vectors * (p["write_ck"] + p["write_col_ck"] * columns)
        cycles = writes + again * (groups * one + rows * p["row_ck"])
        if p["interval_ck"] > 0.0:
            cycles *= p["interval_ck"] / max(1.0, p["interval_ck"] - p["loss_ck"] - p["waste"] * one)
        out[CYCLES] += times * cycles
        out[COLUMNS] += times * again * groups * columns
        out[PASSES] += times * again * groups
        out[ROWS] += times * again * rows
        out[CHUNKS] += times * vectors * (groups if p["out_ck"] > 0.0 else 1.0)
        out[CHUNK_COLUMNS] += times * vectors * columns
        out[ESTIMATE] += times * vectors * (_CHUNK_CK + _TILE_CK * groups)
    more = p["even_ck"] * np.ceil(chunks / 2) + p["out_ck"]
    out[CYCLES] += again * groups * more * _stretch(p)
    out[GROUPS] += again * groups
    out[EVENS] += again * groups * np.ceil(chunks / 2)


@kernel
def _stretch(p: Any) -> float:
    """How much longer everything takes because of refresh."""
    if p["interval_ck"] <= 0.0:
        return 1.0
    longer: float = p["interval_ck"] / max(1.0, p["interval_ck"] - p["loss_ck"])
    return longer


@kernel
def piece_costs(op: Any, p: Any, out: Array) -> None:
    """Totals of the two phases of one piece: a request where it stays whole, else one key head of it.

    Args:
        out: (2, TOTALS), written.
    """
    out[:] = 0.0
    keys, vectors = float(op["keys"]), float(op["m"] * (op["heads"] // op["kv_heads"]))
    if p["whole"] != 0:
        product(p, keys, float(op["kv_heads"] * op["qk_dim"]), float(op["qk_dim"]), vectors, 1.0, out[0])
        product(p, float(op["v_dim"]), keys, 0.0, vectors, 1.0, out[1])
        out[1] *= op["kv_heads"]
        return
    if p["mirrored"] != 0:  # operands and results move beside the multiplications of another head
        product(p, keys, float(op["qk_dim"]), 0.0, vectors, 0.0, out[0])
        out[0, CYCLES] += (vectors * p["head_ck"] + 0.5 * p["write_col_ck"] * out[0, CHUNK_COLUMNS]) * _stretch(p)
        product(p, keys, float(op["v_dim"]), 0.0, vectors, 0.0, out[1])
        out[1, CHUNKS] = out[1, CHUNK_COLUMNS] = 0.0  # probabilities come from the softmax buffer
        return
    product(p, keys, float(op["qk_dim"]), 0.0, vectors, 1.0, out[0])
    product(p, float(op["v_dim"]), keys, 0.0, vectors, 1.0, out[1])


@kernel
def pieces_of(op: Any, p: Any) -> int:
    """Pieces of a row: requests, or their key heads."""
    heads = 1 if p["whole"] != 0 else op["kv_heads"]
    count: int = op["count"] * heads
    return count


@kernel
def deal(ops: Array, p: Any, work: Array, channel_of: Array) -> int:
    """Deal the pieces of an operator to channels.

    Args:
        ops: its rows (k,). work: of one piece of each row, (k,).
        channel_of: (pieces,) written; pieces in the order of the rows.

    Returns:
        OK, or BAD_PLACEMENT where the trace must say a channel and says none that exists.
    """
    channels = p["channels"]
    first = np.zeros(len(ops) + 1, np.int64)
    for j in range(len(ops)):
        first[j + 1] = first[j] + pieces_of(ops[j], p)
    if p["policy"] == ROUND_ROBIN:
        for i in range(first[-1]):
            channel_of[i] = i % channels
        return OK
    if p["policy"] == TRACE:
        for j in range(len(ops)):
            if ops[j]["placement"] < 0 or ops[j]["placement"] >= channels:
                return BAD_PLACEMENT
            channel_of[first[j] : first[j + 1]] = ops[j]["placement"]
        return OK
    loads = [(0.0, 0)]
    for c in range(1, channels):
        loads.append((0.0, c))  # a list of equal loads in order is a heap
    for j in np.argsort(-work, kind="mergesort"):
        for i in range(first[j], first[j + 1]):
            load, channel = loads[0]
            channel_of[i] = channel
            heapq.heapreplace(loads, (load + work[j], channel))
    return OK


@kernel
def greedy_work(p: Any, totals: Array) -> float:
    """What greedy dealing goes by: the published estimate where there is one, else the closed form."""
    column = ESTIMATE if p["whole"] != 0 else CYCLES
    work: float = totals[0, column] + totals[1, column]
    return work


@kernel
def attention_time(ops: Array, p: Any, totals: Array, channel_of: Array, out: Any) -> int:
    """Time of an operator, on ``out``; ``totals`` (rows, 2, TOTALS) and ``channel_of`` are written.

    Returns:
        Status.
    """
    work = np.zeros(len(ops))
    for j in range(len(ops)):
        piece_costs(ops[j], p, totals[j])
        work[j] = greedy_work(p, totals[j])
    status = deal(ops, p, work, channel_of)
    if status != OK:
        return status
    loads = np.zeros((2, p["channels"]))
    at = 0
    for j in range(len(ops)):
        for _ in range(pieces_of(ops[j], p)):
            for phase in range(2):
                loads[phase, channel_of[at]] += totals[j, phase, CYCLES]
            at += 1
    if p["host_softmax"] != 0:
        out["busy"] = loads[0].max() + loads[1].max() + 2 * p["base_ck"]
    else:
        out["busy"] = (loads[0] + loads[1]).max() + p["base_ck"]
    if p["issue"] > 0:
        out["busy"] = max(out["busy"], _queued(ops, p, totals, channel_of, loads))
    return OK


@kernel
def _queued(ops: Array, p: Any, totals: Array, channel_of: Array, loads: Array) -> float:
    """Clocks of both phases where all channels get their instructions from one queue.

    The queue serves channels that still have work in equal shares, none of them faster than it works on its own
    (the mean pace); those with little work finish first, the fullest ends alone.
    """
    waiting = np.zeros(loads.shape)
    at = 0
    for j in range(len(ops)):
        for _ in range(pieces_of(ops[j], p)):
            for phase in range(2):
                waiting[phase, channel_of[at]] += _instructions(p, totals[j, phase])
            at += 1
    total = 0.0
    for phase in range(2):
        pace = waiting[phase].sum() / max(1.0, loads[phase].sum())
        order = np.sort(waiting[phase])
        clocks, served = 0.0, 0.0
        for c in range(len(order)):
            if order[c] > served:
                clocks += (order[c] - served) / min(p["issue"] / (len(order) - c), pace)
                served = order[c]
        total += clocks
    return total


@kernel
def _instructions(p: Any, totals: Array) -> float:
    """Instructions of one phase of a piece."""
    count: float = (
        totals[PASSES] * p["commands_pass"] + totals[COLUMNS] * p["commands_col"] + totals[CHUNKS] * p["commands_chunk"]
    )
    return count


@kernel
def events(p: Any, totals: Array, vectors: float, times: float, stored: float, out: Any) -> None:
    """Add the events of ``times`` equal products; ``stored``: moves of passes count."""
    passes, columns, groups = totals[PASSES], totals[COLUMNS], totals[GROUPS]
    rows = passes * p["act_pass"] + totals[EVENS] * p["act_even"] + totals[ROWS] * p["act_row"]
    chunks, chunk_columns = totals[CHUNKS], totals[CHUNK_COLUMNS]
    bus = chunks * p["bus_chunk"] + chunk_columns * p["bus_col"] + passes * p["bus_pass"] + groups * p["bus_out"]
    out["pim_activations"] += int(np.ceil(times * rows))
    out["pim_array_bytes"] += int(np.ceil(times * (columns * p["column_bytes"] + groups * p["array_out"])))
    out["pim_bus_bytes"] += int(np.ceil(times * bus))
    each = vectors / _up(vectors, p["reuse"])
    moved = chunks * p["move_chunk"] + chunk_columns * p["move_col"] + groups * p["bus_out"]
    moved += stored * passes * each * p["move_pass"]
    out["pim_move_bytes"] += int(np.ceil(times * moved))
    out["pim_macs"] += int(np.ceil(times * columns * p["mac_lanes"] * each))
    out["blocks"] += int(np.ceil(times * columns))


@kernel
def base_events(p: Any, times: float, out: Any) -> None:
    """Add the events of entering and leaving, ``times`` channels and phases."""
    out["pim_activations"] += int(times * p["act_base"])
    out["pim_bus_bytes"] += int(times * p["bus_base"])
    out["pim_move_bytes"] += int(times * p["bus_base"])


@kernel
def attention_events(op: Any, p: Any, totals: Array, out: Any) -> None:
    """Events of one row."""
    vectors = float(op["m"] * (op["heads"] // op["kv_heads"]))
    times = float(pieces_of(op, p))
    for phase in range(2):
        events(p, totals[phase], vectors, times, 0.0 if p["mirrored"] != 0 else 1.0, out)
    moves = _up(float(op["keys"]), p["step_tokens"]) * p["move_step"]
    moves += _up(float(op["v_dim"]), p["lanes"]) * p["move_value"]
    out["pim_move_bytes"] += int(moves * vectors * times)
    trace_events(op, out)
    if p["host_softmax"] != 0:
        out["vector_ops"] = softmax_ops(op)


@kernel
def softmax_ops(op: Any) -> int:
    """Element operations of a row's softmax."""
    ops: int = SOFTMAX_OPS * op["pairs"] * op["heads"] * op["count"]
    return ops


@kernel
def trace_events(op: Any, out: Any) -> None:
    """What the operator itself says: its MACs, and what the host reads and writes of its operands."""
    out["macs"] = op["macs"]
    out["dram_read_bytes"] = op["in_bytes"]
    if op["kind"] == GEMM:  # biases and scales
        out["dram_read_bytes"] += max(0, op["w_bytes"] - op["k"] * op["n"] * op["w_bits"] // 8) * op["count"]
    out["dram_write_bytes"] = op["out_bytes"] + op["kv_write_bytes"]


@kernel
def finish(ops: Array, p: Any, fidelity: int, out: Array) -> None:
    """Amounts and cycles of an operator on its first row, from its busy clocks and the events of all rows."""
    moved, vector, tail = 0.0, 0.0, 0.0
    first = out[0]
    for j in range(len(ops)):
        moved += out[j]["dram_read_bytes"] + out[j]["dram_write_bytes"] + out[j]["pim_bus_bytes"]
        if ops[j]["kind"] == ATTENTION and p["host_softmax"] != 0:
            work = float(softmax_ops(ops[j]))
            vector += work
            tail = max(tail, work / ops[j]["count"])
    first["vector"] = vector
    first["memory"] = moved
    if fidelity != BOUND:
        first["memory"] = max(moved, first["busy"] * p["bytes_per_cycle"] * p["host_lost"])
        first["fixed"] = tail / p["vector_rate"] if vector > 0.0 else 0.0
    hidden = max(first["busy"], first["memory"] / p["bytes_per_cycle"])
    if vector > 0.0:
        hidden = max(hidden, vector / p["vector_rate"])
    first["cycles"] = first["fixed"] + hidden


@kernel
def gemm_time(op: Any, p: Any, totals: Array, out: Any) -> None:
    """A product whose outputs all channels share; pieces of their own weights one after the other."""
    outputs = _up(float(op["n"]), float(p["channels"]))
    used = _up(float(op["n"]), outputs)
    totals[:] = 0.0
    product(p, outputs, float(op["k"]), 0.0, float(op["m"]), 1.0, totals)
    out["busy"] = op["count"] * (p["base_ck"] + totals[CYCLES])
    if p["issue"] > 0:
        out["busy"] = max(out["busy"], op["count"] * used * _instructions(p, totals) / p["issue"])
    events(p, totals, float(op["m"]), used * op["count"], 1.0, out)
    base_events(p, used * op["count"], out)
    trace_events(op, out)


@kernel
def elements_of(op: Any) -> float:
    """Weights, or cached keys and values, that units have to read once."""
    if op["kind"] == ATTENTION:
        return float(op["keys"]) * op["kv_heads"] * (op["qk_dim"] + op["v_dim"]) * op["count"]
    return float(op["k"]) * op["n"] * op["count"]


@kernel
def bound_row(op: Any, p: Any, out: Any) -> float:
    """Events of a row at ``bound``, and the clocks that it needs where all banks work all the time."""
    trace_events(op, out)
    elements = elements_of(op)
    out["pim_array_bytes"] = int(np.ceil(elements * p["element_bits"] / 8))
    out["pim_macs"] = op["macs"]
    if op["kind"] == ATTENTION and p["host_softmax"] != 0:
        out["vector_ops"] = softmax_ops(op)
    return max(elements, op["macs"] / p["reuse"]) / p["rate"]


@kernel
def price_attention(ops: Array, p: Any, fidelity: int, out: Array, status: Array) -> None:
    """All rows of one attention operator on one design."""
    if fidelity == BOUND:
        for j in range(len(ops)):
            out[0]["busy"] += bound_row(ops[j], p, out[j])
    else:
        pieces = 0
        for j in range(len(ops)):
            pieces += pieces_of(ops[j], p)
        totals = np.zeros((len(ops), 2, TOTALS))
        status[:] = attention_time(ops, p, totals, np.zeros(pieces, np.int64), out[0])
        for j in range(len(ops)):
            attention_events(ops[j], p, totals[j], out[j])
        base_events(p, float(min(pieces, p["channels"]) * (1 + p["host_softmax"])), out[0])
    finish(ops, p, fidelity, out)


@kernel
def price_gemm(op: Array, p: Any, fidelity: int, out: Array) -> None:
    """One row of a product on one design; ``op`` and ``out`` have length 1."""
    if fidelity == BOUND:
        out[0]["busy"] = bound_row(op[0], p, out[0])
    else:
        gemm_time(op[0], p, np.zeros(TOTALS), out[0])
    finish(op, p, fidelity, out)


@kernel
def price_design(ops: Array, p: Any, fidelity: int, out: Array, status: Array) -> None:
    """All operator rows (k) on one design at ``bound`` or ``tile``; rows of one operator are neighbours."""
    start = 0
    while start < len(ops):
        end = start + 1
        if ops[start]["kind"] == ATTENTION:
            while end < len(ops) and ops[end]["row"] == ops[start]["row"]:
                end += 1
            price_attention(ops[start:end], p, fidelity, out[start:end], status[start:end])
        else:
            price_gemm(ops[start:end], p, fidelity, out[start:end])
        start = end


@parallel_kernel
def price_designs(ops: Array, params: Array, fidelity: int, out: Array, status: Array) -> None:
    """All operator rows (k) on all designs (n)."""
    for i in prange(params.shape[0]):
        price_design(ops, params[i], fidelity, out[i], status[i])


@kernel
def fullest_cache(ops: Array, p: Any) -> float:
    """Bytes of keys and values that the fullest channel holds after one attention operator, times the channels."""
    pieces = 0
    work = np.zeros(len(ops))
    totals = np.zeros((2, TOTALS))
    for j in range(len(ops)):
        pieces += pieces_of(ops[j], p)
        piece_costs(ops[j], p, totals)
        work[j] = greedy_work(p, totals)
    channel_of = np.zeros(pieces, np.int64)
    if deal(ops, p, work, channel_of) != OK:
        return 0.0
    held = np.zeros(p["channels"])
    at = 0
    for j in range(len(ops)):
        each = (ops[j]["kv_read_bytes"] + ops[j]["kv_write_bytes"]) / pieces_of(ops[j], p)
        for _ in range(pieces_of(ops[j], p)):
            held[channel_of[at]] += each
            at += 1
    return held.max() * p["channels"]
