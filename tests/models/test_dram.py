"""DRAM standards, controllers and mappings as data."""

from __future__ import annotations

import pytest

from models.dram.library import list_grades, list_standards, load_dram
from models.dram.mapping import COORDINATES, list_kv_layouts, list_mappings, load_kv_layout, load_mapping
from models.dram.policy import list_policies, load_policy
from models.dram.spec import parse_dram
from workloads.errors import ChipsmithError

GRADES = list_grades()


def changed(grade: str, part: str, **fields: object) -> dict[str, object]:
    """A grade's plain data with fields of one part changed."""
    data = load_dram(grade).model_dump()
    return {**data, part: {**data[part], **fields}}


def test_the_standards_and_several_grades_of_each() -> None:
    assert list_standards() == ["DDR4", "DDR5", "GDDR6", "HBM2", "HBM2E", "HBM3", "HBM4", "LPDDR4", "LPDDR5"]
    for standard in list_standards():
        grades = list_grades(standard)
        assert len(grades) >= 2
        assert all(load_dram(grade).standard == standard for grade in grades)
        assert load_dram(standard.lower()).name == grades[0]


@pytest.mark.parametrize("grade", GRADES)
def test_a_grade_survives_its_plain_form_and_names_its_source(grade: str) -> None:
    spec = load_dram(grade)
    assert parse_dram(spec.model_dump()) == spec
    assert spec.source
    price = spec.command_energy()
    assert price is None or price.source


@pytest.mark.parametrize(
    ("grade", "gb_per_s", "mib", "row_bytes"),
    [
        ("DDR4-3200", 25.6, 8192, 8192),
        ("DDR5-4800", 64 / 3.328, 8192, 4096),
        ("LPDDR5-6400", 12.8, 2048, 2048),
        ("HBM2-2000", 32.0, 1024, 1024),
        ("HBM3-6400", 51.2, 512, 1024),
        ("HBM4-8000", 64.0, 512, 1024),
    ],
)
def test_peak_capacity_and_row(grade: str, gb_per_s: float, mib: int, row_bytes: int) -> None:
    spec = load_dram(grade)
    assert spec.peak_bytes_per_s == pytest.approx(gb_per_s * 1e9)
    assert spec.organisation.capacity_bytes == mib * 2**20
    assert spec.organisation.row_bytes == row_bytes


def test_energy_from_the_currents_of_a_channel() -> None:
    # per 128-bit HBM2 channel (two pseudo-channels): 828 pJ an activation, 1.57 pJ/bit read, 60.8 nJ a refresh
    price = load_dram("HBM2-2000").command_energy()
    assert price is not None
    assert 2 * price.act_pj == pytest.approx(1.2 * (65 * 48 - 55 * 34 - 40 * 14))
    assert 2 * price.act_pj == pytest.approx(828)
    assert price.read_pj / (8 * 32) == pytest.approx(1.57, abs=5e-3)
    assert 2 * price.refresh_pj == pytest.approx(60_840)
    assert 2 * price.open_mw == pytest.approx(66)


def test_a_refresh_of_one_bank_without_its_own_current_costs_its_share() -> None:
    spec = load_dram("HBM2-2000")
    price = spec.command_energy()
    assert price is not None
    assert price.refresh_bank_pj == pytest.approx(price.refresh_pj / 16)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"tRC": 40}, "dram.timing: tRC = 40 breaks tRC >= tRAS + tRP - 1 (rounding) = 47"),
        ({"tRAS": 13}, "dram.timing: tRAS = 13 breaks tRAS >= tRCDRD = 14"),
        ({"tCCD_L": 1}, "dram.timing: tCCD_L = 1 breaks tCCD_L >= tCCD_S = 2"),
        ({"tRRD_L": 3}, "dram.timing: tRRD_L = 3 breaks tRRD_L >= tRRD_S = 4"),
        ({"tWTR_L": 5}, "dram.timing: tWTR_L = 5 breaks tWTR_L >= tWTR_S = 6"),
        ({"tFAW": 3}, "dram.timing: tFAW = 3 breaks tFAW >= tRRD_S = 4"),
        ({"tREFI": 200}, "dram.timing: tREFI = 200 breaks tREFI > tRFC + tRP = 275"),
        ({"tRFCpb": 261}, "dram.timing: tRFC = 260 breaks tRFC >= tRFCpb = 261"),
        ({"tRP": 0}, "dram.timing.tRP: got 0; must be above 0"),
        (
            {"tBURST": 1, "tCCD_S": 1},
            "dram: tBURST = 1 and burst_bytes = 32 give 64 GB/s, 128 pins at 2000 MT/s carry 32 GB/s",
        ),
    ],
)
def test_timings_that_contradict_each_other(fields: dict[str, int], complaint: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        parse_dram(changed("HBM2-2000", "timing", **fields))
    assert str(error.value) == complaint


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        (
            "hbm5",
            "standard: got 'hbm5'; did you mean 'HBM4'? known: DDR4, DDR5, GDDR6, HBM2, HBM2E, HBM3, HBM4, LPDDR4, "
            "LPDDR5",
        ),
        ("HBM3-6500", "grade: got 'HBM3-6500'; did you mean 'HBM3-6400'? known: HBM3-5200, HBM3-6400"),
    ],
)
def test_an_unknown_standard_or_grade(name: str, complaint: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        load_dram(name)
    assert str(error.value) == complaint


def test_unknown_fields_and_no_mapping_at_all() -> None:
    with pytest.raises(ChipsmithError) as error:
        parse_dram(changed("HBM2-2000", "timing", tRPP=3))
    assert str(error.value).startswith("dram.timing.tRPP: unknown field; did you mean 'tRP'? known: t32AW, tAAD")
    with pytest.raises(ChipsmithError) as error:
        parse_dram(changed("HBM2-2000", "currents", IDD9=3))
    assert str(error.value).startswith("dram.currents.IDD9: unknown field; did you mean ")
    with pytest.raises(ChipsmithError) as error:
        parse_dram([])  # type: ignore[arg-type]  # what a wrong file may hold
    assert str(error.value) == "dram: got []; a DRAM channel is a mapping of fields"


def test_policies() -> None:
    assert list_policies() == ["fr_fcfs", "ramulator2", "dramsim3"]
    assert load_policy("dramsim3").row_hit_limit == 4
    with pytest.raises(ChipsmithError) as error:
        load_policy("dramsim")
    assert str(error.value) == "policy: got 'dramsim'; did you mean 'dramsim3'? known: dramsim3, fr_fcfs, ramulator2"
    with pytest.raises(ChipsmithError) as error:
        load_policy("fr_fcfs").changed(drain_start=0.2)
    assert str(error.value) == "policy.fr_fcfs: drain_stop = 0.2 must be below drain_start = 0.2"


def test_mappings_and_layouts() -> None:
    for name in list_mappings():
        mapping = load_mapping(name)
        assert sorted(mapping.digits) == sorted(COORDINATES)
        assert mapping.bases(load_dram("HBM3-6400"))[mapping.digits.index("col")] == 32
    for name in list_kv_layouts():
        assert load_kv_layout(name).mapping in list_mappings()
        assert load_kv_layout(name).source
    with pytest.raises(ChipsmithError) as error:
        load_mapping("row_by_rows")
    assert str(error.value) == (
        "mapping: got 'row_by_rows'; did you mean 'row_by_row'? known: bank_interleaved, group_interleaved, "
        "row_by_row, row_per_burst"
    )
    with pytest.raises(ChipsmithError) as error:
        load_kv_layout("paged")
    assert str(error.value) == "kv_layout: got 'paged'; known: paged_interleaved, row_sized"
