"""Streams of requests to one channel: what they are, and the coordinates of each request.

A stream is a rule by which request i gets a pseudo-channel, bank group, bank, row and column. The coordinates of a
sequential stream are the digits of i in the order of an address mapping; those of a random one are the digits of
splitmix64(i) (Steele, Lea and Flood, OOPSLA 2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.dram.mapping import COORDINATES, coordinate_sizes, load_kv_layout, load_mapping
from models.dram.spec import DramSpec
from workloads.errors import ChipsmithError, nearest

Ints = NDArray[np.int64]
KINDS = ("sequential", "strided", "random", "same_bank", "kv_gather")
_U = np.uint64


@dataclass(frozen=True)
class Stream:
    """A stream of requests of one burst each.

    Attributes:
        kind: ``sequential``; ``strided`` every ``stride_bursts``-th burst; ``random``; ``same_bank`` one bank, a new
            row each time; ``kv_gather`` whole pages in random order.
        requests: how many.
        write_every: request i is a write when i mod write_every = write_every - 1; 0: reads only.
        mapping: address mapping of sequential and strided streams.
        stride_bursts: see ``strided``.
        run: consecutive bursts of a row that a random stream reads at each place.
        layout: of the pages of ``kv_gather``. pages: number of pages in memory, 0: as many as it reads.
    """

    kind: str
    requests: int = 100_000
    write_every: int = 0
    mapping: str = "group_interleaved"
    stride_bursts: int = 1
    run: int = 1
    layout: str = "paged_interleaved"
    pages: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ChipsmithError("stream.kind", self.kind, nearest(self.kind, KINDS))
        for name, least in (("requests", 1), ("write_every", 0), ("stride_bursts", 1), ("run", 1), ("pages", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ChipsmithError(f"stream.{name}", value, f"a whole number of at least {least}")
        if self.write_every == 1:
            raise ChipsmithError("stream.write_every", 1, "0 (reads only) or at least 2")

    def of(self, requests: int) -> Stream:
        """The same stream with another number of requests."""
        return replace(self, requests=requests)


#: Streams by the names that the command takes.
STREAMS: Mapping[str, Stream] = {
    "sequential": Stream("sequential"),
    "row_by_row": Stream("sequential", mapping="row_by_row"),
    "bank_interleaved": Stream("sequential", mapping="bank_interleaved"),
    "row_miss": Stream("sequential", mapping="row_per_burst"),
    "same_bank": Stream("same_bank"),
    "strided": Stream("strided", stride_bursts=16),
    "random": Stream("random"),
    "random_runs": Stream("random", run=8),
    "kv_gather": Stream("kv_gather"),
    "mixed": Stream("sequential", write_every=3),
    "random_mixed": Stream("random", write_every=3),
}


def named_stream(name: str, **changes: Any) -> Stream:
    """A stream of :data:`STREAMS` with some attributes changed.

    Raises:
        ChipsmithError: an unknown name (nearest offered) or an illegal attribute.
    """
    if name not in STREAMS:
        raise ChipsmithError("stream", name, nearest(name, STREAMS))
    return replace(STREAMS[name], **changes)


@dataclass(frozen=True)
class Requests:
    """A list of requests, all arrays of one length.

    Attributes:
        bank: bank over all pseudo-channels, ``(pc * bank_groups + bg) * banks_per_group + ba``.
        row: row of the bank. write: 1 for a write, 0 for a read.
        arrival_ck: clocks, not falling, at which each is offered; empty: as soon as the one before it was taken.
    """

    bank: Ints
    row: Ints
    write: Ints
    arrival_ck: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.bank)


def trace_requests(
    spec: DramSpec, bank: ArrayLike, row: ArrayLike, write: ArrayLike, arrival_ck: ArrayLike = ()
) -> Requests:
    """Check a request trace against a device.

    Raises:
        ChipsmithError: arrays of different length, a coordinate that the device does not have, arrivals that fall.
    """
    o = spec.organisation
    arrival = np.asarray(arrival_ck, np.float64)
    found = Requests(np.asarray(bank, np.int64), np.asarray(row, np.int64), np.asarray(write, np.int64), arrival)
    sizes = {"bank": o.pseudo_channels * o.banks, "row": o.rows, "write": 2}
    for name, size in sizes.items():
        values = getattr(found, name)
        if values.shape != found.bank.shape or values.ndim != 1:
            raise ChipsmithError(f"requests.{name}", values.shape, f"an array of shape {found.bank.shape}, as bank")
        outside = np.flatnonzero((values < 0) | (values >= size))
        if outside.size:
            where = f"requests.{name}[{outside[0]}]"
            raise ChipsmithError(where, int(values[outside[0]]), f"0 to {size - 1} on {spec.name}")
    if len(found) == 0:
        raise ChipsmithError("requests", 0, "at least one request")
    if arrival.size and (arrival.shape != found.bank.shape or (np.diff(arrival) < 0).any() or arrival[0] < 0):
        raise ChipsmithError("requests.arrival_ck", None, "one clock a request, not falling, from 0 on")
    return found


def _footprint_bursts(spec: DramSpec, stream: Stream) -> int:
    """Bursts up to the last one that a stream touches, for streams that go through memory in order."""
    if stream.kind == "kv_gather":
        return _pages(spec, stream) * _page_bursts(spec, stream)
    return (stream.requests - 1) * (stream.stride_bursts if stream.kind == "strided" else 1) + 1


def _page_bursts(spec: DramSpec, stream: Stream) -> int:
    return max(1, load_kv_layout(stream.layout).page_bytes // spec.organisation.burst_bytes)


def _pages(spec: DramSpec, stream: Stream) -> int:
    return stream.pages or -(-stream.requests // _page_bursts(spec, stream))


def check_capacity(spec: DramSpec, stream: Stream) -> None:
    """Refuse a stream that goes beyond the channel's last byte.

    Raises:
        ChipsmithError: with the bytes that it reaches and those there are.
    """
    o = spec.organisation
    needed = _footprint_bursts(spec, stream)
    if stream.kind in ("sequential", "strided", "kv_gather") and needed > o.bursts:
        raise ChipsmithError(
            "stream.requests",
            stream.requests,
            f"the stream reaches {needed * o.burst_bytes} bytes, a {spec.name} channel has {o.capacity_bytes}",
        )


def beginning(spec: DramSpec, stream: Stream, requests: int) -> Requests:
    """The first requests of a stream, without making the others."""
    whole = replace(stream, pages=_pages(spec, stream)) if stream.kind == "kv_gather" else stream
    return stream_requests(spec, whole.of(requests))


def stream_requests(spec: DramSpec, stream: Stream) -> Requests:
    """The requests of a stream on a device.

    Raises:
        ChipsmithError: the stream needs more bytes than the channel has.
    """
    check_capacity(spec, stream)
    o = spec.organisation
    i = np.arange(stream.requests, dtype=np.int64)
    digits = _COORDINATES[stream.kind](spec, stream, i)
    bank = (digits["pc"] * o.bank_groups + digits["bg"]) * o.banks_per_group + digits["ba"]
    every = stream.write_every
    write = (i % every == every - 1).astype(np.int64) if every else np.zeros_like(i)
    return Requests(bank, digits["row"], write, np.zeros(0))


def mapped_digits(number: Ints, order: tuple[str, ...], spec: DramSpec) -> dict[str, Ints]:
    """Coordinates of burst numbers; ``order`` as of :class:`models.dram.mapping.AddressMapping`."""
    sizes = coordinate_sizes(spec)
    found: dict[str, Ints] = {}
    for name in order:
        found[name] = number % sizes[name]
        number = number // sizes[name]
    return found


def _sequential(spec: DramSpec, stream: Stream, i: Ints) -> dict[str, Ints]:
    step = stream.stride_bursts if stream.kind == "strided" else 1
    return mapped_digits(i * step, load_mapping(stream.mapping).digits, spec)


def _random(spec: DramSpec, stream: Stream, i: Ints) -> dict[str, Ints]:
    sizes = coordinate_sizes(spec)
    number = splitmix64(i // stream.run)
    found: dict[str, Ints] = {}
    for name in COORDINATES:
        found[name] = (number % _U(sizes[name])).astype(np.int64)
        number = number // _U(sizes[name])
    return found


def _same_bank(spec: DramSpec, stream: Stream, i: Ints) -> dict[str, Ints]:
    zero = np.zeros_like(i)
    return {"pc": zero, "bg": zero, "ba": zero, "row": i % spec.organisation.rows, "col": zero}


def _kv_gather(spec: DramSpec, stream: Stream, i: Ints) -> dict[str, Ints]:
    """Pages in the order of a shuffled list, each from its beginning to its end."""
    bursts = _page_bursts(spec, stream)
    pages = _pages(spec, stream)
    order = np.argsort(splitmix64(np.arange(pages, dtype=np.int64)), kind="stable")
    page = order[(i // bursts) % pages]
    return mapped_digits(page * bursts + i % bursts, load_mapping(load_kv_layout(stream.layout).mapping).digits, spec)


_COORDINATES = {
    "sequential": _sequential,
    "strided": _sequential,
    "random": _random,
    "same_bank": _same_bank,
    "kv_gather": _kv_gather,
}


def splitmix64(index: Ints) -> NDArray[np.uint64]:
    """Output function of the splitmix64 generator at each index."""
    with np.errstate(over="ignore"):
        x = index.astype(np.uint64) + _U(0x9E3779B97F4A7C15)
        x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))
