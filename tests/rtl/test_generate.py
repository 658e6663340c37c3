from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rtl.generate import files_of, generate, params_from, write
from rtl.params import SystolicParams
from rtl.systolic import generate_systolic
from workloads.errors import ChipsmithError


@dataclass(frozen=True)
class FakeChip:
    engines: Mapping[str, Any] = field(default_factory=dict)


def systolic(**changes: Any) -> SimpleNamespace:
    values = {
        "type": "systolic",
        "rows": 8,
        "cols": 4,
        "dataflows": ("ws", "os"),
        "act_dtype": "int8",
        "weight_dtype": "int4",
        "accum_dtype": "int32",
        "accum_bytes": 4 * 4 * 64,
        "preload": "overlapped",
        "mac_pipe": 0,
    }
    return SimpleNamespace(**(values | changes))


def test_a_systolic_engine_becomes_its_design() -> None:
    chip = FakeChip({"pim": SimpleNamespace(type="pim"), "npu": systolic()})
    assert generate(chip).params == SystolicParams(8, 4, w_bits=4, double_buffer=True, max_beats=64)
    assert generate(chip, "npu").notes == ()


def test_overrides_replace_what_the_chip_says() -> None:
    design = generate(FakeChip({"npu": systolic()}), "npu", rows=4, dataflow="os", acc_bits=24)
    assert design.params == SystolicParams(4, 4, "os", w_bits=4, acc_bits=24)


def test_serial_preload_has_one_weight_set() -> None:
    assert generate(FakeChip({"npu": systolic(preload="serial", accum_bytes=0)})).params.double_buffer is False


def test_floats_become_int8_and_say_so() -> None:
    spec = systolic(act_dtype="bf16", weight_dtype="fp16", accum_dtype="fp32", mac_pipe=3, dataflows=("is",))
    design = generate(FakeChip({"npu": spec}))
    assert (design.params.a_bits, design.params.w_bits, design.params.acc_bits, design.params.mac_pipe) == (8, 8, 32, 1)
    assert design.notes == (
        "engines.npu.dataflows starts with 'is': drive the weight-stationary array with operands exchanged",
        "engines.npu.accum_dtype is fp32: sums are int32",
        "engines.npu.mac_pipe is 3: the generated MAC has one pipeline register",
        "engines.npu.act_dtype is bf16: this is the int8 variant of the engine, same array and timing",
        "engines.npu.weight_dtype is fp16: this is the int8 variant of the engine, same array and timing",
    )
    assert all("// Note: engines.npu.accum_dtype is fp32" in text for text in design.sources.values())


def test_one_bit_weights_are_held_in_two() -> None:
    design = generate(FakeChip({"npu": systolic(weight_dtype="int1")}))
    assert design.params.w_bits == 2
    assert design.notes == ("engines.npu.weight_dtype is int1: held as 2-bit two's complement",)


@pytest.mark.parametrize(
    ("engines", "engine", "message"),
    [
        ({"npu": systolic()}, "npv", "engine: got 'npv'; did you mean 'npu'? known: npu"),
        (
            {"pim": SimpleNamespace(type="pim")},
            "pim",
            "engines.pim.type: got 'pim'; RTL is generated for 'systolic' engines",
        ),
        (
            {"pim": SimpleNamespace(type="pim")},
            None,
            "engines: got ['pim']; RTL is generated for 'systolic' engines; there is none",
        ),
        (
            {"npu": systolic(act_dtype="int32")},
            None,
            "engines.npu.act_dtype: got 'int32'; operands of at most 16 bits",
        ),
        ({"npu": systolic(rows=4096)}, None, "systolic.rows: got 4096; an integer from 2 to 256"),
    ],
)
def test_what_cannot_be_generated_is_refused(engines: dict[str, Any], engine: str | None, message: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        generate(FakeChip(engines), engine)
    assert str(caught.value) == message


def test_parameters_need_a_shape_and_known_names() -> None:
    with pytest.raises(ChipsmithError, match=r"^systolic\.cols; it must be given$"):
        params_from({"rows": 4})
    with pytest.raises(ChipsmithError, match=r"^systolic: got 'row'; did you mean 'rows'\?"):
        params_from({"row": 4})


def test_presets_generate() -> None:
    from models.chip import load_chip

    design = generate(load_chip("gemmini_16x16"))
    assert (design.params.rows, design.params.cols) == (16, 16)


def test_write_leaves_exactly_the_files(tmp_path: Path) -> None:
    design = generate_systolic(SystolicParams(2, 2))
    folder = write(design, tmp_path / "new" / "place")
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == files_of(design)
    assert found["files.f"].splitlines() == [f"rtl/{name}" for name in design.sources]


def test_write_refuses_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(ChipsmithError, match=r"^output folder: got '.*taken'; a folder, or a name that is free$"):
        write(generate_systolic(SystolicParams(2, 2)), tmp_path / "taken")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    design = generate_systolic(SystolicParams(2, 2))

    def full(path: Path, text: str) -> int:
        if path.name == "files.f":
            raise OSError("no space left")
        return len(text)

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="no space left"):
        write(design, tmp_path)
    assert list(tmp_path.iterdir()) == []
