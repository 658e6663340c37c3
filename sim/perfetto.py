"""Timelines for Perfetto (ui.perfetto.dev) and chrome://tracing, in Chrome's JSON trace event format.

A process is a Result, a thread an engine. Of a block that repeats the first iteration is drawn; one more thread shows
the blocks, each as one slice over all of its iterations. Counters show how much of every shared resource is in use, and
the bandwidth at which off-chip memory is read and written. Times are whole nanoseconds (the format counts
microseconds), so that slices that touch never overlap by a rounding. Names of processes and threads come first, then
all other events of a process in order of time.

Format: "Trace Event Format" (Google, 2016): metadata events ``M``, complete events ``X``, counter events ``C``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sim.pictures.timeline_data import Steps, Window, engine_rows, resource_steps, windows
from sim.result import OpResult, Result
from workloads.errors import ChipsmithError
from workloads.files import write_text

Event = dict[str, Any]
BLOCKS_TID = 1
_FIRST_ENGINE_TID = 2


def write_perfetto(result: Result | Sequence[Result], path: str | Path) -> None:
    """Write the timeline of a result, or of several as one process each; the file appears whole or not at all.

    Raises:
        ChipsmithError: no result, or the path cannot be written.
    """
    results = [result] if isinstance(result, Result) else list(result)
    write_text(path, json.dumps(trace_document(results), separators=(",", ":"), allow_nan=False) + "\n")


def trace_document(results: Sequence[Result]) -> dict[str, Any]:
    """The trace as plain data: ``traceEvents``, the unit that is shown, and the results' manifests.

    Raises:
        ChipsmithError: no result.
    """
    if not results:
        raise ChipsmithError("results", None, "at least one result is needed")
    events = [event for pid, result in enumerate(results, 1) for event in _process(result, pid)]
    manifests = {f"{pid}": {k: str(v) for k, v in result.manifest.items()} for pid, result in enumerate(results, 1)}
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": {"manifests": manifests}}


def _process(result: Result, pid: int) -> Iterator[Event]:
    """All events of a result: names first, then everything in order of time."""
    rows = engine_rows(result)
    tids = {name: _FIRST_ENGINE_TID + i for i, name in enumerate(rows)}
    yield _name(pid, 0, "process_name", f"{result.chip.name}: {result.trace.name}")
    yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_sort_index", "args": {"sort_index": pid}}
    for tid, name in ((BLOCKS_TID, "blocks"), *((tid, name) for name, tid in tids.items())):
        yield _name(pid, tid, "thread_name", name)
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": {"sort_index": tid}}
    shown = windows(result)
    events = [_block_slice(window, pid) for window in shown]
    for op in sorted(result.ops, key=lambda op: (tids[op.engine], op.start_s, op.end_s)):
        events.append(_slice(pid, tids[op.engine], op.name, op.kind, op.start_s, op.end_s, _op_args(op)))
    yield from sorted([*events, *_counters(result, shown, pid), *_bandwidths(result, shown, pid)], key=_at)


def _at(event: Event) -> float:
    return float(event["ts"])


def _name(pid: int, tid: int, kind: str, name: str) -> Event:
    return {"ph": "M", "pid": pid, "tid": tid, "name": kind, "args": {"name": name}}


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _slice(
    pid: int, tid: int, name: str, category: str, begin_s: float, end_s: float, args: Mapping[str, Any]
) -> Event:
    """A complete event; microseconds with three digits, so whole nanoseconds."""
    begin, end = _ns(begin_s), _ns(end_s)
    times = {"ts": begin / 1000, "dur": (end - begin) / 1000}
    return {"ph": "X", "pid": pid, "tid": tid, "name": name, "cat": category, **times, "args": dict(args)}


def _op_args(op: OpResult) -> dict[str, Any]:
    return {
        "block": op.block,
        "count": op.count,
        "phase": op.phase,
        "bound_by": op.bound_by,
        "duration_at_full_share_us": op.duration_s * 1e6,
        "cycles": op.cycles,
        "macs": op.macs,
        **{f"{name}_bytes": amount for name, amount in op.bytes.items() if amount},
        "energy_pj": sum(op.energy_pj.values()),
    }


def _block_slice(window: Window, pid: int) -> Event:
    """One slice over all iterations, named ``layers x 32`` where there are several."""
    name = f"{window.block} x {window.count}" if window.count > 1 else window.block
    args = {
        "iterations": window.count,
        "drawn": 1,
        "first_iteration_us": (window.first_end_s - window.begin_s) * 1e6,
        "mean_iteration_us": (window.end_s - window.begin_s) / window.count * 1e6,
    }
    return _slice(pid, BLOCKS_TID, name, "block", window.begin_s, window.end_s, args)


def _counters(result: Result, shown: Sequence[Window], pid: int) -> Iterator[Event]:
    """Use of every shared resource in per cent; over iterations that are not drawn their mean."""
    for name, steps in resource_steps(_runs(result, shown, lambda op: op.needs_s)).items():
        percent = [round(100 * share, 3) for share in steps.share.clip(0, 1).tolist()]
        yield from _counter(pid, f"{name} in use", "percent", steps, percent)


def _bandwidths(result: Result, shown: Sequence[Window], pid: int) -> Iterator[Event]:
    """Bytes a second that off-chip memory reads and writes, in GB/s, each operator's spread evenly over its run."""
    for name, steps in resource_steps(_runs(result, shown, _off_chip)).items():
        rates = [round(rate / 1e9, 3) for rate in steps.share.tolist()]
        yield from _counter(pid, f"{name.replace('_', ' ')} bandwidth", "GB/s", steps, rates)


def _off_chip(op: OpResult) -> dict[str, float]:
    return {name: float(op.bytes[name]) for name in ("dram_read", "dram_write") if op.bytes.get(name)}


def _counter(pid: int, name: str, unit: str, steps: Steps, values: Sequence[float]) -> Iterator[Event]:
    """A value between edges, said where it changes; 0 at the end."""
    last: float | None = None
    for at, value in zip(steps.edges_s.tolist(), [*values, 0.0], strict=True):
        if value != last:
            yield {"ph": "C", "pid": pid, "tid": 0, "name": name, "ts": _ns(at) / 1000, "args": {unit: value}}
        last = value


def _runs(
    result: Result, shown: Sequence[Window], needs: Callable[[OpResult], Mapping[str, float]]
) -> list[tuple[float, float, Mapping[str, float]]]:
    """When operators run and what they need; iterations of a block that are not drawn are one run with all of it."""
    runs = [(op.start_s, op.end_s, needs(op)) for op in result.ops]
    for window in shown:
        if window.count > 1 and window.end_s > window.first_end_s:
            hidden: dict[str, float] = {}
            for op in window.ops:
                for name, amount in needs(op).items():
                    hidden[name] = hidden.get(name, 0.0) + amount * (window.count - 1)
            runs.append((window.first_end_s, window.end_s, hidden))
    return [run for run in runs if _ns(run[1]) > _ns(run[0])]  # what takes no nanosecond has no width here
