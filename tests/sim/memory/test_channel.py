"""Streams, results, extrapolation, closed forms, energy, and what other simulators say of the same channel."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from chipsmith.cli import main
from chipsmith.commands.dram import by_class
from chipsmith.validate import compare
from models.dram.library import list_grades, load_dram
from models.dram.policy import load_policy
from sim.memory.channel import simulate_requests, simulate_stream
from sim.memory.closed_forms import STATED_ERROR, closed_form_cycles
from sim.memory.picture import bandwidth_bars, draw_bandwidth
from sim.memory.streams import STREAMS, Stream, named_stream, splitmix64, stream_requests, trace_requests
from workloads.errors import ChipsmithError

GRADES = list_grades()
PERIODIC = ("sequential", "row_by_row", "bank_interleaved", "row_miss", "mixed")


# ---------------------------------------------------------------- streams


def test_splitmix_of_known_indices() -> None:
    # first outputs of the generator with seed 0
    values = splitmix64(np.array([0]))
    assert [hex(int(value)) for value in values] == ["0xe220a8397b1dcdaf"]


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("name", list(STREAMS))
def test_coordinates_lie_on_the_device(grade: str, name: str) -> None:
    spec = load_dram(grade)
    o = spec.organisation
    requests = stream_requests(spec, named_stream(name, requests=3000))
    assert 0 <= requests.bank.min() <= requests.bank.max() < o.banks * o.pseudo_channels
    assert 0 <= requests.row.min() <= requests.row.max() < o.rows
    every = STREAMS[name].write_every
    assert requests.write.sum() == (3000 // every if every else 0)


def test_sequential_bursts_rotate_over_pseudo_channels_and_groups() -> None:
    requests = stream_requests(load_dram("HBM3-6400"), named_stream("sequential", requests=9))
    assert requests.bank.tolist() == [0, 16, 4, 20, 8, 24, 12, 28, 0]
    assert requests.row.tolist() == [0] * 9


def test_a_gather_reads_whole_pages_once() -> None:
    spec = load_dram("HBM3-6400")
    stream = Stream("kv_gather", requests=1024, layout="row_sized")
    requests = stream_requests(spec, stream)
    pages = requests.bank.reshape(32, 32)
    assert (pages == pages[:, :1]).all()
    assert len({(bank, row) for bank, row in zip(pages[:, 0], requests.row[::32], strict=True)}) == 32


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda: Stream("seq"), "stream.kind: got 'seq'; known: kv_gather, random, same_bank, sequential, strided"),
        (lambda: Stream("random", requests=0), "stream.requests: got 0; a whole number of at least 1"),
        (lambda: Stream("random", write_every=1), "stream.write_every: got 1; 0 (reads only) or at least 2"),
        (lambda: Stream("strided", stride_bursts=0), "stream.stride_bursts: got 0; a whole number of at least 1"),
        (
            lambda: simulate_stream("HBM2-2000", named_stream("sequential", requests=33_554_433)),
            "stream.requests: got 33554433; the stream reaches 1073741856 bytes, a HBM2-2000 channel has 1073741824",
        ),
        (
            lambda: simulate_stream("HBM2-2000", Stream("kv_gather", requests=128, pages=300_000)),
            "stream.requests: got 128; the stream reaches 1228800000 bytes, a HBM2-2000 channel has 1073741824",
        ),
        (
            lambda: trace_requests(load_dram("HBM2-2000"), [0, 32], [0, 0], [0, 0]),
            "requests.bank[1]: got 32; 0 to 31 on HBM2-2000",
        ),
        (
            lambda: trace_requests(load_dram("HBM2-2000"), [0], [0, 0], [0]),
            "requests.row: got (2,); an array of shape (1,), as bank",
        ),
        (lambda: trace_requests(load_dram("HBM2-2000"), [], [], []), "requests: got 0; at least one request"),
        (
            lambda: trace_requests(load_dram("HBM2-2000"), [0, 0], [0, 0], [0, 0], [5, 4]),
            "requests.arrival_ck; one clock a request, not falling, from 0 on",
        ),
    ],
)
def test_streams_and_traces_that_cannot_be(make: object, complaint: str) -> None:
    assert callable(make)
    with pytest.raises(ChipsmithError) as error:
        make()
    assert str(error.value) == complaint


# ---------------------------------------------------------------- results


@pytest.mark.parametrize("grade", GRADES)
def test_bandwidth_is_below_the_peak_and_energy_adds_up(grade: str) -> None:
    spec = load_dram(grade)
    price = spec.command_energy()
    for name in STREAMS:
        run = simulate_stream(spec, named_stream(name, requests=1500))
        assert 0 < run.fraction_of_peak <= 1
        assert run.time_s == pytest.approx(run.cycles_ck * spec.tck_ns * 1e-9)
        assert run.bandwidth_bytes_per_s * run.time_s == pytest.approx(1500 * spec.organisation.burst_bytes)
        if price is None:
            assert run.energy_pj == {}
            assert math.isnan(run.energy_pj_per_bit)
            continue
        n = run.commands
        assert run.energy_pj["act"] == pytest.approx(n["ACT"] * price.act_pj)
        assert run.energy_pj["read"] + run.energy_pj["write"] == pytest.approx(
            n["RD"] * price.read_pj + n["WR"] * price.write_pj
        )
        standby = 1e9 * run.time_s * spec.organisation.pseudo_channels
        assert price.closed_mw * standby <= run.energy_pj["background"] * (1 + 1e-9)
        assert run.energy_pj["background"] <= price.open_mw * standby * (1 + 1e-9)
        bits = 8 * 1500 * spec.organisation.burst_bytes
        assert run.energy_pj_per_bit == pytest.approx(sum(run.energy_pj.values()) / bits)


@pytest.mark.parametrize("grade", ["HBM2-2000", "HBM3-6400", "DDR5-4800", "LPDDR5-6400", "GDDR6-14000"])
@pytest.mark.parametrize("name", PERIODIC)
def test_extrapolated_equals_simulated_within_the_stated_error(grade: str, name: str) -> None:
    stream = named_stream(name, requests=240_000)
    short = simulate_stream(grade, stream)
    exact = simulate_stream(grade, stream, exact=True)
    assert short.simulated < short.requests == exact.simulated
    # 0.2 % for what one refresh more or less in the simulated part makes
    assert short.cycles_ck == pytest.approx(exact.cycles_ck, rel=short.error + 2e-3)
    assert short.error <= 5e-3
    assert short.commands["RD"] + short.commands["WR"] == pytest.approx(240_000)


def test_a_long_stream_costs_no_more_than_a_short_one() -> None:
    run = simulate_stream("HBM3-6400", named_stream("random", requests=20_000_000))
    assert run.simulated < 400_000
    assert run.fraction_of_peak == pytest.approx(0.2676, abs=1e-3)


@pytest.mark.parametrize("grade", GRADES)
@pytest.mark.parametrize("name", ["sequential", "bank_interleaved", "row_miss", "same_bank"])
def test_closed_forms_agree_with_the_kernel(grade: str, name: str) -> None:
    spec = load_dram(grade)
    stream = named_stream(name, requests=3000 if name == "same_bank" else 30_000)
    closed = closed_form_cycles(spec, stream)
    assert closed is not None
    assert closed == pytest.approx(simulate_stream(spec, stream).cycles_ck, rel=STATED_ERROR)


def test_no_closed_form_where_there_is_none() -> None:
    spec = load_dram("HBM3-6400")
    for name in ("random", "random_runs", "row_by_row", "strided", "kv_gather", "mixed"):
        assert closed_form_cycles(spec, STREAMS[name]) is None
    assert closed_form_cycles(spec, STREAMS["sequential"], load_policy("dramsim3")) is None


# ---------------------------------------------------------------- other simulators on the same channel


@pytest.mark.parametrize(
    ("grade", "stream", "requests", "cycles"),
    [
        ("HBM2-2000", "sequential", 10_000, 10_667),
        ("HBM2-2000", "random", 10_000, 32_535),
        ("HBM2-2000", "random_mixed", 100_000, 345_836),
        ("HBM2-1600", "random", 50_000, 164_903),
        ("HBM2E-3200", "sequential", 100_000, 118_019),
        ("HBM3-6400", "random", 100_000, 373_786.5),
        ("HBM3-6400", "mixed", 100_000, 173_812.5),
        ("HBM4-8000", "mixed", 100_000, 202_255.5),
        ("DDR4-3200", "sequential", 10_000, 41_929),
        ("DDR4-2666x16", "random", 50_000, 528_423),
        ("DDR5-4800", "mixed", 100_000, 963_234),
        ("LPDDR5-6400", "random", 10_000, 45_884),
        ("LPDDR5-6400", "mixed", 100_000, 267_347),
        ("GDDR6-14000", "mixed", 100_000, 289_139),
    ],
)
def test_cycles_that_ramulator_counts(grade: str, stream: str, requests: int, cycles: float) -> None:
    """Ramulator 2.1 (c5b1c3a) on the same stream, to the clock."""
    assert simulate_stream(grade, named_stream(stream, requests=requests), "ramulator2").cycles_ck == cycles


def test_reference_records_of_each_source(reference_dir: Path, tmp_path: Path) -> None:
    """A fifth of the records; the whole file is compared by ``chipsmith validate``."""
    lines = (reference_dir / "memory" / "dram.jsonl").read_text().splitlines()
    chosen = [line for line in lines if json.loads(line)["workload"]["requests"] in (10_000, 50_000)]
    file = tmp_path / "dram.jsonl"
    file.write_text("\n".join(chosen))
    report = compare([file])
    rows = {(row.source[:4], row.metric): row for row in report.rows}
    cycles = rows["Ramu", "cycles"]
    assert cycles.n >= 40
    assert cycles.mape_pct is not None
    assert cycles.mape_pct < 0.1
    assert cycles.max_ape_pct is not None
    assert cycles.max_ape_pct < 1
    energy = rows["DRAM", "energy_total_pj"].mape_pct
    assert energy is not None
    assert energy < 1
    assert report.misses() == []
    classes = by_class([item for item in report.comparisons if item.metric == "cycles"])
    assert sum(row["records"] for row in classes) == len(chosen)
    assert {"reads, hits", "mixes, misses", "mixes, runs"} <= {row["class"] for row in classes}


# ---------------------------------------------------------------- command and picture


def test_the_picture_shows_what_the_table_says(tmp_path: Path) -> None:
    grades = ("HBM3-6400", "DDR4-3200")
    runs = [
        (name, simulate_stream(grade, named_stream(name, requests=500)))
        for name in ("random", "sequential")
        for grade in grades
    ]
    bars = bandwidth_bars(runs)
    assert (bars.streams, bars.drams) == (("random", "sequential"), grades)
    assert bars.percent_of_peak[1][0] == 100 * runs[2][1].fraction_of_peak
    draw_bandwidth(bars, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_prints_table_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["dram", "--standard", "hbm3", "--stream", "random", "--requests", "2000"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert "HBM3-6400  random" in table
    assert "peak of one channel: HBM3-6400 51.2 GB/s; controller fr_fcfs" in table
    assert main([*arguments, "--format", "json"]) == 0
    assert '"fraction_of_peak"' in capsys.readouterr().out
    assert main(["dram", "--list"]) == 0
    assert "kv_layouts: paged_interleaved, row_sized" in capsys.readouterr().out


def test_the_command_words_what_it_cannot_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dram", "--stream", "sequental"]) == 2
    assert capsys.readouterr().err == (
        "chipsmith: error: stream: got 'sequental'; did you mean 'sequential'? known: bank_interleaved, kv_gather, "
        "mixed, random, random_mixed, random_runs, row_by_row, row_miss, same_bank, sequential, strided\n"
    )


def test_requests_with_arrival_times_wait_for_them() -> None:
    spec = load_dram("DDR4-3200")
    gap = 1000
    requests = trace_requests(spec, [0] * 5, range(5), [0] * 5, [gap * k for k in range(5)])
    run = simulate_requests(spec, requests, load_policy("fr_fcfs").changed(refresh="none"))
    t = spec.timing
    assert run.cycles_ck == 4 * gap + t.tRP + t.tRCDRD + t.tCL + t.tBURST
