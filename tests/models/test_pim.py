"""PIM devices: exact figures, consistency checks, energies."""

from __future__ import annotations

from typing import Any

import pytest

from models.pim import LEVELS, PLACES, PimDevice, load_device, parse_device, pim_devices
from workloads.errors import ChipsmithError

NAMES = ("aim", "attacc_bank", "attacc_bank_group", "attacc_buffer_die", "duplex", "hbm_pim", "neupims", "newton")


def message(build: Any) -> str:
    with pytest.raises(ChipsmithError) as caught:
        build()
    return str(caught.value)


def test_shipped_devices() -> None:
    assert tuple(pim_devices()) == NAMES


@pytest.mark.parametrize(
    ("name", "banks", "gib", "external_gbps", "internal_gbps"),
    [
        ("hbm_pim", 16, 16, 1024, 4096),
        ("aim", 16, 16, 1024, 16384),
        ("newton", 32, 32, 1024, 16384),
        ("neupims", 32, 32, 1024, 16384),
        ("attacc_bank", 64, 16, 665.8, 7101.9),
        ("attacc_bank_group", 64, 16, 665.8, 1775.5),
        ("attacc_buffer_die", 64, 16, 665.8, 665.8),
        ("duplex", 64, 16, 665.8, 2663.2),
    ],
)
def test_organisation_and_peaks(name: str, banks: int, gib: int, external_gbps: float, internal_gbps: float) -> None:
    device = load_device(name)
    assert device.organisation.banks == banks
    assert device.organisation.capacity_bytes == gib * 2**30
    to_gbps = device.cycles_per_s / 1e9
    assert round(device.external_bytes_per_ck * to_gbps, 1) == external_gbps
    assert round(device.internal_bytes_per_ck * to_gbps, 1) == internal_gbps


@pytest.mark.parametrize("name", NAMES)
def test_every_device_has_sources_and_prices(name: str) -> None:
    device = load_device(name)
    assert len(device.source) > 40
    assert device.commands[device.mac].macs
    for prices in device.energies.values():
        assert len(prices.source) > 40
        assert tuple(prices.pj_per_bit) == PLACES[1:]
        assert prices.bit_pj("array", "external") == prices.bit_pj("external", "array") > 0


def test_a_device_survives_plain_data() -> None:
    for name in NAMES:
        device = load_device(name)
        assert parse_device(device.model_dump(mode="json")) == device


def test_neupims_differs_from_newton_in_the_second_row_buffer_alone() -> None:
    newton, neupims = load_device("newton"), load_device("neupims")
    assert (newton.organisation.row_buffers, neupims.organisation.row_buffers) == (1, 2)
    differing = {key for key, clocks in newton.timing_ck.items() if neupims.timing_ck[key] != clocks}
    assert differing == {"tRC_PIM", "tRP_PIM", "tCCD_PIM"}
    assert {name for name, command in neupims.commands.items() if command.buffer == 1} == {"GACT", "PPRE", "COMPS"}
    assert neupims.rules == newton.rules


def test_energy_sets_of_attacc_and_duplex_differ_by_up_to_1_8() -> None:
    """Read and activation of a whole row, pJ a bit: notes on both simulators."""
    device = load_device("attacc_bank")
    row_bits = 8 * device.organisation.row_bytes
    sets = {
        name: {place: prices.pj_per_bit[place] + prices.act_pj / row_bits for place in PLACES[1:]}
        for name, prices in device.energies.items()
    }
    assert {place: round(pj, 2) for place, pj in sets["attacc"].items()} == {
        "bank": 0.55, "bank_group": 1.56, "buffer_die": 3.29, "external": 3.59,
    }  # fmt: skip
    ratios = [max(a, b) / min(a, b) for a, b in zip(sets["attacc"].values(), sets["duplex"].values(), strict=True)]
    assert 1.7 < max(ratios) < 1.85


def test_delays_are_sums_of_timing_names() -> None:
    device = load_device("hbm_pim")
    assert device.clocks("tCWL + tBURST + tWR") == 8 + 2 + 16
    assert device.clocks("tCL + tBURST + 2 - tCWL") == 20 + 2 + 2 - 8
    assert message(lambda: device.clocks("tCL + tBRUST")) == (
        "pim.hbm_pim.timing_ck: got 'tBRUST'; did you mean 'tBURST'? known: tBURST, tCCD_L, tCCD_S, tCL, tCWL, tFAW, "
        "tRAS, tRC, tRCDRD, tRCDWR, tREFI, tRFC, tRP, tRRD_L, tRRD_S, tRTP_L, tRTP_S, tWR, tWTR_L, tWTR_S"
    )
    assert message(lambda: device.clocks("tCCD_S - tRC")) == ("pim.hbm_pim: tCCD_S - tRC: got -45; at least 0 clocks")
    assert (
        message(lambda: device.clocks("2 * tCL"))
        == "pim.hbm_pim: got '2 * tCL'; a sum of timing names and whole numbers is required"
    )


