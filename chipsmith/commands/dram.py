"""``chipsmith dram``: what bandwidth a DRAM channel gives to which stream of requests."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chipsmith.output import emit, table
from workloads.errors import ChipsmithError

if TYPE_CHECKING:
    from chipsmith.validate import Comparison
    from sim.memory.channel import ChannelRun

NAME = "dram"
HELP = "bandwidth, commands and energy of a DRAM channel by stream, from the standard's timing"
EXAMPLE = "chipsmith dram --standard hbm3 --stream random sequential --figure dram.png"
ORDER = 25


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dram``."""
    add = parser.add_argument
    add("--standard", nargs="+", default=["hbm3"], help="standards (hbm3) or speed grades (DDR4-3200)")
    add("--stream", nargs="+", help="streams; all where none is named")
    add("--requests", type=int, default=100_000, help="bursts a stream (default 100,000)")
    add("--write-every", type=int, help="every n-th request is a write; 0: reads only")
    add("--policy", default="fr_fcfs", help="controller: fr_fcfs (default), ramulator2 or dramsim3")
    add("--figure", metavar="FILE", help="draw bandwidth against stream into a PNG")
    add("--list", action="store_true", help="list standards, grades, streams, controllers and mappings")
    add("--validate", nargs="+", metavar="FILE", help="errors against reference records by standard and stream class")


def run(args: argparse.Namespace) -> int:
    """Simulate and print, or print one of the other tables."""
    if args.list:
        return _list(args)
    if args.validate:
        return _validate(args)
    runs = _runs(args)
    rows = [_row(stream, done) for stream, done in runs]
    if args.figure:
        from sim.memory.picture import bandwidth_bars, draw_bandwidth

        draw_bandwidth(bandwidth_bars(runs), args.figure)
    emit(
        [{"stream": stream, **_plain(done)} for stream, done in runs],
        lambda: "\n".join([table(rows), "", *_remarks(args, [done for _, done in runs])]),
        args,
    )
    return 0


def _runs(args: argparse.Namespace) -> list[tuple[str, ChannelRun]]:
    from sim.memory.channel import simulate_stream
    from sim.memory.streams import STREAMS, named_stream

    changes: dict[str, Any] = {"requests": args.requests}
    if args.write_every is not None:
        changes["write_every"] = args.write_every
    streams = {name: named_stream(name, **changes) for name in args.stream or STREAMS}
    return [(name, simulate_stream(dram, streams[name], args.policy)) for name in streams for dram in args.standard]


def _row(stream: str, done: ChannelRun) -> Mapping[str, Any]:
    columns = done.commands["RD"] + done.commands["WR"]
    return {
        "dram": done.dram,
        "stream": stream,
        "cycles": done.cycles_ck,
        "GB/s": done.bandwidth_bytes_per_s / 1e9,
        "% of peak": 100 * done.fraction_of_peak,
        "row hits %": 100 * done.row_hits / columns,
        "ACT": round(done.commands["ACT"]),
        "REF": round(done.commands["REF"] + done.commands["REFpb"]),
        "latency CK": done.mean_read_latency_ck,
        "pJ/bit": done.energy_pj_per_bit,
    }


def _plain(done: ChannelRun) -> Mapping[str, Any]:
    """A run without its log."""
    fields = {name: value for name, value in vars(done).items() if name != "log"}
    return {**fields, "energy_pj_per_bit": done.energy_pj_per_bit}


def _remarks(args: argparse.Namespace, runs: Sequence[ChannelRun]) -> list[str]:
    from models.dram.library import load_dram

    names = dict.fromkeys(done.dram for done in runs)
    peaks = ", ".join(f"{name} {load_dram(name).peak_bytes_per_s / 1e9:.4g} GB/s" for name in names)
    lines = [f"peak of one channel: {peaks}; controller {args.policy}"]
    far = [done for done in runs if done.simulated < done.requests]
    if far:
        worst = max(done.error for done in far)
        lines.append(f"{len(far)} long streams extrapolated, expected error at most {100 * worst:.2g} %")
    return lines


def _list(args: argparse.Namespace) -> int:
    from models.dram.library import list_grades, list_standards, load_dram
    from models.dram.mapping import list_kv_layouts, list_mappings
    from models.dram.policy import list_policies
    from sim.memory.streams import STREAMS

    grades = [load_dram(grade) for grade in list_grades()]
    rows = [
        {
            "grade": spec.name,
            "GB/s": spec.peak_bytes_per_s / 1e9,
            "MiB": spec.organisation.capacity_bytes / 2**20,
            "banks": spec.organisation.banks * spec.organisation.pseudo_channels,
            "row bytes": spec.organisation.row_bytes,
            "energy": spec.command_energy() is not None,
            "source": spec.source,
        }
        for spec in grades
    ]
    names = {
        "standards": list_standards(),
        "streams": list(STREAMS),
        "controllers": list_policies(),
        "mappings": list_mappings(),
        "kv_layouts": list_kv_layouts(),
    }
    lines = [f"{key}: {', '.join(values)}" for key, values in names.items()]
    emit({"grades": rows, **names}, lambda: "\n".join([table(rows), "", *lines]), args)
    return 0


def _validate(args: argparse.Namespace) -> int:
    from chipsmith.validate import compare

    report = compare(args.validate, ["dram"])
    rows = by_class([item for item in report.comparisons if item.metric == "cycles" and not item.skip_reason])
    if not rows:
        raise ChipsmithError("--validate", args.validate, "files with records of the family dram")
    emit(rows, lambda: table(rows), args)
    return 0


def by_class(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """Mean, signed and largest error of cycles by source, standard and class of stream, %.

    Classes: reads, mixes (with writes), each by what limits them: ``hits`` (sequential), ``misses`` (row_miss, random
    and one bank), ``runs`` (eight bursts of a random row); refresh of single banks stands alone.
    """
    groups: dict[tuple[str, str, str], list[float]] = {}
    for item in comparisons:
        hardware, workload = item.record.data["hardware"], item.record.data["workload"]
        kind = _CLASSES.get(workload["stream"], "other")
        mixed = "mixes" if workload.get("write_every") else "reads"
        name = "per-bank refresh" if hardware["refresh"] == "per-bank" else f"{mixed}, {kind}"
        key = (item.record.source.split(" (")[0], hardware["standard"], name)
        groups.setdefault(key, []).append(item.error_pct or 0.0)
    return [_class_row(key, errors) for key, errors in sorted(groups.items())]


_CLASSES = {
    "seq_bgil": "hits",
    "seq_row": "hits",
    "seq_bankil": "hits",
    "rowmiss": "misses",
    "random": "misses",
    "samebank": "misses",
    "rand8": "runs",
}


def _class_row(key: tuple[str, str, str], errors: Sequence[float]) -> dict[str, Any]:
    source, standard, name = key
    worst: float = max(errors, key=abs)
    return {
        "source": source,
        "standard": standard,
        "class": name,
        "records": len(errors),
        "mean error %": round(sum(map(abs, errors)) / len(errors), 3),
        "bias %": round(sum(errors) / len(errors), 3) + 0.0,
        "worst %": round(worst, 3) + 0.0,  # no minus zero
    }
