"""The conformance suite of engines: what every family must keep, for whoever adds one.

    from sim.conformance import check_engine, standard_traces
    check_engine(ENGINE, chip, standard_traces())

Rules, each named in the message of a violation:

``kernels``       a kernel for every kind that the engine takes, at every fidelity
``status``        every operator is priced at ``bound``; at ``tile`` an operator may be refused, but not all
``finite``        no demand is negative, infinite or not a number
``identity``      ``cycles == fixed + max(busy, amount / capacity)`` over the resources that the engine names
``floor``         ``bound`` is never slower than ``tile``
``conservation``  MACs, compulsory memory bytes and bytes on the wire of the operator are all in the events
``repeatable``    the same call gives the same bits, alone and in a table of several chips
``replay``        a mapping, written as data and read back, prices to the same bits
``kernel``        the compiled loop and the kernel agree on a given mapping
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isclose
from typing import Any

import numpy as np

from models.chip import Chip, ChipTable
from sim.demand import AUTO, DEMAND, GIVEN, KERNEL_FIDELITIES, OK, STATUS_TEXT
from sim.engine import Array, Engine, new_demands, plain_loop
from sim.lower import Rows, kind_name, lower
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Segment, Trace

_ROUNDING = 1e-9  # seconds and cycles differ by a division and a multiplication
_COPIES = 3  # chips in the table that must equal the chip alone


@dataclass(frozen=True)
class Violation:
    """A broken rule.

    Attributes:
        rule: name, see the module docstring.
        operator: name of the operator, empty where the engine as a whole is meant.
        fidelity: ``bound``, ``tile`` or empty.
        detail: what was found.
    """

    rule: str
    operator: str
    fidelity: str
    detail: str

    def __str__(self) -> str:
        where = " at ".join(part for part in (self.operator, self.fidelity) if part)
        return f"{self.rule}: {where + ': ' if where else ''}{self.detail}"


def check_engine(engine: Engine, chip: Chip, traces: Iterable[Trace]) -> None:
    """Check an engine against every rule.

    Args:
        engine: the family.
        chip: a chip that has an engine of it (or, for a family of links, a link).
        traces: what to price; operators of kinds that the engine does not take are left out.

    Raises:
        AssertionError: listing all violations.
        ChipsmithError: the chip has no such engine, or no trace has an operator for it.
    """
    found = violations(engine, chip, traces)
    if found:
        listed = "\n".join(f"- {violation}" for violation in found)
        raise AssertionError(f"engine {engine.type} breaks {len(found)} rules:\n{listed}")


def violations(engine: Engine, chip: Chip, traces: Iterable[Trace]) -> tuple[Violation, ...]:
    """All broken rules; arguments and errors as :func:`check_engine`."""
    missing = tuple(_missing_kernels(engine))
    subjects = [subject for trace in traces if (subject := _subject(engine, chip, trace)) is not None]
    if not subjects:
        raise ChipsmithError("traces", None, f"at least one operator of kind {', '.join(sorted(engine.kinds))}")
    if missing and engine.loop is None:
        return missing
    return (*missing, *(violation for subject in subjects for violation in _check(subject)))


def standard_traces() -> tuple[Trace, ...]:
    """One small trace for each operator kind: odd sizes, several segments, low-bit formats."""
    return tuple(Trace(op.name, (op,), (), (Block("all"),)) for op in _standard_operators())


def _standard_operators() -> tuple[Operator, ...]:
    one, requests = (Segment(13),), (Segment(1, 100, 3), Segment(9, 0, 2))
    heads: dict[str, Any] = {"heads": 6, "kv_heads": 2, "qk_dim": 16, "v_dim": 8, "kv_width": 48}
    wide: dict[str, Any] = {"width_in": 100, "width_out": 100}
    return (
        Operator("gemm", "gemm", 0, one, k=40, n=70, param_width=70),
        Operator("gemm_int4", "gemm", 0, (Segment(1),), k=64, n=64, act="int8", weight="int4", weight_group=32),
        Operator("experts", "gemm", 0, (Segment(1, 0, 3), Segment(7)), k=32, n=24, per_segment_weights=True),
        Operator("attention", "attention", 0, requests, **heads),
        Operator("attention_window", "attention", 0, requests, window=16, **heads),
        Operator("softmax", "softmax", 0, one, function="softmax", **wide),
        Operator("norm", "norm", 0, one, function="rmsnorm", param_width=100, **wide),
        Operator("elementwise", "elementwise", 0, one, function="silu_mul", width_in=200, width_out=100),
        Operator("scan", "scan", 0, requests, heads=4, qk_dim=8, v_dim=16, kv_width=512, function="ssd", **wide),
        Operator("gather", "gather", 0, one, function="embedding", param_width=64, width_in=1, width_out=64),
        Operator("collective", "collective", 0, one, function="all_reduce", ranks=4, **wide),
    )


@dataclass(frozen=True)
class _Subject:
    """One trace's operator rows on one engine.

    Attributes:
        engine, path: the family and its field path in the chip. table: the chip.
        rows: rows of the kinds that it takes. ops: their operators.
    """

    engine: Engine
    path: str
    table: ChipTable
    rows: Array
    ops: tuple[Operator, ...]


@dataclass(frozen=True)
class _Priced:
    """Demands (n, k), mapping records (n, k) and statuses (n, k)."""

    demands: Array
    mapping: Array
    status: Array


def _subject(engine: Engine, chip: Chip, trace: Trace) -> _Subject | None:
    lowered: Rows = lower(trace)
    path = _path(engine, chip)
    mine = [j for j, row in enumerate(lowered.trace_row) if _can_take(engine, chip, path, trace.ops[int(row)])]
    if not mine:
        return None
    ops = tuple(trace.ops[int(lowered.trace_row[j])] for j in mine)
    return _Subject(engine, path, ChipTable(chip), lowered.ops[mine], ops)


def _can_take(engine: Engine, chip: Chip, path: str, op: Operator) -> bool:
    """Whether an operator is of the engine's kinds, and not one that it refuses whatever a mapping says."""
    if op.kind not in engine.kinds:
        return False
    try:
        if engine.check is not None:
            engine.check(chip.engines[path.split(".")[1]], op, "conformance")
    except ChipsmithError:
        return False
    return True


