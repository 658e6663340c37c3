"""What mkdocstrings calls while it reads the sources."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object

from scripts.build_docs.docstrings import readable


class Readable(Extension):
    """Rewrites the docstring of every object before it is parsed."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
