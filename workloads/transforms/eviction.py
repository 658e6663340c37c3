"""A KV cache that forgets: sinks and a window, or a budget of heavy hitters.

- Sinks and window (StreamingLLM, Xiao et al. 2024, arXiv:2309.17453, section 3.2): every query sees the first
  ``sinks`` tokens and the last ``window`` ones, itself included. Counted over all positions that is a sliding window
  of ``sinks + window``, so it is written as one. It holds for prompts too: their queries see no more. A window that the
  model has already stays where it is narrower.
- Heavy hitters (H2O, Zhang et al. 2023, arXiv:2306.14048, section 4): beside them the ``heavy`` tokens with the most
  attention so far stay. Prompts see everything and are cut down afterwards; a later step finds at most
  ``sinks + window + heavy`` tokens, its own included. What a prompt's step leaves in the cache is counted before the
  cut: that is what memory must hold.

Not counted: rotating kept keys to new positions, and the sums of scores that tell heavy hitters (two bytes a token and
head).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace
from workloads.transforms.edit import Names, noted, refuse_after, rows_named, settle, with_rows


def evict(
    trace: Trace, window: int, *, sinks: int = 0, heavy: int = 0, only: Names = (), except_: Names | None = None
) -> Trace:
    """See :meth:`workloads.trace.Trace.with_kv_eviction`."""
    refuse_after(trace, "kv_eviction")
    for name, value, least in (("window", window, 1), ("sinks", sinks, 0), ("heavy", heavy, 0)):
        if value < least:
            raise ChipsmithError(f"kv_eviction.{name}", value, f"legal: at least {least}")
    chosen = [row for row in rows_named(trace, only, except_) if trace.ops[row].kind == "attention"]
    if not chosen:
        raise ChipsmithError("kv_eviction", trace.name, "legal: a trace with an attention row that is named")
    _check_readers(trace)
    kept = window + sinks + heavy
    rows = {row: (_capped if heavy else _windowed)(trace.ops[row], kept) for row in chosen}
    told = {"window": window, "sinks": sinks, "heavy": heavy or None, "only": only or None, "except_": except_}
    return noted(settle(with_rows(trace, rows), trace, chosen), "kv_eviction", **told)


def _check_readers(trace: Trace) -> None:
    for op in trace.ops:
        if op.kind == "gemm" and any(trace.tensors[t].role == "kv" for t in op.inputs):
            raise ChipsmithError("kv_eviction", op.name, "expands the whole cache; legal: mla='absorbed'")


def _windowed(op: Operator, kept: int) -> Operator:
    return replace(op, window=min(op.window, kept) if op.window else kept)


def _capped(op: Operator, kept: int) -> Operator:
    """At most ``kept`` tokens with those of the step; requests that become equal are one segment."""
    counts: Counter[tuple[int, int, int]] = Counter()
    for s in op.segments:
        counts[s.new_tokens, min(s.context, max(0, kept - s.new_tokens)), s.placement] += s.multiplicity
    return replace(op, segments=tuple(Segment(new, ctx, count, where) for (new, ctx, where), count in counts.items()))
