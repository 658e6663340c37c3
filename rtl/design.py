"""A Design: the Verilog of one engine with everything that is needed to trust it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rtl.plan import PlanRow

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
class Bench:
    """How one kind of design is verified.

    Attributes:
        module: cocotb test module.
        measured: the test whose cycles must equal :meth:`Design.cycles`.
        document: (the design's cycle model, seed) -> what the bench is told, plain data.
        bins: (whether a netlist is run) -> coverage bins that a full run must hit.
        plan: the test plan.
        parts: (module, in words, count): the instances that elaboration must find.
        widest: the module that lint starts from.
    """

    module: str
    measured: str
    document: Callable[[Callable[[int, int, int], int], int], dict[str, Any]]
    bins: Callable[[bool], tuple[str, ...]]
    plan: tuple[PlanRow, ...]
    parts: tuple[str, str, int]
    widest: str


@dataclass(frozen=True, slots=True)
class Design:
    """The sources of one engine or unit, its reference function and the cycle model that it must match.

    Attributes:
        name: design name, also the top module's.
        top: top module.
        params: what it was generated from; it has a ``name`` and a ``summary``.
        sources: file name to text: synthesisable Verilog-2001, one module a file.
        bench_sources: file name to text: checker and bench wrapper (not for synthesis).
        ports: of the top module.
        notes: what the reader must know, for example that a float engine was generated as its integer variant.
        reference: ``(A[m x k], W[k x n]) -> C[m x n]``, int64, bit exact, sums wrapped to the accumulator.
        cycle_model: ``(m, k, n) -> cycles`` from the first wanted beat to the last accepted result, without stalls.
        bench: how it is verified.
    """

    name: str
    top: str
    params: Any  # SystolicParams or PimBankParams: this module knows neither
    sources: Mapping[str, str]
    bench_sources: Mapping[str, str]
    ports: tuple[Port, ...]
    notes: tuple[str, ...]
    reference: Callable[[IntArray, IntArray], IntArray]
    cycle_model: Callable[[int, int, int], int]
    bench: Bench

    @property
    def bench_top(self) -> str:
        """Top module of the bench."""
        return f"{self.name}_tb"

    def cycles(self, m: int, k: int, n: int) -> int:
        """Cycles of an unstalled GEMM, from the kernel that the simulator uses (``sim.array.run_cycles``)."""
        return self.cycle_model(m, k, n)
