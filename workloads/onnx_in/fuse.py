"""Rewriting before rows are made: what runtimes fuse anyway costs its traffic once.

Passes take and give lists of nodes, each on its own: biases into products, batch norms into convolutions, regions of
element-wise nodes into norms and activations, gates, quantised activations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from workloads.onnx_in.formats import form_of
from workloads.onnx_in.nodes import FUSED, Node, View, words
from workloads.onnx_in.shapes import Values

_PRODUCTS = frozenset({("", "MatMul"), ("", "Gemm"), ("ms", "MatMulNBits"), ("ms", "FusedMatMul")})
_REGION = words(
    "Add Sub Mul Div Pow Sqrt Reciprocal Erf Tanh Sigmoid Cast ReduceMean ReduceSum ReduceSumSquare Neg Abs"
)
_LONGEST = 24


@dataclass(frozen=True)
class Pattern:
    """What a region of element-wise nodes is, told by the operators that occur in it.

    Attributes:
        kind, function: of the row.
        has: operators of which each group must have one.
        lacks: operators that none may be.
        reductions: how many reductions, least and most.
    """

    kind: str
    function: str
    has: tuple[frozenset[str], ...]
    lacks: frozenset[str] = words("Erf Tanh Sigmoid")
    reductions: tuple[int, int] = (0, 0)


def _ops(*groups: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(group.split()) for group in groups)


#: First match wins. Norms: torch's and the exporters' forms (mean of squares, a root, a division or reciprocal).
PATTERNS = (
    Pattern("norm", "layernorm", _ops("Sub", "Sqrt Pow", "Div Reciprocal Mul"), reductions=(2, 2)),
    Pattern("norm", "rmsnorm", _ops("Sqrt Pow", "Div Reciprocal Mul"), reductions=(1, 1)),
    Pattern("elementwise", "gelu", _ops("Erf Tanh", "Mul"), words("Sigmoid")),
    Pattern("elementwise", "silu", _ops("Sigmoid", "Mul"), words("Erf Tanh")),
)


def drop_views(nodes: Sequence[Node], found: Values) -> list[Node]:
    """Nodes that only pass a value on vanish: Identity, Dropout, a Cast to the same type, a Concat of one value."""
    renamed: dict[str, str] = {}
    kept = []
    for node in nodes:
        kept.append(replace(node, inputs=tuple(renamed.get(name, name) for name in node.inputs)))
        source = _passed_on(kept[-1], found)
        if source and node.output(0) not in found.results and not any(node.outputs[1:]):
            renamed[node.output(0)] = source
            kept.pop()
    return kept


def _passed_on(node: Node, found: Values) -> str:
    if node.domain:
        return ""
    if node.op in ("Identity", "Dropout"):
        return node.input(0)
    if node.op == "Cast" and found.types.get(node.input(0)) == found.types.get(node.output(0)):
        return node.input(0)
    if node.op == "Concat" and all(name in found.shapes for name in node.inputs):
        held = [name for name in node.inputs if found.elements(name)]
        empty = [name for name in node.inputs if name not in held and name in found.inputs]  # a cache, not filled yet
        if not held and empty:
            return empty[0]
        return held[0] if len(held) == 1 and not empty else ""
    return ""


def fuse_rope(nodes: Sequence[Node], found: Values) -> list[Node]:
    """Rotary positions written out, ``x * cos + concat(-x2, x1) * sin``, become one row."""
    view = View(nodes, found.results)
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in nodes:
        members = _rope(view, node) if node.key == ("", "Add") else None
        if members is not None:
            turned, plain = members[1], members[0]
            halves = {one.name for one in members[2:]}
            x = next(iter(members[-1].inputs))
            factors = [name for one in (plain, turned) for name in one.inputs if name not in (x, members[2].output(0))]
            attrs = {"kind": "elementwise", "function": "rope"}
            made[node.name] = Node(node.name, "region", FUSED, (x, *factors), node.outputs, attrs)
            gone |= {plain.name, turned.name} | halves
    return [made.get(node.name, node) for node in nodes if node.name not in gone]


def _rope(view: View, add: Node) -> list[Node] | None:
    """The plain product, the turned product, and the concat, negation and slices of the turn."""
    products = [view.writer(name) for name in add.inputs]
    for plain, turned in (products, products[::-1]) if len(products) == 2 else ():
        if plain is None or turned is None or plain.key != ("", "Mul") or turned.key != ("", "Mul"):
            continue
        for name in turned.inputs:
            turn = _turn(view, view.writer(name), plain.inputs)
            inner = None if turn is None else [plain, turned, *turn]
            if inner and all(view.only_reader(one.output(0)) is not None for one in inner):
                return inner
    return None


def _turn(view: View, concat: Node | None, sources: Sequence[str]) -> list[Node] | None:
    """Concat of the negated second half and the first half of one of ``sources``."""
    if concat is None or concat.op != "Concat" or len(concat.inputs) != 2:
        return None
    negated, first = (view.writer(name) for name in concat.inputs)
    second = view.writer(negated.input(0)) if negated is not None and negated.op == "Neg" else None
    if negated is None or first is None or second is None or not first.op == second.op == "Slice":
        return None
    same = first.input(0) == second.input(0) and first.input(0) in sources
    return [concat, negated, second, first] if same else None


def fuse_bias(nodes: Sequence[Node], found: Values) -> list[Node]:
    """A stored vector added to a product becomes its bias."""
    view = View(nodes, found.results)
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in nodes:
        after = view.only_reader(node.output(0)) if node.key in _PRODUCTS and not _biased(node) else None
        if after is None or after.key != ("", "Add") or len(after.inputs) != 2:
            continue
        bias = next((name for name in after.inputs if name != node.output(0)), "")
        if bias and found.fixed(bias) and found.elements(bias) == (found.shape(node.output(0)) or (1,))[-1]:
            made[node.name] = replace(node, outputs=after.outputs[:1], attrs={**node.attrs, "bias": bias})
            gone.add(after.name)
    return [made.get(node.name, node) for node in nodes if node.name not in gone]


def _biased(node: Node) -> bool:
    position = {"Gemm": 2, "MatMulNBits": 5}.get(node.op)
    return position is not None and bool(node.input(position))


def fold_batch_norm(nodes: Sequence[Node], found: Values) -> list[Node]:
    """A batch norm behind a convolution is folded into its weights and bias."""
    view = View(nodes, found.results)
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in nodes:
        after = view.only_reader(node.output(0)) if node.key == ("", "Conv") else None
        if after is not None and after.key == ("", "BatchNormalization") and after.input(0) == node.output(0):
            bias = node.input(2) or after.input(2)
            made[node.name] = replace(node, inputs=(*node.inputs[:2], bias), outputs=after.outputs[:1])
            gone.add(after.name)
    return [made.get(node.name, node) for node in nodes if node.name not in gone]


def fuse_regions(nodes: Sequence[Node], found: Values) -> list[Node]:
    """Norms and activations written out in element-wise nodes become one row each."""
    view = View(nodes, found.results)
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in reversed(nodes):
        if node.name in gone or node.domain or node.op not in _REGION:
            continue
        region = _region(view, found, node)
        if region is not None:
            made[node.name] = region[0]
            gone.update(region[1])
    return [made.get(node.name, node) for node in nodes if node.name in made or node.name not in gone]


def _region(view: View, found: Values, last: Node) -> tuple[Node, set[str]] | None:
    """The largest known region that ends in a node and depends on one computed value."""
    members = {last.name: last}
    best = None
    while len(members) <= _LONGEST:
        outside = _outside(found, members)
        if len(outside) == 1:
            pattern = _known(found, members, outside[0], last)
            if pattern is not None:
                best = _fused(found, last, members, outside[0], pattern), set(members)
        following = _expandable(view, outside, members)
        if following is None:
            break
        members[following.name] = following
    return best


def _outside(found: Values, members: dict[str, Node]) -> list[str]:
    inside = {name for node in members.values() for name in node.outputs}
    names = (name for node in members.values() for name in node.inputs)
    return [name for name in dict.fromkeys(names) if name and name not in inside and not found.fixed(name)]


def _expandable(view: View, outside: list[str], members: dict[str, Node]) -> Node | None:
    """The latest node in front of the region that may join: all that read it are in the region."""
    for name in sorted(outside, key=lambda one: view.index.get(one, -1), reverse=True):
        node = view.writer(name)
        if node is None or node.domain or node.op not in _REGION or name in view.results:
            continue
        if all(reader.name in members for reader in view.readers(name)):
            return node
    return None


def _known(found: Values, members: dict[str, Node], source: str, last: Node) -> Pattern | None:
    ops = [node.op for node in members.values()]
    reduced = [node for node in members.values() if node.op.startswith("Reduce")]
    if found.elements(source) != found.elements(last.output(0)) or not found.shape(source):
        return None
    rows = prod(found.shape(source)[:-1])
    if any(found.elements(node.output(0)) != rows for node in reduced) or not _meets_twice(members, source):
        return None
    for pattern in PATTERNS:
        low, high = pattern.reductions
        right = low <= len(reduced) <= high and pattern.lacks.isdisjoint(ops)
        if right and all(group.intersection(ops) for group in pattern.has):
            return pattern
    return None


def _meets_twice(members: dict[str, Node], source: str) -> bool:
    """Whether a value is read at two places of a region, as the root of a norm or an activation is."""
    readers = [node for node in members.values() if source in node.inputs]
    if len(readers) == 1 and readers[0].op == "Cast":
        return _meets_twice(members, readers[0].output(0))
    return len(readers) > 1


def _fused(found: Values, last: Node, members: dict[str, Node], source: str, pattern: Pattern) -> Node:
    width = found.shape(source)[-1]
    params = {name for node in members.values() for name in node.inputs if name and found.fixed(name)}
    gains = sorted(name for name in params if found.elements(name) in (width, found.elements(source)) and width > 1)
    attrs = {"kind": pattern.kind, "function": pattern.function}
    return Node(last.name, "region", FUSED, (source, *gains), last.outputs[:1], attrs)


def fuse_gates(nodes: Sequence[Node], found: Values) -> list[Node]:
    """SiLU of one value times another becomes one gated activation."""
    view = View(nodes, found.results)
    made: dict[str, Node] = {}
    gone: set[str] = set()
    for node in nodes:
        silu = node.attrs.get("function") == "silu" if node.domain == FUSED else node.op == "Swish"
        after = view.only_reader(node.output(0)) if silu else None
        if after is None or after.key != ("", "Mul") or len(set(after.inputs)) != 2:
            continue
        other = next(name for name in after.inputs if name != node.output(0))
        if not found.fixed(other) and found.shape(other) == found.shape(node.output(0)):
            attrs = {"kind": "elementwise", "function": "silu_mul"}
            made[after.name] = Node(after.name, "region", FUSED, (node.input(0), other), after.outputs, attrs)
            gone.add(node.name)
    return [made.get(node.name, node) for node in nodes if node.name not in gone]


def fold_quantise(nodes: Sequence[Node], found: Values) -> tuple[list[Node], dict[str, str]]:
    """Values that are quantised as soon as they are written are written in that format.

    Returns:
        The nodes, with the QuantizeLinear folded into what writes its input, and the formats of those values.
        Dequantised values stand for their quantised ones (a view), so that what reads them reads few bits.
    """
    view = View(nodes, found.results)
    forms: dict[str, str] = {}
    kept = []
    for node in nodes:
        source, out = node.input(0), node.output(0)
        if node.op == "QuantizeLinear" and out in found.types and view.only_reader(source) is node:
            writer = view.writer(source)
            if writer is not None and writer.op not in ("DequantizeLinear", "Reshape", "Identity"):
                forms[source] = form_of(found.types[out])
                kept.append(replace(node, op="Identity", domain="", inputs=(source,)))
                continue
        kept.append(node)
    return kept, forms
