"""One DRAM channel of one speed grade: organisation, command bus, timing and energy, frozen and checked.

Times are clocks of the command clock (CK) under their JEDEC names, as the standards print them.
"""
# ruff: noqa: N815 (the fields have JEDEC's names, which are what a data sheet and an error message say)

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import Field, ValidationError, model_validator

from models.engines.base import Spec
from models.wording import worded
from workloads.errors import ChipsmithError

#: A data sheet rounds tRC, tRAS and tRP to clocks one by one, so their sum may miss by one.
ROUNDING_CK = 1
Part = TypeVar("Part", bound=Spec)


class Organisation(Spec):
    """How a channel is divided.

    Attributes:
        channel_width_bits: data pins of one pseudo-channel.
        pseudo_channels: with own banks and data bus, sharing the command buses; 1 where the standard has none.
        bank_groups: of a pseudo-channel. banks_per_group: of a group.
        rows: of a bank. bursts_per_row: column commands that read a whole row.
        burst_bytes: moved by one column command.
        devices_per_rank: devices that answer together; a fraction where a pseudo-channel is a part of one.
        density_mbit: of a device, 0 where it does not matter.
    """

    channel_width_bits: int = Field(gt=0)
    pseudo_channels: int = Field(default=1, ge=1, le=4)
    bank_groups: int = Field(ge=1)
    banks_per_group: int = Field(ge=1)
    rows: int = Field(ge=1)
    bursts_per_row: int = Field(ge=1)
    burst_bytes: int = Field(ge=1)
    devices_per_rank: float = Field(default=1, gt=0)
    density_mbit: int = Field(default=0, ge=0)

    @property
    def banks(self) -> int:
        """Banks of a pseudo-channel."""
        return self.bank_groups * self.banks_per_group

    @property
    def row_bytes(self) -> int:
        """Bytes of an open row."""
        return self.bursts_per_row * self.burst_bytes

    @property
    def bursts(self) -> int:
        """Column commands that read the whole channel once."""
        return self.pseudo_channels * self.banks * self.rows * self.bursts_per_row

    @property
    def capacity_bytes(self) -> int:
        """Bytes of the channel."""
        return self.bursts * self.burst_bytes


class CommandBus(Spec):
    """How commands reach the device.

    Attributes:
        row_and_column_separate: ACT, PRE and REF have a bus of their own, shared by the pseudo-channels.
        clock_resolution_ck: smallest command step; 0.5 where PRE may use the falling edge (HBM3, HBM4).
        ACT_ck, PRE_ck, RD_WR_ck: clocks that a command occupies its bus; REF as PRE.
        two_part_activation: ACT is two commands at most tAAD apart (LPDDR5).
        data_clock_sync: a CAS command starts the data clock before RD or WR once it has stopped (LPDDR5 WCK).
    """

    row_and_column_separate: bool = False
    clock_resolution_ck: float = Field(default=1, ge=0.5, le=1)
    ACT_ck: float = Field(default=1, gt=0)
    PRE_ck: float = Field(default=1, gt=0)
    RD_WR_ck: float = Field(default=1, gt=0)
    two_part_activation: bool = False
    data_clock_sync: bool = False


