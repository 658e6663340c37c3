"""The adapter of the figures that NeuPIMs' paper prints: what each record asks for, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pytest import approx

from chipsmith.adapters.base import NotModelledError, Prediction, find_adapter, predict
from sim.simulate import simulate
from workloads.chat_lengths import contexts
from workloads.decoder_layers import GPT3, decode_layers

POINT = {"model": "GPT3-7B", "dataset": "ShareGPT", "batch": 64}


def predicted(**workload: Any) -> Prediction:
    record = {"hardware": {"system": "NeuPIMs"}, "workload": workload}
    return predict(find_adapter("pim-system", "NeuPIMs, ASPLOS 2024"), record, "f.jsonl:1")


def test_constants_are_those_of_the_preset() -> None:
    assert predicted(scope="constant").metrics == {
        "mean_input_output_tokens.ShareGPT": (80.0, 296.0),
        "mean_input_output_tokens.Alpaca": (12.0, 56.0),
        "npu_peak": approx(262.144),
        "pim_peak_one_mac_per_ns": approx(32.768),
    }


def test_a_ratio_is_that_of_two_presets_on_one_step() -> None:
    step = decode_layers("GPT3-7B", GPT3["7B"], contexts("sharegpt", 64))
    latency = {name: simulate(step, name).latency_s for name in ("neupims", "neupims_single_buffer", "npu_only")}
    over_pim = predicted(**POINT, baseline="NPU+PIM, single row buffer").metrics
    assert over_pim["throughput_ratio"] == approx(latency["neupims_single_buffer"] / latency["neupims"])
    of_pim = predicted(**POINT, system="NPU+PIM", baseline="NPU-only").metrics
    assert of_pim["throughput_ratio"] == approx(latency["npu_only"] / latency["neupims_single_buffer"])
    least, most = of_pim["throughput_ratio_range"]  # type: ignore[misc]  # two numbers
    assert least == most == approx(of_pim["throughput_ratio"])


def test_utilisation_and_energy() -> None:
    used = predicted(**POINT).metrics
    before, after = used["npu_utilisation_before_after"]  # type: ignore[misc]  # two numbers
    assert 0 < before < after < 100
    assert 0 < used["pim_utilisation_after"] < 100  # type: ignore[operator]  # one number
    power, speed, saved = predicted(**POINT, baseline="printed beside the speed-up, NPU-only").metrics[
        "power_ratio_and_speedup_and_energy_saving"
    ]  # type: ignore[misc]  # three numbers
    assert 100 * (1 - power / speed) == approx(saved)


@pytest.mark.parametrize(
    ("workload", "reason"),
    [
        ({"system": "TransPIM", "baseline": "NeuPIMs"}, "TransPIM is not modelled"),
        ({"baseline": "GPU-only"}, "GPU-only is not modelled"),
        ({"model": "GPT3-1T", "baseline": "NPU-only"}, r"no model '1T' \(known: 7B, 13B, 30B, 175B\)"),
    ],
)
def test_what_is_not_modelled_is_said(workload: dict[str, Any], reason: str) -> None:
    with pytest.raises(NotModelledError, match=reason):
        predicted(**workload)
