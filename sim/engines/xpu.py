"""The xPU: matrix kernels as thread blocks on cores, attention and vector kernels as rooflines with caps.

A GEMM is cut into thread blocks. Of the tile sizes that a core's shared memory holds, the one is taken that moves least
through the last-level cache, times the square of the waves' idleness, as AttAcc's simulator chooses it (c600051).
Compute time follows the waves, memory time the bytes that the last-level cache can't hold back; both at their caps.
Attention runs in one kernel that keeps its scores on the chip; each key and value is read once.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor, sqrt
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.engines.xpu import TYPE, XpuSpec
from models.jit import kernel, parallel_kernel, prange
from sim.demand import BOUND, KIND_CODES, OK
from sim.engine import NO_MAPPING, Array, Engine, memory_columns, memory_resource, param_table

_GEMM, _ATTENTION = KIND_CODES["gemm"], KIND_CODES["attention"]
_NORM, _SCAN = KIND_CODES["norm"], KIND_CODES["scan"]
KINDS = ("gemm", "attention", "softmax", "norm", "elementwise", "scan", "gather")
#: Sides of a thread block's tile that are tried.
SIDES = np.array([8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512], np.int64)
#: Inner slice of a thread block; side of the tile that registers hold; slices of k that the last-level cache holds.
K_SLICE, REGISTER_SIDE, L2_SLICES = 32, 16, 64
#: Query rows of one thread block of attention; operations a score in softmax (scale, maximum, exp, sum, divide).
ATTENTION_ROWS, SOFTMAX_OPS = 128, 5

PARAMS = np.dtype(
    [
        ("cores", "i8"),
        ("l1_bytes", "i8"),
        ("l2_bytes", "i8"),
        ("occupancy", "i8"),
        ("flops", "f8"),
        ("flops_8bit", "f8"),
        ("flops_32bit", "f8"),
        ("vector", "f8"),
        ("bytes_per_cycle", "f8"),
        ("efficiency", "f8"),
        ("norm_efficiency", "f8"),
        ("latency", "f8"),
        ("launch", "f8"),
        ("norm_launch", "f8"),
        ("vector_launch", "f8"),
    ]
)


@kernel
def _pieces(size: int, part: int) -> int:
    return (size + part - 1) // part


@kernel
def wave_share(blocks: int, cores: int) -> float:
    """Share of the cores that have a thread block, over all waves."""
    return blocks / (_pieces(blocks, cores) * cores)


@kernel
def thread_tile(m: int, n: int, k: int, count: int, element: float, p: Any) -> tuple[int, int]:
    """Rows and columns of a thread block's tile: least cache traffic, times idleness squared."""
    best, rows, cols = np.inf, 1, 1
    for wide in SIDES:
        for long in SIDES:
            tm, tn = min(wide, m), min(long, n)
            if ((tm + tn) * K_SLICE + tm * tn) * element > p["l1_bytes"]:
                continue
            moved = float(_pieces(n, tn)) * m * k + float(_pieces(m, tm)) * n * k + float(m) * n
            share = wave_share(_pieces(m, tm) * _pieces(n, tn) * count, p["cores"])
            if moved / (share * share) < best:
                best, rows, cols = moved / (share * share), tm, tn
    return rows, cols


@kernel
def _fetches(op: Any, element: float, p: Any) -> tuple[int, int]:
    """How often activations and weights come from memory: the cache holds a block of results and slices of both."""
    m, n, slice_ = float(op["m"]), float(op["n"]), element * op["k"] / L2_SLICES
    room = float(p["l2_bytes"])
    if m * n * element + (m + n) * slice_ <= room:
        return 1, 1
    best, times_in, times_w = np.inf, 1, 1
    side = (sqrt(slice_ * slice_ + element * room) - slice_) / element
    for choice in range(3):
        rows, cols = side, side
        if choice == 0:  # all rows at once
            rows, cols = m, (room - m * slice_) / (m * element + slice_)
        elif choice == 1:  # all columns at once
            rows, cols = (room - n * slice_) / (n * element + slice_), n
        if rows < 1.0 or cols < 1.0:
            continue
        again_in = ceil(n / min(n, floor(cols)))
        again_w = ceil(m / min(m, floor(rows)))
        moved = again_in * float(op["in_bytes"]) + again_w * float(op["w_bytes"]) * op["count"]
        if moved < best:
            best, times_in, times_w = moved, again_in, again_w
    return times_in, times_w


