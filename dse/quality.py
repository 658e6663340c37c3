"""The quality table: what accuracy a combination of number formats or a sparsity costs, with its source.

A CSV file: one column a varied field path (``workload.formats``, ``workload.sparsity``, or fields of the chip), one
column ``perplexity`` (to be minimised) or ``accuracy`` (to be maximised), one column ``source``. A space that varies
formats or sparsity compares designs of unequal quality; the table makes quality an objective or a constraint of the
study. Tables of published numbers are in dse/quality_tables; a value is comparable within its table only.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from dse.objectives import Floats, Objective
from dse.space import Index, Space
from dse.variants import READERS
from workloads.errors import ChipsmithError, nearest

METRICS: Mapping[str, Objective] = {
    "perplexity": Objective("perplexity", "", "min", "perplexity"),
    "accuracy": Objective("accuracy", "", "max", "accuracy"),
}


@dataclass(frozen=True)
class QualityTable:
    """Quality by configuration.

    Attributes:
        metric: the objective it provides.
        paths: field paths that make up a configuration.
        rows: configuration (texts, in the order of ``paths``) to value.
        sources: configuration to where the value was published.
    """

    metric: Objective
    paths: tuple[str, ...]
    rows: Mapping[tuple[str, ...], float]
    sources: Mapping[tuple[str, ...], str]

    @property
    def fingerprint(self) -> str:
        """Hash of all configurations and values (16 hex digits)."""
        return hashlib.sha256(repr((self.metric.name, self.paths, sorted(self.rows.items()))).encode()).hexdigest()[:16]

    def check(self, space: Space) -> None:
        """Refuse a table that lacks a field or a configuration which the space can reach.

        Raises:
            ChipsmithError: naming what is missing.
        """
        for parameter in space.parameters:
            varied = [path for path in parameter.paths if path in space.varied_precision]
            if varied and not set(varied) & set(self.paths):
                raise ChipsmithError("quality table", None, f"has no column for {varied[0]}, which the space varies")
        for configuration in self._reachable(space):
            if configuration not in self.rows:
                named = ", ".join(f"{p}={v}" for p, v in zip(self.paths, configuration, strict=True))
                raise ChipsmithError("quality table", None, f"has no row for {named}")

    def values(self, space: Space, index: Index) -> Floats:
        """Quality of each design, shape (n,)."""
        keys = self._keys(space, index)
        return np.asarray([self.rows[key] for key in keys], dtype=np.float64)

    def _keys(self, space: Space, index: Index) -> list[tuple[str, ...]]:
        """Configuration of each design."""
        table, work = space.decode(index), space.work_columns(index)
        for path in self.paths:
            if path in READERS and path not in work:
                raise ChipsmithError("quality table", None, f"has a column {path}, which the space does not vary")
        columns = [work[path] if path in work else table.column(path) for path in self.paths]
        return list(zip(*([str(value) for value in column.tolist()] for column in columns), strict=True))

    def _reachable(self, space: Space) -> list[tuple[str, ...]]:
        """Every configuration of the space, linked fields together."""
        mine = [j for j, p in enumerate(space.parameters) if set(p.paths) & set(self.paths)]
        combinations = list(itertools.product(*(range(space.cardinalities[j]) for j in mine)))
        index = np.zeros((len(combinations), len(space.paths)), dtype=np.int64)
        index[:, mine] = combinations
        return self._keys(space, index)


def list_quality() -> list[str]:
    """Names of the shipped tables."""
    return sorted(path.stem for path in _shipped().glob("*.csv"))


def _shipped() -> Path:
    """Folder of the shipped tables (also inside a wheel)."""
    return Path(str(resources.files("dse"))) / "quality_tables"


def load_quality(path: str | Path) -> QualityTable:
    """Read a quality table: a CSV file, or the name of a shipped one (see :func:`list_quality`).

    Raises:
        ChipsmithError: unknown name, unreadable file, no or several metric columns, no source, a value that is no
            number, a configuration that stands there twice.
    """
    file = Path(path)
    if file.suffix != ".csv":
        if str(path) not in list_quality():
            raise ChipsmithError("quality table", str(path), f"{nearest(str(path), list_quality())}; or a CSV file")
        file = _shipped() / f"{path}.csv"
    try:
        with file.open(newline="", encoding="utf-8") as handle:
            reader = csv.DictReader(handle, strict=True)
            header = tuple(reader.fieldnames or ())
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ChipsmithError(str(file), None, f"cannot be read: {error}") from None
    metric, paths = _columns(str(file), header)
    return _table(str(file), metric, paths, rows)


def _columns(where: str, header: tuple[str, ...]) -> tuple[Objective, tuple[str, ...]]:
    metrics = [name for name in header if name in METRICS]
    if len(metrics) != 1 or "source" not in header:
        legal = "needs field paths, a column 'source' and one of the columns perplexity, accuracy"
        raise ChipsmithError(where, ",".join(header), legal)
    paths = tuple(name for name in header if name not in (*METRICS, "source"))
    if not paths:
        raise ChipsmithError(where, ",".join(header), "needs at least one column named by a field path")
    return METRICS[metrics[0]], paths


def _table(where: str, metric: Objective, paths: tuple[str, ...], rows: list[dict[str, str]]) -> QualityTable:
    values: dict[tuple[str, ...], float] = {}
    sources: dict[tuple[str, ...], str] = {}
    for line, row in enumerate(rows, start=2):
        key = tuple((row[path] or "").strip() for path in paths)
        if key in values:
            raise ChipsmithError(f"{where}:{line}", ",".join(key), "each configuration once")
        values[key] = _number(f"{where}:{line}: {metric.name}", row[metric.name])
        sources[key] = _source(f"{where}:{line}: source", row["source"])
    return QualityTable(metric, paths, values, sources)


def _number(where: str, text: str | None) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ChipsmithError(where, text or "", "a finite number")
    return value


def _source(where: str, text: str | None) -> str:
    if not (text or "").strip():
        raise ChipsmithError(where, "", "every value names where it was published or measured")
    return str(text).strip()


def check_iso_quality(space: Space, iso_quality: str, quality: QualityTable | None, used: set[str]) -> None:
    """Refuse to compare designs of unequal quality unless quality is judged, or the user says it need not be.

    Args:
        space: the space.
        iso_quality: ``required`` or ``none``.
        quality: the table, if any.
        used: names of all objectives and of everything that constraints mention.

    Raises:
        ChipsmithError: naming the varied fields and the three ways out.
    """
    if iso_quality not in ("required", "none"):
        raise ChipsmithError("iso_quality", iso_quality, nearest(str(iso_quality), ("required", "none")))
    if quality is not None:
        quality.check(space)
    if not space.varied_precision or iso_quality == "none":
        return
    ways = "or say iso_quality='none', which marks every figure"
    where = f"space varies {', '.join(space.varied_precision)}"
    if quality is None:
        raise ChipsmithError(where, None, f"give a quality table (configuration to perplexity), {ways}")
    if quality.metric.name not in used:
        raise ChipsmithError(where, None, f"make {quality.metric.name} an objective or a constraint, {ways}")
