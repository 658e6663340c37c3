"""Words and units in pictures, and what a Result is called in a title."""

from __future__ import annotations

from collections.abc import Iterable

from sim.result import Result

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def si(value: float, unit: str) -> str:
    """Three significant digits with an SI prefix: ``614 GB/s``, ``62.0 ms``."""
    scale, prefix = next(((s, p) for s, p in _PREFIXES if abs(value) >= s * 0.9995), (1e-9, "n"))
    number = value / scale
    digits = 0 if abs(number) >= 99.95 else 1 if abs(number) >= 9.995 else 2
    return f"{number:.{digits}f} {prefix}{unit}" if value else f"0 {unit}"


def time_unit(longest_s: float) -> tuple[float, str]:
    """(seconds per unit, name) of the unit in which a time is at least 1, or nanoseconds."""
    return next(((s, name) for s, name in _TIMES if longest_s >= s), (1e-9, "ns"))


def short_name(name: str) -> str:
    """An operator's name without its block: ``layer.q_proj`` -> ``q_proj``."""
    return name.rsplit(".", 1)[-1]


def join_names(names: Iterable[str]) -> str:
    """Names with a common ending said once: ``q_proj, k_proj, lm_head`` -> ``q/k_proj, lm_head``."""
    endings: dict[str, list[str]] = {}
    for name in names:
        stem, underscore, ending = short_name(name).rpartition("_")
        endings.setdefault(underscore + ending if stem else "", []).append(stem or ending)
    return ", ".join("/".join(stems) + ending if ending else ", ".join(stems) for ending, stems in endings.items())


def phase_of(result: Result) -> str:
    """``prefill``, ``decode`` or ``mixed``."""
    phases = {op.phase for op in result.ops}
    return str(result.trace.meta.get("phase") or (phases.pop() if len(phases) == 1 else "mixed"))


def subject(result: Result) -> str:
    """Model, phase, batch and chip, for titles."""
    name, phase, requests = result.trace.name, phase_of(result), result.trace.meta.get("requests")
    what = name if phase in name else f"{name} {phase}"
    batch = f", {requests} request{'' if requests == 1 else 's'}" if isinstance(requests, int) else ""
    return f"{what}{batch}, on {result.chip.name}"
