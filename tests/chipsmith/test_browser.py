"""The three reports in headless Chromium: no error, figures drawn, filters and sorting at work, nothing fetched."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.browser import browser, complaints, foreign_requests, open_page, why_not
from chipsmith.report import write_run_report, write_study_report, write_validation_report
from chipsmith.validate import compare
from dse.space import Space
from dse.study import Study
from dse.workload import Workload
from models.chip import load_chip
from sim.simulate import simulate
from workloads.batch import Batch
from workloads.build import build_trace
from workloads.configs import load_config

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

MISSING = why_not()
pytestmark = [
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(bool(MISSING) and os.environ.get("CI") != "true", reason=MISSING or "a browser is there"),
]
RECORDS = Path(__file__).resolve().parents[1] / "reference" / "onnxim.jsonl"
PAGES = ("run", "study", "validation")


def write_run(path: Path) -> None:
    write_run_report(simulate(build_trace(load_config("llama-2-7b"), Batch.decode(4, 64)), "tpu_v4"), path)


def write_study(path: Path) -> None:
    """96 designs of a small space, searched completely."""
    space = Space(
        load_chip("tpu_v4"),
        {
            "engines.npu.rows": [32, 64, 128, 256],
            "engines.npu.cores": [1, 2, 4],
            "engines.npu.spad_bytes": {"log2": {"low": 2**20, "high": 2**23}},
            "memories.dram.bandwidth_bytes_per_s": [3e11, 6e11],
        },
    )
    work = Workload(decode=build_trace(load_config("opt-125m"), Batch.decode(4, 64)))
    with Study(space, work, ["area_mm2", "tpot_s"], sampler="exhaustive") as study:
        study.run()
        write_study_report(study, path)


def write_validation(path: Path) -> None:
    write_validation_report(compare([RECORDS]), path, [RECORDS])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    for name, write in zip(PAGES, (write_run, write_study, write_validation), strict=True):
        write(made / f"{name}.html")
    return made


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def show(driver: Chrome, folder: Path, page: str) -> Path:
    """Open a page, or keep it where it is the one that is open with its filters empty."""
    path = folder / f"{page}.html"
    if driver.current_url != path.as_uri():
        open_page(driver, path)
    for field in every(driver, "input[type=search]"):
        if field.get_attribute("value"):
            field.clear()
    return path


def every(driver: Chrome, selector: str) -> list[WebElement]:
    return driver.find_elements("css selector", selector)


def ask(driver: Chrome, script: str, *arguments: object) -> Any:
    return driver.execute_script(f"return {script}", *arguments)


def rows_shown(driver: Chrome, section: str) -> list[list[str]]:
    """Cells of the rows of a section's table that are not filtered out."""
    script = """[...document.querySelectorAll(arguments[0] + " tbody tr:not([hidden])")].map(
        (row) => [...row.cells].map((cell) => cell.dataset.v || cell.textContent.trim()))"""
    found: list[list[str]] = ask(driver, script, section)
    return found


def section_of(driver: Chrome, title: str) -> str:
    """Selector of the section whose heading starts with a title."""
    script = """[...document.querySelectorAll("section")].find(
        (section) => section.querySelector("h2").textContent.startsWith(arguments[0])).id"""
    return f"#{ask(driver, script, title)}"


# ---------------------------------------------------------------- tables and figures

FIGURES = {"run": 4, "study": 1, "validation": 2}
TABLES = {"run": "Operators", "study": "The Pareto front", "validation": "All comparisons"}


def check_page(driver: Chrome, folder: Path, page: str) -> None:
    """No error, nothing fetched, every figure has marks, a filter that nothing fits empties the table."""
    path = show(driver, folder, page)
    assert complaints(driver) == []
    assert foreign_requests(driver, path) == []
    script = """[...document.querySelectorAll(".plot")].map((plot) => plot.querySelectorAll(
        ".point path, .points path, path.js-line").length)"""
    marked = ask(driver, script)
    assert len(marked) == FIGURES[page]
    assert min(marked) > 0
    check_filter(driver, section_of(driver, TABLES[page]))


def check_filter(driver: Chrome, section: str) -> None:
    before = rows_shown(driver, section)
    field = every(driver, f"{section} input[type=search]")[0]
    count = every(driver, f"{section} .tools [role=status]")[0]
    assert count.text == f"{len(before)} of {len(before)} rows"
    field.send_keys("zzzz")
    assert rows_shown(driver, section) == []
    assert count.text == f"0 of {len(before)} rows"
    field.clear()
    field.send_keys("x")
    field.send_keys("\b")
    assert rows_shown(driver, section) == before


def test_the_page_of_a_run(driver: Chrome, folder: Path) -> None:
    check_page(driver, folder, "run")


