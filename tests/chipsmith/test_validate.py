"""Validation: what the adapters predict, how errors are counted, what the command prints and refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from chipsmith.adapters.base import Adapter, Fields, adapters, families, find_adapter, keep_chips, predict
from chipsmith.adapters.npu import STREAMING_FILE
from chipsmith.cli import main
from chipsmith.records import read_records
from chipsmith.validate import Report, SourceRow, compare, error_pct, kendall_tau, validate
from chipsmith.validate_output import draw, panels, write_csv
from workloads.errors import ChipsmithError

ROOT = Path(__file__).resolve().parents[2]
FILES = [ROOT / "tests" / "reference" / f"{name}.jsonl" for name in ("scalesim", "onnxim", "zigzag_accelforge")]
REQUIRED_KEYS = {
    "source", "family", "metric", "n", "skipped", "mape_pct", "bias_pct", "max_ape_pct", "worst_id", "kendall_tau",
    "null_mape_pct",
}  # fmt: skip

OS_4X4 = {
    "id": "mine/os",
    "family": "systolic",
    "source": {"name": "bench", "kind": "measured"},
    "hardware": {"rows": 4, "cols": 4, "dataflow": "os", "word_bytes": 1},
    "workload": {"op": "gemm", "m": 8, "k": 10, "n": 6},
    "expect": {"compute_cycles": 4 * (10 + 4 + 4 - 2)},
}
NPU = {
    "id": "mine/npu",
    "family": "npu",
    "source": {"name": "my lab", "kind": "measured"},
    "hardware": {
        "cores": 1, "rows": 16, "cols": 16, "dataflow": "ws", "freq_mhz": 1000, "weight_bytes": 2, "act_bytes": 2,
        "accum_bytes": 4, "spad_kb": 256, "accum_kb": 64, "dram_type": "DDR4-1600", "bandwidth_gbps": 6.4,
    },
    "workload": {"op": "gemm", "m": 64, "k": 64, "n": 64},
    "expect": {"latency_s": 1e-5, "power_w": 3.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def report() -> Report:
    """Everything that is shipped, compared once."""
    return compare(FILES, worst=2)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes records (or plain lines) into one file."""

    def write_lines(*lines: object) -> Path:
        path = tmp_path / "records.jsonl"
        path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
        return path

    return write_lines


def row_of(report: Report, source: str, metric: str) -> SourceRow:
    (row,) = [row for row in report.rows if (row.source, row.metric) == (source, metric)]
    return row


def changed(record: Mapping[str, Any], part: str, **fields: object) -> dict[str, Any]:
    """A copy of a record with some keys of one part replaced; None takes a key away."""
    merged = {**record[part], **fields}
    return {**record, part: {key: value for key, value in merged.items() if value is not None}}


# ---------------------------------------------------------------- accuracy


@pytest.mark.parametrize(
    "metric",
    ["compute_cycles", "mapping_efficiency_pct", "sram_ifmap_reads", "sram_filter_reads", "sram_ofmap_writes"],
)
@pytest.mark.parametrize(("source", "n"), [("SCALE-Sim", 216), ("SCALE-Sim closed form", 109)])
def test_every_fold_is_exact(report: Report, source: str, n: int, metric: str) -> None:
    row = row_of(report, source, metric)
    assert (row.n, row.skipped, row.max_ape_pct, row.bias_pct) == (n, 0, 0.0, 0.0)
    assert row.kendall_tau == approx(1.0)


def test_onnxim_cycles_are_within_their_thresholds(report: Report) -> None:
    row = row_of(report, "ONNXim", "cycles")
    assert (row.n, row.skipped, row.coverage_pct) == (76, 0, 100.0)
    assert row.mape_pct is not None and row.mape_pct <= 5.0
    assert row.max_ape_pct is not None and row.max_ape_pct <= 15.0
    assert row.kendall_tau is not None and row.kendall_tau > 0.95
    assert row.null_mape_pct is not None and row.null_mape_pct > 5 * row.mape_pct


