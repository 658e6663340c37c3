"""Arguments by which commands describe a workload, and the trace they mean."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from workloads.batch import Batch
    from workloads.precision import Precision
    from workloads.trace import Trace


_CONTEXT_HELP = "cached tokens of every request in decode; prompt length in prefill (default 1024)"


def add_workload_arguments(parser: argparse.ArgumentParser) -> None:
    """``--model`` or ``--trace``, the batch, the precision and the parallelism."""
    group = parser.add_argument_group("workload")
    group.add_argument("--model", help="a shipped configuration's name, or the path of a config.json")
    group.add_argument("--trace", metavar="FILE", help="a trace file (.parquet or .jsonl) instead of --model")
    group.add_argument("--phase", choices=("prefill", "decode"), default="decode", help="default: decode")
    group.add_argument("--batch", type=int, default=1, metavar="N", help="requests (default 1)")
    group.add_argument("--context", type=int, default=1024, metavar="TOKENS", help=_CONTEXT_HELP)
    group.add_argument("--tp", type=int, default=1, metavar="RANKS", help="tensor parallel degree (default 1)")
    group.add_argument("--weights", default="fp16", help="weight format, e.g. int8 or int4 (default fp16)")
    group.add_argument("--activations", default="fp16", help="activation format (default fp16)")
    group.add_argument("--kv", default="fp16", help="KV cache format (default fp16)")
    group.add_argument("--group-size", type=int, default=0, metavar="N", help="weights per scale, 0 = none")


def precision_of(args: argparse.Namespace) -> Precision:
    """The precision that the arguments name."""
    from workloads.precision import Precision

    return Precision(weights=args.weights, activations=args.activations, kv=args.kv, weight_group=args.group_size)


def batch_of(args: argparse.Namespace, phase: str | None = None) -> Batch:
    """The batch of one step in a phase (the arguments' own by default)."""
    from workloads.batch import Batch

    if (phase or args.phase) == "decode":
        return Batch.decode(args.batch, args.context)
    return Batch.uniform(args.batch, args.context, 0)


def trace_of(args: argparse.Namespace, phase: str | None = None) -> Trace:
    """The trace that the arguments describe.

    Raises:
        ChipsmithError: neither or both of --model and --trace, or what the builders raise.
    """
    if (args.model is None) == (args.trace is None):
        raise ChipsmithError("--model, --trace", None, "give exactly one of them")
    if args.trace is not None:
        from workloads.trace_io import read_trace

        return read_trace(args.trace)
    from workloads.build import build_trace
    from workloads.configs import load_config

    return build_trace(load_config(args.model), batch_of(args, phase), precision_of(args), args.tp)
