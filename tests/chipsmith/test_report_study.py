"""Reports of studies: every design is in the page, the front is whole, and what stands there can be read back."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from chipsmith.report import designs_section, write_study_report
from chipsmith.reports.designs import _parameter_column, designs_data, short_names
from chipsmith.reports.study import front_table, hypervolume_plot, study_sections
from dse.space import Parameter, Space
from dse.study import Study
from models.chip import ChipTable, load_chip
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Segment, Trace

ROWS, COLS = "engines.npu.rows", "engines.npu.cols"


def totals(high: NDArray[np.float64], wide: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Area against time by closed formulas; 64 columns don't fit."""
    legal = wide < 64
    area, time = (np.where(legal, value, np.nan) for value in (high * wide, 1 / high + 2 / wide))
    return {"area_mm2": area, "latency_s": time, "energy_j": time}


def evaluator(table: ChipTable, trace: Trace, mapping: str = "auto", fidelity: str = "tile") -> Any:
    found = totals(table.column(ROWS).astype(np.float64), table.column(COLS).astype(np.float64))
    status = np.isnan(found["area_mm2"]).astype(np.int8)
    return SimpleNamespace(**found, status=status, reasons=("ok", "no"))


def simulator(trace: Trace, chip: Any, mapping: str = "auto", fidelity: str = "tile") -> Any:
    spec = chip.engines["npu"]
    found = totals(np.asarray([float(spec.rows)]), np.asarray([float(spec.cols)]))
    return SimpleNamespace(**{name: float(values[0]) for name, values in found.items()})


def make_study(**changes: Any) -> Study:
    """3 x 4 designs, of which 9 are feasible."""
    op = Operator("proj", "gemm", 0, (Segment(1),), k=4, n=4, phase="decode")
    settings: dict[str, Any] = {
        "space": Space(load_chip("tpu_v4"), {ROWS: [4, 8, 16], COLS: [8, 16, 32, 64]}),
        "workload": Trace("decode", (op,), (), (Block("all"),)),
        "objectives": ["area_mm2", "tpot_s"],
        "sampler": "exhaustive",
        "evaluator": evaluator,
        "simulator": simulator,
    }
    return Study(**{**settings, **changes})


@pytest.fixture
def study() -> Any:
    with make_study() as made:
        made.run()
        yield made


def unpacked(column: dict[str, Any]) -> list[Any]:
    raw = base64.b64decode(column["data"])
    if "levels" in column:
        kind = "<u2" if len(column["levels"]) > 256 else "u1"
        return [column["levels"][code] for code in np.frombuffer(raw, kind)]
    values: list[Any] = np.frombuffer(raw, "<f4").tolist()
    return values


def test_the_columns_read_back_as_the_designs(study: Study) -> None:
    trials = study.trials
    feasible = trials[trials["feasible"]]
    data = designs_data(study, trials)
    assert (data["count"], data["left_out"]) == (9, 0)
    columns = {column["name"]: unpacked(column) for column in data["columns"]}
    assert columns[ROWS] == feasible[ROWS].tolist()
    assert columns[COLS] == feasible[COLS].tolist()
    for name in ("area_mm2", "tpot_s", "power_w"):
        assert columns[name] == pytest.approx(feasible[name].tolist(), rel=1e-7)
    numbers = np.frombuffer(base64.b64decode(data["numbers"]), "<i4")
    assert numbers[data["front"]].tolist() == sorted(study.front_numbers.tolist())
    assert data["stairs"] is True


def test_many_levels_and_words_read_back() -> None:
    words = np.asarray(["ws", "os", "ws"], dtype=object)
    column = _parameter_column(words, Parameter("engines.npu.dataflow", ("is", "os", "ws")), "dataflow")
    assert unpacked(column) == ["ws", "os", "ws"]
    assert column["levels"] == ["os", "ws"]  # as in the space, not as they come
    switch = Parameter("x", (True, False))
    assert unpacked(_parameter_column(np.asarray([False, True]), switch, "x")) == ["False", "True"]
    many = np.arange(300.0)[::-1]
    assert unpacked(_parameter_column(many, Parameter("x", tuple(many.tolist())), "x")) == many.tolist()


