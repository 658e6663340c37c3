"""Pages of the Python reference: one a module, made from its docstrings without importing it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

#: Packages in the order in which data flows, with what each of them answers.
PACKAGES = {
    "chipsmith": "the face: public names, the command, validation, reports",
    "workloads": "what runs: operators, traces, configurations, request logs",
    "models": "what hardware is and what it costs",
    "sim": "how it runs: engines, memory, timeline, results",
    "dse": "what to build: spaces, samplers, studies",
    "rtl": "the thing itself: Verilog, benches, verification",
}


def module_files(root: Path, package: str) -> dict[str, Path]:
    """Public modules of a package: dotted name to file, packages before what they hold."""
    found = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        names = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(name.startswith("_") for name in names):
            found[".".join(names)] = path
    return dict(sorted(found.items()))


def summary(path: Path) -> str:
    """First sentence of a module's docstring, as one line."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split()).replace("|", "\\|")


def page_of(name: str, path: Path) -> str:
    """Source name of a module's page."""
    inner = "/".join(name.split("."))
    return f"api/{inner}/index.md" if path.name == "__init__.py" else f"api/{inner}.md"


@cache
def _all_modules(root: Path) -> dict[str, dict[str, Path]]:
    return {package: module_files(root, package) for package in PACKAGES}


def pages(root: Path) -> dict[str, str]:
    """Source name to Markdown of every page of the reference."""
    made = {"api/index.md": _overview()}
    for modules in _all_modules(root).values():
        for name, path in modules.items():
            made[page_of(name, path)] = _page(name, path, modules)
    return made


def _overview() -> str:
    rows = "\n".join(f"| [`{name}`]({name}/index.md) | {text} |" for name, text in PACKAGES.items())
    return (
        "# Python reference\n\n"
        "The folders are the import packages. What `chipsmith` itself names is the public face; everything else is "
        "documented as well, because an engine, a sampler or a study of your own meets it.\n\n"
        f"| package | what it answers |\n|---|---|\n{rows}\n\n"
        "## Public names\n\n"
        "`import chipsmith` is cheap: each of these is loaded when it is first used.\n\n"
        f"{_public_names()}\n"
    )


def _public_names() -> str:
    from chipsmith import PUBLIC

    rows = []
    for name, target in PUBLIC.items():
        module, _, attribute = target.partition(":")
        rows.append(f"| `chipsmith.{name}` | [`{module}.{attribute}`][{module}.{attribute}] |")
    return "| name | defined as |\n|---|---|\n" + "\n".join(rows)


def _page(name: str, path: Path, modules: dict[str, Path]) -> str:
    parts = [f"# `{name}`", f"::: {name}"]
    if path.name == "__init__.py":
        parts.append(_contents(name, path, modules))
    return "\n\n".join(part for part in parts if part) + "\n"


def _contents(name: str, path: Path, modules: dict[str, Path]) -> str:
    """Table of the modules right under a package."""
    here = Path(page_of(name, path)).parent
    depth = name.count(".") + 1
    rows = [
        f"| [`{inner}`]({Path(page_of(inner, file)).relative_to(here).as_posix()}) | {summary(file)} |"
        for inner, file in modules.items()
        if inner.startswith(f"{name}.") and inner.count(".") == depth
    ]
    return "## Modules\n\n| module | what it holds |\n|---|---|\n" + "\n".join(rows) if rows else ""


def navigation(root: Path) -> list[Any]:
    """Entries of the tab: an overview, then a section a package."""
    tree: list[Any] = ["api/index.md"]
    for package, modules in _all_modules(root).items():
        tree.append({package: _section(package, modules)})
    return tree


def _section(name: str, modules: dict[str, Path]) -> list[Any]:
    entries: list[Any] = [page_of(name, modules[name])]
    for inner, path in modules.items():
        if not inner.startswith(f"{name}.") or inner.count(".") != name.count(".") + 1:
            continue
        short = inner.rpartition(".")[2]
        entries.append({short: _section(inner, modules) if path.name == "__init__.py" else page_of(inner, path)})
    return entries