def _path(engine: Engine, chip: Chip) -> str:
    for name, spec in chip.engines.items():
        if spec.type == engine.type:
            return f"engines.{name}"
    if engine.type == "link" and chip.links:
        return f"links.{next(iter(chip.links))}"
    raise ChipsmithError(f"chip {chip.name}", engine.type, "the chip must have an engine of this type")


def _missing_kernels(engine: Engine) -> Iterator[Violation]:
    for kind in sorted(engine.kinds):
        for fidelity in KERNEL_FIDELITIES:
            if (kind, fidelity) not in engine.kernels:
                yield Violation("kernels", "", fidelity, f"none for kind {kind}")


def _price(subject: _Subject, fidelity: str, mapping: Array | None = None, copies: int = 1) -> _Priced:
    """Price all rows; with ``mapping`` (1, k) given, else searched."""
    table = ChipTable(subject.table.base, n=copies)
    params, k = subject.engine.pack(table, subject.path), len(subject.rows)
    records = np.zeros((copies, k), subject.engine.mapping)
    if mapping is not None:
        records[:] = mapping
    demands, status = new_demands(copies, k), np.zeros((copies, k), np.int64)
    if subject.engine.loop is None:
        status = plain_loop(subject.engine, subject.rows, params, records, fidelity, demands)
    else:
        mode = AUTO if mapping is None else GIVEN
        subject.engine.loop(subject.rows, params, records, mode, KERNEL_FIDELITIES.index(fidelity), demands, status)
    return _Priced(demands, records, status)


def _check(subject: _Subject) -> Iterator[Violation]:
    priced = {fidelity: _price(subject, fidelity) for fidelity in KERNEL_FIDELITIES}
    for fidelity in KERNEL_FIDELITIES:
        yield from _check_status(subject, fidelity, priced[fidelity])
        yield from _check_rows(subject, fidelity, priced[fidelity])
        yield from _check_repeatable(subject, fidelity, priced[fidelity])
        yield from _check_kernel(subject, fidelity, priced[fidelity])
    yield from _check_floor(subject, priced)
    yield from _check_replay(subject, priced["tile"])


def _check_status(subject: _Subject, fidelity: str, priced: _Priced) -> Iterator[Violation]:
    refused = [slot for slot, status in enumerate(priced.status[0]) if status != OK]
    if fidelity == "bound" or len(refused) == len(subject.ops):
        for slot in refused:
            yield Violation("status", subject.ops[slot].name, fidelity, STATUS_TEXT[int(priced.status[0, slot])])


def _capacities(subject: _Subject) -> dict[str, float]:
    """Amount per engine cycle of every role that the engine names."""
    named = subject.engine.resources(subject.table, subject.path)
    clock = float(subject.table.column(f"{subject.path}.clock_hz")[0]) if subject.path.startswith("engines.") else 1.0
    return {role: float(capacity[0]) / clock for role, (_, capacity) in named.items()}


def _check_rows(subject: _Subject, fidelity: str, priced: _Priced) -> Iterator[Violation]:
    capacities = _capacities(subject)
    rules: Sequence[tuple[str, Callable[[Any, Any], str]]] = (
        ("finite", lambda row, out: _not_finite(out)),
        ("identity", lambda row, out: _identity(out, capacities)),
        ("conservation", lambda row, out: _lost(row, out, capacities)),
    )
    for slot, row, demand in _as_priced(subject, priced):
        for rule, look in rules:
            detail = look(row, demand)
            if detail:
                yield Violation(rule, subject.ops[slot].name, fidelity, detail)


def _as_priced(subject: _Subject, priced: _Priced) -> Iterator[tuple[int, Any, Any]]:
    """(slot, operator row, demand) of each row, or of each operator as a whole where the engine prices it so."""
    rows, demands = subject.rows, priced.demands[0]
    slots = np.flatnonzero(priced.status[0] == OK)
    for row in np.unique(rows["row"][slots]):
        own = slots[rows["row"][slots] == row]
        if subject.ops[int(own[0])].kind in subject.engine.whole_kinds:
            yield int(own[0]), _summed(rows[own]), _summed(demands[own])
        else:
            yield from ((int(slot), rows[slot], demands[slot]) for slot in own)


