"""Work that two engines share: feed-forward weights and experts dealt to both, attention in groups of heads.

A policy names the second engine. Rows that it takes a part of become two rows, one for each engine, that read the same
inputs and write parts of the same output; ``device_group`` of the second one names its engine. Shares come from the
engines' own prices of the row, so that both end at the same time as far as rows can be cut.
"""

from __future__ import annotations

#: What stands between the name of an operator and the part that it was cut to.
PART = "~"


def base_name(name: str) -> str:
    """Name of the operator that a part belongs to."""
    return name.partition(PART)[0]
