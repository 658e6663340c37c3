"""Attention written out as MatMul, Softmax, MatMul becomes one row.

Found from its Softmax: back through scaling, masking, soft-capping and casts to the product of queries and keys, on
through dropout to the product with values. Head splits and merges (transposes), KV heads copied for grouped queries
(Expand) and appends to a cache (Concat with an input of the graph) belong to the row. Every value in between must
have no other reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from workloads.onnx_in.attention import Heads
from workloads.onnx_in.nodes import FUSED, Node, Shape, View, words
from workloads.onnx_in.shapes import Values

_SCORES = words("Add Sub Mul Div Where Cast Tanh Max Clip Identity")
_AFTER = words("Cast Dropout Identity")
_THROUGH = words("Transpose Reshape Unsqueeze Squeeze Expand Tile Identity Cast Mul Div")
CACHE_RANK = 4


@dataclass
class _Match:
    """One attention while it is being traced."""

    softmax: Node
    gone: list[Node] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)
    queries: Shape = ()  # before heads of a group were laid side by side as rows


@dataclass(frozen=True)
class _Operand:
    """Keys or values behind the product: this step's value, the cache in front of it, KV heads copied how often."""

    step: str
    cache: str = ""
    present: str = ""
    copies: int = 1
    past: int = 0


def fuse_attention(nodes: Sequence[Node], found: Values) -> list[Node]:
    """The nodes with every pattern found replaced by one, at the place of its last product."""
    view = View(nodes, found.results)
    gone: set[str] = set()
    made: dict[str, Node] = {}
    for node in nodes:
        fused = _attention(view, found, node) if node.key == ("", "Softmax") else None
        if fused is not None:
            last, joined, removed = fused
            made[last.name] = joined
            gone.update(one.name for one in removed)
    return [made.get(node.name, node) for node in nodes if node.name in made or node.name not in gone]


