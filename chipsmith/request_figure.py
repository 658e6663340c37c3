"""A picture of a request log: lengths, load over time, gaps between arrivals, what prompts share.

What is drawn is computed by :func:`figure_data`; drawing is thin, and matplotlib is imported when it happens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from sim.pictures.canvas import picture
from sim.pictures.palette import BLUE, GREEN, GREY, ORANGE
from workloads.request_stats import RequestStats, found_blocks, request_stats, tokens_of, window_counts
from workloads.requests import PERCENTILES, Request, nearest_rank

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS_MAX = 600  # more would not be seen
_TAIL = 60
_WINDOWS = 120
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class RequestFigure:
    """What the picture shows.

    Attributes:
        inputs, outputs: (tokens, share of requests that do not exceed them).
        marks: percentile to (input tokens, output tokens).
        window_s: width of a window of the load.
        load: (start of a window in seconds, requests a second in it); windows that the log fills.
        gaps: (seconds, share of gaps that are longer); empty with fewer than two gaps.
        mean_gap_s: mean gap; None without gaps.
        reuse: (requests so far, share of their prompt tokens that an infinite prefix cache held); empty where the
            log holds no blocks.
    """

    inputs: Points
    outputs: Points
    marks: dict[int, tuple[int, int]]
    window_s: float
    load: Points
    gaps: Points
    mean_gap_s: float | None
    reuse: Points


def figure_data(requests: Sequence[Request]) -> RequestFigure:
    """Data of the picture, for requests ordered by arrival; at most some hundred points a curve."""
    times = [r.arrival_s for r in requests]
    inputs, outputs = [r.input_tokens for r in requests], [r.output_tokens for r in requests]
    span = times[-1] - times[0]
    window_s = _round_up(span / _WINDOWS) if span > 0 else 1.0
    counts = window_counts(times, window_s)
    gaps = [b - a for a, b in pairwise(times)]
    return RequestFigure(
        _cumulative(inputs),
        _cumulative(outputs),
        {p: (nearest_rank(inputs, p), nearest_rank(outputs, p)) for p in PERCENTILES},
        window_s,
        tuple((index * window_s, count / window_s) for index, count in enumerate(counts)),
        tuple((gap, 1 - share) for gap, share in _cumulative(gaps)) if len(gaps) > 1 else (),
        math.fsum(gaps) / len(gaps) if gaps else None,
        _reuse(requests),
    )


def draw_requests(requests: Sequence[Request], path: str | Path, title: str) -> None:
    """Draw a log into a PNG file."""
    data, stats = figure_data(requests), request_stats(requests)
    with picture(Path(path), 11.0, 7.0) as figure:
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        axes = figure.subplots(2, 2)
        _draw_lengths(axes[0, 0], data)
        _draw_load(axes[0, 1], data, stats)
        _draw_gaps(axes[1, 0], data, stats)
        if data.reuse:
            _draw_reuse(axes[1, 1], data)
        else:
            _draw_pairs(axes[1, 1], requests)


def _round_up(seconds: float) -> float:
    """The next of 1, 2, 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(seconds))
    return next(step * power for step in (1.0, 2.0, 5.0, 10.0) if step * power >= seconds * (1 - 1e-9))


