"""The one evaluation behind `simulate` and `sim.batch`: many chips, one trace, all kernels.

`simulate` is this with a table of one chip, so the explorer and the simulator cannot drift apart.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from models.chip import ChipTable
from models.prices import Prices, price
from sim.capacity import needed_bytes
from sim.demand import FIDELITIES, MODES, NO_MEMORY, OK
from sim.engine import Array, Engine, new_demands, plain_loop
from sim.lower import Rows, lower
from sim.mapping import Mapping, Placement, place
from sim.memory.amounts import floor_at_peak
from sim.policy import arranged
from sim.timeline import UNROLL, Plan, plan, play, play_many
from workloads.errors import ChipsmithError, nearest
from workloads.trace import Trace

if TYPE_CHECKING:
    from sim.memory.overlap import Overlaps

#: Closed list of energy components; static ones integrate over the makespan.
DYNAMIC = ("mac", "vector", "regfile", "sram", "noc", "dram_core", "dram_io", "link")
STATIC = ("dram_background", "leakage", "clock")
COMPONENTS = DYNAMIC + STATIC


@dataclass(frozen=True)
class Evaluation:
    """Everything known about ``n`` chips on one trace.

    Attributes:
        trace: the trace as the chips' policy arranges it; ``ops`` operators.
        table: the chips. fidelity: how rows were priced.
        placement: engines and who runs where.
        rows: operator rows (k).
        demands: per engine: (indices into rows, demands (n, rows of it), mapping records (n, rows of it)).
        prices: area and event prices.
        resources: names of the shared resources (R).
        fixed, busy: seconds at full share, (n, ops); need: (n, ops, R).
        energy_pj: dynamic energy of one iteration, (n, ops, components).
        power_w: static power per component, (n, len(STATIC)).
        makespan_s: (n,); NaN where illegal.
        status: (n,), codes of sim/demand.py.
        plan: the unrolled dependency table.
        unrolls: iterations unrolled per chip, (n,).
    """

    trace: Trace
    table: ChipTable
    fidelity: str
    placement: Placement
    rows: Rows
    demands: dict[int, tuple[Array, Array, Array]]
    prices: Prices
    resources: tuple[str, ...]
    fixed: Array
    busy: Array
    need: Array
    energy_pj: Array
    power_w: Array
    makespan_s: Array
    status: Array
    plan: Plan
    unrolls: Array
    counts: Array = field(default_factory=lambda: np.zeros(0))


def evaluate_chips(trace: Trace, table: ChipTable, mapping: Mapping, fidelity: str = "tile") -> Evaluation:
    """Price every operator on every chip and play the timelines.

    Args:
        trace: a checked trace.
        table: the chips, n rows.
        mapping: searched, heuristic or given.
        fidelity: one of ``FIDELITIES``.

    Raises:
        ChipsmithError: unknown fidelity, no engine for an operator, a mapping that does not match the trace.
    """
    if fidelity not in FIDELITIES:
        raise ChipsmithError("fidelity", fidelity, nearest(fidelity, FIDELITIES))
    trace = arranged(trace, table.base)
    placement = place(trace, table.base, mapping)
    _check_forced(trace, table, placement, mapping)
    rows = lower(trace)
    n, ops = table.n, len(trace.ops)
    prices = prices_of(table)
    status = _capacity_status(trace, table, placement, rows)
    resources = _Resources(table, placement)
    fixed, busy = np.zeros((n, ops)), np.zeros((n, ops))
    need = np.zeros((n, ops, max(1, len(resources.names))))
    energy = np.zeros((n, ops, len(DYNAMIC)))
    demands = {}
    overlaps = _overlaps(table) if fidelity == "command" else None
    for index, engine in enumerate(placement.engines):
        mine = np.array([j for j, row in enumerate(rows.trace_row) if placement.engine_of[int(row)] == index], np.int64)
        if len(mine) == 0:
            continue
        out, records = _price_engine(
            engine, placement.paths[index], rows, mine, table, mapping, fidelity, trace, status, overlaps
        )
        demands[index] = (mine, out, records)
        hz = _clock(table, placement.paths[index])
        charges = event_prices(prices, table, placement, index)
        trace_rows, each = rows.trace_row[mine], hz[:, None]
        _add_rows(fixed, trace_rows, out["fixed"] / each)
        _add_rows(busy, trace_rows, out["busy"] / each)
        for role, (where, capacity) in resources.of(index).items():
            _add_rows(need[:, :, where], trace_rows, out[role] / capacity[:, None])
        for component, events in charges.items():
            for event, pj in events:
                _add_rows(energy[:, :, DYNAMIC.index(component)], trace_rows, out[event] * pj[:, None])
    counts = np.array([trace.blocks[op.block].count for op in trace.ops], np.int64)
    unrolled = plan(trace, placement.engine_of)
    if overlaps is not None:
        overlaps.mix(resources.names, need, lambda i: _first_times(unrolled, fixed[i], busy[i], need[i]), unrolled.op)
    makespan, unrolls = _play(trace, placement, unrolled, fixed, busy, need, status)
    return Evaluation(
        trace, table, fidelity, placement, rows, demands, prices, resources.names, fixed, busy, need, energy,
        static_power(prices, n), makespan, status, unrolled, unrolls, counts,
    )  # fmt: skip


def _overlaps(table: ChipTable) -> Overlaps:
    """The channel model; loaded when it is asked for, so that a run at ``tile`` starts without it."""
    from sim.memory.overlap import Overlaps
    from sim.memory.traffic import Memories

    return Overlaps(Memories(table))


_PRICED: WeakKeyDictionary[ChipTable, Prices] = WeakKeyDictionary()


def prices_of(table: ChipTable) -> Prices:
    """Prices of a table, computed once for each table object (tables are never changed)."""
    found = _PRICED.get(table)
    if found is None:
        found = _PRICED[table] = price(table)
    return found


class _Resources:
    """Names of the chip's shared resources, and which role of which engine means which."""

    def __init__(self, table: ChipTable, placement: Placement) -> None:
        names: list[str] = []
        self._of: list[dict[str, tuple[int, Array]]] = []
        for engine, path in zip(placement.engines, placement.paths, strict=True):
            bound = {}
            for role, (name, capacity) in engine.resources(table, path).items():
                if name not in names:
                    names.append(name)
                bound[role] = (names.index(name), capacity)
            self._of.append(bound)
        self.names = tuple(names)

    def of(self, index: int) -> dict[str, tuple[int, Array]]:
        """Role to (resource index, capacity per second, shape (n,)) of one engine."""
        return self._of[index]


