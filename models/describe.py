"""A chip in words and numbers: peaks, storage, area of each block, energy of each event, and where they come from."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from models.chip import Chip, ChipTable
from models.constants import constant_set
from models.engines.base import EngineSpec
from models.prices import EnginePrices, MemoryPrices, Prices, price
from models.registry import builtin_specs

_LABEL_WIDTH = 30


def describe_chip(chip: Chip) -> tuple[dict[str, Any], str]:
    """Everything about a chip.

    Returns:
        A dictionary that JSON can hold, and the same as text. Units are in the names; peaks are per second.

    Raises:
        ChipsmithError: for a memory standard or constant set without prices.
    """
    prices = price(ChipTable(chip))
    data = {
        "name": chip.name,
        "description": chip.description,
        "source": chip.source,
        "technology": chip.technology.model_dump(),
        "area_mm2": float(prices.area_mm2[0]),
        "engines": {name: _engine(spec, prices.engines[name]) for name, spec in chip.engines.items()},
        "memories": {name: _memory(chip, name, prices.memories[name]) for name in chip.memories},
        "links": {name: _link(chip, name, prices) for name in chip.links},
        "noc": {**chip.noc.model_dump(), "area_mm2": float(prices.noc_mm2[0])},
        "constants": {
            "name": prices.constants,
            "description": constant_set(prices.constants).description,
            "calibration_hash": prices.calibration_hash,
        },
        "notes": dict(chip.notes),
    }
    return data, "\n".join(_text(data))


def _of_family(spec: EngineSpec, function: str) -> dict[str, Any]:
    """What the family's own ``peaks`` or ``storage_bytes`` says; nothing where it has none."""
    if spec.type not in builtin_specs():
        return {}
    found = getattr(importlib.import_module(f"models.engines.{spec.type}"), function, None)
    return dict(found(spec)) if found is not None else {}


def _engine(spec: EngineSpec, prices: EnginePrices) -> dict[str, Any]:
    names = [field.name for field in fields(prices) if field.name not in ("area_mm2", "charges")]
    own = {event: float(pj[0]) for events in prices.charges.values() for event, pj in events}
    return {
        "fields": spec.model_dump(mode="json"),
        "peak_per_s": _of_family(spec, "peaks"),
        "storage_bytes": _of_family(spec, "storage_bytes"),
        "area_mm2": {block: float(area[0]) for block, area in prices.area_mm2.items()},
        "prices": {name: float(getattr(prices, name)[0]) for name in names}
        | {f"{event}_pj": price for event, price in own.items()},
    }


def _memory(chip: Chip, name: str, prices: MemoryPrices) -> dict[str, Any]:
    return {
        "fields": chip.memories[name].model_dump(mode="json"),
        "prices": {field.name: float(getattr(prices, field.name)[0]) for field in fields(prices)},
    }


def _link(chip: Chip, name: str, prices: Prices) -> dict[str, Any]:
    return {
        "fields": chip.links[name].model_dump(mode="json"),
        "prices": {"link_pj_per_byte": float(prices.links_pj_per_byte[name][0])},
    }


def _text(data: Mapping[str, Any]) -> Iterator[str]:
    yield f"{data['name']}: {data['description']}"
    yield f"source: {data['source']}"
    yield f"{data['technology']['node_nm']:g} nm, {data['area_mm2']:,.4g} mm2 modelled"
    for name, engine in data["engines"].items():
        yield from ("", f"engine {name} ({engine['fields']['type']})")
        yield from _lines("peak", {what: rate / 1e12 for what, rate in engine["peak_per_s"].items()}, "10^12 ")
        yield from _lines("storage", {block: size / 2**20 for block, size in engine["storage_bytes"].items()}, "MiB ")
        yield from _lines("area", engine["area_mm2"], "mm2 ")
        yield from _lines("price", engine["prices"], "")
    for kind, plural in (("memory", "memories"), ("link", "links")):
        for name, part in data[plural].items():
            yield from ("", f"{kind} {name}")
            yield from _lines("is", part["fields"], "")
            yield from _lines("price", part["prices"], "")
    yield from ("", f"constants: {data['constants']['name']} ({data['constants']['description']})")
    yield f"data files: {data['constants']['calibration_hash']}"
    if data["notes"]:
        yield from ("", "notes", *(f"  {path}: {note}" for path, note in data["notes"].items()))


def _lines(head: str, values: Mapping[str, Any], unit: str) -> Iterator[str]:
    for name, value in values.items():
        shown = f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
        yield f"  {head:8}{unit + name:{_LABEL_WIDTH}}{shown:>16}"
        head = ""
