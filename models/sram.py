"""Static RAM: energy per byte and area over capacity, port width and banks.

A port wider than one macro word is several macros side by side, each with its share of the capacity, and a macro
larger than the largest published one is several banks. Energies per access are interpolated between the published
8 KiB, 32 KiB and 1 MiB points; what lies between a macro and the edge of its block is wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.datafiles import load_data
from models.technology import Floats, LogCurve, log_curve

#: Constants that give the energy of one word access, and the capacity of each, bytes.
ANCHORS = {"sram_8k_pj": 8192.0, "sram_32k_pj": 32768.0, "sram_1m_pj": 1048576.0}


@dataclass(frozen=True)
class SramData:
    """Contents of models/data/sram.yaml.

    Attributes:
        bitcell_um2: cell area over node.
        efficiency: cells over block area.
        word_bytes: bytes of a macro's word.
        smallest_bytes, largest_bytes: capacities of one macro.
    """

    bitcell_um2: LogCurve
    efficiency: float
    word_bytes: float
    smallest_bytes: float
    largest_bytes: float


@cache
def sram_data() -> SramData:
    """The SRAM data file, read once."""
    data = load_data("sram.yaml").content
    return SramData(
        bitcell_um2=log_curve({nm: cell["value"] for nm, cell in data["bitcell_um2"].items()}),
        efficiency=data["block_efficiency"]["value"],
        word_bytes=data["macro_bits"]["value"] / 8,
        smallest_bytes=float(data["macro_bytes_smallest"]["value"]),
        largest_bytes=float(data["macro_bytes_largest"]["value"]),
    )


def bitcell_um2(node_nm: Floats) -> Floats:
    """Area of one cell."""
    return sram_data().bitcell_um2(node_nm)


def block_mm2(capacity_bytes: Floats, cell_um2: Floats) -> Floats:
    """Area of a memory block, mm2: cells over block efficiency."""
    return capacity_bytes * 8 * cell_um2 / sram_data().efficiency * 1e-6


def macro_bytes(capacity_bytes: Floats, port_bytes: Floats, banks: Floats) -> Floats:
    """Capacity of one macro of a block, between the smallest and the largest that are modelled."""
    data = sram_data()
    side_by_side = np.maximum(port_bytes / data.word_bytes, 1.0)
    share = capacity_bytes / (side_by_side * banks)
    return np.clip(share, data.smallest_bytes, data.largest_bytes)


def _word_pj(anchors_pj: Sequence[Floats], capacity_bytes: Floats) -> Floats:
    """Energy of one word access of a macro: log-log interpolation in capacity, below 8 KiB its square root."""
    y8, y32, y1m = (np.log(pj) for pj in anchors_pj)
    x8, x32, x1m = (np.log(capacity) for capacity in ANCHORS.values())
    x = np.log(capacity_bytes)
    low = y8 + (x - x8) * np.where(x < x8, 0.5, (y32 - y8) / (x32 - x8))
    high = y32 + (x - x32) * (y1m - y32) / (x1m - x32)
    pj: Floats = np.exp(np.where(x < x32, low, high))
    return pj


def access_pj_per_byte(
    anchors_pj: Sequence[Floats],
    wire_pj_per_byte_mm: Floats,
    cell_um2: Floats,
    capacity_bytes: Floats,
    port_bytes: Floats,
    banks: Floats,
) -> Floats:
    """Energy to read or write one byte at nominal supply, pJ, shape (n,).

    A port narrower than a macro word pays for the whole word. Writes cost as much as reads: the published points do
    not tell them apart.

    Args:
        anchors_pj: energy of a word access at the capacities of :data:`ANCHORS`.
        wire_pj_per_byte_mm: energy of moving a byte.
        cell_um2: cell area.
        capacity_bytes, port_bytes, banks: the block.
    """
    data = sram_data()
    macro = macro_bytes(capacity_bytes, port_bytes, banks)
    words = np.maximum(data.word_bytes / port_bytes, 1.0)
    inside = _word_pj(anchors_pj, macro) / data.word_bytes * words
    reach_mm = (np.sqrt(block_mm2(capacity_bytes, cell_um2)) - np.sqrt(block_mm2(macro, cell_um2))) / 2
    return inside + np.maximum(reach_mm, 0.0) * wire_pj_per_byte_mm
