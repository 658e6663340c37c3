"""What a request log looks like: rate, lengths, burstiness, shared prefixes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from workloads.errors import ChipsmithError
from workloads.requests import PERCENTILES, Request, nearest_rank

WINDOW_S = 10.0
_MOST_WINDOWS = 2**53  # beyond it floating point skips whole numbers


@dataclass(frozen=True, slots=True)
class PrefixReuse:
    """What an infinite prefix cache would have saved.

    A block counts as reused if it and all blocks before it in its prompt stood in the prompt of an earlier request
    (order of arrival; ties in log order). Generated tokens enter the cache only with the prompt of a later turn that
    repeats them, because logs don't hold their blocks.

    Attributes:
        blocks, reused_blocks: prompt blocks in all, and those found.
        input_tokens, reused_tokens: prompt tokens of requests with blocks, and those in reused blocks.
        requests, hits: requests with blocks, and those that reuse at least one.
    """

    blocks: int
    reused_blocks: int
    input_tokens: int
    reused_tokens: int
    requests: int
    hits: int

    @property
    def token_share(self) -> float:
        """Share of prompt tokens that need no prefill."""
        return self.reused_tokens / self.input_tokens

    @property
    def block_share(self) -> float:
        """Share of prompt blocks that are found."""
        return self.reused_blocks / self.blocks


@dataclass(frozen=True, slots=True)
class LengthStats:
    """Lengths of one side, in tokens; percentiles by nearest rank."""

    total: int
    mean: float
    p50: int
    p90: int
    p95: int
    p99: int
    largest: int


@dataclass(frozen=True, slots=True)
class RequestStats:
    """Facts about a log.

    Attributes:
        count: requests.
        duration_s: from the first arrival to the last.
        rate_hz: requests a second of duration, None without a duration.
        inputs, outputs: lengths.
        gap_cv: coefficient of variation of the gaps between arrivals (population): 0 even, 1 Poisson, above bursty;
            None with fewer than two gaps or without a duration.
        dispersion: variance over mean of the requests in windows of ``window_s``: 1 Poisson, above bursty.
        peak_rate_hz: most requests in one window, a second.
        window_s: width of those windows, counted from the first arrival; the last one is left out unless it is full.
        sessions: conversations, 0 where the log names none.
        turns_mean: requests of a conversation, None without conversations.
        prefix: shared prefixes, None where the log holds no blocks.
    """

    count: int
    duration_s: float
    rate_hz: float | None
    inputs: LengthStats
    outputs: LengthStats
    gap_cv: float | None
    dispersion: float | None
    peak_rate_hz: float | None
    window_s: float
    sessions: int
    turns_mean: float | None
    prefix: PrefixReuse | None

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types, the shares of the prefix cache included."""
        facts = asdict(self)
        if self.prefix is not None:
            shares = {"token_share": self.prefix.token_share, "block_share": self.prefix.block_share}
            facts["prefix"] = {**facts["prefix"], **shares}
        return facts


def request_stats(requests: Sequence[Request], window_s: float = WINDOW_S) -> RequestStats:
    """Facts about requests that are ordered by arrival.

    Raises:
        ChipsmithError: no request, no positive window.
    """
    if not requests:
        raise ChipsmithError("requests", None, "legal: at least one request")
    times = [r.arrival_s for r in requests]
    duration_s = times[-1] - times[0]
    counts, windows = busy_windows(times, window_s)
    named = [r.session for r in requests if r.session]
    sessions = len(set(named))
    return RequestStats(
        len(requests),
        duration_s,
        len(requests) / duration_s if duration_s else None,
        _lengths([r.input_tokens for r in requests]),
        _lengths([r.output_tokens for r in requests]),
        _variation([b - a for a, b in pairwise(times)]),
        _dispersion(counts, windows),
        max(counts.values(), default=0) / window_s if windows else None,
        window_s,
        sessions,
        len(named) / sessions if sessions else None,
        prefix_reuse(requests),
    )


def prefix_reuse(requests: Iterable[Request]) -> PrefixReuse | None:
    """What an infinite prefix cache would have saved, see :class:`PrefixReuse`; None where no request has blocks."""
    blocks = reused_blocks = tokens = reused_tokens = count = hits = 0
    for request, found in found_blocks(requests):
        if request.blocks:
            count, hits = count + 1, hits + (found > 0)
            blocks, reused_blocks = blocks + len(request.blocks), reused_blocks + found
            tokens, reused_tokens = tokens + request.input_tokens, reused_tokens + tokens_of(request, found)
    return PrefixReuse(blocks, reused_blocks, tokens, reused_tokens, count, hits) if count else None


def found_blocks(requests: Iterable[Request]) -> Iterator[tuple[Request, int]]:
    """Each request with the number of blocks at its head that stood in earlier prompts."""
    seen: set[tuple[int, int]] = set()
    for request in requests:
        keys = [(request.block_tokens, block) for block in request.blocks]
        yield request, next((index for index, key in enumerate(keys) if key not in seen), len(keys))
        seen.update(keys)


def tokens_of(request: Request, blocks: int) -> int:
    """Prompt tokens in the first so many blocks (the last block of a prompt may be shorter)."""
    return min(blocks * request.block_tokens, request.input_tokens)


def busy_windows(times_s: Sequence[float], window_s: float) -> tuple[Mapping[int, int], int]:
    """Full windows from the first arrival on: requests of those in which any came, by number; and how many there are.

    Raises:
        ChipsmithError: no positive window, or one so short that windows can't be counted.
    """
    if not 0 < window_s < math.inf:
        raise ChipsmithError("window_s", window_s, "legal: above 0")
    span_s = times_s[-1] - times_s[0]
    if not span_s / window_s < _MOST_WINDOWS:
        raise ChipsmithError("window_s", window_s, f"legal: above {span_s / _MOST_WINDOWS:.3g} for {span_s:.6g} s")
    full = math.floor(span_s / window_s)
    found = Counter(math.floor((time - times_s[0]) / window_s) for time in times_s)
    return {window: count for window, count in found.items() if window < full}, full


def window_counts(times_s: Sequence[float], window_s: float) -> list[int]:
    """Requests in each full window from the first arrival on; nothing where not even one window is full.

    Raises:
        ChipsmithError: as :func:`busy_windows`.
    """
    counts, full = busy_windows(times_s, window_s)
    return [counts.get(window, 0) for window in range(full)]


def _lengths(values: Sequence[int]) -> LengthStats:
    p50, p90, p95, p99 = (nearest_rank(values, percent) for percent in PERCENTILES)
    return LengthStats(sum(values), sum(values) / len(values), p50, p90, p95, p99, max(values))


def _moments(values: Sequence[float]) -> tuple[float, float]:
    """Mean and population variance."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / len(values)


def _variation(gaps: Sequence[float]) -> float | None:
    if len(gaps) < 2:
        return None
    mean, variance = _moments(gaps)
    return math.sqrt(variance) / mean if mean else None


def _dispersion(counts: Mapping[int, int], windows: int) -> float | None:
    """Of all windows, also those in which nothing came (there may be many more of them)."""
    if windows < 2:
        return None
    mean = sum(counts.values()) / windows
    squares = [(count - mean) ** 2 for count in counts.values()]
    variance = math.fsum([*squares, (windows - len(counts)) * mean**2]) / windows
    return variance / mean if mean else None
