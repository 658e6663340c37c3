"""Named sets of PIM bank units that ``verify`` runs."""

from __future__ import annotations

from rtl.pim_params import PimBankParams
from workloads.errors import ChipsmithError, nearest

_PREFIX = "pim_"
_SMOKE = (PimBankParams(lanes=4, columns=8),)
_QUICK = (
    *_SMOKE,
    PimBankParams("neupims", "fp16", lanes=4, columns=8, tree_pipe=1),
    PimBankParams("aim", "bf16", lanes=4, columns=8),
)
_STANDARD = (
    *_QUICK,
    PimBankParams(lanes=16, columns=8),
    PimBankParams("neupims", "fp16", lanes=16, columns=8),
    PimBankParams("neupims", "bf16", lanes=4, columns=8, buffer_bytes=128),
    PimBankParams("newton", "int8", lanes=4, columns=8, tree_pipe=1, acc_bits=18),
    PimBankParams("aim", "int8", lanes=4, columns=8, acc_bits=18),
    PimBankParams("aim", "fp16", lanes=4, columns=8),
    PimBankParams("neupims", lanes=2, columns=8, timing=(("tRCDRD", 17), ("tRC_PIM", 9), ("tFAW", 95))),
)
_LARGE = (
    PimBankParams("neupims", "fp16"),
    PimBankParams("aim", "bf16"),
    PimBankParams("newton", "bf16", lanes=16, columns=8, tree_pipe=1),
    PimBankParams("neupims", "int8", lanes=32, columns=16),
)
PIM_MATRICES: dict[str, tuple[PimBankParams, ...]] = {
    "pim_smoke": _SMOKE,
    "pim_quick": _QUICK,
    "pim_standard": _STANDARD,
    "pim_full": _STANDARD + _LARGE,
}
PIM_NETLIST_DESIGNS = (PimBankParams(lanes=2, columns=4), PimBankParams("aim", "bf16", lanes=2, columns=4))
"""Small units that are synthesised and simulated as netlists (pim_full)."""
PIM_COVERAGE_DESIGNS = (PimBankParams(lanes=4, columns=8), PimBankParams("aim", "bf16", lanes=4, columns=8))
"""Units whose line coverage is measured (pim_full, where Verilator is installed)."""


def is_pim_matrix(name: str) -> bool:
    """Whether a matrix name means PIM bank units."""
    return name.startswith(_PREFIX)


def pim_matrix(name: str) -> tuple[PimBankParams, ...]:
    """Units of a named set, ``pim_smoke``, ``pim_quick``, ``pim_standard`` or ``pim_full``.

    Raises:
        ChipsmithError: for an unknown name.
    """
    found = PIM_MATRICES.get(name)
    if found is None:
        raise ChipsmithError("matrix", name, nearest(name, PIM_MATRICES))
    return found