@kernel
def _flops(op: Any, p: Any) -> float:
    """Matrix operations a cycle for the wider of both operands."""
    bits = max(op["a_bits"], op["kv_bits"] if op["kind"] == _ATTENTION else op["w_bits"])
    rate: float = p["flops_8bit"] if bits <= 8 else p["flops"]
    return p["flops_32bit"] if bits > 16 else rate


@kernel
def _vector_ops(op: Any) -> int:
    """Element operations: of attention those of its softmax."""
    if op["kind"] == _ATTENTION:
        return SOFTMAX_OPS * op["pairs"] * op["heads"] * op["count"]
    return op["m"] * op["count"] * op["width"] * (op["passes"] + op["reductions"])


@kernel
def _compulsory(op: Any, out: Any) -> None:
    """Every operand once over every level; kernels that tile add to it."""
    out["dram_read_bytes"] = op["in_bytes"] + op["w_bytes"] * op["count"] + op["kv_read_bytes"]
    out["dram_write_bytes"] = op["out_bytes"] + op["kv_write_bytes"]
    out["macs"] = op["macs"]
    out["vector_ops"] = _vector_ops(op)


@kernel
def _chip_levels(cache: int, shared: int, registers: int, out: Any) -> None:
    out["noc_bytes"] = cache
    out["sram_read_bytes"] = shared
    out["reg_bytes"] = registers


@kernel
def _finish(fixed: float, efficiency: float, p: Any, out: Any) -> int:
    out["memory"] = (out["dram_read_bytes"] + out["dram_write_bytes"]) / efficiency
    out["fixed"] = fixed
    out["cycles"] = fixed + max(out["busy"], out["memory"] / p["bytes_per_cycle"])
    return OK


@kernel
def _efficiency(op: Any, p: Any) -> float:
    share: float = p["norm_efficiency"] if op["kind"] == _NORM else p["efficiency"]
    return share


@kernel
def xpu_bound(op: Any, q: Any, p: Any, out: Any) -> int:
    """Roofline at the caps: no launch, no waves, every byte moved once."""
    _compulsory(op, out)
    moved = out["dram_read_bytes"] + out["dram_write_bytes"]
    _chip_levels(moved, moved, 0, out)
    out["busy"] = max(2 * op["macs"] / _flops(op, p), out["vector_ops"] / p["vector"])
    if op["kind"] == _SCAN:  # a state is updated element by element
        out["busy"] = (2 * op["macs"] + out["vector_ops"]) / p["vector"]
    return _finish(0.0, _efficiency(op, p), p, out)


@kernel
def gemm_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Thread blocks in waves over the cores; operands again where the last-level cache does not hold them."""
    _compulsory(op, out)
    m, n, k, count = op["m"], op["n"], op["k"], op["count"]
    element = max(op["a_bits"], op["w_bits"]) / 8.0
    tm, tn = thread_tile(m, n, k, count, element, p)
    again_in, again_w = _fetches(op, element, p)
    weights = op["w_bytes"] * count
    out["dram_read_bytes"] = again_in * op["in_bytes"] + again_w * weights
    cache = _pieces(n, tn) * op["in_bytes"] + _pieces(m, tm) * weights + op["out_bytes"]
    shared = _pieces(n, REGISTER_SIDE) * op["in_bytes"] + _pieces(m, REGISTER_SIDE) * weights + op["out_bytes"]
    _chip_levels(cache, shared, int(op["macs"] * (op["a_bits"] + op["w_bits"] + op["o_bits"]) / 8.0), out)
    share = wave_share(_pieces(m, tm) * _pieces(n, tn) * count, p["cores"])
    out["busy"] = 2 * op["macs"] / (_flops(op, p) * share)
    efficiency = p["efficiency"] * (share if p["occupancy"] else 1.0)
    return _finish(p["launch"] + p["latency"], efficiency, p, out)


@kernel
def attention_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Scores stay on the chip; heads that share keys share their reads. Softmax and products take turns."""
    _compulsory(op, out)
    pieces = op["kv_heads"] * op["count"]
    rows = op["m"] * op["heads"] // op["kv_heads"]  # queries of one key head
    kept = op["in_bytes"] + op["out_bytes"]
    cache = kept + _pieces(rows, ATTENTION_ROWS) * op["kv_read_bytes"] + op["kv_write_bytes"]
    dims, keys, bits = op["qk_dim"] + op["v_dim"], op["keys"], max(op["a_bits"], op["kv_bits"])
    from_rows = _pieces(keys, REGISTER_SIDE) * rows * op["qk_dim"] + _pieces(op["v_dim"], REGISTER_SIDE) * rows * keys
    elements = from_rows + _pieces(rows, REGISTER_SIDE) * keys * dims
    registers = int(op["macs"] * (2 * op["a_bits"] + op["kv_bits"]) / 8.0)
    _chip_levels(cache, int(pieces * float(elements) * bits / 8.0) + kept, registers, out)
    share = wave_share(op["heads"] * op["count"] * _pieces(op["m"], ATTENTION_ROWS), p["cores"])
    if not p["occupancy"]:
        share = 1.0
    out["busy"] = 2 * op["macs"] / (_flops(op, p) * share) + out["vector_ops"] / p["vector"]
    return _finish(p["launch"] + p["latency"], p["efficiency"] * share, p, out)


