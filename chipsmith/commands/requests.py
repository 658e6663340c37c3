"""``chipsmith requests``: what a request log looks like; or make a synthetic one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from chipsmith.output import emit, table
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from workloads.lengths import Lengths
    from workloads.request_stats import RequestStats
    from workloads.requests import Request

NAME = "requests"
HELP = "describe a request log (rate, lengths, burstiness, shared prefixes), or make a synthetic one"
EXAMPLE = (
    "chipsmith requests --synthetic gamma --cv 3 --rate 2 --n 1000 "
    "--input-percentiles 50=1020,90=2735,99=4142 --output-percentiles 50=129,90=424,99=601 -o log.csv"
)
ORDER = 15
_KINDS = ("constant", "gamma", "onoff", "poisson")
# What a stream is made of where the arguments do not say: (name in the arguments, default).
_MADE = {"n": 1000, "rate": 1.0, "cv": 1.0, "on_s": 10.0, "off_s": 30.0, "seed": 0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The log or the stream to make, and what to write."""
    parser.add_argument("log", nargs="?", metavar="LOG", help="file of a known layout, or the name of a shipped log")
    parser.add_argument("--first", type=int, metavar="N", help="read only the first N requests of the file")
    parser.add_argument("--skip-empty", action="store_true", help="leave out rows without output")
    parser.add_argument(
        "--rate", type=float, metavar="R", help="requests/s: of the stream (default 1); a log is stretched to it"
    )
    parser.add_argument("--window", type=float, default=10.0, metavar="S", help="seconds of a window (default 10)")
    parser.add_argument("-o", "--output", metavar="FILE", help="write the requests (.csv or .jsonl, plain layout)")
    parser.add_argument("--figure", metavar="FILE", help="draw lengths and arrivals (PNG)")
    made = parser.add_argument_group("synthetic stream")
    made.add_argument("--synthetic", choices=_KINDS, metavar="KIND", help=f"make one instead: {', '.join(_KINDS)}")
    made.add_argument("--n", type=int, metavar="N", help="requests (default 1000)")
    made.add_argument("--cv", type=float, metavar="C", help="gamma: coefficient of variation of the gaps (default 1)")
    made.add_argument("--on-s", type=float, metavar="S", help="onoff: mean seconds on (default 10)")
    made.add_argument("--off-s", type=float, metavar="S", help="onoff: mean seconds off (default 30)")
    made.add_argument("--seed", type=int, metavar="N", help="default 0")
    for side in ("input", "output"):
        made.add_argument(
            f"--{side}-percentiles", metavar="P=T,...", help=f"tokens at percentiles of {side} length, or one length"
        )
        made.add_argument(f"--{side}-max", type=int, default=0, metavar="T", help=f"longest {side}")
    made.add_argument("--fit", default="piecewise", metavar="FIT", help="piecewise (default) or lognormal")
    made.add_argument("--independent", action="store_true", help="draw each length on its own: percentiles scatter")


def run(args: argparse.Namespace) -> int:
    """Read or make, then write, draw and describe."""
    from workloads.request_stats import request_stats
    from workloads.requests import write_requests

    if (args.log is None) == (args.synthetic is None):
        raise ChipsmithError("LOG, --synthetic", None, "give exactly one of them")
    name, requests = _made(args) if args.synthetic else _read(args)
    stats = request_stats(requests, args.window)
    if args.output:
        write_requests(requests, args.output, f"Synthetic: {name}." if args.synthetic else f"From {name}.")
    if args.figure:
        from chipsmith.request_figure import draw_requests

        draw_requests(requests, args.figure, f"{name}: {len(requests):,} requests")
    facts = {"name": name, **stats.to_dict(), "file": args.output, "figure": args.figure}
    emit(facts, lambda: as_text(name, stats), args)
    return 0


def _read(args: argparse.Namespace) -> tuple[str, Sequence[Request]]:
    from pathlib import Path

    from workloads.requests import read_requests, with_rate

    for field in ("n", "cv", "on_s", "off_s", "seed", "input_percentiles", "output_percentiles"):
        if getattr(args, field) is not None:
            raise ChipsmithError(f"--{field.replace('_', '-')}", None, "only with --synthetic")
    requests = read_requests(args.log, limit=args.first, skip_empty=args.skip_empty)
    return Path(args.log).name, requests if args.rate is None else with_rate(requests, args.rate)


def _made(args: argparse.Namespace) -> tuple[str, Sequence[Request]]:
    from workloads.arrivals import Arrivals, synthesize

    given = {name: default if getattr(args, name) is None else getattr(args, name) for name, default in _MADE.items()}
    arrivals = Arrivals(args.synthetic, given["rate"], given["cv"], given["on_s"], given["off_s"])
    inputs, outputs = _lengths(args, "input"), _lengths(args, "output")
    requests = synthesize(arrivals, int(given["n"]), inputs, outputs, int(given["seed"]), independent=args.independent)
    return f"{args.synthetic} arrivals at {given['rate']:g}/s, seed {given['seed']}", requests


def _lengths(args: argparse.Namespace, side: str) -> Lengths:
    from workloads.lengths import Lengths

    text, where = getattr(args, f"{side}_percentiles"), f"--{side}-percentiles"
    if text is None:
        raise ChipsmithError(
            where, None, "needed with --synthetic: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735"
        )
    return Lengths.parsed(text, where, args.fit, most=getattr(args, f"{side}_max"))


def as_text(name: str, stats: RequestStats) -> str:
    """Totals, then lengths, as plain text."""
    sides = {"input tokens": stats.inputs, "output tokens": stats.outputs}
    rows: list[dict[str, Any]] = [
        {
            "": side,
            "mean": round(of.mean, 1),
            "p50": of.p50,
            "p90": of.p90,
            "p95": of.p95,
            "p99": of.p99,
            "max": of.largest,
            "total": of.total,
        }
        for side, of in sides.items()
    ]
    return "\n".join([table(rows), "", *_facts(name, stats)])


def _facts(name: str, stats: RequestStats) -> list[str]:
    lines = [f"log          {name}", f"requests     {stats.count:,} in {stats.duration_s:,.6g} s"]
    if stats.rate_hz is not None:
        peak = f", at most {stats.peak_rate_hz:.4g} in {stats.window_s:g} s" if stats.peak_rate_hz is not None else ""
        lines.append(f"rate         {stats.rate_hz:.4g} requests/s{peak}")
    if stats.gap_cv is not None:
        text = f"gaps vary by {stats.gap_cv:.4g} of their mean"
        if stats.dispersion is not None:
            text += f", variance / mean of requests in {stats.window_s:g} s {stats.dispersion:.4g}"
        lines.append(f"burstiness   {text} (Poisson: 1)")
    if stats.turns_mean is not None:
        lines.append(f"sessions     {stats.sessions:,}, {stats.turns_mean:.4g} requests each")
    return [*lines, *_prefix_fact(stats)]


def _prefix_fact(stats: RequestStats) -> list[str]:
    found = stats.prefix
    if found is None:
        return ["prefixes     not in this log"]
    tokens = f"{100 * found.token_share:.2f} % of tokens ({found.reused_tokens:,} of {found.input_tokens:,})"
    blocks = f"{100 * found.block_share:.2f} % of {found.blocks:,} blocks"
    return [f"prefixes     an infinite cache holds {tokens}, {blocks}; {found.hits:,} requests find some"]
