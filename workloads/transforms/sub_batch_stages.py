"""Two sub-batches in the stages of NeuPIMs' simulator (casys-kaist/NeuPIMs f299af3), a barrier behind each.

Of a layer, ``before`` is what comes before attention (norm, projections to queries, keys and values), ``after`` what
comes behind it::

    A  before(1)                                D  after(2), before(2) of the next layer | attention(1)
    B  before(2)                 | attention(1) E  after(1)                              | attention(2)
    C  after(1), before(1) next  | attention(2) F  after(2)

C and D repeat for all layers but the last, so the rows of a layer are rotated: a block of A and B, one of C and D with
carried tensors, one of E and F. Barriers are tensors of no element that the last rows of a stage write and the first
rows of the next one read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Tensor
from workloads.transforms.sub_batches import CACHING, WHERE, Split

#: (part, what of the layer) of each stage, in trace order.
Work = tuple[tuple[int, str], ...]
_AB: tuple[Work, ...] = (((0, "before"),), ((1, "before"), (0, "attention")))
_CD: tuple[Work, ...] = (
    ((0, "after"), (0, "before"), (1, "attention")),
    ((1, "after"), (1, "before"), (0, "attention")),
)
_EF: tuple[Work, ...] = (((0, "after"), (1, "attention")), ((1, "after"),))


def staged(split: Split) -> tuple[list[Operator], list[Block]]:
    """Rows and blocks of two parts in stages.

    Raises:
        ChipsmithError: other than two parts, no block with one row that keeps a cache, or several such blocks.
    """
    layer = _layer(split)
    build = _Stages(split, layer)
    for number, block in enumerate(split.trace.blocks):
        if number == layer:
            build.layers(block)
        else:
            build.plain(number)
    return build.ops, build.blocks


def _layer(split: Split) -> int:
    """The block of layers."""
    if split.parts != 2:
        raise ChipsmithError(WHERE, split.parts, "legal: 2, stages are those of two sub-batches")
    rows = [op for op in split.trace.ops if op.kind in CACHING]
    if len(rows) != 1:
        text = f"legal: one row that keeps a cache in one block of layers, found {len(rows)}"
        raise ChipsmithError(WHERE, split.trace.name, text)
    return rows[0].block


@dataclass(frozen=True)
class _Emitted:
    """A row of a stage: where it stands, its part and the row of the trace that it comes from."""

    place: int
    part: int
    row: int


class _Stages:
    """Rows, blocks and tensors while they are put together; ``env`` holds what stands for a part's tensor now."""

    def __init__(self, split: Split, layer: int) -> None:
        self.split, self.tensors = split, split.tensors
        self.ops: list[Operator] = []
        self.blocks: list[Block] = []
        self.env: dict[int, int] = {}
        before, attention, after = self._thirds(layer)
        self._rows = {"before": before, "attention": attention, "after": after}

    def _thirds(self, layer: int) -> Sequence[Sequence[int]]:
        stretches = self.split.stretches(layer)
        place = next(i for i, rows in enumerate(stretches) if self.split.trace.ops[rows[0]].kind in CACHING)
        if len(stretches) != 3 or place != 1:
            raise ChipsmithError(WHERE, self.split.trace.name, "legal: layers with rows before and behind attention")
        return stretches

    def plain(self, number: int) -> None:
        """A block beside the layers, parts one after the other."""
        for stretch in self.split.stretches(number):
            for part in range(self.split.parts):
                for row in stretch:
                    self._emit(part, row, "")
        self.blocks.append(self.split.carried(self.split.trace.blocks[number]))

    def layers(self, block: Block) -> None:
        """The three blocks that stand for the layers."""
        control = self._block("A", _AB, block, {})
        if block.count > 1:
            entry = dict(self.env)
            first, began = control, len(self.ops)
            control = self._block("C", _CD, block, control, block.count - 1)
            self._carry(entry, first, control, began)
        self._block("E", _EF, block, control)

    def _block(
        self, letter: str, stages: Sequence[Work], layer: Block, control: Mapping[tuple[int, int], int], count: int = 1
    ) -> dict[tuple[int, int], int]:
        """A block of two stages behind a barrier; returns the barrier behind it, by part and row."""
        held = dict(control)
        for offset, work in enumerate(stages):
            name = chr(ord(letter) + offset)
            held = self._stage(name, work, held, layer)
        self.blocks.append(Block(f"stages {letter}-{chr(ord(letter) + 1)}", count))
        return held

    def _stage(
        self, name: str, work: Work, control: Mapping[tuple[int, int], int], layer: Block
    ) -> dict[tuple[int, int], int]:
        """All rows of a stage; returns its barrier."""
        emitted: list[_Emitted] = []
        for part, what in work:
            if what == "before" and any(third == "after" and p == part for p, third in work):
                self._next_layer(part, layer)
            emitted += [self._emit(part, row, f"{name}.") for row in self._rows[what]]
        self._wait(emitted, control)
        return self._barrier(emitted)

    def _next_layer(self, part: int, layer: Block) -> None:
        """What a layer has written becomes what the next one reads."""
        ids = self.split.ids
        moved = {ids[read, part]: self._now(ids[written, part]) for written, read in layer.carried}
        self.env.update(moved)

    def _now(self, tensor: int) -> int:
        return self.env.get(tensor, tensor)

    def _emit(self, part: int, row: int, prefix: str) -> _Emitted:
        """A copy of a part's row at the end; with a prefix it writes tensors of its own."""
        op = self.split.rows[part][row]
        inputs = tuple(self._now(t) for t in op.inputs)
        if prefix:
            for t in op.outputs:
                self.env[t] = self._add(replace(self.tensors[t], name=prefix + self.tensors[t].name))
        outputs = tuple(self._now(t) for t in op.outputs)
        name = prefix + op.name
        self.ops.append(replace(op, name=name, block=len(self.blocks), inputs=inputs, outputs=outputs))
        return _Emitted(len(self.ops) - 1, part, row)

    def _add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _wait(self, emitted: Sequence[_Emitted], control: Mapping[tuple[int, int], int]) -> None:
        """The first rows of a stage read the barrier."""
        written = {t for row in emitted for t in self.ops[row.place].outputs}
        for row in emitted:
            op = self.ops[row.place]
            if not written & set(op.inputs):
                self.ops[row.place] = replace(op, inputs=(*op.inputs, *control.values()))

    def _barrier(self, emitted: Sequence[_Emitted]) -> dict[tuple[int, int], int]:
        """The last rows of a stage write tensors of no element."""
        read = {t for row in emitted for t in self.ops[row.place].inputs}
        found: dict[tuple[int, int], int] = {}
        for row in emitted:
            op = self.ops[row.place]
            if not read & set(op.outputs):
                token = self._add(Tensor(f"{op.name}.done", "activation", 0, op.out, 0))
                self.ops[row.place] = replace(op, outputs=(*op.outputs, token))
                found[row.part, row.row] = token
        return found

    def _carry(
        self,
        entry: Mapping[int, int],
        first: Mapping[tuple[int, int], int],
        last: Mapping[tuple[int, int], int],
        began: int,
    ) -> None:
        """Carried tensors of the block of C and D: what it read at first, and what it has written in that place."""
        read = {t for op in self.ops[began:] for t in op.inputs}
        pairs = [(self.env[t], entry.get(t, t)) for t in self.env if entry.get(t, t) in read]
        pairs += [(last[key], first[key]) for key in first]
        block = self.blocks[-1]
        carried = tuple((w, r) for w, r in pairs if w != r)
        self.blocks[-1] = replace(block, carried=carried if block.count > 1 else ())
