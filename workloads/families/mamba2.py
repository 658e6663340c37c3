"""Mamba-2: state-space layers with a constant state instead of a KV cache (Dao and Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.layers.decoder import Decoder, embed, head, layers, residual
from workloads.layers.mixer import Mixer, mix
from workloads.step import Step

MODEL_TYPES = ("mamba2",)


def read_mixer(config: ModelConfig) -> Mixer:
    """The mixer of a configuration."""
    hidden, heads, head_dim = (config.integer(f) for f in ("hidden_size", "num_heads", "head_dim"))
    inner = config.integer("expand", 2) * hidden
    if heads * head_dim != inner:
        text = f"legal: expand * hidden_size / head_dim = {inner // head_dim}"
        raise ChipsmithError(f"{config.name}.num_heads", heads, text)
    groups, kernel = config.integer("n_groups", 1), config.integer("conv_kernel", 4)
    return Mixer(hidden, heads, head_dim, config.integer("state_size", 128), groups, kernel)


def build(config: ModelConfig, step: Step) -> None:
    """Append one step of the model."""
    mixer = read_mixer(config)
    tied = config.flag("tie_word_embeddings", True)
    shape = Decoder(mixer.hidden, config.integer("vocab_size"), tied=tied)

    def layer(x: int) -> int:
        return residual(step, "mixer", shape, x, lambda y: mix(step, mixer, y))

    x, table = embed(step, shape)
    x = layers(step, "layers", config.integer("num_hidden_layers"), x, layer)
    head(step, shape, x, table)
