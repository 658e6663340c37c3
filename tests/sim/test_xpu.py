"""The xPU: thread blocks, caches, caps, occupancy; exact values by hand, and the rules of engines on random designs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chip import Chip, ChipTable, load_chip, parse_chip
from models.peaks import peak_macs_per_s
from models.prices import price
from sim.batch import evaluate
from sim.conformance import check_engine, standard_traces, violations
from sim.demand import AUTO, BOUND, OK, TILE
from sim.engine import find_engine, new_demands
from sim.engines.xpu import ENGINE, thread_tile, wave_share
from sim.simulate import simulate
from workloads.trace import Operator, Segment, Trace

from .designs import attention, chain, gemm, rows_of, traces, vector

XPU: dict[str, Any] = {
    "type": "xpu",
    "clock_hz": 1e9,
    "flops_per_s": 1e14,
    "vector_flops_per_s": 1e13,
    "compute_efficiency": 0.5,
    "memory_efficiency": 0.8,
    "cores": 100,
    "launch_s": 1e-6,
    "norm_launch_s": 2e-6,
    "vector_launch_s": 3e-6,
    "l1_bytes": 2**17,
    "l2_bytes": 2**25,
}
MEMORY: dict[str, Any] = {
    "standard": "HBM3",
    "capacity_bytes": 2**40,
    "bandwidth_bytes_per_s": 1e12,
    "latency_s": 0.0,
}


def xpu(**changes: Any) -> Chip:
    engines = {"gpu": {**XPU, **changes}}
    return parse_chip(
        {"name": "x", "technology": {"node_nm": 7}, "engines": engines, "memories": {"dram": MEMORY}, "links": {}}
    )


def priced(op: Operator, fidelity: int = TILE, **changes: Any) -> Any:
    table, rows = ChipTable(xpu(**changes)), rows_of(op)
    out, status = new_demands(1, len(rows)), np.zeros((1, len(rows)), np.int64)
    assert ENGINE.loop is not None
    ENGINE.loop(
        rows, ENGINE.pack(table, "engines.gpu"), np.zeros((1, len(rows)), ENGINE.mapping), AUTO, fidelity, out, status
    )
    assert (status == OK).all()
    return out[0, 0]


@pytest.mark.parametrize("occupancy", [False, True])
def test_it_keeps_the_rules_of_engines(occupancy: bool) -> None:
    check_engine(ENGINE, xpu(occupancy_limits_bandwidth=occupancy), standard_traces())


@given(
    traces(),
    st.fixed_dictionaries(
        {
            "cores": st.integers(1, 200),
            "l1_bytes": st.integers(4096, 2**18),
            "l2_bytes": st.integers(4096, 2**22),
            "compute_efficiency": st.floats(0.1, 1.0),
            "memory_efficiency": st.floats(0.1, 1.0),
            "norm_efficiency": st.sampled_from([0.0, 0.5]),
            "occupancy_limits_bandwidth": st.booleans(),
        }
    ),
)
def test_it_keeps_them_on_random_designs(trace: Trace, changes: dict[str, Any]) -> None:
    if {op.kind for op in trace.ops} & ENGINE.kinds:
        assert violations(ENGINE, xpu(**changes), (trace,)) == ()


@pytest.mark.parametrize(("blocks", "share"), [(1, 0.01), (100, 1.0), (101, 101 / 200), (250, 250 / 300)])
def test_the_last_wave_is_not_full(blocks: int, share: float) -> None:
    assert wave_share(blocks, 100) == pytest.approx(share, rel=1e-15)


def test_a_tile_fits_the_core_and_no_other_one_is_better() -> None:
    params = ENGINE.pack(ChipTable(xpu()), "engines.gpu")[0]
    rows, cols = thread_tile(1024, 1024, 512, 1, 2.0, params)
    assert ((rows + cols) * 32 + rows * cols) * 2 <= 2**17

    def cost(tm: int, tn: int) -> float:
        moved = -(-1024 // tn) * 1024 * 512 + -(-1024 // tm) * 1024 * 512 + 1024 * 1024
        return moved / wave_share(-(-1024 // tm) * -(-1024 // tn), 100) ** 2

    sides = [8, 16, 32, 64, 128, 192, 256, 320, 384, 448, 512]
    legal = [(a, b) for a in sides for b in sides if ((a + b) * 32 + a * b) * 2 <= 2**17]
    assert cost(rows, cols) == min(cost(a, b) for a, b in legal)


def test_a_matrix_vector_product_takes_its_weights_at_the_cap() -> None:
    out = priced(gemm(1, 4096, 4096))
    moved = 2 * (4096 + 4096 * 4096 + 4096)
    assert out["dram_read_bytes"] + out["dram_write_bytes"] == moved
    assert out["fixed"] == pytest.approx(1000.0)
    assert out["cycles"] == pytest.approx(1000.0 + moved / 0.8 / 1000.0, rel=1e-12)


def test_a_large_product_is_bound_by_full_waves_of_thread_blocks() -> None:
    out = priced(gemm(4096, 4096, 4096))
    params = ENGINE.pack(ChipTable(xpu()), "engines.gpu")[0]
    rows, cols = thread_tile(4096, 4096, 4096, 1, 2.0, params)
    share = wave_share(-(-4096 // rows) * -(-4096 // cols), 100)
    assert out["busy"] == pytest.approx(2 * 4096**3 / (0.5e5 * share), rel=1e-12)
    assert out["cycles"] == 1000.0 + out["busy"]
    assert out["macs"] == 4096**3


def test_a_small_cache_reads_operands_again() -> None:
    small, large = priced(gemm(4096, 4096, 4096), l2_bytes=2**20), priced(gemm(4096, 4096, 4096), l2_bytes=2**28)
    assert large["dram_read_bytes"] == 2 * 2 * 4096**2
    assert small["dram_read_bytes"] >= 3 * large["dram_read_bytes"]


def test_occupancy_limits_the_bandwidth_of_attention_as_an_option() -> None:
    op = attention(Segment(1, 1023, 5), heads=4, kv_heads=4, qk_dim=128, v_dim=128)
    free, limited = priced(op), priced(op, occupancy_limits_bandwidth=True)
    assert limited["memory"] == pytest.approx(free["memory"] * 100 / 20, rel=1e-12)  # 20 heads on 100 cores
    assert free["dram_read_bytes"] == limited["dram_read_bytes"]


def test_narrow_formats_use_their_own_peak() -> None:
    wide = priced(gemm(4096, 4096, 4096))
    narrow = priced(gemm(4096, 4096, 4096, act="int8", weight="int8"), flops_8bit_per_s=2e14)
    single = priced(gemm(4096, 4096, 4096, act="fp32", weight="fp32"))
    assert narrow["busy"] < 0.6 * wide["busy"] < 0.4 * single["busy"]


def test_launches_and_the_cap_of_norms() -> None:
    norm = priced(vector("norm", "layernorm", 1000, 1000), norm_efficiency=0.4)
    assert norm["fixed"] == pytest.approx(2000.0)
    assert norm["memory"] == pytest.approx((norm["dram_read_bytes"] + norm["dram_write_bytes"]) / 0.4)
    assert priced(vector("elementwise", "gelu", 10, 1000))["fixed"] == pytest.approx(3000.0)
    assert priced(vector("elementwise", "gelu", 10, 1000), BOUND)["fixed"] == 0.0


def test_given_energies_replace_the_constant_set() -> None:
    prices = price(ChipTable(xpu(mac_pj=0.32, l1_pj_per_byte=1.28, l2_pj_per_byte=2.4, register_pj_per_byte=0.0675)))
    own = prices.engines["gpu"]
    given = own.mac_pj, own.sram_read_pj_per_byte, own.noc_pj_per_byte, own.regfile_pj_per_byte
    assert [float(value[0]) for value in given] == [0.32, 1.28, 2.4, 0.0675]
    default = price(ChipTable(xpu())).engines["gpu"]
    assert float(default.noc_pj_per_byte[0]) > float(default.sram_read_pj_per_byte[0]) > 0


def test_the_rest_of_a_published_die_is_unmodelled() -> None:
    blocks = price(ChipTable(xpu(die_mm2=800))).engines["gpu"].area_mm2
    assert sum(float(area[0]) for area in blocks.values()) == pytest.approx(800)
    assert float(price(ChipTable(xpu())).engines["gpu"].area_mm2["unmodelled"][0]) == 0.0


def test_utilisation_counts_its_peak() -> None:
    chip, trace = xpu(), chain(gemm(4096, 4096, 4096))
    result = simulate(trace, chip)
    assert result.utilisation == pytest.approx(4096**3 / (0.5e14 * result.latency_s), rel=1e-12)
    assert peak_macs_per_s(ChipTable(chip)) == pytest.approx(0.5e14)


def test_batch_equals_simulate() -> None:
    cores = np.array([50, 100, 200])
    table = ChipTable(xpu(), {"engines.gpu.cores": cores})
    trace = chain(gemm(300, 512, 700))
    alone = [simulate(trace, xpu(cores=int(count))).latency_s for count in cores]
    assert evaluate(table, trace).latency_s.tolist() == alone


def test_the_gpu_of_attacc() -> None:
    chip = load_chip("attacc_gpu")
    assert find_engine(chip.engines["gpu"].type) is ENGINE
    assert float(price(ChipTable(chip)).links_pj_per_byte["nvlink"][0]) == pytest.approx(10.4)
