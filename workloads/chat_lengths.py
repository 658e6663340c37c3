"""Contexts of requests that are being answered, from the mean lengths that publications give.

Only means are published for the data sets that NeuPIMs (ASPLOS 2024) serves: ShareGPT 80 tokens in and 296 out, Alpaca
12 and 56. Lengths are taken as exponential around them (assumed), and each request has generated an equally likely
share of its answer, as in a server that runs for long.
"""

from __future__ import annotations

import math
import random

from workloads.errors import ChipsmithError, nearest
from workloads.lengths import Lengths

#: Mean tokens in and out (NeuPIMs, ASPLOS 2024, section 8).
MEAN_TOKENS = {"sharegpt": (80, 296), "alpaca": (12, 56)}
#: Longest context of the published request lists.
LONGEST = 2048
_PERCENTILES = (5, 10, 25, 50, 75, 90, 95, 99)


def contexts(dataset: str, count: int, seed: int = 0) -> list[int]:
    """Cached tokens of ``count`` requests of a data set, the same for the same seed.

    Args:
        dataset: a name of :data:`MEAN_TOKENS`.
        count: requests.
        seed: of the draw.

    Raises:
        ChipsmithError: unknown data set, or no request.
    """
    if dataset not in MEAN_TOKENS:
        raise ChipsmithError("dataset", dataset, nearest(dataset, MEAN_TOKENS))
    if count < 1:
        raise ChipsmithError("count", count, "legal: at least 1")
    prompts, answers = (_exponential(mean).draw(count, seed + i) for i, mean in enumerate(MEAN_TOKENS[dataset]))
    shares = [(slot + 0.5) / count for slot in range(count)]
    random.Random(seed).shuffle(shares)
    return [min(LONGEST, int(p + a * share)) for p, a, share in zip(prompts, answers, shares, strict=True)]


def _exponential(mean: float) -> Lengths:
    """Percentiles of an exponential distribution, cut where one request in a thousand lies beyond."""
    knots = {p: max(i + 1, round(-mean * math.log(1 - p / 100))) for i, p in enumerate(_PERCENTILES)}
    return Lengths.fitted(knots, least=1, most=round(mean * math.log(1000)))
