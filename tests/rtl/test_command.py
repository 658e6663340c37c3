from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from chipsmith.cli import main
from rtl import simulate
from rtl.tools import Tool

SMALL = ["--rows", "2", "--cols", "2"]


def error(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(["rtl", *argv])
    return code, capsys.readouterr().err.strip().removeprefix("chipsmith: error: ")


def test_generate_writes_the_files_it_lists(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "out"
    assert main(["rtl", "generate", *SMALL, "--dataflow", "os", "-o", str(folder), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["design"] == "os_2x2_a8w8p32"
    assert document["parameters"]["dataflow"] == "os"
    assert sorted(document["files"]) == sorted(str(path) for path in folder.rglob("*") if path.is_file())


def test_generate_from_a_preset(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["rtl", "generate", "--chip", "gemmini_16x16", "--rows", "4", "--cols", "4", "-o", str(tmp_path)]
    assert main(argv) == 0
    assert capsys.readouterr().out.startswith("ws_4x4_a8w8p32")


def test_bad_input_is_one_line_and_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ("-o", str(tmp_path / "out"))
    legal = "an integer from 2 to 256"
    assert error(capsys, "generate", "--rows", "1", "--cols", "2", *out) == (2, f"systolic.rows: got 1; {legal}")
    assert error(capsys, "generate", "--rows", "2", *out) == (2, "systolic.cols; it must be given")
    assert error(capsys, "generate", *SMALL, "--engine", "npu", *out) == (
        2,
        "--engine: got 'npu'; give --chip too: the engine is one of the chip's",
    )
    assert error(capsys, "verify", *SMALL, "--matrix", "smoke") == (
        2,
        "--matrix: got 'smoke'; give either a matrix or one design's parameters",
    )
    assert not (tmp_path / "out").exists()


def test_a_missing_simulator_is_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate, "_FINDERS", {"icarus": ("iverilog", lambda: None)})
    code, text = error(capsys, "verify", *SMALL)
    assert code == 3
    assert text.startswith("simulator icarus; not found; install it with: apt-get install -y iverilog")


@pytest.mark.rtl
def test_elaborate_only_needs_no_simulator(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(simulate, "_FINDERS", {})
    assert main(["rtl", "verify", "--matrix", "smoke", "--elaborate-only", "--format", "json"]) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["structure"]["instances"]["pe"] for report in reports] == [16, 16]


@pytest.mark.rtl
def test_verify_prints_one_document_and_writes_the_reports(
    tmp_path: Path, icarus: Tool, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--csv", str(tmp_path / "r.csv"), "--junit", str(tmp_path / "r.xml")]
    assert main(["rtl", "verify", *SMALL, "--seed", "4", "--format", "json", *files]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["passed"] is True
    assert [(case["design"], case["seed"]) for case in document["cases"]] == [("ws_2x2_a8w8p32", 4)]
    assert err == "chipsmith: ws_2x2_a8w8p32 engine seed 4: pass\n"
    assert [row["result"] for row in csv.DictReader(io.StringIO((tmp_path / "r.csv").read_text()))] == ["pass"]
    assert ET.parse(tmp_path / "r.xml").getroot().find("testsuite") is not None


@pytest.mark.rtl
def test_verify_prints_the_test_plan(icarus: Tool, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtl", "verify", *SMALL]) == 0
    text = capsys.readouterr().out
    assert "gaps in the inputs lose nothing" in text
    assert text.rstrip().endswith("1 of 1 cases pass")


PIM = ["--unit", "pim_bank", "--lanes", "2", "--columns", "4"]


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["--unit", "pim_bnk"], "--unit: got 'pim_bnk'; did you mean 'pim_bank'? known: pim_bank, systolic"),
        (["--unit", "pim_bank", "--dataflow", "ws"], "--dataflow: got 'ws'; an option of --unit systolic"),
        (["--lanes", "4"], "--lanes: got 4; an option of --unit pim_bank"),
        ([*PIM, "--chip", "edge_soc"], "--chip: got 'edge_soc'; a pim_bank is described by --device, not by a chip"),
    ],
)
def test_options_of_another_unit_are_refused(argv: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert error(capsys, "verify", *argv) == (2, text)


def test_generate_writes_a_pim_bank_unit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rtl", "generate", *PIM, "--dtype", "bf16", "-o", str(tmp_path / "out"), "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["design"] == "pim_neupims_bf16_l2_c4"
    assert (tmp_path / "out" / "rtl" / "pim_neupims_bf16_l2_c4_add.v").is_file()
    assert len(document["files"]) == 11


@pytest.mark.rtl
def test_the_matrix_of_a_unit_elaborates(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["rtl", "verify", "--unit", "pim_bank", "--matrix", "quick", "--elaborate-only", "--format", "json"]
    assert main(argv) == 0
    reports = json.loads(capsys.readouterr().out)
    assert [report["structure"]["instances"]["mul"] for report in reports] == [4, 4, 4]
