"""The memory amounts of a demand vector, engine by engine; needs no DRAM model."""

from __future__ import annotations

import numpy as np

from models.chip import ChipTable
from sim.engine import Array, Engine

#: Parameters of an engine that prices streams by their efficiency, see sim.engine.memory_columns.
STREAM_FIELDS = ("efficiency", "interference", "latency")
_PREFIX = "memory:"  # of a resource's name, see sim.engine.memory_resource


def streamed_memory(engine: Engine, table: ChipTable, path: str) -> str | None:
    """Name of the memory whose streams an engine prices by their two constants; None where there is none such.

    An engine that prices its memory itself, as one inside the DRAM does, has no such constants among its parameters.
    """
    if not set(STREAM_FIELDS) <= set(engine.params.names or ()):
        return None
    resource, _ = engine.resources(table, path).get("memory", ("", None))
    name = resource.removeprefix(_PREFIX)
    return name if resource.startswith(_PREFIX) and name in table.base.memories else None


def floor_at_peak(engine: Engine, table: ChipTable, path: str, out: Array) -> None:
    """``bound`` of a memory with a grade: its bytes at the peak, which no mix can beat. Changes ``out`` (n, k)."""
    name = streamed_memory(engine, table, path)
    graded = table.column(f"memories.{name}.grade") != "" if name else np.zeros(table.n, np.bool_)
    if graded.any():
        out["memory"][graded] = moved_bytes(out)[graded]
        _keep_identity(engine, table, path, out)


def moved_bytes(out: Array) -> Array:
    """Bytes that demands move from and to off-chip memory, of the shape of ``out``."""
    moved: Array = out["dram_read_bytes"] + out["dram_write_bytes"]
    return moved


def _keep_identity(engine: Engine, table: ChipTable, path: str, out: Array) -> None:
    """``cycles = fixed + max(busy, amount / capacity)`` after an amount has changed."""
    clock = table.column(f"{path}.clock_hz")[:, None]
    longest = out["busy"].copy()
    for role, (_, capacity) in engine.resources(table, path).items():
        longest = np.maximum(longest, out[role] / (capacity[:, None] / clock))
    out["cycles"] = out["fixed"] + longest
