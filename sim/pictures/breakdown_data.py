"""Where time, energy and area of a Result go, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.pictures.words import subject
from sim.result import OpResult, Result

LATENCY = "latency"
#: Energy components by what they belong to, in the order in which they are drawn.
ENERGY_GROUPS: Mapping[str, tuple[str, ...]] = {
    "arithmetic": ("mac", "vector"),
    "on-chip": ("regfile", "sram", "noc"),
    "DRAM": ("dram_core", "dram_io", "dram_background"),
    "links": ("link",),
    "static": ("leakage", "clock"),
}


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
