"""``chipsmith demo``: all stages with small settings, and what it says where something is missing."""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

import rtl.verify
from chipsmith import demo, report
from chipsmith.cli import main
from chipsmith.demo import Options, Outcome, knee, pick_requests, precision_for
from chipsmith.report import Text
from models.chip import list_chips, load_chip
from rtl.report import VerifyCase, VerifyReport
from rtl.simulate import TestOutcome
from rtl.tools import find_iverilog
from workloads.errors import ChipsmithError, MissingToolError
from workloads.requests import Request

MISSING = "simulator icarus; not found; install it with: apt-get install -y iverilog"
SMALL = ("demo", "--model", "opt-125m", "--batch", "2", "--chips", "tpu_v4", "--budget-s", "0.5")


def case(measured_cycles: int) -> VerifyReport:
    """A report of one design that needs 100 cycles by the model."""
    outcome = TestOutcome("ragged_gemms", measured_cycles == 100, "", 0.1)
    problems = () if measured_cycles == 100 else (f"2x2x2: {measured_cycles} cycles measured, model 100",)
    one = VerifyCase("ws_4x4", "engine", "4x4", 1, "icarus", "11.0", (outcome,), 8, 1, measured_cycles, 100,
                     problems=problems)  # fmt: skip
    return VerifyReport((one,))


@pytest.fixture(autouse=True)
def _keep_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command replaces how warnings are shown; put it back after each test."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


@pytest.fixture
def matching(monkeypatch: pytest.MonkeyPatch) -> None:
    """A verification that passes without a simulator."""
    monkeypatch.setattr(rtl.verify, "quick_verify", lambda: case(100))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str, str, int]]:
    """(folder, stdout, stderr, exit code) of one run with two chips as JSON; verification is replaced."""
    import contextlib
    import io

    folder = tmp_path_factory.mktemp("demo")
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr(rtl.verify, "quick_verify", lambda: case(100))
        patch.setattr(report, "_result_pictures", lambda *arguments: [])  # slow to draw; test_report looks at them
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        code = main([*SMALL, "--chips", "tpu_v4,gemmini_16x16", "--out", str(folder / "out"), "--format", "json"])
    yield folder / "out", out.getvalue(), err.getvalue(), code


# ---------------------------------------------------------------- the whole


def test_stdout_is_one_document_with_every_finding(finished: tuple[Path, str, str, int]) -> None:
    _, out, err, code = finished
    document: dict[str, Any] = json.loads(out)
    assert code == 0
    assert [row["chip"] for row in document["chips"]] == ["tpu_v4", "gemmini_16x16"]
    assert [row["precision"] for row in document["chips"]] == ["fp16", "int8"]
    assert (document["verified"], document["front_difference"]) == (True, 0.0)
    assert document["chosen"] in document["front"]
    assert 0 < len(document["front"]) <= document["designs"]
    assert list(document["seconds"]) == ["compare", "search", "generate", "verify", "report"]
    assert "chipsmith: == 1. opt-125m on 2 chips\n" in err
    assert "measured cycles equal the kernel's\n" in err


def test_the_notes_say_what_was_simulated_and_what_only_elaborated(finished: tuple[Path, str, str, int]) -> None:
    elaborated, simulated = json.loads(finished[1])["notes"]
    assert re.fullmatch(r"(ws_\S+) was elaborated, its corner (ws_\S+) linted; neither was simulated", elaborated)
    assert simulated == "4x4 and 8x8 arrays of the same generator were simulated against numpy and the cycle kernel"


def test_the_chosen_design_is_the_one_that_was_generated(finished: tuple[Path, str, str, int]) -> None:
    folder, out, _, _ = finished
    chosen = json.loads(out)["chosen"]
    rows, cols = chosen["engines.npu.rows"], chosen["engines.npu.cols"]
    sources = (folder / "rtl" / "rtl").glob("*.v")
    assert {path.name.split("_a8w8")[0] for path in sources} == {f"ws_{rows}x{cols}"}


def without_scripts(path: Path) -> str:
    """A page without plotly, whose script holds addresses and pictures of its own."""
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def pictures_in(page: str) -> list[str]:
    """Embedded PNG files, base64."""
    return re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)


def test_the_report_holds_the_tables_and_the_pictures(finished: tuple[Path, str, str, int]) -> None:
    folder = finished[0]
    text = without_scripts(folder / "report.html")
    embedded = [base64.b64decode(part) for part in pictures_in(text)]
    assert (folder / "figures" / "pareto.png").read_bytes() in embedded
    assert all(struct.unpack(">II", png[16:24]) > (300, 300) for png in embedded)
    assert len(embedded) == 5
    for title in ("Chips compared", "Rooflines", "Search", "Generated Verilog", "Seconds"):
        assert f">{title}<" in text
    assert re.findall(r"(?:src|href)=\"(?!data:|#)", text) == []  # nothing is fetched


