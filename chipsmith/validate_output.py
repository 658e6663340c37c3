"""Files of a validation: every comparison as CSV, and predicted against reference values as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import ChipsmithError
from workloads.files import whole_file, write_text

if TYPE_CHECKING:
    from chipsmith.validate import Comparison

#: Half width of the grey band, %.
BAND_PCT = 10.0
_SMALLEST_PCT = 0.01
_COLUMNS = 3
_PANEL_INCHES = 3.6
_COLUMN_NAMES = (
    "family",
    "source",
    "version",
    "id",
    "file",
    "line",
    "metric",
    "kind",
    "reference",
    "predicted",
    "error_pct",
    "null",
    "null_error_pct",
    "skip_reason",
)


def write_csv(comparisons: Sequence[Comparison], path: str | Path) -> None:
    """Write one line a comparison; numbers with all digits, nothing where there is none."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMN_NAMES)
    writer.writerows(map(_cells, comparisons))
    write_text(path, text.getvalue())


def _cells(item: Comparison) -> list[Any]:
    record = item.record
    return [
        record.family,
        record.source,
        record.data["source"].get("version"),
        record.data["id"],
        record.file,
        record.line,
        item.metric,
        item.kind,
        item.reference,
        item.predicted,
        item.error_pct,
        item.null,
        item.null_error_pct,
        item.skip_reason,
    ]


@dataclass(frozen=True)
class Panel:
    """What one panel of the picture shows.

    Attributes:
        source, metric: its title and axis.
        reference, predicted: positive values, one a record, in file order.
        mape_pct: mean absolute error over all records of the metric.
        ids: of the records, in the same order.
    """

    source: str
    metric: str
    reference: tuple[float, ...]
    predicted: tuple[float, ...]
    mape_pct: float
    ids: tuple[str, ...] = ()


def panels(comparisons: Sequence[Comparison]) -> list[Panel]:
    """One panel a source: its first compared metric, which is its time; only positive values fit the log axes."""
    first: dict[str, str] = {}
    points: dict[str, list[Comparison]] = {}
    for item in comparisons:
        if item.skip_reason or item.kind == "own":
            continue
        source = item.record.source
        if first.setdefault(source, item.metric) == item.metric:
            points.setdefault(source, []).append(item)
    return [_panel(source, first[source], found) for source, found in points.items()]


def _panel(source: str, metric: str, found: Sequence[Comparison]) -> Panel:
    records = [(item.reference or 0.0, item.predicted or 0.0, str(item.record.data["id"])) for item in found]
    positive = [record for record in records if min(record[:2]) > 0]
    return Panel(
        source,
        metric,
        tuple(x for x, _, _ in positive),
        tuple(y for _, y, _ in positive),
        sum(abs(item.error_pct or 0.0) for item in found) / len(found),
        tuple(name for _, _, name in positive),
    )


def draw(comparisons: Sequence[Comparison], path: str | Path) -> None:
    """Draw the panels into a PNG: log-log, the diagonal and a band of 10 % around it.

    Raises:
        ChipsmithError: nothing was compared, or the folder cannot be written.
    """
    shown = [panel for panel in panels(comparisons) if panel.reference]
    if not shown:
        raise ChipsmithError("--figure", str(path), "nothing was compared, so there is nothing to draw")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    figure = Figure(figsize=(_PANEL_INCHES * columns, _PANEL_INCHES * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, panel in zip(axes, shown, strict=False):
        _draw_panel(axis, panel)
    for axis in axes[len(shown) :]:
        axis.set_axis_off()
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def percent(value: float) -> str:
    """Two digits; what is below a hundredth of a per cent says so."""
    return f"{value:.2g} %" if value == 0 or value >= _SMALLEST_PCT else f"below {_SMALLEST_PCT:g} %"


def _draw_panel(axis: Any, panel: Panel) -> None:
    low = min(*panel.reference, *panel.predicted) / 2
    high = max(*panel.reference, *panel.predicted) * 2
    ends = [low, high]
    margin = 1 + BAND_PCT / 100
    band = [end / margin for end in ends], [end * margin for end in ends]
    axis.fill_between(ends, *band, color="0.85", label=f"±{BAND_PCT:g} %", linewidth=0)
    axis.plot(ends, ends, color="0.4", linewidth=0.8)
    axis.scatter(panel.reference, panel.predicted, s=14, color="tab:blue", alpha=0.7, linewidths=0)
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends, aspect="equal")
    axis.set_xlabel(f"{panel.metric}, reference", fontsize=8)
    axis.set_ylabel(f"{panel.metric}, predicted", fontsize=8)
    axis.set_title(f"{panel.source}\n{len(panel.reference)} records, mean error {percent(panel.mape_pct)}", fontsize=9)
    axis.tick_params(labelsize=8)
    axis.legend(loc="upper left", fontsize=8, frameon=False)
