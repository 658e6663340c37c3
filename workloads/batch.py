"""The requests of one step: how many new tokens each brings, and how many it already has in the KV cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from workloads.errors import ChipsmithError
from workloads.trace import Segment

TOKENS_MAX = 1 << 40  # far above any real step; keeps products with model dimensions inside 64 bits


@dataclass(frozen=True)
class Batch:
    """One step's requests.

    Attributes:
        requests: one (new tokens, context) pair a request; context = tokens in the KV cache before this step.

    Raises:
        ChipsmithError: no request, fewer than 1 new token, a negative context, or no whole numbers.
    """

    requests: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        if not self.requests:
            raise ChipsmithError("batch", self.requests, "legal: at least one request")
        for pair in set(self.requests):
            self._check_pair(pair)

    def _check_pair(self, pair: tuple[int, int]) -> None:
        where = f"batch[{self.requests.index(pair)}]"
        _check_count(f"{where}.new_tokens", pair[0], 1)
        _check_count(f"{where}.context", pair[1], 0)

    @classmethod
    def from_pairs(cls, pairs: Iterable[tuple[int, int]]) -> Batch:
        """Requests from (new tokens, context) pairs."""
        return cls(tuple((new, context) for new, context in pairs))

    @classmethod
    def prefill(cls, lengths: Iterable[int]) -> Batch:
        """Whole prompts of the given lengths, nothing cached yet."""
        return cls(tuple((length, 0) for length in lengths))

    @classmethod
    def decode(cls, batch: int, context: int | Sequence[int]) -> Batch:
        """One new token for each of ``batch`` requests.

        Args:
            batch: number of requests.
            context: cached tokens of every request, or one number a request.
        """
        if isinstance(context, int):
            return cls.uniform(batch, 1, context)
        if len(context) != batch:
            raise ChipsmithError("batch.context", len(context), f"legal: one number, or {batch} (one a request)")
        return cls(tuple((1, length) for length in context))

    @classmethod
    def uniform(cls, batch: int, new_tokens: int, context: int = 0) -> Batch:
        """``batch`` equal requests."""
        _check_count("batch", batch, 1)
        return cls(((new_tokens, context),) * batch)

    def __len__(self) -> int:
        return len(self.requests)

    @cached_property
    def tokens(self) -> int:
        """New tokens of all requests."""
        return sum(new for new, _ in self.requests)

    @cached_property
    def phase(self) -> str:
        """``decode``: every request adds one token to a cache; ``prefill``: none does; else ``mixed``."""
        kinds = {is_decode(new, context) for new, context in set(self.requests)}
        if len(kinds) == 2:
            return "mixed"
        return "decode" if True in kinds else "prefill"

    def segments(self) -> tuple[Segment, ...]:
        """Equal requests grouped, in the order in which they first appear."""
        return tuple(Segment(new, context, count) for (new, context), count in Counter(self.requests).items())


def is_decode(new_tokens: int, context: int) -> bool:
    """Whether a request adds a single token to a cache."""
    return new_tokens == 1 and context > 0


def _check_count(where: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= TOKENS_MAX:
        raise ChipsmithError(where, value, f"legal: a whole number from {least} to 2^40")
