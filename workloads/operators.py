"""Rows of a trace: operators with their segments, the tensors between them, the blocks that repeat.

A GEMM is ``m x k`` activations times ``k x n`` weights; ``m`` (tokens) comes from the operator's segments, because
tokens are what is ragged. MACs and bytes are properties of the row, defined here and nowhere else.

Sparsity. ``macs`` counts the dense operator, ``effective_macs`` what its patterns leave to do, ``issued_macs`` what an
engine without sparse arithmetic executes: it leaves out whole blocks of attention scores, for that is a shorter loop,
and nothing else. Bytes are those that memory holds: weights compressed with their index
(workloads/transforms/patterns.py has the formats), activations dense.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from workloads.dtypes import dtype, element_bits, format_bytes, scale_bits, stored_bytes
from workloads.transforms.patterns import Pattern, parse_pattern

KINDS = ("gemm", "attention", "softmax", "norm", "elementwise", "scan", "gather", "collective")
PHASES = ("prefill", "decode", "mixed")
ROLES = ("weight", "activation", "kv", "state", "input", "output")
DERIVED = (
    "tokens",
    "pieces",
    "macs",
    "effective_macs",
    "weight_bytes",
    "input_bytes",
    "output_bytes",
    "kv_read_bytes",
    "kv_write_bytes",
)
_BIAS_BITS_MIN = 16


@dataclass(frozen=True, slots=True)
class Segment:
    """A group of equal pieces of an operator.

    Attributes:
        new_tokens: tokens processed by one piece in this step (GEMM: rows m).
        context: tokens already in the KV cache of one piece before this step.
        multiplicity: number of equal pieces (requests, or experts with this many tokens).
        placement: expert or KV-channel placement, -1 where none is given.
    """

    new_tokens: int
    context: int = 0
    multiplicity: int = 1
    placement: int = -1

    def visible_pairs(self, window: int, causal: bool) -> int:
        """(query, key) pairs of one piece: causal, and clipped to a sliding ``window`` where > 0."""
        total = self.context + self.new_tokens
        if not causal:
            return self.new_tokens * (min(total, window) if window > 0 else total)
        if window <= 0 or total <= window:
            return self.new_tokens * self.context + self.new_tokens * (self.new_tokens + 1) // 2
        ramp = min(self.new_tokens, max(0, window - self.context))  # queries that still see everything
        return ramp * self.context + ramp * (ramp + 1) // 2 + (self.new_tokens - ramp) * window

    def keys_read(self, window: int) -> int:
        """Distinct keys that one piece reads: the whole context and itself, or what the window can reach."""
        total = self.context + self.new_tokens
        return min(total, window + self.new_tokens - 1) if window > 0 else total


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor by id (its position in ``Trace.tensors``).

    Attributes:
        name: unique readable name.
        role: one of ``ROLES``.
        elements: number of elements in one block iteration.
        dtype: format name.
        bytes: stored bytes, scales included.
        producer: row of the operator that writes it, -1 for weights, caches and trace inputs.
        last_use: row of the last operator that reads it, -1 if none.
    """

    name: str
    role: str
    elements: int
    dtype: str
    bytes: int
    producer: int = -1
    last_use: int = -1


