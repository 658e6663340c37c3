"""The memory amounts of a demand vector, engine by engine; needs no DRAM model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.chip import ChipTable
from sim.demand import ROLES
from sim.engine import Array, Engine

_PREFIX = "memory:"  # of a resource's name, see sim.engine.memory_resource


def memory_roles(engine: Engine, table: ChipTable, path: str) -> dict[str, str]:
    """Roles of an engine that a memory of the chip stands behind: role to the memory's name."""
    named = {role: resource for role, (resource, _) in engine.resources(table, path).items()}
    found = {role: name.removeprefix(_PREFIX) for role, name in named.items() if name.startswith(_PREFIX)}
    return {role: name for role, name in found.items() if name in table.base.memories}


def floor_at_peak(engine: Engine, table: ChipTable, path: str, out: Array) -> None:
    """``bound`` of a memory with a grade: its bytes at the peak, which no mix can beat. Changes ``out`` (n, k)."""
    for role, name in memory_roles(engine, table, path).items():
        graded = table.column(f"memories.{name}.grade") != ""
        if role == "memory" and graded.any():
            out[role][graded] = moved_bytes(out)[graded]
            keep_identity(engine, table, path, out)


def moved_bytes(out: Array) -> Array:
    """Bytes that demands move from and to off-chip memory, of the shape of ``out``."""
    moved: Array = out["dram_read_bytes"] + out["dram_write_bytes"]
    return moved


def keep_identity(engine: Engine, table: ChipTable, path: str, out: Array) -> None:
    """``cycles = fixed + max(busy, amount / capacity)`` after an amount has changed."""
    clock = table.column(f"{path}.clock_hz")[:, None]
    longest = out["busy"].copy()
    capacities: Mapping[str, Any] = engine.resources(table, path)
    for role in ROLES:
        if role in capacities:
            longest = np.maximum(longest, out[role] / (capacities[role][1][:, None] / clock))
    out["cycles"] = out["fixed"] + longest