@kernel
def vector_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Rooflines of element-wise kernels and their launch."""
    xpu_bound(op, q, p, out)
    moved = out["dram_read_bytes"] + out["dram_write_bytes"]
    _chip_levels(moved, moved, moved, out)
    launch = p["norm_launch"] if op["kind"] == _NORM else p["vector_launch"]
    return _finish(launch + p["latency"], _efficiency(op, p), p, out)


@kernel
def _one(op: Any, q: Any, p: Any, fidelity: int, out: Any) -> int:
    if fidelity == BOUND:
        return xpu_bound(op, q, p, out)
    if op["kind"] == _GEMM:
        return gemm_tile(op, q, p, out)
    return attention_tile(op, q, p, out) if op["kind"] == _ATTENTION else vector_tile(op, q, p, out)


@parallel_kernel
def _loop(ops: Array, params: Array, mapping: Array, mode: int, fidelity: int, out: Array, status: Array) -> None:
    for i in prange(params.shape[0]):
        for j in range(ops.shape[0]):
            status[i, j] = _one(ops[j], mapping[i, j], params[i], fidelity, out[i, j])


@kernel
def _loop_serial(
    ops: Array, params: Array, mapping: Array, mode: int, fidelity: int, out: Array, status: Array
) -> None:
    for i in range(params.shape[0]):
        for j in range(ops.shape[0]):
            status[i, j] = _one(ops[j], mapping[i, j], params[i], fidelity, out[i, j])


def price_rows(ops: Array, params: Array, mapping: Array, mode: int, fidelity: int, out: Array, status: Array) -> None:
    """Price all pairs; one design runs on one thread, so that a single run needs no thread pool."""
    loop = _loop_serial if len(params) == 1 else _loop
    loop(ops, params, mapping, mode, fidelity, out, status)


def pack(table: ChipTable, path: str) -> Array:
    """Parameters of the xPU at ``path`` for every row of the table: rates a cycle, times in cycles."""

    def column(name: str) -> Array:
        return np.asarray(table.column(f"{path}.{name}"))

    clock, peak = column("clock_hz"), column("flops_per_s")
    low, high = column("flops_8bit_per_s"), column("flops_32bit_per_s")
    memory = memory_columns(table, path)
    efficiency = memory["efficiency"] * column("memory_efficiency")
    norm = column("norm_efficiency")
    columns = {
        **{name: column(name) for name in ("cores", "l1_bytes", "l2_bytes")},
        "occupancy": column("occupancy_limits_bandwidth"),
        "flops": peak * column("compute_efficiency") / clock,
        "flops_8bit": np.where(low > 0, low, peak) * column("compute_efficiency") / clock,
        "flops_32bit": np.where(high > 0, high, peak / 2) * column("compute_efficiency") / clock,
        "vector": column("vector_flops_per_s") / clock,
        "bytes_per_cycle": memory["bytes_per_cycle"],
        "efficiency": efficiency,
        "norm_efficiency": np.where(norm > 0, norm * memory["efficiency"], efficiency),
        "latency": memory["latency"],
        **{name: column(f"{name}_s") * clock for name in ("launch", "norm_launch", "vector_launch")},
    }
    return param_table(PARAMS, columns, table.n)


def resources(table: ChipTable, path: str) -> Mapping[str, tuple[str, Array]]:
    """Shared resources: the memory."""
    return {"memory": memory_resource(table, path)}


_TILE_KERNELS = {"gemm": gemm_tile, "attention": attention_tile}

ENGINE = Engine(
    type=TYPE,
    spec=XpuSpec,
    kinds=frozenset(KINDS),
    params=PARAMS,
    pack=pack,
    resources=resources,
    mapping=NO_MAPPING,
    loop=price_rows,
    kernels={(kind, "bound"): xpu_bound for kind in KINDS}
    | {(kind, "tile"): _TILE_KERNELS.get(kind, vector_tile) for kind in KINDS},
)
