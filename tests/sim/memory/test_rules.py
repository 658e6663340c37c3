"""Each timing rule of each standard: the second command is blocked one tick before its time and ready at it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from models.dram.library import list_grades, load_dram
from models.dram.policy import load_policy
from models.dram.spec import DramSpec
from sim.memory import fields as f
from sim.memory import timing_rules as rules
from sim.memory.channel import Command
from sim.memory.ticks import channel_parameters, ticks_per_clock
from sim.memory.timing_rules import Ints

from .legal import least_distance_ck, length_ck

GRADES = list_grades()
START = 10_000
SEND: dict[str, Callable[[Ints, int, int], None]] = {
    "ACT": rules.activated,
    "PRE": rules.precharged,
    "RD": rules.read,
    "WR": rules.written,
    "PREA": lambda c, b, tick: rules.precharged_all(c, int(c[f.B_PC + b]), tick),
    "REF": lambda c, b, tick: rules.refreshed(c, int(c[f.B_PC + b]), tick),
    "REFpb": rules.refreshed_bank,
}
BANK_ROW = {"ACT": f.T_ACT, "PRE": f.T_PRE, "RD": f.T_RD, "WR": f.T_WR}
GATE_ROW = {"ACT": f.G_ACT, "PRE": f.G_PRE, "RD": f.G_RD, "WR": f.G_WR, "PREA": f.G_PREA, "REF": f.G_REF}
PAIRS = [(a, b) for a in ("ACT", "PRE", "PREA", "RD", "WR", "REF") for b in ("ACT", "PRE", "RD", "WR", "PREA", "REF")]


def channel(spec: DramSpec) -> Ints:
    return rules.new_channel(channel_parameters(spec, load_policy("ramulator2")))


def is_ready(c: Ints, name: str, b: int, tick: int) -> bool:
    """What the schedulers look at: the bank, its pseudo-channel, the bus."""
    times = [c[GATE_ROW[name] + c[f.B_PC + b]], c[f.U_COL if name in ("RD", "WR") else f.U_ROW]]
    if name in BANK_ROW:
        times.append(c[BANK_ROW[name] + b])
    return bool(max(times) <= tick)


def banks(spec: DramSpec) -> dict[str, int]:
    """The same bank, another one of its group, one of another group, one of the other pseudo-channel."""
    o = spec.organisation
    found = {"bank": 0, "group": 1}
    if o.bank_groups > 1:
        found["other group"] = o.banks_per_group
    if o.pseudo_channels > 1:
        found["other pseudo-channel"] = o.banks
    return found


@pytest.mark.parametrize("grade", GRADES)
def test_blocked_one_tick_before_and_ready_at_the_time(grade: str) -> None:
    spec = load_dram(grade)
    n = ticks_per_clock(spec)
    checked = 0
    for first, then in PAIRS:
        for b in banks(spec).values():
            c = channel(spec)
            SEND[first](c, 0, START)
            rule = least_distance_ck(spec, Command(0, first, 0), Command(0, then, b))
            apart = n * (rule + length_ck(spec, first) - length_ck(spec, then)) if rule else 0
            same_bus = not spec.command_bus.row_and_column_separate or (first in ("RD", "WR")) == (then in ("RD", "WR"))
            at = START + max(int(apart), int(n * length_ck(spec, first)) if same_bus else 0)
            assert is_ready(c, then, b, at), (first, then, b)
            if at > START:
                assert not is_ready(c, then, b, at - 1), (first, then, b)
                checked += 1
    assert checked >= 20


@pytest.mark.parametrize("grade", GRADES)
def test_the_fifth_activation_waits_for_the_window_of_four(grade: str) -> None:
    spec = load_dram(grade)
    n, t, o = ticks_per_clock(spec), spec.timing, spec.organisation
    c = channel(spec)
    step = n * max(t.tRRD_L, 4)
    for k in range(4):
        rules.activated(c, (k * o.banks_per_group) % o.banks + k // o.bank_groups, START + k * step)
    fifth = o.banks - 1
    at = max(START + n * t.tFAW, int(c[f.T_ACT + fifth]), START + 3 * step + n * t.tRRD_S, int(c[f.U_ROW]))
    assert is_ready(c, "ACT", fifth, at)
    assert not is_ready(c, "ACT", fifth, at - 1)


def test_the_thirty_third_activation_waits_for_the_long_window() -> None:
    spec = load_dram("GDDR6-12100")
    c = channel(spec)
    for k in range(32):
        rules.activated(c, k % 16, START + 9 * k)
    assert spec.timing.t32AW == 420
    assert not is_ready(c, "ACT", 0, START + 419)
    assert is_ready(c, "ACT", 0, START + 420)


@pytest.mark.parametrize("grade", [name for name in GRADES if load_dram(name).timing.tRFCpb])
def test_a_refresh_of_one_bank_blocks_it_and_spaces_the_others(grade: str) -> None:
    spec = load_dram(grade)
    n, t = ticks_per_clock(spec), spec.timing
    shift = n * (length_ck(spec, "PRE") - length_ck(spec, "ACT"))
    c = channel(spec)
    rules.refreshed_bank(c, 0, START)
    for b, wait in ((0, t.tRFCpb), (1, t.tRREFD)):
        at = START + max(int(n * wait + shift), int(n * length_ck(spec, "PRE")))
        assert is_ready(c, "ACT", b, at)
        assert not is_ready(c, "ACT", b, at - 1)


def test_rings_of_activations_forget_the_oldest() -> None:
    c = np.full(10, -1, np.int64)
    c[0] = 0
    assert [rules.push(c, 0, 4, tick) for tick in (1, 2, 3, 4, 5)] == [-1, -1, -1, 1, 2]
