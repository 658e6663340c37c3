"""The pages run: every command and example prints what stands there (tests/docs/pages.py says how)."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from rtl.tools import find_iverilog

from .pages import DOCS, ROOT, UPDATE, Check, cut, fences, merged, run_page, split_console, update

#: Pages that colleagues' tests hold.
ELSEWHERE = ("formats.md", "memory.md")
PAGES = sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md") if p.name not in ELSEWHERE)
RUN = [page for page in PAGES if "```python\n" in (text := (DOCS / page).read_text()) or "```console\n" in text]


def _case(page: str) -> object:
    """A page that simulates Verilog needs a simulator."""
    simulates = "rtl verify" in (DOCS / page).read_text()
    marks = [pytest.mark.rtl, pytest.mark.skipif(find_iverilog() is None, reason="needs Icarus Verilog")]
    return pytest.param(page, marks=marks if simulates else ())


@pytest.mark.parametrize("page", [_case(page) for page in RUN])
def test_a_page_prints_what_stands_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command replaces it
    folder = tmp_path / "out" / "work"
    folder.mkdir(parents=True)
    (tmp_path / "tests").symlink_to(ROOT / "tests")  # as seen from a folder under out/ of the repository
    (tmp_path / "notebooks").symlink_to(ROOT / "notebooks")
    monkeypatch.chdir(folder)
    run = run_page(page)
    assert run.checks, "a page with code shows what it prints"
    if UPDATE:
        update(run)
        return
    for check in run.checks:
        assert check.good, f"{page}: {check.what}\nprints\n{check.found}\nthe page says\n{check.wanted}"


def test_the_tutorial_runs_every_step() -> None:
    text = (DOCS / "tutorial.md").read_text()
    commands = [c.line.split()[1] for f in fences(text) if f.language == "console" for c in split_console(f)
                if c.line.startswith("chipsmith ")]  # fmt: skip
    assert {
        "trace",
        "requests",
        "chips",
        "run",
        "compare",
        "explore",
        "study",
        "rtl",
        "validate",
        "diff",
        "dram",
    } == set(commands)
    left_out = [f.body for f in fences(text) if f.mark("not run") is not None]
    assert left_out == [left_out[0], "$ source .venv/bin/activate\n$ mkdir -p out/tutorial && cd out/tutorial\n"]
    assert left_out[0].startswith("$ make demo\n")


# ---------------------------------------------------------------- the machinery


def test_fences_know_their_marks_and_places() -> None:
    marked = "x\n\n<!-- output varies: s -->\n<!-- exit 2 -->\n```console\n$ a\n1\n```\n\n"
    text = f'{marked}```yaml title="c.yaml"\nk: 1\n```\n'
    first, second = fences(text)
    assert (first.mark("output varies"), first.mark("exit"), first.mark("not run")) == ("s", "2", None)
    assert text[first.begin : first.end] == "$ a\n1\n" == first.body
    assert (second.title, second.body) == ("c.yaml", "k: 1\n")


def test_commands_are_split_and_continued() -> None:
    (fence,) = fences("```console\n$ a \\\n    b\none\ntwo\n$ c\n$ d\nthree\n```\n")
    found = split_console(fence)
    assert [(c.line, c.output) for c in found] == [("a b", "one\ntwo\n"), ("c", ""), ("d", "three\n")]


def test_what_varies_is_compared_without_numbers() -> None:
    assert Check("", 0, 0, "in 3 s\n", "in 1,234.5 s\n", varies=True).good
    assert not Check("", 0, 0, "in 3 s\n", "in 3 ms\n", varies=True).good
    assert not Check("", 0, 0, "in 3 s\n", "in 4 s\n").good
    assert Check("", 0, 0, "in ... s\n", "in 4 s\n").good


def test_an_update_keeps_lines_that_allow_anything() -> None:
    assert merged("a 1\nin ... s\n", "a 2\nin 3 s\n") == "a 2\nin ... s\n"
    assert merged("a 1\n", "a 2\nb\n") == "a 2\nb\n"


def test_pages_may_show_a_part_of_an_output() -> None:
    assert cut("a\nb\nc\n", "") == "a\nb\nc\n"
    assert cut("a\nb\nc\n", "head -n 2") == "a\nb\n"
    assert cut("a\nb\nc\n", "tail -n 1") == "c\n"
