"""``chipsmith trace``: the operators of one step of a model, shown and written to a file.

The model is a configuration (built by our families, or captured from the model's own code), an ONNX file, or a Chakra
execution trace.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from chipsmith.commands.show import trace_text
from chipsmith.output import emit
from chipsmith.workload_args import add_transform_arguments, transformed
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from workloads.batch import Batch
    from workloads.precision import Precision
    from workloads.routing import Routing
    from workloads.trace import Trace

NAME = "trace"
HELP = "build the trace of one step of a model: operators, shapes, MACs, bytes"
EXAMPLE = "chipsmith trace llama-3-8b --batch 8 --context 4096 --phase decode -o decode.parquet"
ORDER = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, requests, formats, parallelism."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="shipped configuration or the path of a config.json (also hf:CONFIG), onnx:FILE, or chakra:FILE",
    )
    parser.add_argument(
        "--capture", action="store_true", help="take the operators from the model's PyTorch code (needs torch)"
    )
    parser.add_argument("--mla", choices=("auto", "naive", "absorbed"), default="auto", help="form of latent attention")
    parser.add_argument(
        "--dim", action="append", default=[], metavar="NAME=N", help="onnx: value of a symbolic dimension (repeatable)"
    )
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
        text = f"format of {name} (default: as published, else fp16)"
        parser.add_argument(f"--{name}", metavar="FORMAT", help=text)
    parser.add_argument("--embeddings", default="", metavar="FORMAT", help="embedding and lm_head, default: as weights")
    parser.add_argument("--weight-group", type=int, default=0, metavar="N", help="weights that share one scale")
    parser.add_argument("--kv-group", type=int, default=0, metavar="N", help="KV elements that share one scale")
    parser.add_argument("--tp", type=int, default=1, metavar="N", help="tensor parallel degree")
    parser.add_argument("--ep", type=int, default=1, metavar="N", help="expert parallel degree")
    parser.add_argument(
        "--zipf", type=float, metavar="S", help="expert popularity falls with this power (default: even)"
    )
    parser.add_argument("--merge", action="store_true", help="one GEMM for q, k, v and one for gate, up")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the trace (.parquet, .jsonl, .et or .csv)")
    add_transform_arguments(parser)
    parser.set_defaults(group_size=None)  # a draft model has the formats of --weights, --activations and --kv


def run(args: argparse.Namespace) -> int:
    """Build, write and show it."""
    from workloads.describe import describe_trace
    from workloads.trace_io import write_trace

    trace = transformed(_trace(args), args, args.phase)
    if args.output:
        write_trace(trace, args.output)
    report = describe_trace(trace)
    emit({**report, "file": args.output}, lambda: trace_text(report), args)
    return 0


def _trace(args: argparse.Namespace) -> Trace:
    """The trace of a model, whose name may say where it comes from: ``onnx:model.onnx``."""
    origin, colon, name = args.model.partition(":")
    if not colon or origin not in ORIGINS:
        origin, name = "hf", args.model
    if args.capture and origin != "hf":
        raise ChipsmithError("--capture", args.model, "legal for configurations")
    return ORIGINS[origin](name, args)


def _configured(name: str, args: argparse.Namespace) -> Trace:
    from workloads.build import build_trace
    from workloads.configs import load_config

    config = load_config(name)
    if args.capture:
        for option, value in (("--tp", args.tp), ("--ep", args.ep), ("--merge", int(args.merge) + 1)):
            if value != 1:
                raise ChipsmithError(option, None, "not with --capture: the model's code runs on one device, as it is")
        from workloads.capture.trace import capture_model

        return capture_model(config, _batch(args), _precision(args), _routing(args), mla=args.mla)
    return build_trace(
        config,
        _batch(args),
        _precision(args),
        args.tp,
        _routing(args),
        expert_parallel=args.ep,
        merge_qkv=args.merge,
        merge_gate_up=args.merge,
        mla=args.mla,
    )


def _onnx(name: str, args: argparse.Namespace) -> Trace:
    from workloads.onnx_import import read_onnx

    return read_onnx(name, dims=dict(_dimension(text) for text in args.dim))


def _dimension(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    if not name or not value.isdecimal():
        raise ChipsmithError("--dim", text, "legal: NAME=N, for example batch=8")
    return name, int(value)


def _chakra(name: str, _args: argparse.Namespace) -> Trace:
    from workloads.chakra import read_chakra

    return read_chakra(name)


#: Word before the colon -> reader.
ORIGINS: dict[str, Callable[[str, argparse.Namespace], Trace]] = {
    "hf": _configured,
    "onnx": _onnx,
    "chakra": _chakra,
}


def _routing(args: argparse.Namespace) -> Routing:
    from workloads.routing import Routing

    return Routing.uniform() if args.zipf is None else Routing.zipf(args.zipf)


def _batch(args: argparse.Namespace) -> Batch:
    from workloads.batch import Batch

    if args.phase == "decode":
        return Batch.uniform(args.batch, 1 if args.new_tokens is None else args.new_tokens, args.context)
    if args.new_tokens is None:
        return Batch.uniform(args.batch, args.context)
    return Batch.uniform(args.batch, args.new_tokens, args.context)


def _precision(args: argparse.Namespace) -> Precision | None:
    """The formats named; None where none is, so that a model keeps those it is published in."""
    from workloads.precision import Precision

    named = {name: getattr(args, name) for name in ("weights", "activations", "kv") if getattr(args, name)}
    if not named and not (args.weight_group or args.kv_group or args.embeddings):
        return None
    return Precision(**named, weight_group=args.weight_group, kv_group=args.kv_group, embeddings=args.embeddings)
