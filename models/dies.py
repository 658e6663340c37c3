"""Published dies against modelled areas, block by block (models/data/dies.yaml)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from models.chip import ChipTable, load_chip
from models.datafiles import load_data
from models.prices import price

WHOLE_DIE = "whole die"


@dataclass(frozen=True)
class DieRow:
    """One comparison.

    Attributes:
        die: name in dies.yaml.
        block: published name, or ``whole die``.
        published_mm2, modelled_mm2: areas.
        error_pct: modelled against published.
        fitted: a constant of ours was set by this figure.
        unmodelled_pct: whole die only: share of the published area that none of our blocks stands for (where the
            publication does not divide the die: what lies beyond our total).
        source: of the published figure.
    """

    die: str
    block: str
    published_mm2: float
    modelled_mm2: float
    error_pct: float
    fitted: bool
    unmodelled_pct: float | None
    source: str


def compare_dies() -> list[DieRow]:
    """Every published block against ours, then each die as a whole."""
    dies: Mapping[str, Any] = load_data("dies.yaml").content["dies"]
    return [row for name, die in dies.items() for row in _die(name, die)]


def _die(name: str, die: Mapping[str, Any]) -> Iterator[DieRow]:
    ours = {block: float(area[0]) for block, area in price(ChipTable(load_chip(die["chip"]))).blocks().items()}
    compared = [(block, _modelled(block, ours), block["mm2"]) for block in die["blocks"].values()]
    for title, (block, modelled, published) in zip(die["blocks"], compared, strict=True):
        yield _row(name, title, published, modelled, block["fitted"], None, die["source"])
    total = die["total_mm2"]
    modelled = sum(area for part, area in ours.items() if part not in die.get("without", ()))
    covered = sum(published for _, _, published in compared) if die["whole"] == "blocks" else modelled
    yield _row(name, WHOLE_DIE, total, modelled, False, 100 * (1 - covered / total), die["source"])


def _modelled(block: Mapping[str, Any], ours: Mapping[str, float]) -> float:
    return float(sum(ours[part] for part in block["ours"]) * block.get("times", 1.0))


def _row(
    die: str, block: str, published: float, modelled: float, fitted: bool, unmodelled: float | None, source: str
) -> DieRow:
    error = 100 * (modelled / published - 1)
    return DieRow(die, block, published, modelled, error, fitted, unmodelled, source)
