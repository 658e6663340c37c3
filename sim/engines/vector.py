"""Vector engine: softmax, norms, element-wise functions, gathers and state-space scans.

A row of W elements takes it(W) = ceil(W / lanes) cycles per element-wise pass and tree(W) cycles per reduction
(tree(x) = 1 if x <= lanes, else it(x) + tree(it(x))): the vector model of ONNXim and NeuPIMs, with lanes counted in
elements. Rows are spread over the units; where there are fewer rows than units a row is split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.engines.vector import VectorSpec
from models.jit import kernel, parallel_kernel, prange
from sim.demand import BOUND, OK
from sim.engine import NO_MAPPING, Array, Engine, memory_columns, memory_resource, param_table, vector_rate
from sim.memory.stream import stream_efficiency

PARAMS = np.dtype(
    [
        ("units", "i8"),
        ("lanes", "i8"),
        ("exp_cycles", "i8"),
        ("request_bytes", "i8"),
        ("bytes_per_cycle", "f8"),
        ("efficiency", "f8"),
        ("interference", "f8"),
        ("latency", "f8"),
    ]
)


@kernel
def _passes(elements: int, lanes: int) -> int:
    return (elements + lanes - 1) // lanes


@kernel
def tree_cycles(elements: int, lanes: int) -> int:
    """Cycles of a reduction of ``elements`` values with ``lanes`` lanes."""
    if lanes == 1:  # one lane adds one element a cycle; the recursion below would not end
        return elements
    total = 1
    while elements > lanes:
        elements = _passes(elements, lanes)
        total += elements
    return total


@kernel
def row_cycles(op: Any, p: Any, width: int) -> int:
    """Cycles of one row (or its share, ``width`` elements) on one unit."""
    it = _passes(width, p["lanes"])
    plain = op["passes"] - op["tables"]
    return op["reductions"] * tree_cycles(width, p["lanes"]) + (plain + op["tables"] * p["exp_cycles"]) * it


@kernel
def _moved(op: Any, out: Any) -> int:
    out["dram_read_bytes"] = op["in_bytes"] + op["w_bytes"] + op["kv_read_bytes"]
    out["dram_write_bytes"] = op["out_bytes"] + op["kv_write_bytes"]
    moved: int = out["dram_read_bytes"] + out["dram_write_bytes"]
    out["noc_bytes"] = moved
    out["sram_write_bytes"] = moved
    out["sram_read_bytes"] = moved
    out["macs"] = op["macs"]
    return moved


@kernel
def _operations(op: Any) -> int:
    rows: int = op["m"] * op["count"]
    return rows * op["width"] * (op["passes"] + op["reductions"])


@kernel
def vector_bound(op: Any, q: Any, p: Any, out: Any) -> int:
    """Roofline: element operations at all lanes against bytes at the efficiency of one stream."""
    moved = _moved(op, out)
    out["vector_ops"] = _operations(op)
    out["busy"] = op["m"] * op["count"] * op["width"] * op["passes"] / (p["units"] * p["lanes"])
    out["memory"] = moved / p["efficiency"]
    out["cycles"] = max(out["busy"], out["memory"] / p["bytes_per_cycle"])
    return OK


@kernel
def vector_tile(op: Any, q: Any, p: Any, out: Any) -> int:
    """Rows spread over the units, streamed from and to memory."""
    moved = _moved(op, out)
    out["vector_ops"] = _operations(op)
    rows = op["m"] * op["count"]
    if rows >= p["units"]:
        busy = _passes(rows, p["units"]) * row_cycles(op, p, op["width"])
        active = p["units"]
    else:
        split = p["units"] // max(1, rows)
        busy = row_cycles(op, p, _passes(op["width"], split))
        active = rows * split
    out["memory"] = moved / stream_efficiency(p["efficiency"], p["interference"], active)
    out["busy"] = busy
    out["vector"] = float(busy) * p["units"] * p["lanes"]
    hidden = max(float(busy), out["memory"] / p["bytes_per_cycle"])
    out["fixed"] = p["latency"]
    out["cycles"] = out["fixed"] + hidden
    return OK


@kernel
def _one(op: Any, q: Any, p: Any, fidelity: int, out: Any) -> int:
    return vector_bound(op, q, p, out) if fidelity == BOUND else vector_tile(op, q, p, out)


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
    """Parameters of the vector engine at ``path`` for every row of the table."""
    columns = {name: table.column(f"{path}.{name}") for name in ("units", "lanes", "exp_cycles")}
    return param_table(PARAMS, {**columns, **memory_columns(table, path)}, table.n)


def resources(table: ChipTable, path: str) -> Mapping[str, tuple[str, Array]]:
    """Shared resources: the memory and the engine's own lanes (fused attention uses them too)."""
    return {"memory": memory_resource(table, path), "vector": ("vector", vector_rate(table))}


ENGINE = Engine(
    type="vector",
    spec=VectorSpec,
    kinds=frozenset({"softmax", "norm", "elementwise", "scan", "gather"}),
    params=PARAMS,
    pack=pack,
    resources=resources,
    mapping=NO_MAPPING,
    loop=price_rows,
    kernels={
        (kind, name): kernel_
        for kind in ("softmax", "norm", "elementwise", "scan", "gather")
        for name, kernel_ in (("bound", vector_bound), ("tile", vector_tile))
    },
)
