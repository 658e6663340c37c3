"""Operators that overlap on one memory at ``command``: their streams are simulated as one mixed stream.

Each operator was priced with its own mix. Where two engines use a memory at the same time the channel sees both mixes
at once, which takes another time than one after the other: usually longer (more rows, more turns of the bus), now and
then shorter. The timeline is played, the overlapping pairs are found, each pair's blend is simulated (kept by pair and
proportion), the operators' needs grow by the share of their time that they overlap, and the timeline is played again
until the needs no longer change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sim.engine import Array, Engine
from sim.memory.amounts import moved_bytes
from sim.memory.mixes import Mix, blend
from sim.memory.traffic import Memories, Reprice, reprice

#: chip -> (start, end) of every instance of the plan, s.
Times = Callable[[int], tuple[Array, Array]]
ROUNDS = 6  # how often the timeline is played at most
SETTLED = 1e-3  # relative change of the needs below which it is not played again
_EIGHTHS = 8  # grid of a pair's proportion


class Overlaps:
    """The mixes of a trace's operators, by memory.

    Args:
        memories: channels of the table's chips (n).
    """

    def __init__(self, memories: Memories) -> None:
        self.memories = memories
        #: memory -> [chip][trace row] -> (bytes of the row's largest part, its mix, bytes of all parts)
        self._rows: dict[str, list[dict[int, tuple[float, Mix, float]]]] = {}

    def price(self, engine: Engine, path: str, ops: Array, params: Array, out: Array, price: Reprice) -> None:
        """Price the memory traffic of one engine's rows and note their mixes; arguments as of :func:`reprice`."""
        moved = moved_bytes(out).astype(float)
        name, chips = reprice(self.memories, engine, path, ops, params, out, price)
        for i, own in enumerate(chips):
            rows = self._rows.setdefault(name, [{} for _ in chips])[i]
            for j, mix in enumerate(own):
                if mix:
                    _note(rows, int(ops[j]["row"]), float(moved[i, j]), mix)

    def mix(self, resources: Sequence[str], need: Array, times: Times, op: Array) -> None:
        """Change the needs of operators that overlap on a memory.

        Args:
            resources: names, R. need: seconds at full share, (n, ops, R), changed in place.
            times: plays the timeline of one chip with the needs as they are.
            op: trace row of every instance of the plan, (N,).
        """
        for name, rows in self._rows.items():
            where = resources.index(f"memory:{name}")
            for i in range(len(need)):
                if len(rows[i]) > 1:
                    self._settle(name, i, need[i, :, where], lambda i=i: times(i), op)  # type: ignore[misc]  # bound now

    def _settle(self, name: str, chip: int, need: Array, times: Callable[[], tuple[Array, Array]], op: Array) -> None:
        alone = need.copy()
        floor = self._floor(name, chip, len(need))
        known = (alone > 0.0) & np.isin(np.arange(len(alone)), list(self._rows[name][chip]))
        for _ in range(ROUNDS):
            pairs = overlapping(*times(), op, known)
            wanted = alone.copy()
            for (row, other), share in pairs.items():
                wanted[row] += alone[row] * share * (self._growth(name, chip, row, other, pairs) - 1.0)
            wanted = np.maximum(wanted, floor)
            change = np.abs(wanted - need) / np.where(need > 0.0, need, 1.0)
            need[:] = wanted
            if change.max() < SETTLED:
                return

    def _floor(self, name: str, chip: int, rows: int) -> Array:
        """Needs at the peak, which no mix beats, s."""
        floor = np.zeros(rows)
        for row, (_, _, moved) in self._rows[name][chip].items():
            floor[row] = moved / self.memories.bandwidth_bytes_per_s(name, chip)
        return floor

    def _growth(self, name: str, chip: int, row: int, other: int, pairs: Mapping[tuple[int, int], float]) -> float:
        """Time of both streams as one over their times one after the other."""
        first, second = self._rows[name][chip][row], self._rows[name][chip][other]
        together = first[2] * pairs[row, other], second[2] * pairs.get((other, row), 0.0)
        eighths = round(_EIGHTHS * together[0] / sum(together))
        if eighths in (0, _EIGHTHS):
            return 1.0
        share = eighths / _EIGHTHS
        rates = [self.memories.efficiency(name, chip, mix) for mix in (first[1], second[1])]
        both = self.memories.efficiency(name, chip, blend(first[1], second[1], eighths))
        return 1.0 / both / (share / rates[0] + (1.0 - share) / rates[1])


def _note(rows: dict[int, tuple[float, Mix, float]], row: int, moved: float, mix: Mix) -> None:
    largest, kept, total = rows.get(row, (0.0, mix, 0.0))
    rows[row] = (moved, mix, total + moved) if moved > largest else (largest, kept, total + moved)


def overlapping(start: Array, end: Array, op: Array, uses: Array) -> dict[tuple[int, int], float]:
    """Share of an operator's time in which another one runs beside it.

    Args:
        start, end: of every instance, s. op: its trace row. uses: trace rows that count.

    Returns:
        (row, other row) to the overlapped time of all instances of ``row`` over their own time; 0 to the number of
        engines beside it. Without pairs that do not overlap, and without a row beside itself.
    """
    order = [int(i) for i in np.argsort(start, kind="stable") if uses[op[i]] and end[i] > start[i]]
    shared: dict[tuple[int, int], float] = {}
    own: dict[int, float] = {}
    for place, a in enumerate(order):
        row = int(op[a])
        own[row] = own.get(row, 0.0) + float(end[a] - start[a])
        for b in order[place + 1 :]:
            if start[b] >= end[a]:
                break
            beside = float(min(end[a], end[b]) - start[b])
            other = int(op[b])
            if other != row and beside > 0.0:
                shared[row, other] = shared.get((row, other), 0.0) + beside
                shared[other, row] = shared.get((other, row), 0.0) + beside
    return {pair: time / own[pair[0]] for pair, time in shared.items()}
