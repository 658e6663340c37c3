"""RWKV-7: a recurrent state of one small matrix a head in place of a KV cache.

Source: Peng et al. 2025, RWKV-7 "Goose" (arXiv:2503.14456), section 4 and its appendix on parameters. Per token and
state element the recurrence ``S = S (diag(w) - k^ (a * k^)^T) + v k^T`` and the read-out ``S r`` take four
multiply-accumulates (S k^, its outer product with a * k^, v k^T, S r; the decay is a plain product), twice what a scan
row counts, hence a ``v_dim`` of two head widths. The first layer norms the embeddings and has no value residual; all
others mix its values into their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.layers.decoder import Decoder, embed, head, layers, residual
from workloads.shards import split
from workloads.step import Step

MODEL_TYPES = ("rwkv7",)
_SHIFTED = ("r", "w", "k", "v", "a", "g")  # each mixes a token with the one before it by its own factors


@dataclass(frozen=True, slots=True)
class TimeMix:
    """Shape of one time-mixing layer.

    Attributes:
        hidden, head_dim: features of the residual stream and of a head.
        width: features of the heads of one rank.
        decay, rate, value, gate: ranks of the low-rank projections of decay, learning rate, value residual and gate.
    """

    hidden: int
    head_dim: int
    width: int
    decay: int
    rate: int
    value: int
    gate: int


def read_time_mix(config: ModelConfig) -> TimeMix:
    """The time mixing of a configuration.

    Raises:
        ChipsmithError: heads that do not fill the features, a value projection of another width.
    """
    hidden, head_dim = config.integer("hidden_size"), config.integer("head_dim", 64)
    if hidden % head_dim:
        raise ChipsmithError(f"{config.name}.head_dim", head_dim, f"legal: a divisor of {hidden} features")
    for field in ("norm_first", "norm_bias"):
        if not config.flag(field, True):
            raise ChipsmithError(f"{config.name}.{field}", False, "legal: true")
    ranks = (config.integer(f"{name}_low_rank_dim") for name in ("decay", "a", "v", "gate"))
    return TimeMix(hidden, head_dim, hidden, *ranks)


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    config.text("hidden_act", "sqrelu", ("sqrelu",))
    mix, ffn = read_time_mix(config), config.integer("intermediate_size", 4 * config.integer("hidden_size"))
    shape = Decoder(mix.hidden, config.integer("vocab_size"), "layernorm", config.flag("tie_word_embeddings", False))
    depth = config.integer("num_hidden_layers")

    def layer(x: int, first: int | None) -> tuple[int, int]:
        y = step.norm("attn_norm", (x,), mix.hidden, shape.norm)
        y, values = time_mix(step, mix, y, first)
        x = step.add("attn_add", y, x, mix.hidden)
        return residual(step, "mlp", shape, x, lambda z: channel_mix(step, mix.hidden, ffn, z)), values

    x, table = embed(step, shape)
    step.graph.begin("first_layer", 1, "first_layer")
    x, first = layer(step.norm("embed_norm", (x,), mix.hidden, shape.norm), None)
    if depth > 1:
        x = layers(step, "layers", depth - 1, x, lambda y: layer(y, first)[0])
    head(step, shape, x, table)


def time_mix(step: Step, shape: TimeMix, x: int, first: int | None) -> tuple[int, int]:
    """Projections, state update and read-out, gate, output projection, all-reduce.

    Args:
        step: the step.
        shape: of the whole layer.
        x: normed input.
        first: values of the first layer, None in the first layer itself.

    Returns:
        The layer's contribution, and its values.
    """
    heads = split(shape.hidden // shape.head_dim, step.tp, "heads")
    own = replace(shape, width=heads * shape.head_dim)
    hidden, wide = own.hidden, own.width
    shifted = dict.fromkeys(_SHIFTED, hidden)
    params = len(_SHIFTED) * hidden
    xs = step.elementwise("token_shift", "token_shift", (x,), hidden, shifted, params=params)
    xr, xw, xk, xv, xa, xg = xs
    r, k, v = (step.linear(f"{n}_proj", y, hidden, wide)[0] for n, y in (("r", xr), ("k", xk), ("v", xv)))
    w = _low_rank(step, "decay", xw, (hidden, own.decay, wide), "tanh", bias=True)
    a = _low_rank(step, "rate", xa, (hidden, own.rate, wide), "", bias=True)
    g = _low_rank(step, "gate", xg, (hidden, own.gate, wide), "sigmoid", bias=False)
    residue = () if first is None else (_low_rank(step, "value", xv, (hidden, own.value, wide), "", bias=True), first)
    y = _recurrence(step, own, (r, w, k, v, a, *residue), g)
    out = step.linear("o_proj", y, wide, hidden)[0]
    return step.all_reduce("attn_all_reduce", out, hidden), v


def _low_rank(step: Step, name: str, x: int, dims: tuple[int, int, int], function: str, bias: bool) -> int:
    """Down (the same on every rank), a function in between, up (the rank's own features)."""
    y = step.linear(f"{name}_down_proj", x, dims[0], dims[1])
    if function:
        y = step.elementwise(f"{name}_{function}", function, y, dims[1], {"": dims[1]})
    return step.linear(f"{name}_up_proj", y, dims[1], dims[2], bias=bias)[0]


def _recurrence(step: Step, own: TimeMix, parts: tuple[int, ...], gate: int) -> int:
    """Normalise and weigh the keys, update and read the state, norm each head, add the bonus, gate."""
    wide = own.width
    prepared = dict.fromkeys(("w", "k", "key", "v", "rate"), wide)
    width_in = (len(parts) - 1) * wide
    w, k, key, v, rate = step.elementwise("wkv_prepare", "wkv7_prepare", parts[1:], width_in, prepared, params=2 * wide)
    y = _scan(step, own, (parts[0], w, k, key, v, rate))
    y = step.norm("head_norm", (y,), wide, "layernorm")
    return step.elementwise("wkv_gate", "wkv7_gate", (y, parts[0], k, v, gate), 5 * wide, {"": wide}, params=wide)[0]


def _scan(step: Step, own: TimeMix, parts: tuple[int, ...]) -> int:
    """The state of a request holds a matrix for each head and the last token of both mixings."""
    heads = own.width // own.head_dim
    held = own.width * own.head_dim + 2 * own.hidden
    row = replace(
        step.vector_row("wkv", "scan", "wkv7", step.batch.segments()),
        heads=heads,
        kv_heads=heads,
        qk_dim=own.head_dim,
        v_dim=2 * own.head_dim,
        kv_width=held,
        width_in=len(parts) * own.width,
        width_out=own.width,
    )
    form = step.options.precision
    state = step.graph.source("state", "state", len(step.batch) * held, form.kv, form.kv_group)
    return step.graph.append(row, (*parts, state), {"": own.width})[0]


def channel_mix(step: Step, hidden: int, ffn: int, x: int) -> int:
    """Token shift, up, squared ReLU, down, all-reduce."""
    own = split(ffn, step.tp, "feed-forward features")
    y = step.elementwise("mlp_token_shift", "token_shift", (x,), hidden, {"": hidden}, params=hidden)
    y = step.linear("up_proj", y[0], hidden, own)
    y = step.elementwise("relu2", "relu2", y, own, {"": own})
    return step.all_reduce("mlp_all_reduce", step.linear("down_proj", y[0], own, hidden)[0], hidden)
