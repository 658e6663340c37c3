"""What the pictures of a Result show, as plain numbers: no drawing library is needed to compute or to test them.

Rooflines follow Williams, Waterman and Patterson (CACM 2009): operations per second against operations per byte of
off-chip traffic. A multiply-accumulate counts as two operations, a lane of a vector engine as one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from models.chip import MemorySpec
from models.engines.base import EngineSpec
from models.engines.systolic import SystolicSpec
from models.engines.vector import VectorSpec
from sim.result import OpResult, Result
from workloads.errors import ChipsmithError

Floats = NDArray[np.float64]

LATENCY = "latency"
#: Energy components by what they belong to, in the order in which they are drawn.
ENERGY_GROUPS: Mapping[str, tuple[str, ...]] = {
    "arithmetic": ("mac", "vector"),
    "on-chip": ("regfile", "sram", "noc"),
    "DRAM": ("dram_core", "dram_io", "dram_background"),
    "links": ("link",),
    "static": ("leakage", "clock"),
}
_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_SHARED_LABEL_DECADES = 0.05  # points closer than this on both axes get one label
_LABEL_LETTERS = 40


def si(value: float, unit: str) -> str:
    """Three significant digits with an SI prefix: ``614 GB/s``, ``62.0 ms``."""
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * 0.9995), (1e-9, "n"))
    number = value / scale
    digits = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    return f"{number:.{digits}f} {prefix}{unit}" if value else f"0 {unit}"


def time_unit(longest_s: float) -> tuple[float, str]:
    """(seconds per unit, name) of the unit in which a time is at least 1, or nanoseconds."""
    return next(((s, name) for s, name in _TIMES if longest_s >= s), (1e-9, "ns"))


def short_name(name: str) -> str:
    """An operator's name without its block: ``layer.q_proj`` -> ``q_proj``."""
    return name.rsplit(".", 1)[-1]


def join_names(names: Iterable[str]) -> str:
    """Names with a common ending said once: ``q_proj, k_proj, lm_head`` -> ``q/k_proj, lm_head``."""
    endings: dict[str, list[str]] = {}
    for name in names:
        stem, underscore, ending = short_name(name).rpartition("_")
        endings.setdefault(underscore + ending if stem else "", []).append(stem or ending)
    return ", ".join("/".join(stems) + ending if ending else ", ".join(stems) for ending, stems in endings.items())


def phase_of(result: Result) -> str:
    """``prefill``, ``decode`` or ``mixed``."""
    phases = {op.phase for op in result.ops}
    return str(result.trace.meta.get("phase") or (phases.pop() if len(phases) == 1 else "mixed"))


def subject(result: Result) -> str:
    """Model, phase, batch and chip, for titles."""
    name, phase, requests = result.trace.name, phase_of(result), result.trace.meta.get("requests")
    what = name if phase in name else f"{name} {phase}"
    batch = f", {requests} request{'' if requests == 1 else 's'}" if isinstance(requests, int) else ""
    return f"{what}{batch}, on {result.chip.name}"


# Roofline


@dataclass(frozen=True)
class Point:
    """An operator (or a whole trace) in the roofline.

    Attributes:
        name, kind, engine, bound_by: as in the Result.
        intensity: operations per byte of off-chip traffic.
        rate: operations per second.
        time_s: all iterations. share: of the time of all operators.
    """

    name: str
    kind: str
    engine: str
    bound_by: str
    intensity: float
    rate: float
    time_s: float
    share: float


@dataclass(frozen=True)
class ComputeRoof:
    """Peak of an engine, operations per second, in the operand formats it is built for."""

    engine: str
    formats: str
    rate: float
    matrix: bool


@dataclass(frozen=True)
class MemoryRoof:
    """Peak of a memory and what one sequential stream reaches of it, bytes per second."""

    memory: str
    peak: float
    streaming: float


