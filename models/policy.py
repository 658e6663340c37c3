"""How a chip arranges a step over its engines: sub-batches, barriers between stages, work shared by two engines."""

from __future__ import annotations

from pydantic import Field

from models.engines.base import Spec


class PolicySpec(Spec):
    """The arrangement of a step. Which engine takes which operator is the engines' own matter (their order and limits).

    Attributes:
        sub_batches: parts into which the requests of a step are split, so that one part computes on one engine while
            another part's attention runs on another (NeuPIMs, ASPLOS 2024: two). Each part reads the weights.
        stage_barriers: whether all engines wait for each other between the stages of sub-batch interleaving, as the
            published NeuPIMs simulator does; otherwise only dependencies order them.
        head_groups: groups of heads whose projections and attention run as a pipeline (AttAcc, ASPLOS 2024: one group
            a round of heads); 1 = none.
        co_process: engine that takes a share of the feed-forward weights in decode, in proportion to its bandwidth, so
            that both engines work on them at once (AttAcc); empty = none.
    """

    sub_batches: int = Field(default=1, ge=1, le=64)
    stage_barriers: bool = False
    head_groups: int = Field(default=1, ge=1, le=1024)
    co_process: str = ""
