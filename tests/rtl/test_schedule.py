from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rtl.params import SystolicParams
from rtl.schedule import Pass, Stalls, gemm_passes, stalled_cycles
from rtl.systolic import gemm_cycles

SIDE = st.integers(2, 9)
LENGTH = st.integers(1, 40)


@st.composite
def arrays(draw: st.DrawFn) -> SystolicParams:
    dataflow = draw(st.sampled_from(("ws", "os")))
    double = dataflow == "ws" and draw(st.booleans())
    beats = draw(st.integers(2, 12))
    return SystolicParams(
        draw(SIDE), draw(SIDE), dataflow, mac_pipe=draw(st.integers(0, 1)), double_buffer=double, max_beats=beats
    )


def covered(passes: tuple[Pass, ...], m: int, k: int, n: int) -> np.ndarray:
    seen = np.zeros((m, k, n), dtype=int)
    for one in passes:
        seen[one.m0 : one.m1, one.k0 : one.k1, one.n0 : one.n1] += 1
    return seen


@given(arrays(), LENGTH, LENGTH, LENGTH)
def test_passes_do_every_product_once(params: SystolicParams, m: int, k: int, n: int) -> None:
    assert np.all(covered(gemm_passes(params, m, k, n), m, k, n) == 1)


@given(arrays(), LENGTH, LENGTH, LENGTH)
def test_passes_fit_the_array(params: SystolicParams, m: int, k: int, n: int) -> None:
    for one in gemm_passes(params, m, k, n):
        stationary = one.k1 - one.k0 if params.dataflow == "ws" else one.m1 - one.m0
        assert 1 <= stationary <= params.rows
        assert 1 <= one.n1 - one.n0 <= params.cols
        assert 1 <= one.beats(params) <= params.max_beats


@given(arrays(), LENGTH, LENGTH, LENGTH)
def test_each_block_starts_clean_and_is_stored_once(params: SystolicParams, m: int, k: int, n: int) -> None:
    for one in gemm_passes(params, m, k, n):
        assert one.accumulate == (one.k0 > 0)
        assert one.store == (one.k1 == k)


@given(arrays(), LENGTH, LENGTH, LENGTH)
def test_without_stalls_the_passes_take_what_the_kernel_says(params: SystolicParams, m: int, k: int, n: int) -> None:
    passes = gemm_passes(params, m, k, n)
    assert stalled_cycles(params, passes, [Stalls()] * len(passes), 0) == gemm_cycles(params, m, k, n)


@given(arrays(), LENGTH, LENGTH, LENGTH, st.lists(st.integers(0, 5), min_size=1), st.integers(0, 50))
def test_counted_stalls_add_up(params: SystolicParams, m: int, k: int, n: int, waits: list[int], blocked: int) -> None:
    passes = gemm_passes(params, m, k, n)
    stalls = [Stalls(waits[i % len(waits)], waits[-1 - i % len(waits)]) for i in range(len(passes))]
    total = stalled_cycles(params, passes, stalls, blocked)
    base = gemm_cycles(params, m, k, n)
    loads = sum(one.load for one in stalls) if params.dataflow == "ws" else 0
    most = base + blocked + loads + sum(one.stream for one in stalls)
    if params.double_buffer:
        assert base + blocked <= total <= most
    else:
        assert total == most


def test_a_starved_load_is_hidden_by_a_long_stream() -> None:
    params = SystolicParams(4, 4, double_buffer=True)
    passes = gemm_passes(params, 10, 8, 4)
    plain = stalled_cycles(params, passes, [Stalls(), Stalls()], 0)
    assert stalled_cycles(params, passes, [Stalls(), Stalls(load=6)], 0) == plain  # 4 + 6 cycles load, 10 stream
    assert stalled_cycles(params, passes, [Stalls(), Stalls(load=7)], 0) == plain + 1
    assert stalled_cycles(params, passes, [Stalls(load=7), Stalls()], 0) == plain + 7  # nothing streams yet


def test_no_pass_takes_no_cycle() -> None:
    assert stalled_cycles(SystolicParams(4, 4), (), (), 0) == 0
