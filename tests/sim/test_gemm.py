"""GEMM and attention on the systolic engine: identities, floors, conservation, and the mapping search."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from models.chip import Chip, ChipTable
from sim.demand import AUTO, BOUND, DEMAND, EVENTS, GEMMINI, GIVEN, OK, TILE
from sim.engine import Array
from sim.engines.systolic import ENGINE
from sim.engines.systolic_kernels import DATAFLOWS, DEALS, KEEPS, MAPPING, gemm_tile
from sim.lower import lower
from workloads.trace import Operator, Segment

from .designs import attention, attentions, chain, chip, chips, experts, gemm, gemms, params_of, row_of
from .exhaustive import exhaustive, heuristic, random_case, searched

CASES = 200
ROUNDING = 1e-12


def priced(spec: Chip, op: Operator, mode: int = AUTO, fidelity: int = TILE) -> tuple[Array, Array, Array]:
    """(operator rows, demands, statuses) of one operator."""
    ops, params = lower(chain(op)).ops, ENGINE.pack(ChipTable(spec), "engines.npu")
    shape = (1, len(ops))
    out, status = np.zeros(shape, DEMAND), np.zeros(shape, np.int64)
    assert ENGINE.loop is not None
    ENGINE.loop(ops, params, np.zeros(shape, MAPPING), mode, fidelity, out, status)
    return ops, out[0], status[0]


def needs(spec: Chip, out: Any) -> list[float]:
    """Cycles that each resource needs for its amount at full share."""
    clock = spec.engines["npu"].clock_hz
    bound = ENGINE.resources(ChipTable(spec), "engines.npu")
    return [float(out[role]) / (float(capacity[0]) / clock) for role, (_, capacity) in bound.items()]


def close(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=ROUNDING, abs_tol=1e-9)


OPERATORS = st.one_of(gemms(), attentions())
MODES = st.sampled_from([AUTO, GEMMINI])


# ---------------------------------------------------------------- identities and floors


@given(chips(), OPERATORS, MODES, st.sampled_from([BOUND, TILE]))
def test_fixed_and_the_longest_of_busy_and_needs_are_the_cycles(
    spec: Chip, op: Operator, mode: int, fidelity: int
) -> None:
    _, out, status = priced(spec, op, mode, fidelity)
    for record in out[status == OK]:
        assert close(record["fixed"] + max(record["busy"], *needs(spec, record)), record["cycles"])


@given(chips(), OPERATORS, MODES)
def test_the_bound_is_never_above_the_tile(spec: Chip, op: Operator, mode: int) -> None:
    _, tile, status = priced(spec, op, mode)
    _, bound, legal = priced(spec, op, mode, BOUND)
    assert (legal == OK).all()
    fits = status == OK
    assert (bound["cycles"][fits] <= tile["cycles"][fits] * (1 + ROUNDING)).all()


@st.composite
def mappings(draw: st.DrawFn) -> Array:
    record = np.zeros(1, MAPPING)
    for name, top in (("dataflow", 2), ("keep", 2), ("deal", 1)):
        record[name] = draw(st.integers(0, top))
    for name in ("tile_m", "tile_k", "tile_n"):
        record[name] = draw(st.integers(1, 120))
    for name in ("grid_m", "grid_n"):
        record[name] = draw(st.integers(1, 4))
    if record["keep"][0] != KEEPS.index("none"):  # tiles dealt round robin are no neighbours: nothing is kept
        record["deal"] = DEALS.index("grid")
    return record


@given(chips(), gemms(), mappings())
def test_no_given_mapping_beats_the_bound_or_reads_less_than_it_must(spec: Chip, op: Operator, mapping: Array) -> None:
    params = params_of(spec)
    ops, bound, _ = priced(spec, op, AUTO, BOUND)
    for row, floor in zip(ops, bound, strict=True):
        out = np.zeros(1, DEMAND)[0]
        if gemm_tile(row, mapping[0], params, out) != OK:
            continue
        assert out["cycles"] >= floor["cycles"] * (1 - ROUNDING)
        assert out["dram_read_bytes"] >= row["in_bytes"] + row["w_bytes"] * row["count"]
        assert out["dram_write_bytes"] >= row["out_bytes"]
        assert close(out["fixed"] + max(out["busy"], *needs(spec, out)), out["cycles"])


@given(chips(), OPERATORS, MODES, st.sampled_from([BOUND, TILE]))
def test_macs_are_conserved_and_no_compulsory_byte_is_lost(spec: Chip, op: Operator, mode: int, fidelity: int) -> None:
    _, out, status = priced(spec, op, mode, fidelity)
    assume((status == OK).all())
    assert int(out["macs"].sum()) == op.macs
    reads = op.input_bytes + op.weight_bytes + op.kv_read_bytes
    assert int(out["dram_read_bytes"].sum()) >= reads
    assert int(out["dram_write_bytes"].sum()) >= op.output_bytes + op.kv_write_bytes


@given(chips(), OPERATORS, MODES, st.sampled_from([BOUND, TILE]))
def test_no_demand_or_event_is_negative(spec: Chip, op: Operator, mode: int, fidelity: int) -> None:
    _, out, _ = priced(spec, op, mode, fidelity)
    for name in DEMAND.names or ():
        assert (out[name] >= 0).all(), name
        assert np.isfinite(out[name]).all(), name


@pytest.mark.parametrize("bits", ["int4", "fp16"])
def test_the_bound_moves_exactly_the_operators_bytes(bits: str) -> None:
    ops = [
        gemm(33, 50, 70, act=bits, weight=bits, out="fp16", weight_group=32),
        gemm(33, 50, 70, param_width=70),
        experts({4: 3, 1: 5}, 48, 32),
        attention(Segment(1, 100, 4), Segment(7, 0, 2), kv=bits),
    ]
    for op in ops:
        _, out, _ = priced(chip(), op, AUTO, BOUND)
        assert int(out["dram_read_bytes"].sum()) == op.input_bytes + op.weight_bytes + op.kv_read_bytes
        assert int(out["dram_write_bytes"].sum()) == op.output_bytes + op.kv_write_bytes


# ---------------------------------------------------------------- limits that have a closed form


UNLIMITED = {"bandwidth_bytes_per_s": 1e30, "latency_s": 0.0, "request_bytes": 1}
ROOMY = {"spad_bytes": 2**40, "accum_bytes": 2**40}


def cuts(size: int, unit: int) -> int:
    return -(-size // unit)


@given(st.sampled_from(DATAFLOWS), *[st.integers(1, 400)] * 3, *[st.sampled_from([1, 4, 12, 32])] * 2)
def test_without_overlap_or_memory_limit_it_is_scale_sim(
    flow: str, m: int, k: int, n: int, rows: int, cols: int
) -> None:
    """Cycles and array traffic of SCALE-Sim 3: one core, serial preload, operands on chip."""
    spec = chip(
        {**ROOMY, "rows": rows, "cols": cols, "dataflows": [flow], "preload": "serial", "double_buffered": False},
        UNLIMITED,
    )
    mapping = np.zeros(1, MAPPING)
    mapping["dataflow"] = DATAFLOWS.index(flow)
    mapping["tile_m"], mapping["tile_k"], mapping["tile_n"] = m, k, n
    mapping["grid_m"], mapping["grid_n"] = 1, 1
    out = np.zeros(1, DEMAND)
    assert gemm_tile(row_of(gemm(m, k, n)), mapping[0], params_of(spec), out[0]) == OK
    folds, per_fold, acts, weights, writes = {
        "os": (cuts(m, rows) * cuts(n, cols), k + rows + cols - 2, m * k * cuts(n, cols), k * n * cuts(m, rows), m * n),
        "ws": (cuts(k, rows) * cuts(n, cols), 2 * rows + cols + m - 2, m * k * cuts(n, cols), k * n,
               m * n * cuts(k, rows)),
        "is": (cuts(k, rows) * cuts(m, cols), 2 * rows + cols + n - 2, m * k, k * n * cuts(m, cols),
               m * n * cuts(k, rows)),
    }[flow]  # fmt: skip
    assert round(float(out["cycles"][0]), 6) == folds * per_fold
    assert [int(out[name][0]) for name in ("blocks", "act_reads", "weight_reads", "out_writes")] == [
        folds, acts, weights, writes,
    ]  # fmt: skip


def walked(op: Any, q: Any, p: Any) -> dict[str, int]:
    """Array passes, and bytes that tiles load and store, by a walk over every tile (one core, 1-byte requests)."""
    m, k, n = int(op["m"]), int(op["k"]), int(op["n"])
    tiles = [[(at, min(at + step, size)) for at in range(0, size, step)]
             for size, step in ((m, int(q["tile_m"])), (k, int(q["tile_k"])), (n, int(q["tile_n"])))]  # fmt: skip
    flow, keep = DATAFLOWS[int(q["dataflow"])], KEEPS[int(q["keep"])]
    across = {"ws": (0, int(p["rows"]), int(p["cols"])), "os": (int(p["rows"]), 0, int(p["cols"])),
              "is": (int(p["cols"]), int(p["rows"]), 0)}[flow]  # fmt: skip
    blocks, held_acts, held_weights, read = 0, set(), set(), 0
    for (m0, m1), (n0, n1) in itertools.product(tiles[0], tiles[2]):
        for k0, k1 in tiles[1]:
            spans = (m1 - m0, k1 - k0, n1 - n0)
            blocks += math.prod(cuts(span, unit) if unit else 1 for span, unit in zip(spans, across, strict=True))
            if keep != "act" or (m0, k0) not in held_acts:
                read += (m1 - m0) * (k1 - k0) * int(op["a_bits"]) // 8
            if keep != "weight" or (k0, n0) not in held_weights:
                read += (k1 - k0) * (n1 - n0) * int(op["w_bits"]) // 8
            held_acts.add((m0, k0))
            held_weights.add((k0, n0))
    return {"blocks": blocks, "dram_read_bytes": read, "dram_write_bytes": m * n * int(op["o_bits"]) // 8}


@given(*[st.integers(1, 60)] * 3, mappings())
def test_counts_are_those_of_a_walk_over_every_tile(m: int, k: int, n: int, mapping: Array) -> None:
    spec = chip({**ROOMY, "rows": 4, "cols": 8}, {"request_bytes": 1})
    mapping["grid_m"], mapping["grid_n"], mapping["deal"] = 1, 1, DEALS.index("grid")
    row, params, out = row_of(gemm(m, k, n)), params_of(spec), np.zeros(1, DEMAND)
    assert gemm_tile(row, mapping[0], params, out[0]) == OK
    expected = walked(row, mapping[0], params)
    assert {name: int(out[name][0]) for name in expected} == expected


@pytest.mark.parametrize(
    ("deal", "m", "passes"), [("grid", 36, 3), ("round_robin", 36, 3), ("grid", 68, 5), ("round_robin", 68, 5)]
)
def test_the_busiest_core_sets_the_run(deal: str, m: int, passes: int) -> None:
    """Tiles of 8 x 8, two along n, on 2 x 2 cores; a pass of 8 rows starts every 8 cycles.

    36 rows: of 5 x 2 tiles a core gets 3, dealt either way. 68 rows: of 9 x 2 tiles 5.
    """
    spec = chip({**ROOMY, "cores": 4, "dataflows": ["ws"]}, UNLIMITED)
    mapping = np.zeros(1, MAPPING)
    mapping["tile_m"], mapping["tile_k"], mapping["tile_n"] = 8, 8, 8
    mapping["grid_m"], mapping["grid_n"], mapping["deal"] = 2, 2, DEALS.index(deal)
    out = np.zeros(1, DEMAND)
    assert gemm_tile(row_of(gemm(m, 8, 16)), mapping[0], params_of(spec), out[0]) == OK
    preload, skew = 8, 14
    assert out["busy"][0] == preload + passes * 8 + skew


def test_work_is_shared_evenly_where_it_divides() -> None:
    """Twice the cores, half the passes: 16 x 4 blocks of weights on 1, 2 and 4 cores."""
    busy = []
    for cores in (1, 2, 4):
        spec = chip({**ROOMY, "cores": cores, "dataflows": ["ws"]}, UNLIMITED)
        _, out, _ = priced(spec, gemm(64, 128, 32))
        busy.append(float(out["busy"][0]) - 8 - 14)
    assert busy == [64 * 64, 32 * 64, 16 * 64]


@given(
    *[st.integers(1, 60)] * 3,
    *[st.integers(1, 70)] * 3,
    st.sampled_from([1e9, 8e9, 64e9, 1e12]),
    st.sampled_from([0, 8]),
    st.sampled_from([0, 7]),
)
@example(60, 60, 60, 8, 60, 1, 1e9, 0, 0)  # bound by memory: the last load's passes stick out
@example(60, 60, 60, 60, 60, 60, 8e9, 0, 0)  # one tile: its activations come before the other columns' passes
@example(60, 60, 60, 16, 8, 16, 1e12, 8, 7)  # bound by the array
def test_loading_and_computing_overlap_as_the_module_says(
    m: int, k: int, n: int, tile_m: int, tile_k: int, tile_n: int, bandwidth: float, reuse: int, extra: int
) -> None:
    """The formula of the module's docstring for one weight-stationary 8 x 4 array, written out again from its words."""
    npu = {**ROOMY, "rows": 8, "cols": 4, "weight_reuse_rows": reuse, "first_preload_extra_cycles": extra}
    spec = chip(npu, {"bandwidth_bytes_per_s": bandwidth, "streaming_efficiency": 1.0, "request_bytes": 1})
    mapping = np.zeros(1, MAPPING)
    mapping["tile_m"], mapping["tile_k"], mapping["tile_n"] = tile_m, tile_k, tile_n
    mapping["grid_m"], mapping["grid_n"] = 1, 1
    out = np.zeros(1, DEMAND)
    assert gemm_tile(row_of(gemm(m, k, n)), mapping[0], params_of(spec), out[0]) == OK
    tile_m, tile_k, tile_n, byte_s = min(tile_m, m), min(tile_k, k), min(tile_n, n), 1e9 / bandwidth
    rows, cols, skew = min(tile_m, reuse or 8), min(tile_n, 4), 8 + 4 - 2

    def passes(streamed: int) -> int:
        """Cycles that one block of weights is in use: a pass of ``reuse`` rows (or all) each, 8 to load the next."""
        chunk = reuse or streamed
        return sum(max(8, min(chunk, streamed - at)) for at in range(0, streamed, chunk))

    def run(work: int) -> int:
        return 8 + extra + work - max(8, rows) + rows + skew

    in_k = sum(cuts(min(tile_k, k - at), 8) for at in range(0, k, tile_k))
    in_n = sum(cuts(min(tile_n, n - at), 4) for at in range(0, n, tile_n))
    work = sum(passes(min(tile_m, m - at)) for at in range(0, m, tile_m)) * in_k * in_n
    waiting = max(8, rows) * cuts(tile_k, 8)
    memory = 2 * (m * k * cuts(n, tile_n) + k * n * cuts(m, tile_m) + m * n) * byte_s
    first, last = 2 * tile_k * (rows + cols) * byte_s, 2 * rows * cols * byte_s
    front, stores = 2 * tile_k * (tile_m + cols) * byte_s, 2 * tile_m * tile_n * byte_s
    array, tail = max(run(work), run(waiting)), run(waiting)
    later = array - cuts(tile_k, 8) * passes(tile_m) + waiting
    rest = max(array, max(0.0, memory - first - stores) + tail, front - first + later)
    assert out["busy"][0] == array
    assert out["cycles"][0] == pytest.approx(20 + max(memory, first + last + rest), rel=1e-12)


