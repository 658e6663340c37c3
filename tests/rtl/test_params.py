from __future__ import annotations

from typing import Any

import pytest

from rtl.params import SystolicParams
from workloads.errors import ChipsmithError


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rows": 1, "cols": 4}, "systolic.rows: got 1; an integer from 2 to 256"),
        ({"rows": 4, "cols": 257}, "systolic.cols: got 257; an integer from 2 to 256"),
        ({"rows": 4, "cols": 4, "a_bits": 1}, "systolic.a_bits: got 1; an integer from 2 to 16"),
        ({"rows": 4, "cols": 4, "acc_bits": 64}, "systolic.acc_bits: got 64; an integer from 4 to 63"),
        ({"rows": 4, "cols": 4, "mac_pipe": 2}, "systolic.mac_pipe: got 2; an integer from 0 to 1"),
        ({"rows": 4, "cols": 4, "max_beats": 1}, "systolic.max_beats: got 1; an integer from 2 to 65535"),
        ({"rows": 4.0, "cols": 4}, "systolic.rows: got 4.0; an integer from 2 to 256"),
        ({"rows": 4, "cols": 4, "dataflow": "is"}, "systolic.dataflow: got 'is'; did you mean 'ws'? known: os, ws"),
        (
            {"rows": 4, "cols": 4, "dataflow": "os", "double_buffer": True},
            "systolic.double_buffer: got True; only 'ws' holds weights that could be doubled",
        ),
    ],
)
def test_illegal_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        SystolicParams(**values)
    assert str(caught.value) == message


def test_names_tell_designs_apart() -> None:
    assert SystolicParams(4, 4).name == "ws_4x4_a8w8p32"
    assert SystolicParams(8, 16, double_buffer=True, mac_pipe=1).name == "ws_8x16_a8w8p32_db_pipe"
    assert SystolicParams(3, 5, "os", 4, 2, 20, max_beats=100).name == "os_3x5_a4w2p20_m100"
    assert SystolicParams(4, 4, max_beats=32).name == "ws_4x4_a8w8p32"


def test_widths_and_latencies_that_follow() -> None:
    ws = SystolicParams(4, 8, mac_pipe=1)
    assert (ws.product_bits, ws.beats_bits, ws.address_bits, ws.row_bits) == (16, 6, 5, 2)
    assert (ws.skew_cycles, ws.drain_cycles, ws.tail_cycles, ws.array_latency) == (10, 2, 13, 12)
    os_ = SystolicParams(4, 8, "os")
    assert (os_.beats_bits, os_.drain_cycles, os_.tail_cycles, os_.settle_cycles) == (16, 4, 14, 10)


@pytest.mark.parametrize(("acc_bits", "terms", "wraps"), [(32, 131071, False), (18, 7, True), (25, 1023, True)])
def test_safe_terms_is_exact(acc_bits: int, terms: int, wraps: bool) -> None:
    params = SystolicParams(4, 4, acc_bits=acc_bits)
    largest_product, largest_sum = 2**14, 2 ** (acc_bits - 1) - 1
    assert params.safe_terms == terms
    assert terms * largest_product <= largest_sum < (terms + 1) * largest_product
    assert params.may_wrap is wraps
