"""The two constants of a stream at ``tile``, derived from the channel model instead of fitted to another simulator.

    python -m sim.memory.derive        # the figures of models/data/memory_efficiency.yaml, computed anew

``streaming_efficiency`` is the share of the peak that one sequential read stream reaches on a channel of the grade;
``stream_interference`` the mean over 2, 4, 8 and 16 streams of the x in ``efficiency * (1 - x (1 - 1/s))``.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean

from models.datafiles import load_data
from sim.memory.mixes import MOST_STREAMS, SEQUENTIAL, Channel, channel_of, make_mix, rate_of_peak

STREAMS = (2, 4, 8, MOST_STREAMS)
_DIGITS = 3


@dataclass(frozen=True)
class StreamConstants:
    """Constants of a grade's streams.

    Attributes:
        streaming_efficiency, stream_interference: as of ``MemorySpec``, rounded to three digits.
        by_streams: number of streams to the share of the peak that they reach together.
    """

    streaming_efficiency: float
    stream_interference: float
    by_streams: dict[int, float]


def stream_constants(channel: Channel) -> StreamConstants:
    """Constants of sequential reads on a channel."""
    reached = {s: rate_of_peak(channel, make_mix([(SEQUENTIAL, False, 1.0, s)])) for s in (1, *STREAMS)}
    single = reached[1]
    lost = fmean(max(0.0, 1 - reached[s] / single) / (1 - 1 / s) for s in STREAMS)
    return StreamConstants(round(single, _DIGITS), round(lost, _DIGITS), reached)


def stored_channel(grade: str) -> Channel:
    """The channel of a grade that the rows of models/data/memory_efficiency.yaml stand for."""
    turn_bytes = load_data("memory_efficiency.yaml").content["turn_bytes"]
    return channel_of(grade, "fr_fcfs", "group_interleaved", "paged_interleaved", 1, turn_bytes)


def main() -> None:
    """Print the constants of the data file, computed anew."""
    for standard, row in load_data("memory_efficiency.yaml").content["standards"].items():
        found = stream_constants(stored_channel(row["grade"]))
        print(
            f"{standard} ({row['grade']}): streaming_efficiency {found.streaming_efficiency}, "
            f"stream_interference {found.stream_interference}"
        )


if __name__ == "__main__":
    main()
