"""What every engine specification shares."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Spec(BaseModel):
    """A frozen part of a chip; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


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
