"""Which class of evidence stands behind a total, and the error that validation gave that class."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources

from models.chip import Chip
from sim.result import Evidence


@cache
def _table() -> dict[str, dict[str, object]]:
    text = (resources.files("sim") / "data" / "evidence.json").read_text(encoding="utf-8")
    found: dict[str, dict[str, object]] = json.loads(text)
    return found


def _entry(name: str) -> Evidence:
    row = _table()[name]
    interval = row["interval_pct"]
    return Evidence(str(row["kind"]), float(str(interval)) if interval is not None else None, str(row["source"]))


def evidence_of(chip: Chip, fidelity: str) -> dict[str, Evidence]:
    """Evidence for latency, energy and area of a chip at a fidelity.

    The latency of a weight-stationary machine at ``tile`` and ``command`` is backed by the comparison with ONNXim;
    other engines and ``bound`` are analytic. Energy and area rest on published constants.
    """
    systolic = any(spec.type == "systolic" for spec in chip.engines.values())
    latency = f"latency_{fidelity}" if systolic else "latency_bound"
    return {"latency_s": _entry(latency), "energy_j": _entry("energy"), "area_mm2": _entry("area")}
