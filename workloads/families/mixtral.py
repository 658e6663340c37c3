"""Mixtral and Qwen3-MoE: the Llama layer with a mixture of experts in place of the feed-forward network.

Sources: Jiang et al. 2024 (arXiv:2401.04088), Qwen3 technical report (arXiv:2505.09388).
"""

from __future__ import annotations

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.families.llama import read_attention, read_decoder
from workloads.layers.attention import attention
from workloads.layers.decoder import embed, head, layers, residual
from workloads.layers.experts import Experts, mixture
from workloads.step import Step

MODEL_TYPES = ("mixtral", "qwen3_moe")


def read_experts(config: ModelConfig) -> Experts:
    """Experts; the two families name the fields differently."""
    mixtral = config.model_type == "mixtral"
    if config.integer("decoder_sparse_step", 1) != 1 or config.get("mlp_only_layers", ()) != ():
        fields = config.get("decoder_sparse_step"), config.get("mlp_only_layers")
        raise ChipsmithError(f"{config.name}.decoder_sparse_step, mlp_only_layers", fields, "legal: 1, []")
    return Experts(
        config.integer("hidden_size"),
        config.integer("intermediate_size" if mixtral else "moe_intermediate_size"),
        config.integer("num_local_experts" if mixtral else "num_experts"),
        config.integer("num_experts_per_tok"),
    )


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    shape, attend, experts = read_decoder(config), read_attention(config), read_experts(config)

    def layer(x: int) -> int:
        x = residual(step, "attn", shape, x, lambda y: attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: mixture(step, experts, y))

    x, table = embed(step, shape)
    x = layers(step, "layers", config.integer("num_hidden_layers"), x, layer)
    head(step, shape, x, table)
