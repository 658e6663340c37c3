from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dse.figures import pareto_data, pareto_figure
from dse.space import Space
from dse.study import Study
from models.chip import Chip
from workloads.errors import ChipsmithError

Make = Callable[..., Study]


@pytest.fixture
def study(make_study: Make) -> Study:
    study = make_study(sampler="exhaustive", constraints=["area_mm2 <= 150"])
    study.run()
    return study


def test_the_picture_shows_all_feasible_designs(study: Study) -> None:
    data = pareto_data(study)
    trials, front = study.trials, study.front()
    assert (data.x.name, data.y.name) == ("area_mm2", "tpot_s")
    assert data.colour is not None
    assert data.colour.name == "energy_per_token_j"
    assert np.array_equal(data.front, front[["area_mm2", "tpot_s"]].to_numpy())
    assert np.array_equal(data.front_colour, front["energy_per_token_j"].to_numpy())
    assert data.front_numbers.tolist() == front["number"].tolist()
    assert len(data.dominated) + len(data.front) == trials["feasible"].sum()
    assert data.left_out == 0
    assert data.joined is True
    assert data.warning == ""


def test_its_words_say_what_was_searched(study: Study) -> None:
    data = pareto_data(study)
    trials = study.trials
    assert data.title == "tpu_v4 · decode"
    assert data.subtitle == (
        f"exhaustive, population 16, seed 0  ·  245 designs, {trials.feasible.sum()} feasible, {len(study.front())} on "
        "the front  ·  area_mm2 <= 150"
    )
    assert data.reference.startswith("area_mm2 ")
    assert data.hypervolume[-1] == study.hypervolume()
    assert data.evaluations[-1] == 245


def test_the_knee_is_the_nearest_to_the_ideal_corner(study: Study) -> None:
    data = pareto_data(study)
    assert 0 < data.knee < len(data.front) - 1
    number = int(data.front_numbers[data.knee])
    row = study.trials.iloc[number]
    assert data.knee_label == (
        f"design {number}\nnpu.rows {row['engines.npu.rows']}\nnpu.cols {row['engines.npu.cols']}\n"
        f"npu.cores {row['engines.npu.cores']}"
    )


def test_the_label_goes_where_nothing_is(study: Study) -> None:
    data = pareto_data(study)
    assert data.corner == (1, 1)  # large and slow: nobody builds that
    data = pareto_data(study, x="tpot_s", y="energy_per_token_j")
    assert data.corner in {(0, 1), (1, 0)}  # slow designs use more energy: the points lie along the diagonal


def test_large_values_are_short_in_the_label(make_study: Make, chip: Chip) -> None:
    values = {"engines.npu.clock_hz": [1.25e9], "engines.npu.spad_bytes": [1 << 21], "engines.npu.accum_bytes": [3072],
              "engines.npu.preload": ["serial"]}  # fmt: skip
    with make_study(space=Space(chip, values), sampler="exhaustive") as study:
        study.run()
        assert pareto_data(study).knee_label == (
            "design 0\nnpu.clock_hz 1.25 G\nnpu.spad_bytes 2 Mi\nnpu.accum_bytes 3 Ki\nnpu.preload serial"
        )


def test_other_axes_can_be_chosen(study: Study) -> None:
    data = pareto_data(study, x="power_w", colour="edp_js")
    assert [a.name for a in (data.x, data.y) if a] == ["power_w", "area_mm2"]
    assert data.colour is not None
    assert data.colour.name == "edp_js"
    assert data.joined is False
    assert (np.diff(data.front[:, 0]) >= 0).all()


def test_an_unknown_axis_names_the_nearest(study: Study) -> None:
    with pytest.raises(ChipsmithError, match=r"^axis: got 'area'; did you mean 'area_mm2'\? known: area_mm2, edp_js"):
        pareto_data(study, y="area")


def test_without_a_feasible_design_there_is_nothing_to_draw(make_study: Make) -> None:
    with make_study(sampler="exhaustive", constraints=["area_mm2 <= 0.001"]) as study:
        study.run()
        with pytest.raises(ChipsmithError) as error:
            pareto_data(study)
    assert str(error.value) == "study: got 245; designs and none of them feasible: there is no front to draw"


def test_unequal_quality_marks_the_picture(make_study: Make, chip: Chip) -> None:
    space = Space(chip, {"engines.npu.weight_dtype": ["fp16", "int8"], "engines.npu.rows": [8, 16]})
    with make_study(space=space, sampler="exhaustive", iso_quality="none") as study:
        study.run()
        assert pareto_data(study).warning == (
            "not at equal model quality: weight_dtype varies and accuracy was not judged"
        )


@pytest.mark.parametrize(
    "objectives",
    [["area_mm2", "tpot_s"], ["throughput_tokens_per_s", "area_mm2"], ["area_mm2", "throughput_tokens_per_s"],
     ["edp_js"], ["area_mm2", "tpot_s", "power_w"]],
)  # fmt: skip
def test_every_kind_of_study_is_drawn(make_study: Make, tmp_path: Path, objectives: list[str]) -> None:
    with make_study(objectives=objectives, population=64) as study:
        study.run(64)
        pareto_figure(study, tmp_path / "front.png")
    data = (tmp_path / "front.png").read_bytes()
    assert data.startswith(b"\x89PNG")
    assert len(data) > 20_000
    assert [p.name for p in tmp_path.iterdir()] == ["front.png"]


def test_an_unknown_picture_format_is_refused(study: Study, tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError) as error:
        pareto_figure(study, tmp_path / "front.bmp2")
    assert str(error.value) == f"{tmp_path / 'front.bmp2'}: got '.bmp2'; the ending of a picture: png, svg, pdf"
