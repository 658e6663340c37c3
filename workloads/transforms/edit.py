"""What all transformations share: choosing rows by name, changing them, and making the rest of the trace follow.

A transformation changes rows. Bytes of weight and cache tensors, and the sums in ``meta``, are then derived from the
rows again by :func:`settle`; that is why transformations of different fields may come in any order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from workloads.dtypes import dtype, format_bytes
from workloads.errors import ChipsmithError, nearest
from workloads.precision import Precision
from workloads.trace import Block, Operator, Segment, Tensor, Trace

Names = str | Sequence[str]
#: What transformations leave alone unless told otherwise: both ends of the model, routers, predictors, bases of a
#: compressed cache.
KEPT_ROWS = ("embed_tokens", "lm_head", "router", "predictor_*", "*_latent")
ACTIVATIONS = ("activation", "output")
CACHES = ("kv", "state")


def rows_named(trace: Trace, only: Names = (), except_: Names | None = None) -> frozenset[int]:
    """Rows that match a pattern of ``only`` (all, where it is empty) and none of ``except_``.

    Args:
        trace: the trace.
        only, except_: shell patterns (``*_proj``) of whole names or of what follows their last dot; ``except_`` =
            None leaves out ``KEPT_ROWS``.

    Raises:
        ChipsmithError: a pattern that no row matches, or no row left.
    """
    wanted, refused = _listed(only), KEPT_ROWS if except_ is None else _listed(except_)
    for where, patterns in (("only", wanted), ("except_", () if except_ is None else refused)):
        _check_used(trace, where, patterns)
    rows = frozenset(
        row for row, op in enumerate(trace.ops) if (not wanted or _matches(op, wanted)) and not _matches(op, refused)
    )
    if not rows:
        raise ChipsmithError("only, except_", (list(wanted), list(refused)), "legal: patterns that leave a row")
    return rows


def _listed(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _matches(op: Operator, patterns: Iterable[str]) -> bool:
    short = op.name.rpartition(".")[2]
    return any(fnmatchcase(op.name, pattern) or fnmatchcase(short, pattern) for pattern in patterns)


def _check_used(trace: Trace, where: str, patterns: Iterable[str]) -> None:
    for pattern in patterns:
        if not any(_matches(op, (pattern,)) for op in trace.ops):
            short = dict.fromkeys(op.name.rpartition(".")[2] for op in trace.ops)
            raise ChipsmithError(where, pattern, f"no row has this name; {nearest(pattern, short)}")


def with_rows(trace: Trace, rows: Mapping[int, Operator]) -> Trace:
    """A copy with some rows replaced."""
    return replace(trace, ops=tuple(rows.get(row, op) for row, op in enumerate(trace.ops)))


def noted(trace: Trace, name: str, **facts: object) -> Trace:
    """A copy whose ``meta["transforms"]`` says that a transformation was applied, and how; unset facts are left out."""
    so_far = {key: list(value) if isinstance(value, list) else [value] for key, value in applied(trace).items()}
    said = {
        key: list(fact) if isinstance(fact, tuple) else fact for key, fact in facts.items() if fact not in (None, ())
    }
    return trace.with_meta(transforms={**so_far, name: [*so_far.get(name, []), said]})


def applied(trace: Trace) -> Mapping[str, object]:
    """Transformations that were applied, by name."""
    known = trace.meta.get("transforms", {})
    return known if isinstance(known, Mapping) else {}


def refuse_after(trace: Trace, name: str, others: Collection[str] = ()) -> None:
    """Refuse a transformation that others must not come before.

    Raises:
        ChipsmithError: one of ``others`` was applied; or layers are missing, or drafting steps were put in front.
    """
    for other in (*others, "early_exit"):
        if other in applied(trace):
            raise ChipsmithError(name, trace.name, f"comes before {other}")
    if any(block.name.startswith("draft1.") for block in trace.blocks):
        raise ChipsmithError(name, trace.name, "comes before speculation with a draft: change model and draft apart")


def matrices(trace: Trace, op: Operator) -> tuple[int, ...]:
    """Tensor ids of the matrices (tables) that a row multiplies by or looks up in; not its bias."""
    weights = [t for t in op.inputs if trace.tensors[t].role == "weight"]
    if op.kind == "gather":
        return tuple(weights)
    if op.kind != "gemm" or not op.weight_is_param:
        return ()
    if op.param_width and len(weights) > 1:  # the smallest is the bias
        weights.remove(min(weights, key=lambda t: trace.tensors[t].elements))
    return tuple(weights)


def settle(trace: Trace, before: Trace, rows: Collection[int]) -> Trace:
    """Make tensors and sums follow changed rows.

    Args:
        trace: with changed ``rows``, everything else as it was.
        before: the trace before the change; same rows in the same places.
        rows: which changed.

    Raises:
        ChipsmithError: a weight that two rows share got two formats or patterns.
    """
    tensors = list(trace.tensors)
    _check_shared(trace, rows)
    for row in sorted(rows, reverse=True):  # of rows that share a weight the first says how it is laid out
        op = trace.ops[row]
        for t in matrices(trace, op):
            tensors[t] = replace(tensors[t], dtype=op.weight, bytes=_weight_bytes(op, tensors[t].elements))
        for t in op.inputs:
            if tensors[t].role in CACHES and op.kind in ("attention", "scan"):
                tensors[t] = cache_before(op, tensors[t])
    return replace(trace, tensors=tuple(tensors), meta={**trace.meta, **_sums(trace, before, tensors)})


def _check_shared(trace: Trace, rows: Collection[int]) -> None:
    changed = {t for row in rows for t in matrices(trace, trace.ops[row])}
    readers: dict[int, list[Operator]] = {}
    for op in trace.ops:
        for t in matrices(trace, op):
            if t in changed:
                readers.setdefault(t, []).append(op)
    for t, ops in readers.items():
        if len({(op.weight, op.weight_group, op.sparsity) for op in ops}) > 1:
            names = ", ".join(op.name for op in ops)
            raise ChipsmithError(trace.tensors[t].name, None, f"is shared by {names}: choose all of them or none")


def _weight_bytes(op: Operator, elements: int) -> int:
    """Bytes of the matrices that ``elements`` hold, in the format and pattern of the row that reads them."""
    if op.kind == "gather" or op.pattern.is_full:
        return format_bytes(elements, op.weight, op.weight_group)
    one = op.k * op.n
    copies, n = (elements // one, op.n) if elements % one == 0 else (1, -(-elements // op.k))
    return -(-op.pattern.stored_bits(op.k, n, copies, dtype(op.weight), op.weight_group) // 8)


def cache_before(op: Operator, tensor: Tensor) -> Tensor:
    """The cache (or state) before the step, as the row that reads it says."""
    elements = op.kv_elements_before
    return replace(tensor, elements=elements, dtype=op.kv, bytes=format_bytes(elements, op.kv, op.kv_group))


def _sums(trace: Trace, before: Trace, tensors: Sequence[Tensor]) -> dict[str, object]:
    """Sums of ``meta`` that changed with the rows, where the trace has them at all."""
    found: dict[str, object] = {}
    if "parameter_bytes" in trace.meta:
        grown = sum((tensors[t].bytes - before.tensors[t].bytes) * n for t, n in _first_reads(trace).items())
        found["parameter_bytes"] = whole(trace.meta["parameter_bytes"]) + grown
    pairs = [(new, old, trace.blocks[new.block].count) for new, old in zip(trace.ops, before.ops, strict=True)]
    if "kv_cache_bytes" in trace.meta:
        grown = sum((new.kv_cached_bytes - old.kv_cached_bytes) * count for new, old, count in pairs)
        found["kv_cache_bytes"] = whole(trace.meta["kv_cache_bytes"]) + grown
    was = sum(_token_bytes(old) * count for _, old, count in pairs)
    if "kv_bytes_per_token" in trace.meta and was:
        now = sum(_token_bytes(new) * count for new, _, count in pairs)
        found["kv_bytes_per_token"] = whole(trace.meta["kv_bytes_per_token"]) * now // was
    return found


def whole(value: object) -> int:
    """A whole number of ``meta``."""
    return int(str(value))


def _token_bytes(op: Operator) -> int:
    return format_bytes(op.kv_width, op.kv, op.kv_group) if op.kind == "attention" else 0


def _first_reads(trace: Trace) -> dict[int, int]:
    """Every weight tensor with the iterations of the block that reads it first."""
    first: dict[int, int] = {}
    for op in trace.ops:
        for t in op.inputs:
            if trace.tensors[t].role == "weight":
                first.setdefault(t, trace.blocks[op.block].count)
    return first


def rebuilt(trace: Trace, ops: Sequence[Operator], tensors: Sequence[Tensor], blocks: Sequence[Block]) -> Trace:
    """A trace of new rows: tensors and blocks that no row uses are dropped, producers and last uses set right."""
    used = {t for op in ops for t in (*op.inputs, *op.outputs)}
    number = {t: place for place, t in enumerate(t for t in range(len(tensors)) if t in used)}
    place = {b: at for at, b in enumerate(sorted({op.block for op in ops}))}
    rows = tuple(
        replace(
            op,
            block=place[op.block],
            inputs=tuple(number[t] for t in op.inputs),
            outputs=tuple(number[t] for t in op.outputs),
        )
        for op in ops
    )
    written = {t: row for row, op in enumerate(rows) for t in op.outputs}
    read = {t: row for row, op in enumerate(rows) for t in op.inputs}
    kept = tuple(
        replace(tensors[old], producer=written.get(new, -1), last_use=read.get(new, -1)) for old, new in number.items()
    )
    renamed = tuple(
        replace(blocks[b], carried=tuple((number[w], number[r]) for w, r in blocks[b].carried)) for b in place
    )
    return replace(trace, ops=rows, tensors=kept, blocks=renamed)


class Edit:
    """Rows and tensors added to a trace; existing rows keep their numbers until :meth:`done`."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.tensors = list(trace.tensors)
        self.ops = list(trace.ops)
        self._before: dict[int, list[Operator]] = {}
        self._after: dict[int, list[Operator]] = {}

    def tensor(self, name: str, role: str, elements: int, form: str, group: int = 0) -> int:
        """A new tensor; returns its id."""
        self.tensors.append(Tensor(name, role, elements, form, format_bytes(elements, form, group)))
        return len(self.tensors) - 1

    def resize(self, tensor: int, elements: int) -> None:
        """Another number of elements for an activation."""
        old = self.tensors[tensor]
        self.tensors[tensor] = replace(old, elements=elements, bytes=format_bytes(elements, old.dtype))

    def before(self, row: int, op: Operator) -> None:
        """Put a row in front of an existing one, after those put there earlier."""
        self._before.setdefault(row, []).append(op)

    def after(self, row: int, op: Operator) -> None:
        """Put a row behind an existing one, after those put there earlier."""
        self._after.setdefault(row, []).append(op)

    def done(self) -> Trace:
        """The new trace."""
        ops = [
            op
            for row, own in enumerate(self.ops)
            for op in (*self._before.get(row, ()), own, *self._after.get(row, ()))
        ]
        return rebuilt(self.trace, ops, self.tensors, self.trace.blocks)


def plain_row(op: Operator, name: str, kind: str = "gemm") -> Operator:
    """A row beside ``op`` in its block, with its formats, phase and devices; parameters at 16 bits or more."""
    wide = Precision(activations=op.act).vectors
    return Operator(
        f"{op.name}.{name}",
        kind,
        op.block,
        (Segment(op.tokens),),
        act=op.act,
        weight=wide,
        kv=op.kv,
        out=op.act,
        phase=op.phase,
        device_group=op.device_group,
    )


def grown(trace: Trace, parameters: int, size_bytes: int) -> dict[str, object]:
    """``parameters`` and ``parameter_bytes`` of ``meta`` after some were added, where the trace has them."""
    added = {"parameters": parameters, "parameter_bytes": size_bytes}
    return {name: whole(trace.meta[name]) + more for name, more in added.items() if name in trace.meta}
