"""Differences of two traces: sums, percentages, reasons."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.diff import MEASURES, Line, diff, short_name
from workloads.errors import ChipsmithError
from workloads.precision import Precision
from workloads.trace import Trace

BATCH = Batch.decode(4, 100)


def llama(**options: object) -> Trace:
    return build_trace("llama-2-7b", BATCH, **options)  # type: ignore[arg-type]  # each test knows its option


@pytest.mark.parametrize("by", ["kind", "name"])
def test_a_trace_does_not_differ_from_itself(by: str) -> None:
    found = diff(llama(), llama(), by)
    assert found.reasons == ()
    assert found.worst()[2] == 0.0
    assert found.total.left["macs"] == llama().macs
    assert found.total.left["weight_bytes"] == llama().weight_bytes
    names = ["gather", "norm", "gemm", "elementwise", "attention"] if by == "kind" else [
        short_name(op) for op in llama().ops
    ]  # fmt: skip
    assert [line.name for line in found.lines] == names


@given(st.sampled_from(["kind", "name"]), st.integers(1, 40), st.integers(1, 9))
def test_lines_sum_to_the_total(by: str, context: int, requests: int) -> None:
    found = diff(llama(), build_trace("mixtral-8x7b", Batch.decode(requests, context)), by)
    for measure in MEASURES:
        assert sum(line.left[measure] for line in found.lines) == found.total.left[measure]
        assert sum(line.right[measure] for line in found.lines) == found.total.right[measure]


def test_percentages() -> None:
    line = Line("x", {"macs": 200, "kv_bytes": 0}, {"macs": 150, "kv_bytes": 3})
    assert line.percent("macs") == -25.0
    assert line.percent("kv_bytes") is None
    assert Line("y", {"macs": 0}, {"macs": 0}).percent("macs") == 0.0


def test_formats_are_a_reason() -> None:
    found = diff(llama(), llama(precision=Precision("int4", weight_group=128)))
    assert found.reasons[0] == (
        "precision: {'weights': 'fp16', 'weight_group': 0} against {'weights': 'int4', 'weight_group': 128}"
    )
    assert "weight: fp16 against int4 in embed_tokens, q_proj, k_proj, v_proj and 6 more" in found.reasons
    line = {line.name: line for line in found.lines}["gemm"]
    assert line.percent("macs") == 0.0
    assert line.percent("weight_bytes") == pytest.approx(100 * (4.125 / 16 - 1), abs=0.01)


def test_requests_are_a_reason() -> None:
    found = diff(llama(), build_trace("llama-2-7b", Batch.decode(4, 300)))
    assert found.reasons == (
        "batch: [[1, 100, 4]] against [[1, 300, 4]]",
        "segments: 4 x 1 after 100 against 4 x 1 after 300 in attention",
    )


def test_layers_are_a_reason() -> None:
    found = diff(llama(), llama().with_counts({"layers": 30}))
    assert found.reasons == ("iterations: 32 against 30 in attn_norm, q_proj, k_proj, v_proj and 10 more",)


def test_merged_matrices_stand_on_one_line() -> None:
    found = diff(llama(), llama(merge_qkv=True, merge_gate_up=True), "name")
    lines = {line.name: line for line in found.lines}
    assert [lines["qkv_proj"].percent(m) for m in ("macs", "weight_bytes")] == [0.0, 0.0]
    assert lines["qkv_proj"].left["activation_bytes"] == 32 * 2 * 4 * (3 * 4096 + 3 * 4096)
    assert lines["qkv_proj"].right["activation_bytes"] == 32 * 2 * 4 * (4096 + 3 * 4096)
    assert "q_proj" not in lines
    assert sorted(found.reasons) == [
        "gate_up_proj is one GEMM in one trace, gate_proj, up_proj in the other: inputs are read once instead of "
        "several times",
        "qkv_proj is one GEMM in one trace, k_proj, q_proj, v_proj in the other: inputs are read once instead of "
        "several times",
    ]


def test_rows_of_one_side_are_named() -> None:
    found = diff(llama(), build_trace("qwen3-8b", BATCH))
    assert "only in the second: q_norm, k_norm" in found.reasons
    assert not [reason for reason in found.reasons if reason.startswith("only in the first")]


def test_what_only_one_side_has_is_the_worst() -> None:
    left, right = build_trace("mamba2-2.7b", BATCH), llama()
    line, measure, percent = diff(left, right).worst(("kv_bytes",))
    assert (line.name, measure, percent) == ("attention", "kv_bytes", math.inf)


def test_facts_that_one_side_lacks_are_no_reason() -> None:
    assert diff(llama(), replace(llama(), meta={})).reasons == ()


def test_unknown_groupings_are_refused() -> None:
    with pytest.raises(ChipsmithError) as caught:
        diff(llama(), llama(), "block")
    assert str(caught.value) == "by: got 'block'; known: kind, name"
