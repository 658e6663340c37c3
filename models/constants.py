"""Named sets of published constants, and their values at any node and supply.

A set is one file of models/data/constants. Each constant has its values at the nodes where it was published, a unit,
a source, a kind (published, scaled, derived, fitted, assumption) and the curve by which it leaves those nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from models.datafiles import data_names, load_data
from models.technology import Floats, LogCurve, area_factor, energy_factor, log_curve, polynomial_factor
from workloads.errors import ChipsmithError, nearest

#: How a constant leaves the nodes at which it was published; ``hold`` keeps the nearest value.
BEYOND = {"energy": energy_factor, "polynomial": polynomial_factor, "area": area_factor}


@dataclass(frozen=True)
class Constant:
    """One constant.

    Attributes:
        name: with its unit as suffix.
        curve: value over node, through the published points.
        beyond: a name of :data:`BEYOND` or ``hold``.
        unit, kind, source: as in the file.
    """

    name: str
    curve: LogCurve
    beyond: str
    unit: str
    kind: str
    source: str

    def at(self, node_nm: Floats) -> Floats:
        """Values at nodes (n,) and nominal supply."""
        low, high = self.curve.ends
        inside = np.clip(node_nm, low, high)
        value = self.curve(inside)
        if self.beyond == "hold" or (inside == node_nm).all():
            return value
        return np.where(inside == node_nm, value, value * BEYOND[self.beyond](inside, node_nm))


@dataclass(frozen=True)
class ConstantSet:
    """A named set.

    Attributes:
        name: file name without suffix.
        description: one line.
        constants: by name.
        rules: how values that are not listed are derived, in words.
        sha256: hash of the file.
    """

    name: str
    description: str
    constants: Mapping[str, Constant]
    rules: Mapping[str, str]
    sha256: str

    def at(self, name: str, node_nm: Floats) -> Floats:
        """Values of one constant at nodes (n,)."""
        return self.constants[name].at(node_nm)


def list_constant_sets() -> list[str]:
    """Names of the sets."""
    return data_names("constants")


@cache
def constant_set(name: str) -> ConstantSet:
    """Read a set once.

    Raises:
        ChipsmithError: for an unknown name, with the nearest known one.
    """
    if name not in list_constant_sets():
        raise ChipsmithError("chip.technology.constants", name, nearest(name, list_constant_sets()))
    file = load_data(f"constants/{name}.yaml")
    rows = {
        key: Constant(key, log_curve(row["at_nm"]), row["beyond"], row["unit"], row["kind"], row["source"])
        for key, row in file.content["constants"].items()
    }
    return ConstantSet(name, file.content["description"], rows, file.content["rules"], file.sha256)
