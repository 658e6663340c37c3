"""ONNXim (a1e86296 with Ramulator 2): the machine of family ``npu`` with that tool's issue rules and tiling.

Its choices are explicit options of our engine: weights are preloaded for every block of at most R rows, the first
preload pays R - 1 cycles more, passes start at least 4 cycles apart, results leave block by block (notes in
sim/engines/systolic_kernels.py), tiles follow Gemmini's heuristic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chipsmith.adapters.base import Adapter, Again, Fields, NotModelledError, Prediction, keep_chips, only, simulated
from chipsmith.adapters.npu import (
    STREAMING_FILE,
    fitted_constants,
    machine,
    roofline,
    standard_of,
    time_and_traffic,
    trace_of,
)
from sim.result import OpResult, Result
from workloads.trace import Trace

_MIN_ISSUE_CYCLES = 4  # SystolicWS.cc: max(rows of the block, 4, height)


@keep_chips
def _chip(hardware: Fields) -> dict[str, Any]:
    data = machine(hardware)
    data["engines"]["npu"] |= {
        "min_issue_cycles": _MIN_ISSUE_CYCLES,
        "first_preload_extra_cycles": hardware.whole("rows") - 1,
        "store_by_block": True,
    }
    return data


@keep_chips
def _channel_chip(hardware: Fields) -> dict[str, Any]:
    """The same machine with DRAM channels instead of streaming constants, for fidelity ``command``."""
    data = _chip(hardware).model_dump()
    data["memories"]["dram"] |= {
        "grade": _grade(hardware),
        "controller": "ramulator2",
        "channels": hardware.whole("dram_channels"),
        "latency_s": 0.0,  # what an idle channel takes
        "transfer_bytes": _blocks_bytes(hardware),
    }
    return data


def _blocks_bytes(hardware: Fields) -> int:
    """What a core asks for at once: an array block of activations and one of weights (GemmWS.cc, MOVIN)."""
    side = hardware.whole("rows") * hardware.whole("cols")
    return side * (hardware.whole("act_bytes") + hardware.whole("weight_bytes"))


def _grade(hardware: Fields) -> str:
    """Grade of the machine's DRAM: two transfers a clock.

    Raises:
        NotModelledError: DRAM that no grade stands for.
    """
    standard = standard_of(hardware)
    if standard != "HBM2":
        raise NotModelledError(f"{standard} at half clock and half bursts, which no grade has")
    return f"{standard}-{2 * hardware.whole('dram_freq_mhz')}"


def _at_command(hardware: Fields, trace: Trace) -> Again:
    """Cycles at fidelity ``command``: no constant of the memory is fitted."""
    try:
        op = only(simulated(trace, _channel_chip(hardware), "gemmini", "command"))
    except NotModelledError as reason:
        return Again("cycles", "command", None, str(reason))
    return Again("cycles", "command", op.cycles)


def _parts(size: int, tile: int, unit: int) -> list[int]:
    """Array blocks along one dimension in each tile; ``unit`` elements make a block."""
    return [-(-min(tile, size - start) // unit) for start in range(0, size, tile)]


def _blocks_per_core(tile: Mapping[str, Any], workload: Fields, hardware: Fields) -> tuple[float, ...]:
    """Array blocks of each core where output tiles are dealt round robin, m outer and n inner."""
    side = hardware.whole("rows")
    along_m = _parts(workload.whole("m"), tile["tile"]["m"], side)
    along_n = _parts(workload.whole("n"), tile["tile"]["n"], hardware.whole("cols"))
    along_k = sum(_parts(workload.whole("k"), tile["tile"]["k"], side))
    deal = [m * n * along_k for m in along_m for n in along_n]
    cores = hardware.whole("cores")
    return tuple(float(sum(deal[core::cores])) for core in range(cores))


def _blocks(result: Result, op: OpResult, workload: Fields, hardware: Fields) -> tuple[float, ...]:
    (tile,) = result.mapping.tiles[op.name]
    dealt = _blocks_per_core(tile, workload, hardware)
    if sum(dealt) != op.blocks:
        raise NotModelledError(f"the mapping deals {sum(dealt):.0f} blocks, the engine counts {op.blocks}")
    return dealt


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    chip, trace = _chip(hardware), trace_of(hardware, workload)
    result = simulated(trace, chip, "gemmini")
    op = only(result)
    searched = only(simulated(trace, chip, "auto"))
    return Prediction(
        metrics={**time_and_traffic(op), "matrix_blocks_per_core": _blocks(result, op, workload, hardware)},
        null=roofline(trace, chip),
        own={"cycles, auto mapping over gemmini": (searched.cycles, op.cycles)},
        fitted=fitted_constants(hardware),
        again={"cycles at command": _at_command(hardware, trace)},
    )


ADAPTER = Adapter(
    family="npu",
    predict=_predict,
    sources=("ONNXim",),
    mapping="gemmini",
    quirks=(
        "weights preloaded for every block of R rows",
        "first preload R - 1 cycles longer",
        "at least 4 cycles between passes",
        "results stored block by block",
    ),
    fitted_file=STREAMING_FILE,
    misses="network topology and buffers between core and memory; at tile DRAM commands and refresh",
)
