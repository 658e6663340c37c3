"""Which experts the tokens of a step choose.

A traced model says nothing about balance, so the distribution is an input. Without a seed a routing is its
expectation (same numbers every time); with a seed it is one random draw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from workloads.errors import ChipsmithError
from workloads.trace import Segment

_KINDS = ("uniform", "zipf", "recorded")


@dataclass(frozen=True, slots=True)
class Routing:
    """A routing distribution; make one with :meth:`uniform`, :meth:`zipf` or :meth:`recorded`.

    Attributes:
        kind: ``uniform``, ``zipf`` or ``recorded``.
        exponent: Zipf exponent s: expert i is chosen in proportion to 1 / (i + 1)^s.
        histogram: recorded choices of each expert.
        seed: None = expected numbers, else the seed of one random draw.
    """

    kind: str = "uniform"
    exponent: float = 0.0
    histogram: tuple[int, ...] = ()
    seed: int | None = None

    @classmethod
    def uniform(cls, seed: int | None = None) -> Routing:
        """Every expert is equally likely."""
        return cls(seed=seed)

    @classmethod
    def zipf(cls, exponent: float, seed: int | None = None) -> Routing:
        """Popularity falls with the power ``exponent`` of the rank; 0 = uniform."""
        if not 0 <= exponent <= 10:
            raise ChipsmithError("moe.exponent", exponent, "legal: 0 to 10")
        return cls("zipf", float(exponent), seed=seed)

    @classmethod
    def recorded(cls, histogram: Sequence[int], seed: int | None = None) -> Routing:
        """Popularity as counted: ``histogram[i]`` choices of expert i."""
        counts = tuple(int(count) for count in histogram)
        if not counts or min(counts) < 0 or max(counts) == 0:
            raise ChipsmithError("moe.histogram", list(counts), "legal: counts >= 0, not all zero")
        return cls("recorded", histogram=counts, seed=seed)

    def counts(self, tokens: int, experts: int, top_k: int) -> tuple[int, ...]:
        """Tokens that each expert gets; their sum is exactly ``tokens * top_k`` and none exceeds ``tokens``.

        Raises:
            ChipsmithError: no tokens, ``top_k`` outside 1..experts, a histogram of another length or with fewer
                than ``top_k`` experts in use.
        """
        _check(tokens, experts, top_k)
        return _counts(self, tokens, experts, top_k)

    def segments(self, tokens: int, experts: int, top_k: int, ranks: int = 1) -> tuple[Segment, ...]:
        """Experts with equally many tokens, grouped, busiest first; experts without tokens are left out.

        Args:
            tokens, experts, top_k: tokens of the step, experts in all, experts a token chooses.
            ranks: ranks over which the experts are dealt in order of popularity; the segments are those of the
                busiest rank, for which all others wait.
        """
        counts = sorted(self.counts(tokens, experts, top_k), reverse=True)
        if experts % ranks:
            raise ChipsmithError("expert_parallel", ranks, f"legal: a divisor of {experts} experts")
        own = Counter(count for count in counts[::ranks] if count)
        return tuple(Segment(count, 0, number) for count, number in own.items())

    def describe(self) -> str:
        """Short text for a trace's ``meta``."""
        detail = {"zipf": f"({self.exponent:g})", "recorded": f"({len(self.histogram)} experts)"}.get(self.kind, "")
        return self.kind + detail + ("" if self.seed is None else f" seed {self.seed}")


def _check(tokens: int, experts: int, top_k: int) -> None:
    if tokens < 1:
        raise ChipsmithError("moe.tokens", tokens, "legal: at least 1")
    if not 1 <= top_k <= experts:
        raise ChipsmithError("moe.top_k", top_k, f"legal: 1 to {experts} (the number of experts)")


@lru_cache(maxsize=1024)
def _counts(routing: Routing, tokens: int, experts: int, top_k: int) -> tuple[int, ...]:
    if routing.kind == "recorded" and sum(routing.histogram) == tokens * top_k and max(routing.histogram) <= tokens:
        _weights(routing, experts, top_k)
        return routing.histogram
    chosen = _inclusion(_weights(routing, experts, top_k), top_k)
    return _expected(chosen, tokens, top_k) if routing.seed is None else _drawn(chosen, tokens, top_k, routing.seed)


def _weights(routing: Routing, experts: int, top_k: int) -> list[float]:
    if routing.kind == "uniform":
        return [1.0] * experts
    if routing.kind == "zipf":
        return [float((i + 1) ** -routing.exponent) for i in range(experts)]
    if len(routing.histogram) != experts:
        raise ChipsmithError("moe.histogram", f"{len(routing.histogram)} entries", f"legal: {experts}, one an expert")
    if sum(count > 0 for count in routing.histogram) < top_k:
        raise ChipsmithError("moe.histogram", list(routing.histogram), f"legal: at least {top_k} experts in use")
    return [float(count) for count in routing.histogram]


def _inclusion(weights: list[float], top_k: int) -> list[float]:
    """Probability that a token chooses each expert: proportional to weight, at most 1, sum ``top_k``."""
    order = sorted(range(len(weights)), key=lambda i: -weights[i])
    left, mass = float(top_k), sum(weights)
    chosen = [0.0] * len(weights)
    for i in order:
        chosen[i] = min(1.0, left * weights[i] / mass) if mass > 0 and left > 0 else 0.0
        left, mass = left - chosen[i], mass - weights[i]
    return chosen


def _expected(chosen: list[float], tokens: int, top_k: int) -> tuple[int, ...]:
    """Expected load on the expected number of distinct experts: sum of 1 - (1 - p)^tokens over the experts.

    With p = k/E everywhere this is E (1 - (1 - k/E)^tokens).
    """
    touched = [1.0 - (1.0 - p) ** tokens for p in chosen]
    usable = sum(p > 0 for p in chosen)
    distinct = min(usable, tokens * top_k, max(top_k, round(sum(touched))))
    order = sorted(range(len(chosen)), key=lambda i: (-chosen[i], i))[:distinct]
    loads = _apportion([tokens * chosen[i] / touched[i] for i in order], tokens * top_k, tokens)
    counts = [0] * len(chosen)
    for i, load in zip(order, loads, strict=True):
        counts[i] = load
    return tuple(counts)


def _apportion(shares: list[float], total: int, most: int) -> list[int]:
    """Whole numbers from 1 to ``most`` in proportion to ``shares`` (descending) that sum to ``total``."""
    counts, left, mass = [], total, sum(shares)
    for i, share in enumerate(shares):
        after = len(shares) - i - 1
        wanted = round(left * share / mass) if after else left
        counts.append(max(1, left - after * most, min(wanted, most, left - after)))
        left, mass = left - counts[-1], mass - share
    return sorted(counts, reverse=True)


def _drawn(chosen: list[float], tokens: int, top_k: int, seed: int) -> tuple[int, ...]:
    """One random draw: a binomial load for each expert, then single tokens moved until the sum is right."""
    import numpy as np

    stream = np.random.RandomState(seed)  # the generator whose stream numpy promises never to change
    usable = [i for i, p in enumerate(chosen) if p > 0]
    counts = [int(c) for c in stream.binomial(tokens, np.minimum(np.array(chosen), 1.0))]
    missing = tokens * top_k - sum(counts)
    while missing:
        step = 1 if missing > 0 else -1
        free = [i for i in usable if 0 <= counts[i] + step <= tokens and (step > 0 or counts[i] > 0)]
        for i in stream.permutation(free)[: abs(missing)]:
            counts[int(i)] += step
            missing -= step
    return tuple(counts)
