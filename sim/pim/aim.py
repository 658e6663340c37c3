"""GDDR6-AiM: instruction streams and matrix-vector products.

Instructions are those of Hot Chips 34 (2022) and the AiM simulator. Registers and the global buffer are reached in a
register mode; a change of mode (TMOD) goes in front of the first instruction of the other kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.pim import PimDevice
from sim.pim.program import Program
from workloads.errors import ChipsmithError, nearest

#: Instruction to (command, needs the register mode, banks: all, one or none).
INSTRUCTIONS: dict[str, tuple[str, bool, str]] = {
    "WR_SBK": ("WR", False, "one"),
    "RD_SBK": ("RD", False, "one"),
    "WR_ABK": ("WRAB", False, "all"),
    "WR_GB": ("WRGB", True, "none"),
    "WR_BIAS": ("WRBIAS", True, "none"),
    "RD_MAC": ("RDMAC", True, "none"),
    "RD_AF": ("RDAF", True, "none"),
    "COPY_BKGB": ("RDCP", False, "one"),
    "COPY_GBBK": ("WRCP", False, "one"),
    "MAC_SBK": ("MACSB", False, "one"),
    "MAC_ABK": ("MACAB", False, "all"),
    "AF": ("AF", False, "all"),
    "EWMUL": ("EWMUL", False, "all"),
}
#: Instructions that keep memory waiting for nothing: they work on the controller's own registers.
_CONTROLLER = ("EWADD", "SYNC", "EOC")


class AimProgram(Program):
    """A program that remembers the mode and the rows of earlier instructions."""

    def __init__(self, device: PimDevice) -> None:
        super().__init__(device)
        self.register_mode = False
        self.next_row = 0
        self.one_bank = self.bank_set((0,))

    def instruction(self, name: str, count: int = 1, row: int = 0) -> None:
        """Add an instruction of ``count`` columns.

        Raises:
            ChipsmithError: an unknown one.
        """
        if name in _CONTROLLER:
            return
        if name not in INSTRUCTIONS:
            raise ChipsmithError("instructions", name, nearest(name, (*INSTRUCTIONS, *_CONTROLLER)))
        command, register_mode, banks = INSTRUCTIONS[name]
        if register_mode != self.register_mode:
            self.add("TMOD")
            self.register_mode = register_mode
        lut_row = self.device.organisation.rows - 1
        target = self.one_bank if banks == "one" else 0
        self.add(command, target, -1 if banks == "none" else lut_row if name == "AF" else row, count)
        self.next_row = max(self.next_row, row + 1)

    def stream(self, instructions: Sequence[Any], iteration: int = 0) -> None:
        """Add a nested list of instructions: ``[name, columns, row]`` or ``["repeat", n, [...]]``.

        A row is ``row=NUMBER``, ``row=i`` (the iteration) or ``new row`` (not used before); without one it is 0.

        Raises:
            ChipsmithError: an unknown instruction or row.
        """
        for item in instructions:
            if item[0] == "repeat":
                for i in range(int(item[1])):
                    self.stream(item[2], i)
            else:
                columns = next((int(part) for part in item[1:] if isinstance(part, int)), 1)
                self.instruction(str(item[0]), columns, self._row(item[1:], iteration))

    def _row(self, parts: Sequence[Any], iteration: int) -> int:
        words = [part for part in parts if isinstance(part, str)]
        if not words:
            return 0
        if words[0] == "new row":
            return self.next_row
        name, _, value = words[0].partition("=")
        if name != "row" or not (value == "i" or value.isdigit()):
            raise ChipsmithError("instructions", words[0], "row=NUMBER, row=i or new row")
        return iteration if value == "i" else int(value)


def gemv_program(device: PimDevice, passes: int, in_bursts: int, batch: int) -> Program:
    """Matrix-vector products on one channel; see :func:`gemvs_program`."""
    return gemvs_program(device, [(passes, in_bursts)], batch)


def gemvs_program(device: PimDevice, shapes: Sequence[tuple[int, int]], batch: int) -> Program:
    """Matrix-vector products on one channel, one matrix after the other.

    For each chunk of inputs that the global buffer holds: write it, then for each pass (one output of every bank) set
    the accumulators, multiply a row, read the accumulators. The weights are read again for each vector of the batch.

    Args:
        device: an AiM.
        shapes: (passes, inputs in bursts of one bank's lanes) of each matrix.
        batch: vectors.
    """
    program = AimProgram(device)
    for passes, in_bursts in shapes:
        first = program.next_row
        for _ in range(batch):
            program.next_row = first
            _product(program, passes, in_bursts)
    return program


def _product(program: AimProgram, passes: int, in_bursts: int) -> None:
    device = program.device
    chunk = device.unit.global_buffer_bytes // device.organisation.burst_bytes
    for start in range(0, in_bursts, chunk):
        columns = min(chunk, in_bursts - start)
        program.instruction("WR_GB", columns)
        for _ in range(passes):
            program.instruction("WR_BIAS")
            program.instruction("MAC_ABK", columns, program.next_row)
            program.instruction("RD_MAC")
