"""Both controllers: every command obeys the rules, no request is lost, and skipping idle ticks changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dram.library import list_grades, load_dram
from models.dram.policy import ControllerPolicy, list_policies, load_policy
from models.dram.spec import DramSpec
from sim.memory import fields as f
from sim.memory.bank_queues import run_bank_queues
from sim.memory.channel import simulate_requests, simulate_stream
from sim.memory.fr_fcfs import run_two_queues
from sim.memory.streams import STREAMS, Requests, named_stream, stream_requests, trace_requests
from sim.memory.ticks import channel_parameters
from workloads.errors import ChipsmithError

from .legal import violations

GRADES = list_grades()
REFRESHED_SINGLY = [name for name in GRADES if load_dram(name).timing.tRFCpb]
SMALL_REFRESH = 2


def busy(spec: DramSpec) -> DramSpec:
    """A device that refreshes much more often, so that short runs see it."""
    t = spec.timing
    interval = SMALL_REFRESH * (t.tRFC + t.tRP)
    single = interval // 4 if t.tREFIpb else 0
    return spec.model_copy(update={"timing": t.model_copy(update={"tREFI": interval, "tREFIpb": single})})


def policies_of(spec: DramSpec) -> list[ControllerPolicy]:
    """Every controller that drives a device, with refreshes of all and single banks, open and closed pages."""
    found = [load_policy("ramulator2"), load_policy("fr_fcfs").changed(row_policy="closed", read_entries=8)]
    if spec.timing.tRFCpb:
        found += [load_policy(name).changed(refresh="per-bank") for name in ("fr_fcfs", "ramulator2")]
    if not spec.command_bus.two_part_activation:
        found += [load_policy("dramsim3"), load_policy("dramsim3").changed(row_policy="closed")]
    return found


def random_requests(spec: DramSpec, seed: int, count: int, spread: int, writes: float, rate: float) -> Requests:
    """Requests to few banks and rows (hits and conflicts), with gaps between them where a rate is given."""
    draw = np.random.default_rng(seed)
    o = spec.organisation
    bank = draw.integers(0, min(spread, o.banks * o.pseudo_channels), count)
    arrival = np.cumsum(draw.exponential(1 / rate, count)) if rate else ()
    return trace_requests(spec, bank, draw.integers(0, 3, count), (draw.random(count) < writes).astype(int), arrival)


@pytest.mark.parametrize("grade", GRADES)
def test_every_command_of_every_controller_is_legal(grade: str) -> None:
    spec = busy(load_dram(grade))
    for number, policy in enumerate(policies_of(spec)):
        requests = random_requests(spec, number, 400, 24, 0.4, 0.0)
        run = simulate_requests(spec, requests, policy, log=100_000)
        log = [command for command in run.log if command.name not in ("CAS", "ACT2")]
        if policy.row_policy == "open":
            assert violations(spec, log) == []
        assert sum(command.name == "RD" for command in log) == int(np.sum(requests.write == 0))
        interval = spec.timing.tREFIpb if policy.refresh == "per-bank" else spec.timing.tREFI
        assert run.commands["REF"] + run.commands["REFpb"] >= int(run.cycles_ck > interval + spec.timing.tRC)


@settings(max_examples=25)
@given(
    grade=st.sampled_from(GRADES),
    seed=st.integers(0, 10_000),
    spread=st.integers(1, 64),
    writes=st.floats(0, 1),
    rate=st.sampled_from([0.0, 0.02, 0.2]),
)
def test_legal_and_complete_for_any_requests(grade: str, seed: int, spread: int, writes: float, rate: float) -> None:
    spec = load_dram(grade)
    requests = random_requests(spec, seed, 120, spread, writes, rate)
    run = simulate_requests(spec, requests, "fr_fcfs", log=1000)
    assert violations(spec, [command for command in run.log if command.name not in ("CAS", "ACT2")]) == []
    assert run.commands["RD"] + run.commands["WR"] == 120
    assert run.fraction_of_peak <= 1
    assert run.row_hits + run.commands["ACT"] == 120


@pytest.mark.parametrize("grade", GRADES)
def test_skipping_ticks_changes_nothing(grade: str) -> None:
    spec = busy(load_dram(grade))
    for number, policy in enumerate(policies_of(spec)):
        for rate, writes in ((0.0, 0.4), (0.03, 0.2)):
            requests = random_requests(spec, number, 200, 32, writes, rate)
            p = channel_parameters(spec, policy)
            kernel = run_two_queues if policy.queues == "read_write" else run_bank_queues
            arrival = np.ceil(requests.arrival_ck).astype(np.int64)
            states = []
            for step in (0, 1):
                p[f.P_STEP] = step
                states.append(kernel(p, requests.bank, requests.row, requests.write, arrival))
            assert states[0][f.C_DONE] == states[1][f.C_DONE], policy
            assert (states[0][f.N_COMMANDS : f.N_END] == states[1][f.N_COMMANDS : f.N_END]).all(), policy


def test_interpreted_and_compiled_agree() -> None:
    code = (
        "import json\n"
        "from sim.memory.channel import simulate_stream\n"
        "from sim.memory.streams import named_stream\n"
        "out = [simulate_stream(g, named_stream(s, requests=150, write_every=w), p).cycles_ck\n"
        "       for g, p in (('HBM3-6400', 'fr_fcfs'), ('LPDDR5-6400', 'ramulator2'), ('DDR4-3200', 'dramsim3'))\n"
        "       for s, w in (('random', 3), ('sequential', 0))]\n"
        "print(json.dumps(out))\n"
    )
    root = Path(__file__).parents[3]
    answers = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_DISABLE_JIT": plain, "PYTHONPATH": str(root)},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for plain in ("0", "1")
    ]
    assert json.loads(answers[0]) == json.loads(answers[1])
    assert min(json.loads(answers[0])) > 150


@pytest.mark.parametrize("policy", list_policies())
def test_a_lone_read_takes_activation_and_latency(policy: str) -> None:
    spec = load_dram("DDR4-3200")
    run = simulate_requests(spec, trace_requests(spec, [3], [7], [0]), load_policy(policy), log=9)
    assert [(command.name, command.bank) for command in run.log] == [("ACT", 3), ("RD", 3)]
    assert run.log[1].clock_ck - run.log[0].clock_ck == spec.timing.tRCDRD
    moving = 1 if load_policy(policy).queues == "per_bank" else 0  # into the bank's queue
    assert run.mean_read_latency_ck == spec.timing.tRCDRD + spec.timing.tCL + spec.timing.tBURST + moving
    assert run.row_hits == 0


def test_a_data_clock_that_stopped_is_started_first() -> None:
    spec = load_dram("LPDDR5-6400")
    requests = trace_requests(spec, [0, 4, 0], [1, 1, 1], [0, 0, 0], [0, 0, 300])
    names = [command.name for command in simulate_requests(spec, requests, log=20).log]
    assert names.count("CAS") == 2
    assert names[-2:] == ["CAS", "RD"]
    assert names.count("ACT2") == names.count("ACT") == 2


def test_a_waiting_hit_goes_before_an_older_conflict_that_is_not_ready() -> None:
    spec = load_dram("HBM2-2000")
    requests = trace_requests(spec, [0, 0, 0], [1, 2, 1], [0, 0, 0])
    names = [command.name for command in simulate_requests(spec, requests, log=20).log]
    assert names == ["ACT", "RD", "RD", "PRE", "ACT", "RD"]


def test_writes_wait_for_their_drain() -> None:
    spec = load_dram("HBM2-2000")
    for count, first in ((40, "RD"), (52, "WR")):  # 20 writes are too few to start a drain, 26 are enough
        i = np.arange(count)
        requests = trace_requests(spec, i % 32, i * 0, i % 2)
        names = [c.name for c in simulate_requests(spec, requests, log=500).log if c.name in ("RD", "WR")]
        assert names[:10] == [first] * 10
        assert names.count("WR") == count // 2


@pytest.mark.parametrize("grade", REFRESHED_SINGLY)
def test_refreshing_single_banks_beats_stopping_the_channel_for_them(grade: str) -> None:
    stream = named_stream("random", requests=20_000)
    free, blocking = (
        simulate_stream(grade, stream, load_policy(name).changed(refresh="per-bank"))
        for name in ("fr_fcfs", "ramulator2")
    )
    assert free.commands["REFpb"] > 0
    assert free.cycles_ck <= blocking.cycles_ck


@pytest.mark.parametrize("grade", ["HBM2-2000", "DDR5-4800", "GDDR6-14000"])
@pytest.mark.parametrize("stream", ["sequential", "random", "random_mixed"])
@pytest.mark.parametrize("name", ["tRP", "tRCDRD", "tFAW", "tRFC", "tWR", "tWTR_L", "tRTW", "tCL"])
def test_slower_timings_do_not_make_a_channel_faster(grade: str, stream: str, name: str) -> None:
    spec = load_dram(grade)
    requests = stream_requests(spec, named_stream(stream, requests=4000))
    before = simulate_requests(spec, requests).cycles_ck
    value = getattr(spec.timing, name)
    for factor in (1.1, 1.5):
        slower = spec.timing.model_copy(update={name: round(factor * value) + 1})
        assert simulate_requests(spec.model_copy(update={"timing": slower}), requests).cycles_ck > 0.97 * before


def test_a_hit_chosen_before_its_bank_is_held_for_a_refresh_is_served() -> None:
    """The search for a column command comes before the refresh that takes the bank out of the search."""
    policy = load_policy("fr_fcfs").changed(refresh="per-bank", row_policy="closed")
    run = simulate_stream("GDDR6-14000-low-voltage", named_stream("random_runs", requests=700), policy)
    assert run.commands["RD"] == 700
    assert run.row_hits + run.commands["ACT"] == 700


@pytest.mark.parametrize(
    ("pseudo_channels", "groups", "banks"), [(3, 3, 1), (4, 4, 4), (1, 1, 1), (1, 5, 3), (2, 1, 3)]
)
def test_any_number_of_banks_and_pseudo_channels(pseudo_channels: int, groups: int, banks: int) -> None:
    spec = busy(load_dram("HBM2-2000"))
    sizes = {"pseudo_channels": pseudo_channels, "bank_groups": groups, "banks_per_group": banks}
    spec = spec.model_copy(update={"organisation": spec.organisation.model_copy(update=sizes)})
    requests = random_requests(spec, groups, 400, 64, 0.3, 0.0)
    run = simulate_requests(spec, requests, log=100_000)
    assert violations(spec, run.log) == []
    assert run.commands["RD"] + run.commands["WR"] == 400
    used = {command.bank for command in run.log if command.name == "ACT"}
    assert used == set(range(pseudo_channels * groups * banks))


def test_bad_policies_for_a_device() -> None:
    with pytest.raises(ChipsmithError) as error:
        simulate_stream("DDR4-3200", STREAMS["random"], load_policy("fr_fcfs").changed(refresh="per-bank"))
    assert str(error.value) == ("policy.refresh: got 'per-bank'; DDR4-3200 has no tRFCpb and tREFIpb: all-bank, none")
    with pytest.raises(ChipsmithError) as error:
        simulate_stream("LPDDR5-6400", STREAMS["random"], "dramsim3")
    assert str(error.value) == "policy.dramsim3.queues: got 'per_bank'; read_write for LPDDR5-6400 refreshed so"


def test_a_scheduling_anomaly_stays_what_it_is() -> None:
    """A clock more of tRAS lets short write-mixed runs end sooner: greedy schedules need not be monotone."""
    spec = load_dram("HBM2-2000")
    requests = stream_requests(spec, named_stream("random_runs", requests=4000, write_every=3))
    slower = spec.model_copy(update={"timing": spec.timing.model_copy(update={"tRAS": spec.timing.tRAS + 1})})
    assert simulate_requests(spec, requests).cycles_ck == 8184
    assert simulate_requests(slower, requests).cycles_ck == 7705


def test_anomalies_average_out_over_long_streams() -> None:
    spec = load_dram("HBM2-2000")
    requests = stream_requests(spec, named_stream("random_runs", requests=100_000, write_every=3))
    before = simulate_requests(spec, requests).cycles_ck
    for name in ("tRAS", "tRTP", "tWR", "tRRD_S", "tRRD_L", "tRP"):
        value = getattr(spec.timing, name) + (2 if name == "tRRD_L" else 1)
        changes = {name: value} if name != "tRRD_S" else {name: value, "tRRD_L": value}
        slower = spec.model_copy(update={"timing": spec.timing.model_copy(update=changes)})
        assert simulate_requests(slower, requests).cycles_ck > 0.97 * before
