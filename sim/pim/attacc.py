"""Attention and matrix products on HBM3 stacks whose units share buffers with a softmax unit (AttAcc, Duplex).

A channel works on one head at a time. Its units split keys over the tokens (pseudo-channels, ranks and bank groups each
take their share) and over the head's dimensions (banks of a group); values the other way round. A round of heads, one a
channel, has a score phase, softmax and a context phase; two rounds overlap: while one multiplies, the other's operands
move between buffers (AttAcc, ASPLOS 2024, section 5; order of the moves as in its command model).

Lane 0 multiplies, lane 1 moves data; the steps of both are ordered by barriers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from models.pim import PimDevice
from sim.pim.fields import Array
from sim.pim.program import Program, bank_number

MULTIPLY, MOVE = 0, 1
#: Tokens (of one unit's share) between two moves of finished scores: a unit holds that many.
_SCORES_HELD = 16


@dataclass(frozen=True)
class Split:
    """How a channel's units share a matrix.

    Attributes:
        parallel: units that take different rows of the matrix.
        across: units that take different columns, whose sums are added.
        spread: how many places a buffer move goes to one by one.
    """

    parallel: int
    across: int
    spread: int


def split_of(device: PimDevice) -> Split:
    """Split of a device by the place of its units."""
    org = device.organisation
    if device.unit.place == "bank":
        return Split(
            org.pseudo_channels * org.ranks * org.bank_groups, org.banks_per_group, org.ranks * org.bank_groups
        )
    if device.mac == "MACSB":
        return Split(org.pseudo_channels * org.ranks * org.bank_groups, 1, org.ranks * org.bank_groups)
    return Split(org.pseudo_channels, 1, 1)


class UnitSets:
    """Where consecutive multiply commands of a channel go: which banks, which rows."""

    def __init__(self, program: Program) -> None:
        self.device = program.device
        org = self.device.organisation
        every = [
            (pc, rank, group)
            for pc in range(org.pseudo_channels)
            for rank in range(org.ranks)
            for group in range(org.bank_groups)
        ]
        same = [
            program.bank_set(bank_number(org, *where, bank) for where in every) for bank in range(org.banks_per_group)
        ]
        pairs = [
            program.bank_set(bank_number(org, pc, rank, group, bank) for pc in range(org.pseudo_channels))
            for bank in range(org.banks_per_group)
            for rank in range(org.ranks)
            for group in range(org.bank_groups)
        ]
        self.sets = np.array({"MACAB": [0], "MACSB": same, "MACPB": pairs}[self.device.mac], np.int64)
        self.burst_in_turn = self.device.mac == "MACPB"

    def at(self, bursts: Array) -> tuple[Array, Array]:
        """(set, row) of each burst, counted in commands from the start of the memory."""
        per_row, count = self.device.organisation.bursts_per_row, len(self.sets)
        if self.burst_in_turn:  # neighbours in other banks hide the distance of two bursts of one
            return self.sets[bursts % count], bursts // (count * per_row)
        drained = bursts // per_row
        return self.sets[drained % count], drained // count


@dataclass(frozen=True)
class Step:
    """Multiplications between two barriers, and the moves beside them.

    Attributes:
        first, bursts: multiply commands, counted from the start of the memory.
        moves: (command, how many) in order.
    """

    first: int
    bursts: int
    moves: tuple[tuple[str, int], ...] = ()


class AttentionProgram(Program):
    """A program of steps."""

    def __init__(self, device: PimDevice) -> None:
        super().__init__(device, lead=2)
        self.units = UnitSets(self)
        org = device.organisation
        self.places = [
            self.bank_set(bank_number(org, pc, rank, group, 0) for pc in range(org.pseudo_channels))
            for rank in range(org.ranks)
            for group in range(org.bank_groups)
        ]

    def moves(self, command: str, count: int) -> None:
        """Moves between buffers, ranks and bank groups in turn."""
        if command == "SFM" or split_of(self.device).spread == 1:
            self.add(command, 0 if command == "SFM" else self.places[0], count=count, lane=MOVE)
            return
        targets = np.array(self.places, np.int64)[np.arange(count) % len(self.places)]
        self.add_many(command, targets, np.full(count, -1, np.int64), lane=MOVE)

    def step(self, step: Step) -> None:
        """One step, without a barrier."""
        for command, count in step.moves:
            self.moves(command, count)
        self.add_many(self.device.mac, *self.units.at(step.first + np.arange(step.bursts, dtype=np.int64)))


@dataclass(frozen=True)
class Head:
    """One head on one channel.

    Attributes:
        key, value, end: first multiply command of its keys, its values and what follows, from the start of the memory.
        scores, contexts: bursts of each step of the two phases.
        writes: of the query to the units' buffers. loads: of the probabilities.
        stores: of the scores (contexts) of one step to the softmax buffer.
        queries: rows of its softmax.
    """

    key: int
    value: int
    end: int
    scores: tuple[int, ...]
    contexts: tuple[int, ...]
    writes: int
    loads: int
    score_stores: int
    context_stores: int
    queries: int


@dataclass(frozen=True)
class Load:
    """What a head has to do.

    Attributes:
        context: tokens. qk_dim, v_dim: elements of a key, of a value.
        queries: query heads that share the keys; units multiply ``unit.reuse`` of them at once.
    """

    context: int
    qk_dim: int
    v_dim: int
    queries: int


def head_of(device: PimDevice, first: int, load: Load) -> Head:
    """A head of a channel whose keys start at multiply command ``first``, counted from the start of the memory."""
    split, lanes = split_of(device), device.unit.lanes
    tokens = -(-load.context // split.parallel)
    columns, value_columns = (-(-dim // (split.across * lanes)) for dim in (load.qk_dim, load.v_dim))
    passes = -(-load.queries // device.unit.reuse)
    steps = [min(_SCORES_HELD, tokens - start) * columns * passes for start in range(0, tokens, _SCORES_HELD)]
    return Head(
        key=first,
        value=first + _whole_rows(device, tokens * columns),
        end=first + _whole_rows(device, tokens * columns) + _whole_rows(device, tokens * value_columns),
        scores=tuple(steps),
        contexts=(tokens * passes,) * value_columns,
        writes=-(-load.qk_dim // lanes) * load.queries,
        loads=split.spread * -(-load.context // (split.parallel * lanes)) * load.queries,
        score_stores=split.spread * load.queries,
        context_stores=context_stores(device) * load.queries,
        queries=load.queries,
    )


def context_stores(device: PimDevice) -> int:
    """Moves of one column of contexts to the softmax buffer, for one query."""
    split = split_of(device)
    return split.spread if split.across > 1 else split.spread // device.organisation.bank_groups or 1


def _whole_rows(device: PimDevice, bursts: int) -> int:
    per_row = device.organisation.bursts_per_row
    return -(-bursts // per_row) * per_row


def _phase(
    first: int, bursts: Sequence[int], stores: int, beside: Sequence[tuple[tuple[str, int], ...]]
) -> Iterator[Step]:
    """Steps of a phase: what a step finishes is stored beside the next one, the last one's beside nothing."""
    at = first
    for i, count in enumerate(bursts):
        stored = (("MVSB", stores),) if i else ()
        yield Step(at, count, stored + beside[i])
        at += count
    yield Step(at, 0, (("MVSB", stores),))


