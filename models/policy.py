"""How a chip arranges a step over its engines: sub-batches, barriers between stages, work shared by two engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.engines.base import Spec


class PolicySpec(Spec):
    """The arrangement of a step. Which engine takes which operator is the engines' own matter (their order and limits).

    Attributes:
        sub_batches: parts into which the requests of a decode step are split, so that one part computes on one engine
            while another part's attention runs on another (NeuPIMs, ASPLOS 2024: two). Each part reads the weights. A
            step of fewer requests gets as many parts as requests; a prefill stays whole.
        sub_batch_requests: least requests of a step that is split; below, the weights that every part reads cost more
            than the overlap gains.
        stage_barriers: whether all engines wait for each other between the stages of sub-batch interleaving, as the
            published NeuPIMs simulator does; otherwise only dependencies order them.
        token_block: tokens that a matrix product takes at a time while the chip keeps its weights, as that simulator
            does; 0 = the mapping chooses.
        head_groups: groups of heads whose projections and attention run as a pipeline (AttAcc, ASPLOS 2024: one group
            a round of heads); 1 = none.
        co_process: engine that takes a share of some rows, so that it and the engine that would run them work on them
            at once and end together (AttAcc, Duplex); empty = none.
        co_process_parts: rows that it takes a share of: ``ffn`` feed-forward weights of decode by columns (AttAcc),
            ``experts`` those with the fewest tokens, ``attention`` of requests that decode beside prompts (Duplex,
            MICRO 2024).
    """

    sub_batches: int = Field(default=1, ge=1, le=64)
    sub_batch_requests: int = Field(default=1, ge=1)
    stage_barriers: bool = False
    token_block: int = Field(default=0, ge=0)
    head_groups: int = Field(default=1, ge=1, le=1024)
    co_process: str = ""
    co_process_parts: tuple[Literal["ffn", "experts", "attention"], ...] = ("ffn",)
