"""Specification of a systolic matrix engine: several cores, each with arrays and software-managed SRAM."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.engines.base import EngineSpec

TYPE = "systolic"


class SystolicSpec(EngineSpec):
    """Systolic arrays of R rows x C columns with a scratchpad and accumulators per core.

    Attributes:
        type: always ``systolic``.
        cores: independent cores, each with its own SRAM.
        arrays: arrays per core that share its SRAM and work on one tile.
        rows, cols: PEs, R x C. Weight stationary: R holds k, C holds n.
        dataflows: dataflows the control supports; the mapping chooses among them.
        act_dtype, weight_dtype, accum_dtype: operand formats the MAC is built for.
        spad_bytes: scratchpad per core (activations, and weights unless weight_buffer_bytes > 0).
        weight_buffer_bytes: separate weight storage per core, 0 = weights live in the scratchpad.
        accum_bytes: accumulator storage per core, 0 = outputs live in the scratchpad.
        double_buffered: each storage is split in two halves so that loading overlaps computing.
        preload: ``overlapped``: the next stationary operand shifts in while the present one works;
            ``serial``: every pass pays its preload, skew and drain (SCALE-Sim).
        weight_reuse_rows: activation rows that one preloaded block serves; 0 = all rows of the tile
            (ONNXim reloads for every block of at most R rows: set R).
        min_issue_cycles: least cycles between two passes.
        first_preload_extra_cycles: cycles of the first preload beyond R (ONNXim's empty pipe pays R - 1).
        mac_pipe: pipeline registers inside the MAC.
        drain_cycles: cycles to move results out after a pass (serial preload) or after the last one.
        spad_port_bytes: scratchpad read bytes per cycle and core, 0 = wide enough for the array at full rate.
        deal: how output tiles go to cores: ``grid`` (contiguous m x n ranges) or ``round_robin``.
    """

    type: Literal["systolic"] = "systolic"
    cores: int = Field(default=1, ge=1, le=4096)
    arrays: int = Field(default=1, ge=1, le=1024)
    rows: int = Field(ge=1, le=4096)
    cols: int = Field(ge=1, le=4096)
    dataflows: tuple[Literal["ws", "os", "is"], ...] = ("ws",)
    act_dtype: str = "fp16"
    weight_dtype: str = "fp16"
    accum_dtype: str = "fp32"
    spad_bytes: int = Field(ge=1)
    weight_buffer_bytes: int = Field(default=0, ge=0)
    accum_bytes: int = Field(default=0, ge=0)
    double_buffered: bool = True
    preload: Literal["overlapped", "serial"] = "overlapped"
    weight_reuse_rows: int = Field(default=0, ge=0)
    min_issue_cycles: int = Field(default=1, ge=1)
    first_preload_extra_cycles: int = Field(default=0, ge=0)
    mac_pipe: int = Field(default=0, ge=0, le=16)
    drain_cycles: int = Field(default=0, ge=0)
    spad_port_bytes: int = Field(default=0, ge=0)
    deal: Literal["grid", "round_robin"] = "grid"


SPEC = SystolicSpec
