"""Chips side by side, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.pictures.words import phase_of
from sim.result import Result
from workloads.errors import ChipsmithError


@dataclass(frozen=True)
class Measure:
    """A bar of the comparison.

    Attributes:
        value: in the panel's unit; None where the phase was not simulated.
        interval_pct: mean absolute error that validation gives this total, None where nothing was compared.
    """

    value: float | None
    interval_pct: float | None = None


@dataclass(frozen=True)
class Panel:
    """One quantity: bars by series (phase) and chip.

    Attributes:
        name: what. unit: its unit. series: name to one measure a chip.
    """

    name: str
    unit: str
    series: Mapping[str, tuple[Measure, ...]]


@dataclass(frozen=True)
class Comparison:
    """Chips side by side.

    Attributes:
        models: names of the models compared. labels: one a group of bars. panels: TTFT, TPOT, energy, area.
    """

    models: tuple[str, ...]
    labels: tuple[str, ...]
    panels: tuple[Panel, ...]


def comparison_data(results: Sequence[Result]) -> Comparison:
    """Time to first token, time per output token, energy per token and area, chip by chip.

    Args:
        results: at most one per chip, model and phase.

    Raises:
        ChipsmithError: no results, or two of the same chip, model and phase.
    """
    table: dict[tuple[str, str], dict[str, Result]] = {}
    for number, result in enumerate(results):
        phases = table.setdefault((result.chip.name, _model(result)), {})
        if phase_of(result) in phases:
            where = f"{_model(result)} {phase_of(result)} on {result.chip.name}"
            raise ChipsmithError(f"results[{number}]", where, "one result per chip, model and phase")
        phases[phase_of(result)] = result
    if not table:
        raise ChipsmithError("results", None, "at least one result is needed")
    models = tuple(dict.fromkeys(model for _, model in table))
    labels = tuple(chip if len(models) == 1 else f"{chip}\n{model}" for chip, model in table)
    return Comparison(models, labels, _panels(list(table.values())))


def _model(result: Result) -> str:
    return str(result.trace.meta.get("model") or result.trace.name)


def _panels(groups: list[dict[str, Result]]) -> tuple[Panel, ...]:
    seen = [phase for phase in ("prefill", "decode", "mixed") if any(phase in group for group in groups)]
    named = {"prefill": "Time to first token", "decode": "Time per output token", "mixed": "Time of a mixed step"}
    panels = [Panel(named[phase], "s", {phase: _row(groups, phase, "latency_s")}) for phase in seen]
    energy = {phase: _row(groups, phase, "energy_per_token_j") for phase in seen}
    any_phase = [next(iter(group.values())) for group in groups]
    area = {"area": tuple(Measure(result.area_mm2, _interval(result, "area_mm2")) for result in any_phase)}
    return (*panels, Panel("Energy per token", "J", energy), Panel("Area of the modelled blocks", "mm²", area))


def _row(groups: list[dict[str, Result]], phase: str, name: str) -> tuple[Measure, ...]:
    evidence = "latency_s" if name == "latency_s" else "energy_j"
    return tuple(
        Measure(getattr(group[phase], name), _interval(group[phase], evidence)) if phase in group else Measure(None)
        for group in groups
    )


def _interval(result: Result, total: str) -> float | None:
    found = result.evidence.get(total)
    return found.interval_pct if found is not None else None
