"""with_placement: which memory channel holds the keys and values of each request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace
from workloads.transforms.edit import noted, with_rows
from workloads.transforms.sub_batches import CACHING


def placed(trace: Trace, channels: Sequence[tuple[int, int, int]]) -> Trace:
    """See :meth:`workloads.trace.Trace.with_placement`."""
    pieces = [
        (request, len(list(equal))) for request, equal in groupby(channels)
    ]  # each channel's list keeps its order
    segments = tuple(Segment(new, context, count, channel) for (new, context, channel), count in pieces)
    rows = {row: _on_channels(op, segments) for row, op in enumerate(trace.ops) if op.kind in CACHING}
    return noted(with_rows(trace, rows), "placement", requests=len(channels))


def _on_channels(op: Operator, segments: tuple[Segment, ...]) -> Operator:
    if _requests(op.segments) != _requests(segments):
        text = f"legal: the {op.pieces} requests of {op.name}, each with its new tokens and its context"
        raise ChipsmithError("placement", sum(s.multiplicity for s in segments), text)
    return replace(op, segments=segments)


def _requests(segments: Sequence[Segment]) -> Counter[tuple[int, int]]:
    found: Counter[tuple[int, int]] = Counter()
    for s in segments:
        found[s.new_tokens, s.context] += s.multiplicity
    return found
