from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtl.pim_bank import generate_pim_bank
from rtl.pim_params import PimBankParams
from rtl.pim_timing import PimTiming, Step
from rtl.pim_traffic import Schedule, model_schedules, read_steps, shared_schedules
from workloads.errors import ChipsmithError

NEUPIMS = PimBankParams(lanes=4, columns=8)
AIM = PimBankParams("aim", "bf16", lanes=4, columns=8)
NEWTON = PimBankParams("newton", lanes=4, columns=8)


def replayed(params: PimBankParams, found: Schedule) -> tuple[int, int]:
    """Commands of a schedule that go in the first clock that the rules allow, and those that go later."""
    timing, tight = PimTiming(params.bench_spec), 0
    for step in found.steps:
        assert timing.stands(step), step
        assert timing.earliest(step) <= step.clock, step
        tight += timing.earliest(step) == step.clock
        timing.issue(step, step.clock)
    return tight, len(found.steps) - tight


@pytest.mark.parametrize(
    ("params", "cycles", "tight", "later"),
    [
        (NEUPIMS, (99, 103, 188, 398, 212), 62, 10),
        (NEWTON, (99, 103, 188, 398, 212), 62, 10),
        (AIM, (162, 190, 346, 686, 236), 112, 10),
    ],
    ids=["neupims", "newton", "aim"],
)
def test_the_channel_models_schedules_keep_the_rules(
    params: PimBankParams, cycles: tuple[int, ...], tight: int, later: int
) -> None:
    """What goes later than the rules ask waits for the row bus or for its turn in the program."""
    found = model_schedules(params)
    assert tuple(one.cycles for one in found) == cycles
    counts = [replayed(params, one) for one in found]
    assert (sum(count[0] for count in counts), sum(count[1] for count in counts)) == (tight, later)


def test_schedules_with_host_and_refresh_keep_the_rules() -> None:
    found = {one.name: one for one in shared_schedules(NEUPIMS)}
    assert {name: one.cycles for name, one in found.items()} == {
        "refresh": 535,
        "composites": 248,
        "host": 248,
        "host and refresh": 557,
    }
    for one in found.values():
        replayed(NEUPIMS, one)
    commands = {step.command for step in found["host and refresh"].steps}
    assert {"RD", "ACT", "COMPS", "GACT", "PREA", "REF"} <= commands


@settings(max_examples=10)
@given(
    trcd=st.integers(8, 30),
    tfaw=st.integers(8, 60),
    trc_pim=st.integers(2, 20),
    tccd=st.integers(2, 5),
    trp=st.integers(5, 14),
)
def test_any_clocks_give_schedules_that_keep_the_rules(trcd: int, tfaw: int, trc_pim: int, tccd: int, trp: int) -> None:
    clocks = {"tRCDRD": trcd, "tFAW": tfaw, "tRC_PIM": trc_pim, "tCCD_L": tccd, "tRP": trp}
    params = PimBankParams(lanes=2, columns=8, timing=tuple(clocks.items()))
    tight = [replayed(params, one)[0] for one in [*model_schedules(params), *shared_schedules(params)]]
    assert all(tight)


def test_blocked_at_t_minus_one_ready_at_t() -> None:
    timing = PimTiming(NEUPIMS.bench_spec)
    timing.issue(Step("ACT", (0,), 1), 0)
    read, other = Step("RD", (0,)), Step("ACT", (1,), 1)
    assert [timing.ready(read, clock) for clock in (13, 14)] == [False, True]
    assert [timing.ready(other, clock) for clock in (5, 6)] == [False, True]  # tRRD_L in the bank group
    assert [timing.ready(Step("ACT", (2,), 1), clock) for clock in (3, 4)] == [False, True]  # tRRD_S in the rank
    assert timing.ready(Step("ACT", (4,), 1), 1)  # the other rank
    assert not timing.ready(Step("GACT", (0, 1), 1), 100)  # the row is the host's
    assert [timing.ready(Step("GACT", (0, 1), 2), clock) for clock in (5, 6)] == [False, True]


def test_the_mode_decides_what_answers() -> None:
    timing = PimTiming(AIM.bench_spec)
    banks = (0, 1, 2, 3)
    result, mode = Step("RDMAC", banks), Step("TMOD", banks)
    assert not timing.stands(result)
    assert timing.missing(result, [banks]) == mode
    timing.issue(mode, 0)
    assert [timing.ready(result, clock) for clock in (31, 32)] == [False, True]
    assert timing.missing(Step("RD", (0,)), [banks]) == mode


def test_what_is_missing_leads_to_a_command_that_stands() -> None:
    for params, goal in ((NEUPIMS, "COMPS"), (NEWTON, "COMPS"), (AIM, "MACAB")):
        device = params.bench_spec
        banks = tuple(range(device.organisation.banks))
        groups = [banks] if params is AIM else [(0, 1), (4, 5), (2, 3), (6, 7)]
        timing, wanted = PimTiming(device), Step(goal, banks, 1)
        timing.issue(Step("ACT", (0,), 1), 0)
        names = []
        while (step := timing.missing(wanted, groups)) is not None:
            timing.issue(step, timing.earliest(step))
            names.append(step.command)
        assert (
            names
            == {"neupims": ["GACT"] * 4, "newton": ["PREA", *["GACT"] * 4], "aim": ["PREA", "ACTAB"]}[params.device]
        )


def test_steps_come_back_from_plain_data() -> None:
    found = shared_schedules(NEUPIMS)[1]
    assert tuple(read_steps(found.document()["steps"])) == found.steps


def test_cycles_of_a_design_are_the_channel_models() -> None:
    design = generate_pim_bank(NEUPIMS)
    assert design.cycles(16, 36, 1) == 398
    with pytest.raises(ChipsmithError, match=r"^product.k: got 0; at least 1$"):
        design.cycles(4, 0, 1)
