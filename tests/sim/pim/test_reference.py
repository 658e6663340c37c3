"""The adapter of PIM records: what it translates, what it skips, and the errors against three command models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chipsmith.validate import SourceRow, compare, validate
from sim.pim.operators import placed_attention

AIM: dict[str, Any] = {
    "device": "GDDR6-AiM", "channels": 32, "tCK_ns": 0.5, "refresh": "none visible", "pim_command_interval_ck": 2,
    "timing_ck": {"tRRD": 11, "tRTP": 12, "tRP": 32},
}  # fmt: skip
GEMV = {"kernel": "gemv", "out_features": 4096, "in_features": 1024, "batch": 1, "dtype_bytes": 2, "executed_on": "pim"}


def rows(path: Path, *records: dict[str, Any]) -> list[SourceRow]:
    common = {"family": "pim", "source": {"name": "mine", "version": "1", "kind": "measured"}}
    lines = [json.dumps({"id": f"r{i}", **common, **record}) for i, record in enumerate(records)]
    path.write_text("\n".join(lines) + "\n")
    return validate([path])


def record(hardware: dict[str, Any], workload: dict[str, Any], **expect: float) -> dict[str, Any]:
    return {"hardware": hardware, "workload": workload, "expect": expect}


def test_a_record_becomes_the_device_with_its_timing(tmp_path: Path) -> None:
    slower = {**AIM, "timing_ck": {**AIM["timing_ck"], "tRP": 42}}
    (row,) = rows(tmp_path / "r.jsonl", record(AIM, GEMV, cycles=2416), record(slower, GEMV, cycles=2416 + 7 * 10))
    assert (row.n, row.max_ape_pct, row.fitted_constants) == (2, 0.0, 0)
    assert row.null_mape_pct is not None
    assert 55 < row.null_mape_pct < 65


def test_fewer_channels_and_refresh(tmp_path: Path) -> None:
    (row,) = rows(tmp_path / "r.jsonl", record(AIM, {**GEMV, "channels_used": 16}, cycles=4704))
    assert row.max_ape_pct == 0
    (row,) = rows(tmp_path / "r.jsonl", record({**AIM, "refresh": "all-bank"}, GEMV, cycles=2416))
    assert row.bias_pct is not None
    assert row.bias_pct > 5


@pytest.mark.parametrize(
    ("hardware", "workload", "reason"),
    [
        ({**AIM, "device": "UPMEM"}, GEMV, "no model of UPMEM (known: HBM-PIM, GDDR6-AiM, AttAcc)"),
        (AIM, {**GEMV, "kernel": "sort"}, "kernel 'sort' is not modelled"),
        (AIM, {**GEMV, "dtype_bytes": 1}, "aim multiplies bf16, the record has 1 bytes"),
        (
            {**AIM, "timing_ck": {"tRAS": 99}},
            GEMV,
            "refused: pim.aim: timing_ck.tRAS 99 must not exceed tRC 89",
        ),
        (
            AIM,
            {**GEMV, "kernel": "add", "elements": 64},
            "refused: pim device: got 'aim'; element-wise operations run on hbm_pim",
        ),
    ],
)
def test_what_is_skipped_and_why(
    tmp_path: Path, hardware: dict[str, Any], workload: dict[str, Any], reason: str
) -> None:
    (row,) = rows(tmp_path / "r.jsonl", record(hardware, workload, cycles=1))
    assert (row.n, row.skip_reasons) == (0, {reason: 1})


@pytest.mark.parametrize(("model", "batch"), [("GPT3-13B", 32), ("GPT3-7B", 512)])
def test_attention_stage_of_neupims(reference_dir: Path, model: str, batch: int) -> None:
    """Two row buffers, no interleaving: the fullest channel of the request list, tensor parallel 4."""
    lines = (reference_dir / "memory" / "neupims.jsonl").read_text().splitlines()
    wanted = ("dual_row_buffer", model, batch)
    (found,) = (
        record
        for record in map(json.loads, lines)
        if tuple(record["workload"][key] for key in ("mode", "model", "batch")) == wanted
    )
    workload = found["workload"]
    lists = json.loads((reference_dir / "memory" / "neupims_requests.json").read_text())
    placed: list[list[int]] = [[] for _ in range(32)]
    for context, channel in lists[workload["requests_ref"].split("#")[1]]["requests"]:
        placed[channel].append(context)
    heads = workload["heads"] // workload["tensor_parallel"]
    cycles = placed_attention("neupims", placed, heads, workload["d_model"] // workload["heads"]).cycles
    assert cycles == pytest.approx(found["expect"]["stage_cycles"]["B"], rel=0.03)


@pytest.mark.parametrize(
    ("file", "mean_pct", "worst_pct"), [("hbm_pim", 3.0, 20.0), ("aim", 0.01, 0.01), ("attacc", 1.5, 6.0)]
)
def test_errors_against_command_models(reference_dir: Path, file: str, mean_pct: float, worst_pct: float) -> None:
    report = compare([reference_dir / "memory" / f"{file}.jsonl"])
    (row,) = (row for row in report.rows if row.metric == "cycles")
    assert row.coverage_pct == 100
    assert row.mape_pct is not None
    assert row.max_ape_pct is not None
    assert row.mape_pct < mean_pct
    assert row.max_ape_pct < worst_pct
