"""What engine families price themselves with: the constants of a table of chips, at each row's node and supply."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

    def column(self, path: str) -> NDArray[Any]:
        """Values of a field, shape (n,)."""


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

    def names(self, name: str) -> list[str]:
        """A word, n times."""
        return [str(value) for value in self.table.column(f"{self.path}.{name}").tolist()]

    def bits(self, name: str) -> Floats:
        """Stored bits of a number format, shape (n,)."""
        names = self.names(name)
        widths = {each: float(dtype(each, f"{self.path}.{name}").bits) for each in dict.fromkeys(names)}
        return np.array([widths[each] for each in names])

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

    Attributes:
        constants: the set.
        node_nm: shape (n,).
        vdd_v: supply, nominal where the chip says 0; shape (n,).
    """

    constants: ConstantSet
    node_nm: Floats
    vdd_v: Floats

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.node_nm)

    @cached_property
    def supply(self) -> Floats:
        """Switching energy relative to nominal supply: (V / V_nominal)^2, the energy of a charged capacitance."""
        ratio = self.vdd_v / nominal_vdd(self.node_nm)
        return ratio * ratio

    def energy(self, name: str) -> Floats:
        """A switching energy of the set, pJ."""
        return self.constants.at(name, self.node_nm) * self.supply

    def plain(self, name: str) -> Floats:
        """A constant that does not depend on the supply."""
        return self.constants.at(name, self.node_nm)

    def placed_mm2(self, cells_um2: Floats) -> Floats:
        """Area of a placed block of standard cells."""
        return cells_um2 * self.plain("block_factor") * 1e-6

    def multiply_add(self, unit: str, act: Sequence[str], weight: Sequence[str], accum: Sequence[str]) -> Floats:
        """Multiplier plus accumulating adder of each row's formats; ``unit`` is ``pj`` or ``um2``."""
        out = np.zeros(self.n)
        formats = list(zip(act, weight, accum, strict=True))
        for kinds in dict.fromkeys(formats):
            rows = np.array([one == kinds for one in formats]) if len(set(formats)) > 1 else np.ones(self.n, bool)
            out[rows] = self._multiply_add(unit, kinds, self.node_nm[rows])
        return out * self.supply if unit == "pj" else out

    def _multiply_add(self, unit: str, kinds: tuple[str, str, str], node_nm: Floats) -> Floats:
        act, weight, accum = kinds
        product = arithmetic.multiply(self.constants, unit, act, weight, node_nm)
        return product + arithmetic.add(self.constants, unit, accum, node_nm)

    def sram_pj_per_byte(self, capacity_bytes: Floats, port_bytes: Floats, banks: Floats) -> Floats:
        """Reading or writing one byte of a memory block, pJ."""
        access = sram.access_pj_per_byte(self.constants, capacity_bytes, port_bytes, banks, self.node_nm)
        return access * self.supply

    def sram_mm2(self, capacity_bytes: Floats) -> Floats:
        """Area of a memory block."""
        return sram.block_mm2(capacity_bytes, self.node_nm)

    def noc_pj_per_byte(self, core_mm2: Floats, hops: Floats) -> Floats:
        """One byte over ``hops`` routers and as many wires of a core's side."""
        hop = self.energy("router_pj_per_byte") + self.energy("wire_pj_per_byte_mm") * np.sqrt(core_mm2)
        return hop * hops

    def leakage_w(self, area_mm2: Floats) -> Floats:
        """Leakage of an area; proportional to the supply."""
        return self.plain("leakage_w_per_mm2") * area_mm2 * (self.vdd_v / nominal_vdd(self.node_nm))

    def clock_w(self, area_mm2: Floats, clock_hz: Floats) -> Floats:
        """Clock network and idle registers of an area; proportional to the clock and the square of the supply."""
        per_mm2 = self.plain("clock_w_per_mm2_ghz") * self.vdd_v * self.vdd_v / CLOCK_VDD_V**2
        return per_mm2 * area_mm2 * clock_hz * 1e-9

    def with_control(self, blocks: Mapping[str, Floats]) -> dict[str, Floats]:
        """The blocks and the control that steers them."""
        return {**blocks, "control": total(blocks.values()) * self.plain("control_share")}


#: Nominal supply at 28 nm, where the clock power was derived (interpolated between 32 and 20 nm).
CLOCK_VDD_V = 0.9
