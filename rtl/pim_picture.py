"""Picture: one matrix-vector product on a channel, command by command, from the channel model and from the Verilog.

What it shows is computed by :func:`timeline`; the drawing is thin.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtl.pim_bank import generate_pim_bank
from rtl.pim_params import PimBankParams
from rtl.pim_traffic import read_steps
from rtl.simulate import BenchError, BenchOptions, run_sources, source_list
from rtl.stimulus import BenchJob


@dataclass(frozen=True)
class Timeline:
    """One schedule as the model has it and as the Verilog played it.

    Attributes:
        title: unit and schedule.
        model: command to the clocks in which the channel model issues it.
        taken: command to the clocks in which the Verilog took it.
        refused: command to the clocks in which it was shown and refused.
        sums: clocks in which sums are there.
        reads: clocks in which data of the host is there.
        cycles: end, from the model.
    """

    title: str
    model: Mapping[str, tuple[int, ...]]
    taken: Mapping[str, tuple[int, ...]]
    refused: Mapping[str, tuple[int, ...]]
    sums: tuple[int, ...]
    reads: tuple[int, ...]
    cycles: int


def _clocks(events: Sequence[Sequence[Any]], name: str, what: str) -> tuple[int, ...]:
    return tuple(clock for clock, command, found in events if (command, found) == (name, what))


def timeline(params: PimBankParams, name: str = "host") -> Timeline:
    """Simulate a schedule of :func:`rtl.pim_traffic.shared_schedules` with Icarus.

    Raises:
        MissingToolError: without Icarus.
        BenchError: where the bench fails: then there is nothing to show.
    """
    design = generate_pim_bank(params)
    with tempfile.TemporaryDirectory(prefix="chipsmith-picture-") as folder:
        options = BenchOptions(tests=("shared_schedules",))
        run = run_sources(BenchJob(design, 1), source_list(design), Path(folder), options)
        if not run.passed:
            raise BenchError(f"{design.name}: the bench fails")
        job = json.loads((Path(folder) / "job.json").read_text())
        report = json.loads((Path(folder) / "report.json").read_text())
    steps = read_steps(next(one["steps"] for one in job["shared"] if one["name"] == name))
    played = next(one for one in report["traces"] if one["name"] == name)
    commands, events = dict.fromkeys(step.command for step in steps), played["events"]
    model = {command: tuple(s.clock for s in steps if s.command == command) for command in commands}
    return Timeline(
        f"Dot products beside the host's reads on {params.device}: channel model and Verilog ({params.dtype})",
        model,
        {command: _clocks(events, command, "taken") for command in commands},
        {command: _clocks(events, command, "refused") for command in commands},
        _clocks(events, "sum", "there"),
        _clocks(events, "read", "there"),
        played["cycles"],
    )


def draw_timeline(path: Path, shown: Timeline | None = None) -> None:
    """Write the picture as a PNG file."""
    from sim.pictures.canvas import picture
    from sim.pictures.palette import CYCLE

    found = shown if shown is not None else timeline(PimBankParams(lanes=4, columns=8))
    names = list(found.model)[::-1]
    with picture(path, 11, 0.42 * (len(names) + 2) + 1.6) as figure:
        axes = figure.subplots()
        for line, name in enumerate(names):
            axes.scatter(found.refused[name], [line] * len(found.refused[name]), marker="|", s=40, color="#C9C9C9")
            axes.scatter(
                found.model[name], [line] * len(found.model[name]), s=70, facecolors="none", edgecolors="#222222"
            )
            axes.scatter(found.taken[name], [line] * len(found.taken[name]), s=14, color=CYCLE[0])
        for line, (clocks, colour) in enumerate(((found.reads, CYCLE[1]), (found.sums, CYCLE[2])), start=-2):
            axes.scatter(clocks, [line] * len(clocks), marker="D", s=16, color=colour)
        axes.axvline(found.cycles, color="#555555", ls=":", lw=1.2)
        axes.text(found.cycles, len(names) - 0.4, f"model's end: {found.cycles}", ha="right", va="bottom", fontsize=9)
        axes.set_yticks(range(-2, len(names)), ["data read", "sums", *names])
        axes.set(xlabel="clock", ylim=(-2.7, len(names)), xlim=(-4, found.cycles + 6))
        axes.set_title(found.title)
        axes.grid(True, axis="x")
        axes.plot([], [], "o", ms=8, mfc="none", mec="#222222", label="issued by the channel model")
        axes.plot([], [], "o", ms=4, color=CYCLE[0], label="taken by the Verilog")
        axes.plot([], [], "|", ms=7, color="#C9C9C9", label="shown and refused")
        axes.plot([], [], "D", ms=4, color=CYCLE[2], label="there")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
