"""Chips: presets, round trips, field paths, tables, and the exact text of every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from models.chip import Chip, ChipTable, MemorySpec, get_field, list_chips, load_chip, parse_chip
from models.datafiles import load_data
from models.registry import builtin_specs
from workloads.errors import ChipsmithError

STREAM_CONSTANTS = ("streaming_efficiency", "stream_interference")
FORMATS = "bf16, fp16, fp32, fp8, int1, int16, int2, int3, int32, int4, int5, int6, int7, int8, ternary"


@pytest.fixture(scope="module")
def tpu() -> Chip:
    return load_chip("tpu_v4")


def refusal(action: Any) -> str:
    with pytest.raises(ChipsmithError) as caught:
        action()
    return str(caught.value)


def test_presets_are_listed() -> None:
    assert list_chips() == [
        "aim", "attacc_bank", "attacc_bankgroup", "attacc_buffer", "attacc_gpu", "duplex", "duplex_bank_pim",
        "duplex_bankgroup_pim", "edge_32x32", "gemmini_16x16", "h100_roofline", "hbm_pim", "neupims",
        "neupims_artifact", "neupims_npu", "neupims_single_buffer", "npu_only", "tpu_v1", "tpu_v3", "tpu_v4", "tpu_v4i",
    ]  # fmt: skip


@pytest.mark.parametrize("name", list_chips())
def test_preset_round_trips_through_yaml(name: str) -> None:
    chip = load_chip(name)
    assert parse_chip(yaml.safe_load(chip.to_yaml())) == chip
    assert chip.name == name


@pytest.mark.parametrize("name", list_chips())
def test_every_note_of_a_preset_names_a_field_and_the_chip_has_a_source(name: str) -> None:
    chip = load_chip(name)
    for path in chip.notes:
        get_field(chip, path)
    assert chip.source
    assert chip.description
    # vector operators need a host: an engine of that type, or an xPU, which has vector units of its own
    assert {"vector", "xpu"} & {engine.type for engine in chip.engines.values()}


@pytest.mark.parametrize("name", list_chips())
def test_streaming_constants_are_the_documented_ones(name: str) -> None:
    """A note that names the data file binds its field; any other value than the default has such a note."""
    documented = load_data("memory_efficiency.yaml").content["standards"]
    chip = load_chip(name)
    for memory, spec in chip.memories.items():
        expected = documented.get(spec.standard, documented["others"])
        for field in STREAM_CONSTANTS:
            named = "models/data/memory_efficiency.yaml" in chip.notes.get(f"memories.{memory}.{field}", "")
            assert getattr(spec, field) == (expected[field] if named else MemorySpec.model_fields[field].default)


@pytest.mark.parametrize("name", list_chips())
def test_every_memory_that_arrays_stream_from_says_where_its_constants_are_from(name: str) -> None:
    """xPUs say what they reach of their memory themselves (memory_efficiency)."""
    chip = load_chip(name)
    streamed = {engine.memory for engine in chip.engines.values() if engine.type in ("systolic", "vector")}
    assert {f"memories.{memory}.{field}" for memory in streamed for field in STREAM_CONSTANTS} <= set(chip.notes)


@pytest.mark.parametrize("engine_type", sorted(builtin_specs()))
def test_every_field_of_a_built_in_engine_stands_in_its_docstring(engine_type: str) -> None:
    spec = builtin_specs()[engine_type]
    text = f"{spec.__doc__} {spec.__mro__[1].__doc__}"
    assert [name for name in spec.model_fields if name not in text] == []


def test_yaml_file_is_read_and_written(tmp_path: Path, tpu: Chip) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(tpu.to_yaml(), encoding="utf-8")
    assert load_chip(path) == tpu


def test_number_with_exponent_is_a_number_in_yaml(tmp_path: Path, tpu: Chip) -> None:
    path = tmp_path / "mine.yaml"
    text = tpu.to_yaml().replace("rows: 128\n", "rows: 1e2\n").replace("clock_hz: 1000000000.0", "clock_hz: 1e9")
    path.write_text(text, encoding="utf-8")
    npu = load_chip(path).engines["npu"].model_dump()
    assert (npu["rows"], npu["clock_hz"]) == (100, 1e9)


@pytest.mark.parametrize(
    ("path", "value", "legal"),
    [
        ("engines.npu.rows", 0, "must be at least 1"),
        ("engines.npu.rows", 5000, "must be at most 4096"),
        ("engines.npu.weight_reuse_rows", 10**25, "must be at most 2**53"),
        ("engines.npu.rows", 2.5, "must be a whole number"),
        ("engines.npu.rows", "many", "must be a whole number"),
        ("engines.npu.clock_hz", float("nan"), "must be a finite number"),
        ("engines.npu.clock_hz", -1, "must be above 0"),
        ("technology.node_nm", "seven", "must be a number"),
        ("memories.dram.stream_interference", 1, "must be below 1"),
        ("engines.npu.preload", "fast", "must be 'overlapped' or 'serial'"),
        ("engines.npu.double_buffered", "maybe", "must be true or false"),
        ("engines.npu.dataflows", (), "name at least one of ws, os, is"),
        ("engines.npu.act_dtype", "fp17", f"did you mean 'fp16'? known: {FORMATS}"),
        ("engines.vector.dtype", "f32", f"did you mean 'fp32'? known: {FORMATS}"),
        ("engines.npu.memory", "dran", "did you mean 'dram'? known: dram"),
        ("memories.dram", 3, "must be a mapping of fields"),
        ("memories", 3, "must be a mapping of name to fields"),
        ("name", 3, "must be a word"),
    ],
)
def test_illegal_value_is_refused_in_one_line(tpu: Chip, path: str, value: object, legal: str) -> None:
    assert refusal(lambda: tpu.with_fields({path: value})) == f"chip.{path}: got {value!r}; {legal}"


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        ("engines.npu.rows", True, "chip.engines.npu.rows: got 'true'; must be a whole number"),
        ("engines.npu.accum_dtype", "int32", "chip.engines.npu: fp16 x fp16 products need a float accum_dtype"),
        ("memories", {}, "chip.memories: must name at least one memory"),
        ("engines", {}, "chip.engines: must be a non-empty mapping of engine name to specification"),
    ],
)
def test_illegal_combination_is_refused_in_one_line(tpu: Chip, path: str, value: object, text: str) -> None:
    assert refusal(lambda: tpu.with_fields({path: value})) == text


def test_unknown_field_names_the_nearest(tpu: Chip) -> None:
    text = refusal(lambda: tpu.with_fields({"engines.npu.rowz": 1}))
    assert text.startswith("engines.npu.rowz: unknown field; did you mean 'rows'? known: accum_bytes, ")
    data = tpu.model_dump()
    text = refusal(lambda: parse_chip({**data, "enginez": {}}))
    assert text.startswith("chip.enginez: unknown field; did you mean 'engines'? known: description, ")
    text = refusal(lambda: parse_chip({**data, "memories": {"dram": {"standrad": "HBM2"}}}))
    assert text.startswith("chip.memories.dram.standrad: unknown field; did you mean 'standard'? known: ")
    assert refusal(lambda: get_field(tpu, "noc.hop")) == (
        "noc.hop: unknown field; did you mean 'hops'? known: bytes_per_cycle, hops"
    )


def test_missing_field_is_named(tpu: Chip) -> None:
    data = tpu.model_dump()
    del data["technology"]
    assert refusal(lambda: parse_chip(data)) == "chip.technology: this field is required"
    data = tpu.model_dump()
    del data["engines"]["npu"]["type"]
    text = refusal(lambda: parse_chip(data))
    assert text.startswith("chip.engines.npu.type: this field is required; known: ")


def test_names_must_fit_into_field_paths(tpu: Chip) -> None:
    data = tpu.model_dump()
    data["engines"] = {"a.b": data["engines"]["npu"]}
    assert refusal(lambda: parse_chip(data)) == (
        "chip.engines: a name is letters, digits, - and _, not 'a.b': it is part of field paths"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "chip: got 'nothing'; a chip is a mapping of fields"),
        ("- 1\n", "chip: got [1]; a chip is a mapping of fields"),
        ("a: 1\nb: [\n", "{path}:3: not valid YAML; did not find expected node content"),
        ("name: a\nname: b\n", "{path}:2: not valid YAML; 'name' is given twice"),
        (
            "name: !!python/name:os.system\n",
            "{path}:1: not valid YAML; could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/name:os.system'",
        ),
        ("name: 2024-02-31\n", "{path}: not valid YAML; day is out of range for month"),
    ],
)
def test_bad_file_is_refused(tmp_path: Path, content: str, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content, encoding="utf-8")
    assert refusal(lambda: load_chip(path)) == text.format(path=path)


def test_a_number_of_thousands_of_digits_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: {'9' * 5000}\n", encoding="utf-8")
    assert refusal(lambda: load_chip(path)).startswith(f"{path}: not valid YAML; Exceeds the limit")


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert refusal(lambda: load_chip(path)) == f"{path}: cannot be read; No such file or directory"
    path.write_bytes(b"\xff\xfe\x00")
    assert refusal(lambda: load_chip(path)) == f"{path}: cannot be read; it is not UTF-8 text"


def test_unknown_preset_names_the_nearest() -> None:
    assert refusal(lambda: load_chip("tpu_v5")).startswith("chip: got 'tpu_v5'; did you mean 'tpu_v")


def test_table_rows_are_chips(tpu: Chip) -> None:
    table = ChipTable(tpu, {"engines.npu.rows": [32, 64], "engines.npu.act_dtype": ["int8", "fp16"]})
    assert table.n == 2
    assert table.varied == ("engines.npu.rows", "engines.npu.act_dtype")
    assert table.chip(0).engines["npu"].model_dump()["act_dtype"] == "int8"
    assert table.column("engines.npu.rows").tolist() == [32, 64]
    assert table.column("engines.npu.cols").tolist() == [128, 128]
    assert ChipTable(tpu, n=3).column("noc.hops").tolist() == [2.0, 2.0, 2.0]
    assert ChipTable(tpu).chip(0) is tpu


def test_table_refuses_unequal_columns_and_unknown_paths(tpu: Chip) -> None:
    columns = {"engines.npu.rows": np.array([1, 2]), "engines.npu.cols": np.array([1])}
    assert refusal(lambda: ChipTable(tpu, columns)) == "chip table: got [1, 2]; all columns have one length"
    assert refusal(lambda: ChipTable(tpu, {"engines.npx.rows": [1]})) == (
        "engines.npx.rows: unknown field; did you mean 'npu'? known: npu, vector"
    )


def test_with_fields_leaves_the_original_alone(tpu: Chip) -> None:
    before = tpu.to_yaml()
    assert tpu.with_fields({"engines.npu.rows": 64}) != tpu
    assert tpu.to_yaml() == before
