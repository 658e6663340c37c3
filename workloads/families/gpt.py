"""GPT-2, GPT-3, OPT and BLOOM: LayerNorm, biases everywhere, plain GELU or ReLU network, tied lm_head.

Sources: Radford et al. 2019, Brown et al. 2020 (Table 2.1), Zhang et al. 2022 (OPT: positions are offset by 2, hence
two more rows in the table), BigScience 2022 (BLOOM: ALiBi instead of a position table, a norm after the embedding).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.layers.attention import Attention, attention
from workloads.layers.decoder import Decoder, embed, head, layers, residual
from workloads.layers.ffn import FeedForward, feed_forward
from workloads.shards import split
from workloads.step import Step

MODEL_TYPES = ("gpt2", "opt", "bloom")
_OPT_OFFSET = 2
_FUNCTIONS = {"gelu": "gelu", "gelu_new": "gelu", "relu": "relu"}


@dataclass(frozen=True, slots=True)
class _Shape:
    layers: int
    heads: int
    decoder: Decoder
    ffn: FeedForward
    embedding_norm: bool = False


def _function(config: ModelConfig, default: str) -> str:
    return _FUNCTIONS[config.text("activation_function", default, tuple(_FUNCTIONS))]


def _read_gpt2(config: ModelConfig) -> _Shape:
    hidden = config.integer("n_embd")
    decoder = Decoder(
        hidden,
        config.integer("vocab_size"),
        "layernorm",
        config.flag("tie_word_embeddings", True),
        config.integer("n_positions"),
    )
    ffn = FeedForward(hidden, config.integer("n_inner", 4 * hidden), _function(config, "gelu_new"), bias=True)
    return _Shape(config.integer("n_layer"), config.integer("n_head"), decoder, ffn)


def _read_opt(config: ModelConfig) -> _Shape:
    hidden = config.integer("hidden_size")
    if config.get("word_embed_proj_dim", hidden) != hidden or not config.flag("do_layer_norm_before", True):
        raise ChipsmithError(
            f"{config.name}.word_embed_proj_dim", config.get("word_embed_proj_dim"), f"legal: {hidden}, pre-norm layers"
        )
    decoder = Decoder(
        hidden,
        config.integer("vocab_size"),
        "layernorm",
        config.flag("tie_word_embeddings", True),
        config.integer("max_position_embeddings") + _OPT_OFFSET,
    )
    ffn = FeedForward(hidden, config.integer("ffn_dim"), _function(config, "relu"), bias=True)
    return _Shape(config.integer("num_hidden_layers"), config.integer("num_attention_heads"), decoder, ffn)


def _read_bloom(config: ModelConfig) -> _Shape:
    hidden = config.integer("hidden_size")
    decoder = Decoder(hidden, config.integer("vocab_size"), "layernorm", config.flag("tie_word_embeddings", True))
    ffn = FeedForward(hidden, 4 * hidden, "gelu", bias=True)
    return _Shape(config.integer("n_layer"), config.integer("n_head"), decoder, ffn, embedding_norm=True)


_READERS: dict[str, Callable[[ModelConfig], _Shape]] = {"gpt2": _read_gpt2, "opt": _read_opt, "bloom": _read_bloom}


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    shape = _READERS[config.model_type](config)
    decoder, hidden, heads = shape.decoder, shape.decoder.hidden, shape.heads
    head_dim = split(hidden, heads, "features", f"{config.name}.heads")
    attend = Attention(hidden, heads, heads, head_dim, qkv_bias=True, out_bias=True, rope=False)

    def layer(x: int) -> int:
        x = residual(step, "attn", decoder, x, lambda y: attention(step, attend, y))
        return residual(step, "mlp", decoder, x, lambda y: feed_forward(step, shape.ffn, y))

    x, table = embed(step, decoder)
    if shape.embedding_norm:
        x = step.norm("embed_norm", (x,), hidden, "layernorm")
    x = layers(step, "layers", shape.layers, x, layer)
    head(step, decoder, x, table)
