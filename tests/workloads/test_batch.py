"""Requests of a step: grouping, phases, refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.batch import Batch
from workloads.errors import ChipsmithError
from workloads.trace import Segment

PAIRS = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 5000)), min_size=1, max_size=30)


def test_equal_requests_are_grouped_in_order_of_appearance() -> None:
    batch = Batch.from_pairs([(5, 0), (1, 7), (5, 0), (1, 8), (1, 7)])
    assert batch.segments() == (Segment(5, 0, 2), Segment(1, 7, 2), Segment(1, 8, 1))
    assert (len(batch), batch.tokens) == (5, 13)


@given(PAIRS)
def test_segments_keep_tokens_and_requests(pairs: list[tuple[int, int]]) -> None:
    batch = Batch.from_pairs(pairs)
    segments = batch.segments()
    assert sum(s.new_tokens * s.multiplicity for s in segments) == batch.tokens
    assert sum(s.multiplicity for s in segments) == len(pairs)
    assert sorted((s.new_tokens, s.context) for s in segments) == sorted(set(pairs))


@pytest.mark.parametrize(
    ("batch", "phase"),
    [
        (Batch.prefill([4, 1]), "prefill"),
        (Batch.uniform(3, 128, 512), "prefill"),
        (Batch.decode(2, 9), "decode"),
        (Batch.decode(2, [9, 10]), "decode"),
        (Batch.from_pairs([(4, 0), (1, 9)]), "mixed"),
    ],
)
def test_phase(batch: Batch, phase: str) -> None:
    assert batch.phase == phase


def refusal(make: object) -> str:
    assert callable(make)
    with pytest.raises(ChipsmithError) as caught:
        make()
    return str(caught.value)


def test_refusals_name_the_request() -> None:
    assert refusal(lambda: Batch(())) == "batch: got (); legal: at least one request"
    text = "batch[1].new_tokens: got 0; legal: a whole number from 1 to 2^40"
    assert refusal(lambda: Batch.prefill([5, 0])) == text
    text = "batch[0].context: got -1; legal: a whole number from 0 to 2^40"
    assert refusal(lambda: Batch.decode(3, -1)) == text
    assert refusal(lambda: Batch.decode(0, 5)) == "batch: got 0; legal: a whole number from 1 to 2^40"
    assert refusal(lambda: Batch.decode(3, [1, 2])) == "batch.context: got 2; legal: one number, or 3 (one a request)"
    text = "batch[0].new_tokens: got True; legal: a whole number from 1 to 2^40"
    assert refusal(lambda: Batch.from_pairs([(True, 0)])) == text
