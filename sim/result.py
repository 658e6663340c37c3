"""The Result: per-operator table, totals, energy by component, manifest; pictures are in sim/figures.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.chip import Chip
from sim.mapping import Mapping
from workloads.trace import Trace

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class OpResult:
    """One operator of the result (one iteration; ``count`` says how often it repeats).

    Attributes:
        name, kind, engine, phase: what and where. block: block name. count: iterations.
        start_s, end_s: of the first iteration, on the timeline.
        duration_s: at full share. cycles: the kernel's cycles in the engine's clock.
        busy_cycles: cycles in which the engine's datapath is occupied; the array part of a GEMM.
        fixed_s, busy_s: the parts of the duration. needs_s: seconds per shared resource at full share.
        macs, blocks: multiply-accumulates and array passes.
        bytes: per memory level and direction. events: all event counts.
        energy_pj: by component, dynamic only.
        bound_by: what limits it: the engine, a resource, or ``latency`` (fixed part).
    """

    name: str
    kind: str
    engine: str
    phase: str
    block: str
    count: int
    start_s: float
    end_s: float
    duration_s: float
    cycles: float
    busy_cycles: float
    fixed_s: float
    busy_s: float
    needs_s: MappingABC[str, float]
    macs: int
    blocks: int
    bytes: MappingABC[str, int]
    events: MappingABC[str, int]
    energy_pj: MappingABC[str, float]
    bound_by: str


@dataclass(frozen=True)
class Evidence:
    """Where a total's credibility comes from.

    Attributes:
        kind: rtl, measured, peer, analytic or extrapolated.
        interval_pct: mean absolute error that validation gives this class, None where nothing was compared.
        source: what it was compared with.
    """

    kind: str
    interval_pct: float | None
    source: str


@dataclass(frozen=True)
class Result:
    """What one trace does on one chip.

    Attributes:
        trace, chip, mapping, fidelity: the inputs; ``mapping`` replays to the same bits.
        ops: per-operator results in trace order.
        latency_s: makespan. tokens: new tokens, on average where drafts are verified.
        energy_j: total; energy_parts_j: by component (closed list, sums to the total).
        area_mm2: total of the modelled blocks; area_parts_mm2: by block.
        utilisation: MACs over the matrix engines' peak in the makespan.
        bound_by: what limits most of the time; bound_share: share of operator time by limit.
        rtl_share: share of operator time in the array part that the generated Verilog is verified against.
        evidence: class of evidence per total.
        manifest: version and hashes of inputs and calibration.
    """

    trace: Trace
    chip: Chip
    mapping: Mapping
    fidelity: str
    ops: tuple[OpResult, ...]
    latency_s: float
    tokens: float
    energy_j: float
    energy_parts_j: MappingABC[str, float]
    area_mm2: float
    area_parts_mm2: MappingABC[str, float]
    utilisation: float
    bound_by: str
    bound_share: MappingABC[str, float]
    rtl_share: float
    evidence: MappingABC[str, Evidence] = field(default_factory=dict)
    manifest: MappingABC[str, object] = field(default_factory=dict)

    @property
    def tokens_per_s(self) -> float:
        """New tokens processed per second."""
        return self.tokens / self.latency_s

    @property
    def power_w(self) -> float:
        """Mean power."""
        return self.energy_j / self.latency_s

    @property
    def energy_per_token_j(self) -> float:
        """Energy per new token."""
        return self.energy_j / self.tokens

    def to_dict(self) -> dict[str, Any]:
        """Totals and the per-operator table as plain data."""
        return {
            "model": self.trace.name,
            "chip": self.chip.name,
            "fidelity": self.fidelity,
            "latency_s": self.latency_s,
            "tokens": self.tokens,
            "tokens_per_s": self.tokens_per_s,
            "energy_j": self.energy_j,
            "energy_per_token_j": self.energy_per_token_j,
            "energy_by_component_j": dict(self.energy_parts_j),
            "power_w": self.power_w,
            "area_mm2": self.area_mm2,
            "area_by_block_mm2": dict(self.area_parts_mm2),
            "utilisation": self.utilisation,
            "bound_by": self.bound_by,
            "bound_share": dict(self.bound_share),
            "rtl_verified_share": self.rtl_share,
            "evidence": {
                k: {"kind": e.kind, "interval_pct": e.interval_pct, "source": e.source}
                for k, e in self.evidence.items()
            },
            "manifest": dict(self.manifest),
            "operators": [op_to_dict(op) for op in self.ops],
        }

    def to_frame(self) -> pd.DataFrame:
        """The per-operator table as a DataFrame, one row per operator."""
        import pandas as pd

        return pd.DataFrame([_flat(op) for op in self.ops])

    def to_perfetto(self, path: str | Path) -> None:
        """Write the timeline as a Chrome/Perfetto trace (JSON), one track per engine."""
        from sim.perfetto import write_perfetto

        write_perfetto(self, Path(path))

    def roofline(self, path: str | Path) -> None:
        """Draw the roofline of all operators into a PNG."""
        from sim.figures import roofline_figure

        roofline_figure(self, Path(path))

    def breakdown(self, path: str | Path) -> None:
        """Draw time and energy by operator kind and component into a PNG."""
        from sim.figures import breakdown_figure

        breakdown_figure(self, Path(path))

    def timeline(self, path: str | Path) -> None:
        """Draw the timeline of one iteration of every block into a PNG."""
        from sim.figures import timeline_figure

        timeline_figure(self, Path(path))


def op_to_dict(op: OpResult) -> dict[str, Any]:
    """One operator as plain data."""
    return {
        "name": op.name,
        "kind": op.kind,
        "engine": op.engine,
        "block": op.block,
        "count": op.count,
        "start_s": op.start_s,
        "end_s": op.end_s,
        "duration_s": op.duration_s,
        "cycles": op.cycles,
        "busy_cycles": op.busy_cycles,
        "macs": op.macs,
        "bytes": dict(op.bytes),
        "energy_pj": dict(op.energy_pj),
        "bound_by": op.bound_by,
    }


def _flat(op: OpResult) -> dict[str, Any]:
    row = op_to_dict(op)
    levels, energy = row.pop("bytes"), row.pop("energy_pj")
    return {**row, **{f"{k}": v for k, v in levels.items()}, **{f"{k}_pj": v for k, v in energy.items()}}


def digest(text: str) -> str:
    """First 16 hex digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trace_digest(trace: Trace) -> str:
    """Hash of a trace's operators, tensors and blocks."""
    return digest(json.dumps([repr(trace.ops), repr(trace.tensors), repr(trace.blocks)]))
