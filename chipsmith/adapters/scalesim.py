"""Family ``systolic``: one array with unlimited SRAM and bandwidth, fold by fold (SCALE-Sim 3.0.0 and its closed form).

One tile holds the whole GEMM; the preload of each fold overlaps with nothing. Every metric is exact.
"""

from __future__ import annotations

from typing import Any

from chipsmith.adapters.base import (
    AMPLE_BYTES,
    Adapter,
    Fields,
    Prediction,
    gemm_sizes,
    gemm_trace,
    keep_chips,
    only,
    simulated,
)
from sim.mapping import Mapping
from sim.result import OpResult

_FLOWS = ("ws", "os", "is")
#: No stall: the bytes of any GEMM pass in less than a cycle.
_UNLIMITED_BYTES_PER_S = 1e25
_CLOCK_HZ = 1e9


@keep_chips
def _chip(hardware: Fields) -> dict[str, Any]:
    word = hardware.number_format("word_bytes") if hardware.get("word_bytes") else "int8"
    return {
        "name": "fold_by_fold_array",
        "technology": {"node_nm": 45},
        "engines": {
            "array": {
                "type": "systolic",
                "clock_hz": _CLOCK_HZ,
                "rows": hardware.whole("rows"),
                "cols": hardware.whole("cols"),
                "dataflows": [hardware.word("dataflow", _FLOWS)],
                "act_dtype": word,
                "weight_dtype": word,
                "accum_dtype": "int32",
                "spad_bytes": AMPLE_BYTES,
                "preload": "serial",
            }
        },
        "memories": {
            "dram": {
                "standard": "DDR4",
                "capacity_bytes": AMPLE_BYTES,
                "bandwidth_bytes_per_s": _UNLIMITED_BYTES_PER_S,
                "latency_s": 0.0,
            }
        },
    }


def _whole_gemm(flow: str, m: int, k: int, n: int) -> Mapping:
    tile = {"dataflow": flow, "tile": {"m": m, "k": k, "n": n}, "cores": {"m": 1, "n": 1}}
    return Mapping("given", {}, {"gemm": (tile,)})


def _mapping_efficiency_pct(op: OpResult, flow: str, m: int, n: int, k: int, pes: int) -> float:
    """Processing elements that hold a useful element, mean over folds, %."""
    streamed = {"ws": m, "os": k, "is": n}[flow]
    return 100.0 * op.macs / streamed / (op.blocks * pes)


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    chip, flow = _chip(hardware), hardware.word("dataflow", _FLOWS)
    m, k, n = gemm_sizes(workload)
    word = chip.engines["array"].model_dump()["act_dtype"]
    trace = gemm_trace(m, k, n, word, word, word)
    op = only(simulated(trace, chip, _whole_gemm(flow, m, k, n)))
    pes = hardware.whole("rows") * hardware.whole("cols")
    metrics = {
        "compute_cycles": op.busy_cycles,
        "mapping_efficiency_pct": _mapping_efficiency_pct(op, flow, m, n, k, pes),
        "sram_ifmap_reads": op.events["act_reads"],
        "sram_filter_reads": op.events["weight_reads"],
        "sram_ofmap_writes": op.events["out_writes"],
    }
    roofline = only(simulated(trace, chip, fidelity="bound"))
    return Prediction(metrics, {"compute_cycles": roofline.busy_cycles, "mapping_efficiency_pct": 100.0})


ADAPTER = Adapter(
    family="systolic",
    predict=_predict,
    mapping="given: the whole GEMM is one tile",
    quirks=("serial preload: no overlap of folds",),
    misses="stalls of the finite-bandwidth mode (expected cycles are without them)",
)
