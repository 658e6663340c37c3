"""A report is one file that loads nothing, escapes everything, and holds what it was given."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import struct
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chipsmith.report import (
    Fact,
    Facts,
    Interactive,
    Picture,
    Section,
    Table,
    Text,
    manifest_table,
    render_report,
    write_report,
)
from workloads.errors import ChipsmithError

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; refuses tags that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def loaded(self) -> list[str]:
        """Every address that a browser would fetch by itself."""
        found = [a[name] for _, a in self.tags for name in ("src", "srcset", "data", "poster") if name in a]
        found += [a["href"] for a in self.all("link")]
        styles = [*self.texts.get("style", []), *(a.get("style", "") for _, a in self.tags)]
        return found + [address for style in styles for address in re.findall(r"url\(|@import", style)]


def png(path: Path, wide: int = 40, high: int = 20) -> Path:
    """A white picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\xff" * wide) * high)
    header = struct.pack(">IIBBBBB", wide, high, 8, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


TABLE = Table("Totals", ("chip", "latency (ms)", "bound by"), (("tpu_v4", 64.18, "memory:dram"), ("x", None, "npu")))


def test_a_table_keeps_its_cells_and_aligns_numbers() -> None:
    page = Page(render_report([TABLE], "Title", "One sentence."))
    assert page.texts["th"] == ["chip", "latency (ms)", "bound by"]
    assert page.texts["td"] == ["tpu_v4", "64.18", "memory:dram", "x", "npu"]
    assert page.texts["span"] == ["\N{EN DASH}"]
    assert [a.get("class") for a in page.all("th")] == [None, "number", None]
    assert [a.get("class") for a in page.all("td")] == [None, "number", None, None, None, None]
    assert [a.get("data-v") for a in page.all("td")] == [None, "64.18", None, None, None, None]
    assert page.texts["title"] == page.texts["h1"] == ["Title"]
    assert page.texts["p"][0] == "One sentence."
    assert page.all("section") == [{"id": "section-1", "class": "table headline"}]


def test_a_picture_is_embedded_at_half_its_pixels(tmp_path: Path) -> None:
    path = png(tmp_path / "p.png")
    page = Page(render_report([Picture("Roofline", path, "What it shows", "How it is read.")]))
    (image,) = page.all("img")
    assert (image["alt"], image["width"], image["height"]) == ("What it shows", "20", "10")
    kind, data = image["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data, validate=True) == path.read_bytes()
    assert page.texts["strong"] == ["How to read this."]
    assert page.texts["p"][0].strip() == "How it is read."


def test_facts_are_a_list_of_definitions() -> None:
    page = Page(render_report([Facts("In short", (Fact("latency", "3 ms", "peer"), Fact("area", "1 < 2")))]))
    assert (page.texts["dt"], page.texts["dd"]) == (["latency", "area"], ["3 ms", "peer", "1 < 2"])


def test_text_is_paragraphs() -> None:
    page = Page(render_report([Text("About", "One\nline.\n\n\n\nTwo.")]))
    assert page.texts["p"][:2] == ["One line.", "Two."]


def test_contents_are_listed_from_three_sections_on() -> None:
    assert Page(render_report([TABLE, TABLE])).all("nav") == []
    page = Page(render_report([TABLE, Text("Second", "x"), Text("Third", "y")]))
    assert [a["href"] for a in page.all("a")] == ["#section-1", "#section-2", "#section-3"]
    assert {a["id"] for a in page.all("section")} == {"section-1", "section-2", "section-3"}
    assert page.texts["a"] == ["Totals", "Second", "Third"]


NASTY = '<script>alert("x")</script> & \'"><img src=http://x.invalid/a.png>'


def test_everything_is_escaped(tmp_path: Path) -> None:
    sections: list[Section] = [
        Table(NASTY, (NASTY,), ((NASTY,),), NASTY),
        Picture(NASTY, png(tmp_path / "p.png"), NASTY, NASTY),
        Text(NASTY, NASTY, NASTY),
    ]
    page = Page(render_report(sections, NASTY, NASTY))
    assert len(page.all("script")) == 1  # the page's own
    assert len(page.all("img")) == 1
    assert page.texts["td"] == page.texts["th"] == page.texts["title"] == [NASTY]
    assert page.all("img")[0]["alt"] == NASTY
    assert all(address.startswith("data:image/png;base64,") for address in page.loaded())


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=40))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    page = Page(render_report([Table("t", ("c",), ((f"[{text}]",),))]))
    assert "".join(page.texts["td"]) == f"[{text}]"


