from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dse.description import KEY, parse_description
from dse.results import StudyResults
from dse.space import Space
from dse.store import open_store, read_store
from dse.stored import open_study
from dse.study import Study
from models.chip import Chip
from workloads.errors import ChipsmithError

Make = Callable[..., Study]
ROWS, COLS, CORES = "engines.npu.rows", "engines.npu.cols", "engines.npu.cores"


def same(a: StudyResults, b: StudyResults) -> None:
    assert a.trials.equals(b.trials)
    assert a.front(5.0).equals(b.front(5.0))
    assert a.contenders(5.0).tolist() == b.contenders(5.0).tolist()
    assert (a.reference, a.hypervolume(), a.evidence_pct()) == (b.reference, b.hypervolume(), b.evidence_pct())
    assert [x.tolist() for x in a.hypervolume_curve()] == [x.tolist() for x in b.hypervolume_curve()]
    assert a.manifest() == b.manifest()
    assert a.base == b.base


def test_a_stored_study_says_what_the_running_one_says(make_study: Make, tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with make_study(store=path, constraints=["area_mm2 <= 90"]) as study:
        study.run(100)
        with open_study(path) as stored:
            same(stored, study)
            assert stored.description == study.description
            assert stored.design(17) == study.design(17)
            assert stored.chip(17) == study.space.chip(study._ledger.rows.index[17])
    assert [p.name for p in tmp_path.iterdir()] == ["s.db"]


def test_a_study_without_a_design_is_read(make_study: Make, tmp_path: Path) -> None:
    make_study(store=tmp_path / "s.db").close()
    with open_study(tmp_path / "s.db") as stored:
        assert (len(stored), stored.reference, stored.hypervolume()) == (0, None, 0.0)
        assert len(stored.trials) == len(stored.front()) == 0


def test_a_design_that_is_not_there_is_refused(make_study: Make, tmp_path: Path) -> None:
    with make_study(store=tmp_path / "s.db") as study:
        study.run(20)
    with open_study(tmp_path / "s.db") as stored:
        for number in (-1, 20):
            with pytest.raises(ChipsmithError) as error:
                stored.chip(number)
            assert str(error.value) == f"design: got {number}; a number from 0 to 19"


def test_a_description_survives_its_file(make_study: Make, chip: Chip) -> None:
    space = Space(chip, {ROWS: [8, 16], COLS: {"same_as": ROWS}, "engines.npu.clock_hz": [7e8, 1.1e9 / 3],
                         "engines.npu.preload": ["serial", "overlapped"], "engines.npu.double_buffered": [True, False],
                         "workload.formats": ["fp16/fp16", "int4g128/int8"],
                         "engines.npu.weight_dtype": {"weights_of": "workload.formats"}})  # fmt: skip
    with make_study(space=space, iso_quality="none") as study:
        found = parse_description("s.db", study.description.to_json())
    assert found == study.description
    assert found.size == 32
    assert found.paths == space.paths
    assert found.unjudged == ("workload.formats", "engines.npu.weight_dtype")
    assert found.warning == "not at equal model quality: number formats, weight_dtype vary and accuracy was not judged"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "s.db; does not say what it holds: its writer was killed before it began"),
        ("{", "s.db; is damaged: its description cannot be read (Expecting property name enclosed in double quotes: "
         "line 1 column 2 (char 1))"),
        ("{}", "s.db; is damaged: its description cannot be read ('parameters')"),
    ],
)  # fmt: skip
def test_a_description_that_is_none_is_refused(text: str | None, message: str) -> None:
    with pytest.raises(ChipsmithError) as error:
        parse_description("s.db", text)
    assert str(error.value) == message


def test_a_measure_that_nobody_knows_is_refused(make_study: Make) -> None:
    with make_study() as study:
        text = study.description.to_json().replace('"area_mm2"', '"area"')
    with pytest.raises(ChipsmithError, match=r"^objective: got 'area'; did you mean 'area_mm2'\?"):
        parse_description("s.db", text)


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    open_store(path, {"space": "x"}, ("area_mm2",), 3).close()
    with pytest.raises(ChipsmithError) as error:
        open_study(path)
    assert str(error.value) == f"{path}; does not say what it holds: its writer was killed before it began"
    with read_store(path) as store:
        assert KEY not in store.manifest()


def test_the_curve_has_points_for_a_linear_and_for_a_logarithmic_axis(make_study: Make) -> None:
    with make_study(sampler="exhaustive") as study:
        study.run()
        counts, curve = study.hypervolume_curve(points=10)
        assert counts.tolist() == [1, 3, 9, 24, 27, 49, 73, 81, 98, 122, 147, 171, 196, 220, 245]
        own = study.hypervolume_curve(names=("area_mm2",), reference=np.array([100.0]))[1]
    assert (np.diff(curve) >= 0).all()
    best = study.trials[study.trials.feasible].area_mm2.min()
    assert own[-1] == pytest.approx(1 - best / 100)


def test_measures_come_as_quantities_to_minimise(make_study: Make) -> None:
    with make_study() as study:
        study.run(16)
        fine = study.feasible_numbers
        found: Any = study.minimised(("throughput_tokens_per_s", "tpot_s"), fine)
        trials = study.trials.iloc[fine]
    assert found[:, 0].tolist() == (-trials.throughput_tokens_per_s).tolist()
    assert found[:, 1].tolist() == trials.tpot_s.tolist()