def _clock(table: ChipTable, path: str) -> Array:
    """Engine cycles per second; links count in seconds."""
    return table.column(f"{path}.clock_hz") if path.startswith("engines.") else np.ones(table.n)


def _check_forced(trace: Trace, table: ChipTable, placement: Placement, mapping: Mapping) -> None:
    """Refuse operators that a mapping puts where they can't run."""
    for row, op in enumerate(trace.ops):
        index = placement.engine_of[row]
        check = placement.engines[index].check
        if op.name in mapping.engines and check is not None:
            check(table.base.engines[placement.names[index]], op, f"mapping.engines.{op.name}")


def _capacity_status(trace: Trace, table: ChipTable, placement: Placement, rows: Rows) -> Array:
    status = np.full(table.n, OK, np.int64)
    for name, need in needed_bytes(trace, table, placement, rows).items():
        status[table.column(f"memories.{name}.capacity_bytes") < need] = NO_MEMORY
    return status


def _price_engine(
    engine: Engine,
    path: str,
    rows: Rows,
    mine: Array,
    table: ChipTable,
    mapping: Mapping,
    fidelity: str,
    trace: Trace,
    status: Array,
    overlaps: Overlaps | None,
) -> tuple[Array, Array]:
    """Demands and mapping records of one engine's rows; updates the chips' status."""
    params = engine.pack(table, path)
    ops = rows.ops[mine]
    records = np.zeros((table.n, len(mine)), engine.mapping)
    mode = MODES.index(mapping.source)
    if mapping.source == "given" and fidelity != "bound":
        mode = _fill_given(engine, rows, mine, mapping, trace, records)
    own = any(level == fidelity for _, level in engine.kernels)  # an engine may price ``command`` itself
    level = fidelity if own else "tile"
    out, codes = _run(engine, ops, params, records, mode, level)
    worst = codes.max(axis=1)
    np.copyto(status, worst, where=(status == OK) & (worst != OK))
    if fidelity == "bound":
        floor_at_peak(engine, table, path, out)
    if overlaps is not None and not own:

        def again(changed: Array, at: Array) -> Array:
            return _again(engine, ops[at], changed, records[:, at])

        overlaps.price(engine, path, ops, params, out, again)
    return out, records


