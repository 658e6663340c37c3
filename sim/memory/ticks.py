"""From a data sheet's clocks to the ticks between commands that the kernels count.

A timing parameter runs from the last clock of one command to the last clock of the next, so the distance of their
first clocks also contains the difference of their lengths (JESD79-5, command truth table; Ramulator 2.1 reads the
standards in the same way).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from models.dram.policy import ControllerPolicy
from models.dram.spec import DramSpec
from sim.memory import fields as f
from workloads.errors import ChipsmithError

REFRESH = {"none": 0, "all-bank": 1, "per-bank": 2}


def ticks_per_clock(spec: DramSpec) -> int:
    """Command steps in a clock: 1, or 2 where PRE may start at a falling edge."""
    return round(1 / spec.command_bus.clock_resolution_ck)


def channel_parameters(spec: DramSpec, policy: ControllerPolicy) -> NDArray[np.int64]:
    """The kernels' parameters, (PARAMS,).

    Raises:
        ChipsmithError: more banks, pseudo-channels or queue entries than a channel may have, or a refresh of single
            banks without tRFCpb and tREFIpb.
    """
    _check_sizes(spec, policy)
    p = np.zeros(f.PARAMS, np.int64)
    for place, value in (_sizes(spec) | _commands(spec) | _rules(spec) | _controller(spec, policy)).items():
        p[place] = value
    return p


def _check_sizes(spec: DramSpec, policy: ControllerPolicy) -> None:
    o = spec.organisation
    banks = o.banks * o.pseudo_channels
    if banks > f.ROW:
        raise ChipsmithError(f"dram.{spec.name}.organisation", banks, f"a channel of at most {f.ROW} banks")
    t = spec.timing
    if policy.refresh == "per-bank" and not (t.tRFCpb and t.tREFIpb):
        raise ChipsmithError("policy.refresh", policy.refresh, f"{spec.name} has no tRFCpb and tREFIpb: all-bank, none")
    if policy.queues == "per_bank" and (policy.refresh == "per-bank" or spec.command_bus.two_part_activation):
        raise ChipsmithError(f"policy.{policy.name}.queues", policy.queues, f"read_write for {spec.name} refreshed so")


def _sizes(spec: DramSpec) -> dict[int, int]:
    o, bus = spec.organisation, spec.command_bus
    pair = o.pseudo_channels == 2
    half = o.banks if pair else (o.banks + 1) // 2
    return {
        f.P_PASSES: 1 if pair else o.pseudo_channels,
        f.P_HALF: half,
        f.P_SECOND: half if pair else o.banks - half,
        f.P_PAIR: int(pair),
        f.P_PSEUDO: o.pseudo_channels,
        f.P_GROUPS: o.bank_groups,
        f.P_GROUP_BANKS: o.banks_per_group,
        f.P_PC_BANKS: o.banks,
        f.P_DUAL: int(bus.row_and_column_separate),
        f.P_EDGE: int(ticks_per_clock(spec) == 2),
        f.P_SPLIT: int(bus.two_part_activation),
    }


def _lengths(spec: DramSpec) -> tuple[int, int, int]:
    """Ticks of ACT (of its first half), PRE and column commands on their bus."""
    bus, n = spec.command_bus, ticks_per_clock(spec)
    return round(bus.ACT_ck * n), round(bus.PRE_ck * n), round(bus.RD_WR_ck * n)


def _commands(spec: DramSpec) -> dict[int, int]:
    """What starts with an activation or a precharge."""
    t, n = spec.timing, ticks_per_clock(spec)
    act, pre, col = _lengths(spec)
    return {
        f.P_ACT_BUS: act,
        f.P_PRE_BUS: pre,
        f.P_COL_BUS: col,
        f.P_ACT_RD: t.tRCDRD * n + act - col,
        f.P_ACT_WR: t.tRCDWR * n + act - col,
        f.P_ACT_PRE: t.tRAS * n + act - pre,
        f.P_ACT_ACT: t.tRC * n,
        f.P_ACT_REF: t.tRC * n + act - pre,
        f.P_RRD_L: t.tRRD_L * n,
        f.P_RRD_S: t.tRRD_S * n,
        f.P_FAW: t.tFAW * n,
        f.P_A32: t.t32AW * n,
        f.P_PRE_ACT: t.tRP * n + pre - act,
        f.P_PREA_ACT: (t.tRPab or t.tRP) * n + pre - act,
        f.P_PRE_PRE: t.tPPD * n,
        f.P_PRE_REF: t.tRP * n,
        f.P_REF_ACT: t.tRFC * n + pre - act,
        f.P_REFPB_ACT: t.tRFCpb * n + pre - act,
        f.P_REFPB_OTHER: t.tRREFD * n + pre - act,
        f.P_AAD: t.tAAD * n,
    }


def _rules(spec: DramSpec) -> dict[int, int]:
    """What starts with a column command."""
    t, n = spec.timing, ticks_per_clock(spec)
    _, pre, col = _lengths(spec)
    sync = spec.command_bus.data_clock_sync
    write_end = t.tCWL + t.tBURST
    return {
        f.P_RD_RD_S: max(t.tBURST, t.tCCD_S) * n,
        f.P_RD_RD_L: max(t.tBURST, t.tCCD_L) * n,
        f.P_RD_WR: t.tRTW * n,
        f.P_RD_PRE: t.tRTP * n + col - pre,
        f.P_WR_WR_S: max(t.tBURST, t.tCCD_S_WR or t.tCCD_S) * n,
        f.P_WR_WR_L: max(t.tBURST, t.tCCD_L_WR or t.tCCD_L) * n,
        f.P_WR_RD_S: (write_end + t.tWTR_S) * n,
        f.P_WR_RD_L: (t.tCWL + (t.tBURST_max or t.tBURST) + t.tWTR_L) * n,
        f.P_WR_PRE: (write_end + t.tWR) * n + col - pre,
        f.P_READ_DATA: (t.tCL + t.tBURST) * n,
        f.P_WCK_RD: (t.tCL + t.tBURST + t.tWCKPST) * n if sync else 0,
        f.P_WCK_WR: (write_end + t.tWCKPST) * n if sync else 0,
    }


def _controller(spec: DramSpec, policy: ControllerPolicy) -> dict[int, int]:
    t, n = spec.timing, ticks_per_clock(spec)
    entries = policy.write_entries
    start = math.floor(policy.drain_start * entries) + 1
    interval = t.tREFIpb if policy.refresh == "per-bank" else t.tREFI
    return {
        f.P_REFRESH: REFRESH[policy.refresh],
        f.P_REF_INTERVAL: interval * n,
        f.P_REF_BLOCKS: int(policy.refresh_blocks or policy.refresh == "all-bank"),
        f.P_READ_ENTRIES: policy.read_entries,
        f.P_WRITE_ENTRIES: entries,
        f.P_DRAIN_START: min(start, entries),
        f.P_DRAIN_STOP: math.ceil(policy.drain_stop * entries) - 1,
        f.P_CLOSED_PAGE: int(policy.row_policy == "closed"),
        f.P_HIT_LIMIT: policy.row_hit_limit,
        f.P_BANK_ENTRIES: policy.bank_entries,
    }
