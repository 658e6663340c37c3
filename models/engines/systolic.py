"""Specification of a systolic matrix engine: several cores, each with arrays and software-managed SRAM."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from models.costs import Costs, EnginePrices, FieldReader, FieldTable, total
from models.engines.base import EngineSpec, known_format
from models.technology import Floats
from workloads.dtypes import DTYPES

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
        spad_banks: banks of the scratchpad; each access wakes one of them.
        store_by_block: results are stored block by block (C columns at a time), so that short rows cost whole
            memory requests; else a tile's rows are stored in one piece.
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
    spad_banks: int = Field(default=1, ge=1, le=4096)
    store_by_block: bool = False

    _formats = field_validator("act_dtype", "weight_dtype", "accum_dtype")(known_format)

    @field_validator("dataflows")
    @classmethod
    def _some_dataflow(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("name at least one of ws, os, is")
        return value

    @model_validator(mode="after")
    def _accumulates_what_it_multiplies(self) -> SystolicSpec:
        floating = DTYPES[self.act_dtype].is_float or DTYPES[self.weight_dtype].is_float
        if floating and not DTYPES[self.accum_dtype].is_float:
            raise ValueError(f"{self.act_dtype} x {self.weight_dtype} products need a float accum_dtype")
        return self


SPEC = SystolicSpec


def price(table: FieldTable, path: str, costs: Costs) -> EnginePrices:
    """Prices of the engine at field ``path`` (``engines.NAME``) for every row of ``table``.

    One price stands for all storage: that of the scratchpad at the port that feeds the rows.
    """
    field = FieldReader(table, path)
    blocks = _blocks(field, costs)
    area = total(blocks.values())
    sram = _scratchpad_pj(field, costs)
    formats = [field.formats(f"{name}_dtype") for name in ("act", "weight", "accum")]
    return EnginePrices(
        mac_pj=costs.multiply_add("pj", *formats),
        vector_op_pj=np.zeros(costs.n),
        regfile_pj_per_byte=costs.energy("register_pj_per_byte"),
        sram_read_pj_per_byte=sram,
        sram_write_pj_per_byte=sram,
        noc_pj_per_byte=costs.noc_pj_per_byte(area / field("cores"), field.chip("noc.hops")),
        leakage_w=costs.leakage_w(area),
        clock_w=costs.clock_w(area, field("clock_hz")),
        area_mm2=blocks,
    )


def _blocks(field: FieldReader, costs: Costs) -> dict[str, Floats]:
    cores = field("cores")
    element = costs.placed_mm2(_element_um2(field, costs))
    blocks = {
        "mac_array": element * field("rows") * field("cols") * field("arrays") * cores,
        "scratchpad": costs.sram_mm2(field("spad_bytes")) * cores,
        "accumulators": costs.sram_mm2(field("accum_bytes")) * cores,
        "weight_buffer": costs.sram_mm2(field("weight_buffer_bytes")) * cores,
    }
    return costs.with_control(blocks)


def _element_um2(field: FieldReader, costs: Costs) -> Floats:
    formats = [field.formats(f"{name}_dtype") for name in ("act", "weight", "accum")]
    arithmetic = costs.multiply_add("um2", *formats)
    return arithmetic + _register_bits(field) * costs.plain("flip_flop_um2")


def _register_bits(field: FieldReader) -> Floats:
    """Flip-flops of a processing element.

    It holds an operand (twice where the next one is preloaded under it), the activation, and what moves past. An
    array that can be output stationary holds sums, and weights in the same place, as Gemmini's does.
    """
    act, weight, accum = (field.bits(f"{name}_dtype") for name in ("act", "weight", "accum"))
    flows = set(field.spec.dataflows)
    held = accum if "os" in flows else weight
    passing = weight if flows == {"os"} else accum
    copies = np.where(field.equals("preload", "overlapped"), 2.0, 1.0)
    return held * copies + act + passing + field("mac_pipe") * (act + weight)


def _scratchpad_pj(field: FieldReader, costs: Costs) -> Floats:
    full_rate = field("rows") * field("arrays") * field.bits("act_dtype") / 8
    port = np.where(field("spad_port_bytes") > 0, field("spad_port_bytes"), full_rate)
    return costs.sram_pj_per_byte(field("spad_bytes"), port, field("spad_banks"))


def peaks(spec: SystolicSpec) -> dict[str, float]:
    """Peak rates of one chip: multiply-accumulates per second by operand formats."""
    macs = spec.cores * spec.arrays * spec.rows * spec.cols * spec.clock_hz
    return {f"MAC/s {spec.act_dtype} x {spec.weight_dtype}": macs}


def peak_macs_per_s(table: FieldTable, path: str) -> Floats:
    """Multiply-accumulates per second of every row of ``table``, shape (n,)."""
    field = FieldReader(table, path)
    return field("rows") * field("cols") * field("arrays") * field("cores") * field("clock_hz")


def storage_bytes(spec: SystolicSpec) -> dict[str, int]:
    """On-chip storage of one chip by block."""
    each = {
        "scratchpad": spec.spad_bytes,
        "accumulators": spec.accum_bytes,
        "weight_buffer": spec.weight_buffer_bytes,
    }
    return {name: size * spec.cores for name, size in each.items() if size}
