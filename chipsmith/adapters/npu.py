"""Family ``npu``: NPUs of several cores with weight-stationary arrays, described by the common keys of the family.

This adapter takes measurements of machines that no other file names; ONNXim's file adds that tool's choices.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

from chipsmith.adapters.base import (
    AMPLE_BYTES,
    Adapter,
    Fields,
    NotModelledError,
    Prediction,
    Value,
    gemm_sizes,
    gemm_trace,
    keep_chips,
    only,
    simulated,
)
from models.chip import Chip
from sim.result import OpResult
from workloads.trace import Trace

STREAMING_FILE = "chipsmith/adapters/data/streaming.yaml"
_CONSTANTS = ("streaming_efficiency", "stream_interference", "latency_s")


@cache
def _rows() -> dict[str, dict[str, Any]]:
    """Rows of the file of streaming constants, by DRAM standard."""
    import yaml

    text = (resources.files("chipsmith.adapters") / "data" / "streaming.yaml").read_text(encoding="utf-8")
    rows: dict[str, dict[str, Any]] = yaml.safe_load(text)["standards"]
    return rows


def _streaming() -> dict[str, dict[str, float]]:
    """Streaming constants by DRAM standard."""
    return {name: {key: float(row[key]) for key in _CONSTANTS} for name, row in _rows().items()}


def standard_of(hardware: Fields) -> str:
    """DRAM standard of a machine, without its speed grade.

    Raises:
        NotModelledError: no streaming constants for it.
    """
    standard = hardware.word("dram_type").split("-")[0]
    if standard not in _streaming():
        raise NotModelledError(f"no streaming constants for {standard} (known: {', '.join(sorted(_streaming()))})")
    return standard


def fitted_constants(hardware: Fields) -> frozenset[str]:
    """Names of the fitted constants behind a machine's memory; none where they were derived."""
    standard = standard_of(hardware)
    return frozenset(f"{standard}.{key}" for key in _CONSTANTS if _rows()[standard]["fitted"])


def machine(hardware: Fields) -> dict[str, Any]:
    """A chip as data, from the common keys of the family."""
    standard = standard_of(hardware)
    reload_rows = hardware.whole("rows") if hardware.get("weight_reuse_across_row_blocks") is False else 0
    engine = {
        "type": "systolic",
        "clock_hz": hardware.number("freq_mhz") * 1e6,
        "cores": hardware.whole("cores"),
        "rows": hardware.whole("rows"),
        "cols": hardware.whole("cols"),
        "dataflows": [hardware.word("dataflow", ("ws", "os", "is"))],
        "act_dtype": hardware.number_format("act_bytes"),
        "weight_dtype": hardware.number_format("weight_bytes"),
        "accum_dtype": hardware.number_format("accum_bytes"),
        "spad_bytes": hardware.whole("spad_kb") * 1024,
        "accum_bytes": hardware.whole("accum_kb") * 1024,
        "weight_reuse_rows": reload_rows,
    }
    memory = {
        "standard": standard,
        "capacity_bytes": AMPLE_BYTES,
        "bandwidth_bytes_per_s": hardware.number("bandwidth_gbps") * 1e9,
        "request_bytes": hardware.whole("dram_request_bytes") if hardware.get("dram_request_bytes") else 32,
        **_streaming()[standard],
    }
    return {"name": "npu", "technology": {"node_nm": 7}, "engines": {"npu": engine}, "memories": {"dram": memory}}


_chip = keep_chips(machine)


def trace_of(hardware: Fields, workload: Fields) -> Trace:
    """The record's GEMM in the machine's number formats."""
    act = hardware.number_format("act_bytes")
    out = hardware.number_format("output_bytes") if hardware.get("output_bytes") else act
    return gemm_trace(*gemm_sizes(workload), act, hardware.number_format("weight_bytes"), out)


def time_and_traffic(op: OpResult) -> dict[str, Value]:
    """Metrics that every fidelity gives."""
    return {
        "cycles": op.cycles,
        "latency_s": op.duration_s,
        "dram_read_bytes": op.events["dram_read_bytes"],
        "dram_write_bytes": op.events["dram_write_bytes"],
    }


def roofline(trace: Trace, chip: Chip) -> dict[str, Value]:
    """The same metrics from the null model."""
    return time_and_traffic(only(simulated(trace, chip, fidelity="bound")))


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    chip, trace = _chip(hardware), trace_of(hardware, workload)
    op = only(simulated(trace, chip))
    return Prediction(time_and_traffic(op), roofline(trace, chip), fitted=fitted_constants(hardware))


ADAPTER = Adapter(family="npu", predict=_predict, fitted_file=STREAMING_FILE)
