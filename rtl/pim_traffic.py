"""The channel model's own schedule as commands with banks, rows and columns: what the bench plays to the Verilog."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from models.pim import PimDevice
from rtl.pim_params import PimBankParams
from rtl.pim_timing import Step
from sim.pim.fields import CMD, COLUMNS, COUNT, ROW, SET, Array
from sim.pim.program import Program

Shape = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A program as the channel model schedules it.

    Attributes:
        name: what it is.
        shape: (outputs, inputs, vectors) of the product.
        cycles: clocks until all results are there, from the model.
        steps: commands in the order of their clocks.
    """

    name: str
    shape: Shape
    cycles: int
    steps: tuple[Step, ...]

    def document(self) -> dict[str, Any]:
        """As plain data."""
        steps = [[s.clock, s.command, s.banks, s.row, s.column, s.columns] for s in self.steps]
        return {"name": self.name, "shape": self.shape, "cycles": self.cycles, "steps": steps}


def read_steps(rows: Sequence[Sequence[Any]]) -> list[Step]:
    """Steps of a :meth:`Schedule.document`."""
    return [
        Step(name, tuple(banks), row, column, columns, clock=clock) for clock, name, banks, row, column, columns in rows
    ]


class _Lanes:
    """Entries of a program with what of each has been issued."""

    def __init__(self, program: Program) -> None:
        self.program, self.device = program, program.device
        self.entries, starts = program.entries()
        self.head = [int(start) for start in starts[:-1]]
        self.end = [int(start) for start in starts[1:]]
        self.done = [0] * len(self.head)
        self.reads: Counter[tuple[int, int]] = Counter()

    def take(self, command: int, bank_set: int) -> tuple[Array, int]:
        """The next entry that issues ``command`` on a set, and how many of it came before."""
        for lane, head in enumerate(self.head):
            if head < self.end[lane] and tuple(self.entries[head, [CMD, SET]]) == (command, bank_set):
                before = self.done[lane]
                self.done[lane] += 1
                if self.done[lane] == self.entries[head, COUNT]:
                    self.head[lane], self.done[lane] = head + 1, 0
                return self.entries[head], before
        raise AssertionError(f"no lane issues command {command} on set {bank_set}")

    def row_for(self, opener: str, banks: tuple[int, ...]) -> int:
        """Row that the next entry on these banks wants from ``opener``."""
        names = list(self.device.commands)
        for lane, head in enumerate(self.head):
            for entry in self.entries[head : self.end[lane]]:
                wants = self.device.commands[names[entry[CMD]]].opened_by == opener
                if wants and set(banks) & set(self.program.sets[entry[SET]].banks):
                    return int(entry[ROW])
        raise AssertionError(f"no entry needs {opener} on {banks}")


def _column(lanes: _Lanes, entry: Array, before: int, banks: tuple[int, ...], name: str) -> int:
    """Column of a command: consecutive within an entry; reads of the host go on where the row's last one was."""
    per_row = lanes.device.organisation.bursts_per_row
    if name in ("RD", "WR"):
        place = (banks[0], int(entry[ROW]))
        lanes.reads[place] += 1
        return (lanes.reads[place] - 1) % per_row
    return before * int(entry[COLUMNS]) % per_row


def _steps(program: Program, log: Array) -> tuple[Step, ...]:
    lanes, names, steps = _Lanes(program), list(program.device.commands), []
    for clock, command, bank_set in log.tolist():
        name, banks = names[command], program.sets[bank_set].banks
        kind = program.device.commands[name].kind
        if kind == "activate":
            steps.append(Step(name, banks, lanes.row_for(name, banks), clock=clock))
        elif kind in ("precharge", "refresh"):
            steps.append(Step(name, banks, clock=clock))
        else:
            entry, before = lanes.take(command, bank_set)
            column = 0 if kind == "control" else _column(lanes, entry, before, banks, name)
            steps.append(Step(name, banks, 0, column, int(entry[COLUMNS]), clock=clock))
    return tuple(steps)


def schedule(name: str, shape: Shape, program: Program, refresh_phase: float = 0.0) -> Schedule:
    """Run a program on the channel model and keep its commands."""
    from sim.pim.channel import run

    entries, _ = program.entries()
    found = run(program, refresh_phase, log_commands=4 * int(entries[:, COUNT].sum()) + 100)
    return Schedule(name, shape, found.cycles, _steps(program, found.log))


def product_program(device: PimDevice, m: int, k: int, n: int) -> Program:
    """The matrix-vector products of one channel: ``m`` outputs, ``k`` inputs, ``n`` vectors."""
    if device.program == "newton":
        from sim.pim.newton import gemv_program

        return gemv_program(device, m, k, n)
    from sim.pim.aim import gemv_program as aim_program

    lanes = device.unit.lanes
    return aim_program(device, -(-m // device.organisation.banks), -(-k // lanes), n)


def product_cycles(params: PimBankParams, m: int, k: int, n: int) -> int:
    """Clocks of C[m x n] = A[m x k] W[k x n] on the bench's channel, from the channel model.

    Raises:
        ChipsmithError: for an empty dimension.
    """
    from workloads.errors import ChipsmithError

    for name, value in (("m", m), ("k", k), ("n", n)):
        if value < 1:
            raise ChipsmithError(f"product.{name}", value, "at least 1")
    return schedule("product", (m, k, n), product_program(params.bench_spec, m, k, n)).cycles


def _shapes(device: PimDevice) -> list[Shape]:
    """Products that leave lanes, columns and banks over in every combination."""
    banks, lanes = device.organisation.banks, device.unit.lanes
    row = device.organisation.bursts_per_row * lanes
    return [(1, 1, 1), (banks, row, 1), (banks + 1, row // 2 + 1, 1), (2 * banks, row + lanes, 1), (banks, lanes, 2)]


def model_schedules(params: PimBankParams) -> list[Schedule]:
    """Products without a refresh and without the host."""
    device = params.bench_spec
    return [schedule("product", shape, product_program(device, *shape)) for shape in _shapes(device)]


def shared_schedules(params: PimBankParams) -> list[Schedule]:
    """Products that meet a refresh, key-like tiles of several composites, and the host beside the units."""
    device = params.bench_spec
    banks, row = device.organisation.banks, device.organisation.bursts_per_row * device.unit.lanes
    shape = (2 * banks, row, 1)
    interval = device.timing_ck["tREFI"]
    found = [schedule("refresh", shape, product_program(device, *shape), 1 - 150 / interval)]
    if device.program != "newton":
        return found
    from sim.pim.newton import Tile, tile_program

    tiles = [Tile(2, 2, max(1, device.organisation.bursts_per_row // 2))]
    found.append(schedule("composites", shape, tile_program(device, tiles)))
    if device.organisation.row_buffers == 2:
        found.append(schedule("host", shape, tile_program(device, tiles, host_reads=400)))
        found.append(schedule("host and refresh", shape, tile_program(device, tiles, 400), 1 - 150 / interval))
    return found
