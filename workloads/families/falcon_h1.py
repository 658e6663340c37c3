"""Falcon-H1: attention heads and Mamba-2 heads side by side in every layer.

Source: Zuo et al. 2025, Falcon-H1 (arXiv:2507.22448), section 2: both read the same normed input, their outputs are
added. The many constant multipliers of the published configurations are folded into the weights.
"""

from __future__ import annotations

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.families.llama import read_attention, read_decoder, read_feed_forward
from workloads.layers.attention import Attention, partial_attention
from workloads.layers.decoder import embed, head, layers, residual
from workloads.layers.ffn import feed_forward
from workloads.layers.mixer import Mixer, partial_mix
from workloads.step import Step

MODEL_TYPES = ("falcon_h1",)
_BIASES = {"mamba_proj_bias": False, "projectors_bias": False, "mamba_conv_bias": True}


def read_mixer(config: ModelConfig) -> Mixer:
    """The Mamba-2 half.

    Raises:
        ChipsmithError: heads that do not fill ``mamba_d_ssm``, biases that no published size has.
    """
    heads, head_dim = config.integer("mamba_n_heads"), config.integer("mamba_d_head")
    inner = config.integer("mamba_d_ssm")
    if heads * head_dim != inner:
        text = f"legal: mamba_d_ssm / mamba_d_head = {inner // head_dim}"
        raise ChipsmithError(f"{config.name}.mamba_n_heads", heads, text)
    for field, legal in _BIASES.items():
        if config.flag(field, legal) != legal:
            raise ChipsmithError(f"{config.name}.{field}", not legal, f"legal: {str(legal).lower()}")
    return Mixer(
        config.integer("hidden_size"),
        heads,
        head_dim,
        config.integer("mamba_d_state"),
        config.integer("mamba_n_groups", 1),
        config.integer("mamba_d_conv", 4),
        norm=config.flag("mamba_rms_norm", False),
    )


def _heads(step: Step, attend: Attention, mixer: Mixer, x: int) -> int:
    """Both kinds of heads on the same input, added before one all-reduce."""
    left = partial_attention(step, attend.shard(step.tp), x)
    right = partial_mix(step, mixer, x)
    out = step.add("heads_add", left, right, attend.hidden)
    return step.all_reduce("heads_all_reduce", out, attend.hidden)


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    shape, attend, mixer = read_decoder(config), read_attention(config), read_mixer(config)
    ffn = read_feed_forward(config)

    def layer(x: int) -> int:
        x = residual(step, "attn", shape, x, lambda y: _heads(step, attend, mixer, y))
        return residual(step, "mlp", shape, x, lambda y: feed_forward(step, ffn, y))

    x, table = embed(step, shape)
    x = layers(step, "layers", config.integer("num_hidden_layers"), x, layer)
    head(step, shape, x, table)
