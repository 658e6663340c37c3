"""Mixes of flows: rounding, turns, places, steady rates, and the constants of tile that are derived from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.datafiles import load_data
from models.dram.library import list_grades, load_dram
from sim.memory.channel import simulate_requests, simulate_stream
from sim.memory.derive import main, stored_channel, stream_constants
from sim.memory.mixes import (
    MOST_STREAMS,
    PAGES,
    PARTS,
    SEQUENTIAL,
    TAILS,
    Channel,
    Flow,
    blend,
    channel_of,
    idle_latency_s,
    make_mix,
    mix_requests,
    rate_of_peak,
)
from sim.memory.streams import named_stream

HBM = Channel("HBM2-2400", turn=128)
READS = make_mix([(SEQUENTIAL, False, 1.0, 1)])
PATTERNS = st.sampled_from([SEQUENTIAL, PAGES, TAILS])
FLOWS = st.lists(st.tuples(PATTERNS, st.booleans(), st.floats(0.0, 1e12), st.integers(1, 40)), min_size=1, max_size=5)


def reads(streams: int) -> tuple[Flow, ...]:
    return make_mix([(SEQUENTIAL, False, 1.0, streams)])


@given(FLOWS)
def test_parts_sum_to_the_grid_and_are_within_one_of_the_share(flows: list[tuple[str, bool, float, int]]) -> None:
    mix = make_mix(flows)
    moved = sum(item[2] for item in flows)
    if moved == 0:
        assert mix == ()
        return
    assert sum(flow.parts for flow in mix) == PARTS
    assert mix == tuple(sorted(mix)) and all(1 <= flow.streams <= MOST_STREAMS for flow in mix)
    for way in (False, True):
        share = PARTS * sum(item[2] for item in flows if item[1] is way) / moved
        assert abs(sum(flow.parts for flow in mix if flow.write is way) - share) <= len(flows)


def test_a_small_flow_vanishes_and_a_large_one_takes_its_part() -> None:
    assert make_mix([(SEQUENTIAL, False, 1000.0, 4), (SEQUENTIAL, True, 1.0, 4)]) == (Flow(SEQUENTIAL, False, 64, 4),)
    assert make_mix([(SEQUENTIAL, False, 3.0, 2), (TAILS, True, 1.0, 99)]) == (
        Flow(SEQUENTIAL, False, 48, 2),
        Flow(TAILS, True, 16, MOST_STREAMS),
    )


def test_a_blend_holds_both_mixes_in_proportion() -> None:
    pages = make_mix([(PAGES, False, 1.0, 2)])
    assert blend(reads(4), pages, 6) == (Flow(PAGES, False, 16, 2), Flow(SEQUENTIAL, False, 48, 4))
    assert blend(reads(4), reads(1), 4) == (Flow(SEQUENTIAL, False, 32, 1), Flow(SEQUENTIAL, False, 32, 4))


def test_the_turn_is_the_channels_part_of_a_transfer_and_at_least_the_queue() -> None:
    def turn(grade: str, channels: int, transfer_bytes: int) -> int:
        return channel_of(grade, "fr_fcfs", "group_interleaved", "paged_interleaved", channels, transfer_bytes).turn

    assert turn("HBM2-2400", 16, 65536) == 128
    assert turn("HBM2-2400", 32, 65536) == 64
    assert turn("HBM2-2400", 32, 1024) == 32
    assert turn("DDR4-2400", 1, 65536) == 1024


def test_requests_go_through_rows_in_turns_and_reads_and_writes_have_their_parts() -> None:
    mix = make_mix([(SEQUENTIAL, False, 3.0, 2), (SEQUENTIAL, True, 1.0, 2)])
    found = mix_requests(HBM, mix, 128 * 64)
    assert int(found.write.sum()) == 128 * 16
    assert np.flatnonzero(np.diff(found.write))[0] + 1 == 128 * 2  # writes are due in the middle of their part
    one_turn = found.bank[:128]
    assert set(one_turn.tolist()) == {pc * 16 + bg * 4 + one_turn[0] % 4 for pc in range(2) for bg in range(4)}


@pytest.mark.parametrize("pattern", [SEQUENTIAL, PAGES, TAILS])
def test_a_longer_list_begins_with_the_shorter_one_and_stays_on_the_device(pattern: str) -> None:
    mix = make_mix([(pattern, False, 5.0, 3), (SEQUENTIAL, True, 1.0, 3)])
    short, long = mix_requests(HBM, mix, 1000), mix_requests(HBM, mix, 5000)
    o = load_dram(HBM.grade).organisation
    for name in ("bank", "row", "write"):
        np.testing.assert_array_equal(getattr(short, name), getattr(long, name)[:1000])
    assert long.bank.max() < o.pseudo_channels * o.banks and long.row.max() < o.rows


@pytest.mark.parametrize("grade", ["HBM2-2400", "HBM3-6400", "DDR4-2400", "LPDDR5-6400"])
def test_one_stream_reaches_what_the_sequential_stream_does(grade: str) -> None:
    alone = simulate_stream(grade, named_stream("sequential")).fraction_of_peak
    assert rate_of_peak(Channel(grade, turn=128), READS) == pytest.approx(alone, rel=0.03)


def test_pages_reach_what_the_gather_stream_does() -> None:
    gather = simulate_stream("HBM2-2400", named_stream("kv_gather")).fraction_of_peak
    assert rate_of_peak(HBM, make_mix([(PAGES, False, 1.0, 1)])) == pytest.approx(gather, rel=0.03)


def test_rates_of_hbm2_by_mix() -> None:
    assert rate_of_peak(HBM, READS) == pytest.approx(0.910, abs=5e-4)
    assert rate_of_peak(HBM, reads(4)) == pytest.approx(0.758, abs=5e-4)
    assert rate_of_peak(HBM, make_mix([(TAILS, True, 1.0, 1)])) < 0.6 * rate_of_peak(HBM, READS)


def test_the_rate_is_steady() -> None:
    """Twice as long a run has the same rate within 1 %: what is left is where refreshes fall."""
    mix = make_mix([(SEQUENTIAL, False, 2.0, 4), (SEQUENTIAL, True, 1.0, 4)])
    requests = mix_requests(HBM, mix, 100_000)
    clocks = simulate_requests(load_dram(HBM.grade), requests).cycles_ck
    assert 100_000 / clocks == pytest.approx(rate_of_peak(HBM, mix), rel=0.01)


def test_more_streams_than_the_most_change_nothing_and_longer_turns_help() -> None:
    eight, most = rate_of_peak(HBM, reads(8)), rate_of_peak(HBM, reads(MOST_STREAMS))
    assert eight == pytest.approx(most, rel=0.02)
    turns = [rate_of_peak(Channel("HBM2-2400", turn=turn), reads(4)) for turn in (32, 64, 128, 256, 512)]
    assert turns == sorted(turns)


@settings(max_examples=25)
@given(grade=st.sampled_from(list_grades()), flows=FLOWS, turn=st.sampled_from([32, 64, 200]))
def test_no_mix_beats_the_peak(grade: str, flows: list[tuple[str, bool, float, int]], turn: int) -> None:
    mix = make_mix(flows)
    if mix:
        assert 0.0 < rate_of_peak(Channel(grade, turn=turn), mix) <= 1.0


def test_idle_latency_is_activation_read_and_burst() -> None:
    t = load_dram("DDR4-2400").timing
    clocks = idle_latency_s(Channel("DDR4-2400")) / 0.833e-9
    assert clocks == pytest.approx(t.tRCDRD + t.tCL + t.tBURST, abs=1.0)


@pytest.mark.parametrize("standard", list(load_data("memory_efficiency.yaml").content["standards"]))
def test_the_stored_constants_are_what_the_channel_model_says(standard: str) -> None:
    row = load_data("memory_efficiency.yaml").content["standards"][standard]
    found = stream_constants(stored_channel(row["grade"]))
    assert row["streaming_efficiency"] == found.streaming_efficiency
    assert row["stream_interference"] == found.stream_interference


def test_the_table_is_printed_anew(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "HBM2 (HBM2-2400): streaming_efficiency 0.91, stream_interference 0.227"
    assert len(lines) == len(load_data("memory_efficiency.yaml").content["standards"])
