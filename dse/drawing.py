"""What the pictures of studies share: colours, axes, names of parameters, saving."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.objectives import Floats
from workloads.errors import ChipsmithError
from workloads.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf")
GREY, INK, ACCENT, WARN, GRID = "#8b95a1", "#22303c", "#0b6e99", "#b3261e", "#e6e9ed"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a6f00", "#000000")  # Okabe and Ito 2008
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_LOG_SPAN = 20.0  # an axis whose values span more than this factor is logarithmic


def check_picture(path: str | Path) -> None:
    """Refuse a file that is no picture (worth doing before anything expensive is done for it).

    Raises:
        ChipsmithError: another ending than those of ``FORMATS``.
    """
    if Path(path).suffix.lstrip(".") not in FORMATS:
        raise ChipsmithError(str(path), Path(path).suffix, f"the ending of a picture: {', '.join(FORMATS)}")


@contextmanager
def picture(path: str | Path, width_in: float, height_in: float) -> Iterator[Figure]:
    """A figure to draw on that is saved, whole or not at all, when the block ends well.

    Args:
        path: the file; its ending chooses the format.
        width_in, height_in: size in inches.

    Raises:
        ChipsmithError: unknown format; the file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    check_picture(path)
    figure = Figure(figsize=(width_in, height_in), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    with whole_file(path) as temporary:
        figure.savefig(temporary)


def title(axes: Axes, heading: str, subtitle: str, warning: str = "") -> None:
    """Heading and a line of facts above the axes, a warning inside."""
    axes.set_title(heading, loc="left", fontsize=13, fontweight="bold", color=INK, pad=40)
    above = {"xycoords": "axes fraction", "xytext": (0, 22), "textcoords": "offset points"}
    line = axes.annotate(subtitle, (0, 1), **above, fontsize=8.5, color=GREY, va="bottom")  # type: ignore[arg-type]  # texts and a pair
    line.set_in_layout(False)  # else a long line takes its width from the axes
    if warning:
        axes.text(0.5, 0.02, warning, transform=axes.transAxes, ha="center", color=WARN, fontsize=9, weight="bold")


def frame(axes: Axes, x: str, y: str) -> None:
    """Axis labels, a light grid, no box."""
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def scale(set_scale: Callable[[str], object], axis: Any, values: Floats) -> None:
    """A logarithmic axis with plain numbers where the values span far."""
    if not spans_far(values):
        return
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    set_scale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=20))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def count_axis(axes: Axes, counts: Floats) -> None:
    """The x axis of a curve over designs evaluated: logarithmic, because the first designs matter most."""
    if not spans_far(counts):
        return
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def spans_far(values: Floats) -> bool:
    """Whether positive values span so far that an axis should be logarithmic."""
    return bool(values.min() > 0 and values.max() / values.min() > _LOG_SPAN)


def as_drawn(values: Floats) -> Floats:
    """Columns as their axes show them: logarithms where they span far."""
    return np.stack([np.sign(v) * np.log(np.abs(v)) if spans_far(np.abs(v)) else v for v in values.T], axis=1)


def unit_range(values: Floats) -> Floats:
    """Columns moved and scaled to 0 .. 1; a constant column becomes 0."""
    low, high = values.min(axis=0), values.max(axis=0)
    scaled: Floats = (values - low) / np.where(high > low, high - low, 1.0)
    return scaled


def short_path(path: str) -> str:
    """The last two parts of a field path."""
    return ".".join(path.split(".")[-2:])


def plain_value(value: Any) -> str:
    """A parameter's value in few letters: ``64``, ``512 Ki``, ``1.2 G``, ``int8``."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= 1024 and value % 1024 == 0:
        return f"{value // 2**20} Mi" if value % 2**20 == 0 else f"{value // 1024} Ki"
    if not isinstance(value, (float, np.floating)):
        return str(value)
    return f"{value / 1e9:g} G" if value >= 1e8 else f"{value:g}"
