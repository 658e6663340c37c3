"""How the figures of a report look: fonts, dark axes, light grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

INK, GRID, SOFT = "#1a202c", "#e3e7ee", "#55606f"
FONT = {"family": "system-ui, Liberation Sans, Arial, sans-serif", "size": 13, "color": INK}
Figure = dict[str, Any]
Trace = dict[str, Any]


def axis(title: str = "", **changes: Any) -> dict[str, Any]:
    """An axis with a dark line and ticks; ``changes`` are plotly's own settings."""
    base: dict[str, Any] = {
        "title": {"text": title},
        "showline": True,
        "linecolor": INK,
        "linewidth": 1.2,
        "ticks": "outside",
        "tickcolor": INK,
        "ticklen": 4,
        "tickfont": {"color": INK},
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
    }
    return {**base, **changes}


def layout(height: int, **changes: Any) -> dict[str, Any]:
    """The frame of a figure, ``height`` in pixels; ``changes`` are plotly's own settings."""
    base: dict[str, Any] = {
        "height": height,
        "font": FONT,
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 80, "r": 24, "t": 60, "b": 64},
        "legend": {
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "normal",
            "font": {"size": 12},
        },
        "hoverlabel": {"bgcolor": "white", "bordercolor": INK, "font": {"color": INK, "size": 12}, "align": "left"},
        "hovermode": "closest",
        "modebar": {"bgcolor": "rgba(255,255,255,0.8)", "color": "#9aa5b4", "activecolor": INK},
    }
    return {**base, **changes}


def figure(data: Sequence[Trace], frame: Mapping[str, Any]) -> Figure:
    """A plotly figure as plain data."""
    return {"data": list(data), "layout": dict(frame)}


def heading(text: str, x: float, y: float) -> dict[str, Any]:
    """A title over a part of a figure, in shares of its paper."""
    font = {"size": 13, "color": INK}
    place = {"xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom", "showarrow": False}
    return {"text": f"<b>{escaped(text)}</b>", "x": x, "y": y, "font": font, **place}


def escaped(text: object) -> str:
    """Text for plotly, which reads a little HTML in labels and hover texts."""
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def hover(*lines: str) -> str:
    """Lines of a hover text, escaped."""
    return "<br>".join(map(escaped, lines))
