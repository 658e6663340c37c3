"""GPT-OSS: experts in every layer, windowed and full attention in turn, attention sinks, biases everywhere.

Source: OpenAI 2025, gpt-oss-120b & gpt-oss-20b Model Card (arXiv:2508.10925), section 2: window 128, a learned bias in
the denominator of the softmax of each head, experts' matrices in MXFP4 (groups of 32 that share an 8-bit exponent).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.configs import ModelConfig
from workloads.families.gemma import LOCAL, layer_kinds
from workloads.families.llama import read_decoder
from workloads.layers.attention import Attention, attention
from workloads.layers.decoder import embed, head, layers_of_kinds, residual
from workloads.layers.experts import Experts, mixture
from workloads.step import Step

MODEL_TYPES = ("gpt_oss",)


def _read_attention(config: ModelConfig) -> Attention:
    bias = config.flag("attention_bias", True)
    return Attention(
        config.integer("hidden_size"),
        config.integer("num_attention_heads"),
        config.integer("num_key_value_heads"),
        config.integer("head_dim"),
        qkv_bias=bias,
        out_bias=bias,
        window=config.integer("sliding_window"),
        sinks=True,
    )


def _read_experts(config: ModelConfig) -> Experts:
    return Experts(
        config.integer("hidden_size"),
        config.integer("intermediate_size"),
        config.integer("num_local_experts"),
        config.integer("num_experts_per_tok"),
        bias=True,
    )


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    shape, local, experts = read_decoder(config), _read_attention(config), _read_experts(config)

    def layer(kind: str, x: int) -> int:
        attend = local if kind == LOCAL else replace(local, window=0)
        x = residual(step, "attn", shape, x, lambda y: attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: mixture(step, experts, y))

    x, table = embed(step, shape)
    x = layers_of_kinds(step, layer_kinds(config, 2), x, layer)
    head(step, shape, x, table)
