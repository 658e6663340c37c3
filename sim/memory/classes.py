"""What `tile`'s two constants say of each class of operator against what the channel model says: table and picture.

python -m sim.memory.classes FILE.png
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sim.memory.derive import stored_channel, stream_constants
from sim.memory.mixes import PAGES, SEQUENTIAL, TAILS, make_mix, rate_of_peak
from sim.memory.stream import stream_efficiency
from workloads.files import whole_file

#: Class of operators to its flows: pattern, write, parts of the bytes.
CLASSES: Mapping[str, tuple[tuple[str, bool, float], ...]] = {
    "GEMM, decode: weights": ((SEQUENTIAL, False, 1.0),),
    "GEMM, prefill: 1 write to 7 reads": ((SEQUENTIAL, False, 7.0), (SEQUENTIAL, True, 1.0)),
    "attention, decode: KV pages": ((PAGES, False, 1.0),),
    "attention, prefill: inputs, KV pages, results": (
        (SEQUENTIAL, False, 2.0),
        (PAGES, False, 2.0),
        (SEQUENTIAL, True, 1.0),
    ),
    "element-wise: 1 write to 2 reads": ((SEQUENTIAL, False, 2.0), (SEQUENTIAL, True, 1.0)),
    "norm, softmax: 1 write to 1 read": ((SEQUENTIAL, False, 1.0), (SEQUENTIAL, True, 1.0)),
    "KV append: single tokens": ((TAILS, True, 1.0),),
}
GRADES = ("HBM2-2400", "DDR4-2400")
STREAMS = (1, 4)


@dataclass(frozen=True)
class ClassRates:
    """Share of the peak of one grade, by class.

    Attributes:
        grade: of the channel. streams: concurrent streams of each column.
        tile: share of the peak that the constants give, by column; the same for every class.
        command: class to the share that the channel model gives, by column.
    """

    grade: str
    streams: tuple[int, ...]
    tile: tuple[float, ...]
    command: Mapping[str, tuple[float, ...]]


def class_rates(grade: str, streams: Sequence[int] = STREAMS) -> ClassRates:
    """Shares of a grade for every class of :data:`CLASSES`."""
    channel = stored_channel(grade)
    constants = stream_constants(channel)
    single, interference = constants.streaming_efficiency, constants.stream_interference
    command = {
        name: tuple(rate_of_peak(channel, make_mix([(*flow, s) for flow in flows])) for s in streams)
        for name, flows in CLASSES.items()
    }
    tile = tuple(float(stream_efficiency(single, interference, s)) for s in streams)
    return ClassRates(grade, tuple(streams), tile, command)


def draw_classes(rates: Sequence[ClassRates], path: str | Path) -> None:
    """Draw bars of the channel model and lines of the constants into a PNG, one panel a grade."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(rates) + 1.5, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(rates), sharey=True, squeeze=False)[0]
    for axis, found in zip(panels, rates, strict=True):
        height = 0.8 / len(found.streams)
        for k, s in enumerate(found.streams):
            places = [i - 0.4 + (k + 0.5) * height for i in range(len(found.command))]
            lengths = [100 * shares[k] for shares in found.command.values()]
            named = f"{s} stream{'s' if s > 1 else ''}"
            drawn = axis.barh(places, lengths, height=0.9 * height, color=f"C{k}", label=f"command, {named}")
            axis.bar_label(drawn, [f"{length:.0f}" for length in lengths], label_type="center", color="w", fontsize=8)
            axis.axvline(100 * found.tile[k], color=f"C{k}", linestyle="--", zorder=0, label=f"tile, {named}")
        axis.set_title(found.grade, fontsize=10)
        axis.set_yticks(range(len(found.command)), list(found.command))
        axis.set_xlim(0, 100)
        axis.set_xlabel("share of the channel's peak, %")
        axis.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2 * len(STREAMS), frameon=False, fontsize=8)
    with whole_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


def main(path: str) -> None:
    """Print the shares and draw them."""
    rates = [class_rates(grade) for grade in GRADES]
    for found in rates:
        print(f"{found.grade}, {' and '.join(map(str, found.streams))} streams")
        print(f"  {'tile, any class':46}", *(f"{100 * share:6.1f} %" for share in found.tile))
        for name, shares in found.command.items():
            print(f"  {name:46}", *(f"{100 * share:6.1f} %" for share in shares))
    draw_classes(rates, path)


if __name__ == "__main__":
    main(sys.argv[1])
