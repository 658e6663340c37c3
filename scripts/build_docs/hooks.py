"""What MkDocs calls: pages that are made from the sources, and the navigation that lists them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:  # MkDocs runs from anywhere; the packages lie beside the configuration
    sys.path.insert(0, str(ROOT))

from mkdocs.structure.files import File, Files  # noqa: E402  (needs nothing of ours, but stands with what does)

from scripts.build_docs import api, command_pages, gallery, optional_pages, tables  # noqa: E402


def on_config(config: Any) -> Any:
    """Put the made pages into the navigation."""
    config["nav"] = [_expanded(entry) for entry in config["nav"]]
    return config


def _expanded(entry: Any) -> Any:
    """A tab of the navigation with what is made for it."""
    if not isinstance(entry, dict):
        return entry
    ((title, value),) = entry.items()
    if title == "Python":
        return {title: api.navigation(ROOT)}
    if title == "Gallery":
        return {title: [value, *gallery.navigation(ROOT)]}
    extra = optional_pages.navigation(ROOT / "docs", title)
    return {title: [*value, *extra]} if extra else entry


def on_files(files: Files, config: Any) -> Files:
    """Add the made pages and pictures."""
    made: dict[str, str | bytes] = {
        **api.pages(ROOT),
        **gallery.files(ROOT),
        "commands.md": command_pages.page(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put tables where ``<!-- table: NAME -->`` stands, and texts about pages that exist."""
    return tables.expand(optional_pages.expand(markdown, ROOT / "docs"))
