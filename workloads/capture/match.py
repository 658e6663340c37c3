"""Finds the patterns of :mod:`workloads.capture.rules` in a flow and puts one node in the place of each match."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import permutations

from workloads.capture.flow import Flow, Node
from workloads.capture.rules import COMMUTATIVE, REGIONS, RULES, WHOLE, Region, Rule


@dataclass(frozen=True, slots=True)
class Term:
    """A pattern: a call with operands, or (without operands and ``call``) a name."""

    name: str
    call: bool
    operands: tuple[Term, ...] = ()


@cache
def parse(pattern: str) -> Term:
    """Read a pattern.

    Raises:
        ValueError: no expression of calls and names.
    """
    return _term(ast.parse(pattern, mode="eval").body)


def _term(node: ast.expr) -> Term:
    if isinstance(node, ast.Name):
        return Term(node.id, False)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        return Term(node.func.id, True, tuple(_term(arg) for arg in node.args))
    raise ValueError(f"a pattern holds calls and names only, not {ast.dump(node)}")


@dataclass(frozen=True, slots=True)
class Match:
    """Names with the values they stand for, and the positions of the calls inside."""

    names: tuple[tuple[str, tuple[int, ...]], ...] = ()
    positions: frozenset[int] = frozenset()

    def bound(self, name: str) -> tuple[int, ...]:
        """Values of a name so far."""
        return dict(self.names).get(name, ())

    def bind(self, name: str, value: int) -> Match:
        """One more value for a name."""
        known = dict(self.names)
        known[name] = (*known.get(name, ()), value) if value not in known.get(name, ()) else known[name]
        return replace(self, names=tuple(known.items()))


def find(flow: Flow, term: Term, value: int, match: Match) -> Iterator[Match]:
    """All ways in which a value is what a term says."""
    if not term.call:
        yield from _name(flow, term.name, value, match)
        return
    position = flow.producer.get(value)
    while position is not None and position in flow.nodes:
        node = flow.nodes[position]
        if node.op == term.name and len(node.inputs) == len(term.operands):
            yield from _operands(flow, term, node, replace(match, positions=match.positions | {position}))
            return
        if position not in flow.layout or len(node.inputs) != 1:
            return
        value = node.inputs[0]
        position = flow.producer.get(value)


def _name(flow: Flow, name: str, value: int, match: Match) -> Iterator[Match]:
    if name[0] == "i":  # indices: may be anything, and count for nothing
        yield match
        return
    if name[0].isupper() != (value in flow.static):
        return
    if name[0] == "K" and not flow.is_buffer(value):
        return
    known = match.bound(name)
    if known and not name[0].isupper() and flow.parts(known[0]) != flow.parts(value):
        return
    yield match.bind(name, value)


def _operands(flow: Flow, term: Term, node: Node, match: Match) -> Iterator[Match]:
    orders: Sequence[tuple[int, ...]] = [node.inputs]
    if term.name in COMMUTATIVE and not node.fused:
        orders = list(permutations(node.inputs))
    for order in orders:
        yield from _each(flow, list(zip(term.operands, order, strict=True)), match)


def _each(flow: Flow, pairs: list[tuple[Term, int]], match: Match) -> Iterator[Match]:
    if not pairs:
        yield match
        return
    (term, value), *rest = pairs
    for found in find(flow, term, value, match):
        yield from _each(flow, rest, found)


def fuse(flow: Flow, rules: Sequence[Rule] = RULES, regions: Sequence[Region] = REGIONS) -> None:
    """Apply all regions, then all rules in their order, to a flow."""
    for region in regions:
        for position, node in list(flow.real()):
            if node.op == region.anchor and position in flow.nodes:
                _grow(flow, region, position)
    for rule in rules:
        term = parse(rule.pattern)
        for position in sorted(position for position, node in flow.nodes.items() if node.op == term.name):
            if position in flow.nodes:
                _apply(flow, rule, term, position)
    _merge_neighbours(flow)


def _apply(flow: Flow, rule: Rule, term: Term, position: int) -> None:
    root = flow.nodes[position]
    if all(out in flow.static for out in root.outputs):
        return
    start = Match((), frozenset({position}))
    for match in _operands(flow, term, root, start) if len(root.inputs) == len(term.operands) else ():
        if _closed(flow, match, position) and _near(flow, rule, match, root):
            flow.replace(position, _fused(rule, match, root), match.positions)
            return


def _closed(flow: Flow, match: Match, root: int) -> bool:
    """Nothing outside needs what is made inside."""
    inside = match.positions
    return all(flow.users(flow.nodes[position].outputs, inside) <= inside for position in inside - {root})


def _near(flow: Flow, rule: Rule, match: Match, root: Node) -> bool:
    above = _depth(root.path)
    return all(_depth(flow.nodes[position].path) - above <= rule.levels for position in match.positions)


def _depth(path: str) -> int:
    return path.count(".") + bool(path)


def _fused(rule: Rule, match: Match, root: Node) -> Node:
    """The node of a match: activations first, then what is known before the step, each in order of appearance."""
    order = sorted(match.names, key=lambda item: item[0][0].isupper())
    first = tuple(values[0] for _, values in order)
    more = tuple(value for name, values in order if not name[0].isupper() for value in values[1:])
    return Node(rule.name, root.path, first, root.outputs, root.attributes, rule.kind, rule.function,
                rule.merge, True, more)  # fmt: skip


def _grow(flow: Flow, region: Region, anchor: int) -> None:
    limit = max(flow.value(value).elements for value in flow.nodes[anchor].inputs)
    inside, todo = {anchor}, [anchor]
    while todo:
        node = flow.nodes[todo.pop()]
        near = flow.users(node.outputs) | _makers(flow, node)
        for position in near - inside - {-1}:
            if _small(flow, flow.nodes[position], limit):
                inside.add(position)
                todo.append(position)
    nodes = [flow.nodes[position] for position in sorted(inside)]
    made = {value for node in nodes for value in node.outputs}
    read = [value for node in nodes for value in node.inputs if not made.intersection(flow.parts(value))]
    outputs = tuple(value for node in nodes for value in node.outputs)
    inputs = tuple(dict.fromkeys(sorted(read, key=lambda value: value in flow.static)))
    top = flow.nodes[anchor]
    whole = Node(region.name, top.path, inputs, outputs, (("top_k", flow.value(nodes_topk(nodes)).shape[-1]),),
                 region.kind, region.function, fused=True)  # fmt: skip
    flow.replace(anchor, whole, inside)


def nodes_topk(nodes: Sequence[Node]) -> int:
    """The value that the last choice writes: what a token is left with."""
    return [node.outputs[0] for node in nodes if node.op == "topk"][-1]


def _makers(flow: Flow, node: Node) -> set[int]:
    parts = {part for value in node.inputs for part in flow.parts(value)}
    return {flow.producer[part] for part in parts if part in flow.producer}


def _small(flow: Flow, node: Node, limit: int) -> bool:
    return node.op not in WHOLE and all(flow.value(value).elements <= limit for value in node.outputs)


def _merge_neighbours(flow: Flow) -> None:
    """Make one node of neighbours whose rule asks for it, in one module, if neither needs the other."""
    last: dict[tuple[str, str], int] = {}
    for position, node in list(flow.real()):
        if not node.merge:
            continue
        before = last.get((node.op, node.path))
        if before is not None and min(flow.users(flow.nodes[before].outputs) - {-1}, default=position) > position:
            first = flow.nodes[before]
            both = replace(
                node,
                inputs=(*first.inputs, *node.inputs),
                outputs=(*first.outputs, *node.outputs),
                views=(*first.views, *node.views),
            )
            flow.replace(position, both, (before,))
        last[node.op, node.path] = position
