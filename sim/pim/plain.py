"""What the host does with the same memory: plain reads of operands and plain writes of results.

Consecutive bursts go to the bank groups in turn, a row is drained before the next bank's, as sequential addresses do
that are mapped for bandwidth.
"""

from __future__ import annotations

import numpy as np

from models.pim import PimDevice
from sim.pim.fields import Array
from sim.pim.program import Program, bank_number

#: Queue of an ordinary memory controller, which sees rows to open that far ahead.
QUEUE_COMMANDS = 32


def _single_banks(program: Program) -> Array:
    """Sets of one bank each, in the order of sequential bursts: (banks / (groups x pcs x ranks), the others)."""
    org = program.device.organisation
    order = [
        [
            program.bank_set((bank_number(org, pc, rank, group, bank),))
            for group in range(org.bank_groups)
            for pc in range(org.pseudo_channels)
        ]
        for rank in range(org.ranks)
        for bank in range(org.banks_per_group)
    ]
    return np.array(order, np.int64)


def add_stream(program: Program, command: str, first: int, bursts: int, *, lane: int = 0, waits: bool = True) -> None:
    """Add sequential reads or writes of ``bursts`` bursts a channel, from burst ``first`` on."""
    banks = _single_banks(program)
    wide = banks.shape[1]
    at = first + np.arange(bursts, dtype=np.int64)
    drained = at // (wide * program.device.organisation.bursts_per_row)
    rows = drained // len(banks)
    program.add_many(command, banks[drained % len(banks), at % wide], rows, lane=lane, waits=waits)


def plain_program(device: PimDevice, reads: int, writes: int) -> Program:
    """Reads of all operands, then writes of all results.

    Args:
        device: any.
        reads, writes: bursts of the channel.
    """
    program = Program(device, queue_commands=QUEUE_COMMANDS)
    add_stream(program, "RD", 0, reads)
    add_stream(program, "WR", reads, writes)
    return program
