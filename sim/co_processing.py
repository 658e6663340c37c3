"""Work that two engines do at once: feed-forward weights, experts, and the requests of a mixed step.

A policy names the second engine. A row that it takes a part of becomes two rows that read the same inputs and write
parts of the same output; ``device_group`` of the second names its engine. Shares come from both engines' own prices, so
that both end as close together as the row can be cut.

AttAcc (Park et al., ASPLOS 2024) divides the feed-forward weights of decode between GPU and memory. Duplex (Yun et al.,
MICRO 2024) gives experts with few tokens to memory and those with many to the xPU, and attention of prompts to the xPU
while memory attends for requests that decode.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.chip import Chip, ChipTable
from sim.demand import AUTO, FIDELITIES, OK, TILE
from sim.engine import Array, find_engine, new_demands, plain_loop
from sim.lower import lower
from sim.mapping import Mapping, place
from workloads.errors import ChipsmithError, nearest
from workloads.trace import Block, Operator, Segment, Trace
from workloads.transforms.edit import Edit
from workloads.transforms.head_groups import PART, part_name

#: Ends of the names of feed-forward projections (workloads/layers/ffn.py, experts.py).
FEED_FORWARD = ("up_proj", "gate_proj", "down_proj")
#: Shares of a dense row that are tried.
_SHARES = 64


def co_processed(trace: Trace, chip: Chip) -> Trace:
    """The trace with the rows that the chip's policy divides between two engines.

    Raises:
        ChipsmithError: the policy names an engine that the chip does not have.
    """
    second = chip.policy.co_process
    if not second:
        return trace
    if second not in chip.engines:
        raise ChipsmithError("chip.policy.co_process", second, nearest(second, chip.engines))
    engines = place(trace, chip, Mapping("auto"))
    carried = {tensor for block in trace.blocks for pair in block.carried for tensor in pair}
    edit = Edit(trace)
    for row, op in enumerate(trace.ops):
        first = engines.names[engines.engine_of[row]]
        if first == second:
            first = _other(chip, op)
        if not first or carried.intersection(op.outputs):
            continue
        pair = _Pair(chip, first, second)
        parts = _parts(op, pair)
        if parts is not None:
            _divide(edit, row, parts, pair)
    return edit.done()


def _other(chip: Chip, op: Operator) -> str:
    """The engine that runs an operator where the second of the policy is not there; empty where none does."""
    for name, spec in chip.engines.items():
        family = find_engine(spec.type)
        takes = op.kind in family.kinds and (family.accepts is None or family.accepts(spec, op))
        if takes and name != chip.policy.co_process:
            return name
    return ""


@dataclass(frozen=True)
class _Pair:
    """The two engines of a row."""

    chip: Chip
    first: str
    second: str

    def seconds(self, ops: Sequence[Operator]) -> tuple[Array, Array, Array]:
        """Seconds of every operator on the first engine, on the second, and what the second takes from the first.

        The last is the time for which the second's transfers keep the bus of a memory that both use. Infinite where an
        engine can't run an operator.
        """
        rows = lower(Trace("parts", tuple(replace(op, block=0) for op in ops), (), (Block("parts"),)))
        first, _ = self._on(self.first, rows.ops, rows.trace_row, len(ops))
        second, bus = self._on(self.second, rows.ops, rows.trace_row, len(ops))
        shared = self.chip.engines[self.first].memory == self.chip.engines[self.second].memory
        return first, second, bus if shared else np.zeros(len(ops))

    def _on(self, name: str, rows: Array, owner: Array, count: int) -> tuple[Array, Array]:
        """Seconds, and seconds of the memory's bus, of ``count`` operators on one engine."""
        spec = self.chip.engines[name]
        engine, table, path = find_engine(spec.type), ChipTable(self.chip), f"engines.{name}"
        params, out = engine.pack(table, path), new_demands(1, len(rows))
        records, status = np.zeros((1, len(rows)), engine.mapping), np.zeros((1, len(rows)), np.int64)
        if engine.loop is None:
            status = plain_loop(engine, rows, params, records, FIDELITIES[TILE], out)
        else:
            engine.loop(rows, params, records, AUTO, TILE, out, status)
        cycles = np.where(status[0] == OK, out["cycles"][0], np.inf)
        bus = np.bincount(owner, out["memory"][0], count) / self.chip.memories[spec.memory].bandwidth_bytes_per_s
        return np.bincount(owner, cycles, count) / spec.clock_hz, bus


