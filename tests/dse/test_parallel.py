from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dse.parallel import MOST_LINES, parallel_data, parallel_figure, parallel_plot
from dse.space import Space
from dse.study import Study
from models.chip import Chip
from workloads.errors import ChipsmithError

Make = Callable[..., Study]
ROWS, COLS, CORES = "engines.npu.rows", "engines.npu.cols", "engines.npu.cores"


@pytest.fixture
def study(make_study: Make) -> Study:
    study = make_study(sampler="exhaustive")
    study.run()
    return study


def test_there_is_an_axis_a_parameter_and_objective_and_a_line_a_design(study: Study) -> None:
    data = parallel_data(study)
    assert [axis.name for axis in data.axes] == [ROWS, COLS, CORES, "area_mm2", "tpot_s"]
    assert data.axes[0].texts == ("4", "8", "16", "32", "64", "128", "256")
    assert data.axes[2].at == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert data.axes[3].label == "die area (mm²)\nless is better"
    assert data.lines.min() == 0.0
    assert data.lines.max() == 1.0
    trials = study.trials
    assert len(data.numbers) == trials.feasible.sum()
    assert data.numbers[data.on_front].tolist() == study.front_numbers.tolist()
    for line, number in zip(data.lines, data.numbers, strict=True):
        assert line[0] == pytest.approx((np.log2(trials[ROWS][number]) - 2) / 6, abs=1e-12)
    assert data.colour_values.tolist() == trials.area_mm2.iloc[data.numbers].tolist()
    assert data.left_out == 0


def test_the_ends_of_a_measure_are_its_extremes(study: Study) -> None:
    data = parallel_data(study)
    shown = study.trials.iloc[data.numbers]
    for j, name in ((3, "area_mm2"), (4, "tpot_s")):
        assert shown[name].iloc[int(np.argmin(data.lines[:, j]))] == shown[name].min()
        assert data.axes[j].texts[-1] == f"{shown[name].max():.3g}"


def test_names_keep_their_order_and_single_values_have_no_axis(make_study: Make, chip: Chip) -> None:
    space = Space(chip, {"engines.npu.preload": ["serial", "overlapped"], ROWS: [64, 8, 16], COLS: [16]})
    with make_study(space=space, sampler="exhaustive", objectives=["throughput_tokens_per_s"]) as study:
        study.run()
        data = parallel_data(study)
    assert [axis.texts for axis in data.axes[:2]] == [("serial", "overlapped"), ("8", "16", "64")]
    assert len(data.axes) == 3
    assert data.axes[2].label.endswith("\nmore is better")


def test_long_axes_have_few_ticks_and_many_designs_are_thinned(make_study: Make, chip: Chip) -> None:
    space = Space(chip, {ROWS: list(range(1, 41)), COLS: list(range(1, 41))})
    with make_study(space=space, sampler="exhaustive", population=2000) as study:
        study.run()
        data = parallel_data(study)
        feasible = len(study.feasible_numbers)
    assert len(data.axes[0].texts) == 12
    assert data.axes[0].texts[0] == "1"
    assert data.axes[0].texts[-1] == "40"
    dominated = int((~data.on_front).sum())
    assert dominated == MOST_LINES
    assert data.left_out == feasible - len(data.numbers)


@pytest.mark.parametrize("objectives", [["area_mm2", "tpot_s"], ["edp_js"], ["throughput_tokens_per_s", "area_mm2"]])
def test_every_kind_of_study_is_drawn(make_study: Make, tmp_path: Path, objectives: list[str]) -> None:
    with make_study(objectives=objectives, population=64) as study:
        study.run(64)
        parallel_figure(study, tmp_path / "p.png")
        plot = parallel_plot(study)
        front = study.front_numbers
    assert (tmp_path / "p.png").stat().st_size > 20_000
    lines = plot.data[0]
    assert [d.label for d in lines.dimensions][:3] == ["rows", "cols", "cores"]
    assert lines.dimensions[-1].label == "Pareto front"
    assert sum(lines.dimensions[-1]["values"]) == len(front)
    assert tuple(lines.dimensions[-1].constraintrange) == (0.5, 1)


def test_a_study_without_a_feasible_design_has_no_picture(make_study: Make) -> None:
    with make_study(constraints=["area_mm2 <= 0.1"]) as study:
        study.run(16)
        with pytest.raises(ChipsmithError) as error:
            parallel_data(study)
    assert str(error.value) == "study: got 16; designs and none of them feasible: there is nothing to draw"
