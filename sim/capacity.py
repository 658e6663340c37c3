"""What has to lie in each memory: weights in that of the engine that reads them, caches in that of their attention."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from models.chip import ChipTable
from sim.engine import Array
from sim.lower import Rows
from sim.mapping import LINK, Placement
from workloads.trace import Trace


def needed_bytes(trace: Trace, table: ChipTable, placement: Placement, rows: Rows) -> Mapping[str, Array]:
    """Bytes that each memory in use must hold, by name; shape (n,).

    Parameters that no operator of this step reads (experts without tokens, the rest of an embedding) lie where the
    others do, in proportion. An engine whose channels can't share caches evenly needs its fullest channel on all.
    """
    found: dict[str, Array] = {}
    kv = int(str(trace.meta.get("kv_cache_bytes", trace.kv_read_bytes + _all(trace, "kv_write_bytes"))))
    for total, what in ((trace.resident_bytes - kv, "weight_bytes"), (kv, "kv_cached_bytes")):
        for name, share in _shares(trace, table, placement, what).items():
            found[name] = found.get(name, np.zeros(table.n)) + total * share
    for name, extra in _uneven(trace, table, placement, rows):
        found[name] = found[name] + extra
    return found


def most_missing(trace: Trace, table: ChipTable, placement: Placement, rows: Rows) -> tuple[str, int, int]:
    """(memory, bytes needed, bytes there) of the memory that the first chip lacks most of."""
    need = needed_bytes(trace, table, placement, rows)
    have = {name: int(table.column(f"memories.{name}.capacity_bytes")[0]) for name in need}
    name = max(need, key=lambda name: need[name][0] - have[name])
    return name, int(np.ceil(need[name][0])), have[name]


def _all(trace: Trace, what: str) -> int:
    return sum(getattr(op, what) * trace.blocks[op.block].count for op in trace.ops)


def _shares(trace: Trace, table: ChipTable, placement: Placement, what: str) -> dict[str, float]:
    """Memory name to the share of some bytes of the operators that belongs there; all to the first where none are."""
    first = next(iter(table.base.engines.values())).memory
    held = {first: 0}
    for row, op in enumerate(trace.ops):
        name = _memory(table, placement, row)
        if name:
            held[name] = held.get(name, 0) + getattr(op, what) * trace.blocks[op.block].count
    seen = sum(held.values())
    return {name: own / seen for name, own in held.items()} if seen else {first: 1.0}


def _memory(table: ChipTable, placement: Placement, row: int) -> str:
    """Memory of an operator's engine; empty for a link."""
    name = placement.names[placement.engine_of[row]]
    return "" if name.startswith(f"{LINK}:") else table.base.engines[name].memory


def _uneven(trace: Trace, table: ChipTable, placement: Placement, rows: Rows) -> list[tuple[str, Array]]:
    """(memory, bytes (n,)) that caches take beyond what they hold, by operator."""
    found = []
    for row, op in enumerate(trace.ops):
        index = placement.engine_of[row]
        engine, path = placement.engines[index], placement.paths[index]
        if op.kind == "attention" and engine.cache_bytes is not None:
            own = rows.ops[rows.trace_row == row]
            plain = int(own["kv_read_bytes"].sum() + own["kv_write_bytes"].sum())
            extra = np.maximum(0.0, engine.cache_bytes(own, engine.pack(table, path)) - plain)
            found.append((_memory(table, placement, row), extra * trace.blocks[op.block].count))
    return found
