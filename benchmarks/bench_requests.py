"""Reading request logs, what they share, and making synthetic ones."""

from __future__ import annotations

import json
import random
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.measure import Row, measured
from workloads.arrivals import Arrivals, synthesize
from workloads.lengths import Lengths
from workloads.request_stats import request_stats
from workloads.requests import read_requests, write_requests

_REQUESTS = 4000
_MADE = 100_000
# Percentiles of the public Mooncake conversation trace (Qin et al. 2025, FAST), for a file of its size and shape.
_INPUT = {0: 890, 50: 7864, 90: 28_981, 95: 43_040, 99: 94_407, 100: 123_192}
_OUTPUT = {0: 1, 50: 358, 90: 605, 99: 1157, 100: 2000}


def _mooncake_text() -> str:
    """A log in Mooncake's layout: a prompt repeats the head of one before it a third of the time."""
    arrivals, stream = Arrivals("poisson", 3.07), random.Random(1)
    lines, prompts, fresh = [], [[0]], 1
    for request in synthesize(arrivals, _REQUESTS, Lengths.fitted(_INPUT), Lengths.fitted(_OUTPUT), 1):
        count = -(-request.input_tokens // 512)
        head = stream.choice(prompts)[:count] if stream.random() < 1 / 3 else [0]
        prompts.append([*head, *range(fresh, fresh + count - len(head))])
        fresh += count
        row = {
            "timestamp": round(1e3 * request.arrival_s),
            "input_length": request.input_tokens,
            "output_length": request.output_tokens,
            "hash_ids": prompts[-1],
        }
        lines.append(json.dumps(row))
    return "\n".join(lines) + "\n"


def main() -> list[Row]:
    """Reading 4,000 requests with prefix blocks, their statistics, 100,000 plain ones, and making as many."""
    lengths = Lengths.fitted({50: 1020, 90: 2735, 99: 4142}), Lengths.fitted({50: 129, 90: 424, 99: 601})
    with TemporaryDirectory() as folder:
        blocks, plain = Path(folder, "mooncake.jsonl"), Path(folder, "plain.csv")
        blocks.write_text(_mooncake_text(), "utf-8")
        write_requests(synthesize(Arrivals("poisson", 2.0), _MADE, *lengths), plain)
        requests = read_requests(blocks)
        held = sum(len(r.blocks) for r in requests)
        return [
            measured(
                "read 4,000 requests in Mooncake's layout",
                lambda: read_requests(blocks),
                _REQUESTS,
                "requests",
                note=f"{held:,} prefix blocks, {blocks.stat().st_size / 1e6:.1f} MB",
                target="below 1 s",
            ),
            measured("rate, lengths, burstiness, prefix reuse", lambda: request_stats(requests), _REQUESTS, "requests"),
            measured("read 100,000 plain requests", lambda: read_requests(plain), _MADE, "requests", repeats=3),
            measured(
                "make 100,000 requests",
                lambda: synthesize(Arrivals("poisson", 2.0), _MADE, *lengths),
                _MADE,
                "requests",
                repeats=3,
            ),
        ]
