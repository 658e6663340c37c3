"""Synthetic request streams: when requests arrive, and whole logs made of arrivals and lengths.

Every stream repeats exactly for the same seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError, nearest
from workloads.lengths import Lengths
from workloads.requests import Request

if TYPE_CHECKING:
    import numpy as np

    from workloads.lengths import FloatArray

KINDS = ("constant", "gamma", "onoff", "poisson")
_COUNT_MAX = 10_000_000
_SEED_MAX = 2**32 - 1
_SMALLEST, _LARGEST = 1e-6, 1e9  # their squares and products stay within floating point, pauses within memory
_ARRIVALS, _INPUTS, _OUTPUTS = 0, 1, 2  # each part of a log draws from a stream of its own


@dataclass(frozen=True, slots=True)
class Arrivals:
    """A process of arrivals.

    Attributes:
        kind: ``constant`` (equal gaps), ``poisson`` (independent requests), ``gamma`` (gaps of a gamma distribution
            with the coefficient of variation ``cv``: 1 is Poisson, more comes in clumps), ``onoff`` (Poisson while on,
            nothing while off; both last exponentially distributed times: an interrupted Poisson process).
        rate_hz: requests a second in the long run.
        cv: gamma: deviation of the gaps over their mean.
        on_s, off_s: onoff: mean seconds of the two states; while on, ``rate_hz * (on_s + off_s) / on_s`` arrive.

    Raises:
        ChipsmithError: an unknown kind, a rate, deviation or duration that is not above 0.
    """

    kind: str
    rate_hz: float
    cv: float = 1.0
    on_s: float = 10.0
    off_s: float = 30.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ChipsmithError("arrivals.kind", self.kind, nearest(self.kind, KINDS))
        for name in ("rate_hz", "cv", "on_s", "off_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ChipsmithError(f"arrivals.{name}", getattr(self, name), "legal: above 0")
            if not _SMALLEST <= getattr(self, name) <= _LARGEST:
                raise ChipsmithError(f"arrivals.{name}", getattr(self, name), f"legal: {_SMALLEST:g} to {_LARGEST:g}")

    def times_s(self, count: int, seed: int) -> tuple[float, ...]:
        """Ascending seconds of ``count`` arrivals from time 0, the first after a first gap.

        Raises:
            ChipsmithError: a count outside 1 to 10 million, a seed outside 0 to 2^32 - 1.
        """
        import numpy as np

        check_count(count)
        stream = np.random.RandomState(seed_of(seed, _ARRIVALS))
        return tuple(float(time) for time in self._times_s(count, stream))

    def _times_s(self, count: int, stream: np.random.RandomState) -> FloatArray:
        import numpy as np

        mean = 1.0 / self.rate_hz
        if self.kind == "constant":
            return np.arange(1.0, count + 1.0) * mean
        if self.kind == "gamma":
            return np.cumsum(stream.gamma(self.cv**-2, mean * self.cv**2, count))
        if self.kind == "poisson":
            return np.cumsum(stream.exponential(mean, count))
        busy = np.cumsum(stream.exponential(mean * self.on_s / (self.on_s + self.off_s), count))
        return busy + self._pauses_s(busy, stream)

    def _pauses_s(self, busy: FloatArray, stream: np.random.RandomState) -> FloatArray:
        """Seconds off before each arrival, given the seconds on before it."""
        import numpy as np

        ends, offs = [0.0], [0.0]
        while ends[-1] <= busy[-1]:
            ends.append(ends[-1] + float(stream.exponential(self.on_s)))
            offs.append(offs[-1] + float(stream.exponential(self.off_s)))
        return np.array(offs)[np.searchsorted(ends, busy, side="right") - 1]


def synthesize(
    arrivals: Arrivals,
    count: int,
    inputs: Lengths,
    outputs: Lengths,
    seed: int = 0,
    *,
    independent: bool = False,
) -> tuple[Request, ...]:
    """A log of ``count`` requests; lengths of prompts and outputs are paired at random.

    Args:
        arrivals: when they come.
        count: how many.
        inputs, outputs: their lengths.
        seed: 0 to 2^32 - 1; the same seed gives the same log, and the same lengths under any arrivals.
        independent: see :meth:`workloads.lengths.Lengths.draw`.

    Raises:
        ChipsmithError: a count or seed outside its range.
    """
    check_count(count)
    times = arrivals.times_s(count, seed)
    drawn_in = inputs.draw(count, seed_of(seed, _INPUTS), independent=independent)
    drawn_out = outputs.draw(count, seed_of(seed, _OUTPUTS), independent=independent)
    return tuple(map(Request, times, drawn_in, drawn_out))


def check_count(count: int) -> None:
    """Refuse a number of requests outside 1 to 10 million."""
    if not 1 <= count <= _COUNT_MAX:
        raise ChipsmithError("count", count, "legal: 1 to 10,000,000 requests")


def seed_of(seed: int, part: int) -> int:
    """A seed of its own for each part of a log (32-bit finaliser of MurmurHash3, so that near seeds differ much)."""
    if not 0 <= seed <= _SEED_MAX:
        raise ChipsmithError("seed", seed, "legal: 0 to 2^32 - 1")
    mixed = (seed + part * 0x9E3779B9) & _SEED_MAX
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = ((mixed ^ (mixed >> shift)) * factor) & _SEED_MAX
    return mixed ^ (mixed >> 16)
