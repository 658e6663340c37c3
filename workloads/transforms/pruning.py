"""Sparse weights, activations and attention scores as patterns on the rows.

What each means (formulas stand in workloads/trace.py and workloads/transforms/patterns.py):

- ``weights``: a GEMM's matrix keeps the elements that the pattern says. Memory holds it compressed with its index, or
  whole with ``+zeros``. ``effective_macs`` counts kept elements.
- ``activations``: the share of a GEMM's input that is not zero (ReLU networks) or of its output that is wanted.
  Nothing is compressed; only ``effective_macs`` falls.
- ``attention``: the share of the visible scores that is computed, and of their products with the values. ``block``
  patterns (R queries x C keys) are loops with fewer turns: every engine runs fewer MACs, and a step whose queries fit
  one row of blocks reads only the keys that it keeps (FlashAttention, Dao et al. 2022, arXiv:2205.14135, section 3.3;
  Quest, Tang et al. 2024, arXiv:2406.10774). A map of one bit a block and head is read. The newest block counts
  among the kept.

The engines of sim know no sparse arithmetic: they run the dense MACs of sparse weights and activations but move
compressed weights, and expand them on the chip.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import ChipsmithError
from workloads.trace import Operator, Trace
from workloads.transforms.edit import Names, noted, refuse_after, rows_named, settle, with_rows
from workloads.transforms.patterns import parse_pattern


def prune(
    trace: Trace,
    weights: str = "",
    *,
    activations: str = "",
    attention: str = "",
    only: Names = (),
    except_: Names | None = None,
) -> Trace:
    """See :meth:`workloads.trace.Trace.with_sparsity`."""
    refuse_after(trace, "sparsity")
    given = {"weights": weights, "activations": activations, "attention": attention}
    patterns = {name: text for name, text in given.items() if text}
    if not patterns:
        raise ChipsmithError("sparsity", None, "legal: a pattern of weights, activations or attention")
    for name, text in patterns.items():
        parse_pattern(text, f"sparsity.{name}")
    chosen = rows_named(trace, only, except_)
    rows = {row: trace.ops[row] for row in chosen}
    for name, text in patterns.items():
        mine = {row: _patterned(op, name, text) for row, op in rows.items() if _takes(op, name)}
        if not mine:
            raise ChipsmithError("only", only, f"legal: patterns that name a row with {name}")
        rows |= mine
    told = {**patterns, "only": only or None, "except_": except_}
    return noted(settle(with_rows(trace, rows), trace, chosen), "sparsity", **told)


def _takes(op: Operator, name: str) -> bool:
    if name == "attention":
        return op.kind == "attention"
    return op.kind == "gemm" and op.weight_is_param


def _patterned(op: Operator, name: str, text: str) -> Operator:
    field = "act_sparsity" if name == "activations" else "sparsity"
    known = getattr(op, field)
    if known not in ("dense", text):
        raise ChipsmithError(f"sparsity.{name}", text, f"{op.name} is {known} already: give a row one pattern")
    return replace(op, act_sparsity=text) if name == "activations" else replace(op, sparsity=text)
