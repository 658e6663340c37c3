"""Bandwidth against stream type: what the picture shows is a table, drawing it is thin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.memory.channel import ChannelRun
from workloads.files import whole_file


@dataclass(frozen=True)
class Bars:
    """Groups of horizontal bars.

    Attributes:
        streams: names of the groups, first one on top. drams: name of each bar of a group.
        percent_of_peak: (stream, dram) lengths, %. gb_per_s: (stream, dram) labels, 1e9 bytes per second.
    """

    streams: tuple[str, ...]
    drams: tuple[str, ...]
    percent_of_peak: tuple[tuple[float, ...], ...]
    gb_per_s: tuple[tuple[float, ...], ...]


def bandwidth_bars(runs: Sequence[tuple[str, ChannelRun]]) -> Bars:
    """Bars of (stream name, run) pairs; every stream must have been run on the same devices in the same order."""
    streams = tuple(dict.fromkeys(name for name, _ in runs))
    groups = [[run for name, run in runs if name == stream] for stream in streams]
    return Bars(
        streams,
        tuple(run.dram for run in groups[0]),
        tuple(tuple(100 * run.fraction_of_peak for run in group) for group in groups),
        tuple(tuple(run.bandwidth_bytes_per_s / 1e9 for run in group) for group in groups),
    )


def draw_bandwidth(bars: Bars, path: str | Path) -> None:
    """Draw the bars into a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    count = len(bars.drams)
    height = 0.8 / count
    figure = Figure(figsize=(7.5, 1.2 + 0.32 * count * len(bars.streams)), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    for k, dram in enumerate(bars.drams):
        places = [i - 0.4 + (k + 0.5) * height for i in range(len(bars.streams))]
        lengths = [group[k] for group in bars.percent_of_peak]
        drawn = axis.barh(places, lengths, height=0.92 * height, label=dram)
        axis.bar_label(drawn, [f"{group[k]:.3g} GB/s" for group in bars.gb_per_s], padding=3, fontsize=8)
    axis.set_yticks(range(len(bars.streams)), [name.replace("_", " ") for name in bars.streams])
    axis.invert_yaxis()
    axis.set_xlim(0, 115)
    axis.set_xticks(range(0, 101, 20))
    axis.set_xlabel("bandwidth of one channel, % of its peak")
    axis.spines[["top", "right"]].set_visible(False)
    if count > 1:
        axis.legend(frameon=False, fontsize=8, loc="lower right")
    else:
        axis.set_title(bars.drams[0], fontsize=10)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
