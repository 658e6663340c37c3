"""The Space: which fields of a chip vary, over which values, and which combinations are allowed.

A design is a row of value indices, one column a free parameter; samplers see nothing else. ``decode`` turns rows
into a :class:`~models.chip.ChipTable`, so that a population is evaluated as arrays.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.constraints import Constraint, Floats, parse_constraint
from dse.formats import FORMATS, PARTS, parse_formats
from dse.sparsity import SPARSITY
from dse.variants import AS_GIVEN, READERS, Variant
from models.chip import Chip, ChipTable, get_field, load_chip
from models.yaml_text import parse_yaml
from workloads.errors import ChipsmithError, nearest

Value = int | float | bool | str
Index = NDArray[np.int64]
MOST_VALUES = 10_000
MOST_TRIED = 256  # chips built to check one parameter; each takes half a millisecond
_FORMS = "use a list of values, {values: [...]}, {range: {low, high, step}}, {log2: {low, high}} or {same_as: path}"
_PRECISION = re.compile(r"(^|_)(dtype|dtypes|sparsity|density)$|^(weight|act|kv|accum)_bits$")


@dataclass(frozen=True, slots=True)
class Parameter:
    """A free parameter.

    Attributes:
        path: chip field path.
        values: legal values in order, as the chip holds them.
        linked: other field paths that always take the same value.
        derived: other field paths that follow it with values of their own, one a value.
    """

    path: str
    values: tuple[Value, ...]
    linked: tuple[str, ...] = ()
    derived: tuple[tuple[str, tuple[Value, ...]], ...] = ()

    @property
    def ordered(self) -> bool:
        """Whether neighbouring indices mean neighbouring values (numbers, not names)."""
        return all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in self.values)

    @property
    def array(self) -> NDArray[Any]:
        """The values as an array, shape (count,)."""
        return np.asarray(self.values)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every field path it sets."""
        return (self.path, *self.linked, *(path for path, _ in self.derived))

    def values_of(self, path: str) -> tuple[Value, ...]:
        """The values that one of its field paths takes."""
        return dict(self.derived).get(path, self.values)


def is_precision(path: str) -> bool:
    """Whether a field decides how exact the arithmetic is: a number format, its bits or a sparsity."""
    return path in READERS or _PRECISION.search(path.rpartition(".")[2]) is not None


