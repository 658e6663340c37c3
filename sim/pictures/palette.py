"""Colours of pictures and reports.

They are Okabe and Ito's palette (Color Universal Design, 2008), which readers with any common kind of colour vision
tell apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from sim.pictures.breakdown_data import ENERGY_GROUPS, LATENCY, Breakdown

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
SKY, PINK, GREY, BLACK = "#56B4E9", "#CC79A7", "#8C8C8C", "#222222"
KIND_COLOURS: Mapping[str, str] = {
    "gemm": BLUE,
    "attention": RED,
    "softmax": PINK,
    "norm": GREEN,
    "elementwise": ORANGE,
    "scan": SKY,
    "gather": GREY,
    "collective": "#5D3A9B",
}
CYCLE = (BLUE, ORANGE, GREEN, PINK, SKY, RED, "#5D3A9B", "#7A6A2B")
GROUP_COLOURS = dict(zip(ENERGY_GROUPS, (BLUE, GREEN, ORANGE, PINK, GREY), strict=True))
PHASE_MARKERS = {"prefill": "o", "decode": "s", "mixed": "D"}
PHASE_COLOURS = {"prefill": BLUE, "decode": ORANGE, "mixed": GREEN}


def text_colour(background: str) -> str:
    """Black or white, whichever reads better (ITU-R BT.601 luma)."""
    red, green, blue = (int(background[i : i + 2], 16) for i in (1, 3, 5))
    return "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 150 else BLACK


def kind_colour(kind: str) -> str:
    """Colour of a kind of operator, grey for one that has none."""
    return KIND_COLOURS.get(kind, "#666666")


def limit_colours(data: Breakdown) -> dict[str, str]:
    """Engines from blue on, memories from orange on, then links, fixed latency grey: one colour per limit."""
    names = {*data.limits, *(name for bar in data.times for name in bar.parts_s)} - {LATENCY}
    memories = sorted(name for name in names if name.startswith("memory:"))
    others = sorted(names - set(memories), key=lambda name: (":" in name, name))
    colours = dict(zip(memories, (ORANGE, RED, "#7A6A2B"), strict=False))
    colours |= dict(zip(others, (BLUE, GREEN, PINK, SKY, "#5D3A9B", "#004D40"), strict=False))
    return {**{name: colours.get(name, "#666666") for name in [*others, *memories]}, LATENCY: "#BBBBBB"}
