"""Operators on PIM devices: exact figures and texts, and what holds for all sizes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.pim import load_device, pim_devices
from sim.pim.operators import (
    Settings,
    decode_attention,
    elementwise,
    gemv,
    instruction_stream,
    placed_attention,
    plain_elementwise,
    plain_gemv,
)
from sim.pim.picture import draw_gemv, gemv_curves
from sim.pim.result import BACKGROUND
from workloads.errors import ChipsmithError

DEVICES = pim_devices()


@pytest.mark.parametrize(
    ("device", "cycles", "macs"),
    [
        ("hbm_pim", 13286, 64 * 32 * 64),
        ("aim", 10564, 32 * 8 * 256),
        ("neupims", 7834, 32 * 8 * 4),
        ("attacc_bank", 9008, 16 * 1024),
        ("attacc_bank_group", 27618, 16 * 4096),
        ("duplex", 18942, 16 * 4096),
    ],
)
def test_a_product_of_4096_by_4096(device: str, cycles: int, macs: int) -> None:
    result = gemv(device, 4096, 4096)
    assert (result.cycles, result.commands[load_device(device).mac]) == (cycles, macs)
    assert result.time_s == pytest.approx(cycles * load_device(device).tck_ns * 1e-9)
    assert (result.operand_bytes, result.macs) == (2 * 4096**2, 4096**2)
    assert result.internal_bytes == 2 * 4096**2  # nothing is padded
    assert result.utilisation == pytest.approx(result.operand_bytes / result.time_s / result.peak_bytes_per_s)


def test_energy_of_a_product_by_hand() -> None:
    """AttAcc: 0.44 pJ a bit and 0.32 pJ a MAC for each weight, 901.12 pJ a row of each bank."""
    result = gemv("attacc_bank", 4096, 4096)
    rows = result.commands["ACTAB"] * 64
    assert result.energy_pj["ACTAB"] == pytest.approx(rows * 901.12)
    assert result.energy_pj["MACAB"] == pytest.approx(4096**2 * (16 * 0.44 + 0.32))
    assert result.energy_pj[BACKGROUND] == 0
    assert result.energies == "attacc"
    other = gemv("attacc_bank", 4096, 4096, settings=Settings("duplex"))
    assert other.energy_pj["MACAB"] == pytest.approx(4096**2 * (16 * 0.73 + 0.23))
    assert other.cycles == result.cycles


def test_standby_is_charged_by_time() -> None:
    result = gemv("hbm_pim", 1024, 1024)
    assert result.energy_pj[BACKGROUND] == pytest.approx(64 * 0.0325 * result.time_s * 1e12)


def test_plain_reads_take_the_bus() -> None:
    result = plain_gemv("hbm_pim", 4096, 4096)
    assert result.external_bytes == 2 * 4096**2 + 2 * 4096 + 2 * 4096
    assert 0.85 < result.utilisation < 1
    assert result.peak_bytes_per_s == 1024e9


def test_one_request_of_neupims_keeps_one_channel_busy() -> None:
    one, full, more = (decode_attention("neupims", 8, 512, 128, requests) for requests in (1, 32, 33))
    assert one.cycles == full.cycles
    assert more.cycles > 1.9 * full.cycles
    assert full.commands["COMPS"] == 32 * one.commands["COMPS"]


def test_placed_requests_wait_for_the_fullest_channel_of_each_phase() -> None:
    even = placed_attention("neupims", [[512], [512]], 8, 128)
    whole = decode_attention("neupims", 8, 512, 128, requests=2)
    assert even.commands["COMPS"] == whole.commands["COMPS"]
    assert whole.cycles < even.cycles < whole.cycles + 800  # a refresh of its own and the rows that it reopens
    uneven = placed_attention("neupims", [[512, 512], []], 8, 128)
    assert uneven.commands["COMPS"] == even.commands["COMPS"]
    assert uneven.cycles == pytest.approx(2 * even.cycles, rel=0.05)
    assert uneven.operand_bytes == even.operand_bytes == 2 * 8 * 128 * 2 * 1024


def test_heads_are_dealt_to_channels() -> None:
    whole, more = decode_attention("attacc_bank", 16, 1024, 128), decode_attention("attacc_bank", 17, 1024, 128)
    assert whole.commands["SFM"] == 16
    assert more.commands["SFM"] == 17
    assert more.cycles > 1.9 * whole.cycles


@pytest.mark.parametrize("device", DEVICES)
def test_grouped_queries_cost_what_units_cannot_reuse(device: str) -> None:
    alone, group = (decode_attention(device, 32, 512, 128, requests=2, queries=queries) for queries in (1, 8))
    factor = group.cycles / alone.cycles
    assert factor < 2.5 if device == "duplex" else 6 < factor < 9
    assert group.macs == 8 * alone.macs


def test_the_demand_vector_carries_the_result() -> None:
    result = gemv("aim", 1024, 1024)
    demand = result.demand()
    assert demand["cycles"] == demand["busy"] == result.cycles
    assert demand["fixed"] == 0
    assert demand["memory"] == result.external_bytes > 0
    assert demand["macs"] == 1024**2


def test_instruction_streams_run_on_every_channel() -> None:
    result = instruction_stream("aim", [["WR_GB", 2], ["MAC_ABK", 2, "row=0"]])
    assert result.commands == {"ACTAB": 32, "MACAB": 64, "WRGB": 64, "TMOD": 64}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: gemv("hbm_pim", 64, 64, dtype="bf16"), "dtype: got 'bf16'; hbm_pim multiplies fp16"),
        (lambda: gemv("aim", 64, 64, dtype="int8"), "dtype: got 'int8'; aim multiplies bf16"),
        (lambda: gemv("aim", 0, 64), "out_features: got 0; a whole number above 0 is required"),
        (lambda: gemv("aim", 64, 64, 0), "batch: got 0; a whole number above 0 is required"),
        (
            lambda: gemv("hbm_pim", 2**17, 2**17),
            "pim.hbm_pim; weights of 131072 x 131072 need 34359738368 bytes, there are 17179869184: "
            "17179869184 bytes are missing",
        ),
        (
            lambda: plain_gemv("aim", 2**17, 2**17),
            "pim.aim; weights of 131072 x 131072 need 34359738368 bytes, there are 17179869184: "
            "17179869184 bytes are missing",
        ),
        (
            lambda: decode_attention("attacc_bank", 96, 2**18, 128, requests=2),
            "pim.attacc_bank; keys and values of 12 heads on one channel need 1610612736 bytes, there are 1073741824: "
            "536870912 bytes are missing",
        ),
        (
            lambda: decode_attention("neupims", 32, 2**17, 128),
            "pim.neupims; keys and values of 1 requests on one channel need 2147483648 bytes, there are 1073741824: "
            "1073741824 bytes are missing",
        ),
        (lambda: decode_attention("aim", 8, 512, 128, dtype="fp16"), "dtype: got 'fp16'; aim multiplies bf16"),
        (lambda: decode_attention("aim", 8, 0, 128), "context: got 0; a whole number above 0 is required"),
        (
            lambda: placed_attention("aim", [[512]], 8, 128),
            "pim device: got 'aim'; requests are placed on channels of newton and neupims",
        ),
        (
            lambda: placed_attention("neupims", [[512]] * 33, 8, 128),
            "placed: got 33; requests on 1 to 32 channels are required",
        ),
        (
            lambda: placed_attention("neupims", [[2**17]], 32, 128),
            "pim.neupims; keys and values of 131072 tokens on one channel need 2147483648 bytes, there are 1073741824: "
            "1073741824 bytes are missing",
        ),
        (lambda: elementwise("aim", "add", 64), "pim device: got 'aim'; element-wise operations run on hbm_pim"),
        (lambda: elementwise("hbm_pim", "sub", 64), "kernel: got 'sub'; known: add, mul, relu"),
        (
            lambda: plain_elementwise("hbm_pim", "add", 2**32),
            "pim.hbm_pim; 3 vectors of 4294967296 need 25769803776 bytes, there are 17179869184: "
            "8589934592 bytes are missing",
        ),
        (lambda: instruction_stream("duplex", []), "pim device: got 'duplex'; instruction streams run on aim"),
        (
            lambda: gemv("duplex", 64, 64, settings=Settings("oconnor")),
            "pim.duplex.energies: got 'oconnor'; known: attacc, duplex",
        ),
    ],
)
def test_refusals(call: Any, text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        call()
    assert str(caught.value) == text


sizes = st.integers(1, 900)


@given(st.sampled_from(DEVICES), sizes, sizes, st.integers(1, 10))
def test_no_product_beats_its_banks(device: str, out_features: int, in_features: int, batch: int) -> None:
    result = gemv(device, out_features, in_features, batch)
    assert result.utilisation <= 1
    assert result.internal_bytes >= result.operand_bytes
    assert result.internal_bytes / result.time_s <= result.peak_bytes_per_s


@given(st.sampled_from(DEVICES), st.integers(1, 40), st.integers(1, 700), st.sampled_from([64, 80, 128]))
def test_no_attention_beats_its_banks(device: str, heads: int, context: int, head_dim: int) -> None:
    result = decode_attention(device, heads, context, head_dim)
    assert result.utilisation <= 1
    assert result.internal_bytes >= result.operand_bytes


@given(st.sampled_from(DEVICES), sizes, sizes, st.integers(1, 4))
def test_energy_adds_up_by_command(device: str, out_features: int, in_features: int, batch: int) -> None:
    result = gemv(device, out_features, in_features, batch)
    assert set(result.energy_pj) == {*result.commands, BACKGROUND}
    assert result.total_energy_pj == pytest.approx(sum(result.energy_pj.values()))
    assert min(result.energy_pj.values()) >= 0
    floor = result.operand_bytes * 8 * load_device(device).energy_set().pj_per_bit["bank"]
    assert result.total_energy_pj > floor


#: Timing parameters that may grow alone without breaking what data sheets keep.
SLOWER = ("tRP", "tRCDRD", "tWR", "tCL", "tRTP_L", "tWTR_L", "tFAW", "tRFC")


@given(st.sampled_from(DEVICES), st.sampled_from(SLOWER), st.integers(1, 40), st.integers(1, 600), st.integers(1, 600))
def test_slower_timing_is_not_faster(device: str, name: str, more: int, out_features: int, in_features: int) -> None:
    base = load_device(device)
    assume(name in base.timing_ck)
    slower = base.with_timing(**{name: base.timing_ck[name] + more})
    assert gemv(base, out_features, in_features).cycles <= 1.03 * gemv(slower, out_features, in_features).cycles


@given(st.sampled_from(DEVICES), st.integers(1, 400), st.integers(1, 400))
def test_larger_is_not_faster(device: str, out_features: int, in_features: int) -> None:
    small = gemv(device, out_features, in_features).cycles
    assert gemv(device, 2 * out_features, in_features).cycles >= small
    assert gemv(device, out_features, 2 * in_features).cycles >= small
    assert gemv(device, out_features, in_features, 2).cycles >= small


def test_curves_and_drawing_of_the_picture(tmp_path: Path) -> None:
    (curve,) = gemv_curves(["aim"], [512, 1024], [1, 2])
    draw_gemv(tmp_path / "gemv.png", [curve], [512, 1024], [1, 2])
    assert (tmp_path / "gemv.png").read_bytes().startswith(b"\x89PNG")
    assert curve.time_s == (gemv("aim", 512, 512).time_s, gemv("aim", 1024, 1024).time_s)
    assert curve.plain_s[1] == plain_gemv("aim", 1024, 1024).time_s
    assert curve.speedup[0] == pytest.approx(2 * curve.speedup[1], rel=0.01)
