"""simulate and the batch: replay, equality, energy, refusals."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.chip import Chip, ChipTable, load_chip
from sim import evaluate as evaluate_module
from sim.batch import BatchResult, evaluate
from sim.demand import NO_MEMORY, OK
from sim.evaluate import COMPONENTS, DYNAMIC
from sim.lower import lower
from sim.mapping import Mapping
from sim.result import Result
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.precision import Precision
from workloads.trace import Operator, Segment, Trace

from .designs import attention, chain, chip, chips, collective, experts, gemm, traces, vector

ROOT = Path(__file__).resolve().parents[2]


def small_trace() -> Trace:
    """One of each kind, in a block that repeats."""
    return chain(
        vector("norm", "rmsnorm", 12, 32, "norm"),
        gemm(12, 32, 48, "proj", param_width=48),
        attention(Segment(1, 30, 2), Segment(10), name="attention"),
        experts({3: 2, 6: 1}, 32, 16),
        collective("all_reduce", 12, 32, 4, "reduce"),
        counts=(6,),
    )


def simulated(trace: Trace, spec: Chip, **more: Any) -> Result:
    """The result, or an example to pass over where the chip refuses."""
    try:
        return simulate(trace, spec, **more)
    except ChipsmithError:
        assume(False)
        raise


# ---------------------------------------------------------------- the same bits


@given(chips(), traces(with_vector=False), st.sampled_from(["auto", "gemmini"]), st.sampled_from(["bound", "tile"]))
def test_a_result_replays_from_its_mapping_to_the_same_bits(
    spec: Chip, trace: Trace, mapping: str, fidelity: str
) -> None:
    first = simulated(trace, spec, mapping=mapping, fidelity=fidelity)
    again = simulate(trace, spec, first.mapping, fidelity)
    assert (again.latency_s, again.energy_j, again.ops) == (first.latency_s, first.energy_j, first.ops)
    assert again.mapping == first.mapping


@pytest.mark.parametrize("mapping", ["auto", "gemmini"])
@pytest.mark.parametrize("flows", [["ws", "os"], ["ws", "is"], ["ws", "os", "is"]])
def test_attention_replays_its_dataflow(mapping: str, flows: list[str]) -> None:
    trace = chain(gemm(1, 8, 8, "proj"), attention(Segment(1, 0), name="attention", heads=1, kv_heads=1))
    spec = chip({"dataflows": flows, "rows": 2, "cols": 2})
    first = simulate(trace, spec, mapping)
    assert simulate(trace, spec, first.mapping).ops == first.ops


def test_a_mapping_replays_from_its_yaml_file(tmp_path: Path) -> None:
    first = simulate(small_trace(), chip())
    path = tmp_path / "mapping.yaml"
    path.write_text(first.mapping.to_yaml())
    again = simulate(small_trace(), chip(), path)
    assert replace(again, manifest={}, mapping=first.mapping) == replace(first, manifest={})
    assert again.manifest == first.manifest


@given(chips(), traces(with_vector=False))
def test_two_runs_are_equal(spec: Chip, trace: Trace) -> None:
    first = simulated(trace, spec)
    assert simulate(trace, spec).to_dict() == first.to_dict()


def many_chips(count: int = 50) -> ChipTable:
    draw = np.random.default_rng(7)
    choices: dict[str, list[Any]] = {
        "engines.npu.rows": [4, 8, 16, 32],
        "engines.npu.cols": [4, 8, 16, 32],
        "engines.npu.cores": [1, 2, 4],
        "engines.npu.spad_bytes": [16384, 65536, 2**20],
        "engines.npu.clock_hz": [5e8, 1e9, 1.3e9],
        "engines.npu.weight_reuse_rows": [0, 16],
        "engines.vector.lanes": [8, 64],
        "memories.dram.bandwidth_bytes_per_s": [8e9, 64e9, 1e12],
        "memories.dram.capacity_bytes": [2**20, 2**40, 2**40],
    }
    return ChipTable(chip(), {path: draw.choice(values, count) for path, values in choices.items()})


def assert_rows_equal(batch: BatchResult, table: ChipTable, trace: Trace, fidelity: str) -> None:
    for row in range(table.n):
        if batch.status[row] != OK:
            assert math.isnan(batch.latency_s[row]) and math.isnan(batch.energy_j[row])
            with pytest.raises(ChipsmithError):
                simulate(trace, table.chip(row), fidelity=fidelity)
            continue
        one = simulate(trace, table.chip(row), fidelity=fidelity)
        got = [batch.latency_s[row], batch.energy_j[row], batch.area_mm2[row], batch.power_w[row]]
        assert got == [one.latency_s, one.energy_j, one.area_mm2, one.power_w]
        assert batch.utilisation[row] == one.utilisation


@pytest.mark.parametrize("fidelity", ["tile", "bound"])
@pytest.mark.parametrize(
    "batch", [Batch.prefill([40, 9]), Batch.decode(5, [3, 90, 90, 200, 1])], ids=["prefill", "decode"]
)
def test_fifty_designs_equal_one_by_one_bit_for_bit(batch: Batch, fidelity: str) -> None:
    trace = build_trace("opt-125m", batch, Precision(weights="int8", activations="fp16"), 2)
    table = many_chips()
    result = evaluate(table, trace, fidelity=fidelity)
    assert {OK, NO_MEMORY} <= set(result.status.tolist())
    assert_rows_equal(result, table, trace, fidelity)


DUMP = """
import json, sys
sys.path.insert(0, {folder!r})
import types
package = types.ModuleType("cases")
package.__path__ = [{folder!r}]
sys.modules["cases"] = package
from cases.test_simulate import tiny
print(json.dumps(tiny(), sort_keys=True))
"""


def tiny() -> dict[str, Any]:
    """All results of a tiny case at both fidelities, alone and in a table of two."""
    spec = chip({"rows": 4, "cols": 4, "dataflows": ["ws"], "spad_bytes": 512, "accum_bytes": 256})
    trace = chain(
        vector("norm", "rmsnorm", 3, 8, "norm"),
        gemm(3, 8, 4, "proj"),
        attention(Segment(1, 5, 2), name="attention"),
        collective("all_gather", 3, 8, 2, "gather"),
        counts=(4,),
    )
    found: dict[str, Any] = {}
    for fidelity in ("bound", "tile"):
        result = simulate(trace, spec, fidelity=fidelity).to_dict()
        batch = evaluate(ChipTable(spec, {"engines.npu.mac_pipe": [0, 2]}), trace, fidelity=fidelity)
        result["batch"] = [batch.latency_s.tolist(), batch.energy_j.tolist()]
        found[fidelity] = json.loads(json.dumps(result))
    return found


def test_plain_python_equals_the_compiled_kernels() -> None:
    code = DUMP.format(folder=str(Path(__file__).resolve().parent))
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == tiny()


# ---------------------------------------------------------------- totals


@given(chips(), traces(with_vector=False), st.sampled_from(["bound", "tile"]))
def test_energy_components_are_none_negative_and_sum_to_the_total(spec: Chip, trace: Trace, fidelity: str) -> None:
    result = simulated(trace, spec, fidelity=fidelity)
    assert tuple(result.energy_parts_j) == COMPONENTS
    assert all(part >= 0 for part in result.energy_parts_j.values())
    assert sum(result.energy_parts_j.values()) == result.energy_j
    for name in DYNAMIC:
        of_ops = sum(op.energy_pj[name] * op.count for op in result.ops) * 1e-12
        assert math.isclose(of_ops, result.energy_parts_j[name], rel_tol=1e-9, abs_tol=1e-30)


@given(chips(), traces(with_vector=False))
def test_the_result_holds_what_the_trace_does(spec: Chip, trace: Trace) -> None:
    result = simulated(trace, spec)
    floor = simulate(trace, spec, fidelity="bound")
    assert [op.name for op in result.ops] == [op.name for op in trace.ops]
    assert sum(op.macs * op.count for op in result.ops) == trace.macs
    assert floor.latency_s <= result.latency_s * (1 + 1e-9)
    for op, low in zip(result.ops, floor.ops, strict=True):
        assert low.duration_s <= op.duration_s * (1 + 1e-9)
        assert op.end_s - op.start_s >= op.duration_s * (1 - 1e-9)
        assert math.isclose(op.duration_s, op.fixed_s + max([op.busy_s, *op.needs_s.values()]))
    assert 0 <= result.rtl_share <= 1 + 1e-9
    assert math.isclose(sum(result.bound_share.values()), 1.0)
    assert math.isclose(sum(result.area_parts_mm2.values()), result.area_mm2, rel_tol=1e-12)
    assert result.utilisation <= 1.0


def test_the_duration_of_one_operator_is_its_cycles() -> None:
    spec = chip({"spad_port_bytes": 4, "clock_hz": 7e8})
    for op in (gemm(30, 40, 50), attention(Segment(8, 20)), gemm(1, 200, 200, act="int8", weight="int4")):
        (result,) = simulate(chain(op), spec).ops
        assert result.duration_s == pytest.approx(result.cycles / 7e8, rel=1e-12)


def test_dram_traffic_is_at_least_what_the_trace_must_move() -> None:
    for model in ("opt-125m", "qwen3-8b", "mixtral-8x7b", "deepseek-v2"):
        trace = build_trace(model, Batch.decode(4, 100))
        spec = load_chip("tpu_v4").with_fields({"memories.dram.capacity_bytes": 2**41})
        for op, row in zip(simulate(trace, spec).ops, trace.ops, strict=True):
            if row.kind == "collective":
                continue
            assert op.bytes["dram_read"] >= row.input_bytes + row.weight_bytes + row.kv_read_bytes
            assert op.bytes["dram_write"] >= row.output_bytes + row.kv_write_bytes
            assert op.macs == row.macs


@pytest.mark.parametrize("model", ["llama-3-8b", "qwen3-8b", "mixtral-8x7b", "deepseek-v2"])
def test_tokens_are_the_batchs(model: str) -> None:
    trace = build_trace(model, Batch.prefill([30, 7]))
    spec = load_chip("tpu_v4").with_fields({"memories.dram.capacity_bytes": 2**41})
    result = simulate(trace, spec, fidelity="bound")
    assert result.tokens == 37
    assert result.tokens_per_s == 37 / result.latency_s
    assert result.energy_per_token_j == result.energy_j / 37


def test_repeats_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six layers extrapolated from three equal six layers played out."""
    short = simulate(small_trace(), chip())
    monkeypatch.setattr(evaluate_module, "UNROLL", 6)
    monkeypatch.setattr("sim.timeline.UNROLL", 6)
    assert simulate(small_trace(), chip()).latency_s == pytest.approx(short.latency_s, rel=1e-12)
    assert [op.count for op in short.ops] == [6] * 5


