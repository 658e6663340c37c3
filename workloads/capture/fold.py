"""Folds an unrolled trace: runs of equal layers become blocks with a count and the tensors they hand on.

A run may repeat a pattern of several layers (local and global attention in turn). Layers are equal if their rows are
equal and read from the same places: from inside the pattern, from the pattern before, from parameters of their own or
from tensors that all of them share.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import groupby

from workloads.trace import Block, Operator, Tensor, Trace

Key = tuple[str, int]
Reference = tuple[object, ...]
_OWN_FIELDS = tuple(f.name for f in fields(Operator) if f.name not in ("name", "block", "inputs", "outputs"))


@dataclass(frozen=True, slots=True)
class Group:
    """Consecutive rows of one layer (or of none: number -1)."""

    stack: str
    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Run:
    """A pattern of ``period`` groups, ``count`` times, from group ``first``."""

    first: int
    period: int
    count: int
    carried: tuple[tuple[int, int], ...] = ()


class _Folder:
    def __init__(self, trace: Trace, keys: Sequence[Key]) -> None:
        self.trace = trace
        self.groups = _groups(keys)
        self.users: dict[int, set[int]] = defaultdict(set)
        for row, op in enumerate(trace.ops):
            for tensor in op.inputs:
                self.users[tensor].add(row)
        self.shapes = [self._shape(group) for group in self.groups]

    def _shape(self, group: Group) -> tuple[object, ...]:
        """What two groups must share whatever they read: their rows and what these write."""
        ops = self.trace.ops[group.first : group.last + 1]
        return (group.number >= 0, *(tuple(getattr(op, name) for name in _OWN_FIELDS) for op in ops))

    def rows(self, run_first: int, period: int, index: int) -> range:
        """Rows of one repetition."""
        begin = run_first + index * period
        return range(self.groups[begin].first, self.groups[begin + period - 1].last + 1)

    def runs(self) -> list[Run]:
        """All groups in order; what does not repeat stands alone."""
        found: list[Run] = []
        start = 0
        while start < len(self.groups):
            run = self._longest(start)
            found.append(run)
            start = run.first + run.period * run.count
        return found

    def _longest(self, start: int) -> Run:
        best = Run(start, 1, 1)
        for period in range(1, (len(self.groups) - start) // 2 + 1):
            count = self._repetitions(start, period)
            if count * period > best.count * best.period:
                run = self._checked(start, period, count)
                best = run if run.count * run.period > best.count * best.period else best
            if best.count > 1 and best.period * best.count >= len(self.groups) - start - 1:
                break
        return best

    def _repetitions(self, start: int, period: int) -> int:
        pattern = self.shapes[start : start + period]
        stacks = {group.stack for group in self.groups[start : start + period]}
        count = 1
        if len(stacks) > 1 or not pattern[0][0]:
            return 1
        while self.shapes[start + count * period : start + (count + 1) * period] == pattern:
            count += 1
        return count

    def _checked(self, start: int, period: int, count: int) -> Run:
        """The run as far as its repetitions also read from the same places."""
        first, second = self._references(start, period, 0), self._references(start, period, 1)
        carried = self._carried(self.rows(start, period, 0), first, second)
        if carried is None:
            return Run(start, 1, 1)
        equal = 2
        while equal < count and self._references(start, period, equal) == second:
            equal += 1
        while equal > 1 and not self._private(start, period, equal):
            equal -= 1
        return Run(start, period, equal, carried) if equal > 1 else Run(start, 1, 1)

    def _references(self, start: int, period: int, index: int) -> list[Reference]:
        rows = self.rows(start, period, index)
        before = self.rows(start, period, index - 1) if index else range(0)
        return [self._reference(t, rows, before) for row in rows for t in self.trace.ops[row].inputs]

    def _reference(self, tensor: int, rows: range, before: range) -> Reference:
        held = self.trace.tensors[tensor]
        for word, part in (("inside", rows), ("before", before)):
            if held.producer in part:
                place = self.trace.ops[held.producer].outputs.index(tensor)
                return word, held.producer - part.start, place
        if held.producer < 0 and all(row in rows for row in self.users[tensor]):
            return "own", held.role, held.elements, held.dtype, held.bytes
        return "shared", tensor

    def _carried(
        self, rows: range, first: list[Reference], second: list[Reference]
    ) -> tuple[tuple[int, int], ...] | None:
        """(written, read) tensors that hand over from the first repetition to the second, None if they differ."""
        pairs: dict[tuple[int, int], None] = {}
        for mine, other in zip(first, second, strict=True):
            if mine == other:
                continue
            if mine[0] != "shared" or other[0] != "before":
                return None
            read, written = int(str(mine[1])), self.trace.ops[rows[int(str(other[1]))]].outputs[int(str(other[2]))]
            if not self._alike(written, read) or self.trace.tensors[read].producer >= rows.start:
                return None
            pairs[written, read] = None
        return tuple(pairs)

    def _alike(self, left: int, right: int) -> bool:
        a, b = self.trace.tensors[left], self.trace.tensors[right]
        return (a.elements, a.dtype) == (b.elements, b.dtype)

    def _private(self, start: int, period: int, count: int) -> bool:
        """Whether nothing but the next repetition reads what one writes, up to the last."""
        for index in range(count - 1):
            rows, after = self.rows(start, period, index), self.rows(start, period, index + 1)
            for row in rows:
                for tensor in self.trace.ops[row].outputs:
                    if any(user not in rows and user not in after for user in self.users[tensor]):
                        return False
        return True


def _groups(keys: Sequence[Key]) -> list[Group]:
    found: list[Group] = []
    for (stack, number), rows in groupby(range(len(keys)), lambda row: keys[row]):
        listed = list(rows)
        found.append(Group(stack, number, listed[0], listed[-1]))
    return found


def fold(trace: Trace, keys: Sequence[Key], locals_: Sequence[str]) -> Trace:
    """Fold repeated layers.

    Args:
        trace: unrolled, in one block.
        keys: list of layers and number of the layer (-1: outside) of each row.
        locals_: name of each row inside its layer.

    Returns:
        A trace with blocks ``embed`` (before all layers), ``layers``, ``layers_2`` ... and ``head``.
    """
    return _Writer(_Folder(trace, keys), locals_).write()


class _Writer:
    def __init__(self, folder: _Folder, locals_: Sequence[str]) -> None:
        self.folder = folder
        self.trace = folder.trace
        self.locals = locals_
        self.ids: dict[int, int] = {}
        self.tensors: list[Tensor] = []
        self.ops: list[Operator] = []
        self.blocks: list[Block] = []

    def write(self) -> Trace:
        runs = self.folder.runs()
        layered = [i for i, run in enumerate(runs) if self.folder.groups[run.first].number >= 0]
        for index, run in enumerate(runs):
            name, stem = self._titles(index, layered, run)
            self._block(run, name, stem)
        return replace(self.trace, ops=tuple(self.ops), tensors=tuple(self.tensors), blocks=tuple(self.blocks))

    def _titles(self, index: int, layered: list[int], run: Run) -> tuple[str, str]:
        """Names of the block and of what its rows' names start with."""
        group = self.folder.groups[run.first]
        if group.number >= 0:
            number = layered.index(index) + 1
            suffix = f"_{number}" if number > 1 else ""
            return (f"layers{suffix}", f"layer{suffix}") if group.stack else (f"parts{suffix}", f"part{suffix}")
        if not layered:
            return "all", ""
        if index < layered[0]:
            return "embed", ""
        if index > layered[-1]:
            return "head", ""
        return f"between_{index}", f"between_{index}"

    def _block(self, run: Run, name: str, stem: str) -> None:
        rows = self.folder.rows(run.first, run.period, 0)
        for offset in range(run.period):
            group = self.folder.groups[run.first + offset]
            title = f"{stem}.{offset + 1}" if run.period > 1 else stem
            for row in range(group.first, group.last + 1):
                self._row(row, title, group)
        carried = tuple((self.ids[written], self.ids[read]) for written, read in run.carried)
        self.blocks.append(Block(name, run.count, carried))
        for index in range(1, run.count):  # what later rows read of the last repetition, they read of the block
            for row, same in zip(rows, self.folder.rows(run.first, run.period, index), strict=True):
                kept, gone = self.trace.ops[row].outputs, self.trace.ops[same].outputs
                self.ids.update((b, self.ids[a]) for a, b in zip(kept, gone, strict=True))
                self._promote(kept, gone)

    def _promote(self, kept: Sequence[int], gone: Sequence[int]) -> None:
        for a, b in zip(kept, gone, strict=True):
            if self.trace.tensors[b].role == "output":
                self.tensors[self.ids[a]] = replace(self.tensors[self.ids[a]], role="output")

    def _row(self, row: int, title: str, group: Group) -> None:
        op, number = self.trace.ops[row], len(self.ops)
        stem = f"{group.stack}.{group.number}." if group.stack else f"{group.number}."
        inputs = tuple(dict.fromkeys(self._tensor(t, title, stem) for t in op.inputs))
        for tensor in inputs:
            self.tensors[tensor] = replace(self.tensors[tensor], last_use=number)
        name = f"{title}.{self.locals[row]}" if title else self.locals[row]
        outputs = []
        for tensor in op.outputs:
            suffix = self.trace.tensors[tensor].name.removeprefix(op.name)
            self.tensors.append(replace(self.trace.tensors[tensor], name=name + suffix, producer=number, last_use=-1))
            self.ids[tensor] = len(self.tensors) - 1
            outputs.append(self.ids[tensor])
        self.ops.append(replace(op, name=name, block=len(self.blocks), inputs=inputs, outputs=tuple(outputs)))

    def _tensor(self, tensor: int, title: str, stem: str) -> int:
        """New id of a tensor that is read; one that no row writes is made here."""
        if tensor not in self.ids:
            held = self.trace.tensors[tensor]
            inner = held.name.removeprefix(stem)
            name = f"{title}.{inner}" if title and inner != held.name else held.name
            self.tensors.append(replace(held, name=name, producer=-1, last_use=-1))
            self.ids[tensor] = len(self.tensors) - 1
        return self.ids[tensor]
