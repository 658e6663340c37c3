"""How many (design, GEMM) pairs a second are priced, with and without a search for the mapping."""

from __future__ import annotations

from benchmarks.designs import Pairs, gemm_rows, random_designs
from benchmarks.measure import Row, measured

_DESIGNS = 2_000
_NOTE = f"{_DESIGNS:,} random designs x 32 Llama GEMMs"


def main() -> list[Row]:
    """Pairs a second with a mapping search, with the heuristic, with given mappings, and at the lower bound."""
    pairs = Pairs.of(random_designs(_DESIGNS), gemm_rows())
    return [
        measured(
            "price pairs, mapping searched",
            pairs.pricing("auto"),
            pairs.count,
            "pairs",
            note=_NOTE,
            target="500,000/s on two cores",
        ),
        # each call of the search leaves its mappings behind, which the next row replays
        measured(
            "price pairs, mapping given",
            pairs.pricing("given"),
            pairs.count,
            "pairs",
            note=_NOTE,
            target="5,000,000/s on two cores",
        ),
        measured("price pairs, lower bound", pairs.pricing("auto", "bound"), pairs.count, "pairs", note=_NOTE),
        measured("price pairs, Gemmini heuristic", pairs.pricing("gemmini"), pairs.count, "pairs", note=_NOTE),
    ]