def test_onnxim_cycles_at_command_rest_on_no_fitted_constant(report: Report) -> None:
    row = row_of(report, "ONNXim", "cycles at command")
    assert (row.n, row.skipped, row.fidelity, row.fitted_constants) == (62, 14, "command", 0)
    assert row.skip_reasons == {"DDR4 at half clock and half bursts, which no grade has": 14}
    assert row.mape_pct is not None and row.mape_pct <= 4.0
    assert row.max_ape_pct is not None and row.max_ape_pct <= 20.0
    assert row.kendall_tau is not None and row.kendall_tau > 0.95


def test_onnxim_blocks_are_exact_on_every_core(report: Report) -> None:
    row = row_of(report, "ONNXim", "matrix_blocks_per_core")
    assert (row.n, row.max_ape_pct) == (76, 0.0)


def test_onnxim_reads_are_within_one_per_cent_but_on_the_smallest(report: Report) -> None:
    reads = [c for c in report.comparisons if c.metric == "dram_read_bytes"]
    far = {c.record.data["id"] for c in reads if abs(c.error_pct or 0.0) > 1.0}
    assert len(reads) == 76 and all("m64-k64-n64" in name for name in far)


def test_the_searched_mapping_is_never_slower_than_the_heuristic(report: Report) -> None:
    row = row_of(report, "ONNXim", "cycles, auto mapping over gemmini")
    assert row.ratio is not None and row.mape_pct is None
    assert (row.n, row.kind, row.ratio.above_1) == (76, "own", 0)
    assert row.ratio.smallest < row.ratio.mean < row.ratio.largest <= 1.0


@pytest.mark.parametrize("metric", ["latency_s", "cycles"])
def test_accelforge_is_the_roofline(report: Report, metric: str) -> None:
    row = row_of(report, "AccelForge", metric)
    assert (row.n, row.fidelity) == (18, "bound")
    assert row.max_ape_pct is not None and row.max_ape_pct <= 0.1


def test_zigzag_is_compared_with_the_larger_of_its_cycles_and_the_bound(report: Report) -> None:
    row = row_of(report, "ZigZag", "cycles")
    assert row.one_sided is not None and row.kind == "one-sided" and row.n == 39
    side = row.one_sided
    assert side.within + side.faster + side.slower == 39
    assert side.below_bound == 0
    assert side.slower <= 3


def test_the_lower_bound_that_the_adapter_computes_is_the_one_in_the_records(report: Report) -> None:
    found = [c for c in report.comparisons if c.record.source == "ZigZag" and c.metric == "cycles"]
    assert [c.floor for c in found] == [approx(c.record.data["reported"]["lower_bound_cycles"], abs=1) for c in found]


def test_rows_say_how_they_came_about(report: Report) -> None:
    row = row_of(report, "ONNXim", "cycles")
    assert (row.fidelity, row.mapping, row.authority) == ("tile", "gemmini", ("simulated",))
    assert row.fitted_constants == 3 and row.fitted_file == STREAMING_FILE and (ROOT / STREAMING_FILE).is_file()
    assert row.quirks[0] == "weights preloaded for every block of R rows"
    assert row_of(report, "SCALE-Sim", "compute_cycles").fitted_constants == 0


def test_metrics_that_are_left_out_are_rows_with_a_reason(report: Report) -> None:
    row = row_of(report, "AccelForge", "energy_pj")
    assert (row.n, row.skipped, row.mape_pct, row.worst_id, row.coverage_pct) == (0, 18, None, None, 100.0)
    assert list(row.skip_reasons.values()) == [18]


def test_the_worst_records_are_the_largest_errors(report: Report) -> None:
    row = row_of(report, "ONNXim", "cycles")
    errors = sorted((abs(c.error_pct or 0.0) for c in report.comparisons if c.metric == "cycles"
                     and c.record.source == "ONNXim" and c.kind == "error"), reverse=True)  # fmt: skip
    assert [abs(item.error_pct) for item in row.worst] == errors[:2]
    assert (row.worst_id, row.max_ape_pct) == (row.worst[0].id, errors[0])
    assert row.mape_pct == approx(sum(errors) / 76)


def test_nothing_modelled_misses_its_coverage(report: Report) -> None:
    assert report.misses() == []


def test_a_mean_error_above_the_limit_is_named(report: Report) -> None:
    limit = 1.0
    far = [row for row in report.rows if row.mape_pct is not None and row.mape_pct > limit]
    assert [sentence.split(":")[0] for sentence in report.misses(limit)] == [f"{r.source} {r.metric}" for r in far]
    assert "ONNXim cycles" in [sentence.split(":")[0] for sentence in report.misses(limit)]


