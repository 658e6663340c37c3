"""The Mamba-2 mixer: a state-space scan with a constant state (Dao and Gu 2024, arXiv:2405.21060)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.shards import split
from workloads.step import Step


@dataclass(frozen=True, slots=True)
class Mixer:
    """Shape of one mixer on one rank.

    Attributes:
        hidden: features of the residual stream.
        heads, head_dim, state: heads, features of a head, state elements a feature.
        groups: groups of heads that share the input and output matrices B and C.
        kernel: taps of the causal convolution.
        norm: a gated RMSNorm follows the scan; else the gate is only multiplied in.
    """

    hidden: int
    heads: int
    head_dim: int
    state: int
    groups: int
    kernel: int
    norm: bool = True

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


def mix(step: Step, mixer: Mixer, x: int) -> int:
    """In-projection, convolution, scan, gated norm, out-projection, all-reduce; returns the layer's contribution."""
    return step.all_reduce("mixer_all_reduce", partial_mix(step, mixer, x), mixer.hidden)


def partial_mix(step: Step, mixer: Mixer, x: int) -> int:
    """The heads of one rank without the all-reduce."""
    own = mixer.shard(step.tp)
    widths = {"z": own.inner, "xbc": own.conv, "dt": own.heads}
    z, xbc, dt = step.linear("in_proj", x, own.hidden, sum(widths.values()), outputs=widths)
    y = _scan(step, own, _convolve(step, own, xbc), dt)
    return step.linear("out_proj", _gate(step, mixer, own, (y, z)), own.inner, own.hidden)[0]


def _gate(step: Step, mixer: Mixer, own: Mixer, parts: tuple[int, int]) -> tuple[int, ...]:
    """Scan output times gate, normed over whole groups: on several ranks where a group spans them."""
    if not mixer.norm:
        return step.elementwise("gate_silu_mul", "silu_mul", parts, 2 * own.inner, {"": own.inner})
    return step.split_norm("gated_norm", parts, own.inner, whole=own.groups * step.tp <= mixer.groups)


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
