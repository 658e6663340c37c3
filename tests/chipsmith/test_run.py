"""``chipsmith run``: what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any, NoReturn

import pytest

import sim.simulate
from chipsmith.cli import main
from models.chip import list_chips, load_chip
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import list_configs
from workloads.trace_io import write_trace

WORKLOAD = ("--chip", "tpu_v4", "--model", "opt-125m", "--batch", "4", "--context", "100")
TOTALS = {"latency_s", "tokens_per_s", "energy_j", "area_mm2", "bound_by"}


@pytest.fixture(autouse=True)
def _keep_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command replaces how warnings are shown; put it back after each test."""
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    """Run the command and parse the one JSON document on stdout."""
    code = main(["run", *WORKLOAD, *arguments, "--format", "json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    document: dict[str, Any] = json.loads(captured.out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run the command, which must refuse with exit 2 and one line; returns what follows the prefix."""
    code = main(["run", *arguments])
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.startswith("chipsmith: error: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("chipsmith: error: ").rstrip("\n")


# ---------------------------------------------------------------- what it prints


def test_the_json_is_the_result_of_simulate(capsys: pytest.CaptureFixture[str]) -> None:
    document = run(capsys)
    result = simulate(build_trace("opt-125m", Batch.decode(4, 100)), "tpu_v4")
    assert set(document) >= TOTALS
    assert document == json.loads(json.dumps(result.to_dict()))
    assert (document["tokens"], document["bound_by"]) == (4, "memory:dram")
    assert document["tokens_per_s"] == 4 / document["latency_s"]


def test_the_table_ends_with_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *WORKLOAD]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("opt-125m decode on tpu_v4, fidelity tile")
    labels = ("latency", "throughput", "energy", "area", "utilisation", "bound by", "array part")
    assert [line[:13].strip() for line in lines[at + 1 :]] == list(labels)
    assert lines[0].split()[:5] == ["operator", "engine", "x", "us", "share"]
    shares = [float(cells[4].replace(",", "")) for line in lines[2 : at - 1] if (cells := line.split())]
    assert sum(shares) == pytest.approx(100, abs=0.1)  # decode is one chain: operators do not overlap


def test_prefill_takes_the_context_as_the_prompt(capsys: pytest.CaptureFixture[str]) -> None:
    document = run(capsys, "--phase", "prefill")
    assert (document["model"], document["tokens"]) == ("opt-125m prefill", 400)


@pytest.mark.parametrize("chip", list_chips())
def test_the_bound_is_never_beaten(capsys: pytest.CaptureFixture[str], chip: str) -> None:
    formats = ("--weights", "int8", "--activations", "int8", "--kv", "int8")
    bound, tile = (run(capsys, "--chip", chip, *formats, "--fidelity", f) for f in ("bound", "tile"))
    assert (bound["fidelity"], tile["fidelity"]) == ("bound", "tile")
    assert 0 < bound["latency_s"] <= tile["latency_s"]
    for floor, real in zip(bound["operators"], tile["operators"], strict=True):
        assert floor["duration_s"] <= real["duration_s"], real["name"]


def test_the_search_is_never_slower_than_the_heuristic(capsys: pytest.CaptureFixture[str]) -> None:
    searched, heuristic = run(capsys), run(capsys, "--mapping", "gemmini")
    assert searched["latency_s"] <= heuristic["latency_s"]
    assert searched["manifest"]["mapping"] != heuristic["manifest"]["mapping"]


def test_a_trace_file_gives_the_same_numbers_as_the_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    write_trace(build_trace("opt-125m", Batch.decode(4, 100)), path)
    wanted = run(capsys)
    assert main(["run", "--chip", "tpu_v4", "--trace", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == wanted


def test_a_chip_file_is_taken_for_a_preset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "half.yaml"
    path.write_text(load_chip("tpu_v4").with_fields({"memories.dram.bandwidth_bytes_per_s": 3.072e11}).to_yaml())
    assert run(capsys, "--chip", str(path))["latency_s"] > 1.5 * run(capsys)["latency_s"]


# ---------------------------------------------------------------- what it writes


def test_a_saved_mapping_replays_to_the_same_bits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    first = run(capsys, "--save-mapping", str(path))
    again = run(capsys, "--mapping", str(path))
    assert again == first


def test_the_timeline_is_a_json_trace_of_all_operators(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "timeline.json"
    document = run(capsys, "--perfetto", str(path))
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    assert {op["name"] for op in document["operators"]} <= {event.get("name") for event in events}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_figures_are_drawn_into_a_new_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run(capsys, "--figures", str(tmp_path / "a" / "b"))
    found = sorted((tmp_path / "a" / "b").iterdir())
    assert [path.name for path in found] == ["breakdown.png", "roofline.png", "timeline.png"]
    assert all(path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for path in found)


def test_a_report_is_one_page_of_the_result(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "run.html"
    document = run(capsys, "--report", str(path))
    text = path.read_text(encoding="utf-8")
    text = text[: text.rindex("<script>")]
    assert "<h1>opt-125m decode on tpu_v4</h1>" in text
    assert str(document["manifest"]["chip"]) in text
    assert all(f">{op['name']}<" in text for op in document["operators"])


# ---------------------------------------------------------------- how it refuses


def test_an_unknown_chip(capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "--chip", "tpuv4", "--model", "opt-125m")
    assert text == f"chip: got 'tpuv4'; did you mean 'tpu_v4'? known: {', '.join(list_chips())}"


def test_an_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    text = refused(capsys, "--chip", "tpu_v4", "--model", "llama-2-7")
    known = ", ".join(list_configs())
    assert text == f"model: got 'llama-2-7'; did you mean 'llama-2-7b'? known: {known}; or the path of a config.json"


def test_a_model_larger_than_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys, "--chip", "tpu_v4", "--model", "llama-2-70b") == (
        "chip.memories.dram.capacity_bytes: got 34359738368; llama-2-70b decode needs 138289168384 bytes "
        "(weights and KV cache): 103929430016 bytes (96.79 GiB) are missing"
    )


@pytest.mark.parametrize("both", [(), ("--model", "opt-125m", "--trace", "t.jsonl")])
def test_the_model_and_a_trace_exclude_each_other(capsys: pytest.CaptureFixture[str], both: tuple[str, ...]) -> None:
    assert refused(capsys, "--chip", "tpu_v4", *both) == "--model, --trace; give exactly one of them"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--fidelity", "comand"), "fidelity: got 'comand'; did you mean 'command'? known: bound, command, tile"),
        (("--batch", "0"), "batch: got 0; legal: a whole number from 1 to 2^40"),
        (("--context", "-1"), "batch[0].context: got -1; legal: a whole number from 0 to 2^40"),
        (
            ("--save-mapping", "no/such/folder.yaml"),
            "no/such/folder.yaml; cannot be written: No such file or directory",
        ),
        (("--report", "no/such/run.html"), "no/such/run.html; cannot be written: No such file or directory"),
    ],
)
def test_other_bad_input(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str) -> None:
    assert refused(capsys, *WORKLOAD, *arguments) == text


def test_a_mapping_with_a_wrong_field_names_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    run(capsys, "--save-mapping", str(path))
    path.write_text(re.sub(r"dataflow: ws", "dataflow: xs", path.read_text(), count=1))
    text = refused(capsys, *WORKLOAD, "--mapping", str(path))
    assert text == "mapping.tiles.layer.q_proj[0].dataflow: got 'xs'; did you mean 'ws'? known: is, os, ws"


def test_an_interrupted_run_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def interrupt(*arguments: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr(sim.simulate, "simulate", interrupt)
    monkeypatch.chdir(tmp_path)
    files = ("--save-mapping", "m.yaml", "--perfetto", "p.json", "--figures", "figures")
    assert main(["run", *WORKLOAD, *files]) == 130
    assert capsys.readouterr() == ("", "chipsmith: interrupted\n")
    assert list(tmp_path.iterdir()) == []
