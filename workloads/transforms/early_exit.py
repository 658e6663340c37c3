"""Tokens that leave the model before its last layer.

Layers are those of the blocks that keep a cache (an iteration of a block may hold several). ``layers=n``: every token
leaves after the n-th (LayerSkip, Elhoushi et al. 2024, arXiv:2404.16710: the draft of self-speculation).

``layers={8: 0.5, 32: 0.5}``: half of the tokens leave after the 8th, the others after the 32nd (CALM, Schuster et al.
2022, arXiv:2207.07061). The requests of a decode step take the mean depths of equal slices of that distribution, each
rounded to a whole layer, what is lost or gained passed on to the next: one request leaves at the mean, many follow the
distribution. Blocks are split where requests leave; there stands a row that copies those that stay (``exit8.copy``),
and with ``check`` before it the final norm and the head of every request that came so far (``exit8.lm_head``), by
which it is decided. Who leaves does not depend on the length of a request: every group loses its share.

The model stays in memory whole, with the cache of all its layers. Filling the skipped layers' cache for tokens that
left is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from workloads.errors import ChipsmithError
from workloads.trace import Trace
from workloads.transforms.edit import noted, refuse_after
from workloads.transforms.scale import step_requests
from workloads.transforms.stages import Span, Stage, layer_spans, staged

Exits = int | Mapping[int, float]


def exit_early(trace: Trace, layers: Exits, *, check: bool = False) -> Trace:
    """See :meth:`workloads.trace.Trace.with_early_exit`."""
    refuse_after(trace, "early_exit", ())
    spans = layer_spans(trace)
    shares = dict(layers) if isinstance(layers, Mapping) else {layers: 1.0}
    legal = _legal_depths(spans)
    _check_shares(shares, legal)
    if isinstance(layers, Mapping):
        refuse_after(trace, "early_exit", ("neurons",))
        requests = step_requests(trace, "early_exit")
        depths = request_depths(shares, requests, legal)
        facts = {str(layer): share for layer, share in shares.items()}
        changed = staged(trace, _stages(spans, depths), requests, check)
        return noted(changed, "early_exit", layers=facts, depths=list(depths), check=check or None)
    if check:
        raise ChipsmithError("early_exit.check", check, "goes with a distribution: at one depth nothing is decided")
    changed = trace if layers == legal[-1] else staged(trace, _stages(spans, (layers,)), 1, False)
    return noted(changed, "early_exit", layers=layers)


def _legal_depths(spans: Sequence[Span]) -> list[int]:
    """Layers after which a token can leave: at the end of an iteration of a block."""
    depths = [0]
    for span in spans:
        depths += [depths[-1] + span.layers * (i + 1) for i in range(span.count)]
    return depths[1:]


def _check_shares(shares: Mapping[int, float], legal: Sequence[int]) -> None:
    for layer, share in shares.items():
        if layer not in legal:
            step = legal[0] if len(legal) == 1 or legal[1] - legal[0] == legal[0] else 0
            text = f"legal: 1 to {legal[-1]}" if step == 1 else f"legal: {', '.join(map(str, legal))}"
            raise ChipsmithError("early_exit.layers", layer, text)
        if not 0 < share <= 1:
            raise ChipsmithError(f"early_exit.layers[{layer}]", share, "legal: a share above 0, at most 1")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ChipsmithError(
            "early_exit.layers", dict(shares), f"legal: shares that sum to 1, not {sum(shares.values())}"
        )


def request_depths(shares: Mapping[int, float], requests: int, legal: Sequence[int]) -> tuple[int, ...]:
    """Depth of each request, shallowest first; the rule stands in the module docstring.

    Args:
        shares: share of the tokens that leave after each layer; sum 1.
        requests: requests of the step.
        legal: layers after which a token can leave, ascending.
    """
    exact = {layer: Fraction(share).limit_denominator(10**6) for layer, share in sorted(shares.items())}
    total = sum(exact.values())
    found, owed = [], Fraction(0)
    for request in range(requests):
        low, high = Fraction(request, requests) * total, Fraction(request + 1, requests) * total
        wanted = _mean_depth(exact, low, high) + owed
        found.append(min(legal, key=lambda depth: (abs(depth - wanted), -depth)))
        owed = wanted - found[-1]
    return tuple(sorted(found))


def _mean_depth(shares: Mapping[int, Fraction], low: Fraction, high: Fraction) -> Fraction:
    """Mean of the quantiles between two levels."""
    passed, area = Fraction(0), Fraction(0)
    for layer, share in shares.items():
        area += layer * max(Fraction(0), min(high, passed + share) - max(low, passed))
        passed += share
    return area / (high - low)


def _stages(spans: Sequence[Span], depths: Sequence[int]) -> list[Stage]:
    """Runs of iterations that the same requests take, up to the deepest."""
    found, start = [], 0
    for span in spans:
        end = start + span.layers * span.count
        cuts = sorted({min(d, end) for d in depths if d > start})
        for first, last in zip((start, *cuts), cuts, strict=False):
            alive = sum(depth >= last for depth in depths)
            found.append(Stage(span.block, (last - first) // span.layers, last, alive))
        start = end
    return found
