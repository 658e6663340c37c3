"""What the site makes from the sources: commands, Python reference, gallery, tables; nothing is missing or stale."""

from __future__ import annotations

import argparse
import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import chipsmith
from chipsmith.cli import build_parser, commands
from scripts.build_docs import api, command_pages, docstrings, gallery, optional_pages, tables

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCES = {path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))}
FOLDED = str.maketrans("", "", "\\ \n")  # escapes and line breaks differ between a page and a help text


# ---------------------------------------------------------------- commands


def _parsers() -> dict[str, argparse.ArgumentParser]:
    """Every command and every action of one, by the words that are typed."""
    top = command_pages._children(build_parser(commands()))
    found = {f"chipsmith {name}": parser for name, parser in top.items()}
    for name, parser in top.items():
        found |= {f"chipsmith {name} {inner}": one for inner, one in command_pages._children(parser).items()}
    return found


@pytest.mark.parametrize("words", sorted(_parsers()))
def test_a_command_stands_on_the_page_with_every_argument(words: str) -> None:
    text = command_pages.page()
    depth = "#" * words.count(" ")
    section = re.split(rf"^#{depth} {words}$", text, flags=re.M)[1].split("\n## ")[0]
    for action in _parsers()[words]._actions:
        hidden = action.help == argparse.SUPPRESS
        if hidden or isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        assert (action.option_strings or [str(action.metavar or action.dest)])[-1] in section
        meaning = (action.help or "") % {**vars(action), "prog": "chipsmith"}
        assert meaning.translate(FOLDED) in section.translate(FOLDED)


def test_every_command_has_help_and_its_example() -> None:
    text = command_pages.page()
    for command in commands():
        assert f"```console\n$ {command.EXAMPLE}\n```" in text
        assert command.HELP.translate(FOLDED) in text.translate(FOLDED)
    assert "%(" not in text


# ---------------------------------------------------------------- Python reference


def test_every_public_module_has_a_page_in_the_navigation() -> None:
    made = api.pages(ROOT)
    listed = re.findall(r"'(api/[\w/]+\.md)'", repr(api.navigation(ROOT)))
    assert sorted(listed) == sorted(made)
    modules = [name for package in api.PACKAGES for name in api.module_files(ROOT, package)]
    assert {"chipsmith", "sim.array", "models.engines.systolic", "dse.samplers.base", "rtl.design"} <= set(modules)
    assert sorted(made) == sorted(["api/index.md", *(api.page_of(*item) for p in api.PACKAGES
                                                     for item in api.module_files(ROOT, p).items())])  # fmt: skip
    assert all(not part.startswith("_") for name in modules for part in name.split("."))


def test_the_overview_links_every_public_name() -> None:
    text = api.pages(ROOT)["api/index.md"]
    for name, target in chipsmith.PUBLIC.items():
        path = target.replace(":", ".")
        assert f"| `chipsmith.{name}` | [`{path}`][{path}] |" in text


def test_every_module_says_what_it_holds() -> None:
    silent = [n for package in api.PACKAGES for n, path in api.module_files(ROOT, package).items()
              if not api.summary(path)]  # fmt: skip
    assert silent == []


def test_docstrings_become_markdown() -> None:
    assert docstrings.readable("As :func:`pass_cycles`, see :class:`~dse.workload.Workload`.") == (
        "As `pass_cycles`, see `Workload`."
    )
    assert docstrings.readable("Time::\n\n    T = 1") == "Time:\n\n    T = 1"
    table = "a\n\n==== ====\nx    y\n==== ====\n1    2\n     3\n|    4\n==== ====\n\nb"
    assert docstrings.readable(table).strip() == "a\n\n| x | y |\n|---|---|\n| 1 | 2 3 |\n| \\| | 4 |\n\nb"


