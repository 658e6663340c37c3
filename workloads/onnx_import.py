"""ONNX models as traces: ``read_onnx``.

The graph is read without its weights, its dimensions are bound, shapes are inferred, what runtimes fuse is fused, and
every node becomes rows (docs/formats.md lists them). Operators that are not known are refused by name, never ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workloads.batch import is_decode
from workloads.errors import ChipsmithError
from workloads.onnx_in.importer import Importer
from workloads.onnx_in.nodes import Node, live
from workloads.onnx_in.shapes import Values
from workloads.trace import SCHEMA_VERSION, Operator, Trace

if TYPE_CHECKING:
    import onnx

_CACHE_INPUTS = {("ms", "GroupQueryAttention"): (3, 4), ("ms", "MultiHeadAttention"): (6, 7), ("ms", "Attention"): (4,)}
_CACHE_INPUTS |= {("", "Attention"): (4, 5), ("", "TensorScatter"): (0,)}


def read_onnx(path: str | Path, *, dims: Mapping[str, int] | None = None, allow_unknown: bool = False) -> Trace:
    """The operators of one run of an ONNX model.

    Args:
        path: the model; weights inside or beside it are not read.
        dims: values of symbolic dimensions, by name; ``input[axis]`` for one that has none.
        allow_unknown: let operators that are not known be copies of their inputs, listed in ``meta["unknown"]``.

    Returns:
        A checked trace of one block; ``meta`` holds the origin, bound dimensions, ``parameters`` and
        ``parameter_bytes``, ``kv_cache_bytes``, ``narrowed`` (64-bit types counted in 32 bits) and ``unknown``.

    Raises:
        ChipsmithError: no such file or a damaged one, a free dimension (with its name), unknown operators (all of
            them), shapes that do not fit.
        MissingToolError: onnx is not installed.
    """
    from workloads.onnx_in.load import load_model
    from workloads.onnx_in.shapes import infer

    file = Path(path)
    model = load_model(file)
    bound = dict(dims or {})
    with _refusing(str(path)):
        nodes, found = infer(model, bound, file, allow_unknown)
        nodes = _named_apart(live(nodes, found.results))
        unknown = _unknown(nodes)
        if unknown and not allow_unknown:
            listed = ", ".join(f"{name} ({count})" for name, count in unknown.items())
            raise ChipsmithError(f"{path}: operators", listed, "not known; allow_unknown counts them as copies")
        nodes, forms = _rewritten(nodes, found)
    imp = Importer(found, forms, _caches(nodes))
    for node in nodes:
        _emit(imp, node, str(path))
    if not imp.graph.ops:
        raise ChipsmithError(str(path), None, "computes nothing: no operator depends on the inputs")
    return _finish(imp, file.stem, model, {"dims": bound, "unknown": unknown})


@contextmanager
def _refusing(where: str) -> Iterator[None]:
    """Word what damaged graphs break: names that are no text, attributes of another type, ranks that do not fit."""
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()[:40]) or type(error).__name__
        raise ChipsmithError(where, None, f"can't be read: {reason}") from None


def _rewritten(nodes: list[Node], found: Values) -> tuple[list[Node], dict[str, str]]:
    from workloads.onnx_in import fuse
    from workloads.onnx_in.fuse_attention import fuse_attention

    nodes = fuse.drop_views(nodes, found)
    for one in (fuse_attention, fuse.fold_batch_norm, fuse.fuse_bias, fuse.fuse_rope, fuse.fuse_regions):
        nodes = one(nodes, found)
    return fuse.fold_quantise(live(fuse.fuse_gates(nodes, found), found.results), found)


def _named_apart(nodes: Sequence[Node]) -> list[Node]:
    """Nodes with names of their own: exporters may leave them equal."""
    used: Counter[str] = Counter()
    named = []
    for node in nodes:
        used[node.name] += 1
        named.append(node if used[node.name] == 1 else replace(node, name=f"{node.name}#{used[node.name]}"))
    return named


def _unknown(nodes: Sequence[Node]) -> dict[str, int]:
    from workloads.onnx_in.table import handler

    names = (f"{node.domain}.{node.op}" if node.domain else node.op for node in nodes if handler(node) is None)
    return dict(sorted(Counter(names).items()))


def _caches(nodes: Sequence[Node]) -> list[str]:
    """Values that hold a cache."""
    found = [node.input(index) for node in nodes for index in _CACHE_INPUTS.get(node.key, ())]
    for node in nodes:
        if node.op == "attention":
            found.extend(node.inputs[node.number("steps") : node.number("steps") + node.number("caches")])
    return found


def _emit(imp: Importer, node: Node, path: str) -> None:
    from workloads.onnx_in.table import handler
    from workloads.onnx_in.vector import unknown

    with _refusing(f"{path}: node {node.name} ({node.op})"):
        (handler(node) or unknown)(imp, node)
        for name in filter(None, node.outputs):
            if name in imp.found.results:
                imp.mark_result(name)


def _finish(imp: Importer, name: str, model: onnx.ModelProto, facts: Mapping[str, object]) -> Trace:
    phase, tokens = _phase(imp.graph.ops), _tokens(imp)
    ops = [replace(op, phase=phase) for op in imp.graph.ops]
    weights = [tensor for tensor in imp.graph.tensors if tensor.role == "weight"]
    meta = {
        "schema_version": SCHEMA_VERSION,
        "model": name,
        "source": "onnx",
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opsets": {item.domain or "ai.onnx": item.version for item in model.opset_import},
        "phase": phase,
        "tokens": tokens,
        "parameters": sum(tensor.elements for tensor in weights),
        "parameter_bytes": sum(tensor.bytes for tensor in weights),
        "kv_cache_bytes": sum(op.kv_cached_bytes for op in ops),
        "narrowed": dict(sorted(imp.narrowed.items())),
        **facts,
    }
    imp.graph.ops = ops
    return imp.graph.finish(f"{name} {phase}", meta).check()


def _phase(ops: Sequence[Operator]) -> str:
    """As :attr:`workloads.batch.Batch.phase` has it, told by the attention rows that use a cache."""
    segments = (segment for op in ops if op.kind == "attention" and op.kv_width for segment in op.segments)
    kinds = {is_decode(segment.new_tokens, segment.context) for segment in segments}
    return "mixed" if len(kinds) == 2 else "decode" if True in kinds else "prefill"


def _tokens(imp: Importer) -> int:
    """Tokens of attention; without attention the first dimension of the first input (images, samples)."""
    attention = next((op for op in imp.graph.ops if op.kind == "attention"), None)
    if attention is not None:
        return attention.tokens
    first = next((imp.shape(name) for name in imp.found.inputs), ())
    return max(1, first[0] if first else 1)
