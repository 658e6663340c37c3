"""Family ``pim-system``, the figures that NeuPIMs' paper prints: throughput ratios, utilisation, energy, constants.

They are computed on the honest presets over the paper's models and batches. The paper gives mean lengths only, so the
lengths are drawn (workloads/chat_lengths.py): these are checks of trends, not of cycles.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from statistics import mean
from typing import Any

from chipsmith.adapters.base import Adapter, Fields, NotModelledError, Prediction, Value
from models.chip import Chip, load_chip
from models.engines.pim import built, design_of
from sim.result import Result
from sim.simulate import simulate
from workloads.chat_lengths import MEAN_TOKENS, contexts
from workloads.decoder_layers import GPT3, decode_layers
from workloads.errors import ChipsmithError

NEUPIMS, NPU_PIM, NPU_ONLY = "neupims", "neupims_single_buffer", "npu_only"
#: Beginnings of the names that records give to systems.
_SYSTEMS = {"NeuPIMs": NEUPIMS, "NPU+PIM": NPU_PIM, "NPU-only": NPU_ONLY, "NPU only": NPU_ONLY}
_BATCHES = (64, 128, 256, 384, 512)
_TERA = 1e12


@lru_cache(maxsize=1024)
def _run(system: str, model: str, dataset: str, batch: int) -> Result | None:
    """A decode step of one rank; None where the caches do not fit."""
    trace = decode_layers(f"GPT3-{model}", GPT3[model], contexts(dataset, batch))
    try:
        return simulate(trace, system)
    except ChipsmithError as error:
        if "are missing" in str(error):
            return None
        raise


def _pairs(system: str, baseline: str, workload: Fields) -> list[tuple[Result, Result]]:
    """Runs of two systems over the paper's grid, or the part of it that the record names."""
    models = [str(workload.get("model")).removeprefix("GPT3-")] if workload.get("model") else list(GPT3)
    text = str(workload.get("dataset")).lower()
    datasets = [name for name in MEAN_TOKENS if name in text] or list(MEAN_TOKENS)
    given = workload.get("batch")
    batches = (given,) if isinstance(given, int) else given or _BATCHES
    if any(model not in GPT3 for model in models):
        raise NotModelledError(f"no model {models[0]!r} (known: {', '.join(GPT3)})")
    points = [(m, d, int(b)) for m in models for d in datasets for b in batches]
    found = [(_run(system, *point), _run(baseline, *point)) for point in points]
    return [(one, other) for one, other in found if one is not None and other is not None]


def _named(workload: Fields, key: str, default: str) -> str:
    name = str(workload.get(key) or default)
    found = next((preset for start, preset in _SYSTEMS.items() if start in name), None)
    if found is None:
        raise NotModelledError(f"{name} is not modelled")
    return found


def throughput_ratios(workload: Fields) -> list[float]:
    """Throughput of a record's system over that of its baseline at every point of the grid."""
    system, baseline = _named(workload, "system", "NeuPIMs"), _named(workload, "baseline", "NPU+PIM")
    return [other.latency_s / one.latency_s for one, other in _pairs(system, baseline, workload)]


def _utilisation(workload: Fields) -> dict[str, Value]:
    """Share of peak multiplications on the NPU, share of time in which the PIM works, in %."""
    ((after, before),) = _pairs(NEUPIMS, NPU_ONLY, workload)
    busy = sum(op.duration_s * op.count for op in after.ops if op.engine == "pim")
    return {
        "npu_utilisation_before_after": (_useful_pct(before), _useful_pct(after)),
        "pim_utilisation_after": 100 * busy / after.latency_s,
    }


def _useful_pct(result: Result) -> float:
    macs = sum(op.macs * op.count for op in result.ops if op.engine == "npu")
    return 100 * macs / (_npu_macs_per_s(result.chip) * result.latency_s)


def _npu_macs_per_s(chip: Chip) -> float:
    spec: Any = chip.engines["npu"]
    return float(spec.cores * spec.arrays * spec.rows * spec.cols * spec.clock_hz)


def _ratios(workload: Fields) -> dict[str, Value]:
    found = throughput_ratios(workload)
    return {
        "throughput_ratio": mean(found),
        "throughput_ratio_range": (min(found), max(found)),
        "throughput_gain": 100 * (mean(found) - 1),
    }


def _power(workload: Fields) -> dict[str, Value]:
    runs = _pairs(NEUPIMS, NPU_ONLY, workload)
    power = mean(one.power_w / other.power_w for one, other in runs)
    speed = mean(other.latency_s / one.latency_s for one, other in runs)
    saved = 100 * (1 - mean(one.energy_j / other.energy_j for one, other in runs))
    return {"power_ratio_and_speedup_and_energy_saving": (power, speed, saved)}


def _constants() -> Mapping[str, Value]:
    chip = load_chip(NEUPIMS)
    pim: Any = chip.engines["pim"]
    device = built(design_of(pim))
    org, unit = device.organisation, device.unit
    lanes = org.channels * org.banks * unit.lanes // unit.banks
    lengths = {name.lower(): tokens for name, tokens in MEAN_TOKENS.items()}
    return {
        "mean_input_output_tokens.ShareGPT": tuple(map(float, lengths["sharegpt"])),
        "mean_input_output_tokens.Alpaca": tuple(map(float, lengths["alpaca"])),
        "npu_peak": 2 * _npu_macs_per_s(chip) / _TERA,
        "pim_peak_one_mac_per_ns": 2 * lanes * pim.clock_hz / _TERA,
    }


def _predict(hardware: Fields, workload: Fields) -> Prediction:
    if workload.get("scope") == "constant":
        return Prediction(_constants())
    baseline = str(workload.get("baseline") or "")
    if "speed-up" in baseline:
        return Prediction(_power(workload))
    if workload.get("model") and workload.get("batch") is not None and not baseline:
        return Prediction(_utilisation(workload))
    return Prediction(_ratios(workload))


ADAPTER = Adapter(
    family="pim-system",
    predict=_predict,
    sources=("NeuPIMs, ASPLOS",),
    quirks=("none: honest presets; sub-batches from 256 requests on, as the published rule says",),
    misses=(
        "lengths beyond their means, the baseline's single queue of PIM instructions, NPU-only attention that drains "
        "the array at each preload; the NPU's utilisation by multiplications, the PIM's by time"
    ),
)
