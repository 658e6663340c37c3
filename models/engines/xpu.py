"""Specification of an xPU: a GPU-like engine known by its peaks, the caps it reaches, and its caches."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from models.costs import Costs, EnginePrices, FieldReader, FieldTable, Words, total
from models.engines.base import EngineSpec
from models.technology import Floats

TYPE = "xpu"
_FP16, _FP32 = Words(("fp16",), np.zeros(1, np.intp)), Words(("fp32",), np.zeros(1, np.intp))
#: Bytes that a shared-memory port moves in one access of a warp: 32 threads of 4 bytes.
_PORT_BYTES = 128.0


class XpuSpec(EngineSpec):
    """Cores with private first-level and a shared second-level memory, as rooflines describe them.

    AttAcc and Duplex describe their GPU (xPU) this way: peak rates, the share of them that kernels reach, and tiles
    that decide cache traffic. A figure that is 0 where that is allowed takes the default that its line names.

    Attributes:
        type: always ``xpu``.
        flops_per_s: dense matrix peak of 16-bit operands, 2 per multiply-accumulate.
        flops_8bit_per_s: of operands of 8 bits and less; 0 = as 16-bit ones.
        flops_32bit_per_s: of wider operands; 0 = half of 16-bit ones.
        vector_flops_per_s: peak of element operations, which softmax, norms and functions use.
        compute_efficiency: share of the matrix peak that kernels reach at best.
        memory_efficiency: share of the memory's streaming bandwidth that kernels reach at best.
        norm_efficiency: the same for normalisation kernels; 0 = as the others.
        cores: cores (SMs) that thread blocks are dealt to; a last wave that is not full wastes compute time.
        occupancy_limits_bandwidth: memory bandwidth shrinks with the share of cores that have a thread block, too, and
            attention has one thread block a head and request (the xPU of AttAcc's simulator); else long rows are
            split over idle cores, and bandwidth and attention don't depend on it.
        launch_s: time from one kernel to the next, matrix and attention kernels.
        norm_launch_s, vector_launch_s: the same for normalisation, and for element-wise and all other kernels.
        l1_bytes: shared memory of a core, holds one thread block's tile.
        l2_bytes: last-level cache.
        mac_pj, register_pj_per_byte, l1_pj_per_byte, l2_pj_per_byte: energies; 0 = of the constant set.
        die_mm2: published die area without the memory's interface, which is priced apart; what the modelled blocks
            leave of it counts as ``unmodelled``; 0 = unknown.
    """

    type: Literal["xpu"] = "xpu"
    flops_per_s: float = Field(gt=0)
    flops_8bit_per_s: float = Field(default=0.0, ge=0)
    flops_32bit_per_s: float = Field(default=0.0, ge=0)
    vector_flops_per_s: float = Field(gt=0)
    compute_efficiency: float = Field(default=1.0, gt=0, le=1)
    memory_efficiency: float = Field(default=1.0, gt=0, le=1)
    norm_efficiency: float = Field(default=0.0, ge=0, le=1)
    cores: int = Field(default=1, ge=1, le=4096)
    occupancy_limits_bandwidth: bool = False
    launch_s: float = Field(default=0.0, ge=0)
    norm_launch_s: float = Field(default=0.0, ge=0)
    vector_launch_s: float = Field(default=0.0, ge=0)
    l1_bytes: int = Field(ge=4096)
    l2_bytes: int = Field(ge=4096)
    mac_pj: float = Field(default=0.0, ge=0)
    register_pj_per_byte: float = Field(default=0.0, ge=0)
    l1_pj_per_byte: float = Field(default=0.0, ge=0)
    l2_pj_per_byte: float = Field(default=0.0, ge=0)
    die_mm2: float = Field(default=0.0, ge=0)

    @property
    def peak_macs_per_s(self) -> float:
        """Multiply-accumulates of 16-bit operands per second."""
        return self.flops_per_s / 2


SPEC = XpuSpec


def price(table: FieldTable, path: str, costs: Costs) -> EnginePrices:
    """Prices of the engine at field ``path`` (``engines.NAME``) for every row of ``table``.

    ``sram`` stands for the first level, ``noc`` for the last-level cache and the network to it, ``regfile`` for the
    three operands of a multiply-accumulate.
    """
    field = FieldReader(table, path)
    blocks = _blocks(field, costs)
    area = total(blocks.values())
    first = _given(field("l1_pj_per_byte"), _sram_pj(field("l1_bytes"), costs))
    network = costs.noc_pj_per_byte(area / field("cores"), field.chip("noc.hops"))
    registers = _given(field("register_pj_per_byte"), costs.energy("lane_register_pj_per_byte"))
    multiply_add = _given(field("mac_pj"), costs.multiply_add("pj", _FP16, _FP16, _FP32))
    return EnginePrices(
        mac_pj=multiply_add,
        vector_op_pj=costs.multiply_add("pj", _FP32, _FP32, _FP32) / 2,
        regfile_pj_per_byte=registers,
        sram_read_pj_per_byte=first,
        sram_write_pj_per_byte=first,
        noc_pj_per_byte=_given(field("l2_pj_per_byte"), _sram_pj(field("l2_bytes"), costs) + network),
        leakage_w=costs.leakage_w(area),
        clock_w=costs.clock_w(area, field("clock_hz")),
        area_mm2=blocks,
    )


def _given(value: Floats, default: Floats) -> Floats:
    return np.where(value > 0, value, default)


def _sram_pj(size_bytes: Floats, costs: Costs) -> Floats:
    return costs.sram_pj_per_byte(size_bytes, np.full(costs.n, _PORT_BYTES), np.ones(costs.n))


def _blocks(field: FieldReader, costs: Costs) -> dict[str, Floats]:
    """Multipliers of both kinds, caches, control, and the rest of a die whose size is published."""
    macs = field("flops_per_s") / 2 / field("clock_hz")
    lanes = field("vector_flops_per_s") / 2 / field("clock_hz")
    blocks = costs.with_control(
        {
            "matrix": costs.placed_mm2(costs.multiply_add("um2", _FP16, _FP16, _FP32)) * macs,
            "vector": costs.placed_mm2(costs.multiply_add("um2", _FP32, _FP32, _FP32)) * lanes,
            "l1": costs.sram_mm2(field("l1_bytes")) * field("cores"),
            "l2": costs.sram_mm2(field("l2_bytes")),
        }
    )
    return {**blocks, "unmodelled": np.maximum(field("die_mm2") - total(blocks.values()), 0.0)}


def peaks(spec: XpuSpec) -> dict[str, float]:
    """Peak rates of one chip: multiply-accumulates per second, and element operations."""
    return {"MAC/s fp16 x fp16": spec.peak_macs_per_s, "op/s fp32": spec.vector_flops_per_s}


def peak_macs_per_s(table: FieldTable, path: str) -> NDArray[np.float64]:
    """Multiply-accumulates of 16-bit operands per second, shape (n,)."""
    return FieldReader(table, path)("flops_per_s") / 2


def storage_bytes(spec: XpuSpec) -> dict[str, int]:
    """On-chip storage of one chip by block."""
    return {"l1": spec.l1_bytes * spec.cores, "l2": spec.l2_bytes}
