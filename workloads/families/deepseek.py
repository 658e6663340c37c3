"""DeepSeek-V2 and V3: latent attention, first layers dense, then experts with a shared one.

Sources: arXiv:2405.04434 (V2), arXiv:2412.19437 (V3: sigmoid scores with a correction bias for each expert). The
multi-token prediction module of V3 is left out, as in the published size of its main model.
"""

from __future__ import annotations

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.families.llama import read_decoder, read_feed_forward
from workloads.layers.decoder import embed, head, layers, residual
from workloads.layers.experts import Experts, mixture
from workloads.layers.ffn import feed_forward
from workloads.layers.latent import Latent, latent_attention
from workloads.step import Step

MODEL_TYPES = ("deepseek_v2", "deepseek_v3")


def read_latent(config: ModelConfig) -> Latent:
    """Latent attention."""
    return Latent(
        config.integer("hidden_size"),
        config.integer("num_attention_heads"),
        config.integer("q_lora_rank", 0, least=0),
        config.integer("kv_lora_rank"),
        config.integer("qk_nope_head_dim"),
        config.integer("qk_rope_head_dim"),
        config.integer("v_head_dim"),
    )


def read_experts(config: ModelConfig) -> Experts:
    """Routed and shared experts."""
    ffn = config.integer("moe_intermediate_size")
    if config.integer("moe_layer_freq", 1) != 1:
        raise ChipsmithError(f"{config.name}.moe_layer_freq", config.get("moe_layer_freq"), "legal: 1")
    return Experts(
        config.integer("hidden_size"),
        ffn,
        config.integer("n_routed_experts"),
        config.integer("num_experts_per_tok"),
        shared_ffn=ffn * config.integer("n_shared_experts", 0, least=0),
        router_bias=config.model_type == "deepseek_v3",
    )


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    shape, attend = read_decoder(config), read_latent(config)
    ffn, experts = read_feed_forward(config), read_experts(config)
    depth = config.integer("num_hidden_layers")
    dense = min(depth, config.integer("first_k_dense_replace", 0, least=0))

    def dense_layer(x: int) -> int:
        x = residual(step, "attn", shape, x, lambda y: latent_attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: feed_forward(step, ffn, y))

    def expert_layer(x: int) -> int:
        x = residual(step, "attn", shape, x, lambda y: latent_attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: mixture(step, experts, y))

    x, table = embed(step, shape)
    if dense:
        x = layers(step, "dense_layers", dense, x, dense_layer)
    if depth > dense:
        x = layers(step, "layers", depth - dense, x, expert_layer)
    head(step, shape, x, table)
