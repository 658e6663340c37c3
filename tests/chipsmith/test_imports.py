"""The shape of the tree: who imports whom, what start-up loads, and what a foreign `models` folder does to us."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import chipsmith
from chipsmith import cli

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("workloads", "models", "sim", "rtl", "dse", "chipsmith")
LEAVES = ("workloads.errors", "workloads.dtypes")
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "workloads": (),
    "models": LEAVES,
    "sim": ("workloads", "models"),
    "rtl": (*LEAVES, "models", "sim"),
    "dse": ("workloads", "models", "sim"),
    "chipsmith": ("workloads", "models", "sim", "rtl", "dse"),
}
# numba itself imports scipy and, to find its BLAS, scipy.linalg; the rest of scipy is ours to avoid.
SCIPY = ("scipy.integrate", "scipy.optimize", "scipy.sparse", "scipy.special", "scipy.stats")
SLOW_TO_IMPORT = (*SCIPY, "matplotlib", "plotly", "optuna", "pymoo", "cocotb", "torch")
LONGEST_FUNCTION_LINES = 60


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}
TREES = {name: ast.parse(path.read_text()) for name, path in SOURCES.items()}


def imported(node: ast.AST, module: str) -> Iterator[str]:
    """Modules (or names in them) that one import statement asks for."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
        base = (
            importlib.util.resolve_name("." * node.level + (node.module or ""), package) if node.level else node.module
        )
        yield from (f"{base}.{alias.name}" for alias in node.names)


def ours(name: str) -> str | None:
    """The module of ours that ``name`` (module or module.attribute) stands for."""
    while name and name not in SOURCES:
        name = name.rpartition(".")[0]
    return name or None


def edges(module: str, nodes: Iterator[ast.AST]) -> set[str]:
    found = {ours(name) for node in nodes for name in imported(node, module)}
    return {name for name in found if name and name != module}


def at_import_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Nodes that run when the module is imported: neither in functions nor under TYPE_CHECKING."""
    for node in ast.iter_child_nodes(tree):
        typing_only = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if typing_only or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield node
        yield from at_import_time(node)


def allowed(package: str, target: str) -> bool:
    return any(target == legal or target.startswith(f"{legal}.") for legal in (package, *MAY_IMPORT[package]))


def test_no_package_imports_what_it_may_not() -> None:
    """Counts imports inside functions too."""
    forbidden = [
        f"{module} imports {target}"
        for module, tree in TREES.items()
        for target in sorted(edges(module, ast.walk(tree)))
        if not allowed(module.split(".")[0], target)
    ]
    assert forbidden == []


def find_circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle as the list of its modules, or nothing."""
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str]:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return []
        done.add(node)
        return next((found for target in sorted(graph[node]) if (found := visit(target, [*trail, node]))), [])

    return next((found for node in sorted(graph) if (found := visit(node, []))), [])


def test_there_is_no_import_circle() -> None:
    assert find_circle({module: edges(module, at_import_time(tree)) for module, tree in TREES.items()}) == []


def test_the_circle_finder_finds_one() -> None:
    assert find_circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize(
    "module", sorted(m for m, p in SOURCES.items() if p.name == "__init__.py" and m != "chipsmith")
)
def test_each_init_is_one_docstring(module: str) -> None:
    body = TREES[module].body
    assert len(body) == 1 and ast.get_docstring(TREES[module])


def test_no_folder_is_a_lumber_room() -> None:
    assert [p for p in SOURCES if {"utils", "util", "common", "helpers", "misc"} & set(p.split("."))] == []


def test_no_function_is_longer_than_a_screen() -> None:
    too_long = [
        f"{module}.{node.name}: {node.end_lineno - node.lineno + 1} lines"
        for module, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION_LINES
    ]
    assert too_long == []


# ---------------------------------------------------------------- start-up


def loaded_after(code: str, cwd: Path) -> set[str]:
    """Names of all packages and of their direct modules that are loaded after ``code`` ran in a fresh interpreter."""
    names = "{'.'.join(m.split('.')[:n]) for m in sys.modules for n in (1, 2)}"
    report = f"import json, sys; print(json.dumps(sorted({names})), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], cwd=cwd, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


def command_line(argv: list[str]) -> str:
    return f"from chipsmith import cli\ntry:\n    cli.main({argv!r})\nexcept SystemExit:\n    pass"


