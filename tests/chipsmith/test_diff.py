"""The command ``diff``, and where the command ``trace`` takes its operators from."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import workloads.capture
from chipsmith.cli import main
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.chakra import write_chakra
from workloads.diff import diff
from workloads.precision import Precision
from workloads.trace_io import read_trace, write_trace


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The same step with weights of 16 and of 8 bits."""
    folder = tmp_path_factory.mktemp("traces")
    for name, form in (("a", "fp16"), ("b", "int8")):
        write_trace(build_trace("gpt2", Batch.decode(2, 64), Precision(form)), folder / f"{name}.jsonl")
    return str(folder / "a.jsonl"), str(folder / "b.jsonl")


def test_json_is_the_difference(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", *files, "--by", "name", "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown == diff(read_trace(files[0]), read_trace(files[1]), "name").to_dict()
    assert shown["total"]["macs"]["percent"] == 0.0


def test_table_has_a_line_a_kind_the_total_and_the_reasons(
    files: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", *files]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[:2] == ["left gpt2 decode", "right gpt2 decode"]
    assert lines[3].startswith("operator MACs MACs % weight bytes weights % KV bytes KV %")
    (gather,) = [line for line in lines if line.startswith("gather ")]
    assert gather == "gather 0 0 6,144 -50 0 0 3,072 0"
    assert "what differs" in lines
    assert "- precision: {'weights': 'fp16'} against {'weights': 'int8'}" in lines


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ("--max-percent 60", 0, ""),
        ("--max-percent 1 --measures macs kv_bytes", 0, ""),
        ("--max-percent 1 --by kind", 1, "gather differs in weight bytes: 50 %, allowed are 1 %"),
    ],
)
def test_a_missed_threshold_is_exit_code_1(
    files: tuple[str, str], options: str, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["diff", *files, *options.split()]) == code
    assert capsys.readouterr().err == (f"chipsmith: {text}\n" if text else "")


def test_a_picture_is_drawn(files: tuple[str, str], tmp_path: Path) -> None:
    assert main(["diff", *files, "--figure", str(tmp_path / "d.png")]) == 0
    assert (tmp_path / "d.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_missing_files_are_bad_input(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", files[0], "none.jsonl"]) == 2
    assert capsys.readouterr().err == "chipsmith: error: none.jsonl; no such file\n"


# ---------------------------------------------------------------- where a trace comes from


def shown(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["trace", *arguments, "--format", "json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_configurations_may_say_what_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = shown(["gpt2", "--context", "32"], capsys)
    assert shown(["hf:gpt2", "--context", "32"], capsys) == plain
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128,
                                "vocab_size": 100}))  # fmt: skip
    assert shown([f"hf:{file}", "--context", "32"], capsys)["blocks"] == {"embed": 1, "layers": 2, "head": 1}


def test_published_formats_count_unless_others_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    def weights(arguments: list[str]) -> object:
        meta = shown(["bitnet-b1.58-2b-4t", "--context", "8", *arguments], capsys)["meta"]
        assert isinstance(meta, dict)
        return meta["precision"]["weights"]

    assert (weights([]), weights(["--kv", "int8"]), weights(["--weights", "int4"])) == ("ternary", "fp16", "int4")


def test_chakra_files_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = build_trace("gpt2", Batch.decode(2, 64))
    (file,) = write_chakra(trace, tmp_path / "t.et")
    assert shown([f"chakra:{file}"], capsys)["name"] == "gpt2 decode"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["onnx:m.onnx", "--dim", "batch"], "--dim: got 'batch'; legal: NAME=N, for example batch=8"),
        (["onnx:m.onnx", "--capture"], "--capture: got 'onnx:m.onnx'; legal for configurations"),
        (["gpt2", "--capture", "--tp", "2"], "--tp; not with --capture: the model's code runs on one device, as it is"),
        (["chakra:none.et"], "none.et; no such file"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", *arguments]) == 2
    assert capsys.readouterr().err == f"chipsmith: error: {text}\n"


@pytest.mark.parametrize("library", ["torch", "transformers"])
def test_a_missing_library_is_exit_code_3(
    library: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("huggingface", "recorder"):
        monkeypatch.delitem(sys.modules, f"workloads.capture.{name}", raising=False)
        monkeypatch.delattr(workloads.capture, name, raising=False)
    if library == "transformers":
        pytest.importorskip("torch", reason="torch is not installed (the extra 'trace')")
    monkeypatch.setitem(sys.modules, library, None)
    assert main(["trace", "hf:gpt2", "--capture"]) == 3
    assert capsys.readouterr().err == (
        f"chipsmith: error: {library}; capturing needs PyTorch and transformers: pip install 'chipsmith[trace]'\n"
    )
