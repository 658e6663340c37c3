"""Specification of a vector engine: softmax, norms, element-wise functions, reductions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.engines.base import EngineSpec

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


SPEC = VectorSpec
