"""The test plan: feature, the bench test that checks it, the coverage bins that prove it ran, and the last result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from rtl.coverage import DOUBLE_BINS, FLAG_BINS, OPERAND_BINS, SHAPE_BINS, required_bins
from rtl.params import SystolicParams


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One feature of the engine and how it is verified.

    Attributes:
        feature: what is promised.
        test: bench test (or check) that would fail if it were broken.
        bins: coverage bins that show that the test reached it.
    """

    feature: str
    test: str
    bins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanResult:
    """A plan row with its last result.

    Attributes:
        feature, test: of the row.
        bins_hit, bins_total: coverage over all designs that were run.
        result: ``pass``, ``fail`` or ``not run``.
    """

    feature: str
    test: str
    bins_hit: int
    bins_total: int
    result: str


_WRAP = ("wrap.sum", "wrap.checker")
PLAN: tuple[PlanRow, ...] = (
    PlanRow("reset leaves nothing offered, wanted or unknown", "reset_state"),
    PlanRow("reset in any phase leaves no trace", "reset_in_flight", ("reset.load", "reset.stream", "reset.tail")),
    PlanRow("reset while results leave", "reset_in_flight", ("reset.output",)),
    PlanRow("GEMMs of any shape are bit exact", "ragged_gemms", (*SHAPE_BINS, "shape.stream.above_buffer")),
    PlanRow("cycles equal the kernel without stalls", "ragged_gemms", SHAPE_BINS),
    PlanRow("corner operands and signs", "corner_operands", OPERAND_BINS),
    PlanRow("sums wrap at their width, and only there", "corner_operands", _WRAP),
    PlanRow("gaps in the inputs lose nothing", "source_gaps", ("stall.source.cmd", "stall.source.w", "stall.source.a")),
    PlanRow("a slow sink loses nothing", "sink_stalls", ("stall.sink",)),
    PlanRow("both at once; cycles are kernel plus counted stalls", "gaps_and_stalls", ("stall.source_and_sink",)),
    PlanRow("a long refusal freezes the engine", "clock_stopped_output", ("stall.sink",)),
    PlanRow("operations back to back", "back_to_back", SHAPE_BINS),
    PlanRow("sums kept, restarted, sent out half way", "command_flags", FLAG_BINS),
    PlanRow("weights load while rows stream", "ragged_gemms", DOUBLE_BINS),
    PlanRow("AXI-Stream wrapper, free running", "axis_streaming"),
    PlanRow("AXI-Stream wrapper, pauses on every port", "axis_pauses"),
)


def _required(designs: Sequence[SystolicParams]) -> set[str]:
    return {name for params in designs for name in required_bins(params)}


def _result(test: str, outcomes: Mapping[str, Sequence[bool]]) -> str:
    seen = outcomes.get(test, ())
    if not seen:
        return "not run"
    return "pass" if all(seen) else "fail"


def plan_results(
    designs: Sequence[SystolicParams], outcomes: Mapping[str, Sequence[bool]], bins: Mapping[str, int]
) -> tuple[PlanResult, ...]:
    """The plan with results.

    Args:
        designs: what was run; bins that none of them can reach are left out.
        outcomes: bench test to whether it passed, once a run.
        bins: coverage bin to count over all runs.
    """
    return results_of(PLAN, _required(designs), outcomes, bins)


def results_of(
    plan: Sequence[PlanRow],
    possible: Set[str],
    outcomes: Mapping[str, Sequence[bool]],
    bins: Mapping[str, int],
) -> tuple[PlanResult, ...]:
    """:func:`plan_results` of any plan; ``possible`` are the bins that some design can reach."""
    rows = []
    for row in plan:
        wanted = [name for name in row.bins if name in possible]
        if row.bins and not wanted:
            continue
        hit = sum(bins.get(name, 0) > 0 for name in wanted)
        rows.append(PlanResult(row.feature, row.test, hit, len(wanted), _result(row.test, outcomes)))
    return tuple(rows)
