from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.space import Space, is_precision, list_spaces
from models.chip import Chip, ChipTable, load_chip
from workloads.errors import ChipsmithError

ROWS, COLS = "engines.npu.rows", "engines.npu.cols"
CHIP = load_chip("tpu_v4")
FORMS = "use a list of values, {values: [...]}, {range: {low, high, step}}, {log2: {low, high}} or {same_as: path}"


def refused(parameters: object, constraints: object = ()) -> str:
    with pytest.raises(ChipsmithError) as error:
        Space(CHIP, parameters, constraints)  # type: ignore[arg-type]  # bad input on purpose
    return str(error.value)


def test_each_form_of_a_parameter_gives_its_values() -> None:
    space = Space(
        CHIP,
        {
            ROWS: {"log2": {"low": 16, "high": 128}},
            COLS: {"same_as": ROWS},
            "engines.npu.cores": [1, 3],
            "engines.npu.clock_hz": {"range": {"low": 1.0e9, "high": 2.0e9, "step": 2.5e8}},
            "engines.npu.preload": {"values": ["overlapped", "serial"]},
        },
    )
    assert [p.values for p in space.parameters] == [
        (16, 32, 64, 128),
        (1, 3),
        (1e9, 1.25e9, 1.5e9, 1.75e9, 2e9),
        ("overlapped", "serial"),
    ]
    assert space.paths == (ROWS, "engines.npu.cores", "engines.npu.clock_hz", "engines.npu.preload")
    assert space.parameters[0].linked == (COLS,)
    assert space.size == 4 * 2 * 5 * 2


def test_a_linked_field_takes_the_value_of_the_other() -> None:
    space = Space(CHIP, {ROWS: [8, 16], COLS: {"same_as": ROWS}})
    table = space.decode(np.array([[1], [0]]))
    assert table.column(ROWS).tolist() == table.column(COLS).tolist() == [16, 8]
    assert space.design(np.array([1])) == {ROWS: 16, COLS: 16}
    chip = space.chip(np.array([1]))
    assert (chip.engines["npu"].rows, chip.engines["npu"].cols) == (16, 16)  # type: ignore[attr-defined]


def test_values_are_kept_as_the_chip_holds_them() -> None:
    space = Space(CHIP, {"engines.npu.clock_hz": ["1e9", 2_000_000_000], ROWS: [16.0]})
    assert [type(v) for p in space.parameters for v in p.values] == [float, float, int]


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({}, "parameters; a space needs at least one parameter: field path to values"),
        ({ROWS: 16}, f"parameters.{ROWS}: got 16; {FORMS}"),
        ({ROWS: {"log": {}}}, f"parameters.{ROWS}: got {{'log': {{}}}}; {FORMS}"),
        ({ROWS: []}, f"parameters.{ROWS}: got []; at least one value"),
        ({ROWS: [16, 16]}, f"parameters.{ROWS}: got 16; each value once"),
        ({ROWS: [[16]]}, f"parameters.{ROWS}: got [16]; a value is one number or name"),
        ({ROWS: {"values": 3}}, f"parameters.{ROWS}.values: got 3; a list of values"),
        ({ROWS: {"log2": {"low": 3, "high": 8}}}, f"parameters.{ROWS}.log2.low: got 3; a power of two, at least 1"),
        ({ROWS: {"log2": {"low": 8, "high": 4}}}, f"parameters.{ROWS}.log2: got {{'low': 8, 'high': 4}}; low <= high"),
        ({ROWS: {"log2": {"low": 8}}}, f"parameters.{ROWS}.log2: got {{'low': 8}}; a mapping with exactly low, high"),
        (
            {ROWS: {"log2": {"low": "1e1", "high": 4}}},
            f"parameters.{ROWS}.log2.low: got '1e1'; a number (write 1.0e+9, not 1e9)",
        ),
        (
            {ROWS: {"range": {"low": 10, "high": 25, "step": 10}}},
            f"parameters.{ROWS}.range.high: got 25; low plus whole steps, e.g. 20 or 30",
        ),
        (
            {ROWS: {"range": {"low": 10, "high": 20, "step": 0}}},
            f"parameters.{ROWS}.range: got {{'low': 10, 'high': 20, 'step': 0}}; low <= high and step > 0",
        ),
        (
            {"engines.npu.clock_hz": {"range": {"low": 1, "high": 20000, "step": 1}}},
            "parameters.engines.npu.clock_hz.range: got '20000 values'; at most 10000 values; choose a larger step",
        ),
        ({ROWS: [1, 2], COLS: {"same_as": "x"}}, f"parameters.{COLS}.same_as: got 'x'; known: {ROWS}"),
        ({"engines.npu": [1]}, "parameters.engines.npu; only fields that hold one number or name can vary"),
        (
            {"engines.npu.dataflows": [1]},
            "parameters.engines.npu.dataflows; only fields that hold one number or name can vary",
        ),
        ({3: [1]}, "parameters: got 3; a parameter is named by its field path, e.g. engines.npu.rows"),
    ],
)
def test_an_illegal_parameter_is_refused(parameters: object, text: str) -> None:
    assert refused(parameters) == text