# ---------------------------------------------------------------- what adapters may see


class Guarded(dict[str, Any]):
    """A record whose answers raise when they are looked at."""

    def __getitem__(self, key: str) -> Any:
        if key not in ("hardware", "workload"):
            raise LookupError(f"an adapter looked at {key}")
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]

    def items(self) -> Any:
        raise LookupError("an adapter looked at everything")

    values = keys = __iter__ = items


@pytest.mark.parametrize("index", [0, 324, 325, 401, 457])
def test_adapters_see_hardware_and_workload_only(index: int) -> None:
    record = read_records(FILES)[index]
    adapter = find_adapter(record.family, record.source)
    assert predict(adapter, Guarded(record.data), "r") == predict(adapter, record.data, "r")


def test_the_guard_would_notice() -> None:
    with pytest.raises(LookupError, match=r"^an adapter looked at expect$"):
        Guarded(OS_4X4).get("expect")


def test_every_family_has_an_adapter_or_a_reason() -> None:
    assert families() == [
        "dram", "fpga", "gpu", "lut", "npu", "pe", "pim", "pim-system", "rtl", "serving", "systolic",
    ]  # fmt: skip
    assert all((adapter.predict is None) == bool(adapter.reason) for adapter in adapters())


def test_a_named_source_goes_before_the_general_adapter_of_its_family() -> None:
    assert find_adapter("npu", "ONNXim").mapping == "gemmini"
    assert find_adapter("npu", "my lab").mapping == "auto"
    assert find_adapter("npu", "SambaNova SN40L (MICRO'24)").predict is None


# ---------------------------------------------------------------- own measurements


def test_one_array_by_hand(write: Callable[..., Path]) -> None:
    (row,) = validate([write(OS_4X4)])
    assert (row.source, row.metric, row.n, row.mape_pct, row.kendall_tau) == ("bench", "compute_cycles", 1, 0.0, None)
    assert row.null_mape_pct == approx(100 * (1 - 8 * 10 * 6 / 16 / 64))


def test_own_npu_is_compared_where_a_metric_is_known(write: Callable[..., Path]) -> None:
    time, power = validate([write(NPU)])
    assert (time.metric, time.n, time.mapping, time.fitted_constants) == ("latency_s", 1, "auto", 3)
    assert (power.metric, power.n) == ("power_w", 0)
    assert power.skip_reasons == {"the adapter predicts no such metric": 1}
    assert time.authority == ("measured",) and time.coverage_pct == 100.0


def test_zero_null_and_text_expectations(write: Callable[..., Path]) -> None:
    expect = {"compute_cycles": 0, "sram_ifmap_reads": None, "sram_filter_reads": "many", "sram_ofmap_writes": True}
    rows = validate([write({**OS_4X4, "expect": expect})])
    assert [(row.n, row.mape_pct) for row in rows] == [(1, 100.0), (0, None), (0, None), (0, None)]
    assert [reason for row in rows for reason in row.skip_reasons] == [
        "no number is expected but None",
        "no number is expected but 'many'",
        "no number is expected but True",
    ]


def test_a_record_that_expects_nothing_is_skipped(write: Callable[..., Path]) -> None:
    (row,) = validate([write({**OS_4X4, "expect": {}})])
    assert (row.metric, row.n, row.skip_reasons) == ("*", 0, {"it expects nothing": 1})


def test_another_operator_is_skipped_and_costs_coverage(write: Callable[..., Path]) -> None:
    report = compare([write(changed(NPU, "workload", op="conv2d"), NPU)])
    assert report.rows[0].skip_reasons == {"operator 'conv2d' is not modelled by this adapter": 1}
    assert report.misses() == ["my lab (npu): 50 % of the records compared, at least 90 % required"]


def test_a_memory_without_constants_is_skipped(write: Callable[..., Path]) -> None:
    row = validate([write(changed(NPU, "hardware", dram_type="RDRAM-800"))])[0]
    assert row.skip_reasons == {"no streaming constants for RDRAM (known: DDR4, HBM2)": 1}


