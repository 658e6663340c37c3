"""``chipsmith compare``: chips side by side on one workload, both phases, with ratios and ties."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from chipsmith.output import emit, table
from chipsmith.workload_args import add_workload_arguments, trace_of
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from chipsmith.comparison import Candidate, Phase
    from models.chip import Chip
    from workloads.trace import Trace

NAME = "compare"
ORDER = 25
HELP = "compare chips on a model: prefill and decode, ratios, ties"
EXAMPLE = "chipsmith compare tpu_v4 tpu_v3 gemmini_16x16 --model llama-2-7b --batch 8 --context 1024 --native-formats"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``compare``."""
    parser.add_argument("chips", nargs="+", metavar="CHIP", help="presets' names, or YAML files; the first is the base")
    add_workload_arguments(parser)
    for action in parser._actions:
        if action.dest == "phase":
            action.default, action.help = None, "only this phase (default: both)"
    parser.add_argument(
        "--native-formats",
        action="store_true",
        help="8 bits on integer machines, 16 on others; overrides --weights",
    )
    parser.add_argument("--fidelity", default="tile", help="bound (roofline floor) or tile (default)")
    parser.add_argument("--mapping", default="auto", help="auto (searched, default) or gemmini")
    parser.add_argument("--figure", metavar="FILE.png", help="draw the chips side by side")
    parser.add_argument("--report", metavar="FILE.html", help="write a report: one file with figures to explore")


def run(args: argparse.Namespace) -> int:
    """Simulate and print."""
    from chipsmith.comparison import compare_chips, results_of, to_data

    def build(chip: Chip, phase: Phase) -> Trace:
        return trace_of(_formats(args, chip), None if args.trace else phase)

    candidates = compare_chips(args.chips, build, _phases(args), args.mapping, args.fidelity)
    if args.figure:
        from sim.figures import comparison_figure

        comparison_figure(results_of(candidates), Path(args.figure))
    if args.report:
        from chipsmith.reports.comparison import write_comparison_report

        write_comparison_report(candidates, args.report)
    emit(to_data(candidates), lambda: as_text(candidates), args)
    return 0


def _formats(args: argparse.Namespace, chip: Chip) -> argparse.Namespace:
    """The arguments with the chip's own number formats, where they are asked for."""
    if not args.native_formats:
        return args
    from chipsmith.demo import precision_for

    native = precision_for(chip)
    return argparse.Namespace(
        **{**vars(args), "weights": native.weights, "activations": native.activations, "kv": native.kv}
    )


def _phases(args: argparse.Namespace) -> tuple[Phase, ...]:
    """Both phases, the one that was asked for, or that of the trace file."""
    from chipsmith.comparison import PHASES

    if args.trace:
        return (_phase_in(args),)
    return tuple(phase for phase in PHASES if args.phase in {None, phase})


def _phase_in(args: argparse.Namespace) -> Phase:
    """The phase of a trace file.

    Raises:
        ChipsmithError: it was asked for another one.
    """
    phases = {op.phase for op in trace_of(args).ops}
    found: Phase = "prefill" if phases == {"prefill"} else "decode"
    if args.phase not in {None, found}:
        raise ChipsmithError("--phase", args.phase, f"the trace holds {', '.join(sorted(phases))}")
    return found


def as_text(candidates: Sequence[Candidate]) -> str:
    """Figures, then ratios to the first chip, then what to know about both."""
    from chipsmith.comparison import notes, ratio_rows, value_rows

    ratios = ratio_rows(candidates)
    lines = [table(value_rows(candidates)), *(["", table(ratios)] if ratios else [])]
    return "\n".join([*lines, "", *notes(candidates)])
