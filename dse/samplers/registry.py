"""Which samplers exist: the files of dse/samplers that define ``SAMPLER``."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

import dse.samplers
from dse.samplers.base import Sampler
from workloads.errors import ChipsmithError, nearest


@cache
def samplers() -> Mapping[str, type[Sampler]]:
    """Sampler classes by name."""
    found: dict[str, type[Sampler]] = {}
    for info in pkgutil.iter_modules(dse.samplers.__path__):
        if info.name == "registry":
            continue
        sampler: type[Sampler] | None = getattr(importlib.import_module(f"dse.samplers.{info.name}"), "SAMPLER", None)
        if sampler is not None:
            found[sampler.name] = sampler
    return found


def sampler_class(name: str) -> type[Sampler]:
    """Look a sampler up by name.

    Raises:
        ChipsmithError: for an unknown name, with the nearest known one.
    """
    known = samplers()
    if name not in known:
        raise ChipsmithError("sampler", name, nearest(str(name), known))
    return known[name]