def _summed(records: Array) -> Any:
    """One record with the sums of all fields."""
    found = np.zeros(1, records.dtype)[0]
    for name in records.dtype.names or ():
        found[name] = records[name].sum()
    return found


def _not_finite(out: Any) -> str:
    bad = [name for name in DEMAND.names or () if not (np.isfinite(out[name]) and out[name] >= 0)]
    return ", ".join(f"{name} = {out[name]}" for name in bad)


def _identity(out: Any, capacities: dict[str, float]) -> str:
    longest = max([float(out["busy"]), *(float(out[role]) / capacity for role, capacity in capacities.items())])
    total = float(out["fixed"]) + longest
    same = isclose(total, float(out["cycles"]), rel_tol=_ROUNDING, abs_tol=_ROUNDING)
    return "" if same else f"fixed + max(busy, needs) = {total}, cycles = {out['cycles']}"


def _lost(row: Any, out: Any, capacities: dict[str, float]) -> str:
    """What the operator holds and the events do not."""
    least: dict[str, int] = {"macs": int(row["macs"])}
    if "memory" in capacities:
        reads = int(row["in_bytes"]) + int(row["w_bytes"]) * int(row["count"]) + int(row["kv_read_bytes"])
        least |= {"dram_read_bytes": reads, "dram_write_bytes": int(row["out_bytes"]) + int(row["kv_write_bytes"])}
        inside = int(out["pim_array_bytes"])  # what units in the memory read never crosses its bus
        least["dram_read_bytes"] = max(min(reads, int(row["in_bytes"])), reads - inside)
    if "link" in capacities:
        least["link_bytes"] = int(row["wire_bytes"])
    lost = [f"{name} = {out[name]}, at least {count}" for name, count in least.items() if out[name] < count]
    if out["macs"] > row["macs"]:
        lost.append(f"macs = {out['macs']}, exactly {row['macs']}")
    moved = int(out["dram_read_bytes"]) + int(out["dram_write_bytes"])
    if "memory" in capacities and out["memory"] < moved * (1 - _ROUNDING):
        lost.append(f"memory = {out['memory']} for {moved} bytes moved")
    return "; ".join(lost)


def _check_repeatable(subject: _Subject, fidelity: str, priced: _Priced) -> Iterator[Violation]:
    if _price(subject, fidelity).demands.tobytes() != priced.demands.tobytes():
        yield Violation("repeatable", "", fidelity, "two equal calls differ")
    for copy in _price(subject, fidelity, copies=_COPIES).demands:
        if copy.tobytes() != priced.demands[0].tobytes():
            yield Violation("repeatable", "", fidelity, "a table of equal chips differs from the chip alone")
            return


def _check_kernel(subject: _Subject, fidelity: str, priced: _Priced) -> Iterator[Violation]:
    params = subject.engine.pack(subject.table, subject.path)[0]
    for slot, op in enumerate(subject.ops):
        kernel = subject.engine.kernels.get((kind_name(int(subject.rows[slot]["kind"])), fidelity))
        if kernel is None or priced.status[0, slot] != OK:
            continue
        if op.kind in subject.engine.whole_kinds and (subject.rows["row"] == subject.rows[slot]["row"]).sum() > 1:
            continue  # a row alone is not what the loop prices
        out = new_demands(1, 1)
        status = kernel(subject.rows[slot], priced.mapping[0, slot], params, out[0, 0])
        if status != OK or out.tobytes() != priced.demands[0, slot].tobytes():
            yield Violation("kernel", op.name, fidelity, "the loop and the kernel differ on one mapping")


def _check_floor(subject: _Subject, priced: dict[str, _Priced]) -> Iterator[Violation]:
    bound, tile = priced["bound"].demands["cycles"][0], priced["tile"].demands["cycles"][0]
    for slot, op in enumerate(subject.ops):
        if priced["tile"].status[0, slot] == OK and bound[slot] > tile[slot] * (1 + _ROUNDING):
            yield Violation("floor", op.name, "", f"bound {bound[slot]} cycles, tile {tile[slot]} cycles")


def _check_replay(subject: _Subject, priced: _Priced) -> Iterator[Violation]:
    to_dict, from_dict = subject.engine.mapping_to_dict, subject.engine.mapping_from_dict
    if to_dict is None or from_dict is None:
        return
    records = np.zeros_like(priced.mapping)
    for slot, op in enumerate(subject.ops):
        if op.kind in ("gemm", "attention") and priced.status[0, slot] == OK:  # other kinds have nothing to choose
            from_dict(to_dict(priced.mapping[0, slot]), records[0, slot], op.name)
    again = _price(subject, "tile", records)
    for slot, op in enumerate(subject.ops):
        if priced.status[0, slot] == OK and again.demands[0, slot].tobytes() != priced.demands[0, slot].tobytes():
            yield Violation("replay", op.name, "tile", "the mapping read back from data prices differently")
