"""Reports of validations: every comparison, its error, and why others are missing."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest

from chipsmith.cli import main
from chipsmith.report import write_validation_report
from chipsmith.reports.validation import comparison_table, error_table, errors_plot, scatter_plot, worst_table
from chipsmith.validate import Report, compare
from chipsmith.validate_output import Panel, panels

RECORDS = Path(__file__).resolve().parents[1] / "reference" / "onnxim.jsonl"


@pytest.fixture(scope="module")
def report() -> Report:
    return compare([RECORDS])


def test_the_report_is_whole_and_fetches_nothing(report: Report, tmp_path: Path) -> None:
    write_validation_report(report, tmp_path / "v.html", [RECORDS])
    text = (tmp_path / "v.html").read_text()
    text = text[: text.rindex("<script>")]
    titles = re.findall(r"<h2>([^<]+)", text)
    assert titles == [
        "In short", "Predicted against reference", "Error by source and metric", "Errors", "Worst records", "Ratios",
        "Not compared", "Evidence and methods", "All comparisons", "Manifest",
    ]  # fmt: skip
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []
    assert "onnxim.jsonl" in text
    assert re.search(r"<dt>records compared</dt><dd>76</dd>", text)


def test_the_command_writes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command replaces it
    path = tmp_path / "v.html"
    assert main(["validate", str(RECORDS), "--report", str(path), "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 6
    assert "<h1>Validation</h1>" in path.read_text(encoding="utf-8")


def test_all_comparisons_are_listed(report: Report) -> None:
    table = comparison_table(report.comparisons)
    assert len(table.rows) == sum(not item.skip_reason for item in report.comparisons)
    errors = error_table(report.rows)
    assert [row[:3] for row in errors.rows] == [(row.source, row.metric, row.n) for row in report.rows]


def test_the_worst_come_first(report: Report) -> None:
    errors = [abs(float(str(row[5]))) for row in worst_table(report.comparisons).rows]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == max(row.max_ape_pct or 0.0 for row in report.rows)


def test_every_record_is_a_point_and_the_worst_are_named(report: Report) -> None:
    (panel,) = panels(report.comparisons)
    assert len(panel.ids) == len(panel.reference) == 76
    _, _, rest, worst = scatter_plot([panel])["data"]
    assert len(rest["x"]) + len(worst["x"]) == 76
    off = sorted((abs(y / x - 1) for x, y in zip(panel.reference, panel.predicted, strict=True)), reverse=True)
    assert [abs(y / x - 1) for x, y in zip(worst["x"], worst["y"], strict=True)] == off[:2]
    assert worst["hovertext"][0].startswith("onnxim-a1e86296/")


def test_nothing_is_named_where_nothing_is_off() -> None:
    panel = Panel("<peer>", "cycles", (1.0, 2.0), (1.0, 2.0), 0.0, ("a", "b"))
    figure = scatter_plot([panel])
    assert figure["data"][3]["x"] == []
    assert "&lt;peer&gt;" in figure["layout"]["annotations"][0]["text"]


def test_large_errors_stand_at_the_edge_with_their_value(report: Report) -> None:
    from dataclasses import replace

    row = replace(report.rows[0], mape_pct=2.0, max_ape_pct=12.0, null_mape_pct=1600.0)
    null, largest, mean = errors_plot([row])["data"]
    assert (null["x"], null["customdata"]) == ([103.0], [1600.0])
    assert (largest["x"], mean["x"]) == ([12.0], [2.0])
