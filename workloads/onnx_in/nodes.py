"""Nodes of a graph as plain values that rewriting passes can drop, join and replace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Shape = tuple[int, ...]
FUSED = "fused"
_DOMAINS = {"ai.onnx": "", "com.microsoft": "ms"}


@dataclass(frozen=True)
class Node:
    """One operator of the graph.

    Attributes:
        name: readable name, unique.
        op: operator type.
        domain: "" (ONNX), ``ms`` (com.microsoft), ``fused`` (made by a rewriting pass), else as in the file.
        inputs: value names; "" where an optional one is left out.
        outputs: value names; "" where one is not wanted.
        attrs: attributes as Python values.
    """

    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, object] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """Domain and operator type."""
        return self.domain, self.op

    def input(self, index: int) -> str:
        """An input by position, "" where there is none."""
        return self.inputs[index] if index < len(self.inputs) else ""

    def output(self, index: int) -> str:
        """An output by position, "" where there is none."""
        return self.outputs[index] if index < len(self.outputs) else ""

    def number(self, name: str, default: int = 0) -> int:
        """A whole attribute.

        Raises:
            ValueError: it is none.
        """
        value = self.attrs.get(name, default)
        if not isinstance(value, int):
            raise ValueError(f"attribute {name} is no whole number")
        return value

    def numbers(self, name: str) -> list[int]:
        """A list of whole numbers, empty where it is missing.

        Raises:
            ValueError: it is none.
        """
        value = self.attrs.get(name, [])
        if not isinstance(value, Sequence) or not all(isinstance(item, int) for item in value):
            raise ValueError(f"attribute {name} is no list of whole numbers")
        return list(value)


def words(text: str) -> frozenset[str]:
    """A set of operator names from one text."""
    return frozenset(text.split())


def domain_of(name: str) -> str:
    """Short name of an operator domain."""
    return _DOMAINS.get(name, name)


class View:
    """Who writes and who reads each value of a list of nodes."""

    def __init__(self, nodes: Sequence[Node], results: Iterable[str]) -> None:
        self.results = frozenset(results)
        self.index: dict[str, int] = {}
        self._readers: dict[str, list[int]] = {}
        self.nodes = nodes
        for number, node in enumerate(nodes):
            for name in node.outputs:
                self.index[name] = number
            for name in dict.fromkeys(node.inputs):
                self._readers.setdefault(name, []).append(number)

    def writer(self, name: str) -> Node | None:
        """The node that writes a value."""
        number = self.index.get(name) if name else None
        return None if number is None else self.nodes[number]

    def readers(self, name: str) -> list[Node]:
        """The nodes that read a value."""
        return [self.nodes[number] for number in self._readers.get(name, ())]

    def only_reader(self, name: str) -> Node | None:
        """The node that reads a value, where it is the only one and the value is no result of the graph."""
        readers = self._readers.get(name, ())
        return self.nodes[readers[0]] if len(readers) == 1 and name not in self.results else None


def live(nodes: Sequence[Node], results: Iterable[str]) -> list[Node]:
    """The nodes that some result depends on, in order."""
    wanted = set(results)
    kept = []
    for node in reversed(nodes):
        if wanted.intersection(name for name in node.outputs if name):
            kept.append(node)
            wanted.update(node.inputs)
    return kept[::-1]
