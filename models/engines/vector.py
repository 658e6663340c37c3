"""Specification of a vector engine: softmax, norms, element-wise functions, reductions."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from models.costs import Costs, EnginePrices, FieldReader, FieldTable, total
from models.engines.base import EngineSpec, known_format
from models.technology import Floats

TYPE = "vector"


class VectorSpec(EngineSpec):
    """SIMD units of ``lanes`` elements; one pass over a row takes ceil(width / lanes) cycles.

    Attributes:
        type: always ``vector``.
        units: independent units (usually one a core).
        lanes: elements per cycle and unit.
        dtype: number format of the lanes.
        exp_cycles: cycles per pass of an exponential, division, or other table function.
        buffer_bytes: on-chip bytes per unit, for rows that are read more than once.
    """

    type: Literal["vector"] = "vector"
    units: int = Field(default=1, ge=1, le=4096)
    lanes: int = Field(ge=1, le=65536)
    dtype: str = "fp32"
    exp_cycles: int = Field(default=1, ge=1)
    buffer_bytes: int = Field(default=65536, ge=1)

    _formats = field_validator("dtype")(known_format)


SPEC = VectorSpec

#: Operands read and result written by one lane operation.
_ACCESSES = 3
#: Bytes of one lane's register file: the size whose access energy the constant sets give.
_LANE_REGISTER_BYTES = 128


def price(table: FieldTable, path: str, costs: Costs) -> EnginePrices:
    """Prices of the engine at field ``path`` (``engines.NAME``) for every row of ``table``.

    One operation costs the mean of a multiplication and an addition, and three accesses of the lane's registers.
    A lane is a multiplier, an adder and a 128-byte register file; table functions reuse them over several cycles.
    """
    field = FieldReader(table, path)
    blocks = _blocks(field, costs)
    area = total(blocks.values())
    sram = costs.sram_pj_per_byte(field("buffer_bytes"), field("lanes") * field.bits("dtype") / 8, np.ones(costs.n))
    both = costs.multiply_add("pj", *[field.formats("dtype")] * 3)
    registers = _ACCESSES * field.bits("dtype") / 8 * costs.energy("lane_register_pj_per_byte")
    return EnginePrices(
        mac_pj=both,
        vector_op_pj=both / 2 + registers,
        regfile_pj_per_byte=costs.energy("lane_register_pj_per_byte"),
        sram_read_pj_per_byte=sram,
        sram_write_pj_per_byte=sram,
        noc_pj_per_byte=costs.noc_pj_per_byte(area / field("units"), field.chip("noc.hops")),
        leakage_w=costs.leakage_w(area),
        clock_w=costs.clock_w(area, field("clock_hz")),
        area_mm2=blocks,
    )


def _blocks(field: FieldReader, costs: Costs) -> dict[str, Floats]:
    registers = _LANE_REGISTER_BYTES * 8 * costs.plain("flip_flop_um2")
    lane = costs.placed_mm2(costs.multiply_add("um2", *[field.formats("dtype")] * 3) + registers)
    blocks = {
        "lanes": lane * field("lanes") * field("units"),
        "vector_buffer": costs.sram_mm2(field("buffer_bytes")) * field("units"),
    }
    return costs.with_control(blocks)


def peaks(spec: VectorSpec) -> dict[str, float]:
    """Peak rates of one chip: element operations per second by format."""
    return {f"op/s {spec.dtype}": spec.units * spec.lanes * spec.clock_hz}


def storage_bytes(spec: VectorSpec) -> dict[str, int]:
    """On-chip storage of one chip by block."""
    return {"vector_buffer": spec.buffer_bytes * spec.units}
