"""Where units in the memory stop paying: attention and products on them against the NPU behind the same memory's bus.

Units read faster than the bus, but once more for every vector that they can't reuse; a host reads once for all. So
what decides is how many vectors share what is read: queries of a group in attention, the batch in products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path
from typing import TYPE_CHECKING

from models.chip import Chip, parse_chip
from models.pim import load_device
from sim.pictures.canvas import picture
from sim.pictures.palette import BLACK, CYCLE
from sim.simulate import simulate
from workloads.trace import Block, Operator, Segment, Trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DEVICES = ("hbm_pim", "aim", "neupims", "attacc_bank", "attacc_bank_group", "duplex")
GROUPS = (1, 2, 4, 8, 16)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
CONTEXTS = (128, 256, 512, 1024, 2048, 4096, 8192)
#: The map's device, which keeps a request on one channel: few requests leave channels idle.
MAP_DEVICE = "neupims"
KV_HEADS, HEAD_DIM, SIDE = 8, 128, 4096
_REQUESTS, _CONTEXT = 32, 2048


@dataclass(frozen=True)
class Crossover:
    """Gains of the units over the NPU: its time over theirs.

    Attributes:
        by_group: device to gains of attention, one for each of ``GROUPS``: 32 requests of 2048 tokens.
        by_batch: device to gains of a 4096 x 4096 product, one for each of ``BATCHES``.
        by_size: gains of attention on ``MAP_DEVICE`` without groups, rows of ``BATCHES``, columns of ``CONTEXTS``.
    """

    by_group: dict[str, tuple[float, ...]]
    by_batch: dict[str, tuple[float, ...]]
    by_size: tuple[tuple[float, ...], ...]


def crossover(devices: Sequence[str] = DEVICES) -> Crossover:
    """Compute all gains at fidelity ``tile``."""
    sizes = [[gain(MAP_DEVICE, _attention(MAP_DEVICE, n, tokens, 1)) for tokens in CONTEXTS] for n in BATCHES]
    return Crossover(
        {name: tuple(gain(name, _attention(name, _REQUESTS, _CONTEXT, group)) for group in GROUPS) for name in devices},
        {name: tuple(gain(name, _product(name, batch)) for batch in BATCHES) for name in devices},
        tuple(tuple(row) for row in sizes),
    )


def last_paying(values: Sequence[int], gains: Sequence[float]) -> int:
    """Largest value up to which every gain is above 1; 0 where the first is not."""
    paying = 0
    for value, found in zip(values, gains, strict=True):
        if found <= 1:
            break
        paying = value
    return paying


def gain(device: str, op: Operator) -> float:
    """Time of an operator on the NPU over that on the units."""
    work = Trace(op.name, (op,), (), (Block("all"),))
    npu, pim = (simulate(work, study_chip(device, units=units)).latency_s for units in (False, True))
    return npu / pim


def study_chip(device: str, *, units: bool) -> Chip:
    """One copy of a device beside eight 128 x 128 arrays and eight vector units, its bus at the device's own peak.

    Args:
        device: of models/data/pim.
        units: whether its units take every operator; else the arrays do.
    """
    found = load_device(device)
    kind = found.unit.dtypes[0]
    npu = {"type": "systolic", "clock_hz": 1e9, "arrays": 8, "rows": 128, "cols": 128, "dataflows": ["ws", "is"],
           "act_dtype": kind, "weight_dtype": kind, "accum_dtype": "fp32", "spad_bytes": 2**25, "spad_banks": 8,
           "preload": "overlapped", "weight_reuse_rows": 0}  # fmt: skip
    memory = {"standard": found.standard, "capacity_bytes": found.organisation.capacity_bytes,
              "bandwidth_bytes_per_s": found.external_bytes_per_ck * found.cycles_per_s,
              "streaming_efficiency": 0.9}  # fmt: skip
    pim = {"type": "pim", "device": device, "clock_hz": found.cycles_per_s, "takes": ["attention", "gemm"],
           "max_op_per_byte": 1e9}  # fmt: skip
    vector = {"type": "vector", "clock_hz": 1e9, "units": 8, "lanes": 128}
    engines = {**({"pim": pim} if units else {}), "npu": npu, "vector": vector}
    data = {"name": device, "technology": {"node_nm": 7}, "engines": engines, "memories": {"dram": memory}}
    return parse_chip(data)


def _attention(device: str, requests: int, context: int, group: int) -> Operator:
    kind = load_device(device).unit.dtypes[0]
    return Operator(
        "attention", "attention", 0, (Segment(1, context - 1, requests),), heads=KV_HEADS * group, kv_heads=KV_HEADS,
        qk_dim=HEAD_DIM, v_dim=HEAD_DIM, kv_width=2 * KV_HEADS * HEAD_DIM, act=kind, weight=kind, kv=kind, out=kind,
        phase="decode",
    )  # fmt: skip


def _product(device: str, batch: int) -> Operator:
    kind = load_device(device).unit.dtypes[0]
    return Operator("product", "gemm", 0, (Segment(batch),), k=SIDE, n=SIDE, act=kind, weight=kind, out=kind,
                    phase="decode")  # fmt: skip


def table(found: Crossover) -> str:
    """The gains as text, one row a device."""
    lines = [
        f"{'device':18} {'gain of attention by queries a key head':40}  pays to  {'of a product by batch':47} pays to"
    ]
    lines.append(f"{'':18} {''.join(f'{group:8}' for group in GROUPS)}  {'':8} {''.join(f'{n:7}' for n in BATCHES)}")
    for name, by_group in found.by_group.items():
        groups = "".join(f"{value:8.2f}" for value in by_group)
        batches = "".join(f"{value:7.2f}" for value in found.by_batch[name])
        last = last_paying(GROUPS, by_group), last_paying(BATCHES, found.by_batch[name])
        lines.append(f"{name:18} {groups}  {last[0]:8} {batches} {last[1]:8}")
    return "\n".join(lines)


def draw_crossover(found: Crossover, path: Path) -> None:
    """Draw gains over the group, over the batch, and the map into a PNG."""
    with picture(path, 13.5, 4.6) as figure:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1, 1.1))
        _draw_curves(left, GROUPS, found.by_group, "query heads that share a key head")
        left.set_title(f"Attention, {_REQUESTS} requests of {_CONTEXT} tokens")
        _draw_curves(middle, BATCHES, found.by_batch, "batch")
        middle.set_title(f"{SIDE} x {SIDE} product")
        _draw_map(right, found.by_size)
        right.set_title(f"Attention on {MAP_DEVICE}, no groups")
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=len(found.by_group))


def _draw_curves(axes: Axes, values: Sequence[int], curves: Mapping[str, Sequence[float]], what: str) -> None:
    for colour, (name, gains) in zip(CYCLE, curves.items(), strict=False):
        axes.plot(values, gains, marker="o", ms=4, color=colour, label=name)
    axes.axhline(1.0, color="#555555", ls=":", lw=1.2)
    axes.set(xscale="log", yscale="log", xlabel=what, ylabel="times faster than the NPU")
    axes.set_xticks(list(values), [str(value) for value in values])
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.grid(True)


def _draw_map(axes: Axes, gains: Sequence[Sequence[float]]) -> None:
    limit = max(abs(log2(value)) for row in gains for value in row)
    shown = [[log2(value) for value in row] for row in gains]
    axes.imshow(shown, origin="lower", aspect="auto", cmap="RdBu", vmin=-limit, vmax=limit)
    for y, row in enumerate(gains):
        for x, value in enumerate(row):
            colour = "white" if abs(log2(value)) > 0.6 * limit else BLACK
            axes.text(x, y, f"{value:.2g}", ha="center", va="center", fontsize=8, color=colour)
    axes.set_xticks(range(len(CONTEXTS)), [str(value) for value in CONTEXTS])
    axes.set_yticks(range(len(BATCHES)), [str(value) for value in BATCHES])
    axes.set(xlabel="context, tokens", ylabel="requests")
