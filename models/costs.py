"""What engine families price themselves with: the constants of a table of chips, at each row's node and supply."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models import arithmetic, sram
from models.constants import ConstantSet
from models.technology import Floats, nominal_vdd
from workloads.dtypes import dtype


class FieldTable(Protocol):
    """The part of :class:`models.chip.ChipTable` that pricing needs."""

    n: int
    base: Any

    def column(self, path: str) -> NDArray[Any]:
        """Values of a field, shape (n,)."""


@dataclass(frozen=True)
class Words:
    """A column of words.

    Attributes:
        distinct: each word that occurs.
        row: index into ``distinct``, shape (n,).
    """

    distinct: tuple[str, ...]
    row: NDArray[np.intp]


def words(column: NDArray[Any]) -> Words:
    """Split a column of words."""
    first = column[0]
    if (column == first).all():
        return Words((str(first),), np.zeros(len(column), np.intp))
    distinct, row = np.unique(column, return_inverse=True)
    return Words(tuple(str(word) for word in distinct), row)


@dataclass(frozen=True)
class FieldReader:
    """Columns of one engine's fields.

    Attributes:
        table: the chips.
        path: ``engines.NAME``.
    """

    table: FieldTable
    path: str

    def __call__(self, name: str) -> Floats:
        """A number, shape (n,)."""
        return np.asarray(self.table.column(f"{self.path}.{name}"), np.float64)

    def chip(self, path: str) -> Floats:
        """A number anywhere in the chip, shape (n,)."""
        return np.asarray(self.table.column(path), np.float64)

    @property
    def spec(self) -> Any:
        """The engine's specification in the base chip, for fields that a table can't vary."""
        return self.table.base.engines[self.path.partition(".")[2]]

    def words(self, name: str) -> Words:
        """A word field, as distinct words and a number a row."""
        return words(self.table.column(f"{self.path}.{name}"))

    def formats(self, name: str) -> Words:
        """A field of number formats; an unknown one is refused."""
        found = self.words(name)
        for word in found.distinct:
            dtype(word, f"chip.{self.path}.{name}")
        return found

    def bits(self, name: str) -> Floats:
        """Stored bits of a number format, shape (n,)."""
        found = self.formats(name)
        return np.array([float(dtype(word).bits) for word in found.distinct])[found.row]

    def equals(self, name: str, word: str) -> NDArray[np.bool_]:
        """Whether a word field holds ``word``, shape (n,)."""
        return np.asarray(self.table.column(f"{self.path}.{name}") == word)


@dataclass(frozen=True)
class EnginePrices:
    """Prices of one engine for each row of a table; every array has shape (n,).

    Attributes:
        mac_pj: one multiply-accumulate.
        vector_op_pj: one element operation of one lane, its register accesses included.
        regfile_pj_per_byte: moving a byte through a register of a processing element.
        sram_read_pj_per_byte, sram_write_pj_per_byte: the engine's main storage.
        noc_pj_per_byte: one byte between memory interface and a core.
        leakage_w, clock_w: of the whole engine.
        area_mm2: block name to area.
        charges: energy component to (event, pJ each), where the engine prices its own memory traffic; they replace
            the charges of that component.
    """

    mac_pj: Floats
    vector_op_pj: Floats
    regfile_pj_per_byte: Floats
    sram_read_pj_per_byte: Floats
    sram_write_pj_per_byte: Floats
    noc_pj_per_byte: Floats
    leakage_w: Floats
    clock_w: Floats
    area_mm2: Mapping[str, Floats]
    charges: Mapping[str, tuple[tuple[str, Floats], ...]] = field(default_factory=dict)

    @property
    def total_mm2(self) -> Floats:
        """Sum of the blocks."""
        return total(self.area_mm2.values())


def total(parts: Any) -> Floats:
    """Sum of arrays in their order (the order fixes the last bit)."""
    listed = list(parts)
    out: Floats = listed[0].copy()
    for part in listed[1:]:
        out = out + part
    return out


@dataclass(frozen=True)
class Costs:
    """A constant set bound to the rows of a table.

    Constants are evaluated once for each distinct node and then spread over the rows.

    Attributes:
        constants: the set.
        nodes_nm: distinct nodes, shape (u,).
        row_node: index into ``nodes_nm``, shape (n,).
        vdd_v: supply, shape (n,).
    """

    constants: ConstantSet
    nodes_nm: Floats
    row_node: NDArray[np.intp]
    vdd_v: Floats

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.row_node)

    @cached_property
    def _supply_ratio(self) -> Floats:
        """Supply over nominal supply."""
        return self.vdd_v / self._spread(nominal_vdd(self.nodes_nm))

    @cached_property
    def supply(self) -> Floats:
        """Switching energy relative to nominal supply: (V / V_nominal)^2, the energy of a charged capacitance."""
        return self._supply_ratio * self._supply_ratio

    def _spread(self, by_node: Floats) -> Floats:
        spread: Floats = by_node[self.row_node]
        return spread

    def energy(self, name: str) -> Floats:
        """A switching energy of the set, pJ."""
        return self.plain(name) * self.supply

    def plain(self, name: str) -> Floats:
        """A constant that does not depend on the supply."""
        return self._spread(self.constants.at(name, self.nodes_nm))

    def placed_mm2(self, cells_um2: Floats) -> Floats:
        """Area of a placed block of standard cells."""
        return cells_um2 * self.plain("block_factor") * 1e-6

    def multiply_add(self, unit: str, act: Words, weight: Words, accum: Words) -> Floats:
        """Multiplier plus accumulating adder of each row's formats; ``unit`` is ``pj`` or ``um2``."""
        choice = ((act.row * len(weight.distinct)) + weight.row) * len(accum.distinct) + accum.row
        combinations = list(itertools.product(act.distinct, weight.distinct, accum.distinct))
        by_choice = np.stack([self._multiply_add(unit, *kinds) for kinds in combinations])
        out: Floats = by_choice[choice, self.row_node]
        return out * self.supply if unit == "pj" else out

    def _multiply_add(self, unit: str, act: str, weight: str, accum: str) -> Floats:
        product = arithmetic.multiply(self.constants, unit, act, weight, self.nodes_nm)
        return product + arithmetic.add(self.constants, unit, accum, self.nodes_nm)

    def sram_pj_per_byte(self, capacity_bytes: Floats, port_bytes: Floats, banks: Floats) -> Floats:
        """Reading or writing one byte of a memory block, pJ."""
        access = sram.access_pj_per_byte(
            [self.plain(name) for name in sram.ANCHORS],
            self.plain("wire_pj_per_byte_mm"),
            self._cell_um2,
            capacity_bytes,
            port_bytes,
            banks,
        )
        return access * self.supply

    @cached_property
    def _cell_um2(self) -> Floats:
        return self._spread(sram.bitcell_um2(self.nodes_nm))

    def sram_mm2(self, capacity_bytes: Floats) -> Floats:
        """Area of a memory block."""
        return sram.block_mm2(capacity_bytes, self._cell_um2)

    def noc_pj_per_byte(self, core_mm2: Floats, hops: Floats) -> Floats:
        """One byte over ``hops`` routers and as many wires of a core's side."""
        hop = self.energy("router_pj_per_byte") + self.energy("wire_pj_per_byte_mm") * np.sqrt(core_mm2)
        return hop * hops

    def leakage_w(self, area_mm2: Floats) -> Floats:
        """Leakage of an area; proportional to the supply."""
        return self.plain("leakage_w_per_mm2") * area_mm2 * self._supply_ratio

    def clock_w(self, area_mm2: Floats, clock_hz: Floats) -> Floats:
        """Clock network and idle registers of an area; proportional to the clock and the square of the supply."""
        per_mm2 = self.plain("clock_w_per_mm2_ghz") * self.vdd_v * self.vdd_v / CLOCK_VDD_V**2
        return per_mm2 * area_mm2 * clock_hz * 1e-9

    def with_control(self, blocks: Mapping[str, Floats]) -> dict[str, Floats]:
        """The blocks and the control that steers them."""
        return {**blocks, "control": total(blocks.values()) * self.plain("control_share")}


#: Nominal supply at 28 nm, where the clock power was derived (interpolated between 32 and 20 nm).
CLOCK_VDD_V = 0.9