def _thin(count: int) -> list[int]:
    """Evenly spread indices, and all of the last ones: tails matter."""
    step = max(1, -(-count // _POINTS_MAX))
    return sorted({*range(0, count, step), *range(max(0, count - _TAIL), count)})


def _cumulative(values: Sequence[float]) -> Points:
    ordered = sorted(values)
    return tuple((float(ordered[i]), (i + 1) / len(ordered)) for i in _thin(len(ordered)))


def _reuse(requests: Sequence[Request]) -> Points:
    """Share of prompt tokens found so far, after each request."""
    if not any(r.blocks for r in requests):
        return ()
    held = list(accumulate(tokens_of(request, found) for request, found in found_blocks(requests)))
    total = list(accumulate(r.input_tokens for r in requests))
    return tuple((float(i + 1), held[i] / total[i]) for i in _thin(len(requests)))


def _draw_lengths(axes: Axes, data: RequestFigure) -> None:
    for points, colour, name in ((data.inputs, BLUE, "prompt"), (data.outputs, ORANGE, "output")):
        side = int(name == "output")
        marks = ", ".join(f"p{p} {data.marks[p][side]:,}" for p in (50, 90, 99))
        axes.step([x for x, _ in points], [y for _, y in points], color=colour, where="post", label=f"{name}: {marks}")
        for percent in (50, 90, 99):
            axes.plot(data.marks[percent][side], percent / 100, "o", color=colour, markersize=4)
    axes.set(title="Lengths", xlabel="tokens", ylabel="share of requests", ylim=(0, 1.3))
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
    _logarithmic(axes, "x")
    axes.grid(True)
    axes.legend(loc="upper left", fontsize=9)


def _draw_load(axes: Axes, data: RequestFigure, stats: RequestStats) -> None:
    axes.set(title="Load", xlabel="seconds", ylabel="requests/s")
    if not data.load:
        axes.text(0.5, 0.5, "all requests arrive at one time", ha="center", transform=axes.transAxes, color=GREY)
        return
    starts, rates = [x for x, _ in data.load], [y for _, y in data.load]
    edges = [*starts, starts[-1] + data.window_s]
    axes.stairs(rates, edges, fill=True, color=BLUE, alpha=0.55, label=f"in {data.window_s:g} s")
    mean = stats.rate_hz or 0.0
    axes.axhline(mean, color=ORANGE, label=f"mean {mean:.3g}")
    axes.set_ylim(0, 1.25 * max(*rates, mean))
    axes.set_xlim(0, edges[-1])
    axes.grid(True, axis="y")
    axes.legend(loc="upper right", ncols=2, fontsize=9)


def _draw_gaps(axes: Axes, data: RequestFigure, stats: RequestStats) -> None:
    axes.set(title="Gaps between arrivals", xlabel="seconds", ylabel="share of gaps that are longer")
    positive = [(x, y) for x, y in data.gaps if x > 0 and y > 0]
    if not positive or not data.mean_gap_s or stats.gap_cv is None:
        axes.text(0.5, 0.5, "no gaps", ha="center", transform=axes.transAxes, color=GREY)
        return
    low, floor = min(positive[0][0], data.mean_gap_s / 100), positive[-1][1] / 2
    above = next((y for x, y in reversed(data.gaps) if x <= low), 1.0)
    xs, ys = [low, *(x for x, _ in positive)], [above, *(y for _, y in positive)]
    label = f"this log, varies by {stats.gap_cv:.3g} of the mean"
    axes.step(xs, ys, color=BLUE, where="post", label=label)
    high = max(xs[-1], data.mean_gap_s * math.log(1 / floor))
    curve = [low * (high / low) ** (i / 200) for i in range(201)]
    axes.plot(curve, [math.exp(-x / data.mean_gap_s) for x in curve], color=GREY, ls="--", label="Poisson of its rate")
    _logarithmic(axes, "xy")
    axes.set_ylim(floor, 20)
    axes.yaxis.set_major_formatter(lambda value, _: _plain(value) if value <= 1 else "")
    axes.grid(True)
    axes.legend(loc="upper right", fontsize=9)


def _logarithmic(axes: Axes, which: str) -> None:
    """Logarithmic axes with plain numbers at powers of ten."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for name in which:
        axis = axes.xaxis if name == "x" else axes.yaxis
        (axes.set_xscale if name == "x" else axes.set_yscale)("log")
        axis.set_major_locator(LogLocator(numticks=8))
        axis.set_major_formatter(FuncFormatter(lambda value, _: _plain(value)))
        axis.set_minor_formatter(NullFormatter())


def _plain(value: float) -> str:
    """1,000 and more with a k."""
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def _draw_reuse(axes: Axes, data: RequestFigure) -> None:
    final = data.reuse[-1][1]
    label = f"in the end {100 * final:.1f} %"
    axes.plot([x for x, _ in data.reuse], [100 * y for _, y in data.reuse], color=GREEN, label=label)
    axes.set(title="Prompt tokens found in earlier prompts", xlabel="requests so far", ylabel="% of tokens so far")
    axes.set_ylim(0, min(105, 1.3 * max(100 * y for _, y in data.reuse) + 1))
    axes.set_xlim(0, data.reuse[-1][0])
    axes.grid(True)
    axes.legend(loc="lower right", fontsize=9)


def _draw_pairs(axes: Axes, requests: Sequence[Request]) -> None:
    chosen = [requests[i] for i in _thin(len(requests))]
    axes.plot([r.input_tokens for r in chosen], [r.output_tokens for r in chosen], ".", color=GREEN, markersize=4)
    shown = f", {len(chosen)} of {len(requests):,}" if len(chosen) < len(requests) else ""
    axes.set(title=f"Prompt and output{shown}", xlabel="prompt tokens", ylabel="output tokens")
    _logarithmic(axes, "xy")
    axes.grid(True)