@dataclass(frozen=True)
class Roofline:
    """All that a roofline shows.

    Attributes:
        title: chip, model and phase.
        chip, phase: for legends.
        points: operators with operations and off-chip traffic, longest first.
        left_out: names of operators without the one or the other.
        total: the whole trace.
        compute, memory: ceilings, the highest first.
        ridge: intensity where the highest compute ceiling meets the fastest memory's peak; None without both.
    """

    title: str
    chip: str
    phase: str
    points: tuple[Point, ...]
    left_out: tuple[str, ...]
    total: Point | None
    compute: tuple[ComputeRoof, ...]
    memory: tuple[MemoryRoof, ...]
    ridge: float | None


def operations(op: OpResult) -> int:
    """Operations of one iteration: two a multiply-accumulate, else one a vector lane."""
    return 2 * op.macs if op.macs else op.events.get("vector_ops", 0)


def dram_bytes(op: OpResult) -> int:
    """Off-chip bytes of one iteration, read and written."""
    return op.bytes.get("dram_read", 0) + op.bytes.get("dram_write", 0)


def roofline_data(result: Result) -> Roofline:
    """Points and ceilings of a result's roofline."""
    total_s = sum(op.duration_s * op.count for op in result.ops)
    shown = [op for op in result.ops if operations(op) > 0 and dram_bytes(op) > 0 and op.duration_s > 0]
    points = sorted((_point(op, total_s) for op in shown), key=lambda p: -p.time_s)
    compute = tuple(sorted(_compute_roofs(result), key=lambda roof: -roof.rate))
    memory = tuple(sorted(_memory_roofs(result), key=lambda roof: -roof.peak))
    return Roofline(
        title=subject(result),
        chip=result.chip.name,
        phase=phase_of(result),
        points=tuple(points),
        left_out=tuple(op.name for op in result.ops if op not in shown),
        total=_total_point(result),
        compute=compute,
        memory=memory,
        ridge=compute[0].rate / memory[0].peak if compute and memory else None,
    )


def _point(op: OpResult, total_s: float) -> Point:
    work, time_s = operations(op), op.duration_s * op.count
    intensity, rate = work / dram_bytes(op), work / op.duration_s
    return Point(op.name, op.kind, op.engine, op.bound_by, intensity, rate, time_s, time_s / total_s)


def _total_point(result: Result) -> Point | None:
    work = sum(operations(op) * op.count for op in result.ops)
    moved = sum(dram_bytes(op) * op.count for op in result.ops)
    if work == 0 or moved == 0:
        return None
    rate = work / result.latency_s
    return Point(result.trace.name, "total", "", result.bound_by, work / moved, rate, result.latency_s, 1.0)


def _compute_roofs(result: Result) -> list[ComputeRoof]:
    used = {op.engine for op in result.ops}
    roofs = (_engine_roof(name, spec) for name, spec in result.chip.engines.items() if name in used)
    return [roof for roof in roofs if roof is not None]


def _engine_roof(name: str, spec: EngineSpec) -> ComputeRoof | None:
    """Ceiling of an engine; other families may say ``peak_macs_per_s``, and have no ceiling if they don't."""
    if isinstance(spec, SystolicSpec):
        macs = spec.rows * spec.cols * spec.arrays * spec.cores * spec.clock_hz
        formats = dict.fromkeys((spec.act_dtype, spec.weight_dtype))
        return ComputeRoof(name, " x ".join(formats), 2 * macs, matrix=True)
    if isinstance(spec, VectorSpec):
        return ComputeRoof(name, spec.dtype, spec.units * spec.lanes * spec.clock_hz, matrix=False)
    other = getattr(spec, "peak_macs_per_s", None)
    return ComputeRoof(name, "", 2 * float(other), matrix=True) if isinstance(other, (int, float)) else None


def _memory_roofs(result: Result) -> list[MemoryRoof]:
    used = {spec.memory for spec in result.chip.engines.values()}
    return [_memory_roof(name, spec) for name, spec in result.chip.memories.items() if name in used]


def _memory_roof(name: str, spec: MemorySpec) -> MemoryRoof:
    peak = spec.bandwidth_bytes_per_s
    return MemoryRoof(name, peak, peak * spec.streaming_efficiency)


@dataclass(frozen=True)
class Label:
    """One label for points that lie on each other; place of its longest operator."""

    text: str
    intensity: float
    rate: float
    share: float


