"""Mamba-2: state-space layers with a constant state instead of a KV cache (Dao and Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.configs import ModelConfig
from workloads.errors import ChipsmithError
from workloads.layers.decoder import Decoder, embed, head, layers, residual
from workloads.shards import split
from workloads.step import Step

MODEL_TYPES = ("mamba2",)


@dataclass(frozen=True, slots=True)
class Mixer:
    """Shape of one mixer on one rank.

    Attributes:
        hidden: features of the residual stream.
        heads, head_dim, state: heads, features of a head, state elements a feature.
        groups: groups of heads that share the input and output matrices B and C.
        kernel: taps of the causal convolution.
    """

    hidden: int
    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int

    @property
    def inner(self) -> int:
        """Features inside the mixer."""
        return self.heads * self.head_dim

    @property
    def conv(self) -> int:
        """Features that the convolution sees: x, B and C."""
        return self.inner + 2 * self.groups * self.state

    def shard(self, ranks: int) -> Mixer:
        """The heads of one rank; groups are copied where there are fewer of them than ranks."""
        groups = max(1, self.groups // ranks)
        return replace(self, heads=split(self.heads, ranks, "state-space heads"), groups=groups)


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


def mix(step: Step, mixer: Mixer, x: int) -> int:
    """In-projection, convolution, scan, gated norm, out-projection, all-reduce."""
    own = mixer.shard(step.tp)
    widths = {"z": own.inner, "xbc": own.conv, "dt": own.heads}
    z, xbc, dt = step.linear("in_proj", x, own.hidden, sum(widths.values()), outputs=widths)
    y = _scan(step, own, _convolve(step, own, xbc), dt)
    parts: tuple[int, ...] = (step.norm("gated_norm", (y, z), own.inner),)
    if own.groups * step.tp > mixer.groups:  # the norm runs over a whole group: its sum of squares spans the ranks
        parts = (*parts, step.collective("gated_norm_all_reduce", "all_reduce", parts[0], (1, 1), step.tp))
    y = step.linear("out_proj", parts, own.inner, own.hidden)[0]
    return step.all_reduce("mixer_all_reduce", y, own.hidden)


def _convolve(step: Step, own: Mixer, xbc: int) -> int:
    params = own.conv * (own.kernel + 1)  # taps and bias
    row = step.vector_row("conv1d", "elementwise", "conv1d")
    row = replace(row, width_in=own.conv, width_out=own.conv, param_width=params)
    return step.graph.append(row, (xbc, step.vector("conv1d.weight", params)), {"": own.conv})[0]


def _scan(step: Step, own: Mixer, xbc: int, dt: int) -> int:
    """The scan; the state of a request holds the recurrence and the last inputs of the convolution."""
    held = own.inner * own.state + own.conv * (own.kernel - 1)
    params = 3 * own.heads  # A, D and the bias of dt
    row = replace(
        step.vector_row("ssd", "scan", "ssd", step.batch.segments()),
        heads=own.heads,
        kv_heads=own.groups,
        qk_dim=own.head_dim,
        v_dim=own.state,
        kv_width=held,
        width_in=own.conv + own.heads,
        width_out=own.inner,
        param_width=params,
    )
    form = step.options.precision
    state = step.graph.source("state", "state", len(step.batch) * held, form.kv, form.kv_group)
    return step.graph.append(row, (xbc, dt, state, step.vector("ssd.params", params)), {"": own.inner})[0]