def test_parallel_axes_are_parameters_then_objectives(study: Study) -> None:
    data = designs_data(study, study.trials)
    assert [data["columns"][at]["label"] for at in data["parallel"]] == [
        "rows", "cols", "die area", "time per output token",
    ]  # fmt: skip


def test_too_many_designs_are_thinned_but_never_the_front(study: Study) -> None:
    front = len(study.front_numbers)
    data = designs_data(study, study.trials, most=2)
    assert (data["count"], data["left_out"], len(data["front"])) == (front + 2, 9 - front - 2, front)


def test_a_front_needs_two_objectives_and_a_design() -> None:
    with make_study(objectives=["tpot_s"]) as study, pytest.raises(ChipsmithError) as error:
        designs_section(study)
    assert str(error.value) == "study.objectives: got ['tpot_s']; a scatter needs two objectives"
    with make_study() as study, pytest.raises(ChipsmithError) as error:
        designs_section(study)
    assert str(error.value) == "study: got 0; no design is feasible, so there is no front to show"


def test_names_are_as_short_as_they_can_be_told_apart() -> None:
    paths = ["engines.npu.rows", "engines.npu.clock_hz", "engines.vector.clock_hz"]
    assert short_names(paths) == ["rows", "npu.clock_hz", "vector.clock_hz"]


def test_the_front_table_holds_the_front_and_its_verification(study: Study) -> None:
    table = front_table(study, study.verify_front())
    front = study.front()
    assert [row[0] for row in table.rows] == front["number"].tolist()
    assert [row[3] for row in table.rows] == front["area_mm2"].tolist()
    assert table.columns[:5] == ["number", "rows", "cols", "die area (mm²)", "time per output token (s)"]
    assert table.columns[-2:] == ["tie", "difference"]
    assert {row[-1] for row in table.rows} == {0.0}


def test_the_report_is_whole_and_fetches_nothing(study: Study, tmp_path: Path) -> None:
    write_study_report(study, tmp_path / "study.html")
    text = (tmp_path / "study.html").read_text()
    text = text[: text.rindex("<script>")]
    assert re.findall(r"<h2>([^<]+)", text) == [
        "In short", "Designs and their Pareto front", "The Pareto front", "Hypervolume against designs", "Evidence",
        "The space", "Designs that are not feasible", "Manifest",
    ]  # fmt: skip
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []
    assert "every design of the front simulated again" in text
    assert re.search(r"<dt>feasible</dt><dd>9</dd>", text)


def test_a_disagreement_with_the_simulator_is_shown() -> None:
    def off(trace: Trace, chip: Any, mapping: str = "auto", fidelity: str = "tile") -> Any:
        found = simulator(trace, chip)
        return SimpleNamespace(**{**vars(found), "area_mm2": 2 * found.area_mm2})

    with make_study(simulator=off) as study:
        study.run()
        facts = study_sections(study)[0]
    found = {fact.name: fact for fact in facts.facts}  # type: ignore[union-attr]  # the first section holds the facts
    assert found["largest difference"].value == "0.5"
    assert found["largest difference"].note.startswith("design ")


def test_one_objective_has_no_cloud_and_no_feasible_design_has_no_front() -> None:
    with make_study(objectives=["tpot_s"]) as study:
        study.run()
        titles = [section.title for section in study_sections(study)]
        assert "Designs and their Pareto front" not in titles
        assert "The Pareto front" in titles
    with make_study(constraints=["area_mm2 <= 1"]) as study:
        study.run()
        assert [section.title for section in study_sections(study)] == [
            "In short", "The space", "Designs that are not feasible", "Manifest",
        ]  # fmt: skip


def test_the_curve_is_drawn_as_it_is() -> None:
    (line,) = hypervolume_plot([1, 2], [0.1, 0.4])["data"]
    assert (line["x"], line["y"]) == ([1, 2], [0.1, 0.4])
