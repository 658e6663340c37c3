"""Sparsity of a workload as one parameter of a space: ``workload.sparsity``.

A value reads ``WEIGHTS[/ACTIVATIONS[/ATTENTION]]``, each a pattern (workloads/transforms/patterns.py): ``dense``,
``2:4``, ``unstructured@0.5``, ``dense/unstructured@0.1``, ``2:4/dense/block:1x64@0.25``. What is left out stays as the
trace has it. One parameter, not three, because published accuracy belongs to combinations.

What a pattern saves on a chip: workloads/transforms/pruning.py. Engines know no sparse arithmetic, so weights of 2:4
save what memory moves and holds, not multiplications.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from workloads.errors import ChipsmithError
from workloads.trace import Trace
from workloads.transforms.patterns import parse_pattern

SPARSITY = "workload.sparsity"  # the path of the parameter
_LEGAL = "WEIGHTS[/ACTIVATIONS[/ATTENTION]], e.g. dense, 2:4, dense/unstructured@0.1"


@dataclass(frozen=True, slots=True)
class Sparsity:
    """One value of the parameter.

    Attributes:
        weights, activations, attention: patterns, ``""`` = as the trace has them.
    """

    weights: str
    activations: str = ""
    attention: str = ""

    def of(self, trace: Trace) -> Trace:
        """The trace with these patterns.

        Embeddings, lm_head and routers stay dense, as SparseGPT and Wanda leave them.

        Raises:
            ChipsmithError: a row of the trace has another pattern already.
        """
        from workloads.transforms.pruning import prune

        return prune(trace, self.weights, activations=self.activations, attention=self.attention)


@lru_cache(maxsize=256)
def parse_sparsity(text: str, where: str = SPARSITY) -> Sparsity:
    """Read a value.

    Raises:
        ChipsmithError: not of the form above, or no pattern.
    """
    parts = text.split("/") if isinstance(text, str) else [""]
    if len(parts) > 3 or not all(parts):
        raise ChipsmithError(where, text, _LEGAL)
    for part in parts:
        parse_pattern(part, where)
    return Sparsity(*parts)
