"""``chipsmith run --requests``: the requests of a log as the batch, on the channels that it names."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest

from chipsmith.cli import main
from models.chip import load_chip
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.requests import Request, read_requests, write_requests

LOG = "arrival_s,input_tokens,output_tokens{}\n0,100,21{}\n2,500,100{}\n1,80,10{}\n"


@pytest.fixture(autouse=True)
def _keep_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)


def written(folder: Path, channels: tuple[int, int, int] | None = None) -> str:
    cells = [f",{channel}" for channel in channels] if channels else ["", "", ""]
    path = folder / "log.csv"
    path.write_text(LOG.format(",channel" if channels else "", *cells))
    return str(path)


def run(capsys: pytest.CaptureFixture[str], chip: str, log: str, *arguments: str) -> dict[str, Any]:
    code = main(["run", "--chip", chip, "--model", "gpt2", "--requests", log, *arguments, "--format", "json"])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    document: dict[str, Any] = json.loads(captured.out)
    return document


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["run", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err.removeprefix("chipsmith: error: ").rstrip("\n")


def test_a_step_holds_prompts_and_half_of_the_answers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    document = run(capsys, "edge_32x32", written(tmp_path))
    same = simulate(build_trace("gpt2", Batch.decode(3, [110, 85, 550])), "edge_32x32")  # by arrival
    assert (document["latency_s"], document["tokens"]) == (same.latency_s, 3)


def test_progress_prefill_and_the_limit(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = written(tmp_path)
    early = run(capsys, "edge_32x32", log, "--progress", "0", "--max-requests", "2")
    assert early["latency_s"] == simulate(build_trace("gpt2", Batch.decode(2, [100, 500])), "edge_32x32").latency_s
    prompts = run(capsys, "edge_32x32", log, "--phase", "prefill")
    assert prompts["latency_s"] == simulate(build_trace("gpt2", Batch.prefill([100, 80, 500])), "edge_32x32").latency_s


def test_caches_lie_where_the_log_says(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    step = build_trace("gpt2", Batch.decode(3, [110, 85, 550]))
    placed = step.with_placement([(1, 110, 3), (1, 85, 5), (1, 550, 3)])
    chip = load_chip("neupims").with_fields({"engines.pim.kv_placement": "trace"})
    document = run(capsys, "neupims", written(tmp_path, (3, 3, 5)))
    assert document["latency_s"] == simulate(placed, chip).latency_s > simulate(step, "neupims").latency_s


def test_a_channel_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = written(tmp_path, (3, 40, 5))
    assert refused(capsys, "--chip", "neupims", "--model", "gpt2", "--requests", log) == (
        "the channel that the request trace places: got 40; caches lie on channels 0 to 31; "
        "or choose kv_placement greedy"
    )
    assert refused(capsys, "--chip", "npu_only", "--model", "gpt2", "--requests", log) == (
        "the channel that the request trace places: got 40; legal: 0 to 31, the channels of memory dram of npu_only"
    )


def test_contradicting_arguments_are_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    log = written(tmp_path)
    base = ("--chip", "edge_32x32", "--requests", log)
    gpt2 = (*base, "--model", "gpt2")
    assert refused(capsys, *gpt2, "--batch", "4") == (
        "--batch, --context; go without --requests; --max-requests limits a log"
    )
    assert refused(capsys, *gpt2, "--max-requests", "0") == "--max-requests: got 0; legal: 1 or more"
    assert refused(capsys, *gpt2, "--progress", "1") == "--progress: got 1.0; legal: from 0 to below 1"
    assert refused(capsys, *base, "--trace", "t.jsonl") == (
        f"--requests: got '{log}'; goes with --model: a trace holds its requests"
    )


def test_channels_are_read_and_written_again(tmp_path: Path) -> None:
    requests = read_requests(written(tmp_path, (3, 0, 31)))
    assert [request.channel for request in requests] == [3, 31, 0]
    for name in ("again.csv", "again.jsonl"):
        write_requests(requests, tmp_path / name)
        assert read_requests(tmp_path / name) == requests
    assert Request(0, 1, 1).channel == -1
