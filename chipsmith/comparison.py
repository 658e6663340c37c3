"""Chips side by side on one workload: the figures that architects compare, ratios to the first chip, ties."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from models.chip import Chip, load_chip
from sim.result import Result
from sim.simulate import simulate
from workloads.errors import ChipsmithError
from workloads.trace import Trace

Phase = Literal["prefill", "decode"]
PHASES: tuple[Phase, ...] = ("prefill", "decode")
#: Makes the trace of a phase for a chip (number formats may depend on it).
Build = Callable[[Chip, Phase], Trace]


@dataclass(frozen=True)
class Candidate:
    """A chip of the comparison.

    Attributes:
        chip: its name. results: by phase. refusal: why it can't run the workload, empty where it can.
        formats: weight format of its traces.
    """

    chip: str
    results: Mapping[str, Result]
    refusal: str = ""
    formats: str = ""


@dataclass(frozen=True)
class Quantity:
    """A figure that is compared.

    Attributes:
        key: name in JSON. title: of the column. scale: from the key's unit to the column's.
        total: the total whose error interval it has. phases: of them the first that was simulated gives it.
        value: reads it.
    """

    key: str
    title: str
    scale: float
    total: str
    phases: tuple[Phase, ...]
    value: Callable[[Result], float]

    def of(self, candidate: Candidate) -> float | None:
        """Its value for a chip, None where the phase was not simulated."""
        result = self._result(candidate)
        return None if result is None else self.value(result)

    def interval_pct(self, candidate: Candidate) -> float | None:
        """The mean error that validation gives it, None where nothing was compared."""
        result = self._result(candidate)
        evidence = None if result is None else result.evidence.get(self.total)
        return None if evidence is None else evidence.interval_pct

    def _result(self, candidate: Candidate) -> Result | None:
        return next((candidate.results[phase] for phase in self.phases if phase in candidate.results), None)


_TOKENS: tuple[Phase, ...] = ("decode", "prefill")  # rates per token are those of decoding where it is simulated
QUANTITIES = (
    Quantity("ttft_s", "TTFT ms", 1e3, "latency_s", ("prefill",), lambda r: r.latency_s),
    Quantity("tpot_s", "TPOT ms", 1e3, "latency_s", ("decode",), lambda r: r.latency_s * r.trace.steps_per_token),
    Quantity("tokens_per_s", "tokens/s", 1.0, "latency_s", _TOKENS, lambda r: r.tokens_per_s),
    Quantity("energy_per_token_j", "J/token", 1.0, "energy_j", _TOKENS, lambda r: r.energy_per_token_j),
    Quantity("area_mm2", "mm2", 1.0, "area_mm2", _TOKENS, lambda r: r.area_mm2),
)


def compare_chips(
    names: Sequence[str],
    build: Build,
    phases: Sequence[Phase] = PHASES,
    mapping: str = "auto",
    fidelity: str = "tile",
) -> list[Candidate]:
    """Simulate the phases of a workload on every chip.

    A chip that can't run the workload (no memory for it, say) stays in the list with the reason.

    Args:
        names: presets or YAML files, at least two.
        build: makes the trace of a phase for a chip.
        phases: what is simulated. mapping, fidelity: as in ``simulate``.

    Raises:
        ChipsmithError: fewer than two chips, an unknown chip, two of one name, or no chip that runs the workload.
    """
    if len(names) < 2:
        raise ChipsmithError("CHIP", list(names), "at least two chips are compared")
    chips = [load_chip(name) for name in names]
    _refuse_doubles([chip.name for chip in chips])
    candidates = [_candidate(chip, build, phases, mapping, fidelity) for chip in chips]
    if all(candidate.refusal for candidate in candidates):
        raise ChipsmithError("CHIP", None, f"none of them runs it; {candidates[0].chip}: {candidates[0].refusal}")
    return candidates


def _refuse_doubles(names: Sequence[str]) -> None:
    for at, name in enumerate(names):
        if name in names[:at]:
            raise ChipsmithError("CHIP", name, "two chips of this name; every chip of a comparison has its own")


def _candidate(chip: Chip, build: Build, phases: Sequence[Phase], mapping: str, fidelity: str) -> Candidate:
    traces = {phase: build(chip, phase) for phase in phases}
    formats = ", ".join(dict.fromkeys(_weights(trace) for trace in traces.values()))
    try:
        results: dict[str, Result] = {
            phase: simulate(trace, chip, mapping, fidelity) for phase, trace in traces.items()
        }
    except ChipsmithError as error:
        if error.where in {"fidelity", "mapping"} or error.where.startswith("mapping."):
            raise
        return Candidate(chip.name, {}, str(error), formats)
    return Candidate(chip.name, results, "", formats)


def _weights(trace: Trace) -> str:
    """Format of most weights."""
    formats = [op.weight for op in trace.ops if op.kind == "gemm"]
    return max(formats, key=formats.count) if formats else ""


@dataclass(frozen=True)
class Ratio:
    """A figure relative to the first chip that runs.

    Attributes:
        value: this chip's over the first one's.
        tie: their error intervals overlap. exact: nothing is known about the error, so only equal figures tie.
    """

    value: float
    tie: bool
    exact: bool


def ratio(quantity: Quantity, candidate: Candidate, base: Candidate) -> Ratio | None:
    """A quantity of a chip relative to ``base``, None where one of them lacks it."""
    ours, theirs = quantity.of(candidate), quantity.of(base)
    if ours is None or theirs is None or theirs == 0:
        return None
    known = quantity.interval_pct(candidate), quantity.interval_pct(base)
    reach = (ours * (known[0] or 0.0) + theirs * (known[1] or 0.0)) / 100
    return Ratio(ours / theirs, abs(ours - theirs) <= reach, None in known)


def base_of(candidates: Sequence[Candidate]) -> Candidate:
    """The chip that the others are compared with: the first that runs."""
    return next(candidate for candidate in candidates if not candidate.refusal)


def value_rows(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """One row a chip, for people; columns of a phase that was not simulated are left out."""
    shown = [q for q in QUANTITIES if any(q.of(candidate) is not None for candidate in candidates)]
    phases = [phase for phase in PHASES if any(phase in candidate.results for candidate in candidates)]
    rows = []
    for candidate in candidates:
        row: dict[str, Any] = {"chip": candidate.chip, "weights": candidate.formats}
        for quantity in shown:
            value = quantity.of(candidate)
            row[quantity.title] = None if value is None else value * quantity.scale
        for phase in phases:
            result = candidate.results.get(phase)
            row[f"{phase} util %"] = None if result is None else 100 * result.utilisation
        for phase in phases:
            result = candidate.results.get(phase)
            row[f"{phase} bound by"] = None if result is None else result.bound_by
        rows.append(row)
    return rows


def ratio_rows(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    """One row a chip: each figure over the first chip's, in words where the two tie."""
    base = base_of(candidates)
    shown = [q for q in QUANTITIES if q.of(base) is not None]
    return [
        {"chip": candidate.chip, **{_times(q): _ratio_text(ratio(q, candidate, base)) for q in shown}}
        for candidate in candidates
        if not candidate.refusal and candidate is not base
    ]


