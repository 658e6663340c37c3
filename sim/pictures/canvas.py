"""The sheet that every picture is drawn on.

matplotlib is imported when a picture is drawn, through its Agg canvas, so nothing depends on a display or changes the
user's own figures.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sim.pictures.palette import BLACK
from sim.pictures.words import si
from workloads.files import whole_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
_STYLE: Any = {  # matplotlib types the keys as one Literal of all of its settings
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#555555",
    "axes.labelcolor": BLACK,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "text.parse_math": False,
}


@contextmanager
def picture(path: Path, width: float, height: float) -> Iterator[Figure]:
    """An empty figure of so many inches that is written to ``path`` when the block ends well."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        yield figure
        with whole_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": None})


def settle(figure: Figure) -> None:
    """Fix the layout, so that what is measured now stays where it is."""
    figure.canvas.draw()
    figure.set_layout_engine("none")


def tick(value: float, unit: str) -> str:
    """Axis label with as few digits as say it."""
    number, space, rest = si(value, unit).partition(" ")
    return (number.rstrip("0").rstrip(".") if "." in number else number) + space + rest
