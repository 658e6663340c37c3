"""Shapes of operators that ONNX itself does not know: com.microsoft's, as ONNX Runtime documents them.

Source: ONNX Runtime, ``docs/ContribOperators.md``. A rule gives (shape, element type) of each output in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.onnx_in.nodes import Node, Shape

if TYPE_CHECKING:
    from workloads.onnx_in.shapes import Values

Facts = tuple[Shape, int]
Rule = Callable[[Node, "Values"], list[Facts]]
_FLOAT, _UINT8 = 1, 2


def _facts(found: Values, name: str, shape: Shape | None = None) -> Facts:
    return (found.shape(name) if shape is None else shape), found.types[name]


def _same(node: Node, found: Values) -> list[Facts]:
    return [_facts(found, node.input(0))]


def _broadcast(left: int, right: int) -> Rule:
    def rule(node: Node, found: Values) -> list[Facts]:
        shapes = [found.shape(node.input(index)) for index in (left, right)]
        rank = max(map(len, shapes))
        padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
        return [_facts(found, node.input(left), tuple(map(max, *padded)))]

    return rule


def _skip_norm(node: Node, found: Values) -> list[Facts]:
    """Normed values, mean, inverse deviation, and the sum before the norm."""
    facts = _facts(found, node.input(0))
    rows = ((*facts[0][:-1], 1), _FLOAT)
    return [facts, rows, rows, facts]


def _product(left: int, right: int, float_out: bool = False) -> Rule:
    def rule(node: Node, found: Values) -> list[Facts]:
        a, b = found.shape(node.input(left)), found.shape(node.input(right))
        rows = a[-1] if node.number("transA") else a[-2]
        cols = b[-2] if node.number("transB") else b[-1]
        batch = a[:-2] if len(a) >= len(b) else b[:-2]
        return [((*batch, rows, cols), _FLOAT if float_out else found.types[node.input(left)])]

    return rule


def _n_bits(node: Node, found: Values) -> list[Facts]:
    a = found.shape(node.input(0))
    if not a or a[-1] != node.number("K"):
        raise ValueError(f"its input has shape {a}, legal: K = {node.number('K')} last")
    return [_facts(found, node.input(0), (*a[:-1], node.number("N")))]


def _blocks(node: Node, found: Values) -> list[Facts]:
    """GatherBlockQuantized along axis 0: rows of a quantised table; two 4-bit values share a byte."""
    data, indices = found.shape(node.input(0)), found.shape(node.input(1))
    packed = 8 // node.number("bits", 4) if found.types[node.input(0)] == _UINT8 else 1
    return [((*indices, *data[1:-1], data[-1] * packed), found.types[node.input(2)])]


def _group_query(node: Node, found: Values) -> list[Facts]:
    q = found.shape(node.input(0))
    heads, kv_heads = node.number("num_heads"), node.number("kv_num_heads")
    head_dim = q[2] // heads if node.input(1) else q[2] // (heads + 2 * kv_heads)
    facts = [_facts(found, node.input(0), (q[0], q[1], heads * head_dim))]
    if not node.input(3):
        return [*facts, *[_facts(found, node.input(0), (q[0], kv_heads, q[1], head_dim))] * 2]
    past = found.shape(node.input(3))
    grown = (*past[:2], past[2] + q[1], *past[3:])
    return [*facts, *[_facts(found, node.input(3), grown)] * 2]


def _multi_head(node: Node, found: Values) -> list[Facts]:
    q, heads = found.shape(node.input(0)), node.number("num_heads")
    if len(q) == 5:  # query, key and value side by side: batch, tokens, heads, 3, head
        width = q[2] * q[4]
        keys = q[1]
    else:
        k = found.shape(node.input(1))
        keys = k[2] if len(k) == 4 else k[1]
        width = q[2]
        v = found.shape(node.input(2)) if node.input(2) else ()
        if v:
            width = v[2] if len(v) == 3 else v[1] * v[3]
    past = found.shape(node.input(6))[2] if node.input(6) else 0
    present = _facts(found, node.input(0), (q[0], heads, past + keys, width // heads))
    return [_facts(found, node.input(0), (q[0], q[1], width)), present, present]


def _projected(node: Node, found: Values) -> list[Facts]:
    """com.microsoft's Attention, which holds the projection of q, k and v."""
    x, weights = found.shape(node.input(0)), found.shape(node.input(1))
    sizes = node.numbers("qkv_hidden_sizes") or [weights[1] // 3] * 3
    heads = node.number("num_heads")
    past = found.shape(node.input(4))[3] if node.input(4) else 0
    present = _facts(found, node.input(0), (2, x[0], heads, past + x[1], sizes[1] // heads))
    return [_facts(found, node.input(0), (x[0], x[1], sizes[2])), present]


def _flat(node: Node, found: Values) -> list[Facts]:
    """QuantizeLinear of com.microsoft takes its type from the zero point."""
    zero = node.input(2)
    return [(found.shape(node.input(0)), found.types[zero] if zero else _UINT8)]


def _dequantised(node: Node, found: Values) -> list[Facts]:
    return [(found.shape(node.input(0)), found.types[node.input(1)])]


def _quick_norm(node: Node, found: Values) -> list[Facts]:
    facts = _facts(found, node.input(0))
    axis = node.number("axis", -1) % max(1, len(facts[0]))
    return [facts, ((*facts[0][:axis], *(1 for _ in facts[0][axis:])), _FLOAT)]


CONTRIB: dict[str, Rule] = {
    "Attention": _projected,
    "BiasAdd": _same,
    "BiasGelu": _same,
    "DequantizeLinear": _dequantised,
    "FastGelu": _same,
    "FusedMatMul": _product(0, 1),
    "GatherBlockQuantized": _blocks,
    "Gelu": _same,
    "GroupNorm": _same,
    "GroupQueryAttention": _group_query,
    "MatMulIntegerToFloat": _product(0, 1, float_out=True),
    "DynamicQuantizeMatMul": _product(0, 1, float_out=True),
    "MatMulNBits": _n_bits,
    "MultiHeadAttention": _multi_head,
    "QLinearAdd": _broadcast(0, 3),
    "QLinearLeakyRelu": _same,
    "QLinearMul": _broadcast(0, 3),
    "QLinearSigmoid": _same,
    "QuantizeLinear": _flat,
    "QuickGelu": _same,
    "RotaryEmbedding": _same,
    "SimplifiedLayerNormalization": _quick_norm,
    "SkipLayerNormalization": _skip_norm,
    "SkipSimplifiedLayerNormalization": _skip_norm,
}