def test_what_the_simulator_refuses_is_skipped_in_its_words(write: Callable[..., Path]) -> None:
    tiny = changed(NPU, "hardware", spad_kb=1, rows=1024, cols=1024, accum_kb=1)
    (reason,) = validate([write(tiny)])[0].skip_reasons
    assert reason.startswith("refused: chip npu") and "no tile fits" in reason


def test_families_not_modelled_are_one_row_a_source(write: Callable[..., Path]) -> None:
    gpu = {**OS_4X4, "family": "gpu", "expect": {"latency_ms": 1.0, "power_w": 2.0}}
    (row,) = validate([write(gpu, gpu)])
    assert (row.metric, row.n, row.skipped, row.skip_reasons) == ("*", 0, 2, {"GPUs are not modelled yet": 2})


def test_an_unknown_family_is_skipped_with_the_nearest(write: Callable[..., Path]) -> None:
    report = compare([write({**OS_4X4, "family": "systolc"})])
    assert report.rows[0].skip_reasons == {
        "no adapter for family 'systolc'; did you mean 'systolic'? known: dram, fpga, gpu, lut, npu, pe, pim, "
        "pim-system, rtl, serving, systolic": 1
    }
    assert report.misses() == []


def test_only_the_wanted_families(write: Callable[..., Path]) -> None:
    assert {row.family for row in validate([write(OS_4X4, NPU)], ["systolic"])} == {"systolic"}


# ---------------------------------------------------------------- bad input, word for word


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (['{"id": "a"'], ":1; not valid JSON: Expecting ',' delimiter (column 11)"),
        ([OS_4X4, "", "{]"], ":3; not valid JSON: Expecting property name enclosed in double quotes (column 2)"),
        (['{"id": NaN}'], ":1; not valid JSON: NaN is no JSON number"),
        (["[1]"], ":1: got 'list'; a record is a JSON object"),
        ([""], "; it holds no record (one JSON object a line is expected)"),
        ([{k: v for k, v in OS_4X4.items() if k != "expect"}], ":1.expect; this key is required"),
        ([{**OS_4X4, "family": 3}], ":1.family: got 3; a text is required"),
        ([{**OS_4X4, "source": "lab"}], ":1.source: got 'lab'; a JSON object is required"),
        ([{**OS_4X4, "source": {}}], ":1.source.name; this key is required"),
        ([OS_4X4, changed(OS_4X4, "hardware", rows=None)], ":2.hardware.rows; this key is required"),
        ([changed(OS_4X4, "hardware", rows=0)], ":1.hardware.rows: got 0; a number above 0 is required"),
        ([changed(OS_4X4, "hardware", rows=2.5)], ":1.hardware.rows: got 2.5; a whole number above 0 is required"),
        ([changed(OS_4X4, "workload", k="4")], ":1.workload.k: got '4'; a number above 0 is required"),
        ([changed(OS_4X4, "workload", op=7)], ":1.workload.op: got 7; a text is required"),
        (
            [changed(OS_4X4, "hardware", dataflow="rs")],
            ":1.hardware.dataflow: got 'rs'; did you mean 'ws'? known: is, os, ws",
        ),
        ([changed(NPU, "hardware", act_bytes=3)], ":1.hardware.act_bytes: got 3; 1, 2 or 4 bytes per element"),
    ],
)  # fmt: skip
def test_bad_records(write: Callable[..., Path], lines: list[object], text: str) -> None:
    path = write(*lines)
    with pytest.raises(ChipsmithError) as caught:
        validate([path])
    assert str(caught.value) == f"{path}{text}"


def test_a_machine_that_is_no_chip_names_the_record(write: Callable[..., Path]) -> None:
    path = write(changed(NPU, "hardware", rows=5000))
    with pytest.raises(ChipsmithError) as caught:
        validate([path])
    assert str(caught.value).startswith(f"{path}:1.hardware; it makes no legal chip: chip.engines.npu.rows: got 5000")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError) as caught:
        validate([tmp_path / "none.jsonl"])
    assert str(caught.value) == f"{tmp_path / 'none.jsonl'}; cannot be read: No such file or directory"
    (tmp_path / "picture").write_bytes(b"\x89PNG\xff")
    with pytest.raises(ChipsmithError) as caught:
        validate([tmp_path / "picture"])
    assert str(caught.value) == f"{tmp_path / 'picture'}; cannot be read: it is no UTF-8 text"