def test_another_timing_leaves_the_shipped_device_alone() -> None:
    faster = load_device("attacc_bank").with_timing(tCCDAB=4)
    assert faster.timing_ck["tCCDAB"] == 4
    assert load_device("attacc_bank").timing_ck["tCCDAB"] == 6


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: load_device("hbmpim"), "pim device: got 'hbmpim'; did you mean 'hbm_pim'? known: " + ", ".join(NAMES)),
        (lambda: load_device("aim").energy_set("duplex"), "pim.aim.energies: got 'duplex'; known: oconnor_gddr6"),
        (lambda: load_device("aim").check_format("fp16"), "dtype: got 'fp16'; aim multiplies bf16"),
        (
            lambda: load_device("aim").with_timing(tRAS=90),
            "pim.aim: timing_ck.tRAS 90 must not exceed tRC 89",
        ),
        (
            lambda: load_device("aim").with_timing(tRCD=14),
            "pim.aim.timing_ck: got 'tRCD'; did you mean 'tRC'? known: tBURST, tCCD_L, tCCD_S, tCL, tCWL, tFAW, "
            "tMODE_CHANGE, tRAS, tRC, tRCDRD, tRCDRD_AF, tRCDRD_COPY, tRCDRD_MAC, tRCDWR, tREFI, tRFC, tRP, tRRD_L, "
            "tRRD_S, tRTP_L, tWR, tWTR_L, tWTR_S",
        ),
        (lambda: load_device("aim").with_timing(tRP=-1), "pim.aim: timing_ck.tRP must be at least 0, not -1"),
    ],
)
def test_bad_names_and_timings(build: Any, text: str) -> None:
    assert message(build) == text


def changed(**fields: Any) -> PimDevice:
    return load_device("hbm_pim").with_fields(fields)


def test_inconsistent_files_name_the_field() -> None:
    base = load_device("hbm_pim").model_dump()
    organisation, commands = base["organisation"], base["commands"]
    timing = {key: value for key, value in base["timing_ck"].items() if key != "tRFC"}
    rule = {"before": ["MACS"], "after": ["MAC"], "level": "bank", "delay_ck": "1"}
    cases: dict[str, dict[str, Any]] = {
        "pim.hbm_pim: row_bytes 1000 must be a multiple of burst_bytes 32": {
            "organisation": {**organisation, "row_bytes": 1000}
        },
        "pim.hbm_pim: 16 banks of a channel must divide into units of 3": {"unit": {**base["unit"], "banks": 3}},
        "pim.hbm_pim: timing_ck.tRFC is required": {"timing_ck": timing},
        "pim.hbm_pim.mac: this field is required": {},
        "pim.hbm_pim: rules.0 names 'MACS'; did you mean 'MAC'? known: ACT, FILL, MAC, PRE, PREA, RD, REF, REGWR, "
        "STORE, WR": {"rules": [rule]},
        "pim.hbm_pim: commands.MAC: column commands, and no others, say opened_by and closed_by": {
            "commands": {**commands, "MAC": {**commands["MAC"], "opened_by": ""}}
        },
        "pim.hbm_pim.commands.MAC.reach: got 'outside'; known: array, bank, bank_group, buffer_die, external": {
            "commands": {**commands, "MAC": {**commands["MAC"], "reach": "outside"}}
        },
        "pim.hbm_pim.unit.dtypes: got ('fp17',); did you mean 'fp16'? known: bf16, fp16, fp32, fp8, int1, int16, int2, "
        "int3, int32, int4, int5, int6, int7, int8, ternary": {"unit": {**base["unit"], "dtypes": ("fp17",)}},
        "pim.hbm_pim.rows: unknown field; known: commands, description, energies, "
        "mac, mac_banks, mac_interval_ck, name, notes, options, organisation, program, refresh, rules, source, "
        "standard, tck_ns, timing_ck, unit": {"rows": 5},
        "pim.hbm_pim: mac_interval_ck 0 must be at least 1 clock": {"mac_interval_ck": "0"},
    }  # fmt: skip
    for text, fields in cases.items():
        data = {**base, **fields}
        if not fields:
            del data["mac"]
        assert message(lambda data=data: parse_device(data)) == text


def test_energies_name_every_place() -> None:
    prices = {**load_device("hbm_pim").model_dump()["energies"]["oconnor_idd"], "pj_per_bit": {"bank": 1.0}}
    assert message(lambda: changed(energies={"mine": prices})) == (
        "pim.hbm_pim.energies.mine.pj_per_bit: must list bank, bank_group, buffer_die, external in this order"
    )


def test_rules_stay_within_known_levels() -> None:
    for name in NAMES:
        assert {rule.level for rule in load_device(name).rules} <= set(LEVELS)
