"""Mixes: what the channels of a chip's memory see of the operators that run, and the share of the peak they reach.

Weights, activations and KV cache lie in all channels alike, so one channel stands for all. What it sees is a mix of
flows. A flow is one pattern in one direction with a share of the bytes, spread over concurrent streams (one a core):

``sequential``  weights and activations. Parameters lie in the order in which they are streamed, so a stream goes on
                through open rows; where it lies in the banks is random, and drawn anew every few rows
``pages``       pages of the KV cache in random order, each from its beginning to its end
``tails``       tokens that are appended to pages, one here, one there

The streams take turns. A turn is what one core's DMA asks for at once, so that is how long a row stays in use; a turn
is at least what a controller's queue holds, because shorter ones meet in the queue. All flows together are one mixed
stream of requests, which runs on the channel model until its rate is steady (Rates are kept, by mix.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from models.dram.library import load_dram
from models.dram.mapping import load_kv_layout, load_mapping
from models.dram.policy import load_policy
from models.dram.spec import DramSpec
from sim.memory.channel import simulate_requests
from sim.memory.streams import Ints, Requests, mapped_digits, splitmix64

#: Grid of a flow's share of the bytes: shares are whole numbers of these parts.
PARTS = 64
#: More concurrent streams than this find rows no worse: every turn opens its rows anyway (a test).
MOST_STREAMS = 16
#: Tokens of a KV page, as the layouts' sources count them.
PAGE_TOKENS = 16
SEQUENTIAL, PAGES, TAILS = "sequential", "pages", "tails"
_ROW_SETS = 4  # a sequential stream's place is drawn anew after this many rows in each bank group
_SETTLING_REFRESHES, _REFRESHES = 2, 8  # refresh intervals before measuring, and measured, at full rate
_KEPT = 8192


@dataclass(frozen=True, order=True)
class Flow:
    """One pattern in one direction.

    Attributes:
        pattern: ``sequential``, ``pages`` or ``tails``. write: direction.
        parts: share of the bytes in parts of :data:`PARTS`. streams: concurrent ones.
    """

    pattern: str
    write: bool
    parts: int
    streams: int


#: Flows whose parts sum to :data:`PARTS`, in order.
Mix = tuple[Flow, ...]


@dataclass(frozen=True)
class Channel:
    """One channel of a memory.

    Attributes:
        grade, controller, address_mapping, kv_layout: names, as of ``MemorySpec``.
        turn: requests of one stream before another has its turn.
    """

    grade: str
    controller: str = "fr_fcfs"
    address_mapping: str = "group_interleaved"
    kv_layout: str = "paged_interleaved"
    turn: int = 64


def channel_of(
    grade: str, controller: str, address_mapping: str, kv_layout: str, channels: int, transfer_bytes: int
) -> Channel:
    """A channel of a memory; the turn is its part of ``transfer_bytes``, and at least the controller's queue."""
    requests = transfer_bytes // (channels * load_dram(grade).organisation.burst_bytes)
    turn = max(requests, load_policy(controller).read_entries)
    return Channel(grade, controller, address_mapping, kv_layout, turn)


def make_mix(flows: Sequence[tuple[str, bool, float, int]]) -> Mix:
    """A mix of (pattern, write, bytes, streams), rounded to the grid; () where nothing is moved.

    Parts are rounded by largest remainder, so they sum to :data:`PARTS`; what is below half a part may vanish.
    """
    moved = sum(item[2] for item in flows)
    if moved <= 0:
        return ()
    exact = [PARTS * item[2] / moved for item in flows]
    parts = [int(value) for value in exact]
    order = sorted(range(len(flows)), key=lambda i: (parts[i] - exact[i], i))
    for i in order[: PARTS - sum(parts)]:
        parts[i] += 1
    return tuple(
        sorted(
            Flow(pattern, write, part, max(1, min(streams, MOST_STREAMS)))
            for (pattern, write, _, streams), part in zip(flows, parts, strict=True)
            if part > 0
        )
    )


def blend(first: Mix, second: Mix, eighths: int) -> Mix:
    """Both mixes at once, the first with ``eighths`` of eight parts of the bytes."""
    flows = [(f.pattern, f.write, f.parts * eighths, f.streams) for f in first]
    return make_mix([*flows, *((f.pattern, f.write, f.parts * (8 - eighths), f.streams) for f in second)])