# ---------------------------------------------------------------- the search


def legal_cases(count: int = CASES) -> list[tuple[int, Any, Any, tuple[dict[str, Any], dict[str, Any]]]]:
    found = []
    for seed in range(count):
        npu, memory, (m, k, n) = random_case(seed)
        found.append((seed, row_of(gemm(m, k, n)), params_of(chip(npu, memory)), (npu, memory)))
    return found


@pytest.fixture(scope="module")
def compared() -> list[tuple[int, tuple[int, float, dict[str, Any]], Any]]:
    """(seed, searched, exhaustive) of all cases."""
    return [(seed, searched(op, p), exhaustive(op, p)) for seed, op, p, _ in legal_cases()]


def test_the_search_finds_a_mapping_wherever_one_is_legal(compared: list[Any]) -> None:
    refused = [(seed, best.mapping) for seed, (status, _, _), best in compared if status != OK and best.legal]
    assert refused == []


def test_the_search_is_close_to_the_best_of_all_mappings(compared: list[Any]) -> None:
    gaps = {seed: cycles / best.cycles - 1 for seed, (status, cycles, _), best in compared if status == OK}
    assert len(gaps) > 0.9 * CASES
    assert abs(float(np.median(list(gaps.values())))) < 1e-9
    assert {seed: round(gap, 4) for seed, gap in gaps.items() if gap > 0.03} == {}


