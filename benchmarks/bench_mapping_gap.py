"""How far the mapping search is from the best of all legal mappings, on 200 small GEMMs on random engines.

The search is timed against the exhaustive enumeration of tests/sim/exhaustive.py; the note of its row holds the
median and the worst gap in cycles.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.measure import Row

CASES = 200
_FOLDER = Path(__file__).resolve().parent.parent / "tests" / "sim"


def _tests(name: str) -> Any:
    """A module of tests/sim; the folder is no installed package, so it gets a name of its own."""
    package = sys.modules.setdefault("chipsmith_sim_tests", ModuleType("chipsmith_sim_tests"))
    package.__path__ = [str(_FOLDER)]
    return importlib.import_module(f"chipsmith_sim_tests.{name}")


def gaps() -> tuple[list[tuple[float, int]], float, float]:
    """((gap, seed) of every case that fits, seconds of all searches, seconds of all enumerations)."""
    exhaustive, designs = _tests("exhaustive"), _tests("designs")
    found, search_s, enumerate_s = [], 0.0, 0.0
    for seed in range(-1, CASES):  # the first one compiles
        npu, memory, (m, k, n) = exhaustive.random_case(max(0, seed))
        op, p = designs.row_of(designs.gemm(m, k, n)), designs.params_of(designs.chip(npu, memory))
        begin = time.perf_counter()
        status, cycles, _ = exhaustive.searched(op, p)
        middle = time.perf_counter()
        best = exhaustive.exhaustive(op, p)
        if seed < 0:
            continue
        search_s += middle - begin
        enumerate_s += time.perf_counter() - middle
        if status == 0:
            found.append((cycles / best.cycles - 1, seed))
        elif best.legal:
            found.append((float("inf"), seed))  # refused although a mapping is legal
    return found, search_s, enumerate_s


def main() -> list[Row]:
    """The search beside the enumeration of everything."""
    found, search_s, enumerate_s = gaps()
    worst, seed = max(found)
    median = statistics.median(gap for gap, _ in found)
    above = sum(gap > 0.03 for gap, _ in found)
    note = f"median gap {median:.2%}, worst {worst:.2%} (seed {seed}), {above} of {len(found)} above 3 %"
    return [
        Row("map small GEMMs", "chipsmith", (search_s,), items=CASES, unit="mappings", note=note),
        Row("map small GEMMs", "every mapping", (enumerate_s,), items=CASES, unit="mappings", note="the reference"),
    ]
