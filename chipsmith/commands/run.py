"""``chipsmith run``: simulate a model (or a trace) on a chip."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from chipsmith.output import emit, table
from chipsmith.workload_args import add_request_arguments, add_workload_arguments, trace_of
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from models.chip import Chip
    from sim.result import Result
    from workloads.trace import Trace

NAME = "run"
ORDER = 20
HELP = "simulate a model or a trace on a chip"
_INTERPRETED_S = 0.3  # a few operators are priced in this time; loading the compiler takes three times as long
EXAMPLE = "chipsmith run --chip tpu_v4 --model llama-2-7b --batch 16 --context 2048 --phase decode"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``run``."""
    parser.add_argument("--chip", required=True, help="a preset's name, or a chip's YAML file")
    add_workload_arguments(parser)
    add_request_arguments(parser)
    parser.add_argument("--fidelity", default="tile",
        help="bound (roofline floor), tile (default), or command (every DRAM and PIM command)")  # fmt: skip
    parser.add_argument("--mapping", default="auto", help="auto (searched, default), gemmini, or a YAML file to replay")
    parser.add_argument("--save-mapping", metavar="FILE", help="write the mapping that was used as YAML")
    parser.add_argument("--perfetto", metavar="FILE", help="write the timeline for ui.perfetto.dev")
    parser.add_argument("--figures", metavar="DIR", help="draw roofline, breakdown and timeline into a folder")
    parser.add_argument("--report", metavar="FILE.html", help="write a report: one file with figures to explore")


def run(args: argparse.Namespace) -> int:
    """Simulate and print."""
    from models.chip import load_chip
    from models.jit import interpret_first
    from sim.simulate import simulate

    interpret_first(_INTERPRETED_S)
    trace, chip = trace_of(args), load_chip(args.chip)
    result = simulate(trace, placing(chip, trace), args.mapping, args.fidelity)
    if args.save_mapping:
        from workloads.files import write_text

        write_text(Path(args.save_mapping), result.mapping.to_yaml())
    if args.perfetto:
        result.to_perfetto(args.perfetto)
    if args.figures:
        draw(result, Path(args.figures))
    if args.report:
        from chipsmith.report import write_run_report

        write_run_report(result, args.report)
    emit(result.to_dict(), lambda: as_text(result), args)
    return 0


def placing(chip: Chip, trace: Trace) -> Chip:
    """The chip with caches where the trace's requests say; itself where they say nothing.

    Raises:
        ChipsmithError: a channel that the memory of a chip without processing in memory does not have.
    """
    named = [s.placement for op in trace.ops if op.kind == "attention" for s in op.segments]
    if max(named, default=-1) < 0:
        return chip
    units = {f"engines.{name}.kv_placement": "trace" for name, spec in chip.engines.items() if spec.type == "pim"}
    memory = next(iter(chip.engines.values())).memory
    channels = chip.memories[memory].channels
    if not units and max(named) >= channels:
        text = f"legal: 0 to {channels - 1}, the channels of memory {memory} of {chip.name}"
        raise ChipsmithError("the channel that the request trace places", max(named), text)
    return chip.with_fields(units) if units else chip


def draw(result: Result, folder: Path) -> None:
    """The three figures of a result."""
    folder.mkdir(parents=True, exist_ok=True)
    result.roofline(folder / "roofline.png")
    result.breakdown(folder / "breakdown.png")
    result.timeline(folder / "timeline.png")


def as_text(result: Result) -> str:
    """Operators, then totals, as plain text."""
    rows = [
        {
            "operator": op.name,
            "engine": op.engine,
            "x": op.count,
            "us": op.duration_s * 1e6,
            "share %": 100 * op.duration_s * op.count / result.latency_s,
            "GMAC": op.macs / 1e9,
            "DRAM MB": (op.bytes["dram_read"] + op.bytes["dram_write"]) / 1e6,
            "uJ": sum(op.energy_pj.values()) / 1e6,
            "bound by": op.bound_by,
        }
        for op in result.ops
    ]
    return "\n".join([table(rows), "", *_totals(result)])


def _totals(result: Result) -> list[str]:
    evidence = result.evidence["latency_s"]
    interval = f" +-{evidence.interval_pct:g} %" if evidence.interval_pct is not None else ""
    limits = ", ".join(f"{name} {100 * share:.0f} %" for name, share in result.bound_share.items())
    return [
        f"{result.trace.name} on {result.chip.name}, fidelity {result.fidelity}",
        f"latency      {result.latency_s * 1e3:.4g} ms ({evidence.kind}{interval}: {evidence.source})",
        f"throughput   {result.tokens_per_s:.5g} tokens/s ({result.tokens} tokens a step)",
        f"energy       {result.energy_j:.4g} J, {result.energy_per_token_j:.4g} J/token, {result.power_w:.4g} W",
        f"area         {result.area_mm2:.4g} mm2 of modelled blocks",
        f"utilisation  {100 * result.utilisation:.3g} % of the matrix engines' peak",
        f"bound by     {limits} of operator time",
        f"array part   {100 * result.rtl_share:.3g} % of operator time is bound by the array cycles",
    ]