def test_an_unknown_path_names_the_nearest_field() -> None:
    text = refused({"engines.npu.row": [1]})
    assert text.startswith("engines.npu.row: unknown field; did you mean 'rows'? known: ")


def test_a_value_that_the_chip_refuses_is_refused_when_the_space_is_made() -> None:
    text = refused({ROWS: [16, 0]})
    assert text == "chip.engines.npu.rows: got 0; must be at least 1"


def test_constraints_must_be_a_list() -> None:
    assert refused({ROWS: [1]}, "a < 3") == "constraints: got 'a < 3'; a list of comparisons"


def test_the_grid_holds_every_design_once(space: Space) -> None:
    rows = np.concatenate(list(space.grid(chunk=100)))
    assert rows.shape == (245, 3)
    assert np.array_equal(rows[:6], [[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 0, 3], [0, 0, 4], [0, 1, 0]])
    assert len(np.unique(rows, axis=0)) == space.size


def test_sampling_repeats_with_the_seed_and_stays_inside(space: Space) -> None:
    first, second = (space.sample(np.random.default_rng(4), 500) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.min(axis=0).tolist() == [0, 0, 0]
    assert first.max(axis=0).tolist() == [6, 6, 4]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 2)), min_size=1, max_size=20))
def test_encode_undoes_decode(rows: list[tuple[int, int, int]]) -> None:
    index = np.asarray(rows, dtype=np.int64)
    assert np.array_equal(_UNORDERED.encode(_UNORDERED.decode(index)), index)


_UNORDERED = Space(
    CHIP, {ROWS: [64, 8, 128, 16], "engines.npu.preload": ["serial", "overlapped"], "engines.npu.cores": [4, 1, 2]}
)


def test_encode_refuses_a_value_outside_the_space(space: Space) -> None:
    with pytest.raises(ChipsmithError) as error:
        space.encode(ChipTable(CHIP, {ROWS: [4, 5]}))
    assert str(error.value) == f"{ROWS}: got 5; one of [4, 8, 16, 32, 64, 128, 256]"


def test_decode_refuses_indices_outside_the_space(space: Space) -> None:
    with pytest.raises(ChipsmithError) as error:
        space.decode(np.array([[0, 0, 5]]))
    assert str(error.value) == "design index: got 5; below (7, 7, 5)"
    with pytest.raises(ChipsmithError) as error:
        space.decode(np.array([[0, 0]]))
    assert str(error.value) == "design index: got (1, 2); shape (n, 3)"


