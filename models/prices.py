"""Prices of every row of a table of chips: energy per event, leakage, area.

``price`` is element-wise numpy throughout, so that one chip and a hundred thousand get the same bits. Engine families
price themselves (``price`` in models/engines/TYPE.py, or the attribute ``price`` of an engine of another package).
Constants come from one named set; the data files used are named by ``calibration_hash``.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.constants import ConstantSet, constant_set
from models.costs import Costs, EnginePrices, total, words
from models.datafiles import load_data
from models.registry import builtin_specs, plugin_points
from models.technology import Floats, nominal_vdd, warn_outside
from workloads.errors import ChipsmithError, nearest

__all__ = ["Costs", "EnginePrices", "MemoryPrices", "Prices", "price"]

EnginePricer = Callable[[Any, str, Costs], EnginePrices]
#: A mesh router has a port to each side and one to its core, and buffers a few flits at each.
_ROUTER_PORTS, _FLITS_A_PORT = 5, 4


@dataclass(frozen=True)
class MemoryPrices:
    """Prices of one memory; every array has shape (n,).

    Attributes:
        core_pj_per_byte: inside the DRAM.
        io_pj_per_byte: between DRAM and chip, both ends.
        background_w: standby and refresh of the whole capacity.
        interface_mm2: controller and PHY on the chip.
    """

    core_pj_per_byte: Floats
    io_pj_per_byte: Floats
    background_w: Floats
    interface_mm2: Floats


@dataclass(frozen=True)
class Prices:
    """Prices of a table of chips; every array has shape (n,).

    Attributes:
        engines, memories: by name.
        links_pj_per_byte: by link name.
        noc_mm2: routers of the on-chip network.
        uncore_leakage_w, uncore_clock_w: of network and memory interfaces, which belong to no engine.
        area_mm2: the chip: all blocks, in the order of :meth:`blocks`.
        constants: name of the constant set.
        calibration_hash: names the contents of the data files used.
    """

    engines: Mapping[str, EnginePrices]
    memories: Mapping[str, MemoryPrices]
    links_pj_per_byte: Mapping[str, Floats]
    noc_mm2: Floats
    uncore_leakage_w: Floats
    uncore_clock_w: Floats
    area_mm2: Floats
    constants: str
    calibration_hash: str

    def blocks(self) -> dict[str, Floats]:
        """Area of every block, mm2: ``ENGINE.BLOCK``, ``noc``, ``MEMORY.interface``."""
        return dict(_blocks(self.engines, self.memories, self.noc_mm2))


def price(table: ChipTable) -> Prices:
    """Price every row of a table.

    Raises:
        ChipsmithError: for an empty table, a memory standard without prices, an unknown constant set, or several.
    """
    costs = _costs(table)
    engines = {name: _price_engine(table, name, costs) for name in table.base.engines}
    memories = {name: _price_memory(table, f"memories.{name}") for name in table.base.memories}
    noc = _noc_mm2(table, engines, costs)
    uncore = total([noc, *(memory.interface_mm2 for memory in memories.values())])
    return Prices(
        engines=engines,
        memories=memories,
        links_pj_per_byte={name: _link_pj_per_byte(table, f"links.{name}", costs) for name in table.base.links},
        noc_mm2=noc,
        uncore_leakage_w=costs.leakage_w(uncore),
        uncore_clock_w=costs.clock_w(uncore, _fastest_clock(table)),
        area_mm2=total(area for _, area in _blocks(engines, memories, noc)),
        constants=costs.constants.name,
        calibration_hash=calibration_hash(costs.constants),
    )


def calibration_hash(constants: ConstantSet) -> str:
    """First 16 hexadecimal digits of the hash over all data files that prices come from."""
    names = ("technology", "sram", "memories", "dram_logic")
    parts = [constants.sha256, *(load_data(f"{name}.yaml").sha256 for name in names)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]


def _blocks(
    engines: Mapping[str, EnginePrices], memories: Mapping[str, MemoryPrices], noc_mm2: Floats
) -> Iterator[tuple[str, Floats]]:
    for name, engine in engines.items():
        yield from ((f"{name}.{block}", area) for block, area in engine.area_mm2.items())
    yield "noc", noc_mm2
    yield from ((f"{name}.interface", memory.interface_mm2) for name, memory in memories.items())


def _costs(table: ChipTable) -> Costs:
    if table.n < 1:
        raise ChipsmithError("chip table", table.n, "prices need at least one row")
    names = words(table.column("technology.constants")).distinct
    if len(names) > 1:
        raise ChipsmithError("chip.technology.constants", list(names), "one table is priced with one set")
    node = np.ascontiguousarray(table.column("technology.node_nm"), np.float64)
    warn_outside(node)
    given = np.ascontiguousarray(table.column("technology.vdd_v"), np.float64)
    nodes, row = np.unique(node, return_inverse=True)
    return Costs(constant_set(names[0]), nodes, row, np.where(given > 0, given, nominal_vdd(nodes)[row]))


@cache
def _pricer(engine_type: str) -> EnginePricer:
    if engine_type in builtin_specs():
        found: EnginePricer | None = getattr(importlib.import_module(f"models.engines.{engine_type}"), "price", None)
    else:
        found = getattr(plugin_points()[engine_type].load(), "price", None)
    if found is not None:
        return found
    warnings.warn(f"engine type {engine_type!r} has no prices: its energy and area count as 0", stacklevel=2)
    return _free


def _free(table: Any, path: str, costs: Costs) -> EnginePrices:
    zero = np.zeros(costs.n)
    return EnginePrices(zero, zero, zero, zero, zero, zero, zero, zero, {"unpriced": zero})


def _price_engine(table: ChipTable, name: str, costs: Costs) -> EnginePrices:
    return _pricer(table.base.engines[name].type)(table, f"engines.{name}", costs)


def _price_memory(table: ChipTable, path: str) -> MemoryPrices:
    standards = words(table.column(f"{path}.standard"))
    known = load_data("memories.yaml").content["standards"]
    for standard in standards.distinct:
        if standard not in known:
            raise ChipsmithError(f"chip.{path}.standard", standard, nearest(standard, known))

    def figure(name: str) -> Floats:
        return np.array([float(known[standard][name]["value"]) for standard in standards.distinct])[standards.row]

    gigabytes = np.asarray(table.column(f"{path}.capacity_bytes"), np.float64) / 1e9
    rate = np.asarray(table.column(f"{path}.bandwidth_bytes_per_s"), np.float64) / 1e9
    return MemoryPrices(
        core_pj_per_byte=figure("core_pj_per_bit") * 8,
        io_pj_per_byte=figure("io_pj_per_bit") * 8,
        background_w=figure("background_w_per_gb") * gigabytes,
        interface_mm2=figure("interface_mm2_per_gbps") * rate,
    )


def _link_pj_per_byte(table: ChipTable, path: str, costs: Costs) -> Floats:
    given = np.asarray(table.column(f"{path}.energy_pj_per_bit"), np.float64)
    return np.where(given > 0, given, costs.plain("link_pj_per_bit")) * 8


def _noc_mm2(table: ChipTable, engines: Mapping[str, EnginePrices], costs: Costs) -> Floats:
    """One router for each core or unit: input buffers of flip-flops."""
    width_bits = np.asarray(table.column("noc.bytes_per_cycle"), np.float64) * 8
    bits = width_bits * _ROUTER_PORTS * _FLITS_A_PORT
    routers = np.zeros(costs.n)
    for name, spec in table.base.engines.items():
        count = next((field for field in ("cores", "units") if field in type(spec).model_fields), None)
        routers = routers + (table.column(f"engines.{name}.{count}") if count is not None else 1)
    return costs.placed_mm2(bits * costs.plain("flip_flop_um2")) * routers


def _fastest_clock(table: ChipTable) -> Floats:
    clocks = [np.asarray(table.column(f"engines.{name}.clock_hz"), np.float64) for name in table.base.engines]
    fastest: Floats = np.maximum.reduce(clocks)
    return fastest
