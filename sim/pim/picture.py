"""Picture: matrix-vector products on PIM devices against plain reads of the same memory, over size and batch.

What it shows is computed by :func:`gemv_curves`; the drawing is thin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.pim import load_device
from sim.pictures.canvas import picture
from sim.pictures.palette import CYCLE
from sim.pim.operators import gemv, plain_gemv

DEVICES = ("hbm_pim", "aim", "neupims", "attacc_bank", "attacc_bank_group", "duplex")
SIDES = (1024, 2048, 4096, 8192, 16384)
BATCHES = (1, 2, 4, 8, 16, 32)
BATCH_SIDE = 4096


@dataclass(frozen=True)
class Curve:
    """One device.

    Attributes:
        device: name.
        time_s, plain_s: of a square matrix at batch 1, by side; on the units and by plain reads.
        speedup: plain reads over units, by batch.
    """

    device: str
    time_s: tuple[float, ...]
    plain_s: tuple[float, ...]
    speedup: tuple[float, ...]


def gemv_curves(
    devices: Sequence[str] = DEVICES, sides: Sequence[int] = SIDES, batches: Sequence[int] = BATCHES
) -> list[Curve]:
    """Times over sides of a square matrix, and speed-ups over the batch for a side of 4096.

    The host reads weights once for the whole batch; units without reuse read them for every vector.
    """
    found = []
    for device in devices:
        plain = plain_gemv(device, BATCH_SIDE, BATCH_SIDE).time_s
        found.append(
            Curve(
                device,
                tuple(gemv(device, side, side).time_s for side in sides),
                tuple(plain_gemv(device, side, side).time_s for side in sides),
                tuple(plain / gemv(device, BATCH_SIDE, BATCH_SIDE, batch).time_s for batch in batches),
            )
        )
    return found


def draw_gemv(
    path: Path,
    curves: Sequence[Curve] | None = None,
    sides: Sequence[int] = SIDES,
    batches: Sequence[int] = BATCHES,
) -> None:
    """Write the picture as a PNG file."""
    shown = curves if curves is not None else gemv_curves(sides=sides, batches=batches)
    with picture(path, 11, 5) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1))
        for colour, curve in zip(CYCLE, shown, strict=False):
            name = f"{curve.device} ({load_device(curve.device).standard})"
            left.plot(sides, [1e6 * t for t in curve.time_s], color=colour, marker="o", ms=4, label=name)
            left.plot(sides, [1e6 * t for t in curve.plain_s], color=colour, ls=":", lw=1.2)
            right.plot(batches, curve.speedup, color=colour, marker="o", ms=4, label=name)
        left.plot([], [], color="#555555", ls=":", lw=1.2, label="plain reads of the same memory")
        left.set(xscale="log", yscale="log", xlabel="rows and columns of the matrix", ylabel="time, µs")
        left.set_title("Matrix-vector product, batch 1")
        right.axhline(1.0, color="#555555", ls=":", lw=1.2)
        right.text(batches[0], 1.06, "plain reads", color="#555555", fontsize=8.5, va="bottom")
        right.set(xscale="log", yscale="log", xlabel="batch", ylabel="times faster than plain reads")
        right.set_title(f"{BATCH_SIDE} x {BATCH_SIDE}, by batch")
        for axes, ticks in ((left, sides), (right, batches)):
            axes.set_xticks(list(ticks), [str(tick) for tick in ticks])
            axes.minorticks_off()
            axes.grid(True)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
