"""The same step with more (or fewer) tokens a request: what verifying a draft and leaving early have in common."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from workloads.errors import ChipsmithError
from workloads.routing import Routing
from workloads.trace import Operator, Segment, Trace
from workloads.transforms.edit import whole

_ROUTING = re.compile(
    r"(?P<kind>uniform|zipf)(\((?P<exponent>\d{1,9}(\.\d{1,18})?(e-?\d{1,3})?)\))?( seed (?P<seed>[0-9]{1,18}))?"
)


def step_requests(trace: Trace, where: str) -> int:
    """Requests of a decode step.

    Raises:
        ChipsmithError: no decode step: a request brings more than one new token, or no row keeps a cache.
    """
    caching = [op for op in trace.ops if op.kind in ("attention", "scan")]
    segments = [s for op in caching for s in op.segments]
    if not segments or any(s.new_tokens != 1 for s in segments):
        raise ChipsmithError(where, trace.name, "legal: a decode step, one new token a request")
    return caching[0].pieces if len({op.pieces for op in caching}) == 1 else _mixed_requests(trace, caching)


def _mixed_requests(trace: Trace, caching: list[Operator]) -> int:
    return whole(trace.meta.get("requests", max(op.pieces for op in caching)))


def experts_of(trace: Trace, requests: int) -> Mapping[int, tuple[int, int]]:
    """Rows of experts: row to (experts, experts that a token chooses).

    Raises:
        ChipsmithError: experts are dealt over several ranks.
    """
    found: dict[int, tuple[int, int]] = {}
    for block in range(len(trace.blocks)):
        routers = [row for row, op in enumerate(trace.ops) if op.block == block and op.function == "topk"]
        if not routers:
            continue
        router = trace.ops[routers[0]]
        experts, top_k = router.width_in, router.width_out // 2
        if whole(trace.meta.get("expert_parallel", 1)) > 1:
            raise ChipsmithError("expert_parallel", trace.meta["expert_parallel"], "legal here: 1")
        for row, op in enumerate(trace.ops):
            behind = op.block == block and row > routers[0]
            if behind and op.per_segment_weights and op.tokens == requests * top_k:
                found[row] = experts, top_k
    return found


def routing_of(trace: Trace) -> Routing:
    """The routing that a trace was built with; even where it does not say.

    Raises:
        ChipsmithError: a recorded histogram, which says nothing about other numbers of tokens.
    """
    text = str(trace.meta.get("moe", "uniform"))
    found = _ROUTING.fullmatch(text)
    if found is None:
        raise ChipsmithError("moe", text, "legal here: uniform or zipf routing; or build the step with its own batch")
    seed = None if found["seed"] is None else int(found["seed"])
    return Routing.uniform(seed) if found["kind"] == "uniform" else Routing.zipf(float(found["exponent"] or 0), seed)


def rerouted(trace: Trace, shape: tuple[int, int], tokens: int) -> tuple[Segment, ...]:
    """Segments of experts for another number of tokens."""
    return routing_of(trace).segments(tokens, *shape)


def scaled_tokens(op: Operator, factor: int) -> Operator:
    """A row that takes ``factor`` times as many tokens, each request or head as many more."""
    return replace(op, segments=tuple(replace(s, new_tokens=s.new_tokens * factor) for s in op.segments))
