"""What an adapter is: it turns the ``hardware`` and ``workload`` of a record into predicted metrics.

An adapter is a file of this folder that holds ``ADAPTER``. It sees nothing else of a record: neither ``expect`` nor
``id`` nor ``reported`` can leak into a prediction. It builds a Chip, a Mapping and a Trace and calls ``simulate``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Any

import chipsmith.adapters
from models.chip import Chip, parse_chip
from sim.mapping import Mapping as GivenMapping
from sim.result import OpResult, Result
from sim.simulate import simulate
from workloads.errors import ChipsmithError, nearest
from workloads.trace import Operator, Segment, Trace

#: A predicted metric: a number, or one number a core where the order of the cores means nothing.
Value = float | tuple[float, ...]

_FORMATS = {1: "int8", 2: "fp16", 4: "fp32"}
#: Memory that holds every GEMM of a record; records state bandwidth, not capacity.
AMPLE_BYTES = 2**44
_CHIPS_KEPT = 512


class NotModelledError(Exception):
    """A record that the models do not cover; the text is the reason."""


@dataclass(frozen=True)
class Fields:
    """Typed access to ``hardware`` or ``workload`` of one record; hashable, so that chips can be kept by it.

    Attributes:
        items: (key, value) pairs in order; lists as tuples.
        where: path for messages, ``file.jsonl:12.hardware``.
    """

    items: tuple[tuple[str, Any], ...]
    where: str = field(default="", compare=False)

    @staticmethod
    def of(data: Mapping[str, Any], where: str) -> Fields:
        """Fields of plain data."""
        return Fields(tuple((key, _frozen(value, f"{where}.{key}")) for key, value in data.items()), where)

    def get(self, key: str) -> Any:
        """Value of a key, None where it is absent or null."""
        return next((value for name, value in self.items if name == key), None)

    def _required(self, key: str) -> Any:
        value = self.get(key)
        if value is None:
            raise ChipsmithError(f"{self.where}.{key}", None, "this key is required")
        return value

    def number(self, key: str) -> float:
        """A finite number above zero.

        Raises:
            ChipsmithError: missing, or something else.
        """
        value = self._required(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            raise ChipsmithError(f"{self.where}.{key}", value, "a number above 0 is required")
        return value

    def whole(self, key: str) -> int:
        """A whole number above zero.

        Raises:
            ChipsmithError: missing, or something else.
        """
        value = self.number(key)
        if value != int(value):
            raise ChipsmithError(f"{self.where}.{key}", value, "a whole number above 0 is required")
        return int(value)

    def word(self, key: str, legal: tuple[str, ...] = ()) -> str:
        """A word, one of ``legal`` where given.

        Raises:
            ChipsmithError: missing, no text, or not a legal one.
        """
        value = self._required(key)
        if not isinstance(value, str):
            raise ChipsmithError(f"{self.where}.{key}", value, "a text is required")
        if legal and value not in legal:
            raise ChipsmithError(f"{self.where}.{key}", value, nearest(value, legal))
        return value

    def number_format(self, key: str) -> str:
        """Number format of a key that counts bytes per element.

        Raises:
            ChipsmithError: missing, or no width of a known format.
        """
        value = self.whole(key)
        if value not in _FORMATS:
            raise ChipsmithError(f"{self.where}.{key}", value, "1, 2 or 4 bytes per element")
        return _FORMATS[value]


def _frozen(value: Any, where: str) -> Any:
    if isinstance(value, Mapping):
        return Fields.of(value, where)
    return tuple(_frozen(item, where) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class Again:
    """An expected metric predicted in another way, which has a row of its own.

    Attributes:
        metric: name in ``expect``. fidelity: as given to ``simulate``.
        value: the prediction, None where there is none. reason: why not.
    """

    metric: str
    fidelity: str
    value: Value | None = None
    reason: str = ""


@dataclass(frozen=True)
class Prediction:
    """What our models say about one record.

    Attributes:
        metrics: predicted value by metric, under the names of ``expect``.
        null: the same from the null model (roofline), where it says anything.
        floors: a lower bound by metric: the reference is then the larger of the expected value and this one, and
            the comparison is one-sided (for sources that are known to go below what is possible).
        own: (ours, ours in another way) by name, for comparisons within our models.
        fitted: names of the fitted constants that the prediction rests on.
        again: name of a row to a prediction in another way, without fitted constants.
    """

    metrics: Mapping[str, Value]
    null: Mapping[str, Value] = field(default_factory=dict)
    floors: Mapping[str, float] = field(default_factory=dict)
    own: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    fitted: frozenset[str] = frozenset()
    again: Mapping[str, Again] = field(default_factory=dict)


@dataclass(frozen=True)
class Adapter:
    """A source family, or some sources of one.

    Attributes:
        family: family of the records.
        predict: (hardware, workload) -> prediction; None where the family is not modelled.
        sources: beginnings of the source names it takes; empty: all others of the family.
        reason: why nothing is predicted, where ``predict`` is None.
        fidelity, mapping: as given to ``simulate``.
        quirks: design choices of the source that are modelled as explicit options.
        fitted_file: file of the fitted constants, below the package root.
        not_compared: expected metrics that are left out, with the reason.
        misses: what the translation leaves out, one line.
    """

    family: str
    predict: Callable[[Fields, Fields], Prediction] | None = None
    sources: tuple[str, ...] = ()
    reason: str = ""
    fidelity: str = "tile"
    mapping: str = "auto"
    quirks: tuple[str, ...] = ()
    fitted_file: str = ""
    not_compared: Mapping[str, str] = field(default_factory=dict)
    misses: str = ""


@cache
def adapters() -> tuple[Adapter, ...]:
    """All adapters of this folder."""
    names = sorted(info.name for info in pkgutil.iter_modules(chipsmith.adapters.__path__))
    modules = (importlib.import_module(f"chipsmith.adapters.{name}") for name in names)
    return tuple(found for module in modules if isinstance(found := getattr(module, "ADAPTER", None), Adapter))


def families() -> list[str]:
    """Families that have an adapter, modelled or not."""
    return sorted({adapter.family for adapter in adapters()})


@cache
def find_adapter(family: str, source: str) -> Adapter:
    """The adapter of a source: one that names it, else the family's general one, else one that skips it."""
    mine = [adapter for adapter in adapters() if adapter.family == family]
    named = [adapter for adapter in mine if adapter.sources and source.startswith(adapter.sources)]
    general = [adapter for adapter in mine if not adapter.sources]
    missing = Adapter(family, reason=f"no adapter for family {family!r}; {nearest(family, families())}")
    return (named + general + [missing])[0]


