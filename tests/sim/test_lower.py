"""Operator rows: what a trace becomes before it is priced."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sim.demand import KIND_CODES
from sim.lower import LIMIT, kind_name, lower
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import KINDS, Operator, Segment, Trace

from .designs import attention, chain, collective, experts, gemm, row_of, vector


def fields(op: Operator, *names: str) -> list[Any]:
    row = row_of(op)
    return [int(row[name]) for name in names]


def test_every_kind_of_the_trace_has_a_code() -> None:
    assert set(KIND_CODES) == set(KINDS)
    assert [kind_name(code) for code in KIND_CODES.values()] == list(KIND_CODES)


def test_a_gemm_row() -> None:
    op = gemm(5, 7, 3, act="int8", weight="int4", out="fp16", weight_group=4, param_width=3)
    row = row_of(op)
    assert [int(row[name]) for name in ("m", "k", "n", "count", "macs")] == [5, 7, 3, 1, 105]
    assert [int(row[name]) for name in ("a_bits", "w_bits", "o_bits")] == [8, 4, 16]
    # 21 weights of 4 bits, 6 scales of 16 bits, 3 biases of 16 bits
    assert [int(row[name]) for name in ("in_bytes", "w_bytes", "out_bytes")] == [35, 23 + 6, 30]


def test_a_gemm_of_two_activations_reads_the_second_in_the_format_of_activations() -> None:
    op = gemm(4, 8, 6, act="int8", weight="int4", weight_is_param=False)
    assert fields(op, "w_bits", "in_bytes", "w_bytes") == [8, 32, 48]


def test_experts_become_one_row_a_distinct_size() -> None:
    rows = lower(chain(experts({4: 3, 9: 1}, 8, 2))).ops
    assert [[int(r[name]) for name in ("m", "count", "macs", "w_bytes")] for r in rows] == [
        [4, 3, 4 * 3 * 16, 32],
        [9, 1, 9 * 16, 32],
    ]


def test_experts_without_tokens_have_no_row() -> None:
    op = Operator("e", "gemm", 0, (Segment(0, 0, 5), Segment(3, 0, 2)), k=8, n=2, per_segment_weights=True)
    assert [int(r["m"]) for r in lower(chain(op)).ops] == [3]


def test_requests_become_one_row_a_distinct_length() -> None:
    op = attention(Segment(1, 99, 4), Segment(8, 0, 2), heads=6, kv_heads=2, qk_dim=16, v_dim=8)
    rows = lower(chain(op)).ops
    assert [[int(r[n]) for n in ("m", "count", "pairs", "keys", "heads", "kv_heads")] for r in rows] == [
        [1, 4, 100, 100, 6, 2],
        [8, 2, 36, 8, 6, 2],
    ]
    assert sum(int(r["macs"]) for r in rows) == op.macs == 6 * (16 + 8) * (4 * 100 + 2 * 36)
    assert sum(int(r["kv_read_bytes"]) for r in rows) == op.kv_read_bytes == 4 * 99 * 48 * 2


@pytest.mark.parametrize(
    ("function", "kind", "expected"),
    [
        ("softmax", "softmax", [2, 3, 2]),
        ("layernorm", "norm", [2, 5, 1]),
        ("rmsnorm", "norm", [1, 3, 1]),
        ("silu_mul", "elementwise", [0, 3, 2]),
        ("add", "elementwise", [0, 1, 0]),
        ("copy", "elementwise", [0, 0, 0]),
    ],
)
def test_reductions_passes_and_table_passes(function: str, kind: str, expected: list[int]) -> None:
    op = vector(kind, function, 3, 10)
    assert fields(op, "reductions", "passes", "tables") == expected
    assert fields(op, "m", "width", "in_bytes", "out_bytes") == [3, 10, 60, 60]


def test_a_norm_of_two_inputs_runs_over_what_it_reads() -> None:
    op = Operator("n", "norm", 0, (Segment(3),), function="rmsnorm", width_in=20, width_out=10, param_width=10)
    assert fields(op, "width", "w_bytes") == [20, 20]


def test_a_scan_runs_over_its_state() -> None:
    op = Operator("s", "scan", 0, (Segment(4, 0, 2),), function="ssd", heads=3, qk_dim=8, v_dim=16, kv_width=384)
    assert fields(op, "m", "width", "macs", "kv_read_bytes", "kv_write_bytes") == [8, 384, 2 * 8 * 384, 1536, 1536]


@pytest.mark.parametrize(
    ("function", "ranks", "steps", "wire"),
    [
        ("all_reduce", 4, 6, 2 * 3 * 1000 // 4),
        ("all_gather", 4, 3, 3 * 1000 // 4),
        ("reduce_scatter", 8, 7, 7 * 1000 // 8),
        ("all_to_all", 2, 1, 500),
    ],
)
def test_rings(function: str, ranks: int, steps: int, wire: int) -> None:
    assert fields(collective(function, 5, 100, ranks), "ranks", "steps", "wire_bytes") == [ranks, steps, wire]


def test_a_gather_collective_counts_the_larger_side() -> None:
    op = Operator("g", "collective", 0, (Segment(5),), function="all_gather", width_in=25, width_out=100, ranks=4)
    assert fields(op, "wire_bytes") == [750]


def test_rows_keep_the_traces_order() -> None:
    trace = build_trace("mixtral-8x7b", Batch.decode(3, [10, 20, 10]))
    rows = lower(trace)
    assert list(rows.trace_row) == sorted(rows.trace_row)
    assert set(rows.trace_row.tolist()) == set(range(len(trace.ops)))


def test_conserved_over_whole_models() -> None:
    for name in ("opt-125m", "mixtral-8x7b", "qwen3-8b", "mamba2-2.7b", "deepseek-v2"):
        trace: Trace = build_trace(name, Batch.from_pairs([(1, 70), (5, 0), (1, 70), (3, 9)]))
        rows = lower(trace)
        for row, op in enumerate(trace.ops):
            mine = rows.ops[rows.trace_row == row]
            assert int(mine["macs"].sum()) == op.macs
            assert int(mine["in_bytes"].sum() + (mine["w_bytes"] * mine["count"]).sum()) == (
                op.input_bytes + op.weight_bytes
            )
            assert int(mine["kv_read_bytes"].sum()) == op.kv_read_bytes
            assert int(mine["kv_write_bytes"].sum()) == op.kv_write_bytes
            assert int(mine["out_bytes"].sum()) == op.output_bytes


def test_a_count_beyond_64_bits_is_refused() -> None:
    assert LIMIT <= 2**62
    with pytest.raises(ChipsmithError, match=r"^big\.macs: got 9444732965739290427392; must be below 2\*\*"):
        lower(chain(gemm(2**33, 2**20, 2**20, "big")))


# ---------------------------------------------------------------- sparse rows


def test_sparse_weights_move_compressed_and_run_dense() -> None:
    op = gemm(3, 64, 32, sparsity="2:4")
    assert fields(op, "m", "k", "n", "macs", "w_bytes") == [3, 64, 32, 3 * 2048, 1024 * 2 + 256]
    assert fields(gemm(3, 64, 32, sparsity="2:4+zeros"), "macs", "w_bytes") == [3 * 2048, 4096]
    assert fields(gemm(3, 64, 32, act_sparsity="unstructured@0.1"), "macs", "in_bytes") == [3 * 2048, 3 * 64 * 2]
    assert fields(gemm(3, 64, 32, cached_weights=2048), "macs", "w_bytes") == [3 * 2048, 0]


def test_blocks_of_scores_that_are_left_out_are_not_run() -> None:
    op = attention(Segment(1, 1023, 3), heads=4, kv_heads=2, qk_dim=16, v_dim=16, sparsity="block:1x64@0.25")
    assert fields(op, "pairs", "keys", "count", "macs") == [256, 256, 3, 3 * 4 * 256 * 32]
    assert fields(op, "kv_read_bytes", "kv_write_bytes") == [3 * 255 * 64 * 2, 3 * 64 * 2]
    fine = attention(Segment(1, 1023), sparsity="unstructured@0.25")
    assert fields(fine, "pairs", "keys", "macs") == [1024, 1024, 4 * 1024 * 32]


def test_formats_that_are_only_stored_bring_their_scales() -> None:
    op = gemm(4, 64, 32, act="mxfp8", weight="mxfp4")
    assert fields(op, "a_bits", "w_bits", "in_bytes", "w_bytes") == [8, 4, 256 + 8, 1024 + 64]


TRANSFORMED: dict[str, Callable[[Trace], Trace]] = {
    "formats": lambda t: t.with_quantization("mxfp4", "int8", "int4", kv_group=32),
    "sparse": lambda t: t.with_sparsity("2:4").with_sparsity(attention="block:1x16@0.5"),
    "neurons": lambda t: t.with_active_neurons(0.25, window=2, predictor=8),
    "cache": lambda t: t.with_kv_compression(rank_k=16, rank_v=32).with_kv_eviction(40, sinks=4),
    "draft": lambda t: t.with_speculation(2, 0.5, t.with_early_exit(3), shared=True),
    "exit": lambda t: t.with_early_exit({4: 0.5, 12: 0.5}, check=True),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_transformed_traces_are_conserved_and_run(name: str) -> None:
    plain = build_trace("opt-125m", Batch.decode(2, [70, 20]))
    trace = TRANSFORMED[name](plain)
    rows = lower(trace)
    for row, op in enumerate(trace.ops):
        mine = rows.ops[rows.trace_row == row]
        assert int(mine["macs"].sum()) == op.issued_macs
        moved = int(mine["in_bytes"].sum() + (mine["w_bytes"] * mine["count"]).sum())
        assert moved == op.input_bytes + op.weight_bytes
        assert int(mine["kv_read_bytes"].sum()) == op.kv_read_bytes
    bound, tile = (simulate(trace, "tpu_v4", fidelity=f) for f in ("bound", "tile"))
    assert 0 < bound.latency_s <= tile.latency_s
    read = sum(op.bytes["dram_read"] * op.count for op in bound.ops)
    names = ("weight_bytes", "input_bytes", "kv_read_bytes")
    assert read == sum(getattr(op, n) * trace.blocks[op.block].count for op in trace.ops for n in names)


def test_half_of_the_weights_take_less_time_where_memory_binds() -> None:
    plain = build_trace("opt-125m", Batch.decode(1, 20))
    dense, sparse, zeros = (
        simulate(t, "tpu_v4") for t in (plain, plain.with_sparsity("2:4"), plain.with_sparsity("2:4+zeros"))
    )
    assert sparse.latency_s < dense.latency_s == zeros.latency_s
    assert sum(op.macs for op in sparse.ops) == sum(op.macs for op in dense.ops)
