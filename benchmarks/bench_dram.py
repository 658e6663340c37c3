"""Requests a second that the DRAM channel model serves, beside what command-level simulators reach on such streams."""

from __future__ import annotations

from benchmarks.measure import Row, timed_both
from models.dram.library import load_dram
from models.dram.policy import load_policy
from sim.memory.channel import simulate_requests
from sim.memory.streams import named_stream, stream_requests

_REQUESTS = 200_000
_TARGET = "5,000,000 random requests a CPU second"
_CASES = (
    ("HBM2-2000", "random"),
    ("HBM3-6400", "random"),
    ("DDR4-3200", "random"),
    ("HBM2-2000", "sequential"),
    ("HBM2-2000", "random_mixed"),
)
#: Requests a CPU second of others on one core, measured by us on the same streams (requests random or hitting rows).
_PEERS = (
    ("Ramulator 2.1 c5b1c3a", "random", (187_000, 515_000)),
    ("DRAMsim3 2981759", "random", (121_000, 447_000)),
)


def _ours(grade: str, stream: str) -> Row:
    """The kernel alone; making the requests is not counted."""
    spec, policy = load_dram(grade), load_policy("ramulator2")
    requests = stream_requests(spec, named_stream(stream, requests=_REQUESTS))
    _, cpu = timed_both(lambda: simulate_requests(spec, requests, policy), repeats=5)
    target = _TARGET if stream == "random" else ""
    note = f"{grade}; commands and cycles as Ramulator 2.1's"
    return Row(_what(stream), "chipsmith", cpu, _REQUESTS, "requests", note, cpu, target)


def _what(stream: str) -> str:
    return f"DRAM commands of a stream, {stream.replace('_', ' ')}"


def main() -> list[Row]:
    """Our rates and theirs."""
    peers = [
        Row(_what(stream), tool, tuple(1 / rate for rate in rates), 1, "requests", "stored; random to row hits")
        for tool, stream, rates in _PEERS
    ]
    return [*(_ours(*case) for case in _CASES), *peers]
