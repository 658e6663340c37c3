import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.constraints import LEGAL, parse_constraint
from dse.space import Space, field_lookup, total_violation
from models.chip import Chip, ChipTable
from workloads.errors import ChipsmithError

VALUES = {"a.b": np.array([1, 2, 4]), "area_mm2": np.array([100.0, 400.0, 500.0])}


def violation(text: str) -> list[float]:
    return [float(v) for v in parse_constraint(text).violation(VALUES.__getitem__)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("area_mm2 <= 400", [0, 0, 0.25]),
        ("area_mm2 < 400", [0, 1e-12, 0.25]),
        ("area_mm2 >= 400", [0.75, 0, 0]),
        ("area_mm2 > 400", [0.75, 1e-12, 0]),
        ("area_mm2 == 400", [0.75, 0, 0.25]),
        ("area_mm2 != 400", [0, 1e-12, 0]),
        ("400 >= area_mm2", [0, 0, 0.2]),
        ("a.b * 100 <= area_mm2", [0, 0, 0]),
        ("area_mm2/a.b<=150", [0, 1 / 3, 0]),
        ("a.b * a.b + 1 - 0.5e1 <= 0", [0, 0, 1.2e31]),
        ("2 * a.b / 4 - a.b <= -.5", [0, 0, 0]),
        ("a.b - 1 - 1 <= 0", [0, 0, 2e30]),
        ("area_mm2 / 0 <= 1", [1, 1, 1]),
    ],
)
def test_violation_is_relative_to_the_right_side(text: str, expected: list[float]) -> None:
    assert violation(text) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "", "area", "area <=", "<= 3", "1 <= 2", "area =< 3", "area <= 3 <= 4", "area <= 3 4", "area <= (3)",
        "a b <= 3", "area <= 1.5.2", "area <= 3x", "__import__('os') <= 1", "area <= 'x'", "area ** 2 <= 3",
        "area * <= 3", "* area <= 3", "area <= --3", "a..b <= 3", "area & 1 <= 3", "area <= 1e999",
    ],
)  # fmt: skip
def test_anything_outside_the_grammar_is_refused_with_the_legal_form(text: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        parse_constraint(text)
    assert str(error.value) == f"constraint: got {text!r}; {LEGAL}"


def test_the_legal_form_is_one_that_parses() -> None:
    for example in LEGAL.split("e.g. ")[1].split(" or "):
        assert parse_constraint(example.strip("'")).names


@given(st.text(alphabet="ab.<>=!+-*/ 0123456789e()'", max_size=20))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        found = parse_constraint(text)
    except ChipsmithError:
        return
    assert found.violation(lambda _: np.array([1.0, 2.0])).shape == (2,)


@given(
    st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from(["<=", ">=", "<", ">", "==", "!="]),
)  # fmt: skip
def test_no_violation_means_that_the_comparison_holds(left: float, right: float, compare: str) -> None:
    found = parse_constraint(f"a {compare} b").violation({"a": np.array([left]), "b": np.array([right])}.__getitem__)
    holds = {"<=": left <= right, ">=": left >= right, "<": left < right, ">": left > right, "==": left == right,
             "!=": left != right}[compare]  # fmt: skip
    assert (found[0] == 0) == holds
    assert found[0] >= 0


def test_names_are_those_mentioned_once_each() -> None:
    assert parse_constraint("a.b * 2 + area_mm2 <= a.b").names == ("a.b", "area_mm2")


def test_fields_are_looked_up_in_the_chips(chip: Chip) -> None:
    table = ChipTable(chip, {"engines.npu.rows": np.array([64, 256])})
    constraints = [parse_constraint("engines.npu.rows <= engines.npu.cols")]
    assert total_violation(constraints, field_lookup(table), 2).tolist() == [0.0, 1.0]


def test_a_field_that_holds_a_name_cannot_be_compared(chip: Chip) -> None:
    space = Space(chip, {"engines.npu.rows": [8]})
    lookup = field_lookup(space.decode(np.array([[0]])))
    with pytest.raises(ChipsmithError) as error:
        parse_constraint("engines.npu.weight_dtype <= 3").violation(lookup)
    assert str(error.value) == "constraint on engines.npu.weight_dtype: got 'fp16'; constraints compare numbers"
