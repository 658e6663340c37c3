"""Designs a second for a whole decode step: mapping search, timeline, energy, area."""

from __future__ import annotations

import numpy as np

from benchmarks.designs import random_designs
from benchmarks.measure import Row, measured
from sim.batch import evaluate
from workloads.batch import Batch
from workloads.build import build_trace

_DESIGNS = 10_000


def main() -> list[Row]:
    """Random designs at both fidelities, each with a table of its own so that no price is reused."""
    trace = build_trace("llama-2-7b", Batch.decode(16, 2048))
    legal = int(np.isfinite(evaluate(random_designs(_DESIGNS), trace).latency_s).sum())
    note = f"batch 16, context 2048; {legal:,} of {_DESIGNS:,} designs legal"
    return [
        measured(
            f"llama-2-7b decode on {_DESIGNS:,} designs, fidelity {fidelity}",
            lambda fidelity=fidelity: evaluate(random_designs(_DESIGNS), trace, fidelity=fidelity),  # type: ignore[misc]  # mypy can't type a lambda's default
            _DESIGNS,
            "designs",
            note=note,
            target="10,000/s" if fidelity == "tile" else "",
        )
        for fidelity in ("tile", "bound")
    ]
