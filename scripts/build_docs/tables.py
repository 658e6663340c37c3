"""Tables in pages that are made from the data files and registries of the packages, so that they cannot go stale.

A page holds ``<!-- table: NAME -->``; when the site is built the table stands there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from textwrap import indent
from typing import Any

import numpy as np

_MARK = re.compile(r"^( *)<!-- table: ([a-z_]+) -->", re.MULTILINE)
_FIRST_LINE = re.compile(r"\s+")


def expand(markdown: str) -> str:
    """Text with every mark replaced.

    Raises:
        KeyError: a page names a table that does not exist.
    """
    return _MARK.sub(lambda match: indent(TABLES[match[2]](), match[1]), markdown)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _first_line(text: str | None) -> str:
    return _FIRST_LINE.sub(" ", (text or "").strip().split("\n\n")[0])


def _at(points: Mapping[Any, float]) -> str:
    return ", ".join(f"{value:g} at {node} nm" for node, value in points.items())


def _constants() -> str:
    from models.datafiles import load_data

    rows = load_data("constants/default.yaml").content["constants"]
    cells = ((f"`{name}`", _at(r["at_nm"]), r["unit"], r["kind"], r["beyond"], r["source"]) for name, r in rows.items())
    return markdown_table(("constant", "value", "unit", "kind", "beyond its nodes", "source"), cells)


def _constant_kinds() -> str:
    """How many constants of each kind there are, over all data files that prices come from."""
    from models.datafiles import load_data

    kinds: Counter[str] = Counter(
        row["kind"] for row in load_data("constants/default.yaml").content["constants"].values()
    )
    for standard in load_data("memories.yaml").content["standards"].values():
        kinds.update(figure["kind"] for figure in standard.values())
    sram = load_data("sram.yaml").content
    kinds.update(value["kind"] for value in sram.values() if isinstance(value, dict) and "kind" in value)
    return markdown_table(("kind", "constants", "meaning"), ((k, n, _KINDS[k]) for k, n in kinds.most_common()))


_KINDS = {
    "published": "stands in a publication, at the node named with it",
    "derived": "computed from published figures; the source says how",
    "fitted": "set so that one published block agrees; that block proves nothing any more",
    "assumption": "nobody published it; the source says what it was taken from",
    "scaled": "a published figure moved to another node",
}


def _rules() -> str:
    from models.constants import constant_set

    return "\n".join(f"- **{name}**: {' '.join(text.split())}" for name, text in constant_set("default").rules.items())


def _constant_sets() -> str:
    from models.constants import constant_set, list_constant_sets

    return markdown_table(
        ("set", "what it is"), ((f"`{n}`", constant_set(n).description) for n in list_constant_sets())
    )


def _memories() -> str:
    from models.datafiles import load_data

    figures = ("core_pj_per_bit", "io_pj_per_bit", "background_w_per_gb", "interface_mm2_per_gbps")
    rows = load_data("memories.yaml").content["standards"]
    cells = ((name, *(f"{row[f]['value']:g} ({row[f]['kind']})" for f in figures)) for name, row in rows.items())
    return markdown_table(
        ("standard", "core, pJ/bit", "I/O, pJ/bit", "background, W/GB", "interface, mm²/(GB/s)"), cells
    )


def _memory_sources() -> str:
    from models.datafiles import load_data

    rows = load_data("memories.yaml").content["standards"]
    return "\n".join(f"- {text}" for text in dict.fromkeys(f["source"] for row in rows.values() for f in row.values()))


def _streaming() -> str:
    from models.datafiles import load_data

    rows = load_data("memory_efficiency.yaml").content["standards"]
    cells = (
        (n, f"{r['streaming_efficiency']:g}", f"{r['stream_interference']:g}", r["source"]) for n, r in rows.items()
    )
    return markdown_table(("standard", "streaming efficiency", "interference", "source"), cells)


def _technology() -> str:
    from models.datafiles import load_data
    from models.technology import delay_factor, energy_factor, polynomial_factor, technology

    at_45 = np.array([45.0])
    rows = []
    for node in load_data("technology.yaml").content["nodes"]:
        to = np.array([float(node)])
        area = technology().area(to)[0]
        factors = (area, energy_factor(at_45, to)[0], polynomial_factor(at_45, to)[0], delay_factor(at_45, to)[0])
        rows.append((node, f"{technology().vdd_v(to)[0]:g}", *(f"{value:.3g}" for value in factors)))
    head = ("node, nm", "supply, V", "area", "energy (used)", "energy (polynomials)", "delay")
    return markdown_table(head, rows)


def _dies() -> str:
    from models.dies import compare_dies

    rows = (
        (
            r.die,
            r.block,
            f"{r.published_mm2:g}",
            f"{r.modelled_mm2:.4g}",
            f"{r.error_pct:+.1f}",
            "yes" if r.fitted else "",
        )
        for r in compare_dies()
    )
    return markdown_table(("die", "block", "published, mm²", "modelled, mm²", "error, %", "used for fitting"), rows)


def _evidence() -> str:
    from sim.evidence import _table

    rows = (
        (
            f"`{name}`",
            row["kind"],
            "none" if row["interval_pct"] is None else f"±{row['interval_pct']} %",
            row["source"],
        )
        for name, row in _table().items()
    )
    return markdown_table(("figure", "class", "interval", "what it rests on"), rows)


def _samplers() -> str:
    from dse.samplers.registry import samplers

    rows = ((f"`{n}`", cls.default_population, _module_line(cls.__module__)) for n, cls in sorted(samplers().items()))
    return markdown_table(("sampler", "population", "what it does"), rows)


def _module_line(name: str) -> str:
    return _first_line(import_module(name).__doc__)


def _engines() -> str:
    from sim.engine import builtin_engines

    rows = (
        (f"`{n}`", ", ".join(sorted(e.kinds)), _module_line(f"sim.engines.{n}")) for n, e in builtin_engines().items()
    )
    return markdown_table(("family", "operators it takes", "model"), rows)


def _chips() -> str:
    from models.chip import list_chips, load_chip

    rows = ((f"`{name}`", load_chip(name).description, load_chip(name).source) for name in list_chips())
    return markdown_table(("preset", "what it is", "source"), rows)


def _families() -> str:
    import pkgutil

    import workloads.families

    modules = (
        import_module(f"workloads.families.{info.name}") for info in pkgutil.iter_modules(workloads.families.__path__)
    )
    rows = ((", ".join(f"`{t}`" for t in m.MODEL_TYPES), _first_line(m.__doc__)) for m in modules)
    return markdown_table(("`model_type`", "family"), rows)


def _objectives() -> str:
    from dse.objectives import OBJECTIVES

    rows = ((f"`{o.name}`", o.unit, o.direction, o.label, o.phase or "any") for o in OBJECTIVES.values())
    return markdown_table(("objective", "unit", "wanted", "meaning", "phase"), rows)


def _spaces() -> str:
    from dse.space import Space, list_spaces

    rows = (
        (f"`{n}`", f"{Space.from_yaml(n).size:,}", ", ".join(f"`{p}`" for p in Space.from_yaml(n).paths))
        for n in list_spaces()
    )
    return markdown_table(("space", "designs", "what varies"), rows)


def _mutants() -> str:
    from rtl.mutants import MUTANTS

    return markdown_table(
        ("fault", "put into", "must be noticed by"),
        ((m.name, f"{m.design}, `{m.part}`", ", ".join(f"`{t}`" for t in m.tests)) for m in MUTANTS),
    )


def _plan() -> str:
    from rtl.plan import PLAN

    rows = ((row.feature, f"`{row.test}`", len(row.bins) or "") for row in PLAN)
    return markdown_table(("feature", "bench test", "coverage bins"), rows)


def _matrices() -> str:
    from rtl.matrix import MATRICES

    rows = (
        (f"`{name}`", len(designs), ", ".join(f"`{d.name}`" for d in designs)) for name, designs in MATRICES.items()
    )
    return markdown_table(("set", "designs", "which"), rows)


def _functions() -> str:
    from sim.lower import FUNCTIONS

    return markdown_table(
        ("function", "reductions", "passes", "of these through a table"),
        ((f"`{name}`", *counts) for name, counts in FUNCTIONS.items()),
    )


def _adapters() -> str:
    from chipsmith.adapters.base import adapters

    rows = ((f"`{a.family}`", ", ".join(a.sources) or "any", a.misses or "", a.reason) for a in adapters())
    return markdown_table(("family", "sources", "what the translation leaves out", "why it is skipped"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "adapters": _adapters,
    "chips": _chips,
    "constant_kinds": _constant_kinds,
    "constant_sets": _constant_sets,
    "constants": _constants,
    "dies": _dies,
    "engines": _engines,
    "evidence": _evidence,
    "families": _families,
    "functions": _functions,
    "matrices": _matrices,
    "memories": _memories,
    "memory_sources": _memory_sources,
    "mutants": _mutants,
    "objectives": _objectives,
    "plan": _plan,
    "rules": _rules,
    "samplers": _samplers,
    "spaces": _spaces,
    "streaming": _streaming,
    "technology": _technology,
}
