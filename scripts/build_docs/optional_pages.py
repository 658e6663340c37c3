"""Pages that are listed where they exist: each part of the project brings its own."""

from __future__ import annotations

import re
from pathlib import Path

_OPTIONAL = re.compile(r"<!-- optional: (\S+) \| (.*?) -->")
#: Tab of the navigation to (title, page) in order.
PAGES: dict[str, tuple[tuple[str, str], ...]] = {
    "How it works": (
        ("DRAM command by command", "memory.md"),
        ("Processing in memory", "pim.md"),
        ("Systems with memory that computes", "systems.md"),
        ("Verilog of a PIM bank unit", "rtl_pim.md"),
    ),
    "Reference": (("Files read and written", "formats.md"),),
}


def navigation(docs: Path, tab: str) -> list[dict[str, str]]:
    """Entries of a tab whose pages exist under ``docs``."""
    return [{title: page} for title, page in PAGES.get(tab, ()) if (docs / page).is_file()]


def expand(markdown: str, docs: Path) -> str:
    """Text where ``<!-- optional: PAGE | TEXT -->`` is the text if the page exists under ``docs``, else nothing."""
    return _OPTIONAL.sub(lambda match: match[2] if (docs / match[1]).is_file() else "", markdown)