def test_an_unknown_family_to_choose(write: Callable[..., Path]) -> None:
    with pytest.raises(ChipsmithError) as caught:
        validate([write(OS_4X4)], ["nup"])
    assert str(caught.value) == (
        "families: got 'nup'; did you mean 'npu'? known: dram, fpga, gpu, lut, npu, pe, pim, pim-system, rtl, "
        "serving, systolic"
    )


# ---------------------------------------------------------------- statistics


@pytest.mark.parametrize(
    ("ours", "theirs", "pct"),
    [
        (110.0, 100.0, 10.0),
        (90, 100, -10.0),
        (-90.0, -100.0, 10.0),
        (0.0, 0.0, 0.0),
        (3.0, 0.0, 100.0),
        (-3.0, 0.0, -100.0),
        (19.531250, 19.5312, 0.0),  # printed with six digits
        (19.53, 19.5312, -100 * 0.0012 / 19.5312),
        (2228225.0, 2228224.0, 100 / 2228224),  # whole numbers are not rounded
        ((1.0, 3.0), (3.0, 1.0), 0.0),
        ((2.0, 2.0), (3.0, 1.0), 50.0),
        ((0.0, 5.0), (2.0, 2.0), 125.0),
        ((1.0,), (1.0, 1.0), -50.0),
        ((0.0, 0.0), (0.0,), 0.0),
        ((1.0, 1.0), (0.0, 0.0), 100.0),
        ((4.0, 4.0), 10.0, -20.0),
        (8.0, (4.0, 4.0), 0.0),
    ],
)
def test_signed_errors(ours: Any, theirs: Any, pct: float) -> None:
    assert error_pct(ours, theirs) == approx(pct)


SMALL = st.integers(-4, 4).map(float)


@given(st.lists(st.tuples(SMALL, SMALL), min_size=2, max_size=30))
def test_tau_is_scipy_s(pairs: list[tuple[float, float]]) -> None:
    from scipy.stats import kendalltau

    ours, theirs = [list(side) for side in zip(*pairs, strict=True)]
    if len(set(ours)) < 2 or len(set(theirs)) < 2:
        assert kendall_tau(ours, theirs) is None
    else:
        assert kendall_tau(ours, theirs) == approx(float(kendalltau(ours, theirs).statistic))


@given(st.lists(st.floats(0.5, 1e9), min_size=1, max_size=8))
def test_a_multiset_has_no_order(values: list[float]) -> None:
    assert error_pct(tuple(values), tuple(reversed(values))) == 0.0


def test_chips_are_built_once_a_machine() -> None:
    built: list[int] = []

    @keep_chips
    def chip(hardware: Fields) -> dict[str, Any]:
        built.append(hardware.whole("rows"))
        return {
            "name": "x",
            "technology": {"node_nm": 45},
            "engines": {"v": {"type": "vector", "clock_hz": 1e9, "lanes": hardware.whole("rows")}},
            "memories": {"dram": {"standard": "DDR4", "capacity_bytes": 1, "bandwidth_bytes_per_s": 1.0}},
        }

    first = chip(Fields.of({"rows": 4, "list": [1, {"a": 2}]}, "f:1.hardware"))
    assert chip(Fields.of({"rows": 4, "list": [1, {"a": 2}]}, "f:2.hardware")) is first
    assert chip(Fields.of({"rows": 8, "list": []}, "f:3.hardware")) is not first
    assert built == [4, 8]


def test_an_adapter_is_plain_data() -> None:
    assert Adapter("x", reason="later") == Adapter("x", reason="later")


# ---------------------------------------------------------------- the command


