"""Stored recordings of models' PyTorch code, fused and folded without torch, against built traces."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from models.chip import load_chip
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.capture.emit import emit_rows
from workloads.capture.emitter import Emitter
from workloads.capture.flow import Flow
from workloads.capture.match import fuse
from workloads.capture.recording import Call, Recording, Value, read_recording, write_recording
from workloads.capture.trace import trace_of
from workloads.configs import ModelConfig, parse_config
from workloads.diff import diff
from workloads.errors import ChipsmithError
from workloads.precision import Precision
from workloads.routing import Routing
from workloads.step import Options, Step
from workloads.trace import Segment, Trace

DATA = Path(__file__).parent / "data"
STORED = sorted(path.name.removesuffix(".json.gz") for path in DATA.glob("*.json.gz"))
EXACT = ("macs", "weight_bytes", "kv_bytes")


@cache
def recorded(name: str) -> Recording:
    return read_recording(DATA / f"{name}.json.gz")


def config_of(recording: Recording) -> ModelConfig:
    return parse_config(recording.meta["config"], recording.name)


def batch_of(recording: Recording) -> Batch:
    pairs = recording.meta["batch"]
    assert isinstance(pairs, list)
    return Batch.from_pairs((new, context) for new, context in pairs)


@cache
def captured_as(name: str) -> Trace:
    return trace_of(recorded(name))


@cache
def built_as(name: str) -> Trace:
    recording = recorded(name)
    return build_trace(config_of(recording), batch_of(recording), Precision())


# ---------------------------------------------------------------- agreement


def test_the_six_models_of_the_agreement_are_stored_in_both_phases() -> None:
    names = ("llama-2-7b", "llama-3-70b", "qwen2-7b", "mixtral-8x7b", "deepseek-v3", "mamba2-2.7b")
    assert {f"{name}.{phase}" for name in names for phase in ("prefill", "decode")} <= set(STORED)


@pytest.mark.parametrize("name", STORED)
def test_captured_equals_built_for_each_kind(name: str) -> None:
    found = diff(built_as(name), captured_as(name))
    line, measure, percent = found.worst(EXACT)
    assert percent == 0.0, (line, measure)


@pytest.mark.parametrize("name", STORED)
def test_captured_holds_the_same_parameters_and_cache(name: str) -> None:
    captured, other = captured_as(name), built_as(name)
    for fact in ("parameters", "parameter_bytes", "kv_cache_bytes", "kv_bytes_per_token", "tokens", "phase", "batch"):
        assert captured.meta[fact] == other.meta[fact], fact
    assert captured.resident_bytes == other.resident_bytes


@pytest.mark.parametrize("name", [name for name in STORED if name.split("-")[0] in ("llama", "qwen2", "mamba2")])
def test_models_without_merged_matrices_give_the_same_rows(name: str) -> None:
    captured, other = captured_as(name), built_as(name)
    assert [op.name for op in captured.ops] == [op.name for op in other.ops]
    assert diff(other, captured, "name").worst()[2] == 0.0
    assert [(block.name, block.count) for block in captured.blocks] == [(b.name, b.count) for b in other.blocks]


def test_layers_of_several_kinds_become_several_blocks() -> None:
    assert [(b.name, b.count) for b in trace_of(recorded("deepseek-v3.prefill")).blocks] == [
        ("embed", 1), ("layers", 3), ("layers_2", 1), ("head", 1),
    ]  # fmt: skip


def test_alternating_windows_become_a_pattern_of_two_layers() -> None:
    trace = trace_of(recorded("gemma-2-2b.decode"))
    assert [(block.name, block.count) for block in trace.blocks] == [("embed", 1), ("layers", 2), ("head", 1)]
    assert (trace.op("layer.1.attention").window, trace.op("layer.2.attention").window) == (4096, 0)
    assert trace.op("layer.1.attention").function == "softmax_softcap"
    assert trace.meta["attention_softcap"] == [50.0]


def test_sinks_are_parameters_of_their_attention() -> None:
    trace = trace_of(recorded("gpt-oss-20b.decode"))
    op = trace.op("layer.1.attention")
    assert (op.function, op.param_width, op.window) == ("softmax_sinks", 64, 128)


@pytest.mark.parametrize("name", STORED)
def test_folding_keeps_every_sum(name: str) -> None:
    recording = recorded(name)
    flow = Flow(recording)
    fuse(flow)
    emitter = Emitter(flow, Step(batch_of(recording), Options(mla="naive")))
    emit_rows(emitter)
    unrolled = emitter.step.graph.finish("unrolled", {}).check()
    folded = trace_of(recording, mla="naive")
    assert len(folded.ops) < len(unrolled.ops)
    assert diff(unrolled, folded).worst()[2] == 0.0


@pytest.mark.parametrize("name", [name for name in STORED if name.endswith("decode")])
def test_captured_traces_take_as_long_as_built_ones(name: str) -> None:
    chip = load_chip("tpu_v4").with_fields({"memories.dram.capacity_bytes": 2**40})
    times = [simulate(trace, chip, fidelity="bound").latency_s for trace in (captured_as(name), built_as(name))]
    assert times[0] == pytest.approx(times[1], rel=0.01)


# ---------------------------------------------------------------- options


def test_latent_attention_in_both_forms() -> None:
    recording = recorded("deepseek-v3.decode")
    naive, absorbed = trace_of(recording, mla="naive"), trace_of(recording, mla="absorbed")
    assert trace_of(recording).ops == absorbed.ops
    config, batch = config_of(recording), batch_of(recording)
    for form, trace in (("naive", naive), ("absorbed", absorbed)):
        other = build_trace(config, batch, mla=form)
        assert (trace.macs, trace.weight_bytes, trace.kv_read_bytes) == (
            other.macs, other.weight_bytes, other.kv_read_bytes,
        )  # fmt: skip
    assert naive.macs / absorbed.macs > 15
    row = absorbed.op("layer.attention_absorbed")
    assert (row.heads, row.kv_heads, row.qk_dim, row.v_dim, row.kv_width) == (128, 1, 576, 512, 576)


def test_the_cache_is_appended_to_never_copied() -> None:
    recording = recorded("llama-2-7b.decode")
    op = trace_of(recording).op("layer.attention")
    assert op.kv_write_bytes == 8 * 2 * 32 * 128 * 2
    assert op.kv_read_bytes == 1024 * op.kv_write_bytes
    assert "copy" not in {row.function for row in trace_of(recording).ops}


def test_routing_decides_which_experts_are_read() -> None:
    recording = recorded("deepseek-v3.decode")
    even, skewed = trace_of(recording), trace_of(recording, moe=Routing.zipf(2.0))
    rows = [trace.op("layer_2.experts_down_proj") for trace in (even, skewed)]
    assert rows[0].tokens == rows[1].tokens == 64
    assert rows[0].segments == (Segment(2, 0, 7), Segment(1, 0, 50))
    assert rows[1].weight_bytes < rows[0].weight_bytes


def test_formats_go_where_builders_put_them() -> None:
    recording = recorded("mixtral-8x7b.decode")
    form = Precision("int4", "fp16", "int8", 128, embeddings="fp16")
    found = diff(build_trace(config_of(recording), batch_of(recording), form), trace_of(recording, form))
    assert found.worst(EXACT)[2] == 0.0


# ---------------------------------------------------------------- recordings as files


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    recording = recorded("qwen2-7b.decode")
    for name in ("a.json", "a.json.gz"):
        assert read_recording(write_recording(recording, tmp_path / name)) == recording
    first = (tmp_path / "a.json.gz").read_bytes()
    assert write_recording(recording, tmp_path / "b.json.gz").read_bytes() == first


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"{", "no recording: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b"[]", "no recording: it does not say format 'chipsmith-recording'"),
        (b'{"format": "chipsmith-recording"}', "schema_version; this version reads 1"),
        (b'{"format": "chipsmith-recording", "schema_version": 2}', "schema_version: got 2; this version reads 1"),
        (b'{"format": "chipsmith-recording", "schema_version": 1}', "a damaged recording: KeyError('values')"),
    ],
)
def test_files_that_are_no_recording_are_refused(content: bytes, text: str, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_bytes(content)
    with pytest.raises(ChipsmithError) as caught:
        read_recording(file)
    separator = ": " if text.startswith("schema") else "; "
    assert str(caught.value) == f"{file}{separator}{text}"


def test_truncated_and_missing_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.json.gz"
    file.write_bytes(gzip.compress(json.dumps({"format": "x"}).encode())[:-9])
    with pytest.raises(ChipsmithError, match="no recording"):
        read_recording(file)
    with pytest.raises(ChipsmithError) as caught:
        read_recording(tmp_path / "none.json")
    assert str(caught.value) == f"{tmp_path / 'none.json'}; no such file"


# ---------------------------------------------------------------- small recordings


def test_nothing_recorded_is_refused() -> None:
    empty = Recording("Identity", (Value((2, 4), "fp32", "input", "x"),), (), (0,))
    with pytest.raises(ChipsmithError) as caught:
        trace_of(empty)
    assert str(caught.value) == "Identity; no operator that does work was recorded"


def test_unknown_operators_are_counted_as_copies_and_said() -> None:
    values = (Value((2, 4), "fp32", "input", "x"), Value((2, 4), "fp32"))
    recording = Recording("m", values, (Call("fft_r2c", "", (0,), (1,)),), (1,))
    with pytest.warns(UserWarning, match=r"^operators without a rule count as copies: fft_r2c x 1$"):
        trace = trace_of(recording)
    assert trace.meta["unknown_operators"] == {"fft_r2c": 1}
    assert [(op.function, op.input_bytes, op.output_bytes) for op in trace.ops] == [("copy", 32, 32)]


def test_experts_that_do_not_get_equally_many_choices_are_refused() -> None:
    recording = recorded("mixtral-8x7b.decode")
    with pytest.raises(ChipsmithError) as caught:
        trace_of(replace(recording, meta={**recording.meta, "batch": [[1, 1024]] * 3, "rows": 3}))
    assert str(caught.value) == (
        "model.layers.0.mlp.experts: got '16 rows for 3 tokens'; legal: the same number for each token"
    )
