"""Llama 2 and 3, Mistral, Qwen2 and 3, Phi-3 and 4: RMSNorm, rotary positions, gated SiLU, grouped-query attention.

Sources: Touvron et al. 2023 (Llama 2), Jiang et al. 2023 (Mistral 7B: sliding window), Qwen2 and Qwen3 technical
reports (biases on q, k, v; RMSNorm on each head of q and k), Abdin et al. 2024 (Phi-3, arXiv:2404.14219; Phi-4,
arXiv:2412.08905: the model itself holds q, k, v and gate, up as one matrix each).
"""

from __future__ import annotations

from workloads.configs import ModelConfig
from workloads.layers.attention import Attention, attention
from workloads.layers.decoder import Decoder, embed, head, layers, residual
from workloads.layers.ffn import FeedForward, feed_forward
from workloads.shards import split
from workloads.step import Step

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "phi3")
_WINDOWED = ("mistral", "mixtral", "phi3")  # ``sliding_window`` counts without ``use_sliding_window``


def read_decoder(config: ModelConfig) -> Decoder:
    """Vocabulary, width and norm of a Llama-like configuration."""
    hidden, vocab = config.integer("hidden_size"), config.integer("vocab_size")
    return Decoder(hidden, vocab, tied=config.flag("tie_word_embeddings", False))


def read_attention(config: ModelConfig) -> Attention:
    """Attention of a Llama-like configuration; the model type decides about biases and norms as its code does."""
    hidden, heads = config.integer("hidden_size"), config.integer("num_attention_heads")
    where = f"{config.name}.num_attention_heads"
    head_dim = config.integer("head_dim", 0, least=0) or split(hidden, heads, "features", where)
    kv_heads = config.integer("num_key_value_heads", heads)
    bias = config.flag("attention_bias", config.model_type == "qwen2")
    windowed = config.model_type in _WINDOWED or config.flag("use_sliding_window", False)
    return Attention(
        hidden,
        heads,
        kv_heads,
        head_dim,
        qkv_bias=bias,
        out_bias=bias and config.model_type != "qwen2",
        qk_norm=config.model_type.startswith("qwen3"),
        window=config.integer("sliding_window", 0, least=0) if windowed else 0,
        merged=config.model_type == "phi3",
    )


def read_feed_forward(config: ModelConfig) -> FeedForward:
    """Feed-forward network of a Llama-like configuration."""
    bias = config.flag("mlp_bias", False)
    hidden, ffn = config.integer("hidden_size"), config.integer("intermediate_size")
    return FeedForward(hidden, ffn, bias=bias, merged=config.model_type == "phi3")


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    shape, attend, ffn = read_decoder(config), read_attention(config), read_feed_forward(config)

    def layer(x: int) -> int:
        x = residual(step, "attn", shape, x, lambda y: attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: feed_forward(step, ffn, y))

    x, table = embed(step, shape)
    x = layers(step, "layers", config.integer("num_hidden_layers"), x, layer)
    head(step, shape, x, table)
