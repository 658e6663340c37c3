"""What every engine specification shares."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from workloads.dtypes import DTYPES
from workloads.errors import nearest

_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


_LARGEST = 2**53  # whole numbers up to here are exact in floating point as well


class Spec(BaseModel):
    """A frozen part of a chip; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _numbers_as_meant(cls, data: Any) -> Any:
        """Read ``1e9`` as a number (YAML 1.1 makes it a word) and refuse true or false (``yes``, ``on``) as one."""
        if not isinstance(data, Mapping):
            return data
        return {name: _as_meant(value) if cls._is_number(name) else value for name, value in data.items()}

    @field_validator("*", mode="before")
    @classmethod
    def _countable(cls, value: Any) -> Any:
        """Refuse whole numbers that kernels could not count with."""
        if isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError("must be at most 2**53")
        return value

    @classmethod
    def _is_number(cls, name: Any) -> bool:
        field = cls.model_fields.get(name)
        return field is not None and (field.annotation is int or field.annotation is float)


def _as_meant(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value.strip()) else value


class EngineSpec(Spec):
    """An engine of any family. Families extend this with their own fields.

    Attributes:
        type: family name under which the engine is registered (``systolic``, ``vector``, ...).
        clock_hz: engine clock, Hz.
        memory: name of the chip memory that feeds it.
    """

    type: str
    clock_hz: float = Field(gt=0)
    memory: str = "dram"


def known_format(name: str) -> str:
    """The name of a number format, for field validators.

    Raises:
        ValueError: for an unknown one, with the nearest.
    """
    if name not in DTYPES:
        raise ValueError(nearest(name, DTYPES))
    return name
