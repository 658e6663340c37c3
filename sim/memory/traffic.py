"""Fidelity ``command``: the demands of ``tile`` with their memory traffic priced by DRAM channels.

Every operator row becomes a mix of flows (sim/memory/mixes.py). The share of the peak that its mix reaches replaces the
two constants of a stream: engines whose parameters hold them (``efficiency``, ``interference``, ``latency``) price the
mapping that ``tile`` found once more with the channel's values, so that first loads and last stores follow. Engines
that price their memory themselves keep what they say. No operator moves a byte more or less than at ``tile``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.chip import ChipTable, grade_mismatch
from models.dram.library import list_grades, list_standards, load_dram
from sim.demand import KIND_CODES
from sim.engine import Array, Engine
from sim.memory.amounts import moved_bytes, streamed_memory
from sim.memory.mixes import PAGE_TOKENS, PAGES, SEQUENTIAL, TAILS, Channel, Mix, channel_of, idle_latency_s, make_mix
from sim.memory.mixes import rate_of_peak as rate
from workloads.errors import ChipsmithError, nearest

#: (params (n,), columns of the rows to price) -> demands (n, columns), with the mappings that ``tile`` found.
Reprice = Callable[[Array, Array], Array]
_PROBE = 0.5  # any interference tells how many streams there are


class Memories:
    """The DRAM channels behind a table of chips, by memory and chip.

    Args:
        table: n chips.
    """

    def __init__(self, table: ChipTable) -> None:
        self.table = table
        self._channels: dict[str, list[Channel]] = {}
        self._bandwidth: dict[str, Array] = {}
        self._scale: dict[str, Array] = {}

    def channels(self, name: str) -> list[Channel]:
        """One channel of a memory for every chip.

        Raises:
            ChipsmithError: a chip whose memory names no grade, or one that does not fit its bandwidth.
        """
        if name not in self._channels:
            fields = ("grade", "controller", "address_mapping", "kv_layout", "channels", "transfer_bytes")
            columns = [self._column(name, field) for field in fields]
            standards, bandwidths = self._column(name, "standard"), self._column(name, "bandwidth_bytes_per_s")
            peak = np.zeros(self.table.n)
            for i, (grade, channels) in enumerate(zip(columns[0], columns[4], strict=True)):
                _check(name, grade, standards[i], channels, bandwidths[i])
                peak[i] = channels * load_dram(grade).peak_bytes_per_s
            self._bandwidth[name] = np.array(bandwidths)
            self._scale[name] = peak / self._bandwidth[name]
            self._channels[name] = [channel_of(*row) for row in zip(*columns, strict=True)]
        return self._channels[name]

    def _column(self, name: str, field: str) -> list[Any]:
        values: list[Any] = self.table.column(f"memories.{name}.{field}").tolist()
        return values

    def efficiency(self, name: str, chip: int, mix: Mix) -> float:
        """Share of a chip's stated bandwidth that a mix reaches, at most 1; 1 where nothing is moved."""
        if not mix:
            return 1.0
        return min(1.0, rate(self.channels(name)[chip], mix) * float(self._scale[name][chip]))

    def bandwidth_bytes_per_s(self, name: str, chip: int) -> float:
        """A chip's stated peak."""
        return float(self._bandwidth[name][chip])

    def latency_s(self, name: str) -> Array:
        """First word: what the chip states, but never less than an idle channel takes; shape (n,)."""
        idle = np.array([idle_latency_s(channel) for channel in self.channels(name)])
        found: Array = np.maximum(idle, self._column(name, "latency_s"))
        return found


def _check(name: str, grade: str, standard: str, channels: int, bandwidth: float) -> None:
    where = f"chip.memories.{name}"
    if not grade:
        known = list_grades(standard if standard in list_standards() else None)
        raise ChipsmithError(
            f"{where}.grade", grade, f"fidelity command simulates the channels of a DRAM grade; {nearest('', known)}"
        )
    wrong = grade_mismatch(grade, standard, channels, bandwidth)
    if wrong:
        raise ChipsmithError(f"{where}: {wrong}")


def reprice(
    memories: Memories, engine: Engine, path: str, ops: Array, params: Array, out: Array, price: Reprice
) -> tuple[str, list[list[Mix]]]:
    """Price the memory traffic of one engine's rows with DRAM channels; changes ``out``.

    Args:
        memories: channels of the table's chips (n).
        engine, path: the family, and its field path in the chip.
        ops: operator rows (k,). params: of the chips (n,). out: demands at ``tile``, (n, k).
        price: prices rows again, with other parameters.

    Returns:
        The memory's name and the mix of every chip and row, n lists of k, () where nothing is moved; no name where the
        engine prices its memory itself.
    """
    table = memories.table
    name = streamed_memory(engine, table, path)
    if name is None or not moved_bytes(out).any():
        return "", []
    memories.channels(name)  # refuses a memory without a grade
    streams = _streams(params, ops, out, price)
    mixes = [[row_mix(ops[j], out[i, j], int(streams[i, j])) for j in range(len(ops))] for i in range(table.n)]
    share = np.array([[memories.efficiency(name, i, mix) for mix in own] for i, own in enumerate(mixes)])
    _price_again(table, memories.latency_s(name), path, params, share, out, price)
    return name, mixes


def _streams(params: Array, ops: Array, out: Array, price: Reprice) -> Array:
    """Concurrent streams of every row, (n, k): asked of the engine's own kernel.

    With an interference of x and s streams a kernel's memory time grows by 1 / (1 - x (1 - 1/s)).
    """
    probe = params.copy()
    probe["efficiency"], probe["interference"] = 1.0, _PROBE
    answer = price(probe, np.arange(len(ops)))["memory"]
    share = np.divide(moved_bytes(out), answer, out=np.ones(out.shape), where=answer > 0)
    found: Array = np.rint(1.0 / (1.0 - (1.0 - share) / _PROBE)).astype(np.int64)
    return found


def _price_again(
    table: ChipTable, latency_s: Array, path: str, params: Array, share: Array, out: Array, price: Reprice
) -> None:
    """Rows with equal shares on every chip are priced in one call."""
    own = params.copy()
    own["interference"], own["latency"] = 0.0, latency_s * table.column(f"{path}.clock_hz")
    values, group_of = np.unique(share, axis=1, return_inverse=True)
    for group in range(values.shape[1]):
        columns = np.flatnonzero(group_of.reshape(-1) == group)
        own["efficiency"] = values[:, group]
        out[:, columns] = price(own, columns)


def row_mix(op: Any, demand: Any, streams: int) -> Mix:
    """The mix of one operator row from its operands' bytes and its traffic at ``tile``.

    What attention reads beyond its inputs are KV pages, and what it appends are single tokens, or whole pages where
    a request brings a page's worth of new ones. All else is sequential: states of scans and embeddings too, whose
    rows are longer than a DRAM burst by far.
    """
    read, write = int(demand["dram_read_bytes"]), int(demand["dram_write_bytes"])
    pages, tails = 0, 0
    if op["kind"] == KIND_CODES["attention"]:
        pages = max(0, read - int(op["in_bytes"]))
        tails = min(write, int(op["kv_write_bytes"]))
    appended = PAGES if op["m"] >= PAGE_TOKENS else TAILS
    flows = [(SEQUENTIAL, False, read - pages), (PAGES, False, pages)]
    flows += [(SEQUENTIAL, True, write - tails), (appended, True, tails)]
    return make_mix([(pattern, way, float(moved), streams) for pattern, way, moved in flows if moved > 0])