def test_fields_that_share_a_line_get_one_each() -> None:
    text = "T.\n\nArgs:\n    m, k: sizes,\n        whole.\n    n: other.\n\nReturns:\n    a, b: no field."
    assert docstrings.readable(text).splitlines()[2:9] == [
        "Args:", "    m: sizes,", "        whole.", "    k: sizes,", "        whole.", "    n: other.", "",
    ]  # fmt: skip
    assert docstrings.readable("In words\n    m, k: stays.").splitlines()[1] == "    m, k: stays."


# ---------------------------------------------------------------- gallery


def _stored_pngs() -> list[bytes]:
    found = []
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            pngs = [o["data"]["image/png"] for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
            found += [base64.b64decode("".join(png)) for png in pngs]
    return found


def test_every_picture_of_every_notebook_is_in_the_gallery_once() -> None:
    made = gallery.files(ROOT)
    pngs = {name: content for name, content in made.items() if name.endswith(".png")}
    assert list(pngs.values()) == _stored_pngs() != []
    for page, text in made.items():
        shown = re.findall(r"\]\(([\w/]+\.png)\)", text) if isinstance(text, str) else []
        places = [shown_at if page == "gallery.md" else f"notebooks/{shown_at}" for shown_at in shown]
        assert [p for p in places if p not in pngs and not (DOCS / p).is_file()] == []
        if page == "gallery.md":
            assert [p for p in places if p in pngs] == list(pngs)


def test_captions_are_those_of_the_notebook() -> None:
    (first, *_) = gallery.notebooks(ROOT)
    numbers = [int(m[1]) for p in gallery.pictures(first) if (m := re.match(r"\*\*Figure (\d+)", p.caption))]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) >= 5
    assert all(picture.alt for picture in gallery.pictures(first))


def test_a_picture_without_a_caption_is_kept() -> None:
    png = base64.b64encode(b"png").decode()
    cell = {
        "cell_type": "code",
        "source": "x",
        "outputs": [{"output_type": "display_data", "data": {"image/png": png}}],
    }
    book = gallery.Notebook("n", ({"cell_type": "markdown", "source": "# T\n\nlead"}, cell))
    assert gallery.pictures(book) == (gallery.Picture("n_01.png", b"png", "", "Picture of T"),)
    assert gallery.notebook_page(book) == (
        '# T\n\nlead\n\n??? example "Code"\n\n    ```python\n    x\n    ```\n\n![Picture of T](n_01.png)\n'
    )


# ---------------------------------------------------------------- tables and pages


@pytest.mark.parametrize("name", sorted(tables.TABLES))
def test_a_table_has_rows_and_stands_on_a_page(name: str) -> None:
    lines = tables.TABLES[name]().splitlines()
    if name not in ("rules", "memory_sources"):
        assert len(lines) >= 3 and lines[1].startswith("| --- |")
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert any(f"<!-- table: {name} -->" in text for text in SOURCES.values())


def test_a_table_keeps_the_indentation_of_its_mark() -> None:
    expanded = tables.expand("a\n\n    <!-- table: constant_sets -->\n").splitlines()
    assert expanded[2].startswith("    | set | what it is |")
    with pytest.raises(KeyError):
        tables.expand("<!-- table: nothing -->")


def test_every_mark_names_a_table() -> None:
    for page, text in SOURCES.items():
        for name in re.findall(r"<!-- table: (\S+) -->", text):
            assert name in tables.TABLES, f"{page}: {name}"


def test_optional_texts_show_where_their_page_exists(tmp_path: Path) -> None:
    text = "a <!-- optional: x.md | [x](x.md) --> b"
    assert optional_pages.expand(text, tmp_path) == "a  b"
    (tmp_path / "x.md").write_text("# x")
    assert optional_pages.expand(text, tmp_path) == "a [x](x.md) b"


def test_nothing_is_fetched_from_elsewhere() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert config["theme"]["font"] is False
    assert config["strict"] is True
    assert config["extra_css"] == ["stylesheets/site.css"] and "extra_javascript" not in config
    assert "http" not in (DOCS / "stylesheets" / "site.css").read_text(encoding="utf-8")
    pictures = [m for text in SOURCES.values() for m in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)]
    assert pictures and not [target for target in pictures if "://" in target]
