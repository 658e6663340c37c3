"""Rates of comparable tools beside ours, per CPU second.

The peers' rates were measured by us, on the same kind of machine on one core, with the named versions and their own
examples; they are stored here as data because most of these tools take minutes to build. Ours are measured when
this runs. A tool that does more than the row says (commands, cycle by cycle traces) is slower for a reason: the
note says what each computes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.designs import Pairs, gemm_rows, random_designs
from benchmarks.measure import Row, timed_both
from models.chip import ChipTable, load_chip
from sim.batch import evaluate
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace

_MAP = "map a GEMM and price it"
_NETWORK = "map and price the operators of a network"
_MODEL = "evaluate a model on a chip"
_CYCLES = "cycles of a 128x128 array, computed (ours) or stepped through (others)"
_DESIGNS = 1_000


@dataclass(frozen=True)
class Peer:
    """One measured peer.

    Attributes:
        what: the work, as in our row. tool: name and version. rates_hz: pieces a CPU second that we measured: the one
            figure that there is, the smallest and the largest, or smallest, typical and largest. unit: what a piece
            is. note: what the tool computes.
    """

    what: str
    tool: str
    rates_hz: tuple[float, ...]
    unit: str
    note: str

    def row(self) -> Row:
        """As a row whose repetitions are one piece at each of the rates; the median is the typical or lies between."""
        return Row(
            self.what, self.tool, tuple(1 / rate for rate in self.rates_hz), 1, self.unit, f"stored; {self.note}"
        )


PEERS = (
    Peer(_MAP, "ZigZag 3.9.1", (1 / 2.5, 0.7, 1 / 0.09), "GEMMs", "loop orders for a fixed spatial mapping, energy"),
    Peer(_MAP, "AccelForge 1.0.467", (1 / 11.5, 0.3, 1 / 1.7), "GEMMs", "optimal mapping, energy"),
    Peer(_MAP, "LLMCompass 2e015fd2", (0.07, 0.26), "GEMMs", "tiling search, n = k from 64 to 512"),
    Peer(_NETWORK, "mixpe_simulator 7e0d42c0", (0.1,), "networks", "8 to 13 operators, all tilings and loop orders"),
    Peer(_MODEL, "GenZ 0.0.16", (24,), "models", "roofline"),
    Peer(_MODEL, "LLM-Viewer 472f71f1", (15_600,), "models", "roofline of two phases; no capacity, no mapping"),
    Peer(
        _CYCLES,
        "SCALE-Sim 3.0.0",
        (3_700,),
        "cycles",
        "traces every address; with its settings our counts are the same",
    ),
    Peer(_CYCLES, "ONNXim a1e86296, 4 cores", (3_500, 6_000), "cycles", "DRAM commands; we are 2.8 % off on average"),
    Peer(_CYCLES, "NeuPIMs f299af3f, -O2", (1_900, 12_000), "cycles", "DRAM and PIM commands"),
)


def _ours(what: str, work: Callable[[], object], items: float, unit: str, note: str) -> Row:
    """Our row; its repetitions are CPU seconds, as the peers' are."""
    _, cpu = timed_both(work)
    return Row(what, "chipsmith", cpu, items, unit, note, cpu)


def _gemms() -> list[Row]:
    """Mapped GEMMs, and the cycles that they stand for."""
    pairs = Pairs.of(random_designs(_DESIGNS), gemm_rows())
    mapped = _ours(_MAP, pairs.pricing("auto"), pairs.count, "GEMMs", "searched mapping; cycles, traffic, event counts")
    tpu = Pairs.of(ChipTable(load_chip("tpu_v4"), {"engines.npu.rows": [128] * 100}), gemm_rows())
    tpu.pricing("auto")()
    note = "tile fidelity, searched mapping"
    return [mapped, _ours(_CYCLES, tpu.pricing("auto"), float(tpu.out["cycles"].sum()), "cycles", note)]


def _models() -> list[Row]:
    trace, chip, table = (
        build_trace("llama-2-7b", Batch.decode(16, 2048)),
        load_chip("tpu_v4"),
        random_designs(_DESIGNS),
    )
    many, alone = "searched mapping, timeline, energy, area; many designs at once", "the same, one simulate() call each"
    bound = "roofline of many designs at once, with energy and area"
    return [
        _ours(
            _NETWORK,
            lambda: evaluate(table, trace),
            _DESIGNS,
            "networks",
            "17 operators, 8 of them GEMMs; searched mapping, energy",
        ),
        _ours(_MODEL, lambda: evaluate(table, trace), _DESIGNS, "models", many),
        *(
            Row(_MODEL, f"chipsmith, {name}", row.samples_s, row.items, row.unit, row.note, row.cpu_samples_s)
            for name, row in (
                ("one by one", _ours(_MODEL, lambda: simulate(trace, chip), 1, "models", alone)),
                ("bound", _ours(_MODEL, lambda: evaluate(table, trace, fidelity="bound"), _DESIGNS, "models", bound)),
            )
        ),
    ]


def main() -> list[Row]:
    """Ours and theirs, work by work."""
    ours = [*_gemms(), *_models()]
    return [
        row
        for what in (_MAP, _NETWORK, _MODEL, _CYCLES)
        for row in (*(own for own in ours if own.what == what), *(p.row() for p in PEERS if p.what == what))
    ]
