"""Feed-forward networks of which a predictor runs only the neurons that will be active.

A neuron is a column of the up (and gate) projection and the row of the down projection behind it. A token activates
the share ``d`` of them, predicted before the up projection (Deja Vu, Liu et al. 2023, arXiv:2310.17157, section 4). A
step of t tokens runs, for all of them, the neurons that any token activates: smaller dense matrices, which every
engine can run. Tokens are taken as independent unless ``union`` gives the measured share::

    union(t)   1 - (1 - d)^t                      columns and rows that run, rounded up to whole neurons
    fresh      (1 - d)^window * union(t)          of these, what is read from memory: the neurons of the last
                                                  ``window`` tokens are still on the chip

``window`` is the sliding window of LLM in a flash (Alizadeh et al. 2023, arXiv:2312.11514, section 3.1), again with
independent tokens unless ``fresh`` gives the measured share; real neighbours share more neurons than that. That the
chip can hold the window's neurons is for the caller to see to. ``effective_macs`` counts d of all neurons a token.
Experts: t is that of each expert, and ``union`` the mean over experts. All parameters stay resident.

``predictor`` > 0 adds two GEMMs before each network, hidden x predictor and predictor x neurons, at 16 bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from workloads.errors import ChipsmithError
from workloads.trace import Operator, Trace
from workloads.transforms.edit import Edit, Names, grown, noted, plain_row, refuse_after, rows_named
from workloads.transforms.patterns import parse_pattern

_GUARD = 1e-9  # of a neuron: keeps a product that is whole but for rounding from being rounded up


@dataclass(frozen=True, slots=True)
class Network:
    """Rows of one feed-forward network: up (and gate), the function between, down."""

    ups: tuple[int, ...]
    middle: int
    down: int


@dataclass(frozen=True, slots=True)
class _Shares:
    """What the caller asked for; see the module docstring."""

    density: float
    union: float | None
    window: int
    fresh: float | None
    predictor: int

    def __post_init__(self) -> None:
        for name in ("density", "union", "fresh"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= 1:
                raise ChipsmithError(f"neurons.{name}", value, "legal: above 0, at most 1")
        for name in ("window", "predictor"):
            if getattr(self, name) < 0:
                raise ChipsmithError(f"neurons.{name}", getattr(self, name), "legal: 0 or more")
        if self.union is not None and self.union < self.density:
            raise ChipsmithError("neurons.union", self.union, f"legal: at least the density, {self.density}")

    def active(self, op: Operator) -> float:
        """Share of the neurons that a step runs."""
        if self.union is not None:
            return self.union
        tokens = [(s.new_tokens, s.multiplicity) for s in op.segments] if op.per_segment_weights else [(op.tokens, 1)]
        mean = sum(self._any(t) * count for t, count in tokens) / sum(count for _, count in tokens)
        return max(mean, self.density)

    def read(self, op: Operator) -> float:
        """Share of the neurons that a step reads."""
        if self.fresh is not None:
            return min(self.fresh, self.active(op))
        return (1 - self.density) ** self.window * self.active(op)

    def _any(self, tokens: int) -> float:
        return 1 - (1 - self.density) ** tokens


def networks(trace: Trace) -> tuple[Network, ...]:
    """Feed-forward networks of a trace.

    Each is an element-wise row that reads only what GEMMs with weights wrote for it alone, and whose one result one
    such GEMM reads.
    """
    readers: dict[int, list[int]] = {}
    for row, op in enumerate(trace.ops):
        for t in op.inputs:
            readers.setdefault(t, []).append(row)
    found = (_network(trace, row, readers) for row, op in enumerate(trace.ops) if op.kind == "elementwise")
    return tuple(network for network in found if network is not None)


def _network(trace: Trace, row: int, readers: Mapping[int, list[int]]) -> Network | None:
    op = trace.ops[row]
    read = [t for t in op.inputs if trace.tensors[t].role != "weight"]
    ups = tuple(dict.fromkeys(trace.tensors[t].producer for t in read))
    after = [r for t in op.outputs for r in readers.get(t, ())]
    if not ups or min(ups) < 0 or len(op.outputs) != 1 or len(after) != 1:
        return None
    down = trace.ops[after[0]]
    alone = all(readers[t] == [row] for up in ups for t in trace.ops[up].outputs)
    shaped = all(_is_projection(trace.ops[up]) and trace.ops[up].n % op.width_out == 0 for up in ups)
    fits = _is_projection(down) and down.k == op.width_out and down.block == op.block
    return Network(ups, row, after[0]) if alone and shaped and fits else None


def _is_projection(op: Operator) -> bool:
    return op.kind == "gemm" and op.weight_is_param


def activate(
    trace: Trace,
    density: float,
    *,
    union: float | None = None,
    window: int = 0,
    fresh: float | None = None,
    predictor: int = 0,
    only: Names = (),
    except_: Names | None = None,
) -> Trace:
    """See :meth:`workloads.trace.Trace.with_active_neurons`."""
    refuse_after(trace, "neurons")
    shares = _Shares(density, union, window, fresh, predictor)
    chosen = rows_named(trace, only, except_)
    found = [network for network in networks(trace) if network.down in chosen]
    if not found:
        raise ChipsmithError("neurons", trace.name, "legal: a trace with a feed-forward network that is named")
    edit = Edit(trace)
    for network in found:
        _shrink(edit, network, shares)
    added = [_predict(edit, network, shares) for network in found] if predictor else []
    parameters, size = (sum(part[i] for part in added) for i in (0, 1))
    told = {"union": union, "window": window or None, "fresh": fresh, "predictor": predictor or None}
    smaller = edit.done().with_meta(**grown(trace, parameters, size))
    return noted(smaller, "neurons", density=density, **told, only=only or None, except_=except_)


def _neurons(count: int, share: float) -> int:
    return min(count, math.ceil(count * share - _GUARD))


def _shrink(edit: Edit, network: Network, shares: _Shares) -> None:
    middle, down = edit.ops[network.middle], edit.ops[network.down]
    neurons = down.k
    _check_network(edit, network, shares)
    active = _neurons(neurons, shares.active(down))
    read = min(active, _neurons(neurons, shares.read(down)))
    kept = _wanted(neurons * shares.density / active)
    for row in network.ups:
        op = edit.ops[row]
        parts = op.n // neurons
        bias = op.param_width * active // neurons
        cached = op.k * parts * (active - read) * op.weight_copies
        edit.ops[row] = replace(op, n=parts * active, param_width=bias, act_sparsity=kept, cached_weights=cached)
        for t in op.outputs:
            edit.resize(t, edit.tensors[t].elements // neurons * active)
    edit.ops[network.middle] = replace(middle, width_in=middle.width_in // neurons * active, width_out=active)
    edit.resize(middle.outputs[0], middle.tokens * active)
    cached = (active - read) * down.n * down.weight_copies
    edit.ops[network.down] = replace(down, k=active, act_sparsity=kept, cached_weights=cached)


def _check_network(edit: Edit, network: Network, shares: _Shares) -> None:
    down = edit.ops[network.down]
    for row in (*network.ups, network.down):
        op = edit.ops[row]
        if op.act_sparsity != "dense" or op.sparsity != "dense":
            raise ChipsmithError("neurons", op.name, "is sparse already; legal: neurons first, patterns after")
    if down.per_segment_weights and (shares.window or shares.fresh is not None or shares.predictor):
        text = "has experts; legal for them: no window, fresh share or predictor"
        raise ChipsmithError("neurons", down.name, text)


def _wanted(share: float) -> str:
    """The share of what runs that each token wants, as a pattern."""
    text = f"unstructured@{math.ceil(share * 1e6 - 1e-3) / 1e6:.6f}"
    return text if share < 1 - 1e-6 and not parse_pattern(text).is_full else "dense"


def _predict(edit: Edit, network: Network, shares: _Shares) -> tuple[int, int]:
    """Put the predictor before the first projection; returns (parameters, bytes) that it adds, all iterations."""
    first = min(network.ups)
    up, rank = edit.trace.ops[first], shares.predictor
    neurons = edit.trace.ops[network.down].k
    source = tuple(t for t in up.inputs if edit.tensors[t].role != "weight")
    rows = (
        replace(plain_row(up, "predictor_in"), k=up.k, n=rank),
        replace(plain_row(up, "predictor_out"), k=rank, n=neurons),
    )
    weights = []
    for op in rows:
        weights.append(edit.tensor(f"{op.name}.weight", "weight", op.k * op.n, op.weight))
        out = edit.tensor(op.name, "activation", op.output_elements, op.out)
        edit.before(first, replace(op, inputs=(*source, weights[-1]), outputs=(out,)))
        source = (out,)
    for row in network.ups:
        edit.ops[row] = replace(edit.ops[row], inputs=(*edit.ops[row].inputs, *source))
    count = edit.trace.blocks[up.block].count
    return sum(edit.tensors[t].elements for t in weights) * count, sum(edit.tensors[t].bytes for t in weights) * count
