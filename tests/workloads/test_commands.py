"""The commands ``trace`` and ``show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chipsmith.cli import main
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.describe import describe_trace, dimensions, totals
from workloads.routing import Routing
from workloads.trace_io import read_trace

ENDINGS = "a name that ends in .parquet, .jsonl, .et (Chakra) or .csv (GEMM list)"


def test_trace_writes_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "t.parquet"
    arguments = (
        "--batch 4 --context 100 --phase decode --weights int4 --weight-group 128 --kv int8 --tp 2 --format json"
    )
    assert main(["trace", "llama-3-8b", *arguments.split(), "-o", str(file)]) == 0
    shown = json.loads(capsys.readouterr().out)
    trace = read_trace(file)
    assert trace.meta["batch"] == [[1, 100, 4]]
    assert trace.op("layer.q_proj").weight_group == 128
    assert shown == {**describe_trace(trace), "file": str(file)}
    assert main(["show", str(file), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe_trace(trace)


def test_table_lists_operators_and_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "llama-2-7b", "--context", "2048"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "llama-2-7b prefill (embed x 1, layers x 32, head x 1)"
    assert lines[2].split() == ["op", "kind", "dims", "count", "tokens", "segments", "GMAC", "MB"]
    (row,) = [line for line in lines if line.startswith("layer.q_proj")]
    assert " ".join(row.split()) == "layer.q_proj gemm 2048 x 4096 x 4096 32 2,048 1 34.36 67.109"
    assert "operators: 451" in lines
    assert "GMAC: 13,813" in lines


@pytest.mark.parametrize(
    ("arguments", "batch"),
    [
        ("--context 64", [[64, 0, 1]]),
        ("--context 64 --new-tokens 16 --batch 2", [[16, 64, 2]]),
        ("--phase decode --context 64 --batch 3", [[1, 64, 3]]),
        ("--phase decode --context 64 --new-tokens 4", [[4, 64, 1]]),
    ],
)
def test_requests_of_the_step(arguments: str, batch: list[list[int]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "gpt2", *arguments.split(), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["meta"]["batch"] == batch


def test_options_reach_the_trace(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--phase decode --batch 64 --ep 4 --zipf 1.5 --merge --embeddings bf16 --format json"
    assert main(["trace", "mixtral-8x7b", *arguments.split()]) == 0
    shown = json.loads(capsys.readouterr().out)
    trace = build_trace("mixtral-8x7b", Batch.decode(64, 2048), moe=Routing.zipf(1.5), expert_parallel=4)
    experts = {row["op"]: row for row in shown["rows"]}["layer.experts_gate_up_proj"]
    assert experts["tokens"] == trace.op("layer.experts_up_proj").tokens
    assert (shown["meta"]["moe"], shown["meta"]["precision"]["embeddings"]) == ("zipf(1.5)", "bf16")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["trace", "gpt2", "--tp", "5"], "tensor_parallel: got 5; legal for 12 attention heads: 1, 2, 3, 4, 6, 12"),
        (["trace", "gpt2", "-o", "x.txt"], f"trace file: got 'x.txt'; legal: {ENDINGS}"),
        (["show", "none.jsonl"], "none.jsonl; no such file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"chipsmith: error: {text}\n"


def test_show_describes_a_chip(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "tpu_v4"]) == 0
    assert capsys.readouterr().out.startswith("tpu_v4: ")
    assert main(["show", "tpu_v4", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "tpu_v4"


def test_dimensions_are_words() -> None:
    trace = build_trace("deepseek-v3", Batch.decode(4, 100), tensor_parallel=4)
    assert dimensions(trace.op("layer.q_absorb")) == "32 of 4 x 128 x 512"
    assert dimensions(trace.op("layer.attention_absorbed")) == "32/1 heads, 576/512"
    assert dimensions(trace.op("layer.experts_up_proj")) == "31 of 1..2 x 7168 x 512"
    assert dimensions(trace.op("layer.moe_all_reduce")) == "all_reduce over 4: 7168 -> 7168"
    assert dimensions(build_trace("mistral-7b", Batch.prefill([4])).op("layer.attention")) == (
        "32/8 heads, 128/128, window 4096"
    )
    assert dimensions(build_trace("mamba2-2.7b", Batch.prefill([4])).op("layer.ssd")) == "80 heads, 64 x 128"


def test_totals_sum_over_iterations() -> None:
    trace = build_trace("llama-2-7b", Batch.decode(2, 10))
    sums = totals(trace)
    assert sums["operators"] == 1 + 32 * 14 + 2
    assert sums["GMAC"] == trace.macs / 1e9
    assert sums["resident_bytes"] == 2 * 6_738_415_616 + 2 * 11 * 524_288


def test_a_trace_is_changed_before_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    words = f"trace gpt2 --phase decode --batch 4 --context 100 --sparsity 2:4 --speculate 3@0.5 -o {path}"
    assert main(words.split()) == 0
    expected = build_trace("gpt2", Batch.decode(4, 100)).with_sparsity("2:4").with_speculation(3, 0.5)
    found = read_trace(path)
    assert found.ops == expected.ops
    assert found.expected_tokens == 4 * 1.875
    assert found.name == "gpt2 decode, sparsity 2:4, speculating 3@0.5"


def test_a_draft_model_without_drafts_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "gpt2", "--draft-model", "gpt2"]) == 2
    text = "chipsmith: error: --draft-model: got 'gpt2'; goes with --speculate K@A\n"
    assert capsys.readouterr().err == text
