"""Newton and NeuPIMs: dot products in all banks of a channel, with or without a second row buffer.

A tile is one row in every bank: the channel's global buffer holds the inputs (GWRITE), the rows are activated in groups
of four banks, and a composite command multiplies n columns in all banks and reads the results. A header announces each
tile, which does not start if it would not end before the next refresh (NeuPIMs, ASPLOS 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from models.pim import PimDevice
from sim.pim.plain import add_stream
from sim.pim.program import Program

_HOST_LANE = 1


@dataclass(frozen=True)
class Tile:
    """Equal tiles with one global buffer write in front.

    Attributes:
        count: tiles.
        composites: composite commands of a tile.
        columns: columns that each of them multiplies.
    """

    count: int
    composites: int
    columns: int


class NewtonProgram(Program):
    """A program of tiles, each in a row of its own."""

    def __init__(self, device: PimDevice) -> None:
        super().__init__(device)
        self.units = self.bank_set(_activation_order(device), device.options["act_banks"])
        self.next_row = 0
        write = device.organisation.bursts_per_row * (device.timing_ck["tCCD_S"] + device.timing_ck["tCCD_L"])
        self.write_ck = write

    def composite_ck(self, columns: int) -> int:
        """Clocks of a composite command until its results are there."""
        multiply = max(columns, self.device.options["composite_min"]) + 1
        return multiply * self.device.timing_ck["tCCD_L"] + self.device.clocks("tCL + tBURST + 1")

    def tile_ck(self, tile: Tile) -> int:
        """Clocks that a tile needs from its first activation to its precharge."""
        org = self.device.organisation
        groups = org.banks // org.ranks // self.device.options["act_banks"]
        opening = (groups - 1) * self.device.timing_ck["tFAW"] + self.device.timing_ck["tRCDRD"]
        return self.device.clocks("tRP") + opening + tile.composites * self.composite_ck(tile.columns)

    def tiles(self, tile: Tile) -> None:
        """Write the global buffer, then all tiles."""
        org = self.device.organisation
        self.add("GWRITE", hold_ck=self.write_ck, fits_ck=self.write_ck, columns=org.bursts_per_row)
        for _ in range(tile.count):
            self.add("HEADER", fits_ck=self.tile_ck(tile))
            hold = self.composite_ck(tile.columns)
            row = self.next_row % org.rows
            self.add("COMPS", self.units, row, tile.composites, hold_ck=hold, columns=tile.columns)
            self.next_row += 1


def _activation_order(device: PimDevice) -> list[int]:
    """Banks in the order of their activation: ranks in turn, for each has its own activation window."""
    org, group = device.organisation, device.options["act_banks"]
    of_rank = org.banks // org.ranks
    return [
        rank * of_rank + start + i
        for start in range(0, of_rank, group)
        for rank in range(org.ranks)
        for i in range(group)
    ]


def key_tiles(device: PimDevice, width: int, context: int, head_dim: int) -> list[Tile]:
    """Tiles of a request's keys: 32 tokens, one a bank, by a row of elements of the model's width."""
    org = device.organisation
    per_row = org.bursts_per_row * device.unit.lanes
    tiles = -(-context // org.banks)
    chunks = [min(per_row, width - start) for start in range(0, width, per_row)]
    heads = [max(1, chunk // head_dim) for chunk in chunks]
    return [
        Tile(tiles, count, -(-chunk // (count * device.unit.lanes))) for count, chunk in zip(heads, chunks, strict=True)
    ]


def value_tiles(device: PimDevice, heads: int, context: int, head_dim: int) -> list[Tile]:
    """Tiles of a request's values, transposed: 32 output dimensions by a row of tokens."""
    org = device.organisation
    per_row = org.bursts_per_row * device.unit.lanes
    tiles = -(-head_dim // org.banks)
    chunks = [min(per_row, context - start) for start in range(0, context, per_row)]
    return [Tile(tiles, 1, -(-chunk // device.unit.lanes)) for chunk in chunks] * heads


def tile_program(device: PimDevice, tiles: Sequence[Tile], host_reads: int = 0) -> Program:
    """Tiles on one channel, beside sequential reads of the host.

    Args:
        device: a Newton or NeuPIMs.
        tiles: in order.
        host_reads: bursts that the host has to read from the channel; those that are not read when the tiles are
            done are left.
    """
    program = NewtonProgram(device)
    for tile in tiles:
        program.tiles(tile)
    if host_reads:
        half = device.organisation.rows // 2  # the host's rows are not those of the units
        org = device.organisation
        add_stream(program, "RD", half * org.banks * org.bursts_per_row, host_reads, lane=_HOST_LANE, waits=False)
    return program


def gemv_program(device: PimDevice, out_features: int, in_features: int, batch: int, host_reads: int = 0) -> Program:
    """Matrix-vector products of one channel's outputs: one output a bank and tile.

    Args:
        device: a Newton or NeuPIMs.
        out_features: outputs of the channel.
        in_features: inputs.
        batch: vectors; the weights are read again for each.
        host_reads: see :func:`tile_program`.
    """
    org = device.organisation
    per_row = org.bursts_per_row * device.unit.lanes
    tiles = -(-out_features // org.banks)
    chunks = [min(per_row, in_features - start) for start in range(0, in_features, per_row)]
    found = [Tile(tiles, 1, -(-chunk // device.unit.lanes)) for chunk in chunks]
    return tile_program(device, found * batch, host_reads)