def _attention(view: View, found: Values, softmax: Node) -> tuple[Node, Node, list[Node]] | None:
    match = _Match(softmax)
    scores = _back(view, found, softmax.input(0), match)
    values = _on(view, softmax, match)
    if scores is None or values is None:
        return None
    q_shape, k_shape, v_shape = (found.shape(n) for n in (scores.input(0), scores.input(1), values.input(1)))
    sizes = _sizes(q_shape, k_shape, v_shape)
    if sizes is None:
        return None
    q = _operand(view, found, scores.input(0), match, keep_heads=True)
    k = _operand(view, found, scores.input(1), match)
    v = _operand(view, found, values.input(1), match)
    if k.copies != v.copies or k.past != v.past or sizes.heads % k.copies:
        return None
    sizes = _unfolded(replace(sizes, kv_heads=sizes.heads // k.copies), match.queries)
    sizes = replace(
        sizes,
        past=k.past,
        keys=sizes.keys - k.past,
        causal=not found.triangles.isdisjoint(match.masks),
        cached=bool(k.cache),
    )
    return _joined(view, match, (scores, values), sizes, (q, k, v))


def _joined(
    view: View, match: _Match, products: tuple[Node, Node], sizes: Heads, operands: tuple[_Operand, ...]
) -> tuple[Node, Node, list[Node]]:
    last, out = products[1], products[1].output(0)
    merge = view.only_reader(out)
    if merge is not None and merge.key == ("", "Transpose"):
        last, out = merge, merge.output(0)
    q, k, v = operands
    caches = [one.cache for one in (k, v) if one.cache]
    inputs = (q.step, k.step, v.step, *caches, *dict.fromkeys(match.masks))
    attrs: dict[str, object] = {"sizes": sizes, "steps": 3, "caches": len(caches)}
    node = Node(products[1].name, "attention", FUSED, inputs, (out, k.present, v.present), attrs)
    return last, node, [*match.gone, *products, match.softmax, last]


def _sizes(q: Shape, k: Shape, v: Shape) -> Heads | None:
    """Sizes from q (.., queries, features), transposed k (.., features, keys) and v (.., keys, features)."""
    if not 3 <= len(q) == len(k) == len(v) or q[-1] != k[-2] or k[-1] != v[-2] or q[:-2] != k[:-2] or q[:-2] != v[:-2]:
        return None
    if 0 in (*q, *k, *v):
        return None
    return Heads(prod(q[:-3]), q[-2], k[-1], 0, q[-3], q[-3], q[-1], v[-1])


def _unfolded(sizes: Heads, queries: Shape) -> Heads:
    """Heads and queries where the heads of a group stand as rows beside each other (grouped queries of one token)."""
    if len(queries) != CACHE_RANK or queries[0] != sizes.requests or queries[3] != sizes.qk_dim:
        return sizes
    heads, new = queries[1:3]
    same = heads * new == sizes.heads * sizes.new
    return replace(sizes, heads=heads, new=new) if same and heads % sizes.kv_heads == 0 else sizes


def _back(view: View, found: Values, name: str, match: _Match) -> Node | None:
    """The product of queries and keys behind the scores."""
    if view.only_reader(name) is None and not _guarded(view, name):
        return None
    node = view.writer(name)
    if node is None:
        return None
    if node.key == ("", "MatMul"):
        return None if any(map(found.fixed, node.inputs)) else node
    if node.domain or node.op not in _SCORES or node.output(0) != name:
        return None
    for source in node.inputs:
        if found.fixed(source) or found.shape(source) != found.shape(name):
            continue
        here = len(match.gone), len(match.masks)
        product = _back(view, found, source, match)
        if product is not None:
            match.gone.append(node)
            match.masks.extend(other for other in node.inputs if other and other != source)
            return product
        del match.gone[here[0] :], match.masks[here[1] :]
    return None


def _guarded(view: View, name: str) -> bool:
    """Whether two readers are the guard against rows without any key: IsNaN and the Where that it steers."""
    readers = view.readers(name)
    if name in view.results or len(readers) != 2:
        return False
    guard, where = sorted(readers, key=lambda node: node.op)
    return guard.op == "IsNaN" and where.op == "Where" and view.only_reader(guard.output(0)) == where


def _on(view: View, softmax: Node, match: _Match) -> Node | None:
    """The product of the weights with the values."""
    name = softmax.output(0)
    while True:
        if _guarded(view, name):
            guard, where = sorted(view.readers(name), key=lambda node: node.op)
            match.gone.extend((guard, where))
            name = where.output(0)
            continue
        node = view.only_reader(name)
        if node is None:
            return None
        if node.key == ("", "MatMul"):
            return node if node.input(0) == name and node.input(1) != name else None
        if node.domain or node.op not in _AFTER:
            return None
        match.gone.append(node)
        name = node.output(0)


def _operand(view: View, found: Values, name: str, match: _Match, keep_heads: bool = False) -> _Operand:
    """Walk back from an operand to the value that the step brings."""
    copies, cache, present, past = 1, "", "", 0
    while (node := view.writer(name)) is not None and not node.domain:
        if node.op == "Concat" and not cache and not keep_heads:
            split = _append(found, node)
            if split is None:
                break
            cache, step, past = split
            present = name
            match.gone.append(node)
            name = step
            continue
        source = _source(found, node)
        if view.only_reader(name) is None or not source:
            break
        grown = found.elements(name) // max(1, found.elements(source))
        if grown > 1 and (keep_heads or cache):
            break
        if keep_heads and node.op == "Reshape" and len(found.shape(source)) == CACHE_RANK:
            match.queries = found.shape(source)
        copies *= max(1, grown)
        match.gone.append(node)
        name = source
    return _Operand(name, cache, present, copies, past)


def _source(found: Values, node: Node) -> str:
    """The computed input of a node that only moves, casts or scales it."""
    if node.op not in _THROUGH:
        return ""
    moving = [name for name in node.inputs if name and not found.fixed(name)]
    return moving[0] if len(moving) == 1 else ""


def _append(found: Values, node: Node) -> tuple[str, str, int] | None:
    """Cache, new part and length of the cache, where a Concat appends to an input of the graph."""
    if len(node.inputs) != 2 or node.input(0) not in found.inputs:
        return None
    cache, step = node.inputs
    axis = node.number("axis")
    shape = found.shape(cache)
    return (cache, step, shape[axis]) if len(shape) == CACHE_RANK else None