def test_the_enumeration_misses_nothing_that_the_search_finds(compared: list[Any]) -> None:
    beaten = [
        seed for seed, (status, cycles, _), best in compared if status == OK and cycles < best.cycles * (1 - 1e-9)
    ]
    assert beaten == []


def test_the_search_is_never_slower_than_gemminis_heuristic() -> None:
    slower = []
    for seed, op, p, _ in legal_cases():
        status, cycles, _ = heuristic(op, p)
        if status == OK:
            auto = searched(op, p)
            slower += [seed] if auto[0] != OK or auto[1] > cycles else []
    assert slower == []


@given(chips(), gemms())
def test_the_search_is_never_slower_than_the_heuristic_on_random_chips(spec: Chip, op: Operator) -> None:
    _, auto, status = priced(spec, op, AUTO)
    _, plain, legal = priced(spec, op, GEMMINI)
    fits = legal == OK
    assert (status[fits] == OK).all()
    assert (auto["cycles"][fits] <= plain["cycles"][fits]).all()


@given(chips(), gemms())
def test_a_searched_mapping_replays_to_the_same_bits(spec: Chip, op: Operator) -> None:
    ops, params = lower(chain(op)).ops, ENGINE.pack(ChipTable(spec), "engines.npu")
    shape = (1, len(ops))
    mapping, first, second = np.zeros(shape, MAPPING), np.zeros(shape, DEMAND), np.zeros(shape, DEMAND)
    status, again = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    assert ENGINE.loop is not None
    ENGINE.loop(ops, params, mapping, AUTO, TILE, first, status)
    assume((status == OK).all())
    ENGINE.loop(ops, params, mapping.copy(), GIVEN, TILE, second, again)
    assert first.tobytes() == second.tobytes()


