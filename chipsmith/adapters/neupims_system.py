"""Family ``pim-system``, NeuPIMs' simulator: decoder layers of GPT-3 on an NPU whose HBM computes.

A record's machine is the preset ``neupims_artifact`` (the simulator's own choices as named fields) with the record's
sizes; the honest ``neupims`` stands beside it. Requests lie on the channels that the record names.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from chipsmith.adapters.base import Adapter, Fields, NotModelledError, Prediction, Value, simulated
from models.chip import Chip, load_chip
from sim.result import OpResult, Result
from workloads.decoder_layers import LayerShape, decode_layers
from workloads.errors import ChipsmithError
from workloads.trace import Trace

MODES = ("npu_only", "single_row_buffer", "dual_row_buffer", "dual_row_buffer_interleaved")
#: Stages of the simulator and how a run without sub-batches is cut into them.
INTERLEAVED = "ABCDEF"
_ARTIFACT, _HONEST = "neupims_artifact", "neupims"
_GIB = 2**30
_KIB = 1024
#: Clocks, in array cycles, of a preload that finds its pipeline empty; see the preset's notes.
_NPU_ONLY_DRAIN = 3690
_OWN = "cycles_per_layer without the simulator's own choices"
_COUNTED = ("memory_requests_64b", "gemm_instructions", "stage_memory_utilisation", "stage_pim_busy_cycles")
_TABLES = ("operator_cycles", "operator_read_bytes")


@lru_cache(maxsize=64)
def chip_of(preset: str, hardware: Fields, mode: str) -> Chip:
    """A preset with the sizes of a record's machine, in one of :data:`MODES`.

    Raises:
        NotModelledError: a machine that makes no legal chip.
    """
    chip, found = load_chip(preset), {**_npu(hardware.get("npu")), **_memory(hardware.get("memory"))}
    found |= {"policy.sub_batches": 2 if mode == MODES[3] else 1}
    if mode == MODES[0]:
        found |= {"engines.npu.drain_cycles": _NPU_ONLY_DRAIN} if preset == _ARTIFACT else {}
        data = chip.model_dump()
        data["engines"].pop("pim")
        chip = Chip.model_validate(data)
    else:
        found |= _pim(hardware.get("pim"), hardware.get("memory"), preset)
    try:
        return chip.with_fields(found)
    except ChipsmithError as error:
        raise NotModelledError(f"refused: {error}") from None


def _npu(npu: Fields) -> dict[str, Any]:
    clock_hz = npu.number("freq_mhz") * 1e6
    return {
        "engines.npu.clock_hz": clock_hz,
        "engines.npu.cores": npu.whole("cores"),
        "engines.npu.arrays": npu.whole("systolic_arrays"),
        "engines.npu.rows": npu.whole("array_rows"),
        "engines.npu.cols": npu.whole("array_cols"),
        "engines.vector.clock_hz": clock_hz,
        "engines.vector.lanes": npu.whole("vector_lanes"),
    }


def _pim(pim: Fields, memory: Fields, preset: str) -> dict[str, Any]:
    """Units of a record. A composite command stands for all columns of a tile, so only others crowd the queue."""
    single = preset == _ARTIFACT and not pim.get("composite_commands")
    return {
        "engines.pim.clock_hz": 1e9 / memory.number("tCK_ns"),
        "engines.pim.row_buffers": pim.whole("row_buffers_per_bank"),
        "engines.pim.channels": memory.whole("channels"),
        "engines.pim.issue_per_ck": int(single),
        "engines.pim.kv_placement": "trace",
    }


def _memory(memory: Fields) -> dict[str, Any]:
    return {
        "memories.dram.capacity_bytes": memory.whole("capacity_gb") * _GIB,
        "memories.dram.bandwidth_bytes_per_s": memory.number("peak_gbps") * 1e9,
        "memories.dram.channels": memory.whole("channels"),
        "memories.dram.grade": "",  # a record states its bandwidth
    }


def trace_of(workload: Fields, channels: int) -> Trace:
    """The record's decode step: its layers, each request on its channel.

    Raises:
        NotModelledError: a list of requests that is not there.
        ChipsmithError: a missing or illegal key, a channel that does not exist.
    """
    requests = _requests(workload)
    for context, channel in requests:
        if not 0 <= channel < channels:
            text = f"legal: 0 to {channels - 1}, the channels of the memory"
            raise ChipsmithError(f"{workload.where}.requests: channel of a request of {context} tokens", channel, text)
    shape = LayerShape(
        workload.whole("d_model"), workload.whole("heads"), workload.whole("tensor_parallel"),
        workload.whole("layers_simulated"),
    )  # fmt: skip
    cached = [max(1, context - 1) for context, _ in requests]  # the list counts the step's own token
    return decode_layers(workload.word("model"), shape, cached, [channel for _, channel in requests])


def _requests(workload: Fields) -> tuple[tuple[int, int], ...]:
    """(context, channel) of every request: inline, or from the list beside the record's file."""
    inline = workload.get("requests")
    if inline is not None:
        return tuple((int(context), int(channel)) for context, channel in inline)
    name, _, key = workload.word("requests_ref").partition("#")
    lists = _lists(str(Path(workload.where.rpartition(":")[0]).parent / name))
    if key not in lists:
        raise NotModelledError(f"{name} holds no list {key!r}")
    return lists[key]