@lru_cache(maxsize=_KEPT)
def rate_of_peak(channel: Channel, mix: Mix) -> float:
    """Share of the channel's peak that a mix reaches in the long run, 0 to 1.

    Measured between the end of the second and of the tenth refresh interval's worth of requests.
    """
    spec = load_dram(channel.grade)
    step_ck = max(spec.timing.tBURST, spec.timing.tCCD_S) / spec.organisation.pseudo_channels
    interval = spec.timing.tREFI / step_ck
    begin, end = int(interval * _SETTLING_REFRESHES), int(interval * (_SETTLING_REFRESHES + _REFRESHES))
    requests = mix_requests(channel, mix, end)
    first = Requests(requests.bank[:begin], requests.row[:begin], requests.write[:begin], requests.arrival_ck)
    clocks = [simulate_requests(spec, part, channel.controller).cycles_ck for part in (first, requests)]
    return min(1.0, (end - begin) * step_ck / (clocks[1] - clocks[0]))


@lru_cache(maxsize=_KEPT)
def idle_latency_s(channel: Channel) -> float:
    """From a read's arrival at an idle channel to the end of its data."""
    spec = load_dram(channel.grade)
    zero = np.zeros(1, np.int64)
    run = simulate_requests(spec, Requests(zero, zero, zero, np.zeros(0)), channel.controller)
    return run.mean_read_latency_ck * spec.tck_ns * 1e-9


def mix_requests(channel: Channel, mix: Mix, requests: int) -> Requests:
    """The first requests of a mix on one channel; a longer list begins with the shorter one."""
    spec = load_dram(channel.grade)
    flow_of = _turns(channel, spec, mix, requests)
    bank, row, write = (np.zeros(requests, np.int64) for _ in range(3))
    for number, flow in enumerate(mix):
        mine = np.flatnonzero(flow_of == number)
        layout = channel.address_mapping
        if flow.pattern != SEQUENTIAL:
            layout = load_kv_layout(channel.kv_layout).mapping
        burst = _bursts(channel, spec, flow, number, len(mine))
        digits = mapped_digits(burst, load_mapping(layout).digits, spec)
        o = spec.organisation
        bank[mine] = (digits["pc"] * o.bank_groups + digits["bg"]) * o.banks_per_group + digits["ba"]
        row[mine] = digits["row"]
        write[mine] = flow.write
    return Requests(bank, row, write, np.zeros(0))


def _turns(channel: Channel, spec: DramSpec, mix: Mix, requests: int) -> Ints:
    """Flow of each request: turns of all flows merged evenly, in proportion to their parts."""
    turns = [_turn(channel, spec, flow) for flow in mix]
    places, flows, lengths = [], [], []
    for number, (flow, turn) in enumerate(zip(mix, turns, strict=True)):
        count = -(-(requests + sum(turns)) * flow.parts // (PARTS * turn)) + 1  # a turn may be due that far ahead
        places.append((np.arange(count) + 0.5) * (turn * PARTS / flow.parts))
        flows.append(np.full(count, number))
        lengths.append(np.full(count, turn))
    order = np.argsort(np.concatenate(places), kind="stable")
    found: Ints = np.repeat(np.concatenate(flows)[order], np.concatenate(lengths)[order])[:requests]
    return found


def _turn(channel: Channel, spec: DramSpec, flow: Flow) -> int:
    """Requests of one turn of a flow: a page or a token is asked for as a whole."""
    return channel.turn if flow.pattern == SEQUENTIAL else _piece(channel, spec, flow)


def _piece(channel: Channel, spec: DramSpec, flow: Flow) -> int:
    """Consecutive bursts of a stream before its place is drawn anew."""
    o = spec.organisation
    if flow.pattern == SEQUENTIAL:
        return _ROW_SETS * o.pseudo_channels * o.bank_groups * o.bursts_per_row
    page = load_kv_layout(channel.kv_layout).page_bytes
    return max(1, (page if flow.pattern == PAGES else page // PAGE_TOKENS) // o.burst_bytes)


def _bursts(channel: Channel, spec: DramSpec, flow: Flow, number: int, count: int) -> Ints:
    """Burst numbers of a flow's requests: its streams take turns, each goes through pieces at random places."""
    turn, piece = _turn(channel, spec, flow), _piece(channel, spec, flow)
    i = np.arange(count, dtype=np.int64)
    stream = i // turn % flow.streams
    place = i // (turn * flow.streams) * turn + i % turn
    draw = splitmix64(((place // piece) * MOST_STREAMS + stream) * 16 + number)
    pieces = np.uint64(spec.organisation.bursts // piece)
    found: Ints = (draw % pieces).astype(np.int64) * piece + place % piece
    return found