def test_words_and_numbers_filter_rows(driver: Chrome, folder: Path) -> None:
    show(driver, folder, "run")
    section = section_of(driver, "Operators")
    before = rows_shown(driver, section)
    field = every(driver, f"{section} input[type=search]")[0]
    field.send_keys("PROJ")
    assert rows_shown(driver, section) == [row for row in before if "proj" in row[0]]
    field.clear()
    field.send_keys("share>5 npu")
    after = rows_shown(driver, section)
    assert after == [row for row in before if float(row[4]) > 5 and row[1] == "npu"]
    assert 0 < len(after) < len(before)


def test_a_click_sorts_by_value_and_another_turns_it_round(driver: Chrome, folder: Path) -> None:
    show(driver, folder, "run")
    section = section_of(driver, "Operators")
    button = every(driver, f"{section} th:nth-child(4) button")[0]
    button.click()
    up = [float(row[3]) for row in rows_shown(driver, section)]
    assert up == sorted(up)
    button.click()
    down = [float(row[3]) for row in rows_shown(driver, section)]
    assert down == sorted(up, reverse=True)
    assert every(driver, f"{section} th:nth-child(4)")[0].get_attribute("aria-sort") == "descending"


def test_the_page_of_a_validation(driver: Chrome, folder: Path) -> None:
    check_page(driver, folder, "validation")


def test_the_page_of_a_study(driver: Chrome, folder: Path) -> None:
    check_page(driver, folder, "study")


# ---------------------------------------------------------------- the cloud of designs


def marks(driver: Chrome, part: str) -> int:
    return int(ask(driver, f"document.querySelector('{part}').dataset.marks"))


def painted(driver: Chrome, selector: str) -> int:
    """Pixels of a canvas that are not empty."""
    script = """(() => { const canvas = document.querySelector(arguments[0]);
        const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        let count = 0; for (let i = 3; i < data.length; i += 4) count += data[i] > 0; return count; })()"""
    return int(ask(driver, script, selector))


def test_every_design_is_a_point_and_a_line(driver: Chrome, folder: Path) -> None:
    show(driver, folder, "study")
    assert marks(driver, ".stage") == marks(driver, ".parallel") == 96
    assert painted(driver, ".stage canvas") > 500
    assert painted(driver, ".parallel canvas") > 5000
    assert every(driver, ".cloud .status")[0].text.startswith("96 feasible designs, ")


def test_axes_can_be_chosen(driver: Chrome, folder: Path) -> None:
    from selenium.webdriver.support.select import Select

    show(driver, folder, "study")
    before = ask(driver, "document.querySelector('.axes').layout.xaxis.title.text")
    choice = Select(every(driver, ".controls select")[0])
    choice.select_by_visible_text("energy per token (J)")
    after = ask(driver, "document.querySelector('.axes').layout.xaxis.title.text")
    assert (before, after) == ("die area (mm²)", "energy per token (J)")
    assert marks(driver, ".stage") == 96
    choice.select_by_visible_text(before)


def test_dominated_designs_can_be_left_out(driver: Chrome, folder: Path) -> None:
    show(driver, folder, "study")
    box = every(driver, ".controls input[type=checkbox]")[0]
    box.click()
    front = len(rows_shown(driver, section_of(driver, "The Pareto")))
    assert marks(driver, ".stage") == marks(driver, ".parallel") == front
    box.click()
    assert marks(driver, ".stage") == 96


def test_dragging_along_an_axis_keeps_a_range(driver: Chrome, folder: Path) -> None:
    from selenium.webdriver import ActionChains

    show(driver, folder, "study")
    canvas = every(driver, ".parallel canvas")[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    half = canvas.size["width"] / 2
    drag = ActionChains(driver).move_to_element_with_offset(canvas, round(70 - half), 20)
    drag.click_and_hold().move_by_offset(0, 160).release().perform()  # the lower part of the first axis: 32 and 64 rows
    status = every(driver, ".cloud .status")[0]
    assert status.text.startswith("48 of 96 feasible designs, ")
    every(driver, ".controls button")[0].click()
    assert status.text.startswith("96 feasible designs, ")


def test_a_design_under_the_pointer_tells_its_parameters(driver: Chrome, folder: Path) -> None:
    show(driver, folder, "study")
    script = """(() => { const stage = document.querySelector(".stage"), box = stage.getBoundingClientRect();
        for (let y = 0; y < box.height; y += 4) for (let x = 0; x < box.width; x += 4) {
          const at = { clientX: box.left + x, clientY: box.top + y, bubbles: true };
          stage.dispatchEvent(new MouseEvent("mousemove", at));
          const tip = stage.querySelector(".tip");
          if (!tip.hidden) return tip.textContent;
        } return ""; })()"""
    lines = str(ask(driver, script)).splitlines()
    assert lines[0].startswith("design ")
    assert [line.split("  ")[0].strip() for line in lines[1:3]] == ["die area", "time per output token"]
    assert {"rows", "cores", "spad_bytes"} <= {line.split()[0] for line in lines[1:]}
