"""The Mapping: how a trace is put on a chip, as data that replays to the same bits."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from models.chip import Chip
from models.engines.base import Spec
from models.yaml_text import parse_yaml
from sim.demand import MODES
from sim.engine import Engine, find_engine
from workloads.errors import ChipsmithError, nearest
from workloads.operators import Operator
from workloads.trace import Trace

LINK = "link"


@dataclass(frozen=True)
class Mapping:
    """Where operators run and how.

    Attributes:
        source: ``auto`` (searched), ``gemmini`` (named heuristic) or ``given``.
        engines: operator name to engine name (``link:NAME`` for collectives).
        tiles: operator name to one readable mapping per distinct segment, empty where there is nothing to choose.
    """

    source: str
    engines: MappingABC[str, str] = field(default_factory=dict)
    tiles: MappingABC[str, tuple[MappingABC[str, Any], ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; :func:`parse_mapping` reads it back."""
        return {
            "source": self.source,
            "engines": dict(self.engines),
            "tiles": {name: [dict(t) for t in tiles] for name, tiles in self.tiles.items()},
        }

    def to_yaml(self) -> str:
        """YAML text."""
        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False, width=100)
        return text

    @property
    def digest(self) -> str:
        """Hash of the placement and tiles."""
        return hashlib.sha256(
            repr((sorted(self.engines.items()), sorted(self.to_dict()["tiles"].items()))).encode()
        ).hexdigest()[:16]


def parse_mapping(data: object, where: str = "mapping") -> Mapping:
    """Make a given Mapping of plain data.

    Raises:
        ChipsmithError: unknown or wrongly typed field.
    """
    if not isinstance(data, MappingABC):
        raise ChipsmithError(where, type(data).__name__, "a mapping has the fields engines and tiles")
    for key in data:
        if key not in ("source", "engines", "tiles"):
            raise ChipsmithError(f"{where}.{key}", None, f"unknown field; {nearest(str(key), ('engines', 'tiles'))}")
    engines, tiles = data.get("engines", {}), data.get("tiles", {})
    if not isinstance(engines, MappingABC) or not isinstance(tiles, MappingABC):
        raise ChipsmithError(where, None, "engines and tiles map operator names to engines and to lists of tiles")
    for name, value in tiles.items():
        if not isinstance(value, list) or not all(isinstance(t, MappingABC) for t in value):
            raise ChipsmithError(f"{where}.tiles.{name}", value, "a list with one mapping per distinct segment")
    return Mapping(
        "given",
        {str(k): str(v) for k, v in engines.items()},
        {str(k): tuple(dict(t) for t in v) for k, v in tiles.items()},
    )


def load_mapping(name_or_path: str | Path | Mapping) -> Mapping:
    """A named heuristic, a YAML file, or a Mapping as it is.

    Raises:
        ChipsmithError: unknown name or unreadable file.
    """
    if isinstance(name_or_path, Mapping):
        return name_or_path
    text = str(name_or_path)
    if text in MODES[:2]:
        return Mapping(text)
    if not text.endswith((".yaml", ".yml")):
        raise ChipsmithError("mapping", text, f"{nearest(text, MODES[:2])}, or a YAML file")
    try:
        return parse_mapping(parse_yaml(text, Path(text).read_text(encoding="utf-8")), text)
    except (OSError, UnicodeDecodeError) as error:
        raise ChipsmithError(text, None, f"cannot be read: {error}") from None


@dataclass(frozen=True)
class Placement:
    """Engines in use and which operator runs where.

    Attributes:
        names: engine names (``npu``, ``vector``, ``link:ici``); paths: their field paths; engines: their families.
        engine_of: index into ``names`` by trace row.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    engines: tuple[Engine, ...]
    engine_of: MappingABC[int, int]


def _check_names(trace: Trace, mapping: Mapping) -> None:
    """Refuse a mapping of operators that the trace does not have: a typo would go unnoticed."""
    known = {op.name for op in trace.ops}
    for field_name, given in (("engines", mapping.engines), ("tiles", mapping.tiles)):
        for name in given:
            if name not in known:
                raise ChipsmithError(f"mapping.{field_name}.{name}", None, f"no such operator; {nearest(name, known)}")


def _takes(family: Engine, spec: Spec, op: Operator) -> bool:
    return op.kind in family.kinds and (family.accepts is None or family.accepts(spec, op))


def place(trace: Trace, chip: Chip, mapping: Mapping) -> Placement:
    """Put every operator on the engine that the mapping names, else its device group, else the first that takes it.

    Raises:
        ChipsmithError: no engine takes a kind, or the mapping names an unknown or unfit engine.
    """
    _check_names(trace, mapping)
    names = [*chip.engines, *(f"{LINK}:{name}" for name in chip.links)]
    paths = [*(f"engines.{n}" for n in chip.engines), *(f"links.{n}" for n in chip.links)]
    families = [find_engine(spec.type, f"chip.engines.{n}.type") for n, spec in chip.engines.items()]
    families += [find_engine(LINK)] * len(chip.links)
    specs = [*chip.engines.values(), *chip.links.values()]
    engine_of = {}
    for row, op in enumerate(trace.ops):
        wanted = mapping.engines.get(op.name, op.device_group if op.device_group in chip.engines else None)
        if wanted is not None:
            if wanted not in names:
                raise ChipsmithError(f"mapping.engines.{op.name}", wanted, nearest(wanted, names))
            if op.kind not in families[names.index(wanted)].kinds:
                raise ChipsmithError(
                    f"mapping.engines.{op.name}", wanted, f"it does not take operators of kind {op.kind}"
                )
            engine_of[row] = names.index(wanted)
            continue
        fit = [i for i, family in enumerate(families) if _takes(family, specs[i], op)]
        if not fit:
            raise ChipsmithError(
                f"chip {chip.name}", op.kind, f"no engine takes operator {op.name}; engines: {', '.join(names)}"
            )
        engine_of[row] = fit[0]
    return Placement(tuple(names), tuple(paths), tuple(families), engine_of)
