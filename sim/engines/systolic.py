"""Systolic engine: how chips become parameters, how rows are priced, how mappings read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.engines.systolic import SystolicSpec
from models.jit import kernel, parallel_kernel, prange
from sim.demand import AUTO, DEMAND, GEMMINI
from sim.engine import Array, Engine, memory_columns, memory_resource, param_table, vector_rate
from sim.engines.systolic_kernels import (
    ATTENTION,
    DATAFLOWS,
    DEALS,
    KEEPS,
    MAPPING,
    PARAMS,
    _bound,
    attention_tile,
    gemm_tile,
    gemmini_mapping,
    price_given,
)
from sim.engines.systolic_search import search
from workloads.dtypes import dtype
from workloads.errors import ChipsmithError, nearest


@kernel
def _row(op: Any, p: Any, mode: int, fidelity: int, q: Any, trial: Any, best_q: Any, best: Any) -> int:
    if mode == AUTO:
        return search(op, p, fidelity, q, trial, best_q, best)
    if mode == GEMMINI and op["kind"] != ATTENTION:
        gemmini_mapping(op, p, best_q)
    return price_given(op, best_q, p, fidelity, best)


@kernel
def _design(
    ops: Array, p: Any, mapping: Array, mode: int, fidelity: int, q: Any, trial: Any, out: Array, status: Array
) -> None:
    """All rows of one design."""
    for j in range(ops.shape[0]):
        status[j] = _row(ops[j], p, mode, fidelity, q, trial, mapping[j], out[j])


@parallel_kernel
def _designs(
    ops: Array,
    params: Array,
    mapping: Array,
    mode: int,
    fidelity: int,
    q: Array,
    trial: Array,
    out: Array,
    status: Array,
) -> None:
    for i in prange(params.shape[0]):
        _design(ops, params[i], mapping[i], mode, fidelity, q[i], trial[i], out[i], status[i])


def price_rows(ops: Array, params: Array, mapping: Array, mode: int, fidelity: int, out: Array, status: Array) -> None:
    """Map (unless given) and price all (design, row) pairs; see sim.engine.Loop."""
    n = len(params)
    q, trial = np.zeros(n, MAPPING), np.zeros(n, DEMAND)
    if n == 1:  # one chip needs no thread pool
        _design(ops, params[0], mapping[0], mode, fidelity, q[0], trial[0], out[0], status[0])
    else:
        _designs(ops, params, mapping, mode, fidelity, q, trial, out, status)


def _bits(table: ChipTable, path: str) -> Array:
    names = table.column(path)
    known = {name: dtype(name, path).bits for name in {str(v) for v in names}}
    return (
        np.array([known[str(name)] for name in names], np.int64)
        if len(known) > 1
        else np.full(table.n, next(iter(known.values())), np.int64)
    )


def pack(table: ChipTable, path: str) -> Array:
    """Parameters of the systolic engine at ``path`` for every row of the table."""
    spec = table.base.engines[path.split(".")[1]]
    assert isinstance(spec, SystolicSpec)
    plain = ("cores", "arrays", "rows", "cols", "spad_bytes", "weight_buffer_bytes", "accum_bytes", "mac_pipe")
    columns: dict[str, Any] = {name: table.column(f"{path}.{name}") for name in plain}
    columns |= {
        "dataflows": sum(1 << DATAFLOWS.index(flow) for flow in spec.dataflows),
        "accum_bits": _bits(table, f"{path}.accum_dtype"),
        "halves": 1 + table.column(f"{path}.double_buffered").astype(np.int64),
        "overlapped": table.column(f"{path}.preload") == "overlapped",
        "reuse_rows": table.column(f"{path}.weight_reuse_rows"),
        "min_issue": table.column(f"{path}.min_issue_cycles"),
        "first_extra": table.column(f"{path}.first_preload_extra_cycles"),
        "drain": table.column(f"{path}.drain_cycles"),
        "spad_port_bytes": table.column(f"{path}.spad_port_bytes"),
        "store_by_block": table.column(f"{path}.store_by_block"),
        "vector_rate": vector_rate(table) / table.column(f"{path}.clock_hz"),
    }
    return param_table(PARAMS, {**columns, **memory_columns(table, path)}, table.n)


def resources(table: ChipTable, path: str) -> Mapping[str, tuple[str, Array]]:
    """Shared resources: the memory, and the vector lanes that softmax of fused attention uses."""
    found = {"memory": memory_resource(table, path)}
    rate = vector_rate(table)
    if rate.min() > 0:
        found["vector"] = ("vector", rate)
    return found


def mapping_to_dict(record: Any) -> dict[str, Any]:
    """A mapping record as readable data; attention has a dataflow only."""
    if record["tile_m"] == 0:
        return {"dataflow": DATAFLOWS[int(record["dataflow"])]}
    return {
        "dataflow": DATAFLOWS[int(record["dataflow"])],
        "tile": {"m": int(record["tile_m"]), "k": int(record["tile_k"]), "n": int(record["tile_n"])},
        "keep": KEEPS[int(record["keep"])],
        "cores": {"m": int(record["grid_m"]), "n": int(record["grid_n"])},
        "deal": DEALS[int(record["deal"])],
    }


def _choice(data: Mapping[str, Any], key: str, names: tuple[str, ...], where: str) -> int:
    value = data.get(key, names[0])
    if value not in names:
        raise ChipsmithError(f"{where}.{key}", value, nearest(str(value), names))
    return names.index(value)


def _size(data: Mapping[str, Any], key: str, axis: str, where: str) -> int:
    part = data.get(key)
    value = part.get(axis) if isinstance(part, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ChipsmithError(f"{where}.{key}.{axis}", value, "a positive whole number is required")
    return value


def mapping_from_dict(data: Mapping[str, Any], record: Any, where: str) -> None:
    """Fill a mapping record from readable data.

    Raises:
        ChipsmithError: unknown or missing field.
    """
    known = ("dataflow", "tile", "keep", "cores", "deal")
    for key in data:
        if key not in known:
            raise ChipsmithError(f"{where}.{key}", None, f"unknown field; {nearest(key, known)}")
    record["dataflow"] = _choice(data, "dataflow", DATAFLOWS, where)
    if set(data) == {"dataflow"}:
        record["grid_m"] = record["grid_n"] = 1
        return
    record["keep"] = _choice(data, "keep", KEEPS, where)
    record["deal"] = _choice(data, "deal", DEALS, where)
    for axis in ("m", "k", "n"):
        record[f"tile_{axis}"] = _size(data, "tile", axis, where)
    for axis in ("m", "n"):
        record[f"grid_{axis}"] = _size(data, "cores", axis, where)


ENGINE = Engine(
    type="systolic",
    spec=SystolicSpec,
    kinds=frozenset({"gemm", "attention"}),
    params=PARAMS,
    pack=pack,
    resources=resources,
    mapping=MAPPING,
    loop=price_rows,
    kernels={
        ("gemm", "tile"): gemm_tile,
        ("gemm", "bound"): lambda op, q, p, out: _bound(op, p, out),
        ("attention", "tile"): attention_tile,
        ("attention", "bound"): lambda op, q, p, out: _bound(op, p, out),
    },
    mapping_to_dict=mapping_to_dict,
    mapping_from_dict=mapping_from_dict,
)
