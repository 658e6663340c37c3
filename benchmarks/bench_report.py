"""How long the report of a study of 100,000 designs takes to write and to open in headless Chromium.

A page counts as open when every table stands and every figure is drawn, also those further down.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.browser import browser, complaints, page_cpu_s, why_not
from benchmarks.measure import Row
from chipsmith.output import progress
from chipsmith.report import write_study_report
from dse.space import Space
from dse.study import Study
from models.chip import ChipTable, load_chip
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config
from workloads.trace import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from selenium.webdriver import Chrome

DESIGNS = 100_000
_REPEATS = 3
_PARAMETERS: dict[str, list[Any]] = {
    "engines.npu.rows": [16, 32, 64, 128, 256],
    "engines.npu.cols": [16, 32, 64, 128, 256],
    "engines.npu.cores": [1, 2, 4, 8],
    "engines.npu.spad_bytes": [2**n for n in range(18, 28)],
    "engines.npu.clock_hz": [k * 1e8 for k in range(5, 15)],
    "memories.dram.bandwidth_bytes_per_s": [k * 1e11 for k in range(1, 21)],
}


def _formulas(column: Any) -> dict[str, NDArray[np.float64]]:
    """Area, time and energy by closed formulas: what is measured here is the page, not the simulator."""
    rows, cols, cores, spad, clock, bandwidth = (np.asarray(column(path), np.float64) for path in _PARAMETERS)
    macs, bits = rows * cols * cores, np.log2(spad)
    time_s = 1e13 / (macs * clock) * (1 + 4 / bits) + 1.3e10 / bandwidth
    area = macs * 5e-4 + spad * cores * 1e-6 + bandwidth / 4e10
    return {"area_mm2": area, "latency_s": time_s, "energy_j": 1e-9 * macs**0.5 * clock * time_s + area * time_s}


def _evaluator(table: ChipTable, trace: Trace, mapping: str = "auto", fidelity: str = "tile") -> Any:
    found = _formulas(table.column)
    return SimpleNamespace(**found, status=np.zeros(len(found["area_mm2"]), np.int8), reasons=("ok",))


def _simulator(trace: Trace, chip: Any, mapping: str = "auto", fidelity: str = "tile") -> Any:
    table = ChipTable(chip)
    return SimpleNamespace(**{name: float(values[0]) for name, values in _formulas(table.column).items()})


def _study() -> Study:
    space = Space(load_chip("tpu_v4"), {path: {"values": values} for path, values in _PARAMETERS.items()})
    trace = build_trace(load_config("opt-125m"), Batch.decode(1, 16))
    objectives = ("area_mm2", "tpot_s", "energy_per_token_j")
    study = Study(space, trace, objectives, sampler="random", evaluator=_evaluator, simulator=_simulator)
    study.run(DESIGNS)
    return study


def _timed_open(driver: Chrome, path: Path) -> tuple[float, float]:
    """Seconds, wall and CPU, from asking for a page until it stands and every figure is drawn."""
    driver.get("about:blank")
    begin = time.perf_counter()
    cpu_s = page_cpu_s(driver, path)
    seconds = time.perf_counter() - begin
    if complaints(driver):
        raise RuntimeError(f"{path.name} reports errors")
    return seconds, cpu_s


def main() -> list[Row]:
    """Write the report; open it in a fresh browser and again in a warm one."""
    with tempfile.TemporaryDirectory() as name, _study() as study:
        path = Path(name) / "study.html"
        begin = time.perf_counter()
        verification = study.verify_front()
        verified = time.perf_counter()
        write_study_report(study, path, verification)
        written = time.perf_counter() - verified
        size = path.stat().st_size / 1e6
        front = len(study.front_numbers)
        what = f"report of a study of {len(study):,} designs"
        note = f"{front} on the front; verifying them took {verified - begin:.1f} s more"
        rows = [Row(what, "chipsmith writes it", (written,), note=note)]
        missing = why_not()
        if missing:
            progress(f"the report was not opened: {missing}")
            return rows
        return [*rows, *_opened(Path(name), path, what, f"file of {size:.1f} MB, nothing fetched")]


def _opened(folder: Path, path: Path, what: str, note: str) -> list[Row]:
    cold, warm = [], []
    for number in range(_REPEATS):
        with browser(folder / f"profile_{number}") as driver:
            cold.append(_timed_open(driver, path))
            warm += [_timed_open(driver, path) for _ in range(_REPEATS)]
    first = "Chromium opens it, first page after its start"
    return [_row(what, "Chromium opens it", warm, note, "below 3 s"), _row(what, first, cold, f"{note}; empty profile")]


def _row(what: str, subject: str, samples: list[tuple[float, float]], note: str, target: str = "") -> Row:
    wall, cpu = zip(*samples, strict=True)
    return Row(what, subject, wall, note=f"{note}; CPU: the page's main thread", cpu_samples_s=cpu, target=target)
