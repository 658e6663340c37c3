"""Number formats of one model deployment."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from workloads.dtypes import dtype
from workloads.errors import ChipsmithError

_WIDE_BITS = 16


def check_group(where: str, group: int, form: str) -> None:
    """Refuse a scale group that a format cannot have.

    Raises:
        ChipsmithError: negative, or above 0 for a format that brings a scale for each of its own blocks.
    """
    if group < 0:
        raise ChipsmithError(where, group, "legal: 0 (no scales) or more")
    block = dtype(form).block
    if group and block:
        raise ChipsmithError(where, group, f"legal: 0, {form} brings a scale for every {block} elements")


@dataclass(frozen=True, slots=True)
class Precision:
    """Formats of weights, activations and KV cache; see workloads/dtypes.py for the names.

    Attributes:
        weights: matrices of the layers (and experts).
        activations: everything between operators.
        kv: KV cache, or the state of a state-space model.
        weight_group: weights that share one 16-bit scale, 0 = no scales but the format's own (``mxfp4``).
        kv_group: KV elements that share one 16-bit scale, 0 = no scales but the format's own.
        embeddings: embedding table and lm_head; empty = as ``weights``. Weight-only quantisation (GPTQ, AWQ)
            leaves them at 16 bits: say ``fp16`` to model it.
        accumulate: accumulator format; empty = fp32 for floating-point activations, int32 for integers.

    Raises:
        ChipsmithError: unknown format name, negative group, a group for a format that brings its own scales.
    """

    weights: str = "fp16"
    activations: str = "fp16"
    kv: str = "fp16"
    weight_group: int = 0
    kv_group: int = 0
    embeddings: str = ""
    accumulate: str = ""

    def __post_init__(self) -> None:
        for name in ("weights", "activations", "kv"):
            dtype(getattr(self, name), f"precision.{name}")
        for name in ("embeddings", "accumulate"):
            if getattr(self, name):
                dtype(getattr(self, name), f"precision.{name}")
        for name, form in (("weight_group", self.weights), ("kv_group", self.kv)):
            check_group(f"precision.{name}", getattr(self, name), form)

    @property
    def table(self) -> str:
        """Format of the embedding table and lm_head."""
        return self.embeddings or self.weights

    @property
    def table_group(self) -> int:
        """Scale group of the embedding table and lm_head: none where they are kept apart from the weights."""
        return 0 if self.embeddings and self.embeddings != self.weights else self.weight_group

    @property
    def vectors(self) -> str:
        """Format of norm gains and biases: that of the activations, but floating point of 16 bits or more."""
        form = dtype(self.activations)
        if form.is_float and form.bits >= _WIDE_BITS:
            return self.activations
        return "fp32" if form.bits > _WIDE_BITS else "fp16"

    @property
    def accumulator(self) -> str:
        """Format of the accumulators."""
        return self.accumulate or ("fp32" if dtype(self.activations).is_float else "int32")

    def to_dict(self) -> dict[str, object]:
        """All fields, for a trace's ``meta``."""
        return asdict(self)
