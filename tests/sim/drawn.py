"""Results made by hand, with round numbers, for the tests of pictures and timelines."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from typing import Any

from models.chip import load_chip
from sim.mapping import Mapping
from sim.result import Evidence, OpResult, Result
from workloads.trace import Operator, Segment, Trace

MEMORY = "memory:dram"


def op(name: str, **changes: Any) -> OpResult:
    """A GEMM on ``npu`` from 0 to 4 us: 1 us fixed, 2 us busy, 3 us of memory; 6e6 MACs and 60 kB."""
    events = changes.pop("events", {"vector_ops": 0})
    fields: dict[str, Any] = {
        "name": name,
        "kind": "gemm",
        "engine": "npu",
        "phase": "decode",
        "block": "layers",
        "count": 1,
        "start_s": 0.0,
        "end_s": 4e-6,
        "duration_s": 4e-6,
        "cycles": 4000.0,
        "busy_cycles": 2000.0,
        "fixed_s": 1e-6,
        "busy_s": 2e-6,
        "needs_s": {MEMORY: 3e-6},
        "macs": 6_000_000,
        "blocks": 1,
        "bytes": {"dram_read": 50_000, "dram_write": 10_000, "sram_read": 7},
        "energy_pj": {"mac": 5.0, "sram": 2.0},
        "bound_by": MEMORY,
    }
    return OpResult(**{**fields, **changes}, events=events)


def layered() -> tuple[OpResult, ...]:
    """An embedding, a layer of two operators that repeats four times, a head: 0-1, 1-6 (x 4: 1-21), 21-25 us."""
    vector = {"kind": "norm", "engine": "vector", "macs": 0, "events": {"vector_ops": 1000}, "busy_s": 0.0}
    return (
        op("embed", block="embed", end_s=1e-6, **{**vector, "events": {}, "kind": "gather"}),
        op("layer.norm", count=4, start_s=1e-6, end_s=2e-6, **{**vector, "needs_s": {MEMORY: 0.5e-6}}),
        op("layer.proj", count=4, start_s=2e-6, end_s=6e-6),
        op("head", block="head", start_s=21e-6, end_s=25e-6),
    )


def result(ops: tuple[OpResult, ...] | None = None, **changes: Any) -> Result:
    """A result on ``tpu_v4`` around some operators; 25 us, 1 J, 100 mm2."""
    meta: MappingABC[str, object] = changes.pop("meta", {"model": "toy", "phase": "decode", "requests": 2})
    phase = str(meta.get("phase", "decode"))
    trace = Trace(f"toy {phase}", (Operator("proj", "gemm", 0, (Segment(2),), k=4, n=4, phase=phase),), meta=meta)
    chip = load_chip("tpu_v4").with_fields({"name": changes.pop("chip_name", "tpu_v4")})
    fields: dict[str, Any] = {
        "trace": trace,
        "chip": chip,
        "mapping": Mapping("auto"),
        "fidelity": "tile",
        "ops": layered() if ops is None else ops,
        "latency_s": 25e-6,
        "tokens": 2,
        "energy_j": 1.0,
        "energy_parts_j": {"mac": 0.2, "vector": 0.0, "sram": 0.3, "dram_core": 0.1, "clock": 0.4},
        "area_mm2": 100.0,
        "area_parts_mm2": {"npu.mac_array": 30.0, "npu.weight_buffer": 0.0, "vector.lanes": 70.0},
        "utilisation": 0.5,
        "bound_by": MEMORY,
        "bound_share": {MEMORY: 0.75, "npu": 0.25},
        "rtl_share": 0.0,
        "evidence": {"latency_s": Evidence("peer", 2.5, "a peer"), "energy_j": Evidence("analytic", None, "constants")},
        "manifest": {"version": "1", "seed": None},
    }
    return Result(**{**fields, **changes})