def roofline_labels(points: Sequence[Point], least_share: float = 0.01, most: int = 8) -> tuple[Label, ...]:
    """Labels of the operators that take the most time; neighbours share one.

    Args:
        points: longest first.
        least_share: groups with less of the time stay unlabelled. most: labels at most.
    """
    groups: list[list[Point]] = []
    for point in points:
        near = next((group for group in groups if _close(group[0], point)), None)
        if near is None:
            groups.append([point])
        else:
            near.append(point)
    labels = [
        Label(_group_text(group), group[0].intensity, group[0].rate, sum(p.share for p in group)) for group in groups
    ]
    return tuple(sorted((x for x in labels if x.share >= least_share), key=lambda label: -label.share)[:most])


def _group_text(group: Sequence[Point]) -> str:
    """As many names of a group as a label holds, the longest-running first, the rest as a number."""
    for shown in range(len(group), 0, -1):
        rest = f" + {len(group) - shown} more" if shown < len(group) else ""
        text = join_names(point.name for point in group[:shown]) + rest
        if len(text) <= _LABEL_LETTERS:
            break
    return text


def _close(a: Point, b: Point) -> bool:
    apart = max(abs(log10(a.intensity / b.intensity)), abs(log10(a.rate / b.rate)))
    return apart <= _SHARED_LABEL_DECADES


# Breakdown


@dataclass(frozen=True)
class TimeBar:
    """Time of an operator, all iterations, in seconds by what it is spent on.

    ``parts`` holds the engine's own work, what a shared resource adds to it, and ``latency`` (the fixed part).
    """

    name: str
    kind: str
    parts_s: Mapping[str, float]

    @property
    def total_s(self) -> float:
        """Seconds in all."""
        return sum(self.parts_s.values())


@dataclass(frozen=True)
class Breakdown:
    """Where time, energy and area go.

    Attributes:
        title: chip, model and phase.
        times: per operator, longest first, the small ones as one.
        limits: share of operator time by what limits it.
        energy_j: component to J, zero components left out, by group; energy_group: component to its group.
        area_mm2: block to mm2, largest first, zero blocks left out.
        latency_s, total_energy_j, total_area_mm2: the Result's totals.
    """

    title: str
    times: tuple[TimeBar, ...]
    limits: Mapping[str, float]
    energy_j: Mapping[str, float]
    energy_group: Mapping[str, str]
    area_mm2: Mapping[str, float]
    latency_s: float
    total_energy_j: float
    total_area_mm2: float


def breakdown_data(result: Result, most: int = 10) -> Breakdown:
    """Time by operator and limit, energy by component, area by block.

    Args:
        result: what to show.
        most: operators shown by name; the rest becomes one bar.
    """
    group_of = {name: group for group, names in ENERGY_GROUPS.items() for name in names}
    spent = {name: joule for name, joule in result.energy_parts_j.items() if joule > 0}
    ordered = sorted(spent, key=lambda name: (_group_rank(group_of.get(name, "")), -spent[name]))
    blocks = sorted(((mm2, name) for name, mm2 in result.area_parts_mm2.items() if mm2 > 0), reverse=True)
    return Breakdown(
        title=subject(result),
        times=_time_bars(result.ops, most),
        limits={name: share for name, share in result.bound_share.items() if share > 0},
        energy_j={name: spent[name] for name in ordered},
        energy_group={name: group_of.get(name, "other") for name in ordered},
        area_mm2={name: mm2 for mm2, name in blocks},
        latency_s=result.latency_s,
        total_energy_j=result.energy_j,
        total_area_mm2=result.area_mm2,
    )


def _group_rank(group: str) -> int:
    names = list(ENERGY_GROUPS)
    return names.index(group) if group in names else len(names)


def _time_bars(ops: Sequence[OpResult], most: int) -> tuple[TimeBar, ...]:
    bars = [TimeBar(op.name, op.kind, time_parts_s(op)) for op in ops]
    bars.sort(key=lambda bar: -bar.total_s)
    if len(bars) <= most + 1:
        return tuple(bars)
    return (*bars[:most], _merged(bars[most:]))


