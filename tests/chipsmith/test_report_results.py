"""Reports of runs: the figures show the result's own numbers, the tables hold them all."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import pytest

from chipsmith.report import operator_table, result_facts, result_sections, write_report, write_run_report
from chipsmith.reports.result_plots import comparison_plot, costs_plot, roofline_plot, timeline_plot, times_plot
from sim.pictures.breakdown_data import breakdown_data
from sim.pictures.comparison_data import comparison_data
from sim.pictures.roofline_data import roofline_data
from sim.pictures.timeline_data import timeline_data
from sim.result import Result
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.errors import ChipsmithError


@pytest.fixture(scope="module")
def results() -> list[Result]:
    config = load_config("llama-2-7b")
    return [simulate(build_trace(config, batch), "tpu_v4") for batch in (Batch.decode(4, 64), Batch.prefill([64]))]


def without_plotly(text: str) -> str:
    """A page without its last script, which holds plotly."""
    return text[: text.rindex("<script>")]


def test_results_make_a_whole_report(results: list[Result], tmp_path: Path) -> None:
    sections = result_sections(results, tmp_path)
    write_report(tmp_path / "report.html", sections, "Two steps")
    text = without_plotly((tmp_path / "report.html").read_text())
    kinds = [type(section).__name__ for section in sections]
    assert kinds == ["Table", *["Picture"] * 2, *["Interactive"] * 8, *["Table"] * (1 + 2 + 2)]
    assert text.count('src="data:image/png;base64,') == 2
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []
    assert text.count("llama-2-7b decode") > 3
    assert str(results[0].manifest["trace"]) in text


def test_a_run_has_its_own_report(results: list[Result], tmp_path: Path) -> None:
    write_run_report(results[0], tmp_path / "run.html")
    text = without_plotly((tmp_path / "run.html").read_text())
    assert re.findall(r"<h2>([^<:]+)", text) == [
        "Totals", "Roofline", "Time by operator", "Energy and area", "Timeline", "Operators", "Evidence", "Manifest",
    ]  # fmt: skip
    figures = [json.loads(data) for data in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    assert [sorted(figure) for figure in figures] == [["data", "layout"]] * 4


def test_a_report_of_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError, match=r"^results; at least one result is needed$"):
        result_sections([], tmp_path)


def test_facts_name_what_they_rest_on(results: list[Result]) -> None:
    facts = {fact.name: fact for fact in result_facts(results[0]).facts}
    assert facts["latency of a step"].note == "peer, mean error ±2.8 %"
    assert facts["energy"].note == "analytic, not compared"
    assert facts["bound by"].value == results[0].bound_by
    assert result_facts(replace(results[0], evidence={})).facts[0].note == ""


def test_the_operator_table_is_the_results(results: list[Result]) -> None:
    table = operator_table(results[0])
    assert [row[0] for row in table.rows] == [op.name for op in results[0].ops]
    shares = [float(str(row[4])) for row in table.rows]
    assert sum(shares) == pytest.approx(100)
    first = results[0].ops[0]
    assert table.rows[0][3] == first.duration_s * 1e6
    assert table.rows[0][6] == (first.bytes["dram_read"] + first.bytes["dram_write"]) / 1e6


# ---------------------------------------------------------------- figures


def traces(figure: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
    return [trace for trace in figure["data"] if all(trace.get(key) == value for key, value in wanted.items())]


def test_a_roofline_holds_every_point_under_its_ceilings(results: list[Result]) -> None:
    data = roofline_data(results[0])
    figure = roofline_plot([data])
    points = traces(figure, mode="markers")
    drawn = sorted((x, y) for trace in points for x, y in zip(trace["x"], trace["y"], strict=True))
    assert drawn == sorted((p.intensity, p.rate) for p in data.points)
    low, high = figure["layout"]["xaxis"]["range"]
    assert all(low < log10(x) < high for x, _ in drawn)
    ceilings = traces(figure, mode="lines")
    assert len(ceilings) == 2 * len(data.memory) + len(data.compute)
    slope = ceilings[0]
    assert [y / x for x, y in zip(slope["x"], slope["y"], strict=True)] == pytest.approx([data.memory[0].peak] * 13)


def test_several_results_share_a_roofline(results: list[Result]) -> None:
    figure = roofline_plot([roofline_data(result) for result in results])
    large = [t for t in traces(figure, mode="markers") if t["marker"]["size"] == 15]
    assert [(t["name"], t["marker"]["symbol"]) for t in large] == [
        ("tpu_v4 decode", "square"),
        ("tpu_v4 prefill", "circle"),
    ]
    assert len(traces(figure, mode="lines")) == 3  # the chip's once: peak, streaming, matrix engine


def test_bars_of_time_sum_to_the_operators(results: list[Result]) -> None:
    data = breakdown_data(results[0])
    figure = times_plot(data)
    unit_s = {"s": 1.0, "ms": 1e-3, "µs": 1e-6}[figure["layout"]["xaxis"]["title"]["text"][-3:-1].strip("(")]
    sums = [unit_s * sum(trace["x"][row] for trace in figure["data"]) for row in range(len(data.times))]
    assert sums == pytest.approx([bar.total_s for bar in data.times])


def test_costs_are_all_energy_and_all_area(results: list[Result]) -> None:
    data = breakdown_data(results[0])
    energy, area = costs_plot(data)["data"]
    assert sum(energy["x"]) == pytest.approx(results[0].energy_j)
    assert sum(area["x"]) == pytest.approx(results[0].area_mm2)


def test_a_timeline_draws_each_operator_once(results: list[Result]) -> None:
    data = timeline_data(results[0])
    figure = timeline_plot(data)
    bars = [text for trace in traces(figure, type="bar") for text in trace["hovertext"]]
    assert sorted(text.split("<br>")[0] for text in bars) == sorted(op.name for op in results[0].ops)
    assert len(figure["layout"]["shapes"]) == len(data.cuts) == 1
    assert [t["name"] for t in traces(figure, type="scatter")] == list(data.uses)
    domains = [figure["layout"][f"yaxis{n}"]["domain"] for n in range(2, 2 + len(data.uses))]
    assert all(0 <= low < high <= 1 for low, high in domains)


def test_a_comparison_has_a_panel_a_quantity(results: list[Result]) -> None:
    other = replace(results[0], chip=results[0].chip.with_fields({"name": "<b>"}), latency_s=1.0)
    figure = comparison_plot(comparison_data([*results, other]))
    assert len(figure["layout"]["annotations"]) == 4
    assert figure["data"][0]["x"] == ["tpu_v4", "&lt;b&gt;"]
    assert figure["data"][0]["y"] == [results[1].latency_s, None]
    assert figure["data"][1]["error_y"]["array"] == pytest.approx([results[0].latency_s * 0.028, 0.028])
    assert sum(trace["showlegend"] for trace in figure["data"]) == 2