def test_operator_rows_grow_with_distinct_requests_not_with_tokens() -> None:
    """512 requests of 3 different lengths are three attention rows; longer ones are no more."""
    for scale in (1, 100):
        batch = Batch.decode(512, [10 * scale] * 300 + [20 * scale] * 200 + [30 * scale] * 12)
        trace = build_trace("opt-125m", batch)
        rows = lower(trace)
        kinds = [trace.ops[int(row)].kind for row in rows.trace_row]
        assert kinds.count("attention") == 3
        assert len(kinds) == len(trace.ops) + 2


def test_a_counted_overflow_is_refused_not_wrapped() -> None:
    with pytest.raises(ChipsmithError, match=r"^gemm\.macs: got \d+; must be below 2\*\*55$"):
        simulate(chain(gemm(2**30, 2**20, 2**13)), chip())


@pytest.mark.parametrize("op", [gemm(2**25, 2**18, 2**18), gemm(2**40, 128, 128), gemm(1, 2**30, 2**30)])
@pytest.mark.parametrize("fidelity", ["bound", "tile"])
def test_the_largest_operators_have_no_negative_counts(op: Operator, fidelity: str) -> None:
    spec = load_chip("tpu_v4").with_fields({"memories.dram.capacity_bytes": 2**53})
    try:
        (result,) = simulate(chain(op), spec, fidelity=fidelity).ops
    except ChipsmithError as error:
        assert "must be below 2**55" in str(error)
        return
    assert all(count >= 0 for count in result.events.values()), result.events
    assert result.events["reg_bytes"] == op.macs * (16 + 32) // 8
    assert result.cycles > 0


