"""One DRAM channel under a stream of requests, command by command: cycles, bandwidth, commands and energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.dram.library import load_dram
from models.dram.policy import ControllerPolicy, load_policy
from models.dram.spec import DramSpec
from sim.memory import fields as f
from sim.memory.bank_queues import run_bank_queues
from sim.memory.fr_fcfs import run_two_queues
from sim.memory.streams import Requests, Stream, beginning, check_capacity, stream_requests
from sim.memory.ticks import channel_parameters, ticks_per_clock

#: Requests from which on a stream is not simulated to its end.
EXTRAPOLATE_ABOVE = 200_000
#: Relative change of the clocks per request between two halves of a run at which it counts as steady.
STEADY = 1e-3
#: A run that is to be extrapolated covers at least this many refresh intervals.
_INTERVALS = 8
_FIRST_REQUESTS = 20_000


@dataclass(frozen=True)
class Command:
    """A command of the log: its clock, its name and its bank over all pseudo-channels (PREA, REF: the first one)."""

    clock_ck: float
    name: str
    bank: int


@dataclass(frozen=True)
class ChannelRun:
    """What a channel did.

    Attributes:
        dram, policy: names. requests: of the stream. simulated: of them simulated, the others extrapolated.
        cycles_ck: clocks to the last read's data and the last write command. time_s: the same.
        bandwidth_bytes_per_s: bytes of all requests over that time; fraction_of_peak: of the channel's peak.
        commands: number by name; PRE of one bank, PREA of all banks, REF per pseudo-channel, CAS clock start-ups.
        row_hits: column commands of requests that found their row open.
        mean_read_latency_ck: from entering the queue to the end of the data; NaN without reads.
        energy_pj: by ``act``, ``read``, ``write``, ``refresh``, ``background``, ``io``; empty where the device has no
            energy figures.
        error: largest relative error of ``cycles_ck`` to be expected from extrapolation; 0 where nothing was.
        log: first commands, where asked for.
    """

    dram: str
    policy: str
    requests: int
    simulated: int
    cycles_ck: float
    time_s: float
    bandwidth_bytes_per_s: float
    fraction_of_peak: float
    commands: Mapping[str, float]
    row_hits: float
    mean_read_latency_ck: float
    energy_pj: Mapping[str, float]
    error: float = 0.0
    log: tuple[Command, ...] = field(default=(), repr=False)

    @property
    def energy_pj_per_bit(self) -> float:
        """All energy over all bits moved; NaN without energy figures."""
        bits = 8 * self.bandwidth_bytes_per_s * self.time_s
        return sum(self.energy_pj.values()) / bits if self.energy_pj else float("nan")


def _device(dram: DramSpec | str) -> DramSpec:
    return load_dram(dram) if isinstance(dram, str) else dram


def _controller(policy: ControllerPolicy | str) -> ControllerPolicy:
    return load_policy(policy) if isinstance(policy, str) else policy


def simulate_requests(
    dram: DramSpec | str, requests: Requests, policy: ControllerPolicy | str = "fr_fcfs", log: int = 0
) -> ChannelRun:
    """Serve a list of requests to the end.

    Args:
        dram: specification, or name of a standard or grade.
        requests: see :class:`Requests`; ``trace_requests`` makes and checks them.
        policy: controller, or its name.
        log: how many commands to keep.

    Raises:
        ChipsmithError: an unknown name, or a device that the policy cannot drive.
    """
    spec, controller = _device(dram), _controller(policy)
    state = _run(spec, controller, requests, log)
    return _result(spec, controller, len(requests), state, len(requests), log)


def simulate_stream(
    dram: DramSpec | str, stream: Stream, policy: ControllerPolicy | str = "fr_fcfs", exact: bool = False
) -> ChannelRun:
    """Serve a stream; a long one until its clocks per request no longer change, then extrapolated.

    Args:
        dram, policy: as of :func:`simulate_requests`.
        stream: what to serve.
        exact: simulate all requests, however many.

    Raises:
        ChipsmithError: an unknown name, a stream beyond the channel's capacity, a device the policy cannot drive.
    """
    spec, controller = _device(dram), _controller(policy)
    check_capacity(spec, stream)
    if exact or stream.requests <= EXTRAPOLATE_ABOVE:
        return simulate_requests(spec, stream_requests(spec, stream), controller)
    return _extrapolated(spec, controller, stream)


def _run(spec: DramSpec, policy: ControllerPolicy, requests: Requests, log: int = 0) -> NDArray[np.int64]:
    p = channel_parameters(spec, policy)
    p[f.P_LOG] = log
    arrival = np.ceil(requests.arrival_ck * ticks_per_clock(spec)).astype(np.int64)
    kernel = run_two_queues if policy.queues == "read_write" else run_bank_queues
    compiled = getattr(kernel, "compiled", kernel)  # a stream is far too long to be interpreted, even once
    state: NDArray[np.int64] = compiled(p, requests.bank, requests.row, requests.write, arrival)
    return state


def _extrapolated(spec: DramSpec, policy: ControllerPolicy, stream: Stream) -> ChannelRun:
    """Run twice as far until the second half costs what the first did, then go on at that rate."""
    total = stream.requests
    count = _FIRST_REQUESTS
    whole = spec.timing.tREFI * _INTERVALS
    states = {n: _run(spec, policy, beginning(spec, stream, n)) for n in (count, 2 * count)}
    while True:
        first, second = (states[n][f.C_DONE] for n in (count, 2 * count))
        rate, before = (second - first) / count, first / count
        change = abs(rate - before) / rate
        steady = change < STEADY and second >= whole * ticks_per_clock(spec)
        if steady or 4 * count >= total:
            break
        count *= 2
        states[2 * count] = _run(spec, policy, beginning(spec, stream, 2 * count))
    low, high = states[count], states[2 * count]
    state = high + (high - low).astype(np.float64) * ((total - 2 * count) / count)
    share = 1 - 2 * count / total
    return replace(_result(spec, policy, total, state, 2 * count, 0), error=float(change * share))


def _result(
    spec: DramSpec, policy: ControllerPolicy, total: int, state: NDArray[Any], simulated: int, log: int
) -> ChannelRun:
    n = ticks_per_clock(spec)
    cycles = float(state[f.C_DONE]) / n
    time_s = cycles * spec.tck_ns * 1e-9
    commands = {name: _number(state[f.N_COMMANDS + place]) for place, name in enumerate(f.COMMANDS) if name != "ACT2"}
    bandwidth = total * spec.organisation.burst_bytes / time_s
    closed_s = float(state[f.N_CLOSED]) / n * spec.tck_ns * 1e-9
    return ChannelRun(
        dram=spec.name,
        policy=policy.name,
        requests=total,
        simulated=simulated,
        cycles_ck=cycles,
        time_s=time_s,
        bandwidth_bytes_per_s=bandwidth,
        fraction_of_peak=bandwidth / spec.peak_bytes_per_s,
        commands=commands,
        row_hits=_number(state[f.N_HITS]),
        mean_read_latency_ck=float(state[f.N_LATENCY]) / n / commands["RD"] if commands["RD"] else float("nan"),
        energy_pj=_energy(spec, commands, time_s, closed_s),
        log=_log(state, n, log),
    )


def _number(value: Any) -> float:
    """A count: whole where it was counted, a fraction where it was extrapolated."""
    return int(value) if float(value).is_integer() else float(value)


def _log(state: NDArray[Any], ticks: int, limit: int) -> tuple[Command, ...]:
    kept = state[f.LOG : f.LOG + 3 * min(limit, int(state[f.C_LOGGED]))].reshape(-1, 3) if limit else ()
    return tuple(Command(int(t) / ticks, f.COMMANDS[int(name)], int(b)) for t, name, b in kept)


def _energy(spec: DramSpec, commands: Mapping[str, float], time_s: float, closed_s: float) -> dict[str, float]:
    """Energy by part, pJ: commands times their energy, and standby by whether a bank is open (mW x s = 1e9 pJ)."""
    price = spec.command_energy()
    if price is None:
        return {}
    open_s = spec.organisation.pseudo_channels * time_s - closed_s
    bits = 8 * spec.organisation.burst_bytes * (commands["RD"] + commands["WR"])
    return {
        "act": commands["ACT"] * price.act_pj,
        "read": commands["RD"] * price.read_pj,
        "write": commands["WR"] * price.write_pj,
        "refresh": commands["REF"] * price.refresh_pj + commands["REFpb"] * price.refresh_bank_pj,
        "background": 1e9 * (open_s * price.open_mw + closed_s * price.closed_mw),
        "io": bits * price.io_pj_per_bit,
    }
