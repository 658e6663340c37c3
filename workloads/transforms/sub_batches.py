"""with_sub_batches: the requests of a step in several parts, so that one computes while another's attention runs.

Every row is done once for each part, with the part's requests and its own dependencies: multiply-accumulates and the
KV cache are divided, each part reads the weights. While the NPU multiplies for one part, attention of another may run
on processing in memory (NeuPIMs, ASPLOS 2024, section 6).

Requests are divided as NeuPIMs' algorithm 3 does it: every memory channel's list is cut in half, and the halves of odd
lists take the extra request in turn. Requests without a channel are dealt by length, there and back, so that parts
hold nearly equally many tokens. The tokens of an expert are divided in proportion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from workloads.dtypes import format_bytes
from workloads.errors import ChipsmithError
from workloads.trace import Block, Operator, Segment, Tensor, Trace
from workloads.transforms.edit import CACHES, applied, cache_before, noted, rebuilt, refuse_after

WHERE = "sub_batches"
CACHING = ("attention", "scan")
Parts = tuple[tuple[Segment, ...], ...]


def split_step(trace: Trace, parts: int, stages: bool = False) -> Trace:
    """See :meth:`workloads.trace.Trace.with_sub_batches`."""
    if parts < 1:
        raise ChipsmithError(WHERE, parts, "legal: at least 1")
    if WHERE in applied(trace):
        raise ChipsmithError(WHERE, trace.name, "is split already")
    refuse_after(trace, WHERE)
    if parts == 1:
        return trace
    split = Split(trace, parts)
    if stages:
        from workloads.transforms.sub_batch_stages import staged

        ops, blocks = staged(split)
    else:
        ops, blocks = split.interleaved()
    known = trace.with_meta(**_resident(trace))  # weights that parts read again are stored once
    return noted(rebuilt(known, ops, split.tensors, blocks), WHERE, parts=parts, stages=stages or None)


def step_pieces(trace: Trace) -> int:
    """Requests of a step: pieces of the first row that keeps a cache; 0 where none does."""
    return next((op.pieces for op in trace.ops if op.kind in CACHING), 0)


def _resident(trace: Trace) -> dict[str, object]:
    """What the memory holds, as it was before the split."""
    kv = trace.kv_read_bytes + sum(op.kv_write_bytes * trace.blocks[op.block].count for op in trace.ops)
    facts = {"parameter_bytes": trace.weight_bytes, "kv_cache_bytes": kv}
    return {name: value for name, value in facts.items() if name not in trace.meta}


# ---------------------------------------------------------------- who goes where


def dealt_requests(segments: Sequence[Segment], parts: int) -> Parts:
    """The requests of each part, equal ones grouped.

    Args:
        segments: of a row that keeps a cache.
        parts: how many.
    """
    lists: dict[int, list[Segment]] = {}
    for segment in segments:
        one = segment if segment.multiplicity == 1 else replace(segment, multiplicity=1)
        lists.setdefault(segment.placement, []).extend([one] * segment.multiplicity)
    if set(lists) == {-1}:
        return tuple(_grouped(part) for part in _there_and_back(lists[-1], parts))
    found: list[list[Segment]] = [[] for _ in range(parts)]
    turn = 0
    for channel in sorted(lists):
        sizes, turn = _turned(len(lists[channel]), parts, turn)
        start = 0
        for part, size in enumerate(sizes):
            found[part] += lists[channel][start : start + size]
            start += size
    return tuple(_grouped(part) for part in found)


def _there_and_back(pieces: list[Segment], parts: int) -> list[list[Segment]]:
    """Longest first, dealt 0 1 1 0 0 1 ..."""
    order = sorted(pieces, key=lambda s: (-s.new_tokens, -s.context))
    found: list[list[Segment]] = [[] for _ in range(parts)]
    for place, piece in enumerate(order):
        lap, part = divmod(place, parts)
        found[part if lap % 2 == 0 else parts - 1 - part].append(piece)
    return found


def _turned(size: int, parts: int, turn: int) -> tuple[list[int], int]:
    """Sizes of a list's shares, and whose turn it is to take the next odd one out."""
    each, extra = divmod(size, parts)
    takers = {(turn + i) % parts for i in range(extra)}
    return [each + (part in takers) for part in range(parts)], (turn + extra) % parts


