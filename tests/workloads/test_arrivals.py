"""Synthetic arrivals and lengths: what they promise, and that they repeat exactly."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipsmith.cli import main
from workloads.arrivals import KINDS, Arrivals, seed_of, synthesize
from workloads.errors import ChipsmithError
from workloads.lengths import Lengths
from workloads.request_stats import request_stats
from workloads.requests import Request, nearest_rank, read_requests

AZURE = {50: 1020, 90: 2735, 95: 4083, 99: 4142}
SHORT = Lengths.fixed(8)
EXPECTED_TIMES = {
    "constant": [1.0, 2.0, 3.0],
    "gamma": [0.008667, 1.120442, 1.840126],
    "onoff": [0.060757, 0.471309, 0.795046],
    "poisson": [0.243028, 1.885234, 3.180182],
}
EXPECTED_LENGTHS = (837, 4202, 1305, 564, 2137)


def gaps(arrivals: Arrivals, count: int, seed: int = 1) -> list[float]:
    times = arrivals.times_s(count, seed)
    return [b - a for a, b in itertools.pairwise((0.0, *times))]


# ---------------------------------------------------------------- arrivals


def test_constant_arrivals() -> None:
    assert Arrivals("constant", 4.0).times_s(4, 7) == (0.25, 0.5, 0.75, 1.0)


@pytest.mark.parametrize(("arrivals", "cv"), [
    (Arrivals("poisson", 3.0), 1.0),
    (Arrivals("gamma", 3.0, cv=1.0), 1.0),
    (Arrivals("gamma", 3.0, cv=3.0), 3.0),
    (Arrivals("gamma", 3.0, cv=0.25), 0.25),
])  # fmt: skip
def test_rate_and_variation_of_the_gaps(arrivals: Arrivals, cv: float) -> None:
    stats = request_stats(synthesize(arrivals, 20_000, SHORT, SHORT, 5))
    assert stats.rate_hz == pytest.approx(3.0, rel=0.05)
    assert stats.gap_cv == pytest.approx(cv, rel=0.05)


def test_on_and_off() -> None:
    """Busy spells of the given rate and share of time; the gaps vary as an interrupted Poisson process does."""
    arrivals = Arrivals("onoff", 2.0, on_s=5.0, off_s=15.0)
    stats = request_stats(synthesize(arrivals, 50_000, SHORT, SHORT, 5))
    assert stats.rate_hz == pytest.approx(2.0, rel=0.05)
    busy = [gap for gap in gaps(arrivals, 50_000, 5) if gap < 1.0]  # nearly all within a spell at 8 requests/s
    assert sum(busy) / len(busy) == pytest.approx(1 / 8, rel=0.03)
    # Squared variation of an interrupted Poisson process (Kuczura 1973), w1 and w2 the rates of leaving on and off:
    # 1 + 2 rate_on w1 / (w1 + w2)^2
    squared = 1 + 2 * 8.0 * (1 / 5) / (1 / 5 + 1 / 15) ** 2
    assert stats.gap_cv == pytest.approx(squared**0.5, rel=0.08)


@given(st.sampled_from(KINDS), st.floats(0.01, 100), st.floats(0.1, 5), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_streams_ascend_and_repeat(kind: str, rate: float, cv: float, count: int, seed: int) -> None:
    arrivals = Arrivals(kind, rate, cv)
    times = arrivals.times_s(count, seed)
    assert len(times) == count and all(a <= b for a, b in itertools.pairwise((0.0, *times)))
    assert times == arrivals.times_s(count, seed)


def test_streams_stay_what_they_are() -> None:
    """The first arrivals of each kind: another numpy must give the same."""
    found = {kind: [round(t, 6) for t in Arrivals(kind, 1.0, cv=2.0).times_s(3, 42)] for kind in KINDS}
    assert found == EXPECTED_TIMES
    assert Lengths.fitted(AZURE).draw(5, 42) == EXPECTED_LENGTHS


def test_lengths_do_not_depend_on_arrivals() -> None:
    inputs, outputs = Lengths.fitted(AZURE), Lengths.fitted({50: 129, 90: 424})
    logs = [synthesize(Arrivals(kind, 1.0), 50, inputs, outputs, 3) for kind in KINDS]
    pairs = [[(r.input_tokens, r.output_tokens) for r in log] for log in logs]
    assert all(pair == pairs[0] for pair in pairs)
    assert pairs[0] != [(r.input_tokens, r.output_tokens) for r in
                        synthesize(Arrivals("poisson", 1.0), 50, inputs, outputs, 4)]  # fmt: skip


def test_parts_of_a_log_have_seeds_of_their_own() -> None:
    seeds = [seed_of(seed, part) for seed in range(50) for part in range(3)]
    assert len(set(seeds)) == 150 and all(0 <= seed < 2**32 for seed in seeds)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"kind": "poison"}, "arrivals.kind: got 'poison'; did you mean 'poisson'? known: "),
        ({"rate_hz": 0.0}, "arrivals.rate_hz: got 0.0; legal: above 0"),
        ({"cv": float("nan")}, "arrivals.cv: got nan; legal: above 0"),
        ({"off_s": -1.0}, "arrivals.off_s: got -1.0; legal: above 0"),
        ({"cv": 1e-200}, "arrivals.cv: got 1e-200; legal: 1e-06 to 1e+09"),
    ],
)
def test_refused_arrivals(fields: dict[str, object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        Arrivals(**{"kind": "poisson", "rate_hz": 1.0, **fields})  # type: ignore[arg-type]  # wrong on purpose
    assert str(caught.value).startswith(text)


def test_refused_counts_and_seeds() -> None:
    with pytest.raises(ChipsmithError, match=r"^count: got 0; legal: 1 to 10,000,000 requests$"):
        Arrivals("poisson", 1.0).times_s(0, 1)
    with pytest.raises(ChipsmithError, match=r"^seed: got -1; legal: 0 to 2\^32 - 1$"):
        Arrivals("poisson", 1.0).times_s(1, -1)


# ---------------------------------------------------------------- lengths


def test_percentiles_come_back_exactly() -> None:
    drawn = Lengths.fitted(AZURE).draw(1000, 9)
    assert {p: nearest_rank(drawn, p) for p in AZURE} == AZURE
    assert drawn != tuple(sorted(drawn))


@given(
    st.dictionaries(st.integers(1, 99), st.integers(1, 50_000), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
)
def test_any_percentiles_come_back(marks: dict[int, int], seed: int) -> None:
    ascending = dict(zip(sorted(marks), sorted(marks.values()), strict=True))
    lengths = Lengths.fitted(ascending)
    drawn = lengths.draw(100, seed)
    assert {p: nearest_rank(drawn, p) for p in ascending} == ascending
    low, high = lengths.ends()
    assert low <= min(drawn) and max(drawn) == high
    assert drawn == lengths.draw(100, seed)


def test_ends_continue_the_outermost_step() -> None:
    assert Lengths.fitted({50: 100, 90: 200, 99: 800}).ends() == (50, 3200)
    assert Lengths.fitted({0: 7, 50: 100, 100: 900}).ends() == (7, 900)
    assert Lengths.fitted({50: 100, 90: 200}, least=60, most=1000).ends() == (60, 1000)
    assert Lengths.fitted({50: 7}).ends() == (7, 7)
    assert Lengths.fitted({50: 100, 90: 200}).at([0.0, 0.5, 0.7, 0.9, 1.0]) == (50, 100, 141, 200, 400)


def test_a_limit_inside_cuts_the_rest_keeps_its_proportions() -> None:
    lengths = Lengths.fitted({0: 1, 50: 100, 100: 10_000}, most=100)
    assert lengths.at([0.0, 0.5, 1.0]) == (1, 10, 100)
    assert max(lengths.draw(500, 1)) == 100


def test_fixed_lengths() -> None:
    assert set(Lengths.fixed(77).draw(10, 1)) == set(Lengths.parsed("77").draw(10, 1)) == {77}


def test_independent_draws_scatter_about_the_percentiles() -> None:
    lengths = Lengths.fitted(AZURE)
    drawn = lengths.draw(20_000, 3, independent=True)
    for percent, tokens in AZURE.items():
        below = sum(length <= tokens for length in drawn) / 20_000
        assert below == pytest.approx(percent / 100, abs=0.01)
    assert drawn != lengths.draw(20_000, 3)


def test_log_normal_through_two_percentiles() -> None:
    """Two percentiles fix a log-normal: its median is e^mean, p84.13 one deviation above."""
    lengths = Lengths.fitted({50: 1000, 84.1344746: 2000}, "lognormal")
    assert lengths.at([0.5, 0.841344746, 0.158655254, 0.977249868]) == (1000, 2000, 500, 4000)
    drawn = lengths.draw(2001, 1)
    assert nearest_rank(drawn, 50) == 1000


def test_a_cut_log_normal_stays_inside() -> None:
    lengths = Lengths.fitted({50: 1000, 90: 3000}, "lognormal", least=200, most=4000)
    drawn = lengths.draw(1000, 1)
    assert 200 <= min(drawn) < 230 and 3800 < max(drawn) <= 4000
    assert 900 < nearest_rank(drawn, 50) < 1000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("50=1020,90", "got '50=1020,90'; legal: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735"),
        ("", "got ''; legal: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735"),
        ("50=1,50=2", "got '50=1,50=2'; legal: each percentile once"),
        ("9" * 5000, f"got '{'9' * 5000}'; legal: tokens, or PERCENTILE=TOKENS pairs: 50=1020,90=2735"),
    ],
)
def test_refused_texts(text: str, expected: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        Lengths.parsed(text, "p")
    assert str(caught.value) == f"p: {expected}"


@pytest.mark.parametrize(
    ("marks", "options", "text"),
    [
        ({}, {}, "lengths.knots: got (); legal: at least 1 percentiles"),
        ({50: 5}, {"fit": "lognormal"}, "lengths.knots: got ((50.0, 5),); legal: at least 2 percentiles"),
        ({101: 5}, {}, "lengths percentile: got 101.0; legal: from 0 to 100"),
        ({50: 5, 100: 9}, {"fit": "lognormal"}, "lengths percentile: got 100.0; legal: between 0 and 100"),
        ({50: 0}, {}, "lengths percentile 50: got 0; legal: 1 to 2^31 tokens"),
        ({50: 9, 90: 8}, {}, "lengths percentile 90: got 8; legal: more than 50 and at least 9 tokens, percentiles "),
        ({50: 9}, {"fit": "normal"}, "lengths.fit: got 'normal'; did you mean 'lognormal'? known: "),
        ({50: 9}, {"most": -1}, "lengths.most: got -1; legal: 0 (not given) to 2^31 tokens"),
        ({50: 9}, {"least": 20, "most": 10}, "lengths.least, lengths.most: got (20, 10); leave no length to draw"),
    ],
)
def test_refused_lengths(marks: dict[float, int], options: dict[str, object], text: str) -> None:
    with pytest.raises(ChipsmithError) as caught:
        Lengths.fitted(marks, **options)  # type: ignore[arg-type]  # options of several types
    assert str(caught.value).startswith(text)


def test_no_draw() -> None:
    with pytest.raises(ChipsmithError, match=r"^count: got 0; legal: 1 or more$"):
        SHORT.draw(0, 1)


# ---------------------------------------------------------------- the command


def test_command_makes_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "log.csv"
    text = (
        "requests --synthetic gamma --cv 2 --rate 2 --n 1000 --seed 7 --format json "
        "--input-percentiles 50=1020,90=2735,95=4083,99=4142 "
        f"--output-percentiles 50=129,90=424 --output-max 900 -o {file}"
    )
    assert main(text.split()) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {p: facts["inputs"][f"p{p}"] for p in AZURE} == AZURE
    assert (facts["count"], facts["outputs"]["p90"], facts["outputs"]["largest"]) == (1000, 424, 900)
    assert file.read_text().splitlines()[0] == "# Synthetic: gamma arrivals at 2/s, seed 7."
    made = synthesize(
        Arrivals("gamma", 2.0, 2.0), 1000, Lengths.fitted(AZURE), Lengths.fitted({50: 129, 90: 424}, most=900), 7
    )
    assert read_requests(file) == made


def test_command_takes_plain_lengths(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "--synthetic constant --rate 4 --n 5 --input-percentiles 100 --output-percentiles 7 --format json"
    assert main(["requests", *arguments.split()]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["duration_s"], facts["gap_cv"], facts["inputs"]["total"]) == (1.0, 0.0, 500)


def test_a_made_request_has_no_prefix() -> None:
    (request,) = synthesize(Arrivals("constant", 1.0), 1, Lengths.fixed(3), Lengths.fixed(4))
    assert request == Request(1.0, 3, 4)
