from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from dse.objectives import OBJECTIVES, Measured, computable, objective
from dse.workload import Workload, measured, step_tokens
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.errors import ChipsmithError
from workloads.trace import Operator, Segment, Trace


def totals(latency_s: float, energy_j: float, area_mm2: float) -> Any:
    names = {"latency_s": latency_s, "energy_j": energy_j, "area_mm2": area_mm2}
    return SimpleNamespace(**{name: np.array([value]) for name, value in names.items()})


PREFILL, DECODE = totals(2.0, 100.0, 300.0), totals(0.05, 4.0, 300.0)


def value(name: str, measured: Measured) -> float:
    compute = OBJECTIVES[name].compute
    assert compute is not None
    return float(compute(measured)[0])


@pytest.mark.parametrize(
    ("name", "both", "prefill", "decode"),
    [
        ("area_mm2", 300.0, 300.0, 300.0),
        ("energy_per_token_j", 0.25, 0.1, 0.25),
        ("throughput_tokens_per_s", 320.0, 500.0, 320.0),
        ("latency_s", 2.0 + 10 * 0.05, 2.0, 0.5),
        ("power_w", 140.0 / 2.5, 50.0, 80.0),
        ("edp_js", 140.0 * 2.5, 200.0, 20.0),
    ],
)
def test_each_objective_of_each_kind_of_workload(name: str, both: float, prefill: float, decode: float) -> None:
    assert value(name, Measured(PREFILL, DECODE, 1000, 16, 10)) == pytest.approx(both, rel=1e-15)
    assert value(name, Measured(PREFILL, None, 1000, 0, 1)) == pytest.approx(prefill, rel=1e-15)
    assert value(name, Measured(None, DECODE, 0, 16, 10)) == pytest.approx(decode, rel=1e-15)


def test_the_two_latencies_a_user_feels() -> None:
    found = Measured(PREFILL, DECODE, 1000, 16, 10)
    assert value("ttft_s", found) == 2.0
    assert value("tpot_s", found) == 0.05


def test_only_throughput_is_maximised() -> None:
    assert [name for name, o in OBJECTIVES.items() if o.direction == "max"] == ["throughput_tokens_per_s"]
    assert (OBJECTIVES["throughput_tokens_per_s"].sign, OBJECTIVES["tpot_s"].sign) == (-1.0, 1.0)


def test_axis_labels_have_units() -> None:
    assert OBJECTIVES["area_mm2"].axis == "die area (mm²)"


def test_what_a_workload_yields_depends_on_its_phases() -> None:
    assert len(computable(True, True)) == len(OBJECTIVES)
    assert {o.name for o in computable(True, True)} - {o.name for o in computable(False, True)} == {"ttft_s"}
    assert {o.name for o in computable(True, True)} - {o.name for o in computable(True, False)} == {"tpot_s"}


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(ChipsmithError) as error:
        objective("area_mm")
    assert str(error.value) == (
        "objective: got 'area_mm'; did you mean 'area_mm2'? known: area_mm2, edp_js, energy_per_token_j, latency_s, "
        "power_w, throughput_tokens_per_s, tpot_s, ttft_s"
    )


def test_a_workload_needs_a_trace_and_a_step() -> None:
    with pytest.raises(ChipsmithError, match=r"^workload; a workload needs a prefill or a decode trace$"):
        Workload()
    with pytest.raises(ChipsmithError, match=r"^workload.decode_steps: got 0; at least 1$"):
        Workload(decode=Trace("t", ()), decode_steps=0)


def test_a_trace_alone_becomes_the_phase_its_rows_are_in() -> None:
    def trace(phase: str) -> Trace:
        return Trace("t", (Operator("a", "gemm", 0, (Segment(3, 0, 4),), k=1, n=1, phase=phase),))

    assert Workload.of(trace("decode")).prefill is None
    assert Workload.of(trace("prefill")).decode is None
    both = Workload(trace("prefill"), trace("decode"))
    assert Workload.of(both) is both
    assert step_tokens(both.decode) == 12
    assert step_tokens(None) == 0
    assert both.fingerprint != Workload(trace("prefill")).fingerprint


def test_tokens_that_several_experts_see_count_once() -> None:
    ops = (
        Operator("a", "gemm", 0, (Segment(8),), k=1, n=1),
        Operator("e", "gemm", 0, (Segment(4, 0, 4),), k=1, n=1, per_segment_weights=True),
    )
    assert step_tokens(Trace("t", ops)) == 8


def test_verified_drafts_shorten_the_time_per_token_by_what_a_step_yields() -> None:
    plain = build_trace("gpt2", Batch.decode(4, 100))
    drafted = plain.with_speculation(3, 0.5)  # 1 + 0.5 + 0.25 + 0.125 tokens a request
    workload = Workload(decode=drafted)
    found = measured(workload, None, DECODE)
    assert found.decode_tokens == 4 * 1.875
    assert value("tpot_s", found) == pytest.approx(float(DECODE.latency_s[0]) / 1.875, rel=1e-12)
    assert measured(Workload(decode=plain), None, DECODE).steps_per_token == 1.0