class Space:
    """Typed parameters over the fields of a chip.

    Args:
        base: the chip, or the name of a preset; fields that are no parameter keep its values.
        parameters: field path to ``[v, ...]``, ``{"values": [...]}``, ``{"range": {low, high, step}}``,
            ``{"log2": {low, high}}`` (both ends are powers of two) or ``{"same_as": path}``. ``workload.formats`` and
            ``workload.sparsity`` vary the workload (dse/formats.py, dse/sparsity.py).
        constraints: comparisons (see dse/constraints.py); those over fields alone are checked before a design is
            simulated, the others after.
        name: for tables and figures.

    Raises:
        ChipsmithError: unknown path (nearest offered), a value the chip refuses, an unknown form.
    """

    def __init__(
        self,
        base: Chip | str,
        parameters: Mapping[str, Any],
        constraints: Sequence[str] = (),
        name: str = "space",
    ) -> None:
        self.base = load_chip(base) if isinstance(base, str) else base
        self.name = name
        self.parameters = _parse_parameters(self.base, parameters)
        self.constraints = _parse_constraints(constraints)

    @classmethod
    def from_yaml(cls, path: str | Path, base: Chip | str | None = None) -> Space:
        """Read a space: keys ``name``, ``chip``, ``parameters``, ``constraints``.

        Args:
            path: YAML file, or the name of a shipped space (see :func:`list_spaces`).
            base: stands in for the file's ``chip``.

        Raises:
            ChipsmithError: the file cannot be read, has an unknown key, names no chip, or holds an illegal space.
        """
        data = _read_yaml(Path(path))
        chip = base if base is not None else data.get("chip")
        if chip is None:
            raise ChipsmithError(f"{path}: chip", None, "this field is required: a preset name or a chip file")
        name = str(data.get("name", Path(path).stem))
        return cls(chip, data.get("parameters") or {}, data.get("constraints") or (), name)

    @cached_property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of values of each free parameter."""
        return tuple(len(p.values) for p in self.parameters)

    @cached_property
    def size(self) -> int:
        """Number of designs, those that a constraint forbids included."""
        return math.prod(self.cardinalities)

    @cached_property
    def paths(self) -> tuple[str, ...]:
        """Paths of the free parameters, in column order."""
        return tuple(p.path for p in self.parameters)

    @cached_property
    def varied_precision(self) -> tuple[str, ...]:
        """Field paths of number formats and sparsity that take more than one value."""
        return tuple(path for p in self.parameters if len(p.values) > 1 for path in p.paths if is_precision(path))

    @cached_property
    def fingerprint(self) -> str:
        """Hash of base chip, parameters and constraints (16 hex digits)."""
        parts = [
            self.base.to_yaml(),
            [[p.path, list(p.values), list(p.linked), *map(list, p.derived)] for p in self.parameters],
            [c.text for c in self.constraints],
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def unravel(self, ordinals: NDArray[np.int64]) -> Index:
        """Index rows of designs by their position in the grid, shape (n,) to (n, parameters)."""
        return np.stack(np.unravel_index(ordinals, self.cardinalities), axis=1).astype(np.int64)

    def grid(self, chunk: int = 8192) -> Iterator[Index]:
        """Every design in order (last parameter fastest), as index matrices of at most ``chunk`` rows."""
        for start in range(0, self.size, chunk):
            yield self.unravel(np.arange(start, min(self.size, start + chunk)))

    def sample(self, rng: np.random.Generator, n: int) -> Index:
        """``n`` independent uniform designs (constraints are not looked at), shape (n, parameters)."""
        return rng.integers(0, np.asarray(self.cardinalities), (n, len(self.cardinalities)), dtype=np.int64)

    def decode(self, index: Index) -> ChipTable:
        """The chips of index rows.

        Raises:
            ChipsmithError: for a matrix of another shape or an index out of range.
        """
        index = self._checked(index)
        columns = {
            path: np.asarray(p.values_of(path))[index[:, j]]
            for j, p in enumerate(self.parameters)
            for path in p.paths
            if path not in READERS
        }
        return ChipTable(self.base, columns, n=len(index))

    def work_columns(self, index: Index) -> dict[str, NDArray[Any]]:
        """What the space varies of the workload: path to one value a design, in the order they are applied."""
        columns = {path: j for j, path in enumerate(self.paths)}
        return {
            path: self.parameters[columns[path]].array[index[:, columns[path]]] for path in READERS if path in columns
        }

    def variants(self, index: Index) -> list[Variant]:
        """The workload of each design: its values of :meth:`work_columns`."""
        columns = self.work_columns(index)
        if not columns:
            return [AS_GIVEN] * len(index)
        rows = zip(*(column.tolist() for column in columns.values()), strict=True)
        return [tuple(zip(columns, row, strict=True)) for row in rows]

    def encode(self, table: ChipTable) -> Index:
        """Index rows of chips, the inverse of :meth:`decode`.

        Raises:
            ChipsmithError: for a value that is not in the space.
        """
        return np.stack([_positions(p, table.column(p.path)) for p in self.parameters], axis=1)

    def design(self, row: NDArray[np.int64]) -> dict[str, Value]:
        """One index row as field path to value, linked fields included."""
        return {path: p.values_of(path)[int(i)] for p, i in zip(self.parameters, row, strict=True) for path in p.paths}

    def chip(self, row: NDArray[np.int64]) -> Chip:
        """One index row as a checked chip."""
        return self.base.with_fields(fields_of(self.design(row)))

    def _checked(self, index: Index) -> Index:
        index = np.asarray(index, dtype=np.int64)
        if index.ndim != 2 or index.shape[1] != len(self.parameters):
            raise ChipsmithError("design index", index.shape, f"shape (n, {len(self.parameters)})")
        if index.size and ((index < 0) | (index >= np.asarray(self.cardinalities))).any():
            raise ChipsmithError("design index", int(index.max()), f"below {self.cardinalities}")
        return index


def fields_of(design: Mapping[str, Value]) -> dict[str, Value]:
    """Of a design, what belongs to the chip."""
    return {path: value for path, value in design.items() if path not in READERS}


def field_lookup(table: ChipTable) -> Callable[[str], NDArray[Any]]:
    """Values of numeric chip fields by path, for constraints.

    Raises:
        ChipsmithError: (on use) unknown path, or a field that holds no number.
    """

    def lookup(path: str) -> NDArray[Any]:
        values = table.column(path)
        if values.dtype.kind not in "iufb":
            raise ChipsmithError(f"constraint on {path}", values[0].item(), "constraints compare numbers")
        return values

    return lookup


def total_violation(constraints: Sequence[Constraint], lookup: Callable[[str], NDArray[Any]], n: int) -> Floats:
    """Sum of violations of each design, shape (n,)."""
    total = np.zeros(n)
    for constraint in constraints:
        total = total + constraint.violation(lookup)
    return total


def _positions(parameter: Parameter, column: NDArray[Any]) -> Index:
    order = np.argsort(parameter.array, kind="stable")
    ranked = parameter.array[order]
    at = np.minimum(np.searchsorted(ranked, column), len(ranked) - 1)
    wrong = ranked[at] != column
    if wrong.any():
        legal = f"one of {list(parameter.values)}"
        raise ChipsmithError(parameter.path, np.asarray(column)[wrong][0].item(), legal)
    return order[at].astype(np.int64)


def _shipped() -> Path:
    """Folder of the shipped spaces (also inside a wheel)."""
    return Path(str(resources.files("dse"))) / "spaces"


def list_spaces() -> list[str]:
    """Names of the shipped spaces."""
    return sorted(path.stem for path in _shipped().glob("*.yaml"))


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.suffix not in (".yaml", ".yml"):
        if str(path) not in list_spaces():
            raise ChipsmithError("space", str(path), f"{nearest(str(path), list_spaces())}; or a YAML file")
        path = _shipped() / f"{path}.yaml"
    try:
        data = parse_yaml(str(path), path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ChipsmithError(str(path), None, f"cannot be read: {error}") from None
    keys = ("name", "description", "chip", "parameters", "constraints")
    if not isinstance(data, dict):
        raise ChipsmithError(str(path), None, f"a space is a mapping with the keys {', '.join(keys)}")
    for key in data:
        if key not in keys:
            raise ChipsmithError(f"{path}: {key}", None, f"unknown field; {nearest(str(key), keys)}")
    return data


def _parse_constraints(texts: Sequence[str]) -> tuple[Constraint, ...]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise ChipsmithError("constraints", texts, "a list of comparisons")
    return tuple(map(parse_constraint, texts))


def _parse_parameters(base: Chip, specs: Mapping[str, Any]) -> tuple[Parameter, ...]:
    if not isinstance(specs, Mapping) or not specs:
        raise ChipsmithError("parameters", None, "a space needs at least one parameter: field path to values")
    links: dict[str, list[tuple[str, str]]] = {}
    free: dict[str, list[Any]] = {}
    for path, spec in specs.items():
        _check_leaf(base, path)
        form = next(iter(spec)) if isinstance(spec, Mapping) and len(spec) == 1 else ""
        if form in ("same_as", *PARTS):
            links.setdefault(str(spec[form]), []).append((path, form))
        else:
            free[path] = _raw_values(path, spec)
    for target, followers in links.items():
        if target not in free:
            path, form = followers[0]
            raise ChipsmithError(f"parameters.{path}.{form}", target, nearest(target, free))
    return tuple(_with_followers(base, path, raw, links.get(path, [])) for path, raw in free.items())


def _with_followers(base: Chip, path: str, raw: list[Any], followers: Sequence[tuple[str, str]]) -> Parameter:
    """A parameter and the fields that follow it."""
    same = tuple(follower for follower, form in followers if form == "same_as")
    for follower, form in followers:
        if path == SPARSITY or (form == "same_as") == (path == FORMATS):
            legal = f"{', '.join(PARTS)} go with {FORMATS}, same_as with fields of the chip"
            raise ChipsmithError(f"parameters.{follower}.{form}", path, legal)
    parameter = _parameter(base, path, raw, same)
    derived = tuple(
        (follower, tuple(parse_formats(str(v)).part(PARTS[form], f"parameters.{follower}.{form}") for v in raw))
        for follower, form in followers
        if form in PARTS
    )
    for at in range(len(raw)):
        base.with_fields({follower: values[at] for follower, values in derived})
    return replace(parameter, derived=derived)


def _check_leaf(base: Chip, path: str) -> None:
    if path in READERS:
        return
    if not isinstance(path, str):
        raise ChipsmithError("parameters", path, "a parameter is named by its field path, e.g. engines.npu.rows")
    if not isinstance(get_field(base, path), (int, float, str)):
        raise ChipsmithError(f"parameters.{path}", None, "only fields that hold one number or name can vary")


def _raw_values(path: str, spec: Any) -> list[Any]:
    where = f"parameters.{path}"
    if isinstance(spec, (list, tuple)):
        return list(spec)
    if not isinstance(spec, Mapping) or len(spec) != 1 or next(iter(spec)) not in _READERS:
        raise ChipsmithError(where, spec, _FORMS)
    form, given = next(iter(spec.items()))
    return _READERS[form](f"{where}.{form}", given)


def _listed(where: str, given: Any) -> list[Any]:
    if not isinstance(given, (list, tuple)):
        raise ChipsmithError(where, given, "a list of values")
    return list(given)


def _numbers(where: str, given: Any, keys: tuple[str, ...]) -> list[int | float]:
    if not isinstance(given, Mapping) or set(given) != set(keys):
        raise ChipsmithError(where, given, f"a mapping with exactly {', '.join(keys)}")
    for key in keys:
        if isinstance(given[key], bool) or not isinstance(given[key], (int, float)) or not math.isfinite(given[key]):
            raise ChipsmithError(f"{where}.{key}", given[key], "a number (write 1.0e+9, not 1e9)")
    return [given[key] for key in keys]


def _stepped(where: str, given: Any) -> list[Any]:
    low, high, step = _numbers(where, given, ("low", "high", "step"))
    if step <= 0 or high < low:
        raise ChipsmithError(where, dict(given), "low <= high and step > 0")
    steps = round((high - low) / step)
    if not math.isclose(low + steps * step, high, rel_tol=1e-9):
        below = low + math.floor((high - low) / step) * step
        raise ChipsmithError(f"{where}.high", high, f"low plus whole steps, e.g. {below} or {below + step}")
    _check_count(where, steps + 1)
    return [low + i * step for i in range(steps + 1)]


def _powers(where: str, given: Any) -> list[Any]:
    low, high = _numbers(where, given, ("low", "high"))
    for key, value in (("low", low), ("high", high)):
        if value < 1 or value != 2 ** round(math.log2(value)):
            raise ChipsmithError(f"{where}.{key}", value, "a power of two, at least 1")
    if high < low:
        raise ChipsmithError(where, dict(given), "low <= high")
    return [2**i for i in range(round(math.log2(low)), round(math.log2(high)) + 1)]


_READERS: Mapping[str, Callable[[str, Any], list[Any]]] = {"values": _listed, "range": _stepped, "log2": _powers}


def _check_count(where: str, count: int) -> None:
    if count > MOST_VALUES:
        raise ChipsmithError(where, f"{count} values", f"at most {MOST_VALUES} values; choose a larger step")


def _parameter(base: Chip, path: str, raw: list[Any], linked: tuple[str, ...]) -> Parameter:
    """Check the values by building chips that have them, and keep them as those chips hold them."""
    where = f"parameters.{path}"
    if not raw:
        raise ChipsmithError(where, raw, "at least one value")
    _check_count(where, len(raw))
    for value in raw:
        if not isinstance(value, (int, float, str)):
            raise ChipsmithError(where, value, "a value is one number or name")
    values = _variants_held(where, path, raw) if path in READERS else _as_held(base, (path, *linked), raw)
    if len(set(values)) != len(values):
        twice = next(v for v in values if values.count(v) > 1)
        raise ChipsmithError(where, twice, "each value once")
    return Parameter(path, tuple(values), linked)


def _variants_held(where: str, path: str, raw: list[Any]) -> list[Value]:
    for value in raw:
        READERS[path](value, where)
    return list(raw)


def _as_held(base: Chip, paths: tuple[str, ...], raw: list[Any]) -> list[Value]:
    """The values as a chip holds them. Of a long list some, the ends included, are tried; all have their type."""
    tried = sorted({round(i) for i in np.linspace(0, len(raw) - 1, min(len(raw), MOST_TRIED))})
    held = {i: get_field(base.with_fields(dict.fromkeys(paths, raw[i])), paths[0]) for i in tried}
    kind = type(held[0])
    return [held[i] if i in held else kind(value) for i, value in enumerate(raw)]
