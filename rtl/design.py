"""A Design: the Verilog of one engine with everything that is needed to trust it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rtl.params import SystolicParams

IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Port:
    """A port of the top module.

    Attributes:
        name: port name.
        direction: ``input`` or ``output``.
        bits: width.
    """

    name: str
    direction: str
    bits: int


@dataclass(frozen=True, slots=True)
class Design:
    """The sources of one engine, its reference function and the cycle model that it must match.

    Attributes:
        name: design name, also the top module's.
        top: top module.
        params: what it was generated from.
        sources: file name to text: synthesisable Verilog-2001, one module a file.
        bench_sources: file name to text: checker and bench wrapper (not for synthesis).
        ports: of the top module.
        notes: what the reader must know, for example that a float engine was generated as its integer variant.
        reference: ``(A[m x k], W[k x n]) -> C[m x n]``, int64, bit exact, sums wrapped to the accumulator.
        cycle_model: ``(m, k, n) -> cycles`` from the first wanted beat to the last accepted result, without stalls.
    """

    name: str
    top: str
    params: SystolicParams
    sources: Mapping[str, str]
    bench_sources: Mapping[str, str]
    ports: tuple[Port, ...]
    notes: tuple[str, ...]
    reference: Callable[[IntArray, IntArray], IntArray]
    cycle_model: Callable[[int, int, int], int]

    @property
    def bench_top(self) -> str:
        """Top module of the bench."""
        return f"{self.name}_tb"

    def cycles(self, m: int, k: int, n: int) -> int:
        """Cycles of an unstalled GEMM, from the kernel that the simulator uses (``sim.array.run_cycles``)."""
        return self.cycle_model(m, k, n)
