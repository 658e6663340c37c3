"""Cycles of steady read streams without simulation, where a formula is exact enough.

Derived in words: a stream is limited by its bus, by the activations it needs, by one bank's cycle, or by how far the
queue looks ahead of a row's opening; refresh takes its share of the time from all. They hold for controllers with one
read queue, open rows and refresh of all banks, and were checked against the kernel (tests) and Ramulator 2.1.
"""

from __future__ import annotations

from models.dram.policy import ControllerPolicy, load_policy
from models.dram.spec import DramSpec
from sim.memory.streams import Stream

#: Largest error against the kernel over the shipped grades, by stream.
STATED_ERROR = 0.05


def closed_form_cycles(spec: DramSpec, stream: Stream, policy: ControllerPolicy | None = None) -> float | None:
    """Clocks of a stream, None where there is no formula for it (mixes, random, runs of a row, other policies)."""
    controller = policy or load_policy("fr_fcfs")
    if stream.write_every or controller.queues != "read_write" or controller.row_policy != "open":
        return None
    if stream.kind == "same_bank":
        clocks = float(_bank_cycle(spec))
    elif stream.kind == "sequential" and stream.mapping in _PER_REQUEST:
        clocks = _PER_REQUEST[stream.mapping](spec, controller.read_entries) / spec.organisation.pseudo_channels
    else:
        return None
    return stream.requests * clocks / _available(spec, controller)


def _available(spec: DramSpec, policy: ControllerPolicy) -> float:
    """Share of the time outside of refreshes: tRFC and the precharge before it."""
    if policy.refresh != "all-bank":
        return 1.0
    return 1.0 - (spec.timing.tRFC + spec.timing.tRP) / spec.timing.tREFI


def _column_step(spec: DramSpec) -> float:
    """Clocks between column commands that rotate over bank groups."""
    t = spec.timing
    return max(t.tBURST, t.tCCD_S, t.tCCD_L / spec.organisation.bank_groups)


def _activation_step(spec: DramSpec) -> float:
    """Clocks between activations of a pseudo-channel in different groups."""
    t = spec.timing
    return max(t.tRRD_S, t.tFAW / 4, t.t32AW / 32)


def _bank_cycle(spec: DramSpec) -> int:
    """Clocks between reads of different rows of one bank."""
    t = spec.timing
    return max(t.tRC, t.tRCDRD + t.tRTP + t.tRP)


def _group_interleaved(spec: DramSpec, entries: int) -> float:
    """One row in each group is open; the next ones open as far ahead as the queue reaches."""
    t, o = spec.timing, spec.organisation
    step = _column_step(spec)
    hidden = entries / o.pseudo_channels * step
    return step * (1 + max(0.0, t.tRP + t.tRCDRD - hidden) / (o.bank_groups * o.bursts_per_row * step))


def _bank_interleaved(spec: DramSpec, entries: int) -> float:
    """All banks open a new row at once, as fast as activations may follow each other."""
    o = spec.organisation
    step = _column_step(spec)
    row = o.banks * o.bursts_per_row * step
    opening = min(o.banks * _activation_step(spec), row)
    return step * (1 + max(0.0, opening - o.banks * step) / row)


def _row_per_burst(spec: DramSpec, entries: int) -> float:
    """Every request opens a row; the command bus is shared by the pseudo-channels."""
    t, o = spec.timing, spec.organisation
    own = max(_activation_step(spec), t.tRC / o.banks, t.tBURST, t.tCCD_S)
    return max(own, o.pseudo_channels * _slots(spec))


def _slots(spec: DramSpec) -> float:
    """Clocks of the busiest command bus for a precharge, an activation and a read."""
    bus = spec.command_bus
    rows = bus.ACT_ck * (2 if bus.two_part_activation else 1) + bus.PRE_ck
    return max(rows, bus.RD_WR_ck) if bus.row_and_column_separate else rows + bus.RD_WR_ck


_PER_REQUEST = {
    "group_interleaved": _group_interleaved,
    "bank_interleaved": _bank_interleaved,
    "row_per_burst": _row_per_burst,
}