# ---------------------------------------------------------------- refusals


def refusal(trace: Trace, spec: Chip | str, **more: Any) -> str:
    with pytest.raises(ChipsmithError) as error:
        simulate(trace, spec, **more)
    return str(error.value)


def test_a_model_that_does_not_fit_says_how_much_is_missing() -> None:
    trace = build_trace("llama-2-70b", Batch.decode(1, 1000))
    want = int(str(trace.meta["parameter_bytes"])) + int(str(trace.meta["kv_cache_bytes"]))
    assert refusal(trace, "tpu_v4") == (
        f"chip.memories.dram.capacity_bytes: got 34359738368; {trace.name} needs {want} bytes (weights and KV cache): "
        f"{want - 34359738368} bytes ({(want - 34359738368) / 2**30:.2f} GiB) are missing"
    )


def test_no_tile_fits_names_operator_and_engine() -> None:
    spec = chip({"spad_bytes": 64, "rows": 16, "cols": 16})
    assert refusal(chain(vector("norm", "rmsnorm", 2, 8), gemm(4, 32, 32, "proj")), spec) == (
        "chip small; operator proj on npu: no tile fits the scratchpad"
    )


def test_a_given_mapping_that_does_not_fit_is_refused() -> None:
    tile = {"tile": {"m": 64, "k": 64, "n": 64}, "cores": {"m": 1, "n": 1}}
    trace = chain(gemm(64, 64, 64, "proj"))
    mapping = Mapping("given", {}, {"proj": (tile,)})
    assert refusal(trace, chip(), mapping=mapping) == "chip small; operator proj on npu: no tile fits the accumulators"
    large = chip({"accum_bytes": 2**30})
    assert refusal(trace, large, mapping=mapping) == "chip small; operator proj on npu: no tile fits the scratchpad"
    for wrong in ({"cores": {"m": 2, "n": 1}}, {"deal": "round_robin", "keep": "act"}):
        mapping = Mapping("given", {}, {"proj": ({**tile, **wrong},)})
        assert refusal(trace, large, mapping=mapping) == "chip small; operator proj on npu: the mapping is illegal"


