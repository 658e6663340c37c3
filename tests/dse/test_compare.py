from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.compare import compare, coverage
from dse.compare_figures import budget_figure, comparison_figure, gaps
from dse.pareto import non_dominated
from dse.space import Space
from dse.study import Study
from models.chip import Chip
from workloads.errors import ChipsmithError

Make = Callable[..., Study]
ROWS, COLS, CORES = "engines.npu.rows", "engines.npu.cols", "engines.npu.cores"


@pytest.fixture
def studies(make_study: Make) -> Iterator[dict[str, Study]]:
    with ExitStack() as stack:
        found = {}
        for name, sampler, budget in (("all", "exhaustive", 245), ("few", "random", 40)):
            found[name] = stack.enter_context(make_study(sampler=sampler, seed=3))
            found[name].run(budget)
        yield found


def test_coverage_of_two_small_fronts() -> None:
    a, b = np.array([[1.0, 4.0], [3.0, 2.0]]), np.array([[1.0, 4.0], [3.0, 3.0], [2.0, 3.0], [5.0, 1.0]])
    assert coverage(a, b) == 0.5  # the equal point and (3, 3)
    assert coverage(b, a) == 0.5
    assert coverage(a, np.empty((0, 2))) == 0.0


POINTS = arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(0, 9).map(float))


@given(a=POINTS, b=POINTS)
def test_coverage_is_what_its_definition_says(a: np.ndarray, b: np.ndarray) -> None:
    slow = [any((x <= y).all() for x in a) for y in b]
    assert coverage(a, b) == sum(slow) / len(slow)
    assert coverage(a, a) == 1.0
    joint = np.concatenate([a, b])
    assert coverage(joint[non_dominated(joint)], b) == 1.0


def test_the_whole_space_covers_a_sample_of_it(studies: dict[str, Study]) -> None:
    found = compare(studies)
    whole, few = found.sides
    assert [o.name for o in found.objectives] == ["area_mm2", "tpot_s"]
    assert whole.front.tolist() == studies["all"].front_numbers.tolist()
    assert found.coverage[0] == (1.0, 1.0)
    assert found.coverage[1][0] < 1.0
    assert whole.hypervolume > few.hypervolume > 0
    assert whole.on_joint.all()
    assert not few.new.any()
    worst = np.concatenate([side.values for side in found.sides]).max(axis=0)
    assert list(found.reference.values()) == pytest.approx((worst * 1.1).tolist(), rel=1e-12)
    assert whole.curve[-1] == pytest.approx(whole.hypervolume, rel=1e-12)
    assert (found.notes, whole.sampler, few.seed) == ((), "exhaustive, population 16", "3")


def test_the_joint_front_names_who_found_what(studies: dict[str, Study]) -> None:
    found = compare(studies)
    rows = [row for row in found.joint if row["study"] == "all"]
    front = studies["all"].front()
    assert [row["number"] for row in rows] == front["number"].tolist()
    assert [row["area_mm2"] for row in rows] == front["area_mm2"].tolist()
    assert list(found.joint[0]) == ["study", "number", ROWS, COLS, CORES, "area_mm2", "tpot_s", "new"]
    known = {tuple(row[path] for path in (ROWS, COLS, CORES)) for row in found.joint if row["study"] == "few"}
    seen = set(map(tuple, studies["few"].trials[[ROWS, COLS, CORES]].to_numpy().tolist()))
    for row in rows:
        design = tuple(row[path] for path in (ROWS, COLS, CORES))
        assert row["new"] == (design not in seen)
    assert known <= seen


def test_maximised_objectives_are_compared_in_their_own_direction(studies: dict[str, Study]) -> None:
    found = compare(studies, ["throughput_tokens_per_s", "area_mm2"])
    assert found.sides[0].front.tolist() == compare(studies, ["tpot_s", "area_mm2"]).sides[0].front.tolist()
    assert found.reference["throughput_tokens_per_s"] > 0


def test_spaces_over_different_fields_share_the_designs_they_share(make_study: Make, chip: Chip) -> None:
    base = chip.with_fields({CORES: 2})
    one = Space(base, {ROWS: [8, 16], COLS: [16]})
    two = Space(base, {ROWS: [16, 32], COLS: {"same_as": ROWS}, CORES: [1, 2]})
    other = Space(base.with_fields({"engines.npu.clock_hz": 7e8}), {ROWS: [16], COLS: [16]})
    with ExitStack() as stack:
        found = {}
        for name, space in (("one", one), ("two", two), ("other", other)):
            found[name] = stack.enter_context(make_study(space=space, sampler="exhaustive"))
            found[name].run()
        sides = compare({name: found[name] for name in ("one", "two")}, ["area_mm2", "tpot_s"]).sides
        alone = compare({name: found[name] for name in ("one", "other")}).sides
    designs = [found["one"].design(int(number)) for number in sides[0].front]
    assert [bool(n) for n in sides[0].new] == [d != {ROWS: 16, COLS: 16} for d in designs]
    assert all(alone[0].new) and all(alone[1].new)


def test_what_makes_numbers_incomparable_is_said(make_study: Make, chip: Chip, workload: Any) -> None:
    formats = Space(chip, {"engines.npu.weight_dtype": ["fp16", "int8"], ROWS: [8, 16]})
    with (
        make_study(sampler="exhaustive") as a,
        make_study(sampler="exhaustive", workload=workload, fidelity="bound", constraints=["area_mm2 <= 9"]) as b,
        make_study(sampler="exhaustive", space=formats, iso_quality="none") as c,
    ):
        for study in (a, b, c):
            study.run()
        assert compare({"a": a, "b": b}).notes == (
            "the studies differ in workload: their numbers are not comparable",
            "the studies differ in evaluation: their numbers are not comparable",
            "constraints differ: a: none; b: area_mm2 <= 9",
        )
        assert compare({"a": a, "c": c}).notes == (
            "c: not at equal model quality: weight_dtype varies and accuracy was not judged",
        )


def test_what_cannot_be_compared_is_refused(make_study: Make, studies: dict[str, Study]) -> None:
    with pytest.raises(ChipsmithError) as error:
        compare({"all": studies["all"]})
    assert str(error.value) == "studies: got ['all']; at least two"
    with pytest.raises(ChipsmithError) as error:
        compare(studies, ["ttft_s"])
    assert str(error.value).startswith("objective: got 'ttft_s'; all does not store it; did you mean 'tpot_s'? known: ")
    with make_study(constraints=["area_mm2 <= 0.1"]) as none:
        none.run(20)
        with pytest.raises(ChipsmithError) as error:
            compare({**studies, "none": none})
    assert str(error.value) == "none: got 20; designs and none of them feasible: there is no front to compare"


def test_pictures_of_a_comparison(studies: dict[str, Study], tmp_path: Path) -> None:
    found = compare(studies)
    missing = gaps(found)
    assert missing["all"][-1] == 0.0
    assert 0 < missing["few"][-1] < missing["few"][0]
    for draw in (comparison_figure, budget_figure):
        draw(found, tmp_path / "picture.png")
        assert (tmp_path / "picture.png").stat().st_size > 20_000
    comparison_figure(compare(studies, ["edp_js"]), tmp_path / "one.png")
    with pytest.raises(ChipsmithError) as error:
        comparison_figure(found, "front.txt")
    assert str(error.value) == "front.txt: got '.txt'; the ending of a picture: png, svg, pdf"