def _parts(op: Operator, pair: _Pair) -> tuple[Operator, Operator] | None:
    """The parts of a row for both engines; None where it stays whole."""
    policy = pair.chip.policy.co_process_parts
    if op.kind == "attention":
        return _by_phase(op) if "attention" in policy else None
    if op.kind != "gemm" or not op.name.endswith(FEED_FORWARD) or not op.weight_is_param:
        return None
    if op.per_segment_weights:
        return _by_expert(op, pair) if "experts" in policy else None
    return _by_weights(op, pair) if "ffn" in policy and op.phase == "decode" else None


def _by_phase(op: Operator) -> tuple[Operator, Operator] | None:
    """Prompts on the first engine, decoding requests on the second."""
    decoding = tuple(s for s in op.segments if s.new_tokens == 1)
    prompts = tuple(s for s in op.segments if s.new_tokens > 1)
    return (replace(op, segments=prompts), replace(op, segments=decoding)) if decoding and prompts else None


def _by_weights(op: Operator, pair: _Pair) -> tuple[Operator, Operator] | None:
    """The share of the columns, or of the rows, of a weight matrix that ends both parts soonest."""
    cuts = [cut for share in range(1, _SHARES) for cut in (_columns(op, share), _rows(op, share)) if cut is not None]
    firsts, seconds = [cut[0] for cut in cuts], [cut[1] for cut in cuts]
    _, near, bus = pair.seconds(seconds)
    ends = np.maximum(pair.seconds(firsts)[0] + bus, near)
    best = int(np.argmin(ends))
    whole = float(pair.seconds([op])[0][0])
    return cuts[best] if ends[best] < whole else None


def _columns(op: Operator, share: int) -> tuple[Operator, Operator] | None:
    """Output features divided; ``share`` of ``_SHARES`` to the second part."""
    n = op.n * share // _SHARES
    bias = op.param_width * n // op.n
    return (
        (replace(op, n=op.n - n, param_width=op.param_width - bias), replace(op, n=n, param_width=bias)) if n else None
    )


def _rows(op: Operator, share: int) -> tuple[Operator, Operator] | None:
    """Input features divided: both write sums of all outputs, which whoever reads them adds."""
    k = op.k * share // _SHARES
    return (replace(op, k=op.k - k), replace(op, k=k, param_width=0)) if k else None


def _by_expert(op: Operator, pair: _Pair) -> tuple[Operator, Operator] | None:
    """Experts with the fewest tokens on the second engine, as many as end both parts soonest."""
    experts = sorted(s.new_tokens for s in op.segments for _ in range(s.multiplicity) if s.new_tokens > 0)
    kinds = sorted(set(experts))
    on_first, on_second, bus = pair.seconds([replace(op, segments=(Segment(tokens),)) for tokens in kinds])
    where = [kinds.index(tokens) for tokens in experts]
    few = np.concatenate([[0.0], np.cumsum(on_second[where])])
    left = np.concatenate([np.cumsum(on_first[where][::-1])[::-1], [0.0]])
    many = np.where(left > 0, left + np.concatenate([[0.0], np.cumsum(bus[where])]), 0.0)
    best = int(np.argmin(np.maximum(few, many)))
    if best == 0:
        return None
    return _experts(op, experts[best:]), _experts(op, experts[:best])


def _experts(op: Operator, tokens: Sequence[int]) -> Operator:
    counts = {size: tokens.count(size) for size in dict.fromkeys(tokens)}
    return replace(op, segments=tuple(Segment(size, 0, copies) for size, copies in counts.items()))


def _divide(edit: Edit, row: int, parts: tuple[Operator, Operator], pair: _Pair) -> None:
    """Put two parts in the place of a row; whoever reads its output reads both. A part without work is left out."""
    whole = edit.ops[row]
    if not parts[0].segments:
        edit.ops[row] = replace(whole, device_group=pair.second)
        return
    extra = []
    for tensor in whole.outputs:
        old = edit.tensors[tensor]
        kept, moved = (old.elements * part.output_elements // whole.output_elements for part in parts)
        extra.append(edit.tensor(f"{old.name}{PART}{pair.second}", old.role, moved, old.dtype))
        edit.resize(tensor, kept)
    edit.ops[row] = replace(parts[0], inputs=whole.inputs, device_group=pair.first)
    moved_row = replace(parts[1], inputs=whole.inputs, outputs=tuple(extra), device_group=pair.second)
    edit.after(row, replace(moved_row, name=part_name(moved_row, pair.second)))
    for at, op in enumerate(edit.ops):
        added = tuple(new for old, new in zip(whole.outputs, extra, strict=True) if old in op.inputs)
        edit.ops[at] = replace(op, inputs=(*op.inputs, *added)) if added else op
