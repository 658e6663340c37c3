"""Validation: run reference records on the models and say how far off they are, per source and metric."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chipsmith.adapters.base import Adapter, Again, NotModelledError, Prediction, Value, families, find_adapter, predict
from chipsmith.records import Record, read_records
from workloads.errors import ChipsmithError, nearest

#: Metric name of sources of which nothing is compared.
ALL = "*"
#: Least share of the records of a modelled source that must be compared, %.
LEAST_COVERAGE_PCT = 90.0
#: A one-sided comparison is good from the reference up to this much above it, %.
ONE_SIDED_PCT = 5.0
_ROUNDING_PCT = 1e-9
#: Sources print fractions with this many significant digits; what vanishes in them is rounding, not error.
_DIGITS = 6
_NOT_PREDICTED = "the adapter predicts no such metric"


@dataclass(frozen=True)
class Comparison:
    """One metric of one record.

    Attributes:
        record: where it comes from.
        metric: name as in ``expect``; kind: ``error``, ``one-sided`` or ``own`` (ours against ours).
        reference: what is compared with (one-sided: the larger of the expected value and the lower bound).
        floor: the lower bound, None where there is none.
        predicted, null: our models', the null model's value; None where there is none.
        error_pct, null_error_pct: signed; lists as multisets: sum of differences over the sum.
        skip_reason: why nothing is compared, empty where something is.
        fidelity: where it is another one than the adapter's.
    """

    record: Record
    adapter: Adapter
    metric: str
    kind: str = "error"
    reference: float | None = None
    floor: float | None = None
    predicted: float | None = None
    null: float | None = None
    error_pct: float | None = None
    null_error_pct: float | None = None
    skip_reason: str = ""
    fitted: frozenset[str] = frozenset()
    fidelity: str = ""


@dataclass(frozen=True)
class Worst:
    """A record with a large error."""

    id: str
    reference: float
    predicted: float
    error_pct: float


@dataclass(frozen=True)
class OneSided:
    """How records of a one-sided comparison fall: up to 5 % above the reference, below it, further above it."""

    within: int
    faster: int
    slower: int
    below_bound: int


@dataclass(frozen=True)
class Ratio:
    """Ours over ours in another way: smallest, mean and largest; how many are above 1."""

    smallest: float
    mean: float
    largest: float
    above_1: int


@dataclass(frozen=True)
class SourceRow:
    """One metric of one source.

    Attributes:
        source, family, metric: what; ``*`` where no metric of the source is compared.
        n, skipped: records compared and not.
        mape_pct, bias_pct, max_ape_pct: mean absolute, mean signed and largest absolute percentage error. An
            expected zero counts 0 % when met and 100 % when not.
        worst_id: record of the largest error.
        kendall_tau: rank correlation (tau-b) of predicted and reference values, None below two distinct values.
        null_mape_pct: the same error of the null model, the roofline of the same chip.
        kind: ``error``; ``one-sided``: against the larger of the source and a lower bound; ``own``: see ``ratio``.
        authority: kinds of source (simulated, derived, published, measured).
        coverage_pct: records of the source with something compared.
        skip_reasons: reason to count.
        fidelity, mapping, quirks: how the models ran.
        fitted_constants, fitted_file: how many constants behind the predictions were fitted, and where they stand.
        misses: what the translation leaves out.
        one_sided, ratio: counts of that kind of comparison. worst: the worst records, largest error first.
    """

    source: str
    family: str
    metric: str
    n: int
    skipped: int
    mape_pct: float | None
    bias_pct: float | None
    max_ape_pct: float | None
    worst_id: str | None
    kendall_tau: float | None
    null_mape_pct: float | None
    kind: str
    authority: tuple[str, ...]
    coverage_pct: float
    skip_reasons: Mapping[str, int]
    fidelity: str | None
    mapping: str | None
    quirks: tuple[str, ...]
    fitted_constants: int
    fitted_file: str | None
    misses: str
    one_sided: OneSided | None
    ratio: Ratio | None
    worst: tuple[Worst, ...]
    claimed: bool


@dataclass(frozen=True)
class Report:
    """All rows, and the comparisons behind them in file order."""

    rows: tuple[SourceRow, ...]
    comparisons: tuple[Comparison, ...]

    def misses(self, max_mape_pct: float | None = None) -> list[str]:
        """One sentence for every threshold that is missed: coverage of a modelled source, mean error of a metric."""
        found = dict.fromkeys(
            f"{row.source} ({row.family}): {row.coverage_pct:.4g} % of the records compared, "
            f"at least {LEAST_COVERAGE_PCT:g} % required"
            for row in self.rows
            if row.claimed and row.coverage_pct < LEAST_COVERAGE_PCT
        )
        if max_mape_pct is not None:
            found |= dict.fromkeys(
                f"{row.source} {row.metric}: mean error {row.mape_pct:.4g} %, at most {max_mape_pct:g} % allowed"
                for row in self.rows
                if row.mape_pct is not None and row.mape_pct > max_mape_pct
            )
        return list(found)


def validate(files: Sequence[str | Path], families: Sequence[str] | None = None) -> list[SourceRow]:
    """Run reference records on the models.

    Args:
        files: JSON Lines files of records.
        families: only records of these families; all where None.

    Returns:
        One row per source and metric, in order of appearance.

    Raises:
        ChipsmithError: a bad file or record (file, line and key are named), or an unknown family.
    """
    return list(compare(files, families).rows)


def compare(files: Sequence[str | Path], families: Sequence[str] | None = None, worst: int = 1) -> Report:
    """As :func:`validate`, with the comparisons themselves and the ``worst`` records of each row."""
    records = _chosen(read_records(files), families)
    comparisons = tuple(found for record in records for found in compare_record(record))
    return Report(tuple(_rows(comparisons, worst)), comparisons)


def _chosen(records: list[Record], wanted: Sequence[str] | None) -> list[Record]:
    if wanted is None:
        return records
    known = {*families(), *(record.family for record in records)}
    for family in wanted:
        if family not in known:
            raise ChipsmithError("families", family, nearest(family, known))
    return [record for record in records if record.family in wanted]


# ---------------------------------------------------------------- one record


def compare_record(record: Record) -> list[Comparison]:
    """Predict a record and compare what it expects; adapters see only its hardware and workload."""
    adapter = find_adapter(record.family, record.source)
    try:
        prediction = predict(adapter, record.data, record.where)
    except NotModelledError as reason:
        metrics = _expected(record) if adapter.predict else ()
        return [Comparison(record, adapter, metric, skip_reason=str(reason)) for metric in metrics or (ALL,)]
    found = [_compare(record, adapter, prediction, *item) for item in _expected(record, prediction).items()]
    again = [
        _again(record, adapter, prediction, name, way)
        for name, way in prediction.again.items()
        if way.metric in record.data["expect"]
    ]
    return (found or [Comparison(record, adapter, ALL, skip_reason="it expects nothing")]) + [
        *again,
        *(_own(record, adapter, prediction, name) for name in prediction.own),
    ]


def _again(record: Record, adapter: Adapter, prediction: Prediction, name: str, way: Again) -> Comparison:
    """An expected metric against a prediction in another way, as a metric of its own."""
    if way.value is None:
        return Comparison(record, adapter, name, skip_reason=way.reason, fidelity=way.fidelity)
    other = Prediction({**prediction.metrics, way.metric: way.value}, prediction.null, prediction.floors)
    found = _compare(record, adapter, other, way.metric, record.data["expect"][way.metric])
    return replace(found, metric=name, fidelity=way.fidelity)


def _expected(record: Record, prediction: Prediction | None = None) -> dict[str, Any]:
    """Expected values by metric.

    ``{"metric": name, "value": ...}`` is the metric of that name, or one a key of it. Of any other table (stage to
    cycles) each entry is a metric where the adapter predicts one.
    """
    expect = record.data["expect"]
    if "metric" in expect and "value" in expect:
        return _by_name(str(expect["metric"]), expect["value"])
    predicted = prediction.metrics.keys() if prediction else ()
    found: dict[str, Any] = {}
    for metric, value in expect.items():
        parts = _by_name(metric, value)
        found |= parts if any(name in predicted for name in parts) else {metric: value}
    return found


def _by_name(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {path: found for key, part in value.items() for path, found in _by_name(f"{name}.{key}", part).items()}


def _compare(record: Record, adapter: Adapter, prediction: Prediction, metric: str, expected: Any) -> Comparison:
    reason = _why_not(adapter, prediction, metric, expected)
    if reason:
        return Comparison(record, adapter, metric, skip_reason=reason)
    reference: Value = tuple(expected) if isinstance(expected, list) else expected
    floor = prediction.floors.get(metric)
    if floor is not None:
        reference = max(total(reference), floor)
    null = prediction.null.get(metric)
    return Comparison(
        record,
        adapter,
        metric,
        kind="error" if floor is None else "one-sided",
        reference=total(reference),
        floor=floor,
        predicted=total(prediction.metrics[metric]),
        null=None if null is None else total(null),
        error_pct=error_pct(prediction.metrics[metric], reference),
        null_error_pct=None if null is None else error_pct(null, reference),
        fitted=prediction.fitted,
    )


def _why_not(adapter: Adapter, prediction: Prediction, metric: str, expected: Any) -> str:
    """Why a metric is not compared, empty where it is."""
    if metric in adapter.not_compared:
        return adapter.not_compared[metric]
    if metric not in prediction.metrics:
        return _NOT_PREDICTED
    items = expected if isinstance(expected, list) and expected else [expected]
    numbers = all(isinstance(item, int | float) and not isinstance(item, bool) for item in items)
    return "" if numbers else f"no number is expected but {expected!r}"


def _own(record: Record, adapter: Adapter, prediction: Prediction, name: str) -> Comparison:
    ours, other = prediction.own[name]
    error = error_pct(ours, other)
    return Comparison(record, adapter, name, "own", other, None, ours, None, error, None, "", prediction.fitted)


def total(value: Value) -> float:
    """A number, or the sum over cores."""
    return float(sum(value)) if isinstance(value, tuple) else float(value)


def error_pct(predicted: Value, expected: Value) -> float:
    """Signed error in %. Two lists are compared as multisets; a list and a number by the list's sum.

    An expected zero gives 0 % when it is met, else 100 % with the sign of the prediction. A fraction is met when
    both values have the same six significant digits; a whole number only when it is equal.
    """
    if isinstance(predicted, tuple) and isinstance(expected, tuple):
        return _multiset_error_pct(predicted, expected)
    ours, theirs = total(predicted), total(expected)
    if theirs == 0:
        return 0.0 if ours == 0 else math.copysign(100.0, ours)
    if not theirs.is_integer() and _rounded(ours) == _rounded(theirs):
        return 0.0
    return 100.0 * (ours - theirs) / abs(theirs)


def _rounded(value: float) -> str:
    return f"{value:.{_DIGITS}g}"


def _multiset_error_pct(predicted: tuple[float, ...], expected: tuple[float, ...]) -> float:
    length = max(len(predicted), len(expected))
    ours, theirs = (sorted((*values, *[0.0] * (length - len(values)))) for values in (predicted, expected))
    off = sum(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    scale = sum(map(abs, theirs))
    if scale == 0:
        return 0.0 if off == 0 else math.copysign(100.0, sum(ours))
    return math.copysign(100.0 * off / scale, sum(ours) - sum(theirs))


# ---------------------------------------------------------------- one row


def _rows(comparisons: Iterable[Comparison], worst: int) -> list[SourceRow]:
    groups: dict[tuple[str, str, str], list[Comparison]] = {}
    seen: dict[tuple[str, str], set[str]] = {}
    compared: dict[tuple[str, str], set[str]] = {}
    for item in comparisons:
        source = (item.record.family, item.record.source)
        groups.setdefault((*source, item.metric), []).append(item)
        seen.setdefault(source, set()).add(item.record.where)
        if not item.skip_reason:
            compared.setdefault(source, set()).add(item.record.where)
    return [
        _row(key, group, 100.0 * len(compared.get(key[:2], ())) / len(seen[key[:2]]), worst)
        for key, group in groups.items()
    ]


def _row(key: tuple[str, str, str], group: Sequence[Comparison], coverage_pct: float, worst: int) -> SourceRow:
    family, source, metric = key
    done = [item for item in group if not item.skip_reason]
    adapter = group[0].adapter
    kind = done[0].kind if done else "error"
    fitted = frozenset(name for item in done for name in item.fitted)
    return SourceRow(
        source=source,
        family=family,
        metric=metric,
        n=len(done),
        skipped=len(group) - len(done),
        **(_errors(done) if kind != "own" else dict.fromkeys(_ERRORS)),
        kind=kind,
        authority=tuple(sorted({str(item.record.data["source"].get("kind", "not stated")) for item in group})),
        coverage_pct=coverage_pct,
        skip_reasons=dict(Counter(item.skip_reason for item in group if item.skip_reason)),
        fidelity=(done[0].fidelity or adapter.fidelity) if done else None,
        mapping=adapter.mapping if done else None,
        quirks=adapter.quirks if done else (),
        fitted_constants=len(fitted),
        fitted_file=adapter.fitted_file if fitted else None,
        misses=adapter.misses if done else "",
        one_sided=_one_sided(done) if kind == "one-sided" else None,
        ratio=_ratio(done) if kind == "own" else None,
        worst=_worst(done, worst),
        claimed=adapter.predict is not None,
    )


_ERRORS = ("mape_pct", "bias_pct", "max_ape_pct", "worst_id", "kendall_tau", "null_mape_pct")


def _errors(done: Sequence[Comparison]) -> dict[str, Any]:
    """The error statistics of compared metrics; all None without any."""
    if not done:
        return dict.fromkeys(_ERRORS)
    errors = [item.error_pct or 0.0 for item in done]
    null = [abs(item.null_error_pct) for item in done if item.null_error_pct is not None]
    (worst,) = _worst(done, 1)
    return {
        "mape_pct": sum(map(abs, errors)) / len(errors),
        "bias_pct": sum(errors) / len(errors),
        "max_ape_pct": abs(worst.error_pct),
        "worst_id": worst.id,
        "kendall_tau": kendall_tau([item.predicted or 0.0 for item in done], [item.reference or 0.0 for item in done]),
        "null_mape_pct": sum(null) / len(null) if null else None,
    }


def kendall_tau(ours: Sequence[float], theirs: Sequence[float]) -> float | None:
    """Kendall's tau-b of two rankings; None where one of them ranks nothing (fewer than two distinct values)."""
    x, y = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    score = pairs_x = pairs_y = 0
    for i in range(len(x) - 1):
        up_x, up_y = np.sign(x[i + 1 :] - x[i]), np.sign(y[i + 1 :] - y[i])
        score += int(up_x @ up_y)
        pairs_x += int(np.count_nonzero(up_x))
        pairs_y += int(np.count_nonzero(up_y))
    return score / math.sqrt(pairs_x * pairs_y) if pairs_x and pairs_y else None


def _worst(done: Sequence[Comparison], count: int) -> tuple[Worst, ...]:
    """The largest errors first; ties in file order."""
    ordered = sorted(done, key=lambda item: -abs(item.error_pct or 0.0))[:count]
    return tuple(
        Worst(str(item.record.data["id"]), item.reference or 0.0, item.predicted or 0.0, item.error_pct or 0.0)
        for item in ordered
    )


def _one_sided(done: Sequence[Comparison]) -> OneSided:
    errors = [item.error_pct or 0.0 for item in done]
    return OneSided(
        within=sum(-_ROUNDING_PCT <= error <= ONE_SIDED_PCT for error in errors),
        faster=sum(error < -_ROUNDING_PCT for error in errors),
        slower=sum(error > ONE_SIDED_PCT for error in errors),
        below_bound=sum((item.predicted or 0.0) < (item.floor or 0.0) * (1 - 1e-12) for item in done),
    )


def _ratio(done: Sequence[Comparison]) -> Ratio:
    ratios = [(item.predicted or 0.0) / (item.reference or 1.0) for item in done]
    return Ratio(min(ratios), sum(ratios) / len(ratios), max(ratios), sum(ratio > 1 for ratio in ratios))
