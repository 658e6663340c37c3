"""What a benchmark returns, and how it is timed."""

from __future__ import annotations

import resource
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
        cpu_samples_s: CPU seconds of each repetition over all threads and child processes, empty where not taken.
        target: what was aimed for, in words; empty where nothing was.
    """

    what: str
    subject: str
    samples_s: tuple[float, ...]
    items: float = 0
    unit: str = ""
    note: str = ""
    cpu_samples_s: tuple[float, ...] = ()
    target: str = ""

    @property
    def median_s(self) -> float:
        """Median seconds of a repetition."""
        return statistics.median(self.samples_s)

    @property
    def rate_hz(self) -> float | None:
        """Pieces of work a second at the median, None where there is no count."""
        return self.items / self.median_s if self.items and self.median_s else None

    @property
    def cpu_s(self) -> float | None:
        """Median CPU seconds of a repetition, None where they were not taken."""
        return statistics.median(self.cpu_samples_s) if self.cpu_samples_s else None

    @property
    def cpu_rate_hz(self) -> float | None:
        """Pieces of work a CPU second at the median, None where there is no count or no CPU time."""
        return self.items / self.cpu_s if self.items and self.cpu_s else None

    @property
    def piece_s(self) -> float:
        """Seconds of one piece of work, of the whole repetition where there is no count."""
        return self.median_s / (self.items or 1)


def timed(work: Callable[[], object], repeats: int = 5, warm_ups: int = 1) -> tuple[float, ...]:
    """Wall-clock seconds of each of ``repeats`` calls, after ``warm_ups`` calls that are not counted."""
    return timed_both(work, repeats, warm_ups)[0]


def timed_both(
    work: Callable[[], object], repeats: int = 5, warm_ups: int = 1
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Wall-clock and CPU seconds of each of ``repeats`` calls, after ``warm_ups`` calls that are not counted.

    CPU seconds hardly change with what else the machine does, so they are what two runs should be compared by.
    """
    for _ in range(warm_ups):
        work()
    wall, cpu = [], []
    for _ in range(repeats):
        begin, begin_cpu = time.perf_counter(), used_cpu_s()
        work()
        wall.append(time.perf_counter() - begin)
        cpu.append(used_cpu_s() - begin_cpu)
    return tuple(wall), tuple(cpu)


def used_cpu_s() -> float:
    """CPU seconds, user and system, of this process with all its threads and of the children it waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measured(
    what: str,
    work: Callable[[], object],
    items: float = 0,
    unit: str = "",
    *,
    subject: str = "chipsmith",
    note: str = "",
    target: str = "",
    repeats: int = 5,
) -> Row:
    """Time a piece of work, wall and CPU, and make its row."""
    wall, cpu = timed_both(work, repeats)
    return Row(what, subject, wall, items, unit, note, cpu, target)
