"""Attention in groups of heads, so that projections of one group run while another group attends.

AttAcc (ASPLOS 2024) calls it head-level pipelining: the GPU projects queries, keys and values of a group while memory
attends for the group before. The projections before an attention row are cut by columns, the one behind it by rows;
its partial sums are added one after the other. Weights and cache are read once, as before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from workloads.errors import ChipsmithError
from workloads.trace import Operator, Trace
from workloads.transforms.edit import CACHES, Edit

#: What stands between the name of an operator and the part that it was cut to.
PART = "~"
_BETWEEN = ("elementwise", "norm")


def base_name(name: str) -> str:
    """Name of the operator that a part belongs to."""
    return name.partition(PART)[0]


def part_name(op: Operator, part: int | str) -> str:
    """Name of a part of an operator."""
    return f"{op.name}{PART}{part}"


def group_heads(trace: Trace, groups: int) -> Trace:
    """A copy whose decode attention runs in ``groups`` groups of heads.

    Raises:
        ChipsmithError: heads that don't divide, no attention row in decode, or projections that can't be cut.
    """
    if groups == 1:
        return trace
    rows = [row for row, op in enumerate(trace.ops) if op.kind == "attention" and op.phase == "decode"]
    if not rows:
        return trace
    edit = Edit(trace)
    for row in rows:
        op = trace.ops[row]
        for heads in (op.heads, op.kv_heads):
            if heads % groups:
                raise ChipsmithError("policy.head_groups", groups, f"a divisor of the {heads} heads of {op.name}")
        _Cut(edit, groups, _front(trace, row), row, _behind(trace, row)).apply()
    return edit.done()


def _front(trace: Trace, row: int) -> list[int]:
    """Rows between the projections and an attention row, projections included, in order."""
    found: set[int] = set()
    todo = [trace.tensors[t].producer for t in trace.ops[row].inputs if trace.tensors[t].role not in CACHES]
    while todo:
        at = todo.pop()
        if at < 0 or at in found or trace.ops[at].block != trace.ops[row].block:
            continue
        found.add(at)
        if trace.ops[at].kind in _BETWEEN:
            todo += [trace.tensors[t].producer for t in trace.ops[at].inputs]
        elif trace.ops[at].kind != "gemm":
            raise ChipsmithError("policy.head_groups", trace.ops[at].name, "projections right before attention")
    return sorted(found)


def _behind(trace: Trace, row: int) -> int:
    """The projection that alone reads what an attention row writes, -1 where there is none."""
    (out,) = trace.ops[row].outputs
    readers = [at for at, op in enumerate(trace.ops) if out in op.inputs]
    return readers[0] if len(readers) == 1 and trace.ops[readers[0]].kind == "gemm" else -1


@dataclass(frozen=True)
class _Cut:
    """One attention row with its projections, cut into ``groups``."""

    edit: Edit
    groups: int
    front: Sequence[int]
    row: int
    behind: int

    def apply(self) -> None:
        """Put the parts in the place of the rows."""
        split: dict[int, list[int]] = {}
        for row in (*self.front, self.row):
            for tensor in self.edit.ops[row].outputs:
                split[tensor] = self._pieces(tensor)
        for row in (*self.front, self.row):
            self._replace(row, [self._part(self.edit.ops[row], g, split) for g in range(self.groups)])
        if self.behind >= 0:
            self._sum(self.edit.ops[self.behind], split)
        else:
            self._join(split[self.edit.trace.ops[self.row].outputs[0]])

    def _pieces(self, tensor: int) -> list[int]:
        """The tensor, now of the first group, and one for each other group."""
        old = self.edit.tensors[tensor]
        share = old.elements // self.groups
        others = [self.edit.tensor(f"{old.name}{PART}{g}", old.role, share, old.dtype) for g in range(1, self.groups)]
        self.edit.resize(tensor, share)
        return [tensor, *others]

    def _part(self, op: Operator, group: int, split: Mapping[int, Sequence[int]]) -> Operator:
        n = self.groups
        sizes: dict[str, Any] = {"kv_heads": op.kv_heads // n, "kv_width": op.kv_width // n, "heads": op.heads // n}
        if op.kind == "gemm":
            sizes = {"n": op.n // n, "param_width": op.param_width // n}
        elif op.kind != "attention":
            sizes = {"width_in": op.width_in // n, "width_out": op.width_out // n}
        inputs = tuple(split[t][group] if t in split else t for t in op.inputs)
        outputs = tuple(split[t][group] for t in op.outputs)
        return replace(op, name=part_name(op, group), inputs=inputs, outputs=outputs, **sizes)

    def _replace(self, row: int, parts: Sequence[Operator]) -> None:
        self.edit.ops[row] = parts[0]
        for part in parts[1:]:
            self.edit.after(row, part)

    def _sum(self, op: Operator, split: Mapping[int, Sequence[int]]) -> None:
        """The projection behind attention: a share of its rows for each group, added up."""
        (out,) = op.outputs
        parts: list[Operator] = []
        before: tuple[int, ...] = ()
        old = self.edit.tensors[out]
        for g in range(self.groups):
            last = g == self.groups - 1
            name = f"{old.name}{PART}{g}"
            written = out if last else self.edit.tensor(name, old.role, old.elements, old.dtype)
            inputs = tuple(split[t][g] if t in split else t for t in op.inputs)
            bias = op.param_width if last else 0
            part = replace(op, name=part_name(op, g), k=op.k // self.groups, param_width=bias)
            parts.append(replace(part, inputs=(*inputs, *before), outputs=(written,)))
            before = (written,)
        self._replace(self.behind, parts)

    def _join(self, pieces: Sequence[int]) -> None:
        """Whoever reads the attention's output reads that of every group."""
        for row, op in enumerate(self.edit.ops):
            if pieces[0] in op.inputs and row not in (*self.front, self.row):
                self.edit.ops[row] = replace(op, inputs=(*op.inputs, *pieces[1:]))
