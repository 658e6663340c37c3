"""Speculative decoding: a draft of k tokens, and one step that verifies them all.

The verifying step takes k + 1 tokens of every request (the k drafted ones and the one before them) and gives logits
for all. With a chance ``acceptance`` that a drafted token is accepted, independent of the others, it yields on average

    1 + a + ... + a^k = (1 - a^(k + 1)) / (1 - a)

tokens of a request (Leviathan, Kalman and Matias 2023, arXiv:2211.17192, equation 1). ``meta["expected_tokens"]`` is
that times the requests; ``meta["tokens"]``, a whole number, is rounded down.

A draft model runs k decode steps before, one after the other, each on a cache that is longer by one; its traces stand
in front as blocks ``draft1.layers`` ... Without a draft the tokens cost nothing (prompt look-up). A draft that is a
part of the model itself (``trace.with_early_exit(8)``) shares its weights and cache: say ``shared``. Experts are
routed anew for the larger number of tokens. Sampling, and dropping the cache of rejected tokens, are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from workloads.dtypes import format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Tensor, Trace
from workloads.transforms.edit import ACTIVATIONS, applied, noted, rebuilt, refuse_after, settle, whole
from workloads.transforms.scale import experts_of, rerouted, scaled_tokens, step_requests


def speculated_tokens(draft_tokens: int, acceptance: float) -> float:
    """Tokens of one request that a verifying step yields on average; see the module docstring.

    Raises:
        ChipsmithError: fewer than 1 drafted token, an acceptance outside 0 to 1.
    """
    if draft_tokens < 1:
        raise ChipsmithError("speculation.draft_tokens", draft_tokens, "legal: at least 1")
    if not 0 <= acceptance <= 1:
        raise ChipsmithError("speculation.acceptance", acceptance, "legal: 0 to 1")
    return math.fsum(acceptance**i for i in range(draft_tokens + 1))


def speculate(
    trace: Trace, draft_tokens: int, acceptance: float, draft: Trace | None = None, *, shared: bool = False
) -> Trace:
    """See :meth:`workloads.trace.Trace.with_speculation`."""
    each = speculated_tokens(draft_tokens, acceptance)
    if "speculation" in applied(trace):
        raise ChipsmithError("speculation", trace.name, "speculates already")
    refuse_after(trace, "speculation", ("neurons", *_heavy(trace)))
    requests = step_requests(trace, "speculation")
    verify = _verifying(trace, requests, draft_tokens + 1)
    processed = requests * (draft_tokens + 1)
    facts: dict[str, object] = {
        "tokens": int(requests * each),
        "expected_tokens": requests * each,
        "processed_tokens": processed,
    }
    told = {"draft_tokens": draft_tokens, "acceptance": acceptance}
    if draft is None:
        return noted(verify.with_meta(**facts), "speculation", **told)
    if step_requests(draft, "speculation.draft") != requests:
        drafted = step_requests(draft, "speculation.draft")
        raise ChipsmithError("speculation.draft", drafted, f"legal: {requests} requests, as the model decodes")
    joined = _joined([*(_later(draft, step) for step in range(draft_tokens)), verify])
    held = {} if shared else _resident(verify, _later(draft, draft_tokens - 1))
    name = draft.meta.get("model", draft.name)
    return noted(joined.with_meta(**facts, **held), "speculation", **told, draft=name, shared=shared or None)


def _heavy(trace: Trace) -> tuple[str, ...]:
    """A budget of heavy hitters holds with the tokens of the step, so it has to know how many they are."""
    calls = applied(trace).get("kv_eviction", [])
    return ("kv_eviction",) if isinstance(calls, list) and any("heavy" in call for call in calls) else ()


def _verifying(trace: Trace, requests: int, factor: int) -> Trace:
    """Every request with ``factor`` new tokens, logits for all of them."""
    experts = experts_of(trace, requests)
    rows = [
        replace(op, segments=rerouted(trace, experts[row], requests * factor))
        if row in experts
        else scaled_tokens(op, factor)
        for row, op in enumerate(trace.ops)
    ]
    tensors = [_scaled(t, factor) if t.role in (*ACTIVATIONS, "input") else t for t in trace.tensors]
    wide = replace(trace, ops=tuple(rows), tensors=tuple(tensors))
    settled = settle(wide, trace, [row for row, op in enumerate(rows) if op.kind in ("attention", "scan")])
    batch = [[factor, *rest[1:]] for rest in _batch(trace)]
    facts: dict[str, object] = {"batch": batch} if batch else {}
    return settled.with_meta(**facts, **({"logits": "all"} if "logits" in trace.meta else {}))


def _scaled(tensor: Tensor, factor: int) -> Tensor:
    elements = tensor.elements * factor
    return replace(tensor, elements=elements, bytes=format_bytes(elements, tensor.dtype))


def _batch(trace: Trace) -> list[list[int]]:
    found = trace.meta.get("batch", [])
    return [list(part) for part in found] if isinstance(found, list) else []


def _later(draft: Trace, steps: int) -> Trace:
    """The draft's step on caches that are ``steps`` tokens longer."""
    rows = {row: _longer(op, steps) for row, op in enumerate(draft.ops) if op.kind == "attention"}
    ops = tuple(rows.get(row, op) for row, op in enumerate(draft.ops))
    return settle(replace(draft, ops=ops), draft, list(rows)) if steps else draft


