"""Transformations named on the command line: what they make of the trace, and how they are refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from chipsmith.cli import main
from chipsmith.commands.show import trace_text
from chipsmith.workload_args import add_workload_arguments, parse_spec, trace_of
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.describe import describe_trace
from workloads.errors import ChipsmithError
from workloads.trace import Trace
from workloads.trace_io import write_trace

WORK = ("--model", "opt-125m", "--batch", "2", "--context", "300")


def plain() -> Trace:
    return build_trace("opt-125m", Batch.decode(2, 300))


def named(*arguments: str, phase: str | None = None) -> Trace:
    parser = argparse.ArgumentParser()
    add_workload_arguments(parser)
    return trace_of(parser.parse_args([*WORK, *arguments]), phase).check()


CASES = [
    ("--sparsity 2:4", lambda t: t.with_sparsity("2:4"), "sparsity 2:4"),
    (
        "--attention-sparsity block:1x64@0.5",
        lambda t: t.with_sparsity(attention="block:1x64@0.5"),
        "attention block:1x64@0.5",
    ),
    (
        "--quantize weights=int4,group=64,activations=int8,only=*_proj",
        lambda t: t.with_quantization("int4", "int8", weight_group=64, only=["*_proj"]),
        "quantized weights=int4,group=64,activations=int8,only=*_proj",
    ),
    (
        "--quantize kv=int8,kv_group=32,except=lm_head+embed_tokens",
        lambda t: t.with_quantization(kv="int8", kv_group=32, except_=["lm_head", "embed_tokens"]),
        "quantized kv=int8,kv_group=32,except=lm_head+embed_tokens",
    ),
    ("--kv-evict window=100,sinks=4", lambda t: t.with_kv_eviction(100, sinks=4), "KV window=100,sinks=4"),
    ("--kv-evict window=64,heavy=32", lambda t: t.with_kv_eviction(64, heavy=32), "KV window=64,heavy=32"),
    ("--kv-rank 32", lambda t: t.with_kv_compression(rank_k=32, rank_v=32), "KV rank 32"),
    ("--kv-rank 16,48", lambda t: t.with_kv_compression(rank_k=16, rank_v=48), "KV rank 16,48"),
    ("--kv-rank values=48", lambda t: t.with_kv_compression(rank_v=48), "KV rank values=48"),
    ("--neurons 0.1", lambda t: t.with_active_neurons(0.1), "neurons 0.1"),
    (
        "--neurons 0.1,window=5,predictor=16,fresh=0.02,union=0.15",
        lambda t: t.with_active_neurons(0.1, window=5, predictor=16, fresh=0.02, union=0.15),
        "neurons 0.1,window=5,predictor=16,fresh=0.02,union=0.15",
    ),
    ("--speculate 4@0.8", lambda t: t.with_speculation(4, 0.8), "speculating 4@0.8"),
    ("--speculate 4@0.8 --draft-model opt-125m", lambda t: t.with_speculation(4, 0.8, t), "opt-125m speculating 4@0.8"),
    (
        "--speculate 4@0.8 --exit-layers 3",
        lambda t: t.with_speculation(4, 0.8, t.with_early_exit(3), shared=True),
        "3 layers speculating 4@0.8",
    ),
    ("--exit-layers 6", lambda t: t.with_early_exit(6), "exit 6"),
    ("--exit-layers 6=0.5,12=0.5", lambda t: t.with_early_exit({6: 0.5, 12: 0.5}), "exit 6=0.5,12=0.5"),
]


@pytest.mark.parametrize(("arguments", "change", "words"), CASES)
def test_options_mean_the_methods_of_the_trace(arguments: str, change: object, words: str) -> None:
    assert callable(change)
    wanted, got = change(plain()), named(*arguments.split())
    assert (got.ops, got.tensors, got.blocks, got.meta) == (wanted.ops, wanted.tensors, wanted.blocks, wanted.meta)
    assert got.name == f"opt-125m decode, {words}"


def test_without_options_nothing_changes() -> None:
    assert named() == plain()


def test_all_at_once_come_in_an_order_that_is_right() -> None:
    options = (
        "--quantize weights=int4 --sparsity 2:4 --attention-sparsity block:1x64@0.5 --kv-rank 32 --speculate 2@0.5 "
        "--kv-evict window=64,heavy=32"
    )
    trace = named(*options.split())
    assert {(s.new_tokens, s.context) for s in trace.op("layer.attention").segments} == {(3, 93)}
    assert trace.name.endswith("KV rank 32, speculating 2@0.5, KV window=64,heavy=32")
    last = named("--speculate", "2@0.5", "--neurons", "0.25")
    assert last.op("layer.down_proj").k == pytest.approx(3072 * (1 - 0.75**6), abs=1)


def test_a_prefill_beside_a_decode_is_not_drafted() -> None:
    trace = named("--speculate", "2@0.5", "--sparsity", "2:4", phase="prefill")
    assert trace.ops == build_trace("opt-125m", Batch.uniform(2, 300)).with_sparsity("2:4").ops


def test_a_trace_file_is_transformed_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.jsonl"
    write_trace(plain(), path)
    for work in (WORK, ("--trace", str(path))):
        assert main(["run", "--chip", "tpu_v4", *work, "--kv-evict", "window=100,sinks=4", "--format", "json"]) == 0
    one, other = capsys.readouterr().out.split("}\n{")
    assert one.split('"model"')[1] == other.split('"model"')[1].removesuffix("}\n")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--speculate 4", "--speculate: got '4'; legal: K@A, e.g. 4@0.8"),
        ("--speculate a@b", "--speculate: got 'a@b'; legal: K@A, e.g. 4@0.8"),
        ("--draft-model gpt2", "--draft-model: got 'gpt2'; goes with --speculate K@A"),
        (
            "--speculate 4@0.8 --draft-model gpt2 --exit-layers 3",
            "--draft-model: got 'gpt2'; goes without --exit-layers: one of them drafts",
        ),
        ("--exit-layers 6=0.5,6=0.5", "--exit-layers: got '6=0.5,6=0.5'; legal: each layer once"),
        ("--exit-layers x", "--exit-layers: got 'x'; legal: a layer, or shares such as 8=0.5,32=0.5"),
        ("--exit-layers 6=0.5,12", "--exit-layers: got '6=0.5,12'; legal: a layer, or shares such as 8=0.5,32=0.5"),
        ("--kv-evict win=3", "--kv-evict: got 'win=3'; did you mean 'window'? known: heavy, sinks, window"),
        ("--kv-evict window=3,window=4", "--kv-evict: got 'window=4'; is there twice"),
        ("--kv-evict sinks=4", "kv_eviction.window: got 0; legal: at least 1"),
        ("--kv-evict window=x", "--kv-evict: got 'window=x'; legal: window=a whole number"),
        ("--kv-rank x", "--kv-rank: got 'keys=x'; legal: keys=a whole number"),
        ("--neurons window=3", "--neurons: got 'window=3'; legal: a density first, e.g. 0.1,window=5"),
        ("--neurons much", "--neurons: got 'much'; legal: density=a number"),
        (
            "--sparsity 2",
            "sparsity.weights: got '2'; "
            "legal: dense, N:M, block:RxC@density, unstructured@density (each may end in +zeros)",
        ),
        ("--quantize int4", "--quantize: got 'int4'; known: activations, except, group, kv, kv_group, only, weights"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(
    arguments: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--chip", "tpu_v4", *WORK, *arguments.split()]) == 2
    assert capsys.readouterr().err == f"chipsmith: error: {text}\n"


def test_specs() -> None:
    known = {"a": int, "b": float, "c": str}
    assert parse_spec("3,b=0.5,c=x", "--s", known, "a") == {"a": 3, "b": 0.5, "c": "x"}
    with pytest.raises(ChipsmithError, match=r"^--s: got '4'; known: a, b, c$"):
        parse_spec("3,4", "--s", known, "a")


def test_show_tells_what_was_done_and_what_is_left_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.parquet"
    trace = plain().with_sparsity("2:4")
    write_trace(trace, path)
    assert main(["show", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert f"effective_GMAC: {trace.effective_macs / 1e9:.5g}" in lines
    assert lines[-1] == 'sparsity: {"weights": "2:4"}'
    assert "effective" not in trace_text(describe_trace(plain()))
