"""Names of rows and layers from the names of modules and parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from workloads.capture.rules import NAMES, PARTS, PREFIXES

_LAYER = re.compile(r"^(?P<stack>.*?)\.?(?P<number>\d+)(?:\.(?P<inside>.*))?$")
_PARAMETER = re.compile(r"(^|[._])(weight|bias)$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a model something stands.

    Attributes:
        stack: name of the list of layers, empty outside of one.
        number: layer, -1 outside of a list.
        inside: the rest of the path.
    """

    stack: str
    number: int
    inside: tuple[str, ...]


def place(path: str) -> Place:
    """Split ``model.layers.3.mlp.up_proj`` into its list of layers, the layer and the rest."""
    found = _LAYER.match(path) if re.search(r"(^|\.)\d+(\.|$)", path) else None
    if found is None:
        return Place("", -1, tuple(path.split(".")) if path else ())
    inside = found["inside"]
    return Place(found["stack"], int(found["number"]), tuple(inside.split(".")) if inside else ())


def part_of(where: Place) -> str:
    """Short name of the part of a layer (``attn``, ``mlp``), or ``layer``, or ``model`` outside of layers."""
    if where.number < 0:
        return "model"
    return next((PARTS[name] for name in where.inside if name in PARTS), "layer")


def parameter_row(parameter: str, otherwise: str) -> str:
    """Name of the row that a parameter belongs to: ``model.layers.0.mlp.up_proj.weight`` -> ``up_proj``."""
    return module_row(_PARAMETER.sub("", parameter), otherwise)


def module_row(path: str, otherwise: str) -> str:
    """Name of the row of a module with a single kernel; ``otherwise`` where the module has a number for a name."""
    where = place(path)
    if not where.inside:
        return otherwise
    last = where.inside[-1]
    local = NAMES.get(f"{part_of(where)}.{last}", NAMES.get(last, last))
    return prefix(where.inside[:-1]) + local


def prefix(inside: tuple[str, ...]) -> str:
    """What goes before the names of rows inside some modules (experts, the shared expert)."""
    return next((PREFIXES[name] for name in inside if name in PREFIXES), "")
