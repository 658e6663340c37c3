"""What a benchmark returns, and how it is timed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One measured subject of one benchmark.

    Attributes:
        what: what was done, the same for all subjects that are compared with each other.
        subject: who did it: ``chipsmith`` or the alternative that a user would pick.
        samples_s: seconds of each repetition.
        items: how many pieces of work one repetition holds (operators, designs, cycles), 0 where it has no count.
        unit: what one piece of work is, for example ``designs``.
        note: anything the reader must know.
    """

    what: str
    subject: str
    samples_s: tuple[float, ...]
    items: int = 0
    unit: str = ""
    note: str = ""

    @property
    def median_s(self) -> float:
        """Median seconds of a repetition."""
        return statistics.median(self.samples_s)

    @property
    def rate_hz(self) -> float | None:
        """Pieces of work a second at the median, None where there is no count."""
        return self.items / self.median_s if self.items and self.median_s else None


def timed(work: Callable[[], object], repeats: int = 5, warm_ups: int = 1) -> tuple[float, ...]:
    """Wall-clock seconds of each of ``repeats`` calls, after ``warm_ups`` calls that are not counted."""
    for _ in range(warm_ups):
        work()
    samples = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        samples.append(time.perf_counter() - begin)
    return tuple(samples)
