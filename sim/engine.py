"""What an engine family is to the simulator, and the registry that finds families.

A family is one file in sim/engines (or an entry point ``chipsmith.engines`` of another package) that holds an
:class:`Engine`: the operator kinds it takes, the structured dtypes of its parameters and mapping, how a table of
chips becomes parameters, and one compiled loop over (designs, operator rows). Nothing here names a family.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import sim.engines
from models.chip import Chip, ChipTable
from models.engines.base import EngineSpec
from models.registry import plugin_points
from sim.demand import DEMAND, OK, OP
from workloads.errors import ChipsmithError, nearest
from workloads.operators import Operator

Array = NDArray[Any]
#: (op, mapping, params, out) -> status, all records.
Kernel = Callable[[Any, Any, Any, Any], int]
#: (ops (k,), params (n,), mapping (n, k) in and out, mode, fidelity, demand (n, k), status (n, k))
Loop = Callable[[Array, Array, Array, int, int, Array, Array], None]
SpecClass = type[EngineSpec]
NO_MAPPING = np.dtype([("none", "i8")])


@dataclass(frozen=True)
class Engine:
    """An engine family.

    Attributes:
        type: family name, as in ``EngineSpec.type``.
        spec: specification class.
        kinds: operator kinds it takes.
        params: structured dtype of one design's parameters.
        mapping: structured dtype of one operator row's mapping.
        pack: (table, field path of the engine) -> params, shape (n,).
        loop: compiled loop over designs and operator rows; None = :func:`plain_loop` over ``kernels``.
        kernels: (kind, fidelity) -> kernel, used by :func:`plain_loop`, by tests and by the RTL bench.
        resources: (chip, engine name) -> role to (resource name, capacity per second); amounts of a role that is
            not named here are not shared.
        mapping_to_dict, mapping_from_dict: readable form of a mapping record and back.
        accepts: (specification, operator) -> whether it takes an operator of its kinds unless a mapping says so;
            None = all of them.
        price: optional prices of an engine that lives in another package (see models/prices.py).
    """

    type: str
    spec: SpecClass
    kinds: frozenset[str]
    params: np.dtype[Any]
    pack: Callable[[ChipTable, str], Array]
    resources: Callable[[ChipTable, str], Mapping[str, tuple[str, Array]]]
    mapping: np.dtype[Any] = NO_MAPPING
    loop: Loop | None = None
    kernels: Mapping[tuple[str, str], Kernel] = field(default_factory=dict)
    mapping_to_dict: Callable[[Any], dict[str, Any]] | None = None
    mapping_from_dict: Callable[[Mapping[str, Any], Any, str], None] | None = None
    accepts: Callable[[Any, Operator], bool] | None = None
    price: Callable[..., Any] | None = None


@cache
def builtin_engines() -> Mapping[str, Engine]:
    """Families of sim/engines by type."""
    found: dict[str, Engine] = {}
    for info in pkgutil.iter_modules(sim.engines.__path__):
        module = importlib.import_module(f"sim.engines.{info.name}")
        engine = getattr(module, "ENGINE", None)
        if isinstance(engine, Engine):
            found[engine.type] = engine
    return found


def find_engine(engine_type: str, where: str = "engine") -> Engine:
    """The family of a type.

    Raises:
        ChipsmithError: unknown type, with the nearest known one.
    """
    known = builtin_engines()
    if engine_type in known:
        return known[engine_type]
    point = plugin_points().get(engine_type)
    if point is None:
        raise ChipsmithError(where, engine_type, nearest(engine_type, [*known, *plugin_points()]))
    loaded = point.load()
    if not isinstance(loaded, Engine):
        raise ChipsmithError(where, engine_type, f"entry point {point.value} is no sim.engine.Engine")
    return loaded


def plain_loop(engine: Engine, ops: Array, params: Array, mapping: Array, fidelity: str, out: Array) -> Array:
    """Price every (design, operator row) pair in a Python loop over the engine's kernels.

    Returns:
        Status codes, shape (n, k).
    """
    from sim.lower import kind_name

    status = np.full(out.shape, OK, np.int64)
    for j in range(len(ops)):
        kind = kind_name(int(ops[j]["kind"]))
        kernel = engine.kernels.get((kind, fidelity))
        if kernel is None:
            raise ChipsmithError("fidelity", fidelity, f"engine {engine.type} has no such kernel for {kind}")
        for i in range(len(params)):
            status[i, j] = kernel(ops[j], mapping[i, j], params[i], out[i, j])
    return status


def new_demands(n: int, k: int) -> Array:
    """Zeroed demand vectors, shape (n, k)."""
    return np.zeros((n, k), DEMAND)


def param_table(dtype: np.dtype[Any], columns: Mapping[str, Any], n: int) -> Array:
    """Structured parameters from columns; every field of the dtype must be given."""
    table = np.zeros(n, dtype)
    for name in dtype.names or ():
        table[name] = columns[name]
    return table


def memory_columns(table: ChipTable, path: str) -> dict[str, Array]:
    """The memory fields that stream kernels need, in the clock of the engine at ``path``."""
    memory = f"memories.{_memory_of(table.base, path)}"
    clock = table.column(f"{path}.clock_hz")
    return {
        "bytes_per_cycle": table.column(f"{memory}.bandwidth_bytes_per_s") / clock,
        "efficiency": table.column(f"{memory}.streaming_efficiency"),
        "interference": table.column(f"{memory}.stream_interference"),
        "latency": table.column(f"{memory}.latency_s") * clock,
        "request_bytes": table.column(f"{memory}.request_bytes"),
    }


def memory_resource(table: ChipTable, path: str) -> tuple[str, Array]:
    """Name and capacity (bytes/s) of the memory that feeds the engine at ``path``."""
    name = _memory_of(table.base, path)
    return f"memory:{name}", table.column(f"memories.{name}.bandwidth_bytes_per_s")


def _memory_of(chip: Chip, path: str) -> str:
    return chip.engines[path.split(".")[1]].memory


def vector_engine(chip: Chip) -> str | None:
    """Name of the first engine of type ``vector``, if the chip has one."""
    return next((name for name, spec in chip.engines.items() if spec.type == "vector"), None)


def vector_rate(table: ChipTable) -> Array:
    """Element operations per second of the vector engine, 0 where there is none."""
    name = vector_engine(table.base)
    if name is None:
        return np.zeros(table.n)
    path = f"engines.{name}"
    units, lanes, clock = (table.column(f"{path}.{name}") for name in ("units", "lanes", "clock_hz"))
    rate: Array = units * lanes * clock
    return rate


def op_rows(k: int) -> Array:
    """Zeroed operator rows, shape (k,)."""
    return np.zeros(k, OP)