def test_the_fingerprint_changes_with_anything_that_matters(chip: Chip) -> None:
    spaces = [
        Space(chip, {ROWS: [8, 16]}),
        Space(chip, {ROWS: [8, 32]}),
        Space(chip, {COLS: [8, 16]}),
        Space(chip, {ROWS: [8, 16], COLS: {"same_as": ROWS}}),
        Space(chip, {ROWS: [8, 16]}, [f"{ROWS} <= 8"]),
        Space(chip.with_fields({"engines.npu.cores": 3}), {ROWS: [8, 16]}),
    ]
    assert len({s.fingerprint for s in spaces}) == len(spaces)
    assert Space(chip, {ROWS: (8, 16)}, name="other").fingerprint == spaces[0].fingerprint


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("engines.npu.weight_dtype", True),
        ("engines.vector.dtype", True),
        ("engines.npu.sparsity", True),
        ("engines.lut.weight_bits", True),
        ("engines.npu.rows", False),
        ("memories.dram.request_bytes", False),
        ("engines.bus_bits", False),
    ],
)
def test_fields_that_decide_precision_are_known(path: str, expected: bool) -> None:
    assert is_precision(path) is expected


def test_a_format_with_one_value_is_not_varied(chip: Chip) -> None:
    assert Space(chip, {"engines.npu.weight_dtype": ["int8"], ROWS: [8]}).varied_precision == ()
    linked = Space(chip, {"engines.npu.weight_dtype": ["int8", "fp16"], "engines.npu.act_dtype": {
        "same_as": "engines.npu.weight_dtype"}})  # fmt: skip
    assert linked.varied_precision == ("engines.npu.weight_dtype", "engines.npu.act_dtype")


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    return path


def test_a_space_is_read_from_yaml(tmp_path: Path) -> None:
    text = f"chip: tpu_v4\nparameters:\n  {ROWS}: {{log2: {{low: 8, high: 32}}}}\nconstraints: [{ROWS} <= 16]\n"
    space = Space.from_yaml(_file(tmp_path, text))
    assert (space.name, space.base.name, space.size) == ("s", "tpu_v4", 3)
    assert [c.text for c in space.constraints] == [f"{ROWS} <= 16"]


def test_a_chip_given_beside_the_file_wins(tmp_path: Path, chip: Chip) -> None:
    other = chip.with_fields({"name": "mine"})
    assert Space.from_yaml(_file(tmp_path, f"parameters: {{{ROWS}: [1]}}"), other).base.name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameters: {a: [1]}", ": chip; this field is required: a preset name or a chip file"),
        ("- 1", "; a space is a mapping with the keys name, description, chip, parameters, constraints"),
        ("chip: tpu_v4\nparameter: {}", ": parameter; unknown field; did you mean 'parameters'? "
         "known: chip, constraints, description, name, parameters"),
        ("a: [1", ":2: not valid YAML; did not find expected ',' or ']'"),
        ("chip: tpu_v4\n", None),
    ],
)  # fmt: skip
def test_an_illegal_file_is_refused(tmp_path: Path, text: str, message: str | None) -> None:
    path = _file(tmp_path, text)
    with pytest.raises(ChipsmithError) as error:
        Space.from_yaml(path)
    expected = "parameters; a space needs at least one parameter: field path to values"
    assert str(error.value) == (expected if message is None else f"{path}{message}")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError, match=r"no\.yaml; cannot be read: "):
        Space.from_yaml(tmp_path / "no.yaml")


def test_shipped_spaces_are_found_by_name() -> None:
    assert list_spaces() == ["edge", "formats", "memory", "npu", "pim", "sparsity"]
    assert Space.from_yaml("npu").size > 1000


def test_an_unknown_space_is_refused_with_the_nearest() -> None:
    with pytest.raises(ChipsmithError) as error:
        Space.from_yaml("npv")
    assert str(error.value) == (
        "space: got 'npv'; did you mean 'npu'? known: edge, formats, memory, npu, pim, sparsity; or a YAML file"
    )