def test_no_picture_stands_in_for_another(finished: tuple[Path, str, str, int]) -> None:
    embedded = pictures_in(without_scripts(finished[0] / "report.html"))
    assert len(set(embedded)) == len(embedded)


def test_nothing_half_written_is_left(finished: tuple[Path, str, str, int]) -> None:
    assert list(finished[0].rglob(".*")) == []
    assert sorted(path.name for path in finished[0].iterdir()) == ["figures", "report.html", "rtl"]


# ---------------------------------------------------------------- missing and failing tools


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which other tests draw."""
    monkeypatch.setattr(demo, "report_sections", lambda *arguments: [Text("Pictures", "left out")])


def test_without_a_simulator_it_says_so_and_succeeds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def missing() -> NoReturn:
        raise MissingToolError("simulator icarus", None, "not found; install it with: apt-get install -y iverilog")

    quick(monkeypatch)
    monkeypatch.setattr(rtl.verify, "quick_verify", missing)
    assert main([*SMALL, "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"nothing was simulated: {MISSING}" in lines
    assert lines[-1].startswith(f"{tmp_path}/report.html written; ")


def test_cycles_that_differ_exit_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quick(monkeypatch)
    monkeypatch.setattr(rtl.verify, "quick_verify", lambda: case(101))
    assert main([*SMALL, "--out", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "VERIFICATION FAILED" in out
    assert "2x2x2: 101 cycles measured, model 100" in out


@pytest.mark.rtl
@pytest.mark.skipif(
    find_iverilog() is None and os.environ.get("CI") != "true", reason="Icarus Verilog is not installed"
)
def test_the_real_verification_passes(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = Outcome()
    found = demo.verify_rtl(Options(out=tmp_path), outcome, said.append)
    assert found is not None
    assert outcome.verified is True
    assert said[-1] == "measured cycles equal the kernel's"
    assert {(row["result"], row["failed"], row["coverage_percent"]) for row in found.rows()} == {("pass", 0, 100.0)}
    assert all(row["measured_cycles"] == row["model_cycles"] > 0 for row in found.rows())


# ---------------------------------------------------------------- bad input


def refused(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> str:
    """Run the demo, which must refuse with exit 2 and one line on stderr."""
    assert main([*SMALL, "--out", str(folder), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("chipsmith: error: ") and error.count("\n") == 1
    return error.removeprefix("chipsmith: error: ").rstrip("\n")


def test_a_log_without_its_columns(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("arrival_s,input_tokens\n0.0,10\n")
    assert refused(capsys, tmp_path, "--requests", str(log)) == (
        f"{log}:1: got 'arrival_s, input_tokens'; for plain it lacks output_tokens; known: "
        "Azure 2023 and 2024 (TIMESTAMP, ContextTokens, GeneratedTokens); "
        "Vidur (arrived_at, num_prefill_tokens, num_decode_tokens); "
        "BurstGPT (Timestamp, Request tokens, Response tokens); "
        "plain (arrival_s, input_tokens, output_tokens); plain, short (arrival_s, input_toks, output_toks)"
    )


@pytest.mark.parametrize("batch", ["0", "257"])
def test_more_requests_than_the_log_has(capsys: pytest.CaptureFixture[str], tmp_path: Path, batch: str) -> None:
    text = refused(capsys, tmp_path, "--batch", batch)
    assert text == f"--batch: got {batch}; from 1 to the 256 requests of the log"


def test_an_unknown_chip(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = refused(capsys, tmp_path, "--chips", "tpu_v4,tpu_v5")
    assert text == f"chip: got 'tpu_v5'; did you mean 'tpu_v4'? known: {', '.join(list_chips())}"


# ---------------------------------------------------------------- its parts


def test_requests_are_picked_evenly_over_the_lengths() -> None:
    log = [Request(float(i), 10 * (i + 1), i) for i in range(8)]
    assert pick_requests(log, 8) == [(10 * (i + 1), max(1, i)) for i in range(8)]
    assert pick_requests(log, 2) == [(30, 2), (70, 6)]
    assert pick_requests(log, 1) == [(50, 4)]
    with pytest.raises(ChipsmithError) as error:
        pick_requests(log, 9)
    assert str(error.value) == "--batch: got 9; from 1 to the 8 requests of the log"


def test_integer_machines_get_eight_bits() -> None:
    assert precision_for(load_chip("gemmini_16x16")).weights == "int8"
    assert precision_for(load_chip("tpu_v4")).weights == "fp16"


def test_the_knee_has_the_least_product() -> None:
    rows = [
        {"area_mm2": area, "tpot_s": time, "energy_per_token_j": energy}
        for area, time, energy in ((1.0, 9.0, 1.0), (2.0, 2.0, 2.0), (3.0, 1.0, 2.0))
    ]
    assert knee(rows) is rows[2]
