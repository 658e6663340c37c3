"""Processing-in-memory devices as data: organisation, timing, units, commands, spacing rules, energies.

A device is one file of models/data/pim. Timing stands under its JEDEC names in memory clocks; the spacing of commands
is a list of rules whose delays are sums of those names, so that a file reads like a data sheet and nothing about a
device is written in code. sim/pim schedules the commands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from models.datafiles import data_names, load_data
from models.engines.base import Spec, known_format
from models.wording import worded
from workloads.dtypes import dtype
from workloads.errors import ChipsmithError, nearest

#: Levels of the hierarchy from the channel down; a rule holds within one node of its level.
LEVELS = ("channel", "pseudo_channel", "rank", "bank_group", "bank")
#: Places that data travels between, from the sense amplifiers outwards; ``array`` is where it starts.
PLACES = ("array", "bank", "bank_group", "buffer_die", "external")
_SUM = re.compile(r"\w+(\s*[+-]\s*\w+)*")
_TERM = re.compile(r"([+-]?)\s*(\w+)")
_COMMAND_FIELDS = ("opened_by", "closed_by")


class Organisation(Spec):
    """What a device is made of.

    Attributes:
        channels: channels that run the same commands side by side.
        pseudo_channels: of a channel, where a command reaches more than one of them; else they count as channels.
        ranks, bank_groups, banks_per_group: of a pseudo-channel, a rank, a group.
        rows: of a bank.
        row_bytes, burst_bytes: of a row; of one column access.
        row_buffers: per bank; the second holds the row that units compute on.
        queue_commands: how far ahead in its queue the controller looks for rows to open.
    """

    channels: int = Field(ge=1)
    pseudo_channels: int = Field(default=1, ge=1)
    ranks: int = Field(default=1, ge=1)
    bank_groups: int = Field(ge=1)
    banks_per_group: int = Field(ge=1)
    rows: int = Field(ge=1)
    row_bytes: int = Field(ge=1)
    burst_bytes: int = Field(ge=1)
    row_buffers: int = Field(default=1, ge=1, le=2)
    queue_commands: int = Field(default=32, ge=1)

    @property
    def banks(self) -> int:
        """Banks of a channel."""
        return self.pseudo_channels * self.ranks * self.bank_groups * self.banks_per_group

    @property
    def bursts_per_row(self) -> int:
        """Column accesses of a row."""
        return self.row_bytes // self.burst_bytes

    @property
    def capacity_bytes(self) -> int:
        """Bytes of all channels."""
        return self.channels * self.banks * self.rows * self.row_bytes


class Unit(Spec):
    """A processing unit beside the memory arrays.

    Attributes:
        place: where it sits, a name of :data:`PLACES`.
        banks: banks that feed one unit.
        lanes: multipliers of a unit.
        dtypes: number formats it multiplies.
        reuse: input vectors that one column access is multiplied with before the next; the column interval grows
            when there are more.
        registers: size of each register file, in entries.
        global_buffer_bytes: input buffer that a channel's units share, 0 = none.
    """

    place: Literal["bank", "bank_group", "buffer_die"]
    banks: int = Field(ge=1)
    lanes: int = Field(ge=1)
    dtypes: tuple[str, ...] = Field(min_length=1)
    reuse: int = Field(default=1, ge=1)
    registers: dict[str, int] = Field(default_factory=dict)
    global_buffer_bytes: int = Field(default=0, ge=0)

    @field_validator("dtypes")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(known_format(name) for name in value)


class Command(Spec):
    """A command of the channel.

    Attributes:
        kind: ``activate`` and ``precharge`` open and close rows, ``column`` accesses open ones, ``data`` moves
            between buffers and the bus, ``control`` moves nothing.
        bus: command bus that carries it; on a device with one bus all say ``column``.
        slots_ck: clocks it occupies that bus.
        opened_by, closed_by: for a column command, what opens and closes its rows.
        buffer: row buffer it uses.
        origin, reach: where its data starts and ends, names of :data:`PLACES`.
        macs: each accessed burst is multiplied.
        done_ck: clocks until what it did is there, as a sum of timing names.
    """

    kind: Literal["activate", "precharge", "refresh", "column", "data", "control"]
    bus: Literal["row", "column"] = "column"
    slots_ck: int = Field(default=1, ge=0)
    opened_by: str = ""
    closed_by: str = ""
    buffer: int = Field(default=0, ge=0, le=1)
    origin: str = "array"
    reach: str = "array"
    macs: bool = False
    done_ck: str = "0"

    @field_validator("origin", "reach")
    @classmethod
    def _place(cls, value: str) -> str:
        if value not in PLACES:
            raise ValueError(nearest(value, PLACES))
        return value


class Rule(Spec):
    """After a command of ``before`` those of ``after`` wait, in the same node of ``level``.

    Attributes:
        before, after: names of commands.
        level: a name of :data:`LEVELS`.
        delay_ck: sum of timing names and whole numbers, such as ``tCWL + tBURST + tWR``.
        window: the delay counts from the command that many times before; 1 = the last one.
    """

    before: tuple[str, ...] = Field(min_length=1)
    after: tuple[str, ...] = Field(min_length=1)
    level: Literal["channel", "pseudo_channel", "rank", "bank_group", "bank"]
    delay_ck: str
    window: int = Field(default=1, ge=1, le=8)


class EnergySet(Spec):
    """A named set of published energies; sets are never mixed.

    Attributes:
        source: where the figures come from.
        act_pj: opening and closing one row of one bank.
        pj_per_bit: from the array to each place of :data:`PLACES`, activation not included.
        mac_pj: one multiply-accumulate.
        refresh_pj: one all-bank refresh of a channel; 0 where the set has none.
        background_w: standby of a channel; 0 where the set has none.
    """

    source: str
    act_pj: float = Field(ge=0)
    pj_per_bit: dict[str, float]
    mac_pj: float = Field(ge=0)
    refresh_pj: float = Field(default=0.0, ge=0)
    background_w: float = Field(default=0.0, ge=0)

    @field_validator("pj_per_bit")
    @classmethod
    def _all_places(cls, value: dict[str, float]) -> dict[str, float]:
        if tuple(value) != PLACES[1:]:
            raise ValueError(f"must list {', '.join(PLACES[1:])} in this order")
        if min(value.values()) < 0:
            raise ValueError("must be at least 0")
        return value

    def bit_pj(self, origin: str, reach: str) -> float:
        """Energy of a bit from one place to another, in either direction."""
        cost = {PLACES[0]: 0.0, **self.pj_per_bit}
        return abs(cost[reach] - cost[origin])


class PimDevice(Spec):
    """A memory that computes.

    Attributes:
        name, description, source: as in the file.
        program: which command sequences it runs, a name that sim/pim knows.
        mac: the command that multiplies what it reads.
        mac_banks, mac_interval_ck: banks of a channel that it reads, and clocks from one to the next at best.
        standard: DRAM standard.
        tck_ns: memory clock.
        organisation, unit, commands, rules, energies: see there.
        timing_ck: clocks by JEDEC name; ``tREFI`` 0 = no refresh.
        refresh: names of the commands that close all rows and refresh.
        options: choices of the design that its programs read.
        notes: what was assumed, by field.
    """

    name: str
    description: str
    source: str
    program: Literal["hbm_pim", "aim", "newton", "attacc"]
    mac: str
    mac_banks: int = Field(ge=1)
    mac_interval_ck: str
    standard: str
    tck_ns: float = Field(gt=0)
    organisation: Organisation
    unit: Unit
    timing_ck: dict[str, int]
    commands: dict[str, Command]
    rules: tuple[Rule, ...]
    refresh: tuple[str, str] = ("PREA", "REF")
    energies: dict[str, EnergySet] = Field(min_length=1)
    options: dict[str, int] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> PimDevice:
        _check_organisation(self.organisation, self.unit)
        _check_timing(self.timing_ck)
        _check_commands(self)
        for rule in self.rules:
            self.clocks(rule.delay_ck)
        return self

    def clocks(self, expression: str) -> int:
        """Value of a sum of timing names and whole numbers.

        Raises:
            ChipsmithError: an unknown name, or a sum below zero.
        """
        if not _SUM.fullmatch(expression):
            raise ChipsmithError(f"pim.{self.name}", expression, "a sum of timing names and whole numbers is required")
        total = sum(
            (-1 if sign == "-" else 1) * (int(word) if word.isdigit() else self._timing(word))
            for sign, word in _TERM.findall(expression)
        )
        if total < 0:
            raise ChipsmithError(f"pim.{self.name}: {expression}", total, "at least 0 clocks")
        return total

    def _timing(self, word: str) -> int:
        if word not in self.timing_ck:
            raise ChipsmithError(f"pim.{self.name}.timing_ck", word, nearest(word, self.timing_ck))
        return self.timing_ck[word]

    def with_timing(self, **clocks: int) -> PimDevice:
        """A checked copy with some timing parameters changed.

        Raises:
            ChipsmithError: an unknown name or an inconsistent timing.
        """
        for word in clocks:
            self._timing(word)
        return self.with_fields({"timing_ck": {**self.timing_ck, **clocks}})

    def with_fields(self, changes: Mapping[str, Any]) -> PimDevice:
        """A checked copy with some top-level fields changed; mappings inside are replaced whole.

        Raises:
            ChipsmithError: an illegal value, with its path.
        """
        return parse_device({**self.model_dump(), **changes})

    def energy_set(self, name: str = "") -> EnergySet:
        """A named set of energies; the first of the file where no name is given.

        Raises:
            ChipsmithError: an unknown name.
        """
        wanted = name or next(iter(self.energies))
        if wanted not in self.energies:
            raise ChipsmithError(f"pim.{self.name}.energies", wanted, nearest(wanted, self.energies))
        return self.energies[wanted]

    @property
    def cycles_per_s(self) -> float:
        """Memory clocks a second."""
        return 1e9 / self.tck_ns

    @property
    def external_bytes_per_ck(self) -> float:
        """Peak of the data buses of all channels, bytes a memory clock."""
        org, timing = self.organisation, self.timing_ck
        return org.channels * org.pseudo_channels * org.burst_bytes / max(timing["tBURST"], timing["tCCD_S"])

    @property
    def internal_bytes_per_ck(self) -> float:
        """Peak of all units, bytes a memory clock that they read from their arrays."""
        org = self.organisation
        return org.channels * self.mac_banks * org.burst_bytes / self.clocks(self.mac_interval_ck)

    def check_format(self, name: str) -> int:
        """Bytes of an element of a format that the units multiply.

        Raises:
            ChipsmithError: an unknown format, or one that the units lack.
        """
        bits = dtype(name).bits
        if name not in self.unit.dtypes:
            raise ChipsmithError("dtype", name, f"{self.name} multiplies {' and '.join(self.unit.dtypes)}")
        return bits // 8


def _check_organisation(org: Organisation, unit: Unit) -> None:
    if org.row_bytes % org.burst_bytes:
        raise ValueError(f"row_bytes {org.row_bytes} must be a multiple of burst_bytes {org.burst_bytes}")
    if org.banks % unit.banks:
        raise ValueError(f"{org.banks} banks of a channel must divide into units of {unit.banks}")


def _check_timing(timing: Mapping[str, int]) -> None:
    """What every data sheet keeps: positive, tRAS within tRC, short delays are not above long ones."""
    for name in ("tCCD_S", "tCCD_L", "tBURST", "tRP", "tRAS", "tRC", "tREFI", "tRFC"):
        if name not in timing:
            raise ValueError(f"timing_ck.{name} is required")
    for name, clocks in timing.items():
        if clocks < 0:
            raise ValueError(f"timing_ck.{name} must be at least 0, not {clocks}")
    for low, high in (("tCCD_S", "tCCD_L"), ("tRRD_S", "tRRD_L"), ("tRAS", "tRC"), ("tRFC", "tREFI")):
        if timing.get(low, 0) > timing.get(high, timing.get(low, 0)) and timing.get(high) != 0:
            raise ValueError(f"timing_ck.{low} {timing[low]} must not exceed {high} {timing[high]}")


def _check_commands(device: PimDevice) -> None:
    named = [(f"commands.{name}.{field}", getattr(command, field)) for name, command in device.commands.items()
             for field in _COMMAND_FIELDS if getattr(command, field)]  # fmt: skip
    named += [("refresh", name) for name in device.refresh] + [("mac", device.mac)]
    named += [(f"rules.{i}", name) for i, rule in enumerate(device.rules) for name in (*rule.before, *rule.after)]
    for where, name in named:
        if name not in device.commands:
            raise ValueError(f"{where} names {name!r}; {nearest(name, device.commands)}")
    if device.clocks(device.mac_interval_ck) < 1:
        raise ValueError(f"mac_interval_ck {device.mac_interval_ck} must be at least 1 clock")
    for name, command in device.commands.items():
        device.clocks(command.done_ck)
        if (command.kind == "column") != bool(command.opened_by and command.closed_by):
            raise ValueError(f"commands.{name}: column commands, and no others, say opened_by and closed_by")


def parse_device(data: Mapping[str, Any]) -> PimDevice:
    """Check plain data and make a device of it.

    Raises:
        ChipsmithError: an unknown, missing, illegal or inconsistent field, with its path.
    """
    name = data.get("name", "device")
    try:
        return PimDevice.model_validate(dict(data))
    except ValidationError as error:
        raise worded(error, f"pim.{name}", PimDevice) from None


def pim_devices() -> list[str]:
    """Names of the shipped devices."""
    return data_names("pim")


@cache
def load_device(name: str) -> PimDevice:
    """A shipped device.

    Raises:
        ChipsmithError: an unknown name, with the nearest known one.
    """
    if name not in pim_devices():
        raise ChipsmithError("pim device", name, nearest(name, pim_devices()))
    return parse_device(_content(name))


def _content(name: str) -> dict[str, Any]:
    """A file with what it is ``like`` underneath and the commands that it includes in front."""
    data = dict(load_data(f"pim/{name}.yaml").content)
    if "like" in data:
        return _merged(_content(data.pop("like")), data)
    shared = load_data(f"pim/shared/{data.pop('include')}.yaml").content
    commands = {**shared["commands"], **data["commands"]}
    return {**data, "commands": commands, "rules": [*shared["rules"], *data["rules"]]}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings merged key by key at every depth; anything else is replaced."""
    both = {key: _merged(below[key], value) if isinstance(below.get(key), Mapping) and isinstance(value, Mapping)
            else value for key, value in above.items()}  # fmt: skip
    return {**below, **both}
