"""Gemma 2 and 3: local and global attention in turn, gated GELU, norms before and after each part, tied tables.

Sources: Gemma Team 2024 (arXiv:2408.00118: every other layer global, window 4,096, scores and logits soft-capped) and
2025 (arXiv:2503.19786: five local layers of window 512 or 1,024 before each global one, RMSNorm on each head of q and
k in place of the caps). Only the language model of the multimodal sizes is built. The scale of the scores
(``query_pre_attn_scalar``) is folded into q.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.configs import ModelConfig
from workloads.families.llama import read_decoder
from workloads.layers.attention import Attention, attention
from workloads.layers.decoder import embed, head, layers_of_kinds, residual
from workloads.layers.ffn import FeedForward, feed_forward
from workloads.step import Step

MODEL_TYPES = ("gemma2", "gemma3_text")
LOCAL, GLOBAL = "sliding", "full"
# What a missing field means (transformers 5.23, Gemma3TextConfig): the files of the larger sizes leave fields out.
_GEMMA3 = {"vocab_size": 262_208, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256}


def layer_kinds(config: ModelConfig, period: int) -> tuple[str, ...]:
    """``sliding`` or ``full`` for each layer: from ``layer_types`` where given, else every ``period``-th is full.

    Raises:
        ChipsmithError: fewer ``layer_types`` than layers, or an unknown one.
    """
    depth = config.integer("num_hidden_layers")
    given = config.names("layer_types", (f"{LOCAL}_attention", f"{GLOBAL}_attention"), least=depth)
    if given:
        return tuple(name.removesuffix("_attention") for name in given[:depth])
    period = config.integer("sliding_window_pattern", period)
    return tuple(LOCAL if (i + 1) % period else GLOBAL for i in range(depth))


def _read_attention(config: ModelConfig) -> Attention:
    """The local layers; global ones are the same without the window."""
    return Attention(
        config.integer("hidden_size"),
        config.integer("num_attention_heads"),
        config.integer("num_key_value_heads"),
        config.integer("head_dim"),
        qk_norm=config.model_type == "gemma3_text",
        window=config.integer("sliding_window"),
        softcap=config.get("attn_logit_softcapping") is not None,
    )


def _with_defaults(config: ModelConfig) -> ModelConfig:
    missing = {name: value for name, value in _GEMMA3.items() if config.get(name) is None}
    return config.with_fields(**missing) if missing and config.model_type == "gemma3_text" else config


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    config.text("hidden_activation", "gelu_pytorch_tanh", ("gelu_pytorch_tanh",))
    config = _with_defaults(config)
    local = _read_attention(config)
    ffn = FeedForward(local.hidden, config.integer("intermediate_size"), "gelu_mul")
    capped = config.get("final_logit_softcapping") is not None
    tied = config.flag("tie_word_embeddings", True)
    shape = replace(read_decoder(config), tied=tied, post_norm=True, embed_scale=True, logit_softcap=capped)

    def layer(kind: str, x: int) -> int:
        attend = local if kind == LOCAL else replace(local, window=0)
        x = residual(step, "attn", shape, x, lambda y: attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: feed_forward(step, ffn, y))

    x, table = embed(step, shape)
    x = layers_of_kinds(step, layer_kinds(config, 2 if config.model_type == "gemma2" else 6), x, layer)
    head(step, shape, x, table)
