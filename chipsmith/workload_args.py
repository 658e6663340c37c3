"""Arguments by which commands describe a workload, and the trace they mean."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError, nearest

if TYPE_CHECKING:
    from workloads.batch import Batch
    from workloads.configs import ModelConfig
    from workloads.precision import Precision
    from workloads.requests import Request
    from workloads.trace import Trace


#: Share of its answer that a request of a log has behind it in a decode step, unless told otherwise: half, the mean
#: over the steps of its life.
PROGRESS = 0.5
_BATCH, _CONTEXT = 1, 1024
_CONTEXT_HELP = "cached tokens of every request in decode; prompt length in prefill (default 1024)"


def add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    """``--model`` or ``--trace``, the batch, the precision and the parallelism."""
    group = parser.add_argument_group("workload")
    group.add_argument("--model", help="a shipped configuration's name, or the path of a config.json")
    group.add_argument(
        "--trace", metavar="FILE", help="a trace file (.parquet, .jsonl, .et or .csv) instead of --model"
    )
    group.add_argument("--phase", choices=("prefill", "decode"), default="decode", help="default: decode")
    group.add_argument("--batch", type=int, default=_BATCH, metavar="N", help="requests (default 1)")
    group.add_argument("--context", type=int, default=_CONTEXT, metavar="TOKENS", help=_CONTEXT_HELP)
    group.add_argument("--tp", type=int, default=1, metavar="RANKS", help="tensor parallel degree (default 1)")
    default = "default: as the model is published, else fp16"
    group.add_argument("--weights", metavar="FORMAT", help=f"weight format, e.g. int8 or int4 ({default})")
    group.add_argument("--activations", metavar="FORMAT", help=f"activation format ({default})")
    group.add_argument("--kv", metavar="FORMAT", help=f"KV cache format ({default})")
    group.add_argument("--group-size", type=int, metavar="N", help="weights per scale, 0 = none")
    add_transform_arguments(parser)


def add_request_arguments(parser: argparse.ArgumentParser) -> None:
    """The requests of a log as the batch."""
    group = parser.add_argument_group("requests of a log instead of --batch and --context")
    group.add_argument("--requests", metavar="LOG", help="a request log (see chipsmith requests), or a shipped one's "
        "name: decode holds each request's prompt and a share of its answer, prefill its prompt; a column channel "
        "says which memory channel holds its keys and values")  # fmt: skip
    group.add_argument("--max-requests", type=int, metavar="N", help="no more than the first N of the log")
    group.add_argument("--progress", type=float, default=PROGRESS, metavar="SHARE",
        help=f"share of its answer that each request has generated before the step (default {PROGRESS:g})")  # fmt: skip


def add_transform_arguments(parser: argparse.ArgumentParser) -> None:
    """What is done to the trace before it runs, see :func:`transformed`."""
    add = parser.add_argument_group("transformations of the workload").add_argument
    add("--quantize", metavar="SPEC", help="e.g. weights=int4,group=128,activations=int8,only=*_proj: "
        "formats of the rows named; embedding, lm_head and routers are left out unless named")  # fmt: skip
    add("--sparsity", metavar="PATTERN", help="of weights: 2:4, block:64x64@0.25, unstructured@0.5")
    add("--attention-sparsity", metavar="PATTERN", help="of scores: block:64x64@0.25 is skipped by every engine")
    add("--neurons", metavar="SPEC", help="active feed-forward neurons: 0.1 or 0.1,window=5,predictor=128")
    add("--kv-evict", metavar="SPEC", help="what the KV cache keeps: window=1024,sinks=4 or window=512,heavy=512")
    add("--kv-rank", metavar="R", help="rank of a KV head's keys and values in the cache: 64, or 32,64 (keys, values)")
    add("--speculate", metavar="K@A", help="verify K drafted tokens, each accepted with chance A: 4@0.8")
    add("--draft-model", metavar="MODEL", help="the model that drafts; without it drafting costs nothing")
    add("--exit-layers", metavar="N", help="all tokens leave after layer N, or shares: 8=0.5,32=0.5; "
        "with --speculate: these layers draft")  # fmt: skip


def precision_of(config: ModelConfig, args: argparse.Namespace) -> Precision | None:
    """The formats that the arguments name, the others as published; None where the arguments name none.

    Experts that are published in a format of their own keep it only where no format is named.
    """
    from workloads.precision import Precision

    named = {"weights": args.weights, "activations": args.activations, "kv": args.kv, "weight_group": args.group_size}
    given = {name: value for name, value in named.items() if value is not None}
    return replace(config.precision or Precision(), **given) if given else None


def batch_of(args: argparse.Namespace, phase: str | None = None) -> Batch:
    """The batch of one step in a phase (the arguments' own by default)."""
    from workloads.batch import Batch

    if getattr(args, "requests", None):
        decode = (phase or args.phase) == "decode"
        lengths = [_length(request, args, decode) for request in _logged(args)]
        return Batch.decode(len(lengths), lengths) if decode else Batch.prefill(lengths)
    if (phase or args.phase) == "decode":
        return Batch.decode(args.batch, args.context)
    return Batch.uniform(args.batch, args.context, 0)


def trace_of(args: argparse.Namespace, phase: str | None = None) -> Trace:
    """The trace that the arguments describe, transformed as they say.

    Args:
        args: parsed arguments.
        phase: ``prefill`` or ``decode`` instead of the arguments' own; a prefill beside a decode is not drafted.

    Raises:
        ChipsmithError: neither or both of --model and --trace, or what builders and transformations raise.
    """
    if (args.model is None) == (args.trace is None):
        raise ChipsmithError("--model, --trace", None, "give exactly one of them")
    if args.trace is not None:
        if getattr(args, "requests", None):
            raise ChipsmithError("--requests", args.requests, "goes with --model: a trace holds its requests")
        from workloads.trace_io import read_trace

        return transformed(read_trace(args.trace), args, phase)
    return transformed(_built(args.model, args, phase), args, phase)


def _logged(args: argparse.Namespace) -> tuple[Request, ...]:
    from workloads.requests import read_requests

    if args.max_requests is not None and args.max_requests < 1:
        raise ChipsmithError("--max-requests", args.max_requests, "legal: 1 or more")
    if (args.batch, args.context) != (_BATCH, _CONTEXT):
        raise ChipsmithError("--batch, --context", None, "go without --requests; --max-requests limits a log")
    return read_requests(args.requests, limit=args.max_requests)


def _length(request: Request, args: argparse.Namespace, decode: bool) -> int:
    """Tokens of a request's prompt, in decode with the share of its answer that is behind it."""
    if not 0 <= args.progress < 1:
        raise ChipsmithError("--progress", args.progress, "legal: from 0 to below 1")
    return request.input_tokens + (int(request.output_tokens * args.progress) if decode else 0)


def _on_channels(trace: Trace, args: argparse.Namespace, phase: str | None) -> Trace:
    """The trace with each request on the channel that the log names."""
    requests = _logged(args)
    if all(request.channel < 0 for request in requests):
        return trace
    batch = batch_of(args, phase).requests
    places = [(new, context, request.channel) for (new, context), request in zip(batch, requests, strict=True)]
    return trace.with_placement(places)


def _built(model: str, args: argparse.Namespace, phase: str | None) -> Trace:
    from workloads.build import build_trace
    from workloads.configs import load_config

    config = load_config(model)
    trace = build_trace(config, batch_of(args, phase), precision_of(config, args), args.tp)
    return _on_channels(trace, args, phase) if getattr(args, "requests", None) else trace


def transformed(trace: Trace, args: argparse.Namespace, phase: str | None = None) -> Trace:
    """A trace with the transformations that the arguments name; its name says which.

    They are applied in an order in which each is right: formats and patterns, the cache's rank, verifying drafted
    tokens, what the cache forgets (its budget counts the step's tokens), active neurons (more tokens activate more),
    the draft, early exit.
    """
    if args.draft_model and not args.speculate:
        raise ChipsmithError("--draft-model", args.draft_model, "goes with --speculate K@A")
    drafts = args.speculate if phase != "prefill" else None
    with_draft = bool(args.draft_model or args.exit_layers)
    drafter = args.draft_model or f"{args.exit_layers} layers"
    steps: list[tuple[str | None, str, Callable[[Trace, str], Trace]]] = [
        (args.quantize, "quantized", _quantized),
        (args.sparsity, "sparsity", lambda t, text: t.with_sparsity(text)),
        (args.attention_sparsity, "attention", lambda t, text: t.with_sparsity(attention=text)),
        (args.kv_rank, "KV rank", _ranked),
        (None if with_draft else drafts, "speculating", lambda t, text: _speculating(t, text, args, phase)),
        (args.kv_evict, "KV", _evicted),
        (args.neurons, "neurons", _activated),
        (drafts if with_draft else None, f"{drafter} speculating", lambda t, text: _speculating(t, text, args, phase)),
        (None if drafts else args.exit_layers, "exit", _exited),
    ]
    words = []
    for text, word, apply in steps:
        if text:
            trace = apply(trace, text)
            words.append(f"{word} {text}")
    return replace(trace, name=", ".join([trace.name, *words])) if words else trace


def parse_spec(text: str, where: str, known: Mapping[str, type], first: str = "") -> dict[str, str | int | float]:
    """``a=1,b=x`` as a dictionary; a part without ``=`` in front means ``first``.

    Raises:
        ChipsmithError: an unknown name, one given twice, a value of another type.
    """
    found: dict[str, str | int | float] = {}
    for number, part in enumerate(text.split(",")):
        name, equals, value = part.partition("=")
        if not equals and not number and first:
            name, value = first, part
        if name not in known or name in found:
            legal = nearest(name, known) if name not in found else "is there twice"
            raise ChipsmithError(where, part, legal)
        try:
            found[name] = known[name](value)
        except ValueError:
            kind = {int: "a whole number", float: "a number"}.get(known[name], "a text")
            raise ChipsmithError(where, part, f"legal: {name}={kind}") from None
    return found


def _quantized(trace: Trace, text: str) -> Trace:
    known = {"weights": str, "activations": str, "kv": str, "group": int, "kv_group": int, "only": str, "except": str}
    spec = parse_spec(text, "--quantize", known)
    only, except_ = (str(spec[name]).split("+") if name in spec else None for name in ("only", "except"))
    return trace.with_quantization(
        str(spec.get("weights", "")),
        str(spec.get("activations", "")),
        str(spec.get("kv", "")),
        weight_group=int(spec.get("group", 0)),
        kv_group=int(spec.get("kv_group", 0)),
        only=only or (),
        except_=() if only and except_ is None else except_,
    )


def _activated(trace: Trace, text: str) -> Trace:
    known = {"density": float, "window": int, "predictor": int, "union": float, "fresh": float}
    spec = parse_spec(text, "--neurons", known, "density")
    if "density" not in spec:
        raise ChipsmithError("--neurons", text, "legal: a density first, e.g. 0.1,window=5")
    union, fresh = (float(spec[name]) if name in spec else None for name in ("union", "fresh"))
    window, predictor = (int(spec.get(name, 0)) for name in ("window", "predictor"))
    return trace.with_active_neurons(
        float(spec["density"]), union=union, window=window, fresh=fresh, predictor=predictor
    )


def _evicted(trace: Trace, text: str) -> Trace:
    spec = parse_spec(text, "--kv-evict", {"window": int, "sinks": int, "heavy": int})
    return trace.with_kv_eviction(
        int(spec.get("window", 0)), sinks=int(spec.get("sinks", 0)), heavy=int(spec.get("heavy", 0))
    )


def _ranked(trace: Trace, text: str) -> Trace:
    spec = parse_spec(text if "=" in text else _two(text), "--kv-rank", {"keys": int, "values": int})
    return trace.with_kv_compression(rank_k=int(spec.get("keys", 0)), rank_v=int(spec.get("values", 0)))


def _two(text: str) -> str:
    keys, comma, values = text.partition(",")
    return f"keys={keys},values={values if comma else keys}"


def _speculating(trace: Trace, text: str, args: argparse.Namespace, phase: str | None) -> Trace:
    tokens, _, chance = text.partition("@")
    try:
        count, acceptance = int(tokens), float(chance)
    except ValueError:
        raise ChipsmithError("--speculate", text, "legal: K@A, e.g. 4@0.8") from None
    if args.draft_model and args.exit_layers:
        raise ChipsmithError("--draft-model", args.draft_model, "goes without --exit-layers: one of them drafts")
    if args.exit_layers:
        return trace.with_speculation(count, acceptance, _exited(trace, args.exit_layers), shared=True)
    draft = _built(args.draft_model, args, phase) if args.draft_model else None
    return trace.with_speculation(count, acceptance, draft)


def _exited(trace: Trace, text: str) -> Trace:
    try:
        if "=" not in text:
            return trace.with_early_exit(int(text))
        parts = [part.partition("=") for part in text.split(",")]
        layers = {int(layer): float(share) for layer, _, share in parts}
    except ValueError:
        raise ChipsmithError("--exit-layers", text, "legal: a layer, or shares such as 8=0.5,32=0.5") from None
    if len(layers) < len(parts):
        raise ChipsmithError("--exit-layers", text, "legal: each layer once")
    return trace.with_early_exit(layers)
