"""Memory controllers as named data: how requests wait and which command goes first."""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from models.datafiles import load_data
from models.engines.base import Spec
from models.wording import worded
from workloads.errors import ChipsmithError, nearest

_FILE = "dram/policies/controllers.yaml"


class ControllerPolicy(Spec):
    """A controller.

    Attributes:
        name: of the policy. description: one line. source: where it is described.
        queues: ``read_write`` one queue of reads and one of writes for the channel; ``per_bank`` a queue of commands
            for every bank, behind the same two.
        read_entries, write_entries: requests that wait in the two queues. bank_entries: in a bank's queue.
        drain_start, drain_stop: fill levels of the write queue (0..1) between which writes go before reads.
        row_policy: ``open`` keeps a row open; ``closed`` closes it after the last waiting hit (``per_bank``: always).
        row_hit_limit: hits after which a waiting other row may close a row, 0: no limit.
        refresh: which banks at a time. refresh_blocks: a waiting refresh stops all ordinary requests of the channel.
    """

    name: str
    description: str = ""
    source: str = ""
    queues: Literal["read_write", "per_bank"] = "read_write"
    read_entries: int = Field(default=32, ge=1, le=256)
    write_entries: int = Field(default=32, ge=1, le=256)
    bank_entries: int = Field(default=8, ge=1, le=64)
    drain_start: float = Field(default=0.8, gt=0, le=1)
    drain_stop: float = Field(default=0.2, ge=0, lt=1)
    row_policy: Literal["open", "closed"] = "open"
    row_hit_limit: int = Field(default=0, ge=0)
    refresh: Literal["all-bank", "per-bank", "none"] = "all-bank"
    refresh_blocks: bool = True

    @model_validator(mode="after")
    def _drain_falls(self) -> ControllerPolicy:
        if self.drain_stop >= self.drain_start:
            raise ValueError(f"drain_stop = {self.drain_stop:g} must be below drain_start = {self.drain_start:g}")
        return self

    def changed(self, **fields: object) -> ControllerPolicy:
        """A checked copy with some fields changed.

        Raises:
            ChipsmithError: an unknown field or an illegal value.
        """
        return parse_policy({**self.model_dump(), **fields}, f"policy.{self.name}")


def parse_policy(data: dict[str, object], where: str = "policy") -> ControllerPolicy:
    """Check plain data and make a policy of it.

    Raises:
        ChipsmithError: an unknown, missing or illegal field.
    """
    try:
        return ControllerPolicy.model_validate(data)
    except ValidationError as error:
        raise worded(error, where, ControllerPolicy) from None


def list_policies() -> list[str]:
    """Names of the shipped policies."""
    return list(load_data(_FILE).content)


@cache
def load_policy(name: str) -> ControllerPolicy:
    """A shipped policy.

    Raises:
        ChipsmithError: an unknown name (nearest offered).
    """
    content = load_data(_FILE).content
    if name not in content:
        raise ChipsmithError("policy", name, nearest(name, content))
    return parse_policy({"name": name, **content[name]}, f"policy.{name}")
