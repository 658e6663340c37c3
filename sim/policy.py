"""From a trace to the trace that a chip runs: what its policy splits, and in which order."""

from __future__ import annotations

from models.chip import Chip
from models.policy import PolicySpec
from sim.co_processing import co_processed
from workloads.trace import Trace
from workloads.transforms.edit import applied
from workloads.transforms.head_groups import group_heads
from workloads.transforms.sub_batches import step_pieces


def arranged(trace: Trace, chip: Chip) -> Trace:
    """The trace as the chip's policy arranges it; the trace itself where the policy says nothing.

    Args:
        trace: a checked trace.
        chip: the chip, see :class:`models.policy.PolicySpec`.

    Raises:
        ChipsmithError: a policy that this trace cannot follow, for example stages of a model without attention.
    """
    policy = chip.policy
    parts = _parts(trace, policy)
    if parts > 1:
        trace = trace.with_sub_batches(parts, stages=policy.stage_barriers)
    if policy.token_block:
        trace = trace.with_token_blocks(policy.token_block)
    return co_processed(group_heads(trace, policy.head_groups), chip)


def _parts(trace: Trace, policy: PolicySpec) -> int:
    """Sub-batches of a step: none of a prefill, of small steps, of a step that is split already."""
    requests = step_pieces(trace)
    decodes = any(op.phase == "decode" for op in trace.ops)
    if "sub_batches" in applied(trace) or not decodes or requests < max(2, policy.sub_batch_requests):
        return 1
    return min(policy.sub_batches, requests)