def predict(adapter: Adapter, record: Mapping[str, Any], where: str) -> Prediction:
    """Predict one record from its ``hardware`` and ``workload`` alone.

    Raises:
        NotModelledError: the family or this record is not modelled.
        ChipsmithError: a key is missing or illegal.
    """
    if adapter.predict is None:
        raise NotModelledError(adapter.reason)
    hardware = Fields.of(record["hardware"], f"{where}.hardware")
    return adapter.predict(hardware, Fields.of(record["workload"], f"{where}.workload"))


def keep_chips(build: Callable[[Fields], dict[str, Any]]) -> Callable[[Fields], Chip]:
    """Make a function that builds the Chip of a machine once; errors name the record's hardware."""

    @lru_cache(maxsize=_CHIPS_KEPT)
    def chip_of(hardware: Fields) -> Chip:
        data = build(hardware)
        try:
            return parse_chip(data)
        except ChipsmithError as error:
            raise ChipsmithError(hardware.where, None, f"it makes no legal chip: {error}") from None

    return chip_of


def gemm_sizes(workload: Fields) -> tuple[int, int, int]:
    """(m, k, n) of a GEMM record.

    Raises:
        NotModelledError: another operator.
        ChipsmithError: a key is missing or illegal.
    """
    op = workload.word("op")
    if op != "gemm":
        raise NotModelledError(f"operator {op!r} is not modelled by this adapter")
    return workload.whole("m"), workload.whole("k"), workload.whole("n")


def gemm_trace(m: int, k: int, n: int, act: str, weight: str, out: str) -> Trace:
    """A trace of one cold GEMM, m x k activations times k x n weights."""
    return Trace("gemm", (Operator("gemm", "gemm", 0, (Segment(m),), k=k, n=n, act=act, weight=weight, out=out),))


def simulated(trace: Trace, chip: Chip, mapping: str | GivenMapping = "auto", fidelity: str = "tile") -> Result:
    """``simulate``, with what it refuses as the reason for a skip.

    Raises:
        NotModelledError: with the simulator's words.
    """
    try:
        return simulate(trace, chip, mapping, fidelity)
    except ChipsmithError as error:
        raise NotModelledError(f"refused: {error}") from None


def only(result: Result) -> OpResult:
    """The single operator of a result."""
    (op,) = result.ops
    return op
