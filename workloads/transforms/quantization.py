"""Number formats of weights, activations and KV cache changed after a trace was made.

Weights: matrices of GEMMs and tables of gathers; gains, biases and other vectors stay at 16 bits or more. Group
scales of 16 bits are counted; a format of 32-element blocks (``mxfp4``) brings its own. Asymmetric quantisation keeps
a zero point beside each scale: half the group size says the same in bytes.

Activations: a tensor takes the format where a chosen row reads it (where nobody reads it: where a chosen row writes
it), and all its other readers then read it so; an engine converts as it writes. With every row chosen all tensors
between operators change, as ``Precision`` has it; with ``only="*_proj"`` the inputs of the projections do and the
residual stream stays wide, as in SmoothQuant (Xiao et al. 2023, arXiv:2211.10438, figure 6).

MACs never change.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from workloads.dtypes import dtype, format_bytes
from workloads.errors import ChipsmithError
from workloads.precision import Precision, check_group
from workloads.trace import Operator, Tensor, Trace
from workloads.transforms.edit import ACTIVATIONS, Names, noted, refuse_after, rows_named, settle, with_rows


def quantize(
    trace: Trace,
    weights: str = "",
    activations: str = "",
    kv: str = "",
    *,
    weight_group: int = 0,
    kv_group: int = 0,
    only: Names = (),
    except_: Names | None = None,
) -> Trace:
    """See :meth:`workloads.trace.Trace.with_quantization`."""
    refuse_after(trace, "quantization")
    _check(weights, activations, kv, weight_group, kv_group)
    rows = rows_named(trace, only, except_)
    found = {row: trace.ops[row] for row in rows}
    if weights:
        found |= _weights(found, weights, weight_group, only)
    if kv:
        found = {row: replace(op, kv=kv, kv_group=kv_group) for row, op in found.items()}
    changed = settle(with_rows(trace, found), trace, rows)
    if activations:
        changed = _activations(changed, rows, activations)
    facts = {"weights": weights, "activations": activations, "kv": kv}
    groups = {"weight_group": weight_group, "kv_group": kv_group, "only": only or None, "except_": except_}
    told = {name: fact for name, fact in {**facts, **groups}.items() if fact not in ("", 0, None)}
    return noted(_precise(changed, told), "quantization", **told)


def _check(weights: str, activations: str, kv: str, weight_group: int, kv_group: int) -> None:
    for name, form, group in (("weights", weights, weight_group), ("kv", kv, kv_group)):
        where = f"quantization.{'weight_group' if name == 'weights' else 'kv_group'}"
        if form:
            dtype(form, f"quantization.{name}")
            check_group(where, group, form)
        elif group:
            raise ChipsmithError(where, group, f"goes with a format of {name}")
    if activations:
        dtype(activations, "quantization.activations")
    if not (weights or activations or kv):
        raise ChipsmithError("quantization", None, "legal: a format of weights, activations or kv")


def _weights(rows: Mapping[int, Operator], form: str, group: int, only: Names) -> dict[int, Operator]:
    chosen = {
        row: replace(op, weight=form, weight_group=group)
        for row, op in rows.items()
        if (op.kind == "gemm" and op.weight_is_param) or op.kind == "gather"
    }
    if not chosen:
        raise ChipsmithError("only", only, "legal: patterns that name a row with weights")
    return chosen


def _activations(trace: Trace, rows: Collection[int], form: str) -> Trace:
    """Tensors first, then every row by what it reads and writes."""
    narrow = _narrow(trace, rows)
    tensors = tuple(_stored(t, form) if number in narrow else t for number, t in enumerate(trace.tensors))
    ops = tuple(_converted(op, tensors, row in rows, form) for row, op in enumerate(trace.ops))
    return replace(trace, ops=ops, tensors=tensors)


def _stored(tensor: Tensor, form: str) -> Tensor:
    return replace(tensor, dtype=form, bytes=format_bytes(tensor.elements, form))


def _narrow(trace: Trace, rows: Collection[int]) -> set[int]:
    """Tensors that take the format; what a block carries from one iteration to the next stays of one format."""
    found: set[int] = set()
    for row in rows:
        op = trace.ops[row]
        found |= {t for t in op.inputs if op.kind != "gather" and _is_activation(trace.tensors[t])}
        found |= {t for t in op.outputs if trace.tensors[t].last_use < 0}
    pairs = [pair for block in trace.blocks for pair in block.carried]
    while added := {t for pair in pairs for t in pair if found.intersection(pair)} - found:
        found |= added
    return found


def _is_activation(tensor: Tensor) -> bool:
    return tensor.role in ACTIVATIONS or (tensor.role == "input" and dtype(tensor.dtype).is_float)


def _converted(op: Operator, tensors: tuple[Tensor, ...], chosen: bool, form: str) -> Operator:
    read = [tensors[t].dtype for t in op.inputs if _is_activation(tensors[t])]
    written = [tensors[t].dtype for t in op.outputs if _is_activation(tensors[t])]
    here = form if chosen else ""
    act = _widest(read) if form in read else ("" if read else here)
    out = _widest(written) if form in written else ("" if written else here)
    return replace(op, act=act or op.act, out=out or op.out)


def _widest(forms: list[str]) -> str:
    return max(forms, key=lambda name: dtype(name).bits)


def _precise(trace: Trace, told: Mapping[str, object]) -> Trace:
    """``meta["precision"]`` of a trace whose rows were changed without ``only``."""
    known = trace.meta.get("precision")
    if not isinstance(known, Mapping) or "only" in told:
        return trace
    names = ("weights", "activations", "kv", "weight_group", "kv_group")
    new = {**known, **{name: told[name] for name in names if name in told}}
    for name, group in (("weights", "weight_group"), ("kv", "kv_group")):
        if name in told:
            new[group] = told.get(group, 0)
    accumulate = Precision(activations=str(new["activations"]), accumulate=str(new.get("accumulate", ""))).accumulator
    return trace.with_meta(precision=new, accumulate=accumulate)
