"""Ring collectives: time, energy events, and a ring walked step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.chip import ChipTable
from sim.demand import AUTO, BOUND, OK, TILE
from sim.engine import new_demands
from sim.engines.link import ENGINE
from sim.simulate import simulate
from workloads.trace import Operator

from .designs import LINK, chain, chip, collective, rows_of


def priced(op: Operator, fidelity: int = TILE) -> Any:
    out, status = new_demands(1, 1), np.zeros((1, 1), np.int64)
    assert ENGINE.loop is not None
    params = ENGINE.pack(ChipTable(chip()), "links.ici")
    ENGINE.loop(rows_of(op), params, np.zeros((1, 1), ENGINE.mapping), AUTO, fidelity, out, status)
    assert status[0, 0] == OK
    return out[0, 0]


def ring_seconds(function: str, chunks: int, chunk_bytes: float) -> float:
    """Walk a ring of ``chunks`` chips: in each step every chip sends one chunk to its neighbour."""
    rounds = {"all_reduce": 2, "all_gather": 1, "reduce_scatter": 1, "all_to_all": 1}[function]
    seconds = 0.0
    for _ in range(rounds):
        for _ in range(chunks - 1):
            seconds += LINK["latency_s"] + chunk_bytes / LINK["bandwidth_bytes_per_s"]
    return seconds


@given(
    st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]),
    st.integers(1, 1000),
    st.integers(2, 16),
)
def test_it_takes_as_long_as_the_steps_of_a_ring(function: str, tokens: int, ranks: int) -> None:
    """Bytes that divide by the ranks, so that all chunks are equal."""
    out = priced(collective(function, tokens, 8 * ranks, ranks))
    assert out["cycles"] == pytest.approx(ring_seconds(function, ranks, tokens * 16.0), rel=1e-12)


def test_an_all_reduce_of_one_megabyte_over_four() -> None:
    out = priced(collective("all_reduce", 512, 1024, 4))
    assert out["link_bytes"] == 2 * 3 * 2**20 // 4
    assert out["fixed"] == pytest.approx(6e-6)
    assert out["cycles"] == pytest.approx(6e-6 + 1.5 * 2**20 / 5e10)
    assert (out["macs"], out["dram_read_bytes"]) == (0, 0)


def test_the_bound_has_no_latency() -> None:
    out = priced(collective("all_reduce", 512, 1024, 4), BOUND)
    assert (out["fixed"], out["cycles"]) == (0.0, pytest.approx(1.5 * 2**20 / 5e10))


def test_a_ring_of_one_moves_nothing() -> None:
    out = priced(collective("all_reduce", 512, 1024, 1))
    assert (out["link_bytes"], out["cycles"]) == (0, 0.0)


def test_the_result_charges_the_link() -> None:
    (op,) = simulate(chain(collective("all_gather", 64, 64, 2)), chip()).ops
    assert (op.engine, op.bytes["link"]) == ("link:ici", 4096)
    assert op.energy_pj["link"] > 0
    assert sum(pj for name, pj in op.energy_pj.items() if name != "link") == 0
    assert op.duration_s == pytest.approx(1e-6 + 4096 / 5e10)


def test_a_link_that_reduces_in_one_pass_takes_half_of_an_all_reduce() -> None:
    once = chip().with_fields({"links.ici.all_reduce": "one_pass"})
    for op, share in ((collective("all_reduce", 512, 1024, 4), 2), (collective("all_gather", 512, 1024, 4), 1)):
        (ring,), (single,) = simulate(chain(op), chip()).ops, simulate(chain(op), once).ops
        assert single.duration_s == pytest.approx(ring.duration_s / share)
        assert single.bytes["link"] == ring.bytes["link"] // share