class Timing(Spec):
    """Clocks between commands, by JEDEC name; 0 where a standard has no such rule.

    Attributes:
        tBURST: data bus per column command. tBURST_max: longest column cycle of a bank group, 0: as tBURST.
        tCL, tCWL: read and write latency. tRCDRD, tRCDWR: ACT to RD, WR. tRP: PRE to ACT; tRPab: after PREA, 0: as tRP.
        tRAS: ACT to PRE. tRC: ACT to ACT of a bank. tRTP: RD to PRE. tWR: end of write data to PRE.
        tCCD_S, tCCD_L: column commands, other and same bank group; tCCD_S_WR, tCCD_L_WR: of writes, 0: as reads.
        tRRD_S, tRRD_L: activations. tFAW: window of four activations; t32AW: of 32.
        tWTR_S, tWTR_L: end of write data to RD. tRTW: RD to WR.
        tPPD: PRE to PRE. tRFC, tRFCpb: refresh of all banks, of one. tRREFD: REFpb to ACT of another bank.
        tREFI, tREFIpb: mean interval of refreshes. tAAD: between the halves of an activation, at most.
        tWCKPST: data clock after the last data.
    """

    tBURST: int = Field(gt=0)
    tBURST_max: int = Field(default=0, ge=0)
    tCL: int = Field(gt=0)
    tCWL: int = Field(gt=0)
    tRCDRD: int = Field(gt=0)
    tRCDWR: int = Field(gt=0)
    tRP: int = Field(gt=0)
    tRPab: int = Field(default=0, ge=0)
    tRAS: int = Field(gt=0)
    tRC: int = Field(gt=0)
    tRTP: int = Field(gt=0)
    tWR: int = Field(gt=0)
    tCCD_S: int = Field(gt=0)
    tCCD_L: int = Field(gt=0)
    tCCD_S_WR: int = Field(default=0, ge=0)
    tCCD_L_WR: int = Field(default=0, ge=0)
    tRRD_S: int = Field(gt=0)
    tRRD_L: int = Field(gt=0)
    tFAW: int = Field(gt=0)
    t32AW: int = Field(default=0, ge=0)
    tWTR_S: int = Field(gt=0)
    tWTR_L: int = Field(gt=0)
    tRTW: int = Field(gt=0)
    tPPD: int = Field(default=0, ge=0)
    tRFC: int = Field(gt=0)
    tRFCpb: int = Field(default=0, ge=0)
    tRREFD: int = Field(default=0, ge=0)
    tREFI: int = Field(gt=0)
    tREFIpb: int = Field(default=0, ge=0)
    tAAD: int = Field(default=0, ge=0)
    tWCKPST: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Timing:
        for name, floor, rule in self._rules():
            if getattr(self, name) < floor:
                raise ValueError(f"{name} = {getattr(self, name)} breaks {rule} = {floor}")
        return self

    def _rules(self) -> list[tuple[str, int, str]]:
        """(field, least value, what it follows from): what every device obeys, however it is binned."""
        rules = [
            ("tRC", self.tRAS + self.tRP - ROUNDING_CK, f"tRC >= tRAS + tRP - {ROUNDING_CK} (rounding)"),
            ("tRAS", self.tRCDRD, "tRAS >= tRCDRD"),
            ("tCCD_L", self.tCCD_S, "tCCD_L >= tCCD_S"),
            ("tRRD_L", self.tRRD_S, "tRRD_L >= tRRD_S"),
            ("tWTR_L", self.tWTR_S, "tWTR_L >= tWTR_S"),
            ("tFAW", self.tRRD_S, "tFAW >= tRRD_S"),
            ("tREFI", self.tRFC + self.tRP + 1, "tREFI > tRFC + tRP"),
            ("tRFC", self.tRFCpb, "tRFC >= tRFCpb"),
        ]
        return [(name, floor, rule) for name, floor, rule in rules if floor > 0]


class Currents(Spec):
    """Supply currents of one device, mA, under their JEDEC names, and its supply.

    Attributes:
        vdd_v: supply, V. IDD0: one bank ACT-PRE cycles. IDD2N: standby, all banks closed. IDD3N: standby, banks open.
        IDD4R, IDD4W: reading, writing. IDD5AB: refreshing all banks. IDD5PB: one bank, 0 where not given.
        source: data sheet or file.
    """

    vdd_v: float = Field(gt=0)
    IDD0: float = Field(gt=0)
    IDD2N: float = Field(gt=0)
    IDD3N: float = Field(gt=0)
    IDD4R: float = Field(gt=0)
    IDD4W: float = Field(gt=0)
    IDD5AB: float = Field(gt=0)
    IDD5PB: float = Field(default=0, ge=0)
    source: str


class CommandEnergy(Spec):
    """What a command costs in one pseudo-channel (all its devices), and what standing by does.

    Attributes:
        act_pj: activation and its precharge. read_pj, write_pj: column command, inside the DRAM.
        refresh_pj, refresh_bank_pj: REF, REFpb. open_mw, closed_mw: standby with a bank open, with all banks closed.
        io_pj_per_bit: interface, both ends; 0 where it is counted elsewhere.
        source: where the figures come from.
    """

    act_pj: float = Field(ge=0)
    read_pj: float = Field(ge=0)
    write_pj: float = Field(ge=0)
    refresh_pj: float = Field(ge=0)
    refresh_bank_pj: float = Field(default=0, ge=0)
    open_mw: float = Field(ge=0)
    closed_mw: float = Field(ge=0)
    io_pj_per_bit: float = Field(default=0, ge=0)
    source: str


