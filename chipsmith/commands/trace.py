"""``chipsmith trace``: the operators of one step of a model, shown and written to a file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from chipsmith.commands.show import trace_text
from chipsmith.output import emit

if TYPE_CHECKING:
    from workloads.batch import Batch
    from workloads.precision import Precision

NAME = "trace"
HELP = "build the trace of one step of a model: operators, shapes, MACs, bytes"
EXAMPLE = "chipsmith trace llama-3-8b --batch 8 --context 4096 --phase decode -o decode.parquet"
ORDER = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, requests, formats, parallelism."""
    parser.add_argument("model", metavar="MODEL", help="shipped configuration, or the path of a config.json")
    parser.add_argument("--phase", choices=("prefill", "decode"), default="prefill", help="default: prefill")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="equal requests (default: 1)")
    parser.add_argument(
        "--context",
        type=int,
        default=2048,
        metavar="L",
        help="decode: cached tokens of a request; prefill: prompt length, or with --new-tokens the tokens cached "
        "before the chunk (default: 2048)",
    )
    parser.add_argument("--new-tokens", type=int, metavar="N", help="tokens a request adds in this step")
    for name in ("weights", "activations", "kv"):
        parser.add_argument(f"--{name}", default="fp16", metavar="FORMAT", help=f"format of {name} (default: fp16)")
    parser.add_argument("--embeddings", default="", metavar="FORMAT", help="embedding and lm_head, default: as weights")
    parser.add_argument("--weight-group", type=int, default=0, metavar="N", help="weights that share one scale")
    parser.add_argument("--kv-group", type=int, default=0, metavar="N", help="KV elements that share one scale")
    parser.add_argument("--tp", type=int, default=1, metavar="N", help="tensor parallel degree")
    parser.add_argument("--ep", type=int, default=1, metavar="N", help="expert parallel degree")
    parser.add_argument(
        "--zipf", type=float, metavar="S", help="expert popularity falls with this power (default: even)"
    )
    parser.add_argument("--merge", action="store_true", help="one GEMM for q, k, v and one for gate, up")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the trace (.parquet or .jsonl)")


def run(args: argparse.Namespace) -> int:
    """Build, write and show it."""
    from workloads.build import build_trace
    from workloads.configs import load_config
    from workloads.describe import describe_trace
    from workloads.routing import Routing
    from workloads.trace_io import write_trace

    trace = build_trace(
        load_config(args.model),
        _batch(args),
        _precision(args),
        args.tp,
        Routing.uniform() if args.zipf is None else Routing.zipf(args.zipf),
        expert_parallel=args.ep,
        merge_qkv=args.merge,
        merge_gate_up=args.merge,
    )
    if args.output:
        write_trace(trace, args.output)
    report = describe_trace(trace)
    emit({**report, "file": args.output}, lambda: trace_text(report), args)
    return 0


def _batch(args: argparse.Namespace) -> Batch:
    from workloads.batch import Batch

    if args.phase == "decode":
        return Batch.uniform(args.batch, 1 if args.new_tokens is None else args.new_tokens, args.context)
    if args.new_tokens is None:
        return Batch.uniform(args.batch, args.context)
    return Batch.uniform(args.batch, args.new_tokens, args.context)


def _precision(args: argparse.Namespace) -> Precision:
    from workloads.precision import Precision

    return Precision(
        args.weights, args.activations, args.kv, args.weight_group, args.kv_group, embeddings=args.embeddings
    )