def _longer(op: Operator, steps: int) -> Operator:
    return replace(op, segments=tuple(replace(s, context=s.context + steps) for s in op.segments))


def _resident(verify: Trace, draft: Trace) -> dict[str, object]:
    """Sums of both models, where both say them."""
    names = ("parameters", "parameter_bytes", "kv_cache_bytes", "kv_bytes_per_token")
    both = [name for name in names if name in verify.meta and name in draft.meta]
    return {name: whole(verify.meta[name]) + whole(draft.meta[name]) for name in both}


def _joined(parts: Sequence[Trace]) -> Trace:
    """One after the other: the first row of each reads what the one before put out; equal weights are one tensor."""
    tensors: list[Tensor] = []
    ops: list[Operator] = []
    blocks: list[Block] = []
    weights: dict[tuple[str, int, str], int] = {}
    results: tuple[int, ...] = ()
    for number, part in enumerate(parts, start=1):
        label = f"draft{number}." if number < len(parts) else ""
        ids = [_place(tensor, label, tensors, weights) for tensor in part.tensors]
        rows = [_moved(op, ids, len(blocks), label) for op in part.ops]
        rows[0] = replace(rows[0], inputs=tuple(dict.fromkeys((*rows[0].inputs, *results))))
        read = {t for op in rows for t in op.inputs}
        results = tuple(t for op in rows for t in op.outputs if t not in read)
        pairs = [tuple((ids[w], ids[r]) for w, r in block.carried) for block in part.blocks]
        blocks += [replace(b, name=label + b.name, carried=c) for b, c in zip(part.blocks, pairs, strict=True)]
        ops += rows
    return rebuilt(parts[-1], ops, tensors, blocks)


def _place(tensor: Tensor, label: str, tensors: list[Tensor], weights: dict[tuple[str, int, str], int]) -> int:
    """Id of a tensor among those of all parts; the steps of a draft have their weights in common."""
    key = (tensor.name, tensor.elements, tensor.dtype)
    known = label != "" and tensor.role == "weight"
    if known and key in weights:
        return weights[key]
    tensors.append(replace(tensor, name=label + tensor.name))
    if known:
        weights[key] = len(tensors) - 1
    return len(tensors) - 1


def _moved(op: Operator, ids: Sequence[int], block: int, label: str) -> Operator:
    inputs, outputs = tuple(ids[t] for t in op.inputs), tuple(ids[t] for t in op.outputs)
    return replace(op, name=label + op.name, block=op.block + block, inputs=inputs, outputs=outputs)
