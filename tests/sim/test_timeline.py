"""The compiled timeline against a slow event simulation in plain Python and against facts of resource sharing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.engine import Array
from sim.evaluate import plan_arrays
from sim.timeline import Plan, plan, play, play_many, run_timeline
from workloads.trace import Block, Operator, Segment, Tensor, Trace


@dataclass(frozen=True)
class Task:
    """One operator of a random graph: seconds, needs per resource, engine, tasks it waits for."""

    engine: int
    fixed: float
    busy: float
    need: tuple[float, ...]
    deps: tuple[int, ...] = ()

    @property
    def full(self) -> float:
        return self.fixed + max(self.busy, *self.need)


def max_min(asks: list[float]) -> list[float]:
    """Max-min fair grants of a resource of capacity 1 by water filling: the least demanding is served first."""
    left, grants = 1.0, [0.0] * len(asks)
    order = sorted(range(len(asks)), key=lambda a: asks[a])
    for place, a in enumerate(order):
        grants[a] = min(asks[a], left / (len(asks) - place))
        left -= grants[a]
    return grants


def slow_timeline(tasks: list[Task]) -> list[tuple[float, float]]:
    """(start, end) of every task: at each event start what can start, share, and go on to the next end."""
    resources = range(len(tasks[0].need))
    left = dict.fromkeys(range(len(tasks)), 1.0)  # part of the work not done
    start: dict[int, float] = {}
    end: dict[int, float] = {}
    now = 0.0
    while len(end) < len(tasks):
        for i, task in enumerate(tasks):
            busy_engines = {tasks[r].engine for r in start if r not in end}
            if i not in start and task.engine not in busy_engines and all(d in end for d in task.deps):
                start[i] = now
        running = [i for i in start if i not in end]
        length = {i: tasks[i].full for i in running}
        for r in resources:
            asks = [tasks[i].need[r] / tasks[i].full if tasks[i].full > 0 else 0.0 for i in running]
            for i, ask, grant in zip(running, asks, max_min(asks), strict=True):
                if grant < ask * (1 - 1e-12):
                    length[i] = max(length[i], tasks[i].need[r] / grant)
        step = min(left[i] * length[i] for i in running)
        now += step
        for i in running:
            rest = left[i] * length[i] - step
            if rest <= 1e-12 * max(step, length[i]):
                end[i] = now
            else:
                left[i] = rest / length[i]
    return [(start[i], end[i]) for i in range(len(tasks))]


def compiled(tasks: list[Task]) -> tuple[Array, Array, float]:
    first = np.cumsum([0, *(len(t.deps) for t in tasks)]).astype(np.int64)
    deps = np.array([d for t in tasks for d in t.deps], np.int64)
    start, end = np.zeros(len(tasks)), np.zeros(len(tasks))
    makespan = run_timeline(
        np.arange(len(tasks)),
        np.array([t.engine for t in tasks], np.int64),
        first,
        deps,
        np.array([t.fixed for t in tasks]),
        np.array([t.busy for t in tasks]),
        np.array([t.need for t in tasks]),
        start,
        end,
    )
    return start, end, makespan


TIMES = st.sampled_from([0.0, 0.25, 0.5, 1.0, 1.5, 3.0, 7.0])


@st.composite
def graphs(draw: st.DrawFn) -> list[Task]:
    engines, resources = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    tasks = []
    for i in range(draw(st.integers(1, 9))):
        deps = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        need = tuple(draw(TIMES) for _ in range(resources))
        tasks.append(Task(draw(st.integers(0, engines - 1)), draw(TIMES), draw(TIMES), need, tuple(sorted(deps))))
    return tasks


@given(graphs())
def test_it_equals_the_slow_simulation(tasks: list[Task]) -> None:
    start, end, makespan = compiled(tasks)
    expected = slow_timeline(tasks)
    assert np.allclose(list(zip(start, end, strict=True)), expected, rtol=1e-9, atol=1e-9)
    assert math.isclose(makespan, max(e for _, e in expected), rel_tol=1e-9, abs_tol=1e-9)


@given(graphs())
def test_nothing_starts_early_and_no_engine_does_two_things(tasks: list[Task]) -> None:
    start, end, _ = compiled(tasks)
    for i, task in enumerate(tasks):
        assert all(end[d] <= start[i] for d in task.deps)
        assert end[i] - start[i] >= task.full * (1 - 1e-9)
        for j in range(i):
            if tasks[j].engine == task.engine:
                assert end[j] <= start[i] + 1e-12 or end[i] <= start[j] + 1e-12


@given(graphs())
def test_no_resource_gives_more_than_it_has(tasks: list[Task]) -> None:
    """All work on a resource takes at least its sum, however it is shared."""
    _, _, makespan = compiled(tasks)
    for amounts in zip(*(t.need for t in tasks), strict=True):
        assert makespan >= sum(amounts) * (1 - 1e-9)


@given(graphs())
def test_it_ends_between_the_longest_path_and_one_after_the_other(tasks: list[Task]) -> None:
    """No resource is idle while every running task waits for one, so sharing never loses to taking turns."""
    _, _, makespan = compiled(tasks)
    path: list[float] = []
    for task in tasks:
        path.append(task.full + max((path[d] for d in task.deps), default=0.0))
    assert max(path) * (1 - 1e-9) <= makespan <= sum(t.full + sum(t.need) for t in tasks) * (1 + 1e-9)


def test_two_engines_that_share_nothing_overlap() -> None:
    start, end, makespan = compiled([Task(0, 0.0, 3.0, (0.0,)), Task(1, 1.0, 1.0, (0.0,))])
    assert (list(start), list(end), makespan) == ([0.0, 0.0], [3.0, 2.0], 3.0)


def test_one_engine_takes_one_after_the_other_in_trace_order() -> None:
    start, end, _ = compiled([Task(0, 0.0, 3.0, (0.0,)), Task(0, 0.0, 1.0, (0.0,))])
    assert (list(start), list(end)) == ([0.0, 3.0], [3.0, 4.0])


def test_a_later_task_may_overtake_one_that_waits() -> None:
    tasks = [Task(0, 0.0, 4.0, (0.0,)), Task(1, 0.0, 1.0, (0.0,), (0,)), Task(1, 0.0, 2.0, (0.0,))]
    start, end, _ = compiled(tasks)
    assert (list(start), list(end)) == ([0.0, 4.0, 0.0], [4.0, 5.0, 2.0])


def test_two_equal_streams_take_twice_as_long() -> None:
    _, end, _ = compiled([Task(0, 0.0, 0.0, (2.0,)), Task(1, 0.0, 0.0, (2.0,))])
    assert list(end) == [4.0, 4.0]


def test_a_small_stream_keeps_its_speed_beside_a_large_one() -> None:
    """Asks 0.25 and 1: max-min grants 0.25 and 0.75, so the large one does 3 of its 6 s beside the small one."""
    _, end, _ = compiled([Task(0, 0.0, 4.0, (1.0,)), Task(1, 0.0, 0.0, (6.0,))])
    assert list(end) == [4.0, 7.0]


def test_shares_are_solved_again_when_one_ends() -> None:
    """Three equal streams of 1, 2 and 3 s: thirds, then halves, then all."""
    _, end, _ = compiled([Task(e, 0.0, 0.0, (float(e + 1),)) for e in range(3)])
    assert np.allclose(end, [3.0, 5.0, 6.0])


def test_a_computing_operator_cannot_use_more_than_its_share() -> None:
    """Four operators compute for 2 s and need 1 s of the memory each: 4 s of memory do not fit into 2 s."""
    _, _, makespan = compiled([Task(e, 0.0, 2.0, (1.0,)) for e in range(4)])
    assert makespan == pytest.approx(4.0)


def test_tasks_that_take_no_time_end_at_once() -> None:
    _, end, makespan = compiled([Task(0, 0.0, 0.0, (0.0,)), Task(0, 0.0, 0.0, (0.0,), (0,)), Task(1, 1.0, 0.0, (0.0,))])
    assert (list(end), makespan) == ([0.0, 0.0, 1.0], 1.0)


# ---------------------------------------------------------------- repeated blocks


def layered(tasks: list[Task], count: int, before: bool, after: bool) -> tuple[Trace, list[Task]]:
    """A block of tasks that repeats, each iteration from the last task of the one before; maybe work around it."""
    whole = ([tasks[0]] if before else []) + tasks + ([tasks[-1]] if after else [])
    lead = int(before)
    ops, tensors = [], [Tensor("in", "input", 1, "fp16", 2)]
    for row, task in enumerate(whole):
        in_block = lead <= row < lead + len(tasks)
        sources = tuple(d + lead for d in task.deps) if in_block else ()
        inputs = tuple(s + 1 for s in sources) or ((row,) if row else (0,))
        block = lead if in_block else 0 if row < lead else lead + 1
        ops.append(Operator(f"t{row}", "elementwise", block, (Segment(1),), inputs=inputs, outputs=(row + 1,)))
        tensors.append(Tensor(f"o{row}", "activation", 1, "fp16", 2, producer=row))
    carried = ((lead + len(tasks), ops[lead].inputs[0]),)
    names = ([Block("before")] if before else []) + [Block("layer", count, carried)]
    names += [Block("after")] if after else []
    return Trace("layers", tuple(ops), tuple(tensors), tuple(names)), whole


def played(table: Plan, tasks: list[Task]) -> float:
    fixed, busy = np.array([t.fixed for t in tasks]), np.array([t.busy for t in tasks])
    need = np.array([t.need for t in tasks])
    start, end, extra = np.zeros(len(table.op)), np.zeros(len(table.op)), np.zeros(len(table.unrolled))
    arguments = (*plan_arrays(table), fixed, busy, need, start, end, extra)
    return play(*arguments)


@st.composite
def layers(draw: st.DrawFn) -> list[Task]:
    """A graph in which everything hangs on the first task and the last task waits for everything: a layer."""
    tasks = draw(graphs())
    tied = [replace(t, deps=t.deps or ((0,) if i else ())) for i, t in enumerate(tasks)]
    if len(tied) > 1:
        tied[-1] = replace(tied[-1], deps=tuple(range(len(tied) - 1)))
    return tied


@given(layers(), st.booleans(), st.booleans())
def test_forty_layers_extrapolated_equal_forty_layers_played(tasks: list[Task], before: bool, after: bool) -> None:
    trace, whole = layered(tasks, 40, before, after)
    engines = {row: task.engine for row, task in enumerate(whole)}
    everything = played(plan(trace, engines, 40), whole)
    assert math.isclose(played(plan(trace, engines, 3), whole), everything, rel_tol=1e-9, abs_tol=1e-12)


def test_a_pipeline_that_is_not_steady_yet_says_so() -> None:
    """The fourth iteration is the first whose slow side task finds its engine taken by the one before."""
    slow, fast = Task(1, 0.0, 1.5, (0.0,), (0,)), Task(0, 0.0, 1.0, (0.0,))
    trace, whole = layered([fast, slow, Task(0, 0.0, 0.25, (0.0,), (0,))], 40, False, False)
    engines = {row: task.engine for row, task in enumerate(whole)}
    spans = [played(plan(trace, engines, unroll), whole) for unroll in (3, 6, 12, 40)]
    everything = spans[-1]
    assert all(math.isnan(s) or math.isclose(s, everything, rel_tol=1e-9) for s in spans)
    assert everything == pytest.approx(1.0 + 40 * 1.5)


def faster(task: Task, factor: float) -> Task:
    return replace(task, fixed=factor * task.fixed, busy=factor * task.busy, need=tuple(factor * n for n in task.need))


@given(layers(), st.integers(1, 3))
def test_many_designs_equal_one_bit_for_bit(tasks: list[Task], scale: int) -> None:
    trace, whole = layered(tasks, 10, True, True)
    table = plan(trace, {row: task.engine for row, task in enumerate(whole)})
    fixed, busy, need = (np.array(column) for column in zip(*((t.fixed, t.busy, t.need) for t in whole), strict=True))
    factors = np.array([1.0, 0.3, scale / 7.0])
    makespan = np.zeros(3)
    scaled = (factors[:, None] * fixed, factors[:, None] * busy, factors[:, None, None] * need)
    arguments = (*plan_arrays(table), *scaled, makespan)
    play_many(*arguments)
    alone = [played(table, [faster(task, f) for task in whole]) for f in factors]
    assert makespan.tobytes() == np.array(alone).tobytes()


def test_the_plan_unrolls_blocks_and_carries_edges() -> None:
    tasks = [Task(0, 0.0, 1.0, (0.0,)), Task(1, 0.0, 1.0, (0.0,), (0,))]
    trace, whole = layered(tasks, 5, True, True)
    table = plan(trace, {row: task.engine for row, task in enumerate(whole)}, 2)
    assert list(table.op) == [0, 1, 2, 1, 2, 3]
    assert list(table.iteration) == [0, 0, 0, 1, 1, 0]
    assert list(table.block) == [0, 1, 1, 1, 1, 2]
    assert (list(table.unrolled), list(table.repeats)) == ([1, 2, 1], [1, 5, 1])
    deps = [list(table.deps[a:b]) for a, b in zip(table.first, table.first[1:], strict=False)]
    assert deps == [[], [0], [1], [2], [3], [4]]
