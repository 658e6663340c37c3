"""``chipsmith chips``: the presets, or published dies against modelled areas."""

from __future__ import annotations

import argparse
from typing import Any

from chipsmith.output import emit, table

NAME = "chips"
HELP = "list the preset chips; --dies compares modelled areas with published dies"
EXAMPLE = "chipsmith chips --dies"
ORDER = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--dies`` chooses the other table."""
    parser.add_argument("--dies", action="store_true", help="published dies, block by block, against modelled areas")


def _preset(name: str) -> dict[str, Any]:
    from models.chip import load_chip
    from models.describe import describe_chip

    data, _ = describe_chip(load_chip(name))
    memories = [memory["fields"] for memory in data["memories"].values()]
    return {
        "chip": name,
        "engines": ", ".join(f"{key} ({engine['fields']['type']})" for key, engine in data["engines"].items()),
        "peak TMAC/s": ", ".join(
            f"{rate / 1e12:.4g} {what}" for engine in data["engines"].values() for what, rate in _shown(engine)
        ),
        "memory GB": sum(memory["capacity_bytes"] for memory in memories) / 1e9,
        "GB/s": sum(memory["bandwidth_bytes_per_s"] for memory in memories) / 1e9,
        "mm2": data["area_mm2"],
        "nm": data["technology"]["node_nm"],
        "source": data["source"],
    }


def _shown(engine: dict[str, Any]) -> list[tuple[str, float]]:
    """Matrix peaks; the element-wise rates of vector engines stay in ``chipsmith show``."""
    return [(what.removeprefix("MAC/s "), rate) for what, rate in engine["peak_per_s"].items() if "MAC" in what]


def _dies(args: argparse.Namespace) -> None:
    from models.dies import WHOLE_DIE, compare_dies

    rows = compare_dies()
    shown = [
        {
            "die": row.die,
            "block": row.block,
            "published mm2": row.published_mm2,
            "modelled mm2": row.modelled_mm2,
            "error %": round(row.error_pct, 1),
            "fitted": row.fitted if row.block != WHOLE_DIE else None,
            "unmodelled %": None if row.unmodelled_pct is None else round(row.unmodelled_pct, 1),
        }
        for row in rows
    ]
    sources = dict.fromkeys(f"{row.die}: {row.source}" for row in rows)
    emit(rows, lambda: "\n".join([table(shown), "", *sources]), args)


def run(args: argparse.Namespace) -> int:
    """Print one of the two tables."""
    if args.dies:
        _dies(args)
        return 0
    from models.chip import list_chips

    rows = [_preset(name) for name in list_chips()]
    emit(rows, lambda: table(rows), args)
    return 0