def test_the_heuristic_of_weight_stationary_arrays_is_refused_elsewhere() -> None:
    spec = chip({"dataflows": ["os"]})
    assert refusal(chain(gemm(8, 8, 8)), spec, mapping="gemmini") == (
        "chip small; operator gemm on npu: the mapping is illegal"
    )


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"fidelity": "tiles"}, "fidelity: got 'tiles'; did you mean 'tile'? known: bound, command, tile"),
        ({"fidelity": "cycle"}, "fidelity: got 'cycle'; known: bound, command, tile"),
        ({"mapping": "gemini"}, "mapping: got 'gemini'; did you mean 'gemmini'? known: auto, gemmini, or a YAML file"),
        (
            {"mapping": Mapping("given", {"gemm": "nup"}, {})},
            "mapping.engines.gemm: got 'nup'; did you mean 'npu'? known: link:ici, npu, vector",
        ),
        (
            {"mapping": Mapping("given", {"gemm": "vector"}, {})},
            "mapping.engines.gemm: got 'vector'; it does not take operators of kind gemm",
        ),
        (
            {"mapping": Mapping("given", {}, {})},
            "mapping.tiles.gemm: got 0; one entry per distinct segment is required",
        ),
    ],
)
def test_unknown_choices_are_refused_with_the_nearest(more: dict[str, Any], text: str) -> None:
    assert refusal(chain(gemm(4, 4, 4)), chip(), **more) == text


def test_unknown_chips_and_functions_are_refused() -> None:
    assert refusal(chain(gemm(4, 4, 4)), "tpu_v5").startswith("chip: got 'tpu_v5'; did you mean 'tpu_v4'? known: ")
    text = refusal(chain(vector("elementwise", "silu_mull", 4, 4, "act")), chip())
    assert text.startswith("act.function: got 'silu_mull'; known: softmax, ")
    text = refusal(chain(collective("all_reduced", 4, 4, 2, "sync")), chip())
    assert text == "sync.function: got 'all_reduced'; known: all_reduce, all_gather, reduce_scatter, all_to_all"


def test_an_operator_without_an_engine_is_refused() -> None:
    trace = build_trace("opt-125m", Batch.decode(1, 10), tensor_parallel=2)
    name = next(op.name for op in trace.ops if op.kind == "collective")
    assert refusal(trace, chip(with_link=False)) == (
        f"chip small: got 'collective'; no engine takes operator {name}; engines: npu, vector"
    )
    assert refusal(chain(vector("softmax", "softmax", 4, 4, "soft")), chip(with_vector=False)) == (
        "chip small: got 'softmax'; no engine takes operator soft; engines: npu, link:ici"
    )


def test_a_mapping_for_an_operator_that_the_trace_lacks_is_refused() -> None:
    first = simulate(chain(gemm(4, 4, 4, "proj")), chip()).mapping
    wrong = Mapping("given", first.engines, {**first.tiles, "porj": first.tiles["proj"]})
    text = refusal(chain(gemm(4, 4, 4, "proj")), chip(), mapping=wrong)
    assert text.startswith("mapping.tiles.porj") and "did you mean 'proj'? known: proj" in text