@lru_cache(maxsize=16)
def _lists(path: str) -> dict[str, tuple[tuple[int, int], ...]]:
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
        return {key: tuple((int(c), int(k)) for c, k in found["requests"]) for key, found in data.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotModelledError(f"no list of requests in {path}: {error}") from None


# ---------------------------------------------------------------- what a run says


def stage_seconds(result: Result) -> dict[str, float]:
    """Seconds of every stage: with sub-batches in stages A to F, else A (to attention), B (attention), E (behind)."""
    ends: dict[str, float] = {}
    attended = False
    for op in result.ops:
        attended |= op.kind == "attention"
        stage = _stage(op, attended)
        ends[stage] = max(ends.get(stage, 0.0), op.end_s)
    order = sorted(ends)
    return {stage: ends[stage] - (ends[order[i - 1]] if i else 0.0) for i, stage in enumerate(order)}


def _stage(op: OpResult, attended: bool) -> str:
    first, dot, _ = op.name.partition(".")
    if dot and first in INTERLEAVED:
        return first
    return "B" if op.kind == "attention" else "E" if attended else "A"


def _metrics(result: Result, layers: int, clock_hz: float, stages: bool) -> dict[str, Value]:
    total = result.latency_s * clock_hz
    found: dict[str, Value] = {
        "cycles_total": total,
        "cycles_per_layer": total / layers,
        "time_per_layer_us": 1e6 * result.latency_s / layers,
    }
    if stages:
        found |= {f"stage_cycles.{name}": s * clock_hz for name, s in stage_seconds(result).items()}
        found["preloads"] = sum(op.blocks * op.count for op in result.ops if op.kind == "gemm")
    return found


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    mode = workload.word("mode", MODES)
    trace = trace_of(workload, hardware.get("memory").whole("channels"))
    chip, honest = (chip_of(preset, hardware, mode) for preset in (_ARTIFACT, _HONEST))
    layers, clock_hz = workload.whole("layers_simulated"), chip.engines["npu"].clock_hz
    ours = _metrics(simulated(trace, chip), layers, clock_hz, stages=True)
    floor = _metrics(simulated(trace, chip, fidelity="bound"), layers, clock_hz, stages=False)
    beside = _metrics(simulated(trace, honest), layers, clock_hz, stages=False)
    own = (float(beside["cycles_per_layer"]), float(ours["cycles_per_layer"]))  # type: ignore[arg-type]  # one number
    return Prediction(ours, floor, own={_OWN: own})


ADAPTER = Adapter(
    family="pim-system",
    predict=_predict,
    sources=("NeuPIMs (casys-kaist",),
    quirks=(
        "preset neupims_artifact: a preload stops all eight arrays, blocks of 128 tokens, vector units never full",
        "sequential host traffic, barriers between stages A to F, one queue of PIM instructions for all channels",
    ),
    not_compared=dict.fromkeys(_COUNTED, "counted in another way by that simulator")
    | dict.fromkeys(_TABLES, "stages are compared; what an operator's time holds differs")
    | {"layers_covered": "it is given, not measured"},
    misses="posted writes that overlap the next operator, warm-up of its client",
)
