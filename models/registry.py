"""Which engine families exist: the files of models/engines, and the entry points of other packages.

A package adds a family through the entry point group ``chipsmith.engines``: the name is the family's type, the
object an engine (see sim/engine.py) whose attribute ``spec`` is its specification class.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

import models.engines
from models.engines.base import EngineSpec
from workloads.errors import ChipsmithError, nearest

GROUP = "chipsmith.engines"


@cache
def plugin_points() -> Mapping[str, EntryPoint]:
    """Entry points of other packages by engine type."""
    return {point.name: point for point in entry_points(group=GROUP)}


@cache
def builtin_specs() -> Mapping[str, type[EngineSpec]]:
    """Specification classes of models/engines by engine type."""
    found: dict[str, type[EngineSpec]] = {}
    for info in pkgutil.iter_modules(models.engines.__path__):
        module = importlib.import_module(f"models.engines.{info.name}")
        if hasattr(module, "SPEC"):
            found[module.TYPE] = module.SPEC
    return found


def engine_types() -> list[str]:
    """All known engine types."""
    return sorted({*builtin_specs(), *plugin_points()})


def spec_class(engine_type: str, where: str) -> type[EngineSpec]:
    """The specification class of a type.

    Raises:
        ChipsmithError: for an unknown type, with the nearest known one.
    """
    specs = builtin_specs()
    if engine_type in specs:
        return specs[engine_type]
    point = plugin_points().get(engine_type)
    if point is None:
        raise ChipsmithError(where, engine_type, nearest(engine_type, engine_types()))
    found: type[EngineSpec] = point.load().spec
    return found