# ---------------------------------------------------------------- more hardware is never slower


def seconds(npu: dict[str, Any], memory: dict[str, Any], op: Any) -> tuple[float, float]:
    """(exhaustive, searched) seconds of a GEMM row."""
    spec = chip(npu, memory)
    p, clock = params_of(spec), spec.engines["npu"].clock_hz
    return exhaustive(op, p).cycles / clock, searched(op, p)[1] / clock


def check_faster(slow: tuple[float, float], fast: tuple[float, float]) -> None:
    assert fast[0] <= slow[0] * (1 + ROUNDING)
    assert fast[1] <= slow[1] * 1.03


SMALL: dict[str, Any] = {"rows": 4, "cols": 4, "spad_bytes": 4096, "accum_bytes": 4096}
LIMITS = [2e9, 16e9, 256e9]
SHAPES = [(1, 64, 64), (8, 32, 16), (16, 16, 16), (24, 40, 8), (64, 8, 64), (32, 64, 32)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("flow", DATAFLOWS)
@pytest.mark.parametrize("cores", [1, 2])
def test_more_bandwidth_is_never_slower(shape: tuple[int, int, int], flow: str, cores: int) -> None:
    op, npu = row_of(gemm(*shape)), {**SMALL, "dataflows": [flow], "cores": cores}
    times = [seconds(npu, {"bandwidth_bytes_per_s": bandwidth}, op) for bandwidth in LIMITS]
    for slow, fast in itertools.pairwise(times):
        check_faster(slow, fast)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bandwidth", LIMITS)
def test_a_faster_clock_is_never_slower(shape: tuple[int, int, int], bandwidth: float) -> None:
    op, memory = row_of(gemm(*shape)), {"bandwidth_bytes_per_s": bandwidth}
    times = [seconds({**SMALL, "clock_hz": clock}, memory, op) for clock in (5e8, 1e9, 2e9)]
    for slow, fast in itertools.pairwise(times):
        check_faster(slow, fast)


@pytest.mark.parametrize("shape", [(32, 16, 64), (64, 64, 16), (48, 48, 48)])
@pytest.mark.parametrize("flow", DATAFLOWS)
@pytest.mark.parametrize("bandwidth", LIMITS)
def test_a_larger_array_is_never_slower_on_shapes_that_it_divides(
    shape: tuple[int, int, int], flow: str, bandwidth: float
) -> None:
    """Sides 4, 8 and 16, SRAM for everything, several passes even on the largest: a lone pass overlaps with nothing."""
    op, memory = row_of(gemm(*shape)), {"bandwidth_bytes_per_s": bandwidth}
    npu = {**ROOMY, "dataflows": [flow], "weight_reuse_rows": 0}
    times = [seconds({**npu, "rows": side, "cols": side}, memory, op) for side in (4, 8, 16)]
    for slow, fast in itertools.pairwise(times):
        check_faster(slow, fast)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bandwidth", LIMITS)
def test_more_scratchpad_is_never_slower(shape: tuple[int, int, int], bandwidth: float) -> None:
    op, memory = row_of(gemm(*shape)), {"bandwidth_bytes_per_s": bandwidth}
    times = [seconds({**SMALL, "spad_bytes": size}, memory, op) for size in (1024, 4096, 65536)]
    for slow, fast in itertools.pairwise(times):
        check_faster(slow, fast)


def test_every_event_of_the_demand_is_filled_by_the_gemm() -> None:
    """A field that is forgotten when the search copies its best demand would stay zero."""
    _, out, _ = priced(chip(), gemm(40, 40, 40))
    unused = {"link_bytes", "vector_ops", *(name for name in EVENTS if name.startswith("pim_"))}
    assert [name for name in EVENTS if name not in unused and out[name][0] == 0] == []
