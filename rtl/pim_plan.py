"""The test plan of the PIM bank unit."""

from __future__ import annotations

from rtl.pim_roles import ROLES
from rtl.pim_stimulus import BOTH_BINS, COMPOSITE_BINS, FLOAT_BINS, INT_BINS, RESET_BINS, SAME_ROW_BINS, WRAP_BINS
from rtl.plan import PlanRow

_NAMES = tuple(dict.fromkeys(name for names in ROLES.values() for name in names))
_COMMANDS = tuple(f"cmd.{name}" for name in _NAMES)
_TIGHT = tuple(f"tight.{name}" for name in _NAMES)

PIM_PLAN: tuple[PlanRow, ...] = (
    PlanRow("reset leaves nothing taken or unknown, and no timer running", "reset_state"),
    PlanRow("reset in mid-operation leaves no trace", "reset_in_flight", RESET_BINS),
    PlanRow("each command goes at the channel model's clock, sums come at its clock", "model_schedules", _COMMANDS),
    PlanRow("the same with a refresh, with several composites a tile, beside the host", "shared_schedules", _COMMANDS),
    PlanRow("each rule alone: refused until its delay is over, then taken", "spacing_rules", _TIGHT),
    PlanRow("any traffic on both buses: every answer as the rules say, every word right", "random_traffic", BOTH_BINS),
    PlanRow("composites of any length, sums kept or started anew", "random_traffic", COMPOSITE_BINS),
    PlanRow("corner operands, cancelling ones, those that are no number", "corner_operands", INT_BINS + FLOAT_BINS),
    PlanRow("ties, sticky bits, carries, cancellation, overflow, underflow, infinities", "directed_columns"),
    PlanRow("integer sums wrap at their width", "corner_operands", WRAP_BINS),
    PlanRow("dot products are bit exact", "random_numbers", INT_BINS + FLOAT_BINS),
    PlanRow("no row is open in both buffers; closed rows are not read", "row_conflicts", SAME_ROW_BINS),
)
