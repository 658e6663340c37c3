"""Distributions of prompt and output lengths, from the percentiles that publications and dashboards give.

``piecewise`` passes through every percentile given; between two of them lengths grow by a constant factor a percent
(straight lines in the logarithm). ``lognormal`` is the log-normal whose logarithm fits the percentiles best (least
squares over their normal scores); it smooths, and does not reproduce them exactly. A shortest or longest length that
lies inside the distribution cuts it: what is outside is not drawn, and the rest keeps its proportions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError, nearest

if TYPE_CHECKING:
    import numpy as np

    FloatArray = np.ndarray[tuple[int], np.dtype[np.float64]]

FITS = ("piecewise", "lognormal")
TOKENS_MAX = 1 << 31


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of lengths in tokens; make one with :meth:`fixed`, :meth:`fitted` or :meth:`parsed`.

    Attributes:
        knots: (percentile, tokens) pairs, ascending in both.
        fit: ``piecewise`` or ``lognormal``.
        least, most: shortest and longest length, 0 = not given (see :meth:`ends`).

    Raises:
        ChipsmithError: percentiles outside 0 to 100, not ascending, too few, an empty range.
    """

    knots: tuple[tuple[float, int], ...]
    fit: str = "piecewise"
    least: int = 0
    most: int = 0

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ChipsmithError("lengths.fit", self.fit, nearest(self.fit, FITS))
        _check_knots(self.knots, 1 if self.fit == "piecewise" else 2)
        for name in ("least", "most"):
            if not 0 <= getattr(self, name) <= TOKENS_MAX:
                raise ChipsmithError(f"lengths.{name}", getattr(self, name), "legal: 0 (not given) to 2^31 tokens")
        low, high = self.ends()
        if low > high:
            raise ChipsmithError("lengths.least, lengths.most", (low, high), "leave no length to draw")

    @classmethod
    def fixed(cls, tokens: int) -> Lengths:
        """Always the same length."""
        return cls(((50.0, tokens),), least=tokens, most=tokens)

    @classmethod
    def fitted(
        cls, percentiles: Mapping[int, int] | Mapping[float, int], fit: str = "piecewise", least: int = 0, most: int = 0
    ) -> Lengths:
        """From percentile to tokens, for example ``{50: 1020, 90: 2735}``; 0 and 100 are the shortest and longest."""
        return cls(tuple((float(p), tokens) for p, tokens in sorted(percentiles.items())), fit, least, most)

    @classmethod
    def parsed(
        cls, text: str, where: str = "percentiles", fit: str = "piecewise", least: int = 0, most: int = 0
    ) -> Lengths:
        """From text: a number of tokens, or ``50=1020,90=2735``.

        Raises:
            ChipsmithError: anything else.
        """
        pairs = [part.partition("=")[::2] for part in text.split(",")]
        try:
            if text.strip().isdecimal() and text.isascii():
                tokens = int(text)
                return cls(((50.0, tokens),), "piecewise", least or tokens, most or tokens)
            found = {float(percent): int(tokens) for percent, tokens in pairs}
        except ValueError:
            raise ChipsmithError(where, text, "legal: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735") from None
        if len(found) < len(pairs):
            raise ChipsmithError(where, text, "legal: each percentile once")
        return cls.fitted(found, fit, least, most)

    def ends(self) -> tuple[int, int]:
        """Shortest and longest length that is drawn.

        Where they are given neither as range nor as percentile 0 or 100: piecewise, one more step like the outermost
        one between two percentiles (in logarithms), so 90=2,735, 99=4,142 ends at 6,273; one percentile alone is both
        ends. Log-normal: 1 and 2^31.
        """
        low, high = (1, TOKENS_MAX) if self.fit == "lognormal" else self._outermost()
        return max(1, self.least or low), self.most or high

    def _outermost(self) -> tuple[int, int]:
        """Lengths at percentiles 0 and 100 before anything is cut off: a range outside the knots moves them."""
        first, last = self.knots[0], self.knots[-1]
        second, before = (self.knots[1], self.knots[-2]) if len(self.knots) > 1 else (first, last)
        low = first[1] if first[0] == 0 else max(1, round(first[1] ** 2 / second[1]))
        high = last[1] if last[0] == 100 else min(TOKENS_MAX, round(last[1] ** 2 / before[1]))
        if first[0] > 0 and 0 < self.least <= first[1]:
            low = self.least
        if last[0] < 100 and self.most >= last[1]:
            high = self.most
        return low, high

    def draw(self, count: int, seed: int, *, independent: bool = False) -> tuple[int, ...]:
        """``count`` lengths in random order, the same for the same seed.

        By default one length is taken from each of ``count`` equal slices of the distribution, so that the sample has
        the percentiles of the distribution, exactly those given where ``count * percentile / 100`` is whole
        (piecewise). ``independent`` draws each length on its own: percentiles then scatter as in nature.

        Raises:
            ChipsmithError: fewer than 1.
        """
        import numpy as np

        if count < 1:
            raise ChipsmithError("count", count, "legal: 1 or more")
        stream = np.random.RandomState(seed)  # the generator whose stream numpy promises never to change
        if independent:
            return self.at(stream.random_sample(count))
        top = 1.0 if self.fit == "piecewise" else 0.5  # top of a slice, where percentiles lie; a log-normal has no top
        return self.at((stream.permutation(count) + top) / count)

    def at(self, shares: Sequence[float] | FloatArray) -> tuple[int, ...]:
        """The lengths that these shares (0 to 1) of all requests do not exceed."""
        import numpy as np

        low, high = self.ends()
        wanted = np.asarray(shares, dtype=np.float64)
        tokens = self._lognormal(wanted, low, high) if self.fit == "lognormal" else self._piecewise(wanted)
        return tuple(int(length) for length in np.clip(np.rint(tokens), low, high))

    def _piecewise(self, shares: FloatArray) -> FloatArray:
        """Straight between the logarithms of the knots; a range inside them cuts shares off at both sides."""
        import numpy as np

        percents, logs = self._points()
        low, high = (math.log(tokens) for tokens in self.ends())
        first = float(np.interp(low, logs, percents)) if low > logs[0] else 0.0
        last = float(np.interp(high, logs, percents)) if high < logs[-1] else 100.0
        tokens: FloatArray = np.exp(np.interp(first + shares * (last - first), percents, logs))
        return tokens

    def _points(self) -> tuple[list[float], list[float]]:
        """Percentiles and logarithms of lengths, both ends included."""
        low, high = self._outermost()
        head = [] if self.knots[0][0] == 0 else [(0.0, low)]
        tail = [] if self.knots[-1][0] == 100 else [(100.0, high)]
        points = [*head, *self.knots, *tail]
        return [percent for percent, _ in points], [math.log(tokens) for _, tokens in points]

    def _lognormal(self, shares: FloatArray, low: int, high: int) -> FloatArray:
        """Cut to the range by drawing only from the shares that lie inside."""
        import numpy as np

        mean, deviation = self._fit_lognormal()
        if deviation == 0:
            return np.full(shares.shape, math.exp(mean))
        curve = NormalDist(mean, deviation)
        first, last = curve.cdf(math.log(low - 0.5)), curve.cdf(math.log(high + 0.5))
        inside = np.clip(first + shares * (last - first), 1e-12, 1 - 1e-12)
        tokens: FloatArray = np.exp(np.array([curve.inv_cdf(float(share)) for share in inside]))
        return tokens

    def _fit_lognormal(self) -> tuple[float, float]:
        """Mean and deviation of the logarithm: the least-squares line through the percentiles' normal scores."""
        scores = [NormalDist().inv_cdf(p / 100) for p, _ in self.knots]
        logs = [math.log(tokens) for _, tokens in self.knots]
        centre, level = sum(scores) / len(scores), sum(logs) / len(logs)
        slope = sum((s - centre) * (v - level) for s, v in zip(scores, logs, strict=True))
        slope /= sum((s - centre) ** 2 for s in scores)
        return level - slope * centre, slope


def _check_knots(knots: Sequence[tuple[float, int]], least: int) -> None:
    if len(knots) < least:
        raise ChipsmithError("lengths.knots", knots, f"legal: at least {least} percentiles")
    for percent, tokens in knots:
        inside = 0 < percent < 100 if least > 1 else 0 <= percent <= 100
        if not inside:
            text = "between 0 and 100" if least > 1 else "from 0 to 100"
            raise ChipsmithError("lengths percentile", percent, f"legal: {text}")
        if not 1 <= tokens <= TOKENS_MAX:
            raise ChipsmithError(f"lengths percentile {percent:g}", tokens, "legal: 1 to 2^31 tokens")
    for (left, low), (right, high) in pairwise(knots):
        if right <= left or high < low:
            text = f"legal: more than {left:g} and at least {low} tokens, percentiles ascend"
            raise ChipsmithError(f"lengths percentile {right:g}", high, text)
