"""``chipsmith demo``: the main job from a model's configuration to verified Verilog."""

from __future__ import annotations

import argparse
from pathlib import Path

from chipsmith.output import emit, progress

NAME = "demo"
ORDER = 10
HELP = "compare chips, search designs, generate and verify Verilog, write a report"
EXAMPLE = "chipsmith demo --budget-s 5"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``demo``."""
    parser.add_argument("--model", default="llama-2-7b", help="configuration (default llama-2-7b)")
    parser.add_argument(
        "--requests", default="conversation_sample", metavar="FILE", help="request log (default: the shipped sample)"
    )
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="requests served together (default 8)")
    parser.add_argument("--chips", default="tpu_v4,neupims_npu,gemmini_16x16", help="presets, comma separated")
    parser.add_argument("--budget-s", type=float, default=10.0, help="seconds of search, at most 20 (default 10)")
    parser.add_argument("--out", default="out/demo", metavar="DIR", help="where everything is written")
    parser.add_argument("--seed", type=int, default=1)


def run(args: argparse.Namespace) -> int:
    """Run it; exit 1 where the verification failed."""
    from chipsmith.demo import Options, comparison_rows, run_demo

    options = Options(
        model=args.model,
        requests=args.requests,
        batch=args.batch,
        chips=tuple(name.strip() for name in args.chips.split(",")),
        budget_s=args.budget_s,
        out=Path(args.out),
        seed=args.seed,
    )
    say = print if args.format == "table" else progress
    outcome = run_demo(options, say)
    if args.format == "json":
        emit(
            {
                "chips": comparison_rows(outcome),
                "designs": outcome.designs,
                "front": outcome.front,
                "front_difference": outcome.difference,
                "chosen": outcome.chosen,
                "verified": outcome.verified,
                "notes": outcome.notes,
                "seconds": outcome.seconds,
            },
            "",
            args,
        )
    return 1 if outcome.verified is False or outcome.difference != 0.0 else 0
