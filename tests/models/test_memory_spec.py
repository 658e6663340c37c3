"""The DRAM behind a chip's memory: known names, what contradicts a grade, and the text of every refusal."""

from __future__ import annotations

from typing import Any

import pytest

from models.chip import MemorySpec, grade_mismatch, list_chips, load_chip
from workloads.errors import ChipsmithError


def refusal(**changes: Any) -> str:
    with pytest.raises(ChipsmithError) as caught:
        load_chip("tpu_v4").with_fields({f"memories.dram.{name}": value for name, value in changes.items()})
    return str(caught.value)


def memories(name: str) -> dict[str, MemorySpec]:
    return load_chip(name).memories


def test_presets_with_a_grade() -> None:
    grades = {f"{name}.{memory}": spec.grade for name in list_chips() for memory, spec in memories(name).items()}
    assert {name: grade for name, grade in grades.items() if grade} == {
        "aim.dram": "GDDR6-14000",
        "attacc_bank.hbm": "HBM3-5200",
        "attacc_bank.attacc": "HBM3-5200",
        "attacc_bankgroup.hbm": "HBM3-5200",
        "attacc_bankgroup.attacc": "HBM3-5200",
        "attacc_buffer.hbm": "HBM3-5200",
        "attacc_buffer.attacc": "HBM3-5200",
        "attacc_gpu.hbm": "HBM3-5200",
        "duplex.hbm": "HBM3-5200",
        "duplex_bank_pim.hbm": "HBM3-5200",
        "duplex_bankgroup_pim.hbm": "HBM3-5200",
        "h100_roofline.hbm": "HBM3-5200",
        "hbm_pim.dram": "HBM2-2000",
        "neupims.dram": "HBM2-2000",
        "neupims_artifact.dram": "HBM2-2000",
        "neupims_npu.dram": "HBM2-2000",
        "neupims_single_buffer.dram": "HBM2-2000",
        "npu_only.dram": "HBM2-2000",
        "tpu_v4.dram": "HBM2-2400",
        "tpu_v4i.dram": "HBM2-2400",
    }


@pytest.mark.parametrize("name", list_chips())
def test_no_preset_contradicts_its_grade(name: str) -> None:
    """So that each of them runs at ``command``."""
    graded = [spec for spec in memories(name).values() if spec.grade]
    found = [grade_mismatch(s.grade, s.standard, s.channels, s.bandwidth_bytes_per_s) for s in graded]
    assert found == [""] * len(graded)


def test_a_search_may_leave_the_grades_bandwidth() -> None:
    chip = load_chip("tpu_v4").with_fields({"memories.dram.bandwidth_bytes_per_s": 3e11, "memories.dram.channels": 3})
    assert (chip.memories["dram"].channels, chip.memories["dram"].grade) == (3, "HBM2-2400")


@pytest.mark.parametrize(
    ("grade", "text"),
    [
        ("HBM2-2401", "did you mean 'HBM2-2400'? known: HBM2-1600, HBM2-2000, HBM2-2400"),
        ("HBM2", "did you mean 'HBM2-2400'? known: HBM2-1600, HBM2-2000, HBM2-2400"),
        ("hbm2-2400", "did you mean 'HBM2-2400'? known: HBM2-1600, HBM2-2000, HBM2-2400"),
        (
            "SDRAM-133",
            "known: DDR4, DDR5, GDDR6, HBM2, HBM2E, HBM3, HBM4, LPDDR4, LPDDR5",
        ),
    ],
)
def test_unknown_grades_are_refused_with_the_nearest(grade: str, text: str) -> None:
    assert refusal(grade=grade) == f"chip.memories.dram.grade: got {grade!r}; {text}"


@pytest.mark.parametrize(
    ("standard", "channels", "bandwidth", "text"),
    [
        ("HBM2", 16, 614.4e9, ""),
        ("HBM2", 16, 614.6e9 * 1.029, ""),
        ("HBM3", 16, 614.4e9, "grade HBM2-2400 is of standard HBM2, not HBM3"),
        (
            "HBM2",
            8,
            614.4e9,
            "channels = 8 of grade HBM2-2400 move 307.3 GB/s, bandwidth_bytes_per_s says 614.4 GB/s "
            "(at most 3 % apart)",
        ),
    ],
)
def test_what_contradicts_a_grade(standard: str, channels: int, bandwidth: float, text: str) -> None:
    assert grade_mismatch("HBM2-2400", standard, channels, bandwidth) == text


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("controller", "fcfs", "did you mean 'fr_fcfs'? known: dramsim3, fr_fcfs, ramulator2"),
        (
            "address_mapping",
            "rows",
            "known: bank_interleaved, group_interleaved, row_by_row, row_per_burst",
        ),
        ("kv_layout", "paged", "known: paged_interleaved, row_sized"),
        ("transfer_bytes", 0, "must be at least 1"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(field: str, value: object, text: str) -> None:
    assert refusal(**{field: value}) == f"chip.memories.dram.{field}: got {value!r}; {text}"