@dataclass(frozen=True, slots=True)
class Block:
    """A run of consecutive operators that repeats ``count`` times (layers).

    Attributes:
        name: readable name.
        count: iterations.
        carried: (tensor written by one iteration, tensor read by the next) id pairs.
    """

    name: str
    count: int = 1
    carried: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """One row of the trace. Fields that a kind does not use stay 0 (or empty).

    Attributes:
        name: readable name, unique within the trace, e.g. ``layer.q_proj``.
        kind: one of ``KINDS``.
        block: index into ``Trace.blocks``; operators of one block are consecutive rows.
        segments: the ragged dimension, see :class:`Segment`.
        k, n: GEMM inner dimension and output features.
        per_segment_weights: every piece of every segment has its own weights (experts, heads).
        heads, kv_heads, qk_dim, v_dim: attention; scan uses heads, qk_dim (head dim) and v_dim (state size).
        kv_width: elements that the KV cache (or scan state, per request) holds per token and layer.
        window: sliding window in tokens, 0 = none.
        causal: causal mask (attention).
        function: softmax / rmsnorm / layernorm / silu_mul / gelu / relu / add / rope / copy / embedding /
            topk / conv1d / ssd ... or the collective (all_reduce, all_gather, reduce_scatter, all_to_all).
        width_in: features read per token (all inputs together); vector and collective kinds. Attention: features
            read beside q and this step's ``kv_width`` (keys and values expanded from a latent cache).
        width_out: features written per token.
        param_width: parameter elements read once (norm gain, bias; GEMM: bias of each weight matrix); gather:
            parameter elements read per token.
        ranks: participants of a collective.
        act, weight, kv, out: format names of activations, weights, KV cache and output.
        weight_group, kv_group: elements that share one 16-bit scale, 0 = none.
        weight_is_param: the second GEMM operand is a parameter.
        cached_weights: parameter elements of a GEMM that are on the chip already and are not read again.
        sparsity: ``dense``, ``N:M`` (``2:4``), ``block:RxC@density`` or ``unstructured@density``: of the weights of
            a GEMM (k is the first side), of the scores of attention (queries are).
        act_sparsity: the same of a GEMM's activations: the share of them, or of its results, that matters.
        phase: one of ``PHASES``.
        device_group: name of the device group that runs it.
        inputs, outputs: tensor ids.
    """

    name: str
    kind: str
    block: int
    segments: tuple[Segment, ...]
    k: int = 0
    n: int = 0
    per_segment_weights: bool = False
    heads: int = 0
    kv_heads: int = 0
    qk_dim: int = 0
    v_dim: int = 0
    kv_width: int = 0
    window: int = 0
    causal: bool = True
    function: str = ""
    width_in: int = 0
    width_out: int = 0
    param_width: int = 0
    ranks: int = 1
    act: str = "fp16"
    weight: str = "fp16"
    kv: str = "fp16"
    out: str = "fp16"
    weight_group: int = 0
    kv_group: int = 0
    weight_is_param: bool = True
    cached_weights: int = 0
    sparsity: str = "dense"
    act_sparsity: str = "dense"
    phase: str = "prefill"
    device_group: str = "all"
    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens processed in this step, all segments."""
        return sum(s.new_tokens * s.multiplicity for s in self.segments)

    @property
    def pieces(self) -> int:
        """Requests (or experts) over all segments."""
        return sum(s.multiplicity for s in self.segments)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one iteration. Scan: two per state element and token (update and read-out)."""
        if self.kind == "gemm":
            return self.tokens * self.k * self.n
        if self.kind == "attention":
            pairs = sum(s.visible_pairs(self.window, self.causal) * s.multiplicity for s in self.segments)
            return self.heads * pairs * (self.qk_dim + self.v_dim)
        if self.kind == "scan":
            return 2 * self.tokens * self.heads * self.qk_dim * self.v_dim
        return 0

    @property
    def pattern(self) -> Pattern:
        """The parsed ``sparsity``."""
        return parse_pattern(self.sparsity)

    @property
    def effective_macs(self) -> int:
        """Multiply-accumulates that the sparsity patterns leave, rounded up; ``macs`` where everything is dense.

        GEMM: tokens x kept weights x share of the activations. Attention: the kept pairs.
        """
        if self.kind == "gemm":
            kept = self.pattern.kept(self.k, self.n) if self.weight_is_param else self.k * self.n
            return math.ceil(self.tokens * kept * parse_pattern(self.act_sparsity).share)
        if self.kind == "attention" and self.pattern.kind != "block":
            return math.ceil(self.macs * self.pattern.share)
        return self.issued_macs

    @property
    def issued_macs(self) -> int:
        """Multiply-accumulates of an engine that knows no sparsity: dense, but for whole blocks of scores."""
        if self.kind != "attention" or self.pattern.kind != "block":
            return self.macs
        return self.heads * sum(self.pairs(s) * s.multiplicity for s in self.segments) * (self.qk_dim + self.v_dim)

    def pairs(self, segment: Segment) -> int:
        """(query, key) pairs that a loop over blocks of scores runs for one piece of attention."""
        visible = segment.visible_pairs(self.window, self.causal)
        blocks, kept = self._key_blocks(segment)
        return -(-visible * kept // blocks)

    def keys(self, segment: Segment) -> int:
        """Distinct keys that one piece of attention reads: where all its queries share a row of blocks, the kept."""
        keys, pattern = segment.keys_read(self.window), self.pattern
        if pattern.kind != "block" or segment.new_tokens > pattern.rows:
            return keys
        return min(keys, max(segment.new_tokens, self._key_blocks(segment)[1] * pattern.cols))

    def _key_blocks(self, segment: Segment) -> tuple[int, int]:
        """(blocks along the keys, blocks kept of them) for a row of blocks; one block where the pattern has none."""
        pattern = self.pattern
        if pattern.kind != "block":
            return 1, 1
        blocks = -(-segment.keys_read(self.window) // pattern.cols)
        return blocks, math.ceil(blocks * pattern.density)

    @property
    def score_map_bits(self) -> int:
        """Bits that say which blocks of scores attention keeps, for each head and piece."""
        pattern = self.pattern
        if self.kind != "attention" or pattern.kind != "block" or pattern.is_full:
            return 0
        rows = ((-(-s.new_tokens // pattern.rows), s) for s in self.segments)
        return self.heads * sum(count * self._key_blocks(s)[0] * s.multiplicity for count, s in rows)

    @property
    def weight_copies(self) -> int:
        """Weight matrices that a GEMM reads: one, or one for each piece."""
        return self.pieces if self.per_segment_weights else 1

    @property
    def bias_elements(self) -> int:
        """Bias elements that a GEMM reads; stored in the output format, at 16 bits or more."""
        return self.param_width * self.weight_copies if self.kind == "gemm" else 0

    @property
    def weight_elements(self) -> int:
        """Parameter elements read in one iteration (experts: of the experts touched), biases included."""
        if self.kind == "gemm":
            return (self.k * self.n * self.weight_copies if self.weight_is_param else 0) + self.bias_elements
        if self.kind == "gather":
            return self.tokens * self.param_width
        return self.param_width

    @property
    def weight_bytes(self) -> int:
        """Bytes of parameters read in one iteration, scales and the index of a sparsity pattern included."""
        bias = stored_bytes(self.bias_elements, max(_BIAS_BITS_MIN, dtype(self.out).bits))
        return -(-self._matrix_bits // 8) + bias

    @property
    def _matrix_bits(self) -> int:
        """Bits of parameters without biases; of a compressed matrix the share that is not on the chip yet."""
        form, elements = dtype(self.weight), self.weight_elements - self.bias_elements
        if self.kind != "gemm" or not elements or self.pattern.is_full:
            left = elements - self.cached_weights
            return element_bits(left, form) + scale_bits(left, form, self.weight_group)
        bits = self.pattern.stored_bits(self.k, self.n, self.weight_copies, form, self.weight_group)
        return -(-bits * (elements - self.cached_weights) // elements)

    @property
    def input_elements(self) -> int:
        """Activation elements read (the KV cache is counted apart)."""
        if self.kind == "gemm":
            second = 0 if self.weight_is_param else self.k * self.n * (self.pieces if self.per_segment_weights else 1)
            return self.tokens * self.k + second
        if self.kind == "attention":
            return self.tokens * (self.heads * self.qk_dim + self.kv_width + self.width_in)
        return self.tokens * self.width_in

    @property
    def output_elements(self) -> int:
        """Activation elements written (the KV cache is counted apart)."""
        if self.kind == "gemm":
            return self.tokens * self.n
        if self.kind == "attention":
            return self.tokens * self.heads * self.v_dim
        return self.tokens * self.width_out

    @property
    def input_bytes(self) -> int:
        """Bytes of activations read, and the map of kept blocks of scores."""
        return format_bytes(self.input_elements, self.act) + -(-self.score_map_bits // 8)

    @property
    def output_bytes(self) -> int:
        """Bytes of activations written."""
        return format_bytes(self.output_elements, self.out)

    @property
    def kv_read_bytes(self) -> int:
        """Bytes of KV cache read from memory: the earlier context (this step's tokens are inputs).

        Scan: the state of every request, once.
        """
        if self.kind == "scan":
            return format_bytes(self.pieces * self.kv_width, self.kv, self.kv_group)
        if self.kind != "attention":
            return 0
        past = sum(max(0, self.keys(s) - s.new_tokens) * s.multiplicity for s in self.segments)
        return format_bytes(past * self.kv_width, self.kv, self.kv_group)

    @property
    def kv_write_bytes(self) -> int:
        """Bytes appended to the KV cache; scan: the state written back."""
        if self.kind == "scan":
            return self.kv_read_bytes
        return format_bytes(self.tokens * self.kv_width, self.kv, self.kv_group) if self.kind == "attention" else 0

    @property
    def kv_elements_before(self) -> int:
        """Elements of the KV cache before this step, clipped to the window; scan: of the state."""
        if self.kind == "scan":
            return self.pieces * self.kv_width
        return self._held(before=True) * self.kv_width if self.kind == "attention" else 0

    @property
    def kv_cached_bytes(self) -> int:
        """Bytes that one iteration keeps between steps: the KV cache with this step's tokens, or the scan's state."""
        if self.kind != "attention":
            return self.kv_write_bytes
        return format_bytes(self._held(before=False) * self.kv_width, self.kv, self.kv_group)

    def _held(self, before: bool) -> int:
        """Tokens in the cache before the step, or after it."""
        totals = ((s.context + (0 if before else s.new_tokens), s.multiplicity) for s in self.segments)
        return sum((min(total, self.window) if self.window else total) * count for total, count in totals)
