"""Named objectives: what a study may minimise, maximise or constrain, computed from arrays of simulated totals.

A workload is a prefill step, ``decode_steps`` decode steps, or both. Rates per token are those of decoding where the
workload decodes (prefill time is ``ttft_s``), else those of the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from workloads.errors import ChipsmithError, nearest

Floats = NDArray[np.float64]


class Totals(Protocol):
    """Totals of one step for n designs (what a batch evaluation returns)."""

    @property
    def latency_s(self) -> Floats:
        """Duration of the step, shape (n,), s."""

    @property
    def energy_j(self) -> Floats:
        """Energy of the step, shape (n,), J."""

    @property
    def area_mm2(self) -> Floats:
        """Die area, shape (n,), mm2."""


@dataclass(frozen=True, slots=True)
class Measured:
    """Totals of the workload's phases with its token counts.

    Attributes:
        prefill, decode: totals of one step, None where the workload lacks the phase.
        prompt_tokens: tokens of the prefill step, all requests.
        decode_tokens: tokens that one decode step yields on average, all requests.
        decode_steps: decode steps that the whole workload takes.
        steps_per_token: decode steps that a request takes for one token on average.
    """

    prefill: Totals | None
    decode: Totals | None
    prompt_tokens: float
    decode_tokens: float
    decode_steps: int
    steps_per_token: float = 1.0

    @property
    def token_step(self) -> tuple[Totals, float]:
        """The step that rates per token refer to, and its tokens."""
        if self.decode is not None:
            return self.decode, self.decode_tokens
        return _present(self.prefill), self.prompt_tokens

    def whole(self, attribute: Literal["latency_s", "energy_j"]) -> Floats:
        """A total of the whole workload: prefill plus all decode steps."""
        parts: list[Floats] = []
        if self.prefill is not None:
            parts.append(getattr(self.prefill, attribute))
        if self.decode is not None:
            parts.append(getattr(self.decode, attribute) * self.decode_steps)
        return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def _present(totals: Totals | None) -> Totals:
    if totals is None:
        raise ChipsmithError("workload", None, "a workload needs a prefill or a decode trace")
    return totals


@dataclass(frozen=True, slots=True)
class Objective:
    """A quantity of a design.

    Attributes:
        name: how the user says it.
        unit: for axes and tables.
        direction: ``min`` or ``max``.
        label: words for an axis.
        phase: the phase that the workload must have, ``""`` for any.
        compute: the quantity per design from measured totals; None where it comes from a quality table.
        totals: the totals that it is a product or quotient of; their error intervals add up.
    """

    name: str
    unit: str
    direction: Literal["min", "max"]
    label: str
    phase: Literal["", "prefill", "decode"] = ""
    compute: Callable[[Measured], Floats] | None = None
    totals: tuple[Literal["latency_s", "energy_j", "area_mm2"], ...] = ()

    @property
    def sign(self) -> float:
        """Factor that makes it a quantity to minimise."""
        return 1.0 if self.direction == "min" else -1.0

    @property
    def axis(self) -> str:
        """Axis label with unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label


def _area(m: Measured) -> Floats:
    return m.token_step[0].area_mm2


def _energy_per_token(m: Measured) -> Floats:
    step, tokens = m.token_step
    return step.energy_j / tokens


def _throughput(m: Measured) -> Floats:
    step, tokens = m.token_step
    return tokens / step.latency_s


def _ttft(m: Measured) -> Floats:
    return _present(m.prefill).latency_s


def _tpot(m: Measured) -> Floats:
    return _present(m.decode).latency_s * m.steps_per_token


def _latency(m: Measured) -> Floats:
    return m.whole("latency_s")


def _power(m: Measured) -> Floats:
    return m.whole("energy_j") / m.whole("latency_s")


def _edp(m: Measured) -> Floats:
    return m.whole("energy_j") * m.whole("latency_s")


_ALL = (
    Objective("area_mm2", "mm²", "min", "die area", "", _area, ("area_mm2",)),
    Objective("energy_per_token_j", "J", "min", "energy per token", "", _energy_per_token, ("energy_j",)),
    Objective("throughput_tokens_per_s", "tokens/s", "max", "throughput", "", _throughput, ("latency_s",)),
    Objective("ttft_s", "s", "min", "time to first token", "prefill", _ttft, ("latency_s",)),
    Objective("tpot_s", "s", "min", "time per output token", "decode", _tpot, ("latency_s",)),
    Objective("edp_js", "J s", "min", "energy-delay product", "", _edp, ("energy_j", "latency_s")),
    Objective("power_w", "W", "min", "average power", "", _power, ("energy_j", "latency_s")),
    Objective("latency_s", "s", "min", "latency of the workload", "", _latency, ("latency_s",)),
)
OBJECTIVES: Mapping[str, Objective] = {o.name: o for o in _ALL}


def objective(name: str, extra: Mapping[str, Objective] | None = None) -> Objective:
    """Look an objective up by name.

    Args:
        name: as the user says it.
        extra: more objectives by name (those of a quality table).

    Raises:
        ChipsmithError: for an unknown name, with the nearest known one.
    """
    known = {**OBJECTIVES, **(extra or {})}
    if name not in known:
        raise ChipsmithError("objective", name, nearest(str(name), known))
    return known[name]


def computable(has_prefill: bool, has_decode: bool) -> tuple[Objective, ...]:
    """Objectives that a workload with these phases yields, in the standard order."""
    phases = {"": True, "prefill": has_prefill, "decode": has_decode}
    return tuple(o for o in _ALL if phases[o.phase])
