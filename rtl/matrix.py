"""Named sets of designs that ``verify`` runs."""

from __future__ import annotations

from rtl.params import SystolicParams
from workloads.errors import ChipsmithError, nearest

_SMOKE = (SystolicParams(4, 4), SystolicParams(4, 4, "os"))
_QUICK = (SystolicParams(4, 4), SystolicParams(8, 8, double_buffer=True), SystolicParams(8, 8, "os"))
_STANDARD = (
    SystolicParams(4, 4),
    SystolicParams(4, 4, double_buffer=True),
    SystolicParams(4, 4, "os"),
    SystolicParams(8, 8),
    SystolicParams(8, 8, double_buffer=True),
    SystolicParams(8, 8, "os"),
    SystolicParams(4, 4, acc_bits=18, mac_pipe=1),
    SystolicParams(4, 4, "os", a_bits=4, w_bits=4, acc_bits=14, mac_pipe=1),
    SystolicParams(3, 5, a_bits=8, w_bits=4, acc_bits=24, double_buffer=True, mac_pipe=1),
    SystolicParams(6, 2, "os", a_bits=8, w_bits=2, acc_bits=22),
)
_LARGE = (
    SystolicParams(2, 2, max_beats=4),
    SystolicParams(8, 8, mac_pipe=1),
    SystolicParams(8, 8, "os", mac_pipe=1),
    SystolicParams(4, 16, double_buffer=True),
    SystolicParams(16, 4, "os"),
    SystolicParams(16, 16, double_buffer=True),
    SystolicParams(16, 16, "os"),
)
MATRICES: dict[str, tuple[SystolicParams, ...]] = {
    "smoke": _SMOKE,
    "quick": _QUICK,
    "standard": _STANDARD,
    "full": _STANDARD + _LARGE,
}
AXIS_DESIGNS = (SystolicParams(4, 4), SystolicParams(4, 4, "os"))
"""Designs whose AXI-Stream wrapper is driven as well (standard and full)."""
NETLIST_DESIGNS = (SystolicParams(2, 2, max_beats=4, double_buffer=True), SystolicParams(2, 2, "os", max_beats=4095))
"""Small designs that are synthesised and simulated as netlists (full)."""
COVERAGE_DESIGNS = (SystolicParams(4, 4, double_buffer=True), SystolicParams(4, 4, "os"))
"""Designs whose line coverage is measured (full, where Verilator is installed)."""


def matrix(name: str) -> tuple[SystolicParams, ...]:
    """Designs of a named set.

    Raises:
        ChipsmithError: for an unknown name.
    """
    found = MATRICES.get(name)
    if found is None:
        raise ChipsmithError("matrix", name, nearest(name, MATRICES))
    return found
