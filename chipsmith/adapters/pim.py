"""Family ``pim``: kernels on memories that compute, at the level of commands.

A record's timing, organisation and refresh replace those of the shipped device; its kernel becomes the device's own
command sequence, or plain reads and writes where the host executed it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from chipsmith.adapters.base import Adapter, Fields, NotModelledError, Prediction, Value
from models.pim import PimDevice, load_device
from sim.pim import operators
from sim.pim.operators import Settings
from sim.pim.result import PimResult
from workloads.errors import ChipsmithError

_DEVICES_KEPT = 64
_ORGANISATION = ("channels", "ranks", "bank_groups", "banks_per_group", "rows", "row_bytes", "burst_bytes")
_GBPS = 1e9


@cache
def _data() -> dict[str, Any]:
    import yaml

    text = (resources.files("chipsmith.adapters") / "data" / "pim.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data


@lru_cache(maxsize=_DEVICES_KEPT)
def _device(hardware: Fields, channels: int) -> tuple[PimDevice, Settings]:
    """The device of a record, and how it is run.

    Raises:
        NotModelledError: a device that no model stands for, or hardware that makes no legal one.
    """
    name = hardware.word("device")
    found = next((row for start, row in _data()["devices"].items() if name.startswith(start)), None)
    if found is None:
        raise NotModelledError(f"no model of {name} (known: {', '.join(_data()['devices'])})")
    base = load_device(str(found["device"]).format(placement=hardware.get("placement")))
    organisation = {key: hardware.whole(key) for key in _ORGANISATION if hardware.get(key) is not None}
    if channels:
        organisation["channels"] = channels
    changes = {
        "tck_ns": hardware.number("tCK_ns"),
        "organisation": {**base.organisation.model_dump(), **organisation},
        "timing_ck": {**base.timing_ck, **_timing(base, hardware)},
    }
    try:
        return base.with_fields(changes), Settings(refresh_phase=float(found["refresh_phase"]))
    except ChipsmithError as error:
        raise NotModelledError(f"refused: {error}") from None


def _timing(base: PimDevice, hardware: Fields) -> dict[str, int]:
    """Timing of a record under the names of the device; 0 as refresh interval where it says none is seen."""
    found: dict[str, int] = {}
    for key, clocks in hardware.get("timing_ck").items:
        for name in _data()["timing_names"].get(key, [key]):
            if name in base.timing_ck:
                found[name] = int(clocks)
    interval = _data()["interval_names"].get(base.name)
    if interval:
        found[interval] = hardware.whole("pim_command_interval_ck")
    if str(hardware.get("refresh")).startswith("none"):
        found["tREFI"] = 0
    return found


def _format(device: PimDevice, workload: Fields) -> str:
    """Number format of a record: that of the units where its width is theirs."""
    bytes_each = workload.get("dtype_bytes")
    if bytes_each not in (None, device.check_format(device.unit.dtypes[0])):
        raise NotModelledError(f"{device.name} multiplies {device.unit.dtypes[0]}, the record has {bytes_each} bytes")
    return device.unit.dtypes[0]


def _gemv(device: PimDevice, workload: Fields, settings: Settings) -> PimResult:
    sizes = workload.whole("out_features"), workload.whole("in_features")
    if _on_host(workload):
        return operators.plain_gemv(device, *sizes, settings=settings)
    return operators.gemv(device, *sizes, workload.whole("batch"), settings=settings)


def _elementwise(device: PimDevice, workload: Fields, settings: Settings) -> PimResult:
    run = operators.plain_elementwise if _on_host(workload) else operators.elementwise
    return run(device, workload.word("kernel"), workload.whole("elements"), settings=settings)


def _attention(device: PimDevice, workload: Fields, settings: Settings) -> PimResult:
    heads, context, head_dim = (workload.whole(key) for key in ("heads_per_stack", "seq_len", "head_dim"))
    requests = workload.whole("batch")
    return operators.decode_attention(device, heads, context, head_dim, requests, settings=settings)


def _stream(device: PimDevice, workload: Fields, settings: Settings) -> PimResult:
    return operators.instruction_stream(device, workload.get("instructions"), settings)


def _on_host(workload: Fields) -> bool:
    return workload.word("executed_on", ("pim", "host")) == "host"


_KERNELS: dict[str, Callable[[PimDevice, Fields, Settings], PimResult]] = {
    "gemv": _gemv,
    "decode_attention": _attention,
    **dict.fromkeys(operators.ELEMENTWISE, _elementwise),
}


def _kernel(workload: Fields) -> Callable[[PimDevice, Fields, Settings], PimResult]:
    name = workload.word("kernel")
    if name in _KERNELS:
        return _KERNELS[name]
    if workload.get("instructions") is not None:
        return _stream
    raise NotModelledError(f"kernel {name!r} is not modelled")


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    used = workload.get("channels_used")
    device, settings = _device(hardware, int(used or 0))
    _format(device, workload)
    try:
        result = _kernel(workload)(device, workload, settings)
    except ChipsmithError as error:
        raise NotModelledError(f"refused: {error}") from None
    return Prediction(_metrics(device, result, workload), _null(device, result))


def _metrics(device: PimDevice, result: PimResult, workload: Fields) -> dict[str, Value]:
    """All that records of this family may expect."""
    gbps = result.bandwidth_bytes_per_s / _GBPS
    found: dict[str, Value] = {
        "cycles": result.cycles,
        "time_ns": 1e9 * result.time_s,
        **dict.fromkeys(("weight_bandwidth_gbps", "operand_bandwidth_gbps", "kv_bandwidth_gbps"), gbps),
        "mac_commands": result.commands.get(device.mac, 0),
        "softmax_commands": result.commands.get("SFM", 0),
        "gemv_buffer_moves": result.commands.get("MVGB", 0),
        "softmax_buffer_moves": result.commands.get("MVSB", 0),
        "gemv_buffer_writes": result.commands.get("WRGB", 0),
    }
    instructions = workload.get("instructions")
    if instructions and len(instructions) == 1 and instructions[0][0] == "repeat":
        found["cycles_per_iteration"] = result.cycles / instructions[0][1]
    return found


def _null(device: PimDevice, result: PimResult) -> dict[str, Value]:
    """Operands at the peak of whoever reads them; nothing where a record names no operands."""
    if not result.operand_bytes:
        return {}
    time_s = result.operand_bytes / result.peak_bytes_per_s
    return {"cycles": time_s * device.cycles_per_s, "time_ns": 1e9 * time_s}


ADAPTER = Adapter(
    family="pim",
    predict=_predict,
    fidelity="command",
    mapping="as the design lays its operands out",
    quirks=(
        "HBM-PIM: refresh phase at the start not recorded, the mean is taken",
        "AttAcc: a run starts right after a refresh; softmax takes the time of one transfer",
        "AiM: no refresh where the record says that none is visible",
    ),
    misses="software of the host, softmax of HBM-PIM and AiM, reordering beyond the lookahead of the queue",
)
