"""Routing: every token keeps its experts, whatever the distribution."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.errors import ChipsmithError
from workloads.routing import Routing
from workloads.trace import Segment


@st.composite
def cases(draw: st.DrawFn) -> tuple[Routing, int, int, int]:
    experts = draw(st.integers(1, 64))
    top_k = draw(st.integers(1, experts))
    seed = draw(st.none() | st.integers(0, 9))
    recorded = st.lists(st.integers(1, 50), min_size=experts, max_size=experts)
    routing = draw(
        st.just(Routing.uniform(seed))
        | st.floats(0, 3).map(lambda s: Routing.zipf(s, seed))
        | recorded.map(lambda counts: Routing.recorded(counts, seed))
    )
    return routing, draw(st.integers(1, 3000)), experts, top_k


@given(cases())
def test_choices_are_conserved(case: tuple[Routing, int, int, int]) -> None:
    routing, tokens, experts, top_k = case
    counts = routing.counts(tokens, experts, top_k)
    assert len(counts) == experts
    assert sum(counts) == tokens * top_k
    assert min(counts) >= 0 and max(counts) <= tokens  # a token never chooses one expert twice
    segments = routing.segments(tokens, experts, top_k)
    assert sum(s.new_tokens * s.multiplicity for s in segments) == tokens * top_k
    assert sum(s.multiplicity for s in segments) == sum(count > 0 for count in counts)
    assert routing.counts(tokens, experts, top_k) == counts


@pytest.mark.parametrize(
    ("tokens", "experts", "top_k", "distinct"),
    # E (1 - (1 - k/E)^tokens): 8 (1 - 0.75^4) = 5.47; 256 (1 - (31/32)^32) = 163.3; 128 (1 - (15/16)^16) = 82.4
    [(1, 8, 2, 2), (4, 8, 2, 5), (32, 256, 8, 163), (16, 128, 8, 82), (4096, 256, 8, 256), (1, 256, 8, 8)],
)
def test_uniform_routing_touches_the_expected_number_of_experts(
    tokens: int, experts: int, top_k: int, distinct: int
) -> None:
    counts = Routing.uniform().counts(tokens, experts, top_k)
    used = [count for count in counts if count]
    assert len(used) == distinct
    assert max(used) - min(used) <= 1


def test_segments_of_small_batches_are_exact() -> None:
    assert Routing.uniform().segments(1, 8, 2) == (Segment(1, 0, 2),)
    assert Routing.uniform().segments(4, 8, 2) == (Segment(2, 0, 3), Segment(1, 0, 2))
    assert Routing.uniform().segments(2048, 8, 2) == (Segment(512, 0, 8),)


def test_zipf_is_ordered_and_uniform_at_zero() -> None:
    counts = Routing.zipf(1.2).counts(1000, 32, 4)
    assert list(counts) == sorted(counts, reverse=True)
    assert counts[0] > 3 * counts[8] > 0
    assert Routing.zipf(0).counts(1000, 32, 4) == Routing.uniform().counts(1000, 32, 4)


def test_a_popular_expert_gets_at_most_every_token() -> None:
    assert Routing.zipf(10).counts(100, 4, 2)[0] == 100


def test_recorded_step_is_replayed_and_other_sizes_follow_it() -> None:
    histogram = [7, 0, 3, 10, 0, 0, 0, 0]
    assert Routing.recorded(histogram).counts(10, 8, 2) == tuple(histogram)
    counts = Routing.recorded(histogram).counts(1000, 8, 2)
    assert counts == (700, 0, 300, 1000, 0, 0, 0, 0)


def test_seeds_repeat_and_differ() -> None:
    drawn = [Routing.uniform(seed).counts(64, 64, 4) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) > 2


@given(cases(), st.integers(1, 8))
def test_the_busiest_rank_gets_at_least_its_share(case: tuple[Routing, int, int, int], ranks: int) -> None:
    routing, tokens, experts, top_k = case
    experts = experts * ranks
    if routing.kind == "recorded":
        routing = Routing.recorded(routing.histogram * ranks)
    segments = routing.segments(tokens, experts, top_k, ranks)
    own = sum(s.new_tokens * s.multiplicity for s in segments)
    assert tokens * top_k / ranks <= own <= tokens * top_k
    assert sum(s.multiplicity for s in segments) <= experts // ranks


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Routing.zipf(-1), "moe.exponent: got -1; legal: 0 to 10"),
        (lambda: Routing.recorded([0, 0]), "moe.histogram: got [0, 0]; legal: counts >= 0, not all zero"),
        (lambda: Routing.uniform().counts(0, 8, 2), "moe.tokens: got 0; legal: at least 1"),
        (lambda: Routing.uniform().counts(1, 8, 9), "moe.top_k: got 9; legal: 1 to 8 (the number of experts)"),
        (
            lambda: Routing.recorded([1, 2]).counts(5, 8, 2),
            "moe.histogram: got '2 entries'; legal: 8, one an expert",
        ),
        (
            lambda: Routing.recorded([1, 0, 0]).counts(5, 3, 2),
            "moe.histogram: got [1, 0, 0]; legal: at least 2 experts in use",
        ),
        (
            lambda: Routing.uniform().segments(5, 8, 2, ranks=3),
            "expert_parallel: got 3; legal: a divisor of 8 experts",
        ),
    ],
)
def test_refusals(make: object, text: str) -> None:
    assert callable(make)
    with pytest.raises(ChipsmithError) as caught:
        make()
    assert str(caught.value) == text