def _merged(bars: Sequence[TimeBar]) -> TimeBar:
    parts: dict[str, float] = {}
    for bar in bars:
        for name, seconds in bar.parts_s.items():
            parts[name] = parts.get(name, 0.0) + seconds
    return TimeBar(f"{len(bars)} others", "", parts)


def time_parts_s(op: OpResult) -> dict[str, float]:
    """An operator's duration, all iterations: engine, what the slowest resource adds, fixed latency."""
    resource, need = max(op.needs_s.items(), key=lambda item: item[1], default=("", 0.0))
    parts: dict[str, float] = {}
    for name, seconds in ((op.engine, op.busy_s), (resource, need - op.busy_s), (LATENCY, op.fixed_s)):
        if seconds > 0:
            parts[name] = parts.get(name, 0.0) + seconds * op.count
    return parts


# Timeline


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


# Comparison


@dataclass(frozen=True)
class Measure:
    """A bar of the comparison.

    Attributes:
        value: in the panel's unit; None where the phase was not simulated.
        interval_pct: mean absolute error that validation gives this total, None where nothing was compared.
    """

    value: float | None
    interval_pct: float | None = None


@dataclass(frozen=True)
class Panel:
    """One quantity: bars by series (phase) and chip.

    Attributes:
        name: what. unit: its unit. series: name to one measure a chip.
    """

    name: str
    unit: str
    series: Mapping[str, tuple[Measure, ...]]


@dataclass(frozen=True)
class Comparison:
    """Chips side by side.

    Attributes:
        models: names of the models compared. labels: one a group of bars. panels: TTFT, TPOT, energy, area.
    """

    models: tuple[str, ...]
    labels: tuple[str, ...]
    panels: tuple[Panel, ...]


def comparison_data(results: Sequence[Result]) -> Comparison:
    """Time to first token, time per output token, energy per token and area, chip by chip.

    Args:
        results: at most one per chip, model and phase.

    Raises:
        ChipsmithError: no results, or two of the same chip, model and phase.
    """
    table: dict[tuple[str, str], dict[str, Result]] = {}
    for number, result in enumerate(results):
        phases = table.setdefault((result.chip.name, _model(result)), {})
        if phase_of(result) in phases:
            where = f"{_model(result)} {phase_of(result)} on {result.chip.name}"
            raise ChipsmithError(f"results[{number}]", where, "one result per chip, model and phase")
        phases[phase_of(result)] = result
    if not table:
        raise ChipsmithError("results", None, "at least one result is needed")
    models = tuple(dict.fromkeys(model for _, model in table))
    labels = tuple(chip if len(models) == 1 else f"{chip}\n{model}" for chip, model in table)
    return Comparison(models, labels, _panels(list(table.values())))


def _model(result: Result) -> str:
    return str(result.trace.meta.get("model") or result.trace.name)


def _panels(groups: list[dict[str, Result]]) -> tuple[Panel, ...]:
    seen = [phase for phase in ("prefill", "decode", "mixed") if any(phase in group for group in groups)]
    named = {"prefill": "Time to first token", "decode": "Time per output token", "mixed": "Time of a mixed step"}
    panels = [Panel(named[phase], "s", {phase: _row(groups, phase, "latency_s")}) for phase in seen]
    energy = {phase: _row(groups, phase, "energy_per_token_j") for phase in seen}
    any_phase = [next(iter(group.values())) for group in groups]
    area = {"area": tuple(Measure(result.area_mm2, _interval(result, "area_mm2")) for result in any_phase)}
    return (*panels, Panel("Energy per token", "J", energy), Panel("Area of the modelled blocks", "mm²", area))


def _row(groups: list[dict[str, Result]], phase: str, name: str) -> tuple[Measure, ...]:
    evidence = "latency_s" if name == "latency_s" else "energy_j"
    return tuple(
        Measure(getattr(group[phase], name), _interval(group[phase], evidence)) if phase in group else Measure(None)
        for group in groups
    )


def _interval(result: Result, total: str) -> float | None:
    found = result.evidence.get(total)
    return found.interval_pct if found is not None else None