class DramSpec(Spec):
    """One channel of one speed grade.

    Attributes:
        name: grade, for example ``HBM3-6400``. standard: JEDEC name, for example ``HBM3``.
        source: where organisation and timing come from.
        data_rate_mtps: transfers per second and pin, 1e6. tck_ns: period of the command clock, ns.
        organisation, command_bus, timing: see there.
        currents, energy: at most one of them; without either there is no energy.
    """

    name: str
    standard: str
    source: str
    data_rate_mtps: float = Field(gt=0)
    tck_ns: float = Field(gt=0)
    organisation: Organisation
    command_bus: CommandBus
    timing: Timing
    currents: Currents | None = None
    energy: CommandEnergy | None = None

    @property
    def peak_bytes_per_s(self) -> float:
        """Of all pseudo-channels: a burst every max(tBURST, tCCD_S) clocks."""
        step_ck = max(self.timing.tBURST, self.timing.tCCD_S)
        return self.organisation.pseudo_channels * self.organisation.burst_bytes / (step_ck * self.tck_ns * 1e-9)

    @model_validator(mode="after")
    def _not_above_the_pins(self) -> DramSpec:
        pins = self.organisation.channel_width_bits * self.organisation.pseudo_channels
        rate = self.data_rate_mtps * 1e6 * pins / 8
        if self.peak_bytes_per_s > 1.01 * rate:  # tck_ns is rounded in data sheets
            raise ValueError(
                f"tBURST = {self.timing.tBURST} and burst_bytes = {self.organisation.burst_bytes} give "
                f"{self.peak_bytes_per_s / 1e9:.4g} GB/s, {pins} pins at {self.data_rate_mtps:g} MT/s carry "
                f"{rate / 1e9:.4g} GB/s"
            )
        return self

    def command_energy(self) -> CommandEnergy | None:
        """Energy by command: as given, or from the currents; None without either."""
        return self.energy or (None if self.currents is None else energy_of(self, self.currents))


def energy_of(spec: DramSpec, currents: Currents) -> CommandEnergy:
    """Energy by command from supply currents (JEDEC's definition of IDD; DRAMsim3 counts the same way).

    Currents are of one device, mA; V x mA x ns = pJ. A refresh of one bank without IDD5PB costs its share of REF.
    """
    t, n = spec.timing, spec.organisation.devices_per_rank
    vdd, idd3n = currents.vdd_v, currents.IDD3N
    idle_ck = t.tRC - t.tRAS
    activation = currents.IDD0 * t.tRC - idd3n * t.tRAS - currents.IDD2N * idle_ck
    refresh = vdd * (currents.IDD5AB - idd3n) * t.tRFC * spec.tck_ns * n
    one_bank = vdd * max(0.0, currents.IDD5PB - idd3n) * t.tRFCpb * spec.tck_ns * n
    return CommandEnergy(
        act_pj=vdd * activation * spec.tck_ns * n,
        read_pj=vdd * (currents.IDD4R - idd3n) * t.tBURST * spec.tck_ns * n,
        write_pj=vdd * (currents.IDD4W - idd3n) * t.tBURST * spec.tck_ns * n,
        refresh_pj=refresh,
        refresh_bank_pj=one_bank or refresh / spec.organisation.banks,
        open_mw=vdd * idd3n * n,
        closed_mw=vdd * currents.IDD2N * n,
        source=currents.source,
    )


def parse_dram(data: Mapping[str, Any], where: str = "dram") -> DramSpec:
    """Check plain data and make a specification of it.

    Raises:
        ChipsmithError: an unknown, missing or illegal field, or timings that contradict each other.
    """
    if not isinstance(data, Mapping):
        raise ChipsmithError(where, data if data is not None else "nothing", "a DRAM channel is a mapping of fields")
    parts = {name: _part(data[name], kind, f"{where}.{name}") for name, kind in _OPTIONAL.items() if data.get(name)}
    return _part({**data, **parts}, DramSpec, where)


_OPTIONAL: Mapping[str, type[Spec]] = {"currents": Currents, "energy": CommandEnergy}


def _part(data: Any, kind: type[Part], where: str) -> Part:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise worded(error, where, kind) from None
