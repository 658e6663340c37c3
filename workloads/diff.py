"""Two traces side by side: what each kind of operator (or each operator) computes and moves, and why it differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

from workloads.errors import ChipsmithError, nearest
from workloads.trace import Operator, Trace

#: Name of a measure -> its value for one iteration of a row.
MEASURES: Mapping[str, Callable[[Operator], int]] = {
    "macs": lambda op: op.macs,
    "weight_bytes": lambda op: op.weight_bytes,
    "kv_bytes": lambda op: op.kv_read_bytes + op.kv_write_bytes,
    "activation_bytes": lambda op: op.input_bytes + op.output_bytes,
}
GROUPINGS = ("kind", "name")
#: One GEMM that another trace may have as several: its name ends so -> theirs do.
MERGED: Mapping[str, tuple[str, ...]] = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
}
_FACTS = ("model", "phase", "batch", "precision", "tensor_parallel", "expert_parallel", "moe", "logits")
_UNCOMPARED = ("name", "block", "inputs", "outputs", "device_group")
_NAMES_SHOWN = 4


@dataclass(frozen=True, slots=True)
class Line:
    """One kind (or operator) in both traces, all iterations.

    Attributes:
        name: of the kind or operator.
        left, right: value of each measure in the first and the second trace.
    """

    name: str
    left: Mapping[str, int]
    right: Mapping[str, int]

    def percent(self, measure: str) -> float | None:
        """Second trace relative to the first in percent; None where only the second has any."""
        left, right = self.left[measure], self.right[measure]
        if left == right:
            return 0.0
        return 100.0 * (right - left) / left if left else None


@dataclass(frozen=True, slots=True)
class Difference:
    """Two traces compared.

    Attributes:
        names: of both traces.
        by: ``kind`` or ``name``.
        lines: one a kind or operator, in the order of the first trace, then those of the second alone.
        total: all operators together.
        reasons: what differs, in words; empty where nothing does.
    """

    names: tuple[str, str]
    by: str
    lines: tuple[Line, ...]
    total: Line
    reasons: tuple[str, ...]

    def worst(self, measures: Iterable[str] = tuple(MEASURES)) -> tuple[Line, str, float]:
        """(line, measure, percent) of the largest difference; infinite where only the second trace has any."""
        cases = [(line, measure, _size(line.percent(measure))) for line in self.lines for measure in measures]
        return max(cases, key=lambda case: case[2])

    def to_dict(self) -> dict[str, object]:
        """Plain JSON types."""
        return {
            "left": self.names[0],
            "right": self.names[1],
            "by": self.by,
            "rows": [_row(line) for line in self.lines],
            "total": _row(self.total),
            "reasons": list(self.reasons),
        }


def _size(percent: float | None) -> float:
    return float("inf") if percent is None else abs(percent)


def _row(line: Line) -> dict[str, object]:
    values = {m: {"left": line.left[m], "right": line.right[m], "percent": line.percent(m)} for m in MEASURES}
    return {"name": line.name, **values}


def short_name(op: Operator) -> str:
    """Name of a row without its block: ``layer.q_proj`` -> ``q_proj``."""
    return op.name.rpartition(".")[2]


def diff(left: Trace, right: Trace, by: str = "kind") -> Difference:
    """Compare two traces.

    Args:
        left, right: the traces; differences are relative to the left one.
        by: group rows by ``kind``, or by ``name`` (without the block, so that layers of all blocks stand together).

    Raises:
        ChipsmithError: another grouping.
    """
    if by not in GROUPINGS:
        raise ChipsmithError("by", by, nearest(by, GROUPINGS))
    merged = _merged(left, right)
    key = _key(by, merged)
    sums = [_sums(trace, key) for trace in (left, right)]
    lines = tuple(_line(name, sums) for name in dict.fromkeys((*sums[0], *sums[1])))
    total = _line("total", [_sums(trace, lambda _: "total") for trace in (left, right)])
    return Difference((left.name, right.name), by, lines, total, tuple(_reasons(left, right, merged)))


def _merged(left: Trace, right: Trace) -> dict[str, str]:
    """Name of a GEMM -> name of the merged one that stands for it in the other trace."""
    names = [{short_name(op) for op in trace.ops} for trace in (left, right)]
    found: dict[str, str] = {}
    for mine, other in (names, reversed(names)):
        for name in mine - other:
            for ending, parts in MERGED.items():
                apart = [name.removesuffix(ending) + part for part in parts]
                if name.endswith(ending) and set(apart) <= other - mine:
                    found.update(dict.fromkeys(apart, name))
    return found


def _key(by: str, merged: Mapping[str, str]) -> Callable[[Operator], str]:
    if by == "kind":
        return lambda op: op.kind
    return lambda op: merged.get(short_name(op), short_name(op))


def _line(name: str, sums: Sequence[Mapping[str, Mapping[str, int]]]) -> Line:
    nothing = dict.fromkeys(MEASURES, 0)
    return Line(name, sums[0].get(name, nothing), sums[1].get(name, nothing))


def _sums(trace: Trace, key: Callable[[Operator], str]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for op in trace.ops:
        sums = found.setdefault(key(op), dict.fromkeys(MEASURES, 0))
        for name, measure in MEASURES.items():
            sums[name] += measure(op) * trace.blocks[op.block].count
    return found


# ---------------------------------------------------------------- why


def _reasons(left: Trace, right: Trace, merged: Mapping[str, str]) -> Iterable[str]:
    yield from _facts(left, right)
    for name in dict.fromkeys(merged.values()):
        parts = ", ".join(sorted(part for part, whole in merged.items() if whole == name))
        yield f"{name} is one GEMM in one trace, {parts} in the other: inputs are read once instead of several times"
    rows = [_by_name(trace) for trace in (left, right)]
    for mine, other, where in ((rows[0], rows[1], "first"), (rows[1], rows[0], "second")):
        alone = [n for n in mine if n not in other and n not in merged and n not in merged.values()]
        if alone:
            yield f"only in the {where}: {_listed(alone)}"
    yield from _fields(rows[0], rows[1])


def _facts(left: Trace, right: Trace) -> Iterable[str]:
    for name in _FACTS:
        mine, other = left.meta.get(name), right.meta.get(name)
        if mine != other and None not in (mine, other):
            yield f"{name}: {_shown(mine, other)} against {_shown(other, mine)}"


def _shown(value: object, other: object) -> object:
    """A fact; of an object only what the other one has differently."""
    if isinstance(value, dict) and isinstance(other, dict):
        return {key: item for key, item in value.items() if other.get(key) != item}
    return value


def _by_name(trace: Trace) -> dict[str, list[tuple[Operator, int]]]:
    found: dict[str, list[tuple[Operator, int]]] = defaultdict(list)
    for op in trace.ops:
        found[short_name(op)].append((op, trace.blocks[op.block].count))
    return dict(found)


def _fields(
    left: Mapping[str, list[tuple[Operator, int]]], right: Mapping[str, list[tuple[Operator, int]]]
) -> Iterable[str]:
    """Fields in which operators of the same name differ, one line for each pair of values."""
    found: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name in left:
        if name in right:
            for field, mine, other in _changes(left[name], right[name]):
                found[field, mine, other].append(name)
    for (field, mine, other), names in found.items():
        yield f"{field}: {mine} against {other} in {_listed(names)}"


def _changes(left: list[tuple[Operator, int]], right: list[tuple[Operator, int]]) -> Iterable[tuple[str, str, str]]:
    counts = [sum(count for _, count in rows) for rows in (left, right)]
    if counts[0] != counts[1]:
        yield "iterations", str(counts[0]), str(counts[1])
    for item in fields(Operator):
        if item.name not in _UNCOMPARED:
            mine, other = (_values(rows, item.name) for rows in (left, right))
            if mine != other:
                yield item.name, mine, other


def _values(rows: list[tuple[Operator, int]], field: str) -> str:
    """The different values of a field, as a text."""
    values = dict.fromkeys(_field_text(op, field) for op, _ in rows)
    return ", ".join(sorted(values))


def _field_text(op: Operator, field: str) -> str:
    if field == "segments":
        groups = [f"{s.multiplicity} x {s.new_tokens}" + f" after {s.context}" * (s.context > 0) for s in op.segments]
        return " + ".join(groups[:_NAMES_SHOWN]) + " ..." * (len(groups) > _NAMES_SHOWN)
    return str(getattr(op, field))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
