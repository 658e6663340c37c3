"""What time grows with: not with tokens or context, but with requests that differ."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.measure import Row, measured
from models.chip import load_chip
from sim.lower import lower
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace

_MODEL, _CONTEXT = "llama-2-7b", 2048
_ROOM_BYTES = 2**50  # no context is refused for its size: time is what is measured
_COUNTS = (1, 10, 100, 1000)
_CONTEXTS = (1 << 10, 1 << 13, 1 << 16, 1 << 20)


def _cases() -> Iterator[tuple[str, Batch]]:
    for count in _COUNTS:
        yield f"decode, {count:,} equal requests", Batch.decode(count, _CONTEXT)
    for count in _COUNTS[1:]:
        yield f"decode, {count:,} different contexts", Batch.decode(count, range(_CONTEXT, _CONTEXT + count))
    for context in _CONTEXTS:
        yield f"decode, context {context:,}", Batch.decode(1, context)
    for tokens in _CONTEXTS:
        yield f"prefill, {tokens:,} tokens", Batch.prefill([tokens])


def _row(what: str, batch: Batch) -> Row:
    chip = load_chip("tpu_v4").with_fields({"memories.dram.capacity_bytes": _ROOM_BYTES})
    trace = build_trace(_MODEL, batch)
    rows = len(lower(trace).ops)
    note = f"{batch.tokens:,} new tokens, {len(trace.ops)} operators, {rows:,} distinct operator rows"
    return measured(what, lambda: simulate(build_trace(_MODEL, batch), chip), note=note)


def main() -> list[Row]:
    """Trace and simulation of one step of Llama-2-7B; the note says how large it is."""
    return [_row(what, batch) for what, batch in _cases()]