def _again(engine: Engine, ops: Array, params: Array, records: Array) -> Array:
    """Demands of mappings that ``tile`` found, with other parameters."""
    return _run(engine, ops, params, records, MODES.index("given"), "tile")[0]


def _run(engine: Engine, ops: Array, params: Array, records: Array, mode: int, fidelity: str) -> tuple[Array, Array]:
    """Demands and status codes, (n, k), of an engine's kernels; ``records`` hold the mapping, or are filled."""
    out = new_demands(len(params), len(ops))
    if engine.loop is None:
        return out, plain_loop(engine, ops, params, records, fidelity, out)
    codes = np.zeros(out.shape, np.int64)
    own = np.ascontiguousarray(records)
    engine.loop(ops, params, own, mode, FIDELITIES.index(fidelity), out, codes)
    return out, codes


def _fill_given(engine: Engine, rows: Rows, mine: Array, mapping: Mapping, trace: Trace, records: Array) -> int:
    if engine.mapping_from_dict is None:
        return MODES.index("given")
    seen: dict[int, int] = {}
    for slot, j in enumerate(mine):
        row = int(rows.trace_row[j])
        number = seen.setdefault(row, 0)
        seen[row] += 1
        name = trace.ops[row].name
        tiles = mapping.tiles.get(name, ())
        if number >= len(tiles):
            if not tiles and trace.ops[row].kind != "gemm":
                continue
            raise ChipsmithError(f"mapping.tiles.{name}", len(tiles), "one entry per distinct segment is required")
        engine.mapping_from_dict(tiles[number], records[0, slot], f"mapping.tiles.{name}[{number}]")
    records[1:] = records[0]
    return MODES.index("given")


def event_prices(
    prices: Prices, table: ChipTable, placement: Placement, index: int
) -> dict[str, tuple[tuple[str, Array], ...]]:
    """Energy component to (event, pJ each (n,)) for the operators of one engine."""
    path, name = placement.paths[index], placement.names[index]
    if path.startswith("links."):
        return {"link": (("link_bytes", prices.links_pj_per_byte[path.split(".")[1]]),)}
    own = prices.engines[name]
    memory = prices.memories[table.base.engines[name].memory]
    vector = next((n for n, s in table.base.engines.items() if s.type == "vector"), name)
    usual = {
        "mac": (("macs", own.mac_pj),),
        "vector": (("vector_ops", prices.engines[vector].vector_op_pj),),
        "regfile": (("reg_bytes", own.regfile_pj_per_byte),),
        "sram": (("sram_read_bytes", own.sram_read_pj_per_byte), ("sram_write_bytes", own.sram_write_pj_per_byte)),
        "noc": (("noc_bytes", own.noc_pj_per_byte),),
        "dram_core": (("dram_read_bytes", memory.core_pj_per_byte), ("dram_write_bytes", memory.core_pj_per_byte)),
        "dram_io": (("dram_read_bytes", memory.io_pj_per_byte), ("dram_write_bytes", memory.io_pj_per_byte)),
    }
    return {**usual, **own.charges}


