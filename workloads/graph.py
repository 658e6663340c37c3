"""Rows and tensors of a trace while it is being built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from workloads.dtypes import format_bytes
from workloads.trace import Block, Operator, Tensor, Trace


class Graph:
    """Collects operators in execution order and keeps tensor ids, producers and last uses right.

    Operators are given with local names; the prefix of the current block is put in front.
    """

    def __init__(self) -> None:
        self.ops: list[Operator] = []
        self.tensors: list[Tensor] = []
        self.blocks: list[Block] = []
        self._prefix = ""

    def begin(self, name: str, count: int = 1, prefix: str = "") -> None:
        """Start a block; all operators appended from here on belong to it."""
        self.blocks.append(Block(name, count))
        self._prefix = f"{prefix}." if prefix else ""

    def prefix(self, prefix: str) -> None:
        """Put another prefix before the names of the rows that follow in the current block."""
        self._prefix = f"{prefix}."

    def carry(self, written: int, read: int) -> None:
        """Let the current block's next iteration read ``written`` in the place of ``read``."""
        block = self.blocks[-1]
        if block.count > 1:
            self.blocks[-1] = replace(block, carried=(*block.carried, (written, read)))

    def source(self, name: str, role: str, elements: int, form: str, group: int = 0) -> int:
        """A tensor that no operator writes: a weight, a cache, an input of the trace."""
        size = format_bytes(elements, form, group)
        self.tensors.append(Tensor(self._prefix + name, role, elements, form, size))
        return len(self.tensors) - 1

    def append(self, op: Operator, inputs: Sequence[int], outputs: Mapping[str, int]) -> tuple[int, ...]:
        """Add a row.

        Args:
            op: the operator without block and tensor ids.
            inputs: ids of the tensors it reads.
            outputs: suffix to elements per token of each tensor it writes; the suffix may be empty.

        Returns:
            Ids of the tensors written, in order.
        """
        row, first = len(self.ops), len(self.tensors)
        name = self._prefix + op.name
        for suffix, width in outputs.items():
            self.tensors.append(_written(f"{name}.{suffix}" if suffix else name, op, width, row))
        ids = tuple(range(first, len(self.tensors)))
        self.ops.append(replace(op, name=name, block=len(self.blocks) - 1, inputs=tuple(inputs), outputs=ids))
        for tensor in inputs:
            self.tensors[tensor] = replace(self.tensors[tensor], last_use=row)
        return ids

    def mark_output(self, tensor: int) -> None:
        """Declare a tensor a result of the trace."""
        self.tensors[tensor] = replace(self.tensors[tensor], role="output")

    def finish(self, name: str, meta: Mapping[str, object]) -> Trace:
        """The finished trace."""
        return Trace(name, tuple(self.ops), tuple(self.tensors), tuple(self.blocks), dict(meta))


def _written(name: str, op: Operator, width: int, row: int) -> Tensor:
    elements = op.tokens * width
    return Tensor(name, "activation", elements, op.out, format_bytes(elements, op.out), row)
