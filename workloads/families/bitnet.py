"""BitNet b1.58: the Llama layer with squared ReLU and a norm before each output projection.

Source: Ma et al. 2025, BitNet b1.58 2B4T Technical Report (arXiv:2504.12285), section 2: ternary weights with one scale
for each matrix, activations of 8 bits with one scale a token; embedding and lm_head keep 16 bits.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.configs import ModelConfig
from workloads.families.llama import read_attention, read_decoder, read_feed_forward
from workloads.layers.attention import attention
from workloads.layers.decoder import embed, head, layers, residual
from workloads.layers.ffn import feed_forward
from workloads.step import Step

MODEL_TYPES = ("bitnet",)


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    config.text("hidden_act", "relu2", ("relu2",))
    shape = read_decoder(config)
    attend = replace(read_attention(config), sub_norm=True)
    ffn = replace(read_feed_forward(config), function="relu2_mul", sub_norm=True)

    def layer(x: int) -> int:
        x = residual(step, "attn", shape, x, lambda y: attention(step, attend, y))
        return residual(step, "mlp", shape, x, lambda y: feed_forward(step, ffn, y))

    x, table = embed(step, shape)
    x = layers(step, "layers", config.integer("num_hidden_layers"), x, layer)
    head(step, shape, x, table)
