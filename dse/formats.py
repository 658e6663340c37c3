"""Number formats of a workload as one parameter of a space: ``workload.formats``.

A value reads ``WEIGHTS[gGROUP][/ACTIVATIONS[/KV]]``: ``fp16``, ``int4g128`` (4-bit weights, a scale for every 128),
``ternary/int8``, ``int4g128/fp16/int8``. What is left out stays as the trace has it. One parameter, not three, because
published accuracy belongs to combinations. Fields of the chip follow it with ``{weights_of: workload.formats}`` and
``{activations_of: workload.formats}``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from workloads.dtypes import dtype
from workloads.errors import ChipsmithError
from workloads.trace import Trace

FORMATS = "workload.formats"  # the path of the parameter
PARTS = {"weights_of": "weights", "activations_of": "activations", "kv_of": "kv"}
_LEGAL = "WEIGHTS[gGROUP][/ACTIVATIONS[/KV]], e.g. fp16, int4g128, ternary/int8"
_WEIGHTS = re.compile(r"(?P<form>\w+?)(?:g(?P<group>\d{1,9}))?")


@dataclass(frozen=True, slots=True)
class Formats:
    """One value of the parameter.

    Attributes:
        weights: format of the weights. weight_group: weights that share a scale, 0 = none.
        activations, kv: formats, ``""`` = as the trace has them.
    """

    weights: str
    weight_group: int = 0
    activations: str = ""
    kv: str = ""

    def part(self, name: str, where: str) -> str:
        """The format of ``weights``, ``activations`` or ``kv``.

        Raises:
            ChipsmithError: the value leaves it to the trace, so that no field of a chip can follow it.
        """
        found: str = getattr(self, name)
        if not found:
            raise ChipsmithError(where, self.weights, f"each value must name its {name} for a field to follow them")
        return found

    def of(self, trace: Trace) -> Trace:
        """The trace in these formats.

        Embeddings, lm_head and routers keep theirs, as weight-only quantisation leaves them (GPTQ, AWQ).
        """
        from workloads.transforms.quantization import quantize

        return quantize(trace, self.weights, self.activations, self.kv, weight_group=self.weight_group)


@lru_cache(maxsize=256)
def parse_formats(text: str, where: str = FORMATS) -> Formats:
    """Read a value.

    Raises:
        ChipsmithError: not of the form above, or an unknown format.
    """
    weights, *rest = text.split("/") if isinstance(text, str) else [""]
    match = _WEIGHTS.fullmatch(weights)
    if match is None or len(rest) > 2 or not all(rest):
        raise ChipsmithError(where, text, _LEGAL)
    for name in (match["form"], *rest):
        dtype(name, where)
    return Formats(match["form"], int(match["group"] or 0), *rest)