def test_json_holds_one_list_of_rows(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(write(OS_4X4, NPU)), "--format", "json"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert err == "" and [row["metric"] for row in rows] == ["compute_cycles", "latency_s", "power_w"]
    assert all(set(row) >= REQUIRED_KEYS for row in rows)
    assert rows[0]["source"] == "bench" and rows[0]["worst_id"] == "mine/os"


def test_the_table_says_what_was_skipped_and_how_it_ran(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    long = {**OS_4X4, "family": "gpu", "source": {"name": "a source with a name that is far too long"}}
    assert main(["validate", str(write(OS_4X4, NPU, long, long)), "--worst", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split()[:7] == ["bench", "compute_cycles", "1", "0", "0", "0", "0"]
    assert lines[5].startswith("a source with a name that is fa…  *")
    assert "skipped 1 of my lab power_w: the adapter predicts no such metric" in lines
    assert "skipped 2 of family gpu: GPUs are not modelled yet" in lines
    assert (
        "my lab (measured): fidelity tile, mapping auto; 3 fitted constants in chipsmith/adapters/data/streaming.yaml"
        in lines
    )
    assert lines[-1].split()[:3] == ["my", "lab", "latency_s"]


def test_a_missed_limit_exits_1(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    off = changed(OS_4X4, "expect", compute_cycles=80)
    assert main(["validate", str(write(off)), "--max-mape", "19.9"]) == 1
    assert (
        capsys.readouterr().err == "chipsmith: missed: bench compute_cycles: mean error 20 %, at most 19.9 % allowed\n"
    )
    assert main(["validate", str(write(off)), "--max-mape", "20"]) == 0


def test_a_missed_coverage_exits_1(write: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(write(changed(OS_4X4, "workload", op="conv2d"))), "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)[0]["coverage_pct"] == 0.0
    assert err == "chipsmith: missed: bench (systolic): 0 % of the records compared, at least 90 % required\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--max-mape", "x"], "--max-mape: got 'x'; a percentage, 0 or above"),
        (["--max-mape", "-1"], "--max-mape: got '-1'; a percentage, 0 or above"),
        (["--max-mape", "nan"], "--max-mape: got 'nan'; a percentage, 0 or above"),
        (["--worst", "1.5"], "--worst: got '1.5'; a whole number, 0 or above"),
    ],
)
def test_bad_arguments_exit_2(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], arguments: list[str], text: str
) -> None:
    assert main(["validate", str(write(OS_4X4)), *arguments]) == 2
    assert capsys.readouterr() == ("", f"chipsmith: error: {text}\n")


def test_csv_holds_every_comparison(report: Report, tmp_path: Path) -> None:
    write_csv(report.comparisons, tmp_path / "all.csv")
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(report.comparisons) == 325 * 5 + 76 * 6 + 39 * 3 + 18 * 3
    first = next(row for row in rows if row["source"] == "ONNXim" and row["metric"] == "cycles")
    assert float(first["error_pct"]) == approx(100 * (float(first["predicted"]) / float(first["reference"]) - 1))
    skipped = next(row for row in rows if row["metric"] == "energy_pj")
    assert (skipped["predicted"], skipped["null"]) == ("", "") and skipped["skip_reason"]


def test_panels_show_the_time_of_each_source(report: Report) -> None:
    shown = {panel.source: panel for panel in panels(report.comparisons)}
    assert {source: (panel.metric, len(panel.reference)) for source, panel in shown.items()} == {
        "SCALE-Sim": ("compute_cycles", 216),
        "SCALE-Sim closed form": ("compute_cycles", 109),
        "ONNXim": ("cycles", 76),
        "ZigZag": ("cycles", 39),
        "AccelForge": ("latency_s", 18),
    }
    assert shown["SCALE-Sim"].predicted == shown["SCALE-Sim"].reference
    assert shown["ONNXim"].mape_pct == row_of(report, "ONNXim", "cycles").mape_pct


def test_files_of_the_command(write: Callable[..., Path], tmp_path: Path) -> None:
    figure, output = tmp_path / "f.png", tmp_path / "r.csv"
    assert main(["validate", str(write(OS_4X4)), "--figure", str(figure), "--output", str(output)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG") and len(output.read_text().splitlines()) == 2


def test_nothing_to_draw_is_refused_and_leaves_no_file(write: Callable[..., Path], tmp_path: Path) -> None:
    report = compare([write({**OS_4X4, "family": "gpu"})])
    with pytest.raises(ChipsmithError) as caught:
        draw(report.comparisons, tmp_path / "f.png")
    assert str(caught.value) == (
        f"--figure: got {str(tmp_path / 'f.png')!r}; nothing was compared, so there is nothing to draw"
    )
    assert not (tmp_path / "f.png").exists()
