"""What a report is made of: tables, figures, pictures, a cloud of designs, facts, text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Fact:
    """One figure that a reader looks for first.

    Attributes:
        name: what it is. value: as text, with its unit. note: what it rests on, or how to read it.
    """

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Facts:
    """Figures in large type, side by side."""

    title: str
    facts: Sequence[Fact]
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the page sorts and filters it.

    Attributes:
        title: heading. columns: names with their units. rows: one cell a column; None is shown as a dash.
        note: how to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A PNG file, embedded. ``alt`` says in words what it shows; ``note`` how to read it."""

    title: str
    png_path: str | Path
    alt: str
    note: str = ""


@dataclass(frozen=True)
class Interactive:
    """A plotly figure: a ``plotly.graph_objects.Figure``, or a mapping with ``data`` and ``layout``.

    ``note`` says how to read it. A mapping takes no import of plotly, so it is what our own figures are.
    """

    title: str
    plotly_figure: Any
    note: str = ""


@dataclass(frozen=True)
class Designs:
    """Many designs as points and as parallel coordinates (see chipsmith/reports/designs.py for ``data``)."""

    title: str
    data: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True)
class Text:
    """Plain paragraphs, separated by empty lines; no markup."""

    title: str
    text: str
    note: str = ""


Section = Facts | Table | Picture | Interactive | Designs | Text
