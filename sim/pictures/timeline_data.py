"""What a timeline shows, as plain numbers: one iteration of every block, and the use of shared resources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.pictures.words import subject
from sim.result import OpResult, Result

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bar:
    """An operator's first iteration in drawn time (see :class:`Timeline`)."""

    name: str
    kind: str
    row: str
    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Cut:
    """Iterations that are not drawn.

    Attributes:
        begin_s, end_s: of the gap, drawn time.
        block: the repeated block; iterations: how many are not drawn; skipped_s: how long they take.
    """

    begin_s: float
    end_s: float
    block: str
    iterations: int
    skipped_s: float


@dataclass(frozen=True)
class Steps:
    """A share that is constant between edges: ``share[i]`` holds from ``edges_s[i]`` to ``edges_s[i + 1]``."""

    edges_s: Floats
    share: Floats


@dataclass(frozen=True)
class Timeline:
    """One iteration of every block on a time axis from which the other iterations are cut.

    Attributes:
        title: chip, model and phase.
        rows: engines, in the chip's order.
        bars, cuts: what is drawn and what is not.
        uses: per shared resource its use over drawn time, 1 = all of it.
        span_s: end of the axis. latency_s: the Result's.
    """

    title: str
    rows: tuple[str, ...]
    bars: tuple[Bar, ...]
    cuts: tuple[Cut, ...]
    uses: Mapping[str, Steps]
    span_s: float
    latency_s: float


@dataclass(frozen=True)
class Window:
    """Where a block's first iteration and all of its iterations lie, seconds."""

    block: str
    count: int
    begin_s: float
    first_end_s: float
    end_s: float
    ops: tuple[OpResult, ...]


def windows(result: Result) -> tuple[Window, ...]:
    """Blocks in order of time; a block that repeats lasts until the next one starts."""
    members: dict[str, list[OpResult]] = {}
    for op in result.ops:
        members.setdefault(op.block, []).append(op)
    ordered = sorted(members.items(), key=lambda item: min(op.start_s for op in item[1]))
    begins = [min(op.start_s for op in ops) for _, ops in ordered]
    found = []
    for (name, ops), begin, limit in zip(ordered, begins, [*begins[1:], result.latency_s], strict=True):
        first_end = max(op.end_s for op in ops)
        end = limit if ops[0].count > 1 else min(first_end, limit)
        found.append(Window(name, ops[0].count, begin, first_end, end, tuple(ops)))
    return tuple(found)


def timeline_data(result: Result, gap_share: float = 0.04) -> Timeline:
    """One iteration of every block, with the use of every shared resource.

    Args:
        result: what to show.
        gap_share: width of a cut relative to all that is drawn.
    """
    shown = windows(result)
    gap = gap_share * sum(w.first_end_s - w.begin_s for w in shown)
    bars: list[Bar] = []
    cuts: list[Cut] = []
    moved: list[tuple[float, float, Mapping[str, float]]] = []
    removed = 0.0
    for window in shown:
        for op in window.ops:
            begin, end = op.start_s - removed, op.end_s - removed
            bars.append(Bar(op.name, op.kind, op.engine, begin, end))
            moved.append((begin, end, op.needs_s))
        skipped = window.end_s - window.first_end_s
        if window.count > 1 and skipped > 0:
            at = window.first_end_s - removed
            cuts.append(Cut(at, at + gap, window.block, window.count - 1, skipped))
            removed += skipped - gap
    span = max([bar.end_s for bar in bars] + [cut.end_s for cut in cuts])
    return Timeline(
        subject(result), engine_rows(result), tuple(bars), tuple(cuts), resource_steps(moved), span, result.latency_s
    )


def engine_rows(result: Result) -> tuple[str, ...]:
    """Engines that run something, in the chip's order, then links and others by name."""
    used = {op.engine for op in result.ops}
    own = [name for name in result.chip.engines if name in used]
    return (*own, *sorted(used - set(own)))


def resource_steps(runs: Sequence[tuple[float, float, Mapping[str, float]]]) -> dict[str, Steps]:
    """Use of every resource over time by operators that run from begin to end.

    An operator's need is spread evenly over its run, so that the area under a curve is exactly the need of all
    operators; where contention changes within a run a curve may pass 1 for a while.

    Args:
        runs: (begin, end, seconds needed of each resource at full share).
    """
    live = [run for run in runs if run[1] > run[0]]
    if not live:
        return {}
    begin = np.array([run[0] for run in live], np.float64)
    end = np.array([run[1] for run in live], np.float64)
    edges = np.unique(np.concatenate([begin, end]))
    running = (begin[None, :] <= edges[:-1, None]) & (end[None, :] > edges[:-1, None])
    names = dict.fromkeys(name for run in live for name in run[2])
    need = {name: np.array([run[2].get(name, 0.0) for run in live], np.float64) for name in names}
    return {name: Steps(edges, running @ (need[name] / (end - begin))) for name in names}