def scatter(name: str = "designs") -> Any:
    from plotly.graph_objects import Figure

    return Figure().add_scatter(x=[1, 2], y=[3, 4], name=name)


def test_plotly_is_embedded_once_and_only_if_needed(tmp_path: Path) -> None:
    plain = render_report([TABLE])
    assert len(Page(plain).all("script")) == 1
    assert len(plain) < 20_000
    assert Page(render_report([Text("t", "x")])).all("script") == []
    write_report(tmp_path / "r.html", [Interactive("A", scatter()), Interactive("B", scatter(NASTY))])
    text = (tmp_path / "r.html").read_text()
    page = Page(text)
    assert page.loaded() == []
    assert [a.get("type") for a in page.all("script")] == ["application/json", "application/json", None]
    assert len([a for a in page.all("div") if a.get("class") == "plot"]) == 2
    first, second = (json.loads(found) for found in page.texts["script"][:2])
    assert first["data"][0]["name"] == "designs"
    assert second["data"][0]["name"] == NASTY
    assert 1_000_000 < len(text) < 12_000_000


def test_a_figure_may_be_plain_data() -> None:
    figure = {"data": [{"x": [1.0, float("nan")], "name": "</script>"}], "layout": {"height": 321}}
    page = Page(render_report([Interactive("A", figure)]))
    assert json.loads(page.texts["script"][0]) == {
        "data": [{"x": [1.0, None], "name": "</script>"}],
        "layout": {"height": 321},
    }
    assert [a["style"] for a in page.all("div") if a.get("class") == "plot"] == ["height:321px"]


def test_the_same_sections_give_the_same_bytes(tmp_path: Path) -> None:
    sections: list[Section] = [TABLE, Picture("P", png(tmp_path / "p.png"), "alt"), Interactive("I", scatter())]
    assert render_report(sections) == render_report(sections)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (Table("t", ("a", "b"), ((1, 2), (3,))), "sections[0].rows[1]: got 1; 2 cells, one a column"),
        (Interactive("i", {"x": 1}), "sections[0].plotly_figure: got 'dict'; a plotly figure is needed"),
    ],
)
def test_bad_sections_are_named(section: Section, message: str, tmp_path: Path) -> None:
    with pytest.raises(ChipsmithError) as error:
        write_report(tmp_path / "r.html", [section])
    assert str(error.value) == message
    assert list(tmp_path.iterdir()) == []


def test_bad_pictures_and_paths_are_named(tmp_path: Path) -> None:
    fake, none = tmp_path / "fake.png", tmp_path / "none.png"
    fake.write_text("no picture")
    cases = {fake: "a PNG file is needed", none: "cannot be read: No such file or directory"}
    for path, legal in cases.items():
        with pytest.raises(ChipsmithError) as error:
            render_report([TABLE, Picture("p", path, "alt")])
        assert str(error.value) == f"sections[1].png_path: got {str(path)!r}; {legal}"
    target = tmp_path / "missing" / "r.html"
    with pytest.raises(ChipsmithError) as error:
        write_report(target, [TABLE])
    assert str(error.value) == f"{target}; cannot be written: No such file or directory"
    with pytest.raises(ChipsmithError, match=r"^sections; a report has at least one section$"):
        render_report([])


def test_a_manifest_is_a_table() -> None:
    assert manifest_table({"version": "0.1.0", "seed": None}).rows == [("version", "0.1.0"), ("seed", "none")]


def test_a_manifest_shortens_whole_documents() -> None:
    (row,) = manifest_table({"chip_yaml": "x" * 201}).rows
    hashed = hashlib.sha256(b"x" * 201).hexdigest()[:16]
    assert row == ("chip_yaml", f"{'x' * 200}… (201 characters, SHA-256 {hashed})")


def test_importing_reports_loads_no_drawing_library() -> None:
    heavy = ("matplotlib", "plotly", "pandas", "jinja2")
    code = f"import sys, chipsmith.report; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
