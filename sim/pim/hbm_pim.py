"""HBM-PIM: matrix-vector products and element-wise operations on one pseudo-channel.

Sequence of an operation (ISCA 2021): park the banks, go to all-bank mode, write the program of the units, go to PIM
mode, stream column commands to the even and the odd banks, go back. A change of mode is a write to a reserved row; unit
registers answer at a reserved row of the even banks, so that filling them takes that row.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.pim import PimDevice
from sim.pim.program import Program, bank_number, halves

#: 32-bit instructions in one write of 32 bytes.
_INSTRUCTIONS_PER_BURST = 8
#: Instructions of a unit's program: matrix-vector product (multiply even, jump, multiply odd, jump, store, jump, exit)
#: and element-wise (fill, operate, store for both halves, with their jumps, and exit): each fits one write.
_PROGRAM_BURSTS = 1


class HbmPimProgram(Program):
    """A program on even and odd banks; the last rows are reserved for parking, modes and registers."""

    def __init__(self, device: PimDevice) -> None:
        super().__init__(device)
        org = device.organisation
        even, odd = halves(org)
        self.even, self.odd = self.bank_set(even), self.bank_set(odd)
        self.park_row, self.mode_row, self.register_row = org.rows - 3, org.rows - 2, org.rows - 1

    def park(self, banks: int) -> None:
        """Read one burst of a reserved row in each of the first banks, bank groups in turn, and await the data."""
        org = self.device.organisation
        for i in range(banks):
            group, bank = i % org.bank_groups, i // org.bank_groups
            fence = self.device.clocks("tCL + tBURST") if i == banks - 1 else 0
            self.add("RD", self.bank_set((bank_number(org, 0, 0, group, bank),)), self.park_row, hold_ck=fence)
        self.barrier()

    def change_all_bank_mode(self) -> None:
        """Write the mode register of both halves and await write recovery: the next command means something else."""
        fence = self.device.clocks("tCWL + tBURST + tWR")
        for half in (self.even, self.odd):
            self.add("REGWR", half, self.mode_row, hold_ck=fence if half == self.odd else 0)
        self.barrier()

    def enter(self) -> None:
        """From plain memory to all-bank mode, with the units' program in place."""
        self.park(self.device.organisation.banks)
        self.change_all_bank_mode()
        self.add("REGWR", self.odd, self.register_row, _PROGRAM_BURSTS)
        self.barrier()

    def leave(self) -> None:
        """Back to plain memory."""
        self.change_all_bank_mode()
        self.park(2)

    def switch(self) -> None:
        """Between all-bank and PIM mode, or back."""
        self.add("REGWR", self.even, self.register_row)
        self.barrier()

    def rows(self, command: str, half: int, first: int, bursts: int) -> None:
        """A command for ``bursts`` bursts from burst ``first`` of a half's banks on, row by row."""
        per_row = self.device.organisation.bursts_per_row
        while bursts > 0:
            here = min(bursts, per_row - first % per_row)
            self.add(command, half, first // per_row, here)
            first, bursts = first + here, bursts - here


def gemv_program(device: PimDevice, out_tiles: int, in_tiles: int, batch: int) -> Program:
    """Matrix-vector products on one pseudo-channel; see :func:`gemvs_program`."""
    return gemvs_program(device, [(out_tiles, in_tiles)], batch)


def gemvs_program(device: PimDevice, shapes: Sequence[tuple[int, int]], batch: int) -> Program:
    """Matrix-vector products on one pseudo-channel, one matrix after the other.

    An input tile fills register file A (one vector of lanes an entry), and each register of file B accumulates one
    output a unit: ``A x B`` multiplications. Input tiles of even number lie in the even banks. The weights are read
    again for each vector of the batch.

    Args:
        device: an HBM-PIM.
        shapes: (tiles of outputs: units x registers B each, tiles of inputs: lanes x registers A each) by matrix.
        batch: vectors.
    """
    program = HbmPimProgram(device)
    program.enter()
    at = 0
    for out_tiles, in_tiles in shapes:
        at = _product(program, at, out_tiles, in_tiles, batch)
    program.leave()
    return program


def _product(program: HbmPimProgram, first: int, out_tiles: int, in_tiles: int, batch: int) -> int:
    """A matrix at burst ``first`` of each bank, results behind it; the burst after those."""
    registers = program.device.unit.registers
    tile = registers["GRF_A"] * registers["GRF_B"]
    halved = -(-in_tiles // 2)
    results = first + out_tiles * halved * tile
    for out in range(out_tiles):
        for vector in range(batch):
            program.switch()
            for half, start in ((program.even, 0), (program.odd, 1)):
                for i in range(start, in_tiles, 2):
                    program.add("REGWR", program.even, program.register_row, registers["GRF_A"])
                    program.rows("MAC", half, first + (out * halved + i // 2) * tile, tile)
            stored = results + (out * batch + vector) * registers["GRF_B"]
            program.rows("STORE", program.odd, stored, registers["GRF_B"])
            program.barrier()
            program.switch()
    end = results + out_tiles * batch * registers["GRF_B"]
    per_row = program.device.organisation.bursts_per_row
    return -(-end // per_row) * per_row


def elementwise_program(device: PimDevice, groups: int, operands: int) -> Program:
    """Element-wise operation on one pseudo-channel: fill registers, operate on the way, store, group by group.

    Args:
        device: an HBM-PIM.
        groups: groups of register-file size, even and odd banks in turn.
        operands: 1 or 2 inputs.
    """
    program = HbmPimProgram(device)
    size = device.unit.registers["GRF_A"]
    program.enter()
    program.switch()
    array = -(-groups // 2) * size
    whole = -(-array // device.organisation.bursts_per_row) * device.organisation.bursts_per_row
    for group in range(groups):
        half = (program.even, program.odd)[group % 2]
        at = group // 2 * size
        for operand in range(operands):
            program.rows("FILL" if operand < operands - 1 else "MAC", half, operand * whole + at, size)
        program.rows("STORE", half, operands * whole + at, size)
    program.barrier()
    program.switch()
    program.leave()
    return program