def _times(quantity: Quantity) -> str:
    return f"{quantity.title.removesuffix(' ms')} x"


def _ratio_text(found: Ratio | None) -> str | None:
    if found is None:
        return None
    return f"tie ({found.value:.3f})" if found.tie else f"{found.value:.3f}"


def notes(candidates: Sequence[Candidate]) -> Iterator[str]:
    """What a reader must know: the base, what ties mean, which figures were never compared, who can't run it."""
    base = base_of(candidates)
    yield f"ratios are to {base.chip}; a tie: the error intervals that validation gives overlap"
    evidence = next(iter(base.results.values())).evidence
    unknown = [total.rpartition("_")[0] for total, e in evidence.items() if e.interval_pct is None]
    if unknown:
        yield f"no interval is known for {', '.join(unknown)}: their ratios are shown as if they were exact"
    for candidate in candidates:
        if candidate.refusal:
            yield f"{candidate.chip} can't run it: {candidate.refusal}"


def to_data(candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The comparison as plain data, units in the names."""
    base = base_of(candidates)
    return {"base": base.chip, "chips": [_chip_data(candidate, base) for candidate in candidates]}


def _chip_data(candidate: Candidate, base: Candidate) -> dict[str, Any]:
    ratios = {q.key: ratio(q, candidate, base) for q in QUANTITIES}
    return {
        "chip": candidate.chip,
        "weights": candidate.formats,
        "refusal": candidate.refusal or None,
        **{q.key: q.of(candidate) for q in QUANTITIES},
        "interval_pct": {q.key: q.interval_pct(candidate) for q in QUANTITIES},
        "ratio": {key: None if r is None else r.value for key, r in ratios.items()},
        "tie": {key: None if r is None else r.tie for key, r in ratios.items()},
        "phases": {
            phase: {
                "utilisation": result.utilisation,
                "bound_by": result.bound_by,
                "latency_s": result.latency_s,
                "tokens": result.tokens,
                "manifest": dict(result.manifest),
            }
            for phase, result in candidate.results.items()
        },
    }


def results_of(candidates: Sequence[Candidate]) -> list[Result]:
    """All results, chip by chip."""
    return [result for candidate in candidates for result in candidate.results.values()]
