"""A stand-in for the batch evaluator: closed formulas, so that tests need no kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dse.space import Space
from dse.study import Study
from dse.workload import Workload
from models.chip import Chip, ChipTable, load_chip
from workloads.trace import Block, Operator, Segment, Trace

ROWS, COLS, CORES = "engines.npu.rows", "engines.npu.cols", "engines.npu.cores"


def totals(table: ChipTable, tokens: int) -> Any:
    """Area grows with PEs, time falls with them and has a floor; arrays above 200 mm2 are illegal."""
    rows, cols, cores = (table.column(path).astype(np.float64) for path in (ROWS, COLS, CORES))
    area = rows * cols * cores * 1e-3 + 2.0 * cores
    latency = tokens * (1.0 / (rows * cols * cores) + 1e-4 * (rows / cols + cols / rows))
    energy = latency * area * 0.5
    status = np.where(area > 200.0, 2, 0).astype(np.int8)
    blank = np.where(status == 0, 1.0, np.nan)
    return SimpleNamespace(
        latency_s=latency * blank,
        energy_j=energy * blank,
        area_mm2=area * blank,
        status=status,
        reasons=("ok", "does not fit", "larger than a reticle"),
    )


@dataclass
class FakeEvaluator:
    """Counts what it is asked for.

    Attributes:
        asked: one (rows, cols, cores) a design, in order.
    """

    asked: list[tuple[int, ...]] = field(default_factory=list)

    def __call__(self, table: ChipTable, trace: Trace, mapping: str = "auto", fidelity: str = "tile") -> Any:
        self.asked += zip(*(table.column(path).tolist() for path in (ROWS, COLS, CORES)), strict=True)
        return totals(table, trace.ops[0].tokens)


def fake_simulate(trace: Trace, chip: Chip, mapping: str = "auto", fidelity: str = "tile") -> Any:
    found = totals(ChipTable(chip), trace.ops[0].tokens)
    return SimpleNamespace(**{k: float(getattr(found, k)[0]) for k in ("latency_s", "energy_j", "area_mm2")})


def make_trace(phase: str = "decode", tokens: int = 16) -> Trace:
    op = Operator("proj", "gemm", 0, (Segment(tokens),), k=64, n=64, phase=phase)
    return Trace(phase, (op,), (), (Block("all"),))


@pytest.fixture(scope="session")
def chip() -> Chip:
    return load_chip("tpu_v4")


@pytest.fixture(scope="session")
def space(chip: Chip) -> Space:
    """7 x 7 x 5 = 245 designs."""
    return Space(
        chip,
        {
            ROWS: {"log2": {"low": 4, "high": 256}},
            COLS: {"log2": {"low": 4, "high": 256}},
            CORES: [1, 2, 4, 8, 16],
        },
    )


@pytest.fixture
def evaluator() -> FakeEvaluator:
    return FakeEvaluator()


@pytest.fixture
def trace() -> Trace:
    return make_trace()


@pytest.fixture
def workload() -> Workload:
    return Workload(make_trace("prefill", 1024), make_trace("decode", 16), decode_steps=10)


@pytest.fixture
def make_study(space: Space, evaluator: FakeEvaluator) -> Callable[..., Study]:
    """Study of the fake evaluator: area against time per token, 16 designs a population."""

    def make(**changes: Any) -> Study:
        settings: dict[str, Any] = {
            "space": space,
            "workload": make_trace(),
            "objectives": ["area_mm2", "tpot_s"],
            "sampler": "nsga2",
            "population": 16,
            "evaluator": evaluator,
            "simulator": fake_simulate,
        }
        return Study(**{**settings, **changes})

    return make
