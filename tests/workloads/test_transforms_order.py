"""Transformations together: which commute, which refuse, that files and the checker take them all."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import Trace
from workloads.trace_io import read_trace, write_trace
from workloads.transforms.edit import KEPT_ROWS, applied, rows_named

Change = Callable[[Trace], Trace]
#: Changes of different fields: any order gives the same trace.
FREE: dict[str, Change] = {
    "weights": lambda t: t.with_quantization("int4", weight_group=128),
    "activations": lambda t: t.with_quantization(activations="int8", except_=()),
    "cache": lambda t: t.with_kv_compression("int8", group=64),
    "rank": lambda t: t.with_kv_compression(rank_k=32, rank_v=48),
    "patterns": lambda t: t.with_sparsity("2:4", only=("q_proj", "o_proj")),
    "scores": lambda t: t.with_sparsity(attention="block:1x32@0.5", only="attention"),
    "sinks": lambda t: t.with_kv_eviction(60, sinks=4),
    "verify": lambda t: t.with_speculation(3, 0.75),
}
#: Changes that ask how many tokens the step has, or that must know the rows' final shape.
LATE: dict[str, Change] = {
    "heavy": lambda t: t.with_kv_eviction(60, heavy=60),
    "neurons": lambda t: t.with_active_neurons(0.25),
    "exit": lambda t: t.with_early_exit({6: 0.5, 12: 0.5}),
    "draft": lambda t: t.with_speculation(2, 0.5, t.with_early_exit(3), shared=True),
}


def plain(model: str = "opt-125m") -> Trace:
    return build_trace(model, Batch.decode(2, [50, 300]))


def bare(trace: Trace) -> tuple[object, ...]:
    """What a trace is, whatever its notes are ordered like."""
    by_name = sorted(trace.tensors, key=lambda t: t.name)
    rows = [
        (op.name, sorted(trace.tensors[t].name for t in op.inputs), op.macs, op.effective_macs, op.weight_bytes,
         op.input_bytes, op.output_bytes, op.kv_read_bytes, op.kv_write_bytes, op.act, op.weight, op.out, op.segments)
        for op in trace.ops
    ]  # fmt: skip
    notes = {name: sorted(map(repr, calls)) for name, calls in applied(trace).items() if isinstance(calls, list)}
    sizes = [(t.name, t.elements, t.dtype, t.bytes) for t in by_name]
    return rows, sizes, [b.count for b in trace.blocks], {**trace.meta, "transforms": notes}


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(FREE, 2)))
def test_changes_of_different_fields_commute(one: str, other: str) -> None:
    first, second = FREE[other](FREE[one](plain())), FREE[one](FREE[other](plain()))
    assert bare(first) == bare(second)
    first.check()


@given(st.permutations(sorted(FREE)))
@settings(max_examples=10)
def test_all_of_them_in_any_order(order: list[str]) -> None:
    def run(names: list[str]) -> Trace:
        trace = plain()
        for name in names:
            trace = FREE[name](trace)
        return trace.check()

    assert bare(run(order)) == bare(run(sorted(FREE)))


REFUSED = [
    (("exit", "weights"), "quantization: got 'opt-125m decode'; comes before early_exit"),
    (("exit", "patterns"), "sparsity: got 'opt-125m decode'; comes before early_exit"),
    (("exit", "sinks"), "kv_eviction: got 'opt-125m decode'; comes before early_exit"),
    (("exit", "rank"), "kv_compression: got 'opt-125m decode'; comes before early_exit"),
    (("exit", "neurons"), "neurons: got 'opt-125m decode'; comes before early_exit"),
    (("exit", "exit"), "early_exit: got 'opt-125m decode'; comes before early_exit"),
    (("exit", "verify"), "speculation: got 'opt-125m decode'; comes before early_exit"),
    (("neurons", "exit"), "early_exit: got 'opt-125m decode'; comes before neurons"),
    (("neurons", "verify"), "speculation: got 'opt-125m decode'; comes before neurons"),
    (("heavy", "verify"), "speculation: got 'opt-125m decode'; comes before kv_eviction"),
    (("verify", "exit"), "early_exit: got 'opt-125m decode'; legal: a decode step, one new token a request"),
    (
        ("draft", "weights"),
        "quantization: got 'opt-125m decode'; comes before speculation with a draft: change model and draft apart",
    ),
]


@pytest.mark.parametrize(("order", "text"), REFUSED)
def test_orders_that_would_be_wrong_are_refused(order: tuple[str, ...], text: str) -> None:
    changes = {**FREE, **LATE}
    *early, last = order
    trace = plain()
    for name in early:
        trace = changes[name](trace).check()
    with pytest.raises(ChipsmithError) as caught:
        changes[last](trace)
    assert str(caught.value) == text


def test_a_budget_counts_the_tokens_that_are_verified() -> None:
    trace = LATE["heavy"](FREE["verify"](plain())).check()
    assert [(s.new_tokens, s.context) for s in trace.op("layer.attention").segments] == [(4, 50), (4, 116)]


def test_more_tokens_activate_more_neurons() -> None:
    one, four = LATE["neurons"](plain()), LATE["neurons"](FREE["verify"](plain())).check()
    shares = [trace.op("layer.down_proj").k / 3072 for trace in (one, four)]
    assert shares == [pytest.approx(1 - 0.75**2), pytest.approx(1 - 0.75**8, abs=1e-3)]


@pytest.mark.parametrize("ending", [".parquet", ".jsonl"])
@pytest.mark.parametrize("name", [*FREE, *LATE])
def test_files_give_back_equal_traces(name: str, ending: str, tmp_path: Path) -> None:
    trace = {**FREE, **LATE}[name](plain())
    back = read_trace(write_trace(trace, tmp_path / f"t{ending}"))
    assert back == trace
    assert (back.effective_macs, back.resident_bytes) == (trace.effective_macs, trace.resident_bytes)


@pytest.mark.parametrize("name", [*FREE, *LATE])
def test_the_trace_that_is_changed_stays_as_it_was(name: str) -> None:
    trace = plain()
    {**FREE, **LATE}[name](trace)
    assert trace == plain()


def test_notes_say_what_was_done_and_how() -> None:
    trace = FREE["sinks"](FREE["weights"](plain()))
    assert trace.meta["transforms"] == {
        "quantization": [{"weights": "int4", "weight_group": 128}],
        "kv_eviction": [{"window": 60, "sinks": 4}],
    }


def test_rows_by_name() -> None:
    trace = plain()
    rows = [op.name for op in trace.ops]
    assert {rows[r] for r in rows_named(trace)} == set(rows) - {"embed_tokens", "lm_head"}
    assert {rows[r] for r in rows_named(trace, except_=())} == set(rows)
    assert {rows[r] for r in rows_named(trace, ("[qkv]_proj", "layer.attention"))} == {
        "layer.q_proj", "layer.k_proj", "layer.v_proj", "layer.attention"}  # fmt: skip
    assert {rows[r] for r in rows_named(trace, "*_proj", "[qkv]_*")} == {
        "layer.o_proj", "layer.up_proj", "layer.down_proj"}  # fmt: skip
    assert "router" in KEPT_ROWS
