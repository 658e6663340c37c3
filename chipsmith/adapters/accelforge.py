"""AccelForge 1.0.467: the optimal mapping on a four-array machine, which is the roofline of compute and DRAM."""

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


@keep_chips
def _chip(hardware: Fields) -> dict[str, Any]:
    return {
        "name": "roofline_machine",
        "technology": {"node_nm": 7},
        "engines": {
            "array": {
                "type": "systolic",
                "clock_hz": hardware.number("freq_mhz") * 1e6,
                "cores": hardware.whole("cores"),
                "rows": hardware.whole("rows"),
                "cols": hardware.whole("cols"),
                "dataflows": [hardware.word("dataflow", ("ws", "os", "is"))],
                "act_dtype": hardware.number_format("act_bytes"),
                "weight_dtype": hardware.number_format("weight_bytes"),
                "accum_dtype": "int32",
                "spad_bytes": hardware.whole("sram_kb") * 1024,
            }
        },
        "memories": {
            "dram": {
                "standard": "HBM2",
                "capacity_bytes": AMPLE_BYTES,
                "bandwidth_bytes_per_s": hardware.number("bandwidth_gbps") * 1e9,
                "latency_s": 0.0,
            }
        },
    }


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    formats = [hardware.number_format(f"{name}_bytes") for name in ("act", "weight", "output")]
    result = simulated(gemm_trace(*gemm_sizes(workload), *formats), _chip(hardware), fidelity="bound")
    metrics = {"latency_s": result.latency_s, "cycles": only(result).cycles}
    return Prediction(metrics, metrics)


ADAPTER = Adapter(
    family="npu",
    predict=_predict,
    sources=("AccelForge",),
    fidelity="bound",
    mapping="none at this fidelity",
    not_compared={
        "energy_pj": "a shared and a local SRAM with bypass against one level of ours; the search's objective, which "
        "changes the energy up to 6 times, is in no hardware or workload key",
    },
    misses="its SRAM levels (no record is bound by them)",
)
