"""The gallery: pictures of the stored notebooks with their captions, each notebook as a page, the demo's pictures.

Nothing is run: what a notebook stores is what the page shows.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_CAPTION = re.compile(r"\*\*Figure (\d+[a-z]?)\.\*\*\s*(.+)", re.DOTALL)
_INTRO = """# Gallery

Every picture is data first: a pure, tested function computes what is shown, the drawing is thin. The commands draw
them (`run`, `compare`, `explore`, `study`), and so do the notebooks.

## From the demo

`make demo` compares the presets, searches a space of 20,480 accelerators for Llama-2-7B and draws the front.

![Pareto front: time per output token against die area, coloured by energy per token](images/demo_pareto.png)

Each point is an accelerator that was simulated; the coloured ones are the Pareto front, the curve on the right shows
how the [hypervolume](models/dse.md#hypervolume) grew.

![Rooflines of three chips with prefill and decode](images/demo_roofline.png)

Rooflines of three chips with prefill and decode of Llama-2-7B: what each operator reaches against what its chip allows.
"""


@dataclass(frozen=True)
class Picture:
    """A picture that a notebook stores.

    Attributes:
        name: file name.
        png: its bytes.
        caption: Markdown below it, empty where the notebook has none.
        alt: a few words for whoever cannot see it.
    """

    name: str
    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Notebook:
    """A stored notebook.

    Attributes:
        stem: file name without ending.
        cells: as stored.
    """

    stem: str
    cells: tuple[dict[str, Any], ...]

    @property
    def title(self) -> str:
        """First heading."""
        return next((line[2:] for line in _source(self.cells[0]).splitlines() if line.startswith("# ")), self.stem)

    @property
    def lead(self) -> str:
        """First paragraph under the title."""
        parts = _source(self.cells[0]).split("\n\n")
        return parts[1] if len(parts) > 1 else ""


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


@cache
def notebooks(root: Path) -> tuple[Notebook, ...]:
    """All stored notebooks, by name."""
    paths = sorted((root / "notebooks").glob("*.ipynb"))
    return tuple(Notebook(p.stem, tuple(json.loads(p.read_text(encoding="utf-8"))["cells"])) for p in paths)


def _data(cell: dict[str, Any], kind: str) -> Iterator[str]:
    """Outputs of one kind of a code cell."""
    for output in cell.get("outputs", ()):
        value = output.get("data", {}).get(kind)
        if value is not None:
            yield "".join(value)


def pictures(notebook: Notebook) -> tuple[Picture, ...]:
    """Pictures in order; the caption is the next text that begins with ``Figure``."""
    found: list[Picture] = []
    waiting: list[bytes] = []
    for cell in notebook.cells:
        waiting += [base64.b64decode(png) for png in _data(cell, "image/png")]
        for text in _data(cell, "text/markdown"):
            match = _CAPTION.match(text.strip())
            if match and waiting:
                found += _captioned(notebook, waiting, len(found), match)
                waiting = []
    return (*found, *_captioned(notebook, waiting, len(found), None))


def _captioned(notebook: Notebook, pngs: list[bytes], before: int, match: re.Match[str] | None) -> list[Picture]:
    """Pictures that share a caption: it stands under the last."""
    number = match[1] if match else ""
    caption = match[0].strip() if match else ""
    alt = f"Figure {number}: {_first_words(match[2])}" if match else f"Picture of {notebook.title}"
    names = [f"{notebook.stem}_{before + i + 1:02d}.png" for i in range(len(pngs))]
    return [Picture(name, png, caption if png is pngs[-1] else "", alt) for name, png in zip(names, pngs, strict=True)]


def _first_words(text: str) -> str:
    """First sentence without marks, for ``alt`` texts."""
    plain = re.sub(r"[*_`\[\]]", "", " ".join(text.split()))
    return plain.split(". ")[0].rstrip(".")


def files(root: Path) -> dict[str, str | bytes]:
    """The gallery, a page a notebook, and their pictures."""
    made: dict[str, str | bytes] = {"gallery.md": _gallery(notebooks(root))}
    for notebook in notebooks(root):
        made[f"notebooks/{notebook.stem}.md"] = notebook_page(notebook)
        made |= {f"notebooks/{picture.name}": picture.png for picture in pictures(notebook)}
    return made


def navigation(root: Path) -> list[dict[str, str]]:
    """One entry a notebook."""
    return [{one.title: f"notebooks/{one.stem}.md"} for one in notebooks(root)]


def _gallery(found: tuple[Notebook, ...]) -> str:
    parts = [_INTRO]
    for notebook in found:
        parts.append(f"## {notebook.title}\n\n{notebook.lead}\n\n[Read the study](notebooks/{notebook.stem}.md)")
        parts += [_figure(picture, "notebooks/") for picture in pictures(notebook)]
    return "\n\n".join(parts) + "\n"


def _figure(picture: Picture, folder: str) -> str:
    image = f"![{picture.alt}]({folder}{picture.name})"
    return f"{image}\n\n{picture.caption}" if picture.caption else image


def notebook_page(notebook: Notebook) -> str:
    """A notebook as Markdown: texts and outputs as they stand, code folded."""
    names = iter(picture.name for picture in pictures(notebook))
    alts = iter(picture.alt for picture in pictures(notebook))
    parts = []
    for cell in notebook.cells:
        if cell["cell_type"] == "markdown":
            parts.append(_source(cell))
            continue
        parts.append('??? example "Code"\n\n' + _indented(f"```python\n{_source(cell)}\n```"))
        parts += [_output(output, names, alts) for output in cell.get("outputs", ())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in text.splitlines())


def _output(output: dict[str, Any], names: Iterator[str], alts: Iterator[str]) -> str:
    data = output.get("data", {})
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    if "image/png" in data:
        return f"![{next(alts)}]({next(names)})"
    if "text/markdown" in data:
        return "".join(data["text/markdown"])
    return f'<div class="frame">{_table("".join(data["text/html"]))}</div>' if "text/html" in data else ""


def _table(html: str) -> str:
    """The table of a data frame without its styles."""
    return re.sub(r"<style.*?</style>", "", html, flags=re.DOTALL).strip()
