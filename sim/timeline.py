"""The timeline: operators on engines as dependencies allow, sharing resources max-min fairly.

One compiled function over demand vectors and the dependency table, used for one chip and for a hundred thousand.
An operator that runs at full share of everything takes ``fixed + max(busy, needs)`` seconds; a resource that its
running operators together ask for more than once is divided max-min fairly, re-solved at every event. Layers that
repeat are unrolled until the period is steady and then counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.jit import kernel, parallel_kernel, prange
from sim.engine import Array
from workloads.trace import Trace

STEADY = 1e-9  # relative difference of two periods that counts as steady
UNROLL = 3  # iterations unrolled at first


@dataclass(frozen=True)
class Plan:
    """The unrolled dependency table of a trace on given engines.

    Attributes:
        op: trace row of every instance, shape (N,).
        engine: engine index of every instance, shape (N,).
        first, deps: dependencies of instance i are ``deps[first[i]:first[i + 1]]``.
        block: block of every instance; iteration: its iteration.
        unrolled, repeats: iterations unrolled and in all, per block, shape (B,).
    """

    op: Array
    engine: Array
    first: Array
    deps: Array
    block: Array
    iteration: Array
    unrolled: Array
    repeats: Array


def plan(trace: Trace, engine_of: Mapping[int, int], unroll: int = UNROLL) -> Plan:
    """Unroll the trace's blocks ``unroll`` times (or as often as they repeat, if less).

    Args:
        trace: a checked trace.
        engine_of: engine index by trace row.
        unroll: iterations per block.
    """
    rows: list[tuple[int, int, int]] = []
    index: dict[tuple[int, int], int] = {}
    counts = [min(block.count, unroll) for block in trace.blocks]
    by_block: list[list[int]] = [[] for _ in trace.blocks]
    for row, op in enumerate(trace.ops):
        by_block[op.block].append(row)
    for block, members in enumerate(by_block):
        for iteration in range(counts[block]):
            for row in members:
                index[row, iteration] = len(rows)
                rows.append((row, block, iteration))
    deps = [sorted(_sources(trace, row, iteration, index, counts)) for row, _, iteration in rows]
    first = np.cumsum([0, *(len(d) for d in deps)])
    return Plan(
        op=np.array([r[0] for r in rows], np.int64),
        engine=np.array([engine_of[r[0]] for r in rows], np.int64),
        first=first.astype(np.int64),
        deps=np.array([d for group in deps for d in group], np.int64),
        block=np.array([r[1] for r in rows], np.int64),
        iteration=np.array([r[2] for r in rows], np.int64),
        unrolled=np.array(counts, np.int64),
        repeats=np.array([b.count for b in trace.blocks], np.int64),
    )


def _sources(
    trace: Trace, row: int, iteration: int, index: Mapping[tuple[int, int], int], counts: list[int]
) -> set[int]:
    block = trace.ops[row].block
    carried = {target: source for source, target in trace.blocks[block].carried}
    found = set()
    for tensor in trace.ops[row].inputs:
        producer, at = trace.tensors[tensor].producer, iteration
        if tensor in carried and iteration > 0:
            producer, at = trace.tensors[carried[tensor]].producer, iteration - 1
        if producer < 0:
            continue
        owner = trace.ops[producer].block
        found.add(index[producer, at if owner == block else counts[owner] - 1])
    return found


@kernel
def _fair_share(asks: Array, running: Array, count: int) -> float:
    """Max-min fair part of one resource of capacity 1: the share of whoever asks for more than the others.

    Args:
        asks: what every instance would use at full speed; running: indices of those that run, first ``count``.
    """
    total = 0.0
    for a in range(count):
        total += asks[running[a]]
    if total <= 1.0:
        return 1.0
    left, open_asks, share = 1.0, count, 1.0 / count
    changed = True
    while changed and open_asks > 0:
        changed = False
        satisfied, number = 0.0, 0
        for a in range(count):
            if asks[running[a]] <= share:
                satisfied += asks[running[a]]
                number += 1
        if number < count:
            fair = (1.0 - satisfied) / (count - number)
            if fair > share:
                share = fair
                changed = True
        open_asks = count - number
        left = 1.0 - satisfied
    return share if left > 0.0 else 1.0


@kernel
def _duration(fixed: float, busy: float, need: Array, asks: Array, shares: Array) -> float:
    """Seconds of one operator: ``fixed + max(busy, needs)``, longer where a resource grants less than it asks for.

    ``asks`` is the share that the operator uses at full speed (need over full duration). Where it is granted
    less it takes need / share, so that no resource is used more than it has, and the two meet where they are equal.
    """
    length = fixed + _longest(busy, need)
    for r in range(need.shape[0]):
        if asks[r] > shares[r]:
            length = max(length, need[r] / shares[r])
    return length


@kernel
def run_timeline(
    op: Array,
    engine: Array,
    first: Array,
    deps: Array,
    fixed: Array,
    busy: Array,
    need: Array,
    start: Array,
    end: Array,
) -> float:
    """Play all instances; fills ``start`` and ``end`` (seconds) and returns the makespan.

    Args:
        op, engine, first, deps: see :class:`Plan`.
        fixed, busy: seconds per trace row. need: seconds per trace row and resource at full share, shape (ops, R).
        start, end: filled, shape (N,).
    """
    total = op.shape[0]
    resources = need.shape[1]
    left = np.ones(total)
    state = np.zeros(total, np.int8)  # 0 waiting, 1 running, 2 done
    running = np.empty(total, np.int64)
    length = np.empty(total)
    asks = np.zeros((resources, total))
    shares = np.ones(resources)
    count, done, oldest, now = 0, 0, 0, 0.0
    while done < total:
        while oldest < total and state[oldest] == 2:
            oldest += 1
        count = _start_ready(oldest, engine, first, deps, state, running, count, start, now)
        for a in range(count):
            i = running[a]
            full = fixed[op[i]] + _longest(busy[op[i]], need[op[i]])
            for r in range(resources):
                asks[r, i] = need[op[i], r] / full if full > 0.0 else 0.0
        for r in range(resources):
            shares[r] = _fair_share(asks[r], running, count) if count > 1 else 1.0
        step = np.inf
        for a in range(count):
            i = running[a]
            length[i] = _duration(fixed[op[i]], busy[op[i]], need[op[i]], asks[:, i], shares)
            step = min(step, left[i] * length[i])
        now += step
        kept = 0
        for a in range(count):
            i = running[a]
            if left[i] * length[i] <= step * (1.0 + 1e-12):
                state[i] = 2
                end[i] = now
                done += 1
            else:
                left[i] -= step / length[i]
                running[kept] = i
                kept += 1
        count = kept
    return now


@kernel
def _longest(busy: float, need: Array) -> float:
    longest = busy
    for r in range(need.shape[0]):
        longest = max(longest, need[r])
    return longest


@kernel
def _start_ready(
    oldest: int,
    engine: Array,
    first: Array,
    deps: Array,
    state: Array,
    running: Array,
    count: int,
    start: Array,
    now: float,
) -> int:
    """Start what can start: on every idle engine the earliest ready instance in trace order."""
    total = engine.shape[0]
    for i in range(oldest, total):
        if state[i] != 0:
            continue
        ready = True
        for a in range(count):
            if engine[running[a]] == engine[i]:
                ready = False
                break
        if ready:
            for d in range(first[i], first[i + 1]):
                if state[deps[d]] != 2:
                    ready = False
                    break
        if ready:
            state[i] = 1
            start[i] = now
            running[count] = i
            count += 1
    return count


@kernel
def steady_extra(block: Array, iteration: Array, unrolled: Array, repeats: Array, end: Array, extra: Array) -> int:
    """Seconds that the iterations beyond the unrolled ones add, per block; 0 returned where one is not steady yet.

    Steady means that the last two iterations end one period apart. Side work that nothing waits for may still be
    falling behind then; in layers everything feeds the carried tensor, so this does not arise.
    """
    for b in range(unrolled.shape[0]):
        extra[b] = 0.0
        if repeats[b] <= unrolled[b]:
            continue
        last, before, earlier = 0.0, 0.0, 0.0
        for i in range(block.shape[0]):
            if block[i] == b:
                behind = unrolled[b] - 1 - iteration[i]
                if behind == 0:
                    last = max(last, end[i])
                elif behind == 1:
                    before = max(before, end[i])
                elif behind == 2:
                    earlier = max(earlier, end[i])
        period = last - before
        if abs(period - (before - earlier)) > STEADY * last:
            return 0
        extra[b] = (repeats[b] - unrolled[b]) * period
    return 1


@kernel
def play(
    op: Array,
    engine: Array,
    first: Array,
    deps: Array,
    block: Array,
    iteration: Array,
    unrolled: Array,
    repeats: Array,
    fixed: Array,
    busy: Array,
    need: Array,
    start: Array,
    end: Array,
    extra: Array,
) -> float:
    """Makespan in seconds with all repeats; NaN where the unrolled iterations are not steady yet."""
    makespan = run_timeline(op, engine, first, deps, fixed, busy, need, start, end)
    if steady_extra(block, iteration, unrolled, repeats, end, extra) == 0:
        return np.nan
    for b in range(extra.shape[0]):
        makespan += extra[b]
    return makespan


@parallel_kernel
def play_many(
    op: Array,
    engine: Array,
    first: Array,
    deps: Array,
    block: Array,
    iteration: Array,
    unrolled: Array,
    repeats: Array,
    fixed: Array,
    busy: Array,
    need: Array,
    makespan: Array,
) -> None:
    """:func:`play` for many designs; ``fixed``, ``busy`` (n, ops), ``need`` (n, ops, R), ``makespan`` (n,)."""
    total = op.shape[0]
    for i in prange(makespan.shape[0]):
        start = np.zeros(total)
        end = np.zeros(total)
        extra = np.zeros(unrolled.shape[0])
        makespan[i] = play(
            op, engine, first, deps, block, iteration, unrolled, repeats, fixed[i], busy[i], need[i], start, end, extra
        )
