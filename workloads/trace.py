"""The Trace: an ordered table of operators with dependencies, segments, repeated blocks and tensors.

Conventions. A segment of an attention or scan operator is a group of equal requests; of a GEMM with
``per_segment_weights`` (experts) a group of experts that see equally many tokens; of any other operator the single row
of all tokens. Rows, and their MACs and bytes, are in workloads/operators.py; transformations (``with_...``) in
workloads/transforms, one file each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING

from workloads.errors import ChipsmithError, nearest
from workloads.operators import DERIVED, KINDS, PHASES, ROLES, Block, Operator, Segment, Tensor

if TYPE_CHECKING:
    import pandas as pd

__all__ = ("DERIVED", "KINDS", "PHASES", "ROLES", "SCHEMA_VERSION", "Block", "Operator", "Segment", "Tensor", "Trace")

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Trace:
    """Operators in execution order, with their tensors and repeated blocks.

    Attributes:
        name: readable name.
        ops: rows in order; rows of one block are consecutive and blocks appear in order.
        tensors: by id.
        blocks: by index.
        meta: facts about the origin (model, batch, precision, tensor parallel degree, schema version).
    """

    name: str
    ops: tuple[Operator, ...]
    tensors: tuple[Tensor, ...] = ()
    blocks: tuple[Block, ...] = (Block("all"),)
    meta: Mapping[str, object] = field(default_factory=dict)

    def _sum(self, attribute: str) -> int:
        return sum(getattr(op, attribute) * self.blocks[op.block].count for op in self.ops)

    @cached_property
    def macs(self) -> int:
        """Multiply-accumulates, all iterations."""
        return self._sum("macs")

    @cached_property
    def effective_macs(self) -> int:
        """Multiply-accumulates that sparsity leaves, all iterations."""
        return self._sum("effective_macs")

    @cached_property
    def weight_bytes(self) -> int:
        """Bytes of parameters read in this step, all iterations (experts: only those touched)."""
        return self._sum("weight_bytes")

    @cached_property
    def kv_read_bytes(self) -> int:
        """Bytes of KV cache read, all iterations."""
        return self._sum("kv_read_bytes")

    @cached_property
    def resident_bytes(self) -> int:
        """Bytes that must stay in memory: all parameters and the KV cache after this step.

        Taken from ``meta`` (``parameter_bytes``: experts not touched count too; ``kv_cache_bytes``) where the
        builder knows them, else from what the step reads and writes.
        """
        kv = self.meta.get("kv_cache_bytes", self.kv_read_bytes + self._sum("kv_write_bytes"))
        weights = self.meta.get("parameter_bytes", self.weight_bytes)
        return int(str(kv)) + int(str(weights))

    def check(self) -> Trace:
        """Refuse an illegal trace; returns itself, so that calls can be chained.

        Raises:
            ChipsmithError: naming the row and the reason; the rules are those of workloads/trace_check.py.
        """
        from workloads.trace_check import check_trace

        check_trace(self)
        return self

    def with_meta(self, **facts: object) -> Trace:
        """A copy with some facts of ``meta`` added or changed."""
        return replace(self, meta={**self.meta, **facts})

    @property
    def expected_tokens(self) -> float:
        """Tokens that one step yields on average: fewer than it processes where it verifies a draft."""
        return float(str(self.meta.get("expected_tokens", self.meta.get("tokens", self.ops[0].tokens))))

    @property
    def steps_per_token(self) -> float:
        """Decode steps that a request takes for one token on average: fewer than 1 where drafts are verified."""
        if "expected_tokens" not in self.meta:
            return 1.0
        return int(str(self.meta["requests"])) / self.expected_tokens

    def with_quantization(
        self,
        weights: str = "",
        activations: str = "",
        kv: str = "",
        *,
        weight_group: int = 0,
        kv_group: int = 0,
        only: str | Sequence[str] = (),
        except_: str | Sequence[str] | None = None,
    ) -> Trace:
        """Other number formats; MACs stay. See workloads/transforms/quantization.py.

        Args:
            weights, activations, kv: format names (workloads/dtypes.py); empty = as they are.
            weight_group, kv_group: elements that share one 16-bit scale, 0 = none but the format's own.
            only, except_: shell patterns of row names; ``except_`` = None leaves out embedding, lm_head and routers.

        Raises:
            ChipsmithError: unknown format or row, nothing to change, a weight shared with a row that is left out.
        """
        from workloads.transforms.quantization import quantize

        groups = {"weight_group": weight_group, "kv_group": kv_group}
        return quantize(self, weights, activations, kv, **groups, only=only, except_=except_)

    def with_sparsity(
        self,
        weights: str = "",
        *,
        activations: str = "",
        attention: str = "",
        only: str | Sequence[str] = (),
        except_: str | Sequence[str] | None = None,
    ) -> Trace:
        """Sparse weights, activations or attention scores. See workloads/transforms/pruning.py.

        Args:
            weights, activations, attention: patterns (workloads/transforms/patterns.py), for example ``2:4``,
                ``block:64x64@0.25``, ``unstructured@0.5``; empty = as they are.
            only, except_: shell patterns of row names; ``except_`` = None leaves out embedding, lm_head and routers.

        Raises:
            ChipsmithError: no pattern, unknown row, a row that has another pattern already.
        """
        from workloads.transforms.pruning import prune

        return prune(self, weights, activations=activations, attention=attention, only=only, except_=except_)

    def with_active_neurons(
        self,
        density: float,
        *,
        union: float | None = None,
        window: int = 0,
        fresh: float | None = None,
        predictor: int = 0,
        only: str | Sequence[str] = (),
        except_: str | Sequence[str] | None = None,
    ) -> Trace:
        """Feed-forward networks that run only their active neurons. See workloads/transforms/neurons.py.

        Args:
            density: share of the neurons that one token activates.
            union: share that any token of the step activates; None = of independent tokens.
            window: tokens whose neurons are still on the chip, 0 = none.
            fresh: share of the neurons read from memory; None = of independent tokens.
            predictor: rank of a low-rank predictor before each network, 0 = none.
            only, except_: shell patterns of the names of down projections.

        Raises:
            ChipsmithError: a share outside (0, 1], no such network, a network that is sparse already.
        """
        from workloads.transforms.neurons import activate

        shares = {"union": union, "fresh": fresh}
        return activate(self, density, **shares, window=window, predictor=predictor, only=only, except_=except_)

    def with_kv_eviction(
        self,
        window: int,
        *,
        sinks: int = 0,
        heavy: int = 0,
        only: str | Sequence[str] = (),
        except_: str | Sequence[str] | None = None,
    ) -> Trace:
        """A KV cache of sinks and a window, or with heavy hitters. See workloads/transforms/eviction.py.

        Args:
            window: latest tokens that are kept, the query's own included.
            sinks: first tokens that are kept.
            heavy: heavy hitters that are kept beside them; 0 = sinks and window only, for prompts too.
            only, except_: shell patterns of the names of attention rows.

        Raises:
            ChipsmithError: no attention row, a window below 1, a row that expands the whole cache.
        """
        from workloads.transforms.eviction import evict

        return evict(self, window, sinks=sinks, heavy=heavy, only=only, except_=except_)

    def with_kv_compression(
        self,
        kv: str = "",
        *,
        group: int = 0,
        rank_k: int = 0,
        rank_v: int = 0,
        only: str | Sequence[str] = (),
        except_: str | Sequence[str] | None = None,
    ) -> Trace:
        """A KV cache of fewer bits, of lower rank, or both. See workloads/transforms/low_rank.py.

        Args:
            kv, group: format of the cache and elements that share one scale; empty = as it is.
            rank_k, rank_v: dimensions of a KV head's keys and values in the cache; 0 = all.
            only, except_: shell patterns of the names of attention rows.

        Raises:
            ChipsmithError: nothing to do, no attention row, a rank above the head's, a cache of latents.
        """
        from workloads.transforms.low_rank import compress

        return compress(self, kv, group, rank_k, rank_v, only=only, except_=except_)

    def with_speculation(
        self, draft_tokens: int, acceptance: float, draft: Trace | None = None, *, shared: bool = False
    ) -> Trace:
        """A step that verifies drafted tokens, behind the steps that draft. See workloads/transforms/speculation.py.

        Args:
            draft_tokens: k, tokens drafted for each request; the step verifies k + 1.
            acceptance: chance that a drafted token is accepted.
            draft: a decode step of the drafting model with as many requests; None = drafting costs nothing.
            shared: the draft's weights and cache are the model's own.

        Raises:
            ChipsmithError: no decode step, other numbers of requests, an acceptance outside 0 to 1.
        """
        from workloads.transforms.speculation import speculate

        return speculate(self, draft_tokens, acceptance, draft, shared=shared)

    def with_early_exit(self, layers: int | Mapping[int, float], *, check: bool = False) -> Trace:
        """Tokens that leave before the last layer. See workloads/transforms/early_exit.py.

        Args:
            layers: after which layer all leave; or layer to the share of the tokens that leave there.
            check: every exit runs the final norm and the head of those that came so far.

        Raises:
            ChipsmithError: no such layer, shares that do not sum to 1, a distribution for a prompt.
        """
        from workloads.transforms.early_exit import exit_early

        return exit_early(self, layers, check=check)

    def with_sub_batches(self, parts: int, *, stages: bool = False) -> Trace:
        """The requests of the step in parts that run side by side. See workloads/transforms/sub_batches.py.

        Args:
            parts: how many; every row is done so often, for a share of the requests each.
            stages: all engines wait for each other between the stages of NeuPIMs' simulator; two parts only.

        Raises:
            ChipsmithError: more parts than requests, no row that keeps a cache, a step that is split already.
        """
        from workloads.transforms.sub_batches import split_step

        return split_step(self, parts, stages)

    def with_token_blocks(self, tokens: int) -> Trace:
        """Matrix products a block of tokens at a time, weights kept. See workloads/transforms/token_blocks.py.

        Args:
            tokens: of a block; only the first block reads the weights from memory.

        Raises:
            ChipsmithError: fewer than 1 token.
        """
        from workloads.transforms.token_blocks import in_blocks

        return in_blocks(self, tokens)

    def with_placement(self, channels: Sequence[tuple[int, int, int]]) -> Trace:
        """Requests on given memory channels. See workloads/transforms/placement.py.

        Args:
            channels: (new tokens, context, channel) of every request of the step; halves of a channel's list keep it.

        Raises:
            ChipsmithError: other requests than those of the step.
        """
        from workloads.transforms.placement import placed

        return placed(self, channels)

    def with_counts(self, counts: Mapping[str, int]) -> Trace:
        """A copy in which the named blocks repeat as often as given.

        Raises:
            ChipsmithError: a name that is no block.
        """
        names = [block.name for block in self.blocks]
        for name in counts:
            if name not in names:
                raise ChipsmithError("trace.blocks", name, nearest(name, names))
        return replace(self, blocks=tuple(replace(b, count=counts.get(b.name, b.count)) for b in self.blocks))

    def rows_of(self, name: str) -> tuple[Operator, ...]:
        """Operators of the block with this name."""
        return tuple(op for op in self.ops if self.blocks[op.block].name == name)

    def op(self, name: str) -> Operator:
        """The operator with this name.

        Raises:
            ChipsmithError: there is none, with the nearest known one.
        """
        for row in self.ops:
            if row.name == name:
                return row
        raise ChipsmithError("trace.ops", name, nearest(name, [row.name for row in self.ops]))

    def to_frame(self) -> pd.DataFrame:
        """One row an operator: its fields, block name and count, tokens, MACs and bytes of one iteration.

        Segments stand in :meth:`segments_frame`; here is only their number.
        """
        import pandas as pd

        names = [f.name for f in fields(Operator) if f.name != "segments"]
        return pd.DataFrame([self._record(op, names) for op in self.ops])

    def _record(self, op: Operator, names: list[str]) -> dict[str, object]:
        block = self.blocks[op.block]
        own = {name: getattr(op, name) for name in names}
        derived = {name: getattr(op, name) for name in DERIVED}
        return {**own, "block_name": block.name, "count": block.count, "segments": len(op.segments), **derived}

    def segments_frame(self) -> pd.DataFrame:
        """One row a segment: row and name of the operator, new tokens, context, multiplicity, placement."""
        import pandas as pd

        names = [f.name for f in fields(Segment)]
        rows = [
            (row, op.name, *(getattr(segment, name) for name in names))
            for row, op in enumerate(self.ops)
            for segment in op.segments
        ]
        return pd.DataFrame(rows, columns=["row", "op", *names])