def _late_half(steps: int, softmax: int, loads: int) -> list[tuple[tuple[str, int], ...]]:
    """Softmax beside the first step, the probabilities' way to the units beside the second half of the steps."""
    half = steps // 2
    share = [loads * (i + 1) // (steps - half) - loads * i // (steps - half) for i in range(steps - half)]
    moves = [()] * half + [(("MVGB", count),) for count in share]
    return [((("SFM", softmax),) if i == 0 else ()) + move for i, move in enumerate(moves)]


def _spread(steps: int, command: str, count: int) -> list[tuple[tuple[str, int], ...]]:
    """Moves spread evenly beside all steps."""
    return [((command, count * (i + 1) // steps - count * i // steps),) for i in range(steps)]


def _pair(one: Head, two: Head) -> Iterator[list[Step]]:
    """Phases of two overlapping heads: score, score beside softmax, context beside softmax, context."""
    nothing: list[tuple[tuple[str, int], ...]] = [()] * len(two.contexts)
    yield [Step(one.key, 0, (("WRGB", one.writes),))]
    yield list(_phase(one.key, one.scores, one.score_stores, _spread(len(one.scores), "WRGB", two.writes)))
    yield list(_phase(two.key, two.scores, two.score_stores, _late_half(len(two.scores), one.queries, one.loads)))
    yield list(
        _phase(one.value, one.contexts, one.context_stores, _late_half(len(one.contexts), two.queries, two.loads))
    )
    yield list(_phase(two.value, two.contexts, two.context_stores, nothing))


def _single(head: Head) -> Iterator[list[Step]]:
    """Phases of one head alone."""
    yield [Step(head.key, 0, (("WRGB", head.writes),))]
    yield list(_phase(head.key, head.scores, head.score_stores, [()] * len(head.scores)))
    yield [Step(head.value, 0, (("SFM", head.queries), ("MVGB", head.loads)))]
    yield list(_phase(head.value, head.contexts, head.context_stores, [()] * len(head.contexts)))


def attention_program(device: PimDevice, heads: int, context: int, head_dim: int, queries: int = 1) -> Program:
    """Decode attention of one channel's heads, in overlapping pairs.

    Args:
        device: an AttAcc or Duplex.
        heads: key heads of the channel.
        context: tokens. head_dim: elements of a key.
        queries: query heads that share a key head.
    """
    return heads_program(device, [Load(context, head_dim, head_dim, queries)] * heads)


def heads_program(device: PimDevice, loads: Sequence[Load]) -> Program:
    """Decode attention of one channel's heads, any contexts, in overlapping pairs."""
    program = AttentionProgram(device)
    found: list[Head] = []
    for load in loads:
        found.append(head_of(device, found[-1].end if found else 0, load))
    for i in range(0, len(found) - 1, 2):
        _add_phases(program, _pair(found[i], found[i + 1]))
    if len(found) % 2:
        _add_phases(program, _single(found[-1]))
    return program


def _add_phases(program: AttentionProgram, phases: Iterator[list[Step]]) -> None:
    """A barrier ends every step that multiplies; the last stores of a phase run beside the next one."""
    for phase in phases:
        for step in phase:
            program.step(step)
            if step.bursts or step.moves[0][0] != "MVSB":
                program.barrier()


def gemv_program(device: PimDevice, out_features: int, in_features: int, batch: int) -> Program:
    """Product of one channel's share of a weight matrix with a batch of vectors.

    Units take different outputs, banks of a group different inputs; inputs are written to the units' buffers, outputs
    read from them.

    Args:
        device: an AttAcc or Duplex.
        out_features: outputs of the channel.
        in_features: inputs.
        batch: vectors; units multiply ``unit.reuse`` of them with each column.
    """
    program = AttentionProgram(device)
    split, lanes = split_of(device), device.unit.lanes
    outputs = -(-out_features // split.parallel)
    columns = -(-in_features // (split.across * lanes))
    bursts = outputs * columns
    for start in range(0, batch, device.unit.reuse):
        vectors = min(device.unit.reuse, batch - start)
        program.moves("WRGB", split.across * columns * vectors)
        program.barrier()
        program.step(Step(0, bursts))
        program.barrier()
        program.moves("MVSB", -(-outputs // lanes) * split.parallel * split.across * vectors)
        program.barrier()
    return program
