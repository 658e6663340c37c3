"""Small chips, operators and traces of the simulator's tests, fixed and random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from models.chip import Chip, ChipTable, parse_chip
from sim.engine import Array, op_rows
from sim.engines.systolic import ENGINE
from sim.lower import lower
from workloads.trace import Block, Operator, Segment, Tensor, Trace

NPU: dict[str, Any] = {
    "type": "systolic",
    "clock_hz": 1e9,
    "rows": 8,
    "cols": 8,
    "dataflows": ["ws", "os", "is"],
    "spad_bytes": 8192,
    "accum_bytes": 4096,
}
VECTOR: dict[str, Any] = {"type": "vector", "clock_hz": 1e9, "units": 2, "lanes": 16}
MEMORY: dict[str, Any] = {
    "standard": "HBM2",
    "capacity_bytes": 2**40,
    "bandwidth_bytes_per_s": 64e9,
    "latency_s": 2e-8,
    "streaming_efficiency": 0.9,
    "stream_interference": 0.2,
}
LINK: dict[str, Any] = {"bandwidth_bytes_per_s": 5e10, "latency_s": 1e-6}


def chip(
    npu: Mapping[str, Any] | None = None,
    memory: Mapping[str, Any] | None = None,
    vector: Mapping[str, Any] | None = None,
    *,
    with_vector: bool = True,
    with_link: bool = True,
) -> Chip:
    """A small three-dataflow NPU with a vector engine and a link; arguments replace single fields."""
    engines = {"npu": {**NPU, **(npu or {})}}
    if with_vector:
        engines["vector"] = {**VECTOR, **(vector or {})}
    return parse_chip(
        {
            "name": "small",
            "technology": {"node_nm": 7},
            "engines": engines,
            "memories": {"dram": {**MEMORY, **(memory or {})}},
            "links": {"ici": LINK} if with_link else {},
        }
    )


def gemm(m: int, k: int, n: int, name: str = "gemm", **more: Any) -> Operator:
    return Operator(name, "gemm", 0, (Segment(m),), k=k, n=n, **more)


def experts(sizes: Mapping[int, int], k: int, n: int, name: str = "experts", **more: Any) -> Operator:
    """A GEMM with weights of its own for every piece; ``sizes`` = tokens to number of such experts."""
    segments = tuple(Segment(tokens, 0, copies) for tokens, copies in sizes.items())
    return Operator(name, "gemm", 0, segments, k=k, n=n, per_segment_weights=True, **more)


def attention(*segments: Segment, name: str = "attention", heads: int = 4, kv_heads: int = 2, **more: Any) -> Operator:
    dims = {"qk_dim": 16, "v_dim": 16, **more}
    width = kv_heads * (dims["qk_dim"] + dims["v_dim"])
    return Operator(name, "attention", 0, segments, heads=heads, kv_heads=kv_heads, kv_width=width, **dims)


def vector(kind: str, function: str, tokens: int, width: int, name: str = "vector", **more: Any) -> Operator:
    return Operator(name, kind, 0, (Segment(tokens),), function=function, width_in=width, width_out=width, **more)


def collective(function: str, tokens: int, width: int, ranks: int, name: str = "collective") -> Operator:
    return vector("collective", function, tokens, width, name, ranks=ranks)


def chain(*ops: Operator, counts: tuple[int, ...] = (1,), name: str = "chain") -> Trace:
    """Each operator reads what the one before it wrote; a repeated block's first operator reads the last's output.

    Operators name their block by index; ``counts`` gives the repeats of each block.
    """
    tensors = [Tensor("in", "input", 1, "fp16", 2)]
    tensors += [Tensor(f"{op.name}.out", "activation", 1, "fp16", 2, producer=row) for row, op in enumerate(ops)]
    linked = tuple(replace(op, inputs=(row,), outputs=(row + 1,)) for row, op in enumerate(ops))
    blocks = tuple(Block(f"b{b}", count, _carried(linked, b)) for b, count in enumerate(counts))
    return Trace(name, linked, tuple(tensors), blocks)


def _carried(ops: tuple[Operator, ...], block: int) -> tuple[tuple[int, int], ...]:
    mine = [row for row, op in enumerate(ops) if op.block == block]
    return ((mine[-1] + 1, mine[0]),)


def row_of(op: Operator) -> Any:
    """The single operator row of an operator."""
    (row,) = lower(chain(op)).ops
    return row


def rows_of(*ops: Operator) -> Array:
    return lower(chain(*ops)).ops if ops else op_rows(0)


def params_of(spec: Chip) -> Any:
    """Parameters of the matrix engine."""
    return ENGINE.pack(ChipTable(spec), "engines.npu")[0]


FORMATS = st.sampled_from(["int4", "int8", "fp16", "fp32"])
SIDES = st.sampled_from([2, 4, 8, 16])


@st.composite
def npus(draw: st.DrawFn) -> dict[str, Any]:
    """Fields of a random matrix engine."""
    flows = draw(st.lists(st.sampled_from(["ws", "os", "is"]), min_size=1, max_size=3, unique=True))
    return {
        "cores": draw(st.sampled_from([1, 2, 3, 4, 8])),
        "arrays": draw(st.sampled_from([1, 1, 2, 4])),
        "rows": draw(SIDES),
        "cols": draw(SIDES),
        "clock_hz": draw(st.sampled_from([5e8, 1e9, 1.7e9])),
        "dataflows": flows,
        "spad_bytes": draw(st.sampled_from([2048, 8192, 65536])),
        "accum_bytes": draw(st.sampled_from([0, 1024, 16384])),
        "weight_buffer_bytes": draw(st.sampled_from([0, 0, 4096])),
        "double_buffered": draw(st.booleans()),
        "preload": draw(st.sampled_from(["overlapped", "serial"])),
        "weight_reuse_rows": draw(st.sampled_from([0, 0, 4, 16])),
        "min_issue_cycles": draw(st.sampled_from([1, 4])),
        "first_preload_extra_cycles": draw(st.sampled_from([0, 7])),
        "mac_pipe": draw(st.sampled_from([0, 3])),
        "drain_cycles": draw(st.sampled_from([0, 8, 40])),
        "spad_port_bytes": draw(st.sampled_from([0, 0, 4, 64])),
        "store_by_block": draw(st.booleans()),
    }


@st.composite
def memories(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "bandwidth_bytes_per_s": draw(st.sampled_from([1e9, 16e9, 64e9, 1e12])),
        "latency_s": draw(st.sampled_from([0.0, 6e-8])),
        "request_bytes": draw(st.sampled_from([1, 32, 64])),
        "streaming_efficiency": draw(st.sampled_from([0.5, 0.88, 1.0])),
        "stream_interference": draw(st.sampled_from([0.0, 0.18, 0.6])),
    }


@st.composite
def vectors(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "units": draw(st.sampled_from([1, 2, 5])),
        "lanes": draw(st.sampled_from([2, 8, 128])),  # one lane: test_vector.py
        "exp_cycles": draw(st.sampled_from([1, 4])),
    }


@st.composite
def chips(draw: st.DrawFn) -> Chip:
    """A random chip with a matrix engine, a vector engine (mostly) and a link."""
    with_vector = draw(st.integers(0, 5)) > 0
    return chip(draw(npus()), draw(memories()), draw(vectors()), with_vector=with_vector)


@st.composite
def gemms(draw: st.DrawFn) -> Operator:
    size = st.integers(1, 100)
    formats = {name: draw(FORMATS) for name in ("act", "weight", "out")}
    group = draw(st.sampled_from([0, 0, 32]))
    if draw(st.booleans()):
        return gemm(draw(size), draw(size), draw(size), weight_group=group, **formats)
    sizes = draw(st.dictionaries(st.integers(1, 40), st.integers(1, 5), min_size=1, max_size=3))
    return experts(sizes, draw(size), draw(size), weight_is_param=draw(st.booleans()), **formats)


@st.composite
def attentions(draw: st.DrawFn) -> Operator:
    """Prefill, decode and mixed; grouped heads; windows; causal or not."""
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    segments = draw(
        st.lists(
            st.builds(Segment, st.sampled_from([1, 1, 7, 64]), st.sampled_from([0, 5, 300]), st.integers(1, 4)),
            min_size=1,
            max_size=3,
        )
    )
    return attention(
        *segments,
        heads=kv_heads * draw(st.sampled_from([1, 4, 7])),
        kv_heads=kv_heads,
        qk_dim=draw(st.sampled_from([8, 24, 64])),
        v_dim=draw(st.sampled_from([8, 16])),
        window=draw(st.sampled_from([0, 0, 16])),
        causal=draw(st.booleans()),
        act=draw(FORMATS),
        out=draw(FORMATS),
        kv=draw(FORMATS),
        kv_group=draw(st.sampled_from([0, 16])),
    )


@st.composite
def vector_ops(draw: st.DrawFn) -> Operator:
    kind, function = draw(
        st.sampled_from(
            [("softmax", "softmax"), ("norm", "rmsnorm"), ("norm", "layernorm"), ("elementwise", "silu_mul"),
             ("elementwise", "add"), ("elementwise", "rope"), ("gather", "embedding")]
        )
    )  # fmt: skip
    op = vector(kind, function, draw(st.integers(1, 50)), draw(st.integers(1, 300)), act=draw(FORMATS))
    return replace(op, param_width=draw(st.sampled_from([0, 64])))


@st.composite
def collectives(draw: st.DrawFn) -> Operator:
    name = draw(st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]))
    return collective(name, draw(st.integers(1, 50)), draw(st.integers(1, 300)), draw(st.sampled_from([2, 3, 8])))


@st.composite
def traces(draw: st.DrawFn, with_vector: bool = True) -> Trace:
    """A chain of one to five operators in one block that repeats."""
    kinds = [gemms(), attentions(), collectives()] + ([vector_ops()] if with_vector else [])
    ops = draw(st.lists(st.one_of(*kinds), min_size=1, max_size=5))
    named = [replace(op, name=f"op{row}") for row, op in enumerate(ops)]
    return chain(*named, counts=(draw(st.sampled_from([1, 2, 5])),))
