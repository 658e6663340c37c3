"""A whole generation: prefill, then decode steps over a growing context, for a batch of unequal requests.

Static batching: all prompts are prefilled together, then every step makes one token for each request that still
wants one. Step times between two departures are smooth in the step number, so they are integrated piecewise
instead of being evaluated one by one: an interval is halved until one trapezoid and two agree. A test holds the error
against every step below 0.5 %.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from models.chip import Chip, ChipTable
from sim.evaluate import evaluate_chips, total_energy_j
from sim.mapping import Mapping, load_mapping
from sim.result import Result
from sim.simulate import refuse, simulate
from workloads.batch import Batch
from workloads.errors import ChipsmithError
from workloads.trace import Trace

TOLERANCE = 0.002  # relative difference of two estimates of an interval at which refinement stops


@dataclass(frozen=True)
class Generation:
    """Totals of one batch of requests from the first prompt token to the last output token.

    Attributes:
        prefill: result of the prefill step. first, last: decode results at the first and the last step.
        ttft_s: time to first token of the batch. tpot_s: mean time per output token after the first, over all
            tokens (a request's own TPOT is its share of the same steps). decode_s: all decode steps.
        energy_j: prefill and decode. output_tokens, input_tokens: of the batch.
        evaluations: steps really evaluated; steps: steps integrated.
    """

    prefill: Result
    first: Result
    last: Result
    ttft_s: float
    tpot_s: float
    decode_s: float
    energy_j: float
    input_tokens: int
    output_tokens: int
    evaluations: int
    steps: int

    @property
    def latency_s(self) -> float:
        """Whole generation."""
        return self.ttft_s + self.decode_s

    @property
    def tokens_per_s(self) -> float:
        """Output tokens per second of the whole generation."""
        return self.output_tokens / self.latency_s

    @property
    def energy_per_token_j(self) -> float:
        """Energy per output token, prefill included."""
        return self.energy_j / self.output_tokens


class _Steps:
    """Evaluates decode steps on one chip, each at most once."""

    def __init__(
        self, build: Callable[[Batch], Trace], chip: Chip, mapping: Mapping, requests: Sequence[tuple[int, int]]
    ) -> None:
        self._build, self._mapping, self._requests = build, mapping, requests
        self._table = ChipTable(chip)
        self.known: dict[int, tuple[float, float, int]] = {}

    def batch(self, step: int) -> Batch:
        """Requests of a step: those that want more than ``step`` tokens, with what they have in the cache."""
        return Batch.from_pairs((1, prompt + step - 1) for prompt, output in self._requests if output > step)

    def at(self, step: int) -> tuple[float, float, int]:
        """(seconds, joules, requests) of a decode step."""
        if step not in self.known:
            batch = self.batch(step)
            evaluation = evaluate_chips(self._build(batch), self._table, self._mapping)
            refuse(evaluation)
            _, energy = total_energy_j(evaluation)
            self.known[step] = (float(evaluation.makespan_s[0]), float(energy[0]), len(batch.requests))
        return self.known[step]


def generate_tokens(
    build: Callable[[Batch], Trace],
    chip: Chip,
    requests: Sequence[tuple[int, int]],
    mapping: str | Path | Mapping = "auto",
) -> Generation:
    """Simulate a batch of requests from prompt to last token.

    Args:
        build: makes the trace of a step from its Batch (model, precision and parallelism are bound in it).
        chip: the chip.
        requests: (input tokens, output tokens) of each request, outputs >= 1.
        mapping: as in ``simulate``.

    Raises:
        ChipsmithError: no requests, or what ``simulate`` raises.
    """
    if not requests:
        raise ChipsmithError("requests", None, "at least one request is needed")
    given = load_mapping(mapping)
    prefill = simulate(build(Batch.prefill([prompt for prompt, _ in requests])), chip, given)
    steps = _Steps(build, chip, given, requests)
    longest = max(output for _, output in requests)
    bounds = sorted({1, *(output for _, output in requests if output > 1)})
    seconds = joules = weighted = 0.0
    for low, high in pairwise(bounds):
        part, energy = _integrate(steps, low, high - 1)
        seconds += part
        joules += energy
        weighted += part * steps.at(low)[2]
    later = sum(output - 1 for _, output in requests)
    first = simulate(build(steps.batch(1)), chip, given) if longest > 1 else prefill
    last = simulate(build(steps.batch(longest - 1)), chip, given) if longest > 1 else prefill
    return Generation(
        prefill=prefill,
        first=first,
        last=last,
        ttft_s=prefill.latency_s,
        tpot_s=weighted / later if later else 0.0,
        decode_s=seconds,
        energy_j=prefill.energy_j + joules,
        input_tokens=sum(prompt for prompt, _ in requests),
        output_tokens=sum(output for _, output in requests),
        evaluations=len(steps.known) + 1,
        steps=longest,
    )


def _integrate(steps: _Steps, low: int, high: int) -> tuple[float, float]:
    """(seconds, joules) of steps low..high inclusive, refined until two estimates agree."""
    count = high - low + 1
    if count <= 2:
        parts = [steps.at(s) for s in range(low, high + 1)]
        return sum(p[0] for p in parts), sum(p[1] for p in parts)
    middle = (low + high) // 2
    a, m, b = steps.at(low), steps.at(middle), steps.at(high)
    line = (a[0] + b[0]) / 2
    bent = line + (m[0] - (a[0] + (b[0] - a[0]) * (middle - low) / (high - low))) / 2
    if abs(bent - line) <= TOLERANCE * bent:
        shape = bent / line
        return bent * count, (a[1] + b[1]) / 2 * shape * count
    left, right = _integrate(steps, low, middle), _integrate(steps, middle + 1, high)
    return left[0] + right[0], left[1] + right[1]
