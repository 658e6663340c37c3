"""ZigZag 3.9.1: one array with weights in its registers, activations and outputs in one SRAM, one shared DRAM port.

ZigZag lets first loads of different operands over its one DRAM port overlap, so some of its cycles lie below what
the port can move. The reference is therefore the larger of its cycles and the lower bound of the machine, and our
best mapping should lie at most a few per cent above it.
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
from workloads.errors import ChipsmithError

_CLOCK_HZ = 1e9  # records give no frequency; only cycles are compared
_ACCUMULATORS = {1: "int8", 2: "int16", 4: "int32"}


def _dram_bytes_per_cycle(hardware: Fields) -> float:
    return hardware.number("dram_bits_per_cycle") / 8


def _accumulator(hardware: Fields) -> str:
    value = hardware.whole("accum_bytes")
    if value not in _ACCUMULATORS:
        raise ChipsmithError(f"{hardware.where}.accum_bytes", value, "1, 2 or 4 bytes per element")
    return _ACCUMULATORS[value]


@keep_chips
def _chip(hardware: Fields) -> dict[str, Any]:
    """The array's rows hold k in our convention; the record says which of its sides that is."""
    sides = {hardware.word(f"spatial_{side}_dim", ("k", "n")): hardware.whole(side) for side in ("rows", "cols")}
    if set(sides) != {"k", "n"}:
        raise ChipsmithError(f"{hardware.where}.spatial_cols_dim", hardware.get("spatial_cols_dim"), "one k, one n")
    registers = hardware.whole("weight_reg_bytes_per_pe")
    return {
        "name": "weights_in_registers",
        "technology": {"node_nm": 45},
        "engines": {
            "array": {
                "type": "systolic",
                "clock_hz": _CLOCK_HZ,
                "rows": sides["k"],
                "cols": sides["n"],
                "dataflows": [hardware.word("dataflow", ("ws",))],
                "act_dtype": hardware.number_format("act_bytes"),
                "weight_dtype": hardware.number_format("weight_bytes"),
                "accum_dtype": _accumulator(hardware),
                "spad_bytes": hardware.whole("sram_kb") * 1024,
                "weight_buffer_bytes": sides["k"] * sides["n"] * registers,
            }
        },
        "memories": {
            "dram": {
                "standard": "DDR4",
                "capacity_bytes": AMPLE_BYTES,
                "bandwidth_bytes_per_s": _dram_bytes_per_cycle(hardware) * _CLOCK_HZ,
                "request_bytes": 1,
                "latency_s": 0.0,
            }
        },
    }


def _lower_bound_cycles(hardware: Fields, m: int, k: int, n: int) -> float:
    """The larger of MACs over processing elements and every operand's bytes, once, over the DRAM port."""
    size = {name: hardware.whole(f"{name}_bytes") for name in ("act", "weight", "output")}
    moved = m * k * size["act"] + k * n * size["weight"] + m * n * size["output"]
    compute = m * k * n / (hardware.whole("rows") * hardware.whole("cols"))
    return max(compute, moved / _dram_bytes_per_cycle(hardware))


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    chip, (m, k, n) = _chip(hardware), gemm_sizes(workload)
    formats = [hardware.number_format(f"{name}_bytes") for name in ("act", "weight", "output")]
    trace = gemm_trace(m, k, n, *formats)
    return Prediction(
        metrics={"cycles": only(simulated(trace, chip)).cycles},
        null={"cycles": only(simulated(trace, chip, fidelity="bound")).cycles},
        floors={"cycles": _lower_bound_cycles(hardware, m, k, n)},
    )


ADAPTER = Adapter(
    family="npu",
    predict=_predict,
    sources=("ZigZag",),
    not_compared={
        "energy_pj": "access counts follow the loop order that its latency search picked, which no record states",
        "cycles_without_first_load_and_last_store": "our results do not separate first load and last store",
    },
    misses="output registers in the array (partial sums use the double-buffered SRAM), SRAM port width, stalls of "
    "reloaded registers; records of its energy search are slower by its choice and cannot be told apart",
)
