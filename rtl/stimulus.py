"""The job a bench runs: shapes with the cycles that the simulator's kernel says, and the seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from rtl.design import Design
from rtl.params import SystolicParams

Shape = tuple[int, int, int]
_RANDOM_SHAPES = 2


def _weight_stationary_shapes(params: SystolicParams) -> list[Shape]:
    rows, cols, depth = params.rows, params.cols, params.max_beats
    return [
        (1, 1, 1),
        (rows, rows, cols),
        (5, rows - 1, cols - 1),
        (3, rows + 1, cols + 1),
        (2 * rows + 1, 2 * rows + 3, 2 * cols + 1),
        (1, 2 * rows, 2 * cols),
        (7, 3 * rows, cols),
        (depth + 3, rows + 1, cols),
    ]


def _output_stationary_shapes(params: SystolicParams) -> list[Shape]:
    rows, cols = params.rows, params.cols
    return [
        (1, 1, 1),
        (rows, 1, cols),
        (rows - 1, 9, cols - 1),
        (rows + 1, 13, cols + 1),
        (2 * rows + 1, 2 * rows + 5, 2 * cols + 1),
        (2 * rows, 40, cols),
        (1, 33, 2 * cols + 1),
    ]


def gemm_shapes(params: SystolicParams, seed: int) -> list[Shape]:
    """Corner shapes of this array (every remainder of every dimension) and a few random ones."""
    fixed = _weight_stationary_shapes(params) if params.dataflow == "ws" else _output_stationary_shapes(params)
    rng = random.Random(seed)
    chance = [
        (rng.randint(1, 2 * params.rows + 3), rng.randint(1, 2 * params.rows + 3), rng.randint(1, 2 * params.cols + 3))
        for _ in range(_RANDOM_SHAPES)
    ]
    return fixed + chance


def _stalled_shapes(params: SystolicParams) -> list[Shape]:
    """Shapes for the stall tests; one streams for longer than the array's latency, so that results meet operands."""
    rows, cols = params.rows, params.cols
    long = (2 * (rows + cols), rows, cols) if params.dataflow == "ws" else (rows, 2 * (rows + cols), cols)
    return [(rows + 1, rows + 1, cols + 1), (2, 2 * rows, cols), long]


def gemm_document(params: SystolicParams, cycles: Callable[[int, int, int], int], seed: int) -> dict[str, Any]:
    """What ``rtl.benches.bench_systolic`` is told: shapes with the cycles that the model says."""
    reset_shape = (params.rows + 1, params.rows, params.cols) if params.dataflow == "ws" else (3, 6, params.cols)
    return {
        "shapes": [[m, k, n, cycles(m, k, n)] for m, k, n in gemm_shapes(params, seed)],
        "stalled_shapes": _stalled_shapes(params),
        "reset_shape": reset_shape,
        "reset_cycles": cycles(*reset_shape),
    }


@dataclass(frozen=True, slots=True)
class BenchJob:
    """What a bench is told.

    Attributes:
        design: the engine.
        seed: makes all random choices; printed by the bench.
        netlist: the engine is a synthesised netlist, so names inside it are gone.
    """

    design: Design
    seed: int
    netlist: bool = False

    def document(self, report: str) -> dict[str, Any]:
        """The JSON that the design's bench reads; ``report`` names the file that it writes."""
        own = self.design.bench.document(self.design.cycles, self.seed)
        return {"params": asdict(self.design.params), "seed": self.seed, "report": report, **own}