def _add_rows(total: Array, trace_rows: Array, values: Array) -> None:
    """Add what operator rows (n, rows) take to their operators (n, ops), in the order of the rows."""
    np.add.at(total.T, trace_rows, values.T)


def static_power(prices: Prices, n: int) -> Array:
    """Static power in W per component of ``STATIC``, shape (n, 3)."""
    power = np.zeros((n, len(STATIC)))
    for memory in prices.memories.values():
        power[:, 0] += memory.background_w
    for engine in prices.engines.values():
        power[:, 1] += engine.leakage_w
        power[:, 2] += engine.clock_w
    power[:, 1] += prices.uncore_leakage_w
    power[:, 2] += prices.uncore_clock_w
    return power


def _play(
    trace: Trace, placement: Placement, first: Plan, fixed: Array, busy: Array, need: Array, status: Array
) -> tuple[Array, Array]:
    """Makespans; chips that are not steady after the first unrolling are unrolled further."""
    n = len(fixed)
    makespan, unrolls = np.full(n, np.nan), np.full(n, UNROLL, np.int64)
    todo, table, unroll = np.flatnonzero(status == OK), first, UNROLL
    longest = max(block.count for block in trace.blocks)
    while len(todo):
        part = np.zeros(len(todo))
        _play_part(table, fixed[todo], busy[todo], need[todo], part)
        makespan[todo] = part
        todo = todo[np.isnan(part)]
        if unroll >= longest:
            break
        unroll = min(longest, 2 * unroll)
        if len(todo):
            table = plan(trace, placement.engine_of, unroll)
            unrolls[todo] = unroll
    return makespan, unrolls


def _first_times(table: Plan, fixed: Array, busy: Array, need: Array) -> tuple[Array, Array]:
    """Start and end of every instance of a plan on one chip."""
    start, end, extra = np.zeros(len(table.op)), np.zeros(len(table.op)), np.zeros(len(table.unrolled))
    play(*(*plan_arrays(table), fixed, busy, need, start, end, extra))
    return start, end


def _play_part(table: Plan, fixed: Array, busy: Array, need: Array, makespan: Array) -> None:
    """All chips in parallel; one chip needs no thread pool."""
    if len(makespan) > 1:
        play_many(*(*plan_arrays(table), fixed, busy, need, makespan))
        return
    start, end, extra = np.zeros(len(table.op)), np.zeros(len(table.op)), np.zeros(len(table.unrolled))
    makespan[0] = play(*(*plan_arrays(table), fixed[0], busy[0], need[0], start, end, extra))


def plan_arrays(table: Plan) -> tuple[Array, ...]:
    """The plan's arrays in the order the compiled timeline takes them."""
    return (
        table.op,
        table.engine,
        table.first,
        table.deps,
        table.block,
        table.iteration,
        table.unrolled,
        table.repeats,
    )


def total_energy_j(evaluation: Evaluation) -> tuple[Array, Array]:
    """(energy per component (n, components), total (n,)) in J, all iterations; summed in trace order."""
    n = evaluation.table.n
    parts = np.zeros((n, len(COMPONENTS)))
    for row, count in enumerate(evaluation.counts):
        parts[:, : len(DYNAMIC)] += evaluation.energy_pj[:, row] * (count * 1e-12)
    for index in range(len(STATIC)):
        parts[:, len(DYNAMIC) + index] = evaluation.power_w[:, index] * evaluation.makespan_s
    total = np.zeros(n)
    for index in range(len(COMPONENTS)):
        total += parts[:, index]
    return parts, total


def utilisation(evaluation: Evaluation) -> Array:
    """MACs over what the matrix engines could do in the makespan, (n,)."""
    from models.peaks import peak_macs_per_s

    peak = peak_macs_per_s(evaluation.table)
    peak[peak == 0.0] = np.nan  # a chip without a matrix engine has no such share
    share: Array = evaluation.trace.macs / (peak * evaluation.makespan_s)
    return share
