"""A report as one HTML file that needs no network: tables, pictures, and figures that can be explored.

A report is a sequence of sections. Everything in them is escaped; pictures are embedded as base64, figures as JSON,
and plotly's script once, if there is a figure at all. Same sections, same bytes.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import chipsmith
from chipsmith.output import format_cell, to_plain
from chipsmith.reports.sections import Designs, Fact, Facts, Interactive, Picture, Section, Table, Text
from workloads.errors import ChipsmithError
from workloads.files import write_text

_PNG = b"\x89PNG\r\n\x1a\n"
_CSS_PIXELS_PER_PNG_PIXEL = 0.5  # pictures are drawn at 160 dpi, for print and dense screens
_FIGURE_PIXELS = 460
_LONG_ROWS = 30  # tables with more may be broken over printed pages


@dataclass(frozen=True)
class _Cell:
    text: str
    number: bool
    value: str = ""


@dataclass(frozen=True)
class _Column:
    name: str
    number: bool


@dataclass(frozen=True)
class _Part:
    """A section as the template takes it."""

    kind: str
    anchor: str
    title: str
    note: str
    columns: Sequence[_Column] = ()
    rows: Sequence[Sequence[_Cell]] = ()
    facts: Sequence[Fact] = ()
    data: str = ""
    alt: str = ""
    width: int = 0
    height: int = 0
    paragraphs: Sequence[str] = ()


def write_report(
    path: str | Path, sections: Sequence[Section], title: str = "Chipsmith report", summary: str = ""
) -> None:
    """Write a report; the file appears whole or not at all.

    Args:
        path: of the HTML file.
        sections: in order; the headline comes first.
        title: of the page. summary: one sentence under it.

    Raises:
        ChipsmithError: no section, a row with too many or too few cells, a picture that is no PNG file, a figure that
            is none, or a path that cannot be written.
    """
    write_text(path, render_report(sections, title, summary))


def render_report(sections: Sequence[Section], title: str = "Chipsmith report", summary: str = "") -> str:
    """The report's HTML text; see :func:`write_report`."""
    if not sections:
        raise ChipsmithError("sections", None, "a report has at least one section")
    parts = [_part(section, number) for number, section in enumerate(sections)]
    text: str = _template().render(
        title=title,
        summary=summary,
        parts=parts,
        style=_markup(_shipped("report.css")),
        script=_script({part.kind.split()[0] for part in parts}),
        version=chipsmith.__version__,
        long_rows=_LONG_ROWS,
    )
    return text


def _shipped(name: str) -> str:
    """Text of a file in chipsmith/templates."""
    return (resources.files("chipsmith") / "templates" / name).read_text(encoding="utf-8")


def _template() -> Any:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_shipped("report.html.j2"))


def _markup(text: str) -> str:
    """Text that the template takes as it is."""
    from markupsafe import Markup

    return Markup(text)


def _script(kinds: set[str]) -> str:
    """The page's one script: only what its sections need."""
    names = ["tables.js"] if "table" in kinds else []
    names += ["figures.js"] if kinds & {"interactive", "designs"} else []
    names += ["designs.js"] if "designs" in kinds else []
    parts = [_plotly_script()] if "figures.js" in names else []
    return _markup("\n".join([*parts, *map(_shipped, names)]))


def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _part(section: Section, number: int) -> _Part:
    where, anchor = f"sections[{number}]", f"section-{number + 1}"
    if isinstance(section, Table):
        return _table_part(section, anchor, where)
    if isinstance(section, Picture):
        return _picture_part(section, anchor, where)
    if isinstance(section, Interactive):
        return _figure_part(section, anchor, where)
    if isinstance(section, Designs):
        return _Part("designs", anchor, section.title, section.note, data=_json(section.data))
    if isinstance(section, Facts):
        return _Part("facts", anchor, section.title, section.note, facts=section.facts)
    paragraphs = _paragraphs(section)
    return _Part("text", anchor, section.title, section.note, paragraphs=paragraphs)


def _paragraphs(section: Text) -> list[str]:
    return [" ".join(part.split()) for part in section.text.split("\n\n") if part.strip()]


def _table_part(section: Table, anchor: str, where: str) -> _Part:
    for at, row in enumerate(section.rows):
        if len(row) != len(section.columns):
            raise ChipsmithError(f"{where}.rows[{at}]", len(row), f"{len(section.columns)} cells, one a column")
    rows = [[_cell(value) for value in row] for row in section.rows]
    columns = [_Column(str(name), _is_numeric(rows, at)) for at, name in enumerate(section.columns)]
    kind = "table headline" if where == "sections[0]" else "table"
    return _Part(kind, anchor, section.title, section.note, columns=columns, rows=rows)


def _cell(value: object) -> _Cell:
    text = format_cell(value)
    if text == "-":
        return _Cell("", False)
    if isinstance(value, (str, bool)) or not hasattr(value, "__float__"):
        return _Cell(text, False)
    return _Cell(text, True, repr(float(value)))


def _is_numeric(rows: Sequence[Sequence[_Cell]], at: int) -> bool:
    """Whether a column holds numbers and nothing else (empty cells aside)."""
    filled = [row[at] for row in rows if row[at].text]
    return bool(filled) and all(cell.number for cell in filled)


def _picture_part(section: Picture, anchor: str, where: str) -> _Part:
    try:
        raw = Path(section.png_path).read_bytes()
    except OSError as error:
        raise ChipsmithError(f"{where}.png_path", str(section.png_path), f"cannot be read: {error.strerror}") from None
    if raw[:8] != _PNG or raw[12:16] != b"IHDR":
        raise ChipsmithError(f"{where}.png_path", str(section.png_path), "a PNG file is needed")
    wide, high = (round(n * _CSS_PIXELS_PER_PNG_PIXEL) for n in struct.unpack(">II", raw[16:24]))
    data = base64.b64encode(raw).decode("ascii")
    return _Part("picture", anchor, section.title, section.note, data=data, alt=section.alt, width=wide, height=high)


def _figure_part(section: Interactive, anchor: str, where: str) -> _Part:
    figure = section.plotly_figure
    if hasattr(figure, "to_json") and hasattr(figure, "to_plotly_json"):
        figure = json.loads(figure.to_json())
    if not isinstance(figure, Mapping) or not {"data", "layout"} <= set(figure):
        given = type(section.plotly_figure).__name__
        raise ChipsmithError(f"{where}.plotly_figure", given, "a plotly figure is needed")
    shown = {"data": figure["data"], "layout": figure["layout"]}
    height = int(figure["layout"].get("height") or _FIGURE_PIXELS)
    return _Part("interactive", anchor, section.title, section.note, data=_json(shown), height=height)


def _json(value: object) -> str:
    """JSON for a script element; nothing in it ends the element or starts a comment."""
    text = json.dumps(to_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _markup(text.replace("<", "\\u003c"))
