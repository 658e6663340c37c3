"""``chipsmith compare``: the figures of ``simulate``, ratios to the first chip, ties where intervals overlap."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from chipsmith.cli import main
from chipsmith.comparison import QUANTITIES, Candidate, Ratio, notes, ratio, ratio_rows, value_rows
from models.chip import list_chips, load_chip
from sim.result import Evidence
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.trace_io import write_trace

WORKLOAD = ("--model", "opt-125m", "--batch", "4", "--context", "100")
TPOT = next(q for q in QUANTITIES if q.key == "tpot_s")


@pytest.fixture(autouse=True)
def _keep_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command replaces how warnings are shown; put it back after each test."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def compare(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["compare", *arguments, *WORKLOAD, "--format", "json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, Any] = json.loads(out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["compare", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("chipsmith: error: ").rstrip("\n")


# ---------------------------------------------------------------- figures


def test_figures_are_those_of_simulate(capsys: pytest.CaptureFixture[str]) -> None:
    document = compare(capsys, "tpu_v4", "tpu_v3")
    config = load_config("opt-125m")
    assert [chip["chip"] for chip in document["chips"]] == ["tpu_v4", "tpu_v3"]
    for chip in document["chips"]:
        prefill = simulate(build_trace(config, Batch.uniform(4, 100, 0)), chip["chip"])
        decode = simulate(build_trace(config, Batch.decode(4, 100)), chip["chip"])
        assert (chip["ttft_s"], chip["tpot_s"]) == (prefill.latency_s, decode.latency_s)
        assert (chip["tokens_per_s"], chip["energy_per_token_j"]) == (decode.tokens_per_s, decode.energy_per_token_j)
        assert chip["area_mm2"] == decode.area_mm2
        assert chip["phases"]["prefill"]["utilisation"] == prefill.utilisation
        assert chip["phases"]["decode"]["bound_by"] == decode.bound_by
    base, other = document["chips"]
    assert document["base"] == "tpu_v4"
    assert set(base["ratio"].values()) == {1.0}
    assert other["ratio"]["tpot_s"] == other["tpot_s"] / base["tpot_s"]


def test_one_phase_has_the_figures_of_that_phase(capsys: pytest.CaptureFixture[str]) -> None:
    document = compare(capsys, "tpu_v4", "tpu_v3", "--phase", "prefill")
    chip = document["chips"][0]
    assert (chip["tpot_s"], list(chip["phases"])) == (None, ["prefill"])
    assert chip["tokens_per_s"] == 400 / chip["ttft_s"]


def test_a_trace_is_compared_in_its_own_phase(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    write_trace(build_trace(load_config("opt-125m"), Batch.prefill([50])), path)
    assert main(["compare", "tpu_v4", "tpu_v3", "--trace", str(path), "--format", "json"]) == 0
    (first, _) = json.loads(capsys.readouterr().out)["chips"]
    assert list(first["phases"]) == ["prefill"]
    text = refused(capsys, "tpu_v4", "tpu_v3", "--trace", str(path), "--phase", "decode")
    assert text == "--phase: got 'decode'; the trace holds prefill"


def test_native_formats_are_those_of_the_chip(capsys: pytest.CaptureFixture[str]) -> None:
    document = compare(capsys, "tpu_v4", "gemmini_16x16", "--native-formats")
    assert [chip["weights"] for chip in document["chips"]] == ["fp16", "int8"]


# ---------------------------------------------------------------- ratios and ties


def candidate(name: str, latency_s: float, interval_pct: float | None) -> Candidate:
    from dataclasses import replace

    result = simulate(build_trace(load_config("opt-125m"), Batch.decode(1, 16)), "tpu_v4")
    chip = result.chip.with_fields({"name": name})
    evidence = {**result.evidence, "latency_s": Evidence("peer", interval_pct, "a peer")}
    return Candidate(name, {"decode": replace(result, chip=chip, latency_s=latency_s, evidence=evidence)})


@pytest.mark.parametrize(
    ("theirs", "interval", "tie"),
    [(1.05, 2.5, True), (1.06, 2.5, False), (1.0, None, True), (1.001, None, False)],
)
def test_overlapping_intervals_tie(theirs: float, interval: float | None, tie: bool) -> None:
    base, other = candidate("a", 1.0, interval), candidate("b", theirs, interval)
    assert ratio(TPOT, other, base) == Ratio(theirs, tie, interval is None)


def test_ties_are_said_in_words() -> None:
    candidates = [candidate("a", 1.0, 2.5), candidate("b", 1.02, 2.5), candidate("c", 3.0, 2.5)]
    rows = ratio_rows(candidates)
    assert [(row["chip"], row["TPOT x"]) for row in rows] == [("b", "tie (1.020)"), ("c", "3.000")]
    assert "TTFT x" not in rows[0]
    assert list(notes(candidates)) == [
        "ratios are to a; a tie: the error intervals that validation gives overlap",
        "no interval is known for energy, area: their ratios are shown as if they were exact",
    ]


def test_a_chip_that_cannot_run_it_stays_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("--model", "llama-2-7b", "--batch", "1", "--context", "16")
    assert main(["compare", "tpu_v4i", "tpu_v4", *small]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["tpu_v4i", "fp16", "-", "-", "-", "-", "-", "-", "-", "-", "-"]
    assert lines[3].startswith("tpu_v4 ")
    assert "ratios are to tpu_v4; a tie: the error intervals that validation gives overlap" in lines
    assert lines[-1].startswith("tpu_v4i can't run it: chip.memories.dram.capacity_bytes: got 8589934592; ")


def test_columns_of_people_have_units() -> None:
    (row,) = value_rows([candidate("a", 0.25, 2.5)])
    assert (row["TPOT ms"], row["tokens/s"]) == (250.0, 4.0)
    assert list(row) == [
        "chip", "weights", "TPOT ms", "tokens/s", "J/token", "mm2", "decode util %", "decode bound by",
    ]  # fmt: skip


# ---------------------------------------------------------------- files and refusals


def test_files_of_the_command(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure, report = tmp_path / "c.png", tmp_path / "c.html"
    compare(capsys, "tpu_v4", "tpu_v3", "--figure", str(figure), "--report", str(report))
    assert figure.read_bytes().startswith(b"\x89PNG")
    text = report.read_text()
    text = text[: text.rindex("<script>")]
    for title in ("Figures", "Ratios to the first chip", "Side by side", "Rooflines", "Evidence"):
        assert f"<h2>{title}</h2>" in text


def test_one_chip_is_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "tpu_v4", *WORKLOAD) == "CHIP: got ['tpu_v4']; at least two chips are compared"


def test_two_chips_of_one_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(load_chip("tpu_v4").to_yaml())
    text = refused(capsys, "tpu_v4", str(path), *WORKLOAD)
    assert text == "CHIP: got 'tpu_v4'; two chips of this name; every chip of a comparison has its own"


def test_an_unknown_chip_and_fidelity(capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "tpu_v4", "tpu_v5", *WORKLOAD)
    assert text == f"chip: got 'tpu_v5'; did you mean 'tpu_v4'? known: {', '.join(list_chips())}"
    assert refused(capsys, "tpu_v4", "tpu_v3", *WORKLOAD, "--fidelity", "tle").startswith("fidelity: got 'tle'; ")


def test_no_chip_runs_it(capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "tpu_v4i", "tpu_v1", "--model", "llama-2-70b")
    assert text.startswith("CHIP; none of them runs it; tpu_v4i: chip.memories.dram.capacity_bytes: got 8589934592; ")