def _grouped(pieces: Sequence[Segment]) -> tuple[Segment, ...]:
    """Equal pieces as one segment, in the order of their first."""
    found = Counter((piece.new_tokens, piece.context, piece.placement) for piece in pieces)
    return tuple(Segment(new, context, count, placement) for (new, context, placement), count in found.items())


def dealt_experts(segments: Sequence[Segment], shares: Sequence[int]) -> Parts:
    """The tokens of each expert (or head) divided in the ratio of ``shares``, within one token of exact."""
    left = [s.new_tokens for s in segments for _ in range(s.multiplicity)]
    kept = [s for s in segments for _ in range(s.multiplicity)]
    found: list[tuple[Segment, ...]] = []
    for part in range(len(shares)):
        mine = _portion(left, shares[part], sum(shares[part:]))
        left = [rest - taken for rest, taken in zip(left, mine, strict=True)]
        given = [replace(s, new_tokens=n, multiplicity=1) for s, n in zip(kept, mine, strict=True) if n]
        found.append(_runs(given))
    return tuple(found)


def _portion(tokens: Sequence[int], share: int, whole: int) -> list[int]:
    """``share / whole`` of every entry, rounded so that running sums are the exact ones rounded down."""
    taken, total = [], 0
    for count in tokens:
        before = total * share // whole
        total += count
        taken.append(total * share // whole - before)
    return taken


def _runs(pieces: Sequence[Segment]) -> tuple[Segment, ...]:
    """Equal neighbours as one segment: experts keep their order."""
    return tuple(replace(piece, multiplicity=len(list(group))) for piece, group in groupby(pieces))


# ---------------------------------------------------------------- rows and tensors of the parts


@dataclass
class Split:
    """The rows of every part of a step, made of one trace.

    Attributes:
        trace: the whole step.
        parts: how many.
        tensors: those of the trace, then the parts' own.
        rows: by part, the rows of the trace with the part's segments and tensors.
        ids: (tensor of the trace, part) to the part's tensor.
    """

    trace: Trace
    parts: int
    tensors: list[Tensor] = field(default_factory=list)
    rows: list[list[Operator]] = field(default_factory=list)
    ids: dict[tuple[int, int], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        caching = [op for op in self.trace.ops if op.kind in CACHING]
        if not caching:
            raise ChipsmithError(WHERE, self.trace.name, "legal: a step whose requests keep a cache or a state")
        if caching[0].pieces < self.parts:
            text = f"legal: at most {caching[0].pieces}, the requests of the step"
            raise ChipsmithError(WHERE, self.parts, text)
        first = dealt_requests(caching[0].segments, self.parts)
        self._requests = [sum(s.multiplicity for s in part) for part in first]
        self._tokens = [_tokens(part) for part in first]
        self.tensors = list(self.trace.tensors)
        pieces = [self._pieces(op, caching[0]) for op in self.trace.ops]
        for part in range(self.parts):
            self.rows.append([self._row(op, pieces[row][part], part) for row, op in enumerate(self.trace.ops)])

    def interleaved(self) -> tuple[list[Operator], list[Block]]:
        """Rows and blocks; in a block the parts take turns at each row that keeps a cache."""
        ops: list[Operator] = []
        for number in range(len(self.trace.blocks)):
            for stretch in self.stretches(number):
                ops += [self.rows[part][row] for part in range(self.parts) for row in stretch]
        return ops, [self.carried(block) for block in self.trace.blocks]

    def stretches(self, block: int) -> list[list[int]]:
        """Rows of a block, cut before and behind each one that keeps a cache."""
        mine = [row for row, op in enumerate(self.trace.ops) if op.block == block]
        cuts = [self.trace.ops[row].kind in CACHING for row in mine]
        found: list[list[int]] = []
        for place, row in enumerate(mine):
            if place == 0 or cuts[place] or cuts[place - 1]:
                found.append([])
            found[-1].append(row)
        return found

    def carried(self, block: Block) -> Block:
        """A block with the carried tensors of every part."""
        pairs = tuple((self.ids[w, p], self.ids[r, p]) for w, r in block.carried for p in range(self.parts))
        return replace(block, carried=pairs)

    def _pieces(self, op: Operator, first: Operator) -> Parts:
        """Segments of a row in every part."""
        if op.kind in CACHING:
            found = dealt_requests(op.segments, self.parts)
            if [_tokens(part) for part in found] != self._tokens:
                raise ChipsmithError(WHERE, op.name, f"legal: the same new tokens a request as in {first.name}")
            return found
        shares = self._shares(op.tokens)
        if min(shares) < 1:
            raise ChipsmithError(WHERE, self.parts, f"legal: at most {op.tokens}, the tokens of {op.name}")
        if op.per_segment_weights:
            return dealt_experts(op.segments, shares)
        return tuple((replace(op.segments[0], new_tokens=share, multiplicity=1),) for share in shares)

    def _shares(self, total: int) -> list[int]:
        """What each part has of ``total`` tokens (or elements): as many a token, or a request, as all have."""
        for counts in (self._tokens, self._requests):
            if total % sum(counts) == 0:
                return [total // sum(counts) * count for count in counts]
        shares, left = [], total
        for part in range(self.parts):
            shares.append(left * self._tokens[part] // sum(self._tokens[part:]))
            left -= shares[-1]
        return shares

    def _row(self, op: Operator, segments: tuple[Segment, ...], part: int) -> Operator:
        """A row of one part; makes its tensors."""
        own = replace(op, name=part_name(op.name, part), segments=segments)
        inputs = tuple(self._read(tensor, op, own, part) for tensor in op.inputs)
        outputs = tuple(self._copy(tensor, part, self._written(tensor, op, own)) for tensor in op.outputs)
        return replace(own, inputs=inputs, outputs=outputs)

    def _written(self, tensor: int, op: Operator, own: Operator) -> int:
        elements: int = self.trace.tensors[tensor].elements * own.tokens // op.tokens
        return elements

    def _read(self, tensor: int, op: Operator, own: Operator, part: int) -> int:
        """The part's tensor in the place of one that the row reads; weights are shared."""
        old = self.trace.tensors[tensor]
        if old.role == "weight":
            return tensor
        if (tensor, part) not in self.ids:
            self._copy(tensor, part, self._shares(old.elements)[part])
            if old.role in CACHES and op.kind in CACHING:
                at = self.ids[tensor, part]
                self.tensors[at] = cache_before(own, self.tensors[at])
        return self.ids[tensor, part]

    def _copy(self, tensor: int, part: int, elements: int) -> int:
        old = self.trace.tensors[tensor]
        size = format_bytes(elements, old.dtype)
        self.tensors.append(replace(old, name=part_name(old.name, part), elements=elements, bytes=size))
        self.ids[tensor, part] = len(self.tensors) - 1
        return self.ids[tensor, part]


def part_name(name: str, part: int) -> str:
    """Name of a part's row or tensor: ``layer.q_proj`` becomes ``layer.sub1.q_proj``."""
    prefix, dot, rest = name.partition(".")
    return f"{prefix}.sub{part + 1}.{rest}" if dot else f"sub{part + 1}.{name}"


def _tokens(segments: Sequence[Segment]) -> int:
    return sum(s.new_tokens * s.multiplicity for s in segments)
