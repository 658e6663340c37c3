"""What an operator costs on a PIM device: time, commands, bytes moved inside, energy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.pim import PLACES, Command, EnergySet, PimDevice
from sim.demand import DEMAND
from sim.pim.channel import ChannelRun

BACKGROUND = "background"


@dataclass(frozen=True)
class PimResult:
    """One operator on one device.

    Attributes:
        operator: in words.
        device: name.
        cycles: memory clocks of the slowest channel.
        time_s: the same in seconds.
        commands: issued, by name, all channels.
        internal_bytes: that stay inside: read from the arrays by units, padding included.
        external_bytes: over the data buses.
        operand_bytes: that the operator had to move: weights (or keys and values) once for each pass of the batch,
            of element-wise operations all vectors.
        macs: that it had to do.
        peak_bytes_per_s: at which it could be read at best: the units' own, or the data buses'.
        energy_pj: by command and ``background``.
        energies: name of the set.
    """

    operator: str
    device: str
    cycles: int
    time_s: float
    commands: Mapping[str, int]
    internal_bytes: int
    external_bytes: int
    operand_bytes: int
    macs: int
    peak_bytes_per_s: float
    energy_pj: Mapping[str, float]
    energies: str

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Operand bytes a second."""
        return self.operand_bytes / self.time_s

    @property
    def utilisation(self) -> float:
        """Share of the peak that useful operands take."""
        return self.bandwidth_bytes_per_s / self.peak_bytes_per_s

    @property
    def total_energy_pj(self) -> float:
        """Sum over commands and background."""
        return sum(self.energy_pj.values())

    def demand(self) -> Any:
        """The demand vector (see sim/demand.py) of the operator, in clocks of the memory: an engine adds nothing.

        Busy cycles are the channel's own; what the data buses carry is the amount asked of the memory.
        """
        record = np.zeros(1, DEMAND)[0]
        record["cycles"] = record["busy"] = self.cycles
        record["memory"] = self.external_bytes
        record["macs"] = self.macs
        record["dram_read_bytes"] = self.internal_bytes + self.external_bytes
        record["blocks"] = sum(self.commands.values())
        return record


@dataclass(frozen=True)
class Work:
    """What an operator has to do, and at which peak it could.

    Attributes:
        operator: in words.
        operand_bytes, macs: see :class:`PimResult`.
        vectors: input vectors that each column access multiplies, on average.
        on_units: whether units do it; else the host with plain reads and writes.
    """

    operator: str
    operand_bytes: int
    macs: int
    vectors: float = 1.0
    on_units: bool = True


def collect(
    device: PimDevice, work: Work, runs: Sequence[tuple[int, ChannelRun]], cycles: int, energies: str
) -> PimResult:
    """Sum the runs of all channels.

    Args:
        device: on which they ran.
        work: what for.
        runs: (channels, what each of them did).
        cycles: of the whole operator.
        energies: name of an energy set; empty = the device's first.
    """
    prices = device.energy_set(energies)
    commands, banks, bursts = (_summed(runs, name) for name in ("commands", "bank_accesses", "bursts"))
    size = device.organisation.burst_bytes
    peak = device.internal_bytes_per_ck if work.on_units else device.external_bytes_per_ck
    time_s = cycles / device.cycles_per_s
    energy = {
        name: _command_pj(device, prices, device.commands[name], count, banks.get(name, 0), bursts.get(name, 0), work)
        for name, count in commands.items()
    }
    energy[BACKGROUND] = 1e12 * prices.background_w * device.organisation.channels * time_s
    return PimResult(
        operator=work.operator,
        device=device.name,
        cycles=cycles,
        time_s=time_s,
        commands=commands,
        internal_bytes=sum(size * banks.get(name, 0) for name in commands if _inside(device.commands[name])),
        external_bytes=sum(size * bursts.get(name, 0) for name in commands if _on_bus(device.commands[name])),
        operand_bytes=work.operand_bytes,
        macs=work.macs,
        peak_bytes_per_s=peak * device.cycles_per_s,
        energy_pj=energy,
        energies=energies or next(iter(device.energies)),
    )


def _summed(runs: Sequence[tuple[int, ChannelRun]], what: str) -> dict[str, int]:
    total: dict[str, int] = {}
    for channels, run in runs:
        for name, count in getattr(run, what).items():
            total[name] = total.get(name, 0) + channels * count
    return total


def _inside(command: Command) -> bool:
    return command.kind == "column" and command.origin == PLACES[0] and command.reach != PLACES[-1]


def _on_bus(command: Command) -> bool:
    return PLACES[-1] in (command.origin, command.reach)


def _command_pj(
    device: PimDevice, prices: EnergySet, command: Command, count: int, banks: int, bursts: int, work: Work
) -> float:
    """Energy of all commands of one name: rows, bits moved, multiplications, refreshes."""
    if command.kind == "activate":
        return banks * prices.act_pj
    if command.kind == "refresh":
        return count * prices.refresh_pj
    if command.kind not in ("column", "data"):
        return 0.0
    moved = bursts if _on_bus(command) or command.kind == "data" else banks  # a bus carries once what all banks get
    bits = 8 * device.organisation.burst_bytes * prices.bit_pj(command.origin, command.reach)
    macs = banks * device.unit.lanes * work.vectors if command.macs else 0.0
    return moved * bits + macs * prices.mac_pj
