"""What a roofline shows, as plain numbers.

Rooflines follow Williams, Waterman and Patterson (CACM 2009): operations per second against operations per byte of
off-chip traffic. A multiply-accumulate counts as two operations, a lane of a vector engine as one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from models.chip import MemorySpec
from models.engines.base import EngineSpec
from models.engines.systolic import SystolicSpec
from models.engines.vector import VectorSpec
from sim.pictures.words import join_names, phase_of, subject
from sim.result import OpResult, Result

_SHARED_LABEL_DECADES = 0.05  # points closer than this on both axes get one label
_LABEL_LETTERS = 40


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
