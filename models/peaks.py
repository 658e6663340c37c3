"""Peak multiply-accumulate rate of a table of chips, from what each engine family says of itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from models.chip import ChipTable
from models.registry import builtin_specs
from models.technology import Floats


def peak_macs_per_s(table: ChipTable) -> Floats:
    """Multiply-accumulates per second of all engines that multiply matrices, shape (n,).

    A family counts where its file holds ``peak_macs_per_s(table, path)``, or its specification (of another package) a
    number of this name.
    """
    peak = np.zeros(table.n)
    for name, spec in table.base.engines.items():
        of_family = _of_family(spec.type)
        if of_family is not None:
            peak = peak + of_family(table, f"engines.{name}")
        else:
            peak = peak + float(getattr(spec, "peak_macs_per_s", 0.0))
    return peak


@cache
def _of_family(engine_type: str) -> Callable[[Any, str], Floats] | None:
    if engine_type not in builtin_specs():
        return None
    found: Callable[[Any, str], Floats] | None = getattr(
        importlib.import_module(f"models.engines.{engine_type}"), "peak_macs_per_s", None
    )
    return found