def test_importing_the_face_loads_no_library(tmp_path: Path) -> None:
    loaded = loaded_after("import chipsmith", tmp_path)
    assert loaded & {*SLOW_TO_IMPORT, "numpy", "pandas", "numba", "pydantic", "yaml", "pyarrow"} == set()


def test_the_command_starts_without_heavy_libraries(tmp_path: Path) -> None:
    loaded = loaded_after(command_line(["--help"]), tmp_path)
    assert loaded & {*SLOW_TO_IMPORT, "numpy", "pandas", "numba", "pyarrow"} == set()


def test_what_is_loaded_is_seen(tmp_path: Path) -> None:
    assert {"scipy.stats", "scipy"} <= loaded_after("import scipy.stats", tmp_path)


def test_the_simulator_imports_none_of_the_slow_libraries(tmp_path: Path) -> None:
    loaded = loaded_after(command_line(["run", "--help"]) + "\nimport sim.simulate", tmp_path)
    assert loaded & {*SLOW_TO_IMPORT, "pandas", "pyarrow"} == set()


def test_a_run_loads_none_of_the_slow_libraries(tmp_path: Path) -> None:
    """Runs the example of ``chipsmith run``."""
    run = next(command for command in cli.commands() if command.NAME == "run")
    argv = [*shlex.split(run.EXAMPLE)[1:]]
    loaded = loaded_after(command_line(argv), tmp_path)
    assert loaded & {*SLOW_TO_IMPORT, "scipy", "numba", "pandas", "pyarrow"} == set()


# ---------------------------------------------------------------- public names


@pytest.mark.parametrize("name", sorted(chipsmith.PUBLIC))
def test_each_public_name_is_what_the_table_says(name: str) -> None:
    module, attribute = chipsmith.PUBLIC[name].split(":")
    assert getattr(chipsmith, name) is getattr(importlib.import_module(module), attribute)


def test_public_names_are_listed_and_unknown_ones_refused() -> None:
    assert set(chipsmith.PUBLIC) < set(dir(chipsmith))
    with pytest.raises(AttributeError, match=r"^module 'chipsmith' has no attribute 'simulat'$"):
        _ = chipsmith.simulat


def test_a_submodule_does_not_replace_a_public_name() -> None:
    """Importing the module ``chipsmith.validate`` must leave the function ``chipsmith.validate`` in place."""
    before = dict(vars(chipsmith))
    setattr(chipsmith, "validate", ModuleType("chipsmith.validate"))  # noqa: B010  (what the import system does)
    assert not isinstance(vars(chipsmith).get("validate"), ModuleType)
    assert vars(chipsmith) == before


# ---------------------------------------------------------------- foreign packages with our names


@pytest.fixture
def decoy(tmp_path: Path) -> Path:
    """A folder with packages that have our names and break when imported."""
    for name in ("models", "sim"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('foreign package imported')\n")
    return tmp_path


def run_from(folder: Path, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, env={**os.environ, **env}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("with_init", [True, False])
@pytest.mark.parametrize(
    "command", [[str(Path(sys.executable).with_name("chipsmith"))], [sys.executable, "-m", "chipsmith"]]
)
def test_both_commands_work_beside_foreign_packages(decoy: Path, command: list[str], with_init: bool) -> None:
    if not with_init:
        for path in decoy.glob("*/__init__.py"):
            path.rename(path.with_name("data.py"))
    done = run_from(decoy, *command, "doctor", "--format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["tool"] == "python"


def test_a_foreign_package_on_the_path_is_refused_in_one_line(decoy: Path) -> None:
    done = run_from(decoy, sys.executable, "-c", "import chipsmith", PYTHONPATH=str(decoy))
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: chipsmith needs its own package 'models' from {ROOT / 'models'}, but Python finds "
        f"{decoy / 'models'}; rename that one, or take its folder off sys.path and PYTHONPATH"
    )


def test_a_foreign_module_that_is_loaded_already_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rtl.py").write_text("")
    done = run_from(tmp_path, sys.executable, "-c", "import rtl, chipsmith")
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: chipsmith needs its own package 'rtl' from {ROOT / 'rtl'}, but Python finds "
        f"{tmp_path / 'rtl.py'}; rename that one, or take its folder off sys.path and PYTHONPATH"
    )
