"""The shipped standards: one YAML file a standard under models/data/dram, several speed grades each."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from models.datafiles import data_names, load_data
from models.dram.spec import DramSpec, parse_dram
from workloads.errors import ChipsmithError, nearest

#: What a grade may change of its standard's file; the rest is the standard's.
_PARTS = ("organisation", "command_bus", "timing")


def list_standards() -> list[str]:
    """Names of the standards, as JEDEC writes them."""
    return sorted(str(_file(name)["standard"]) for name in data_names("dram"))


@cache
def _file(name: str) -> Mapping[str, Any]:
    content: Mapping[str, Any] = load_data(f"dram/{name}.yaml").content
    return content


def _of_standard(standard: str) -> Mapping[str, Any]:
    known = list_standards()
    if standard.upper() not in known:
        raise ChipsmithError("standard", standard, nearest(standard, known))
    return _file(standard.lower())


def list_grades(standard: str | None = None) -> list[str]:
    """Names of the grades of a standard, of all where None; the first one of a standard is its default.

    Raises:
        ChipsmithError: an unknown standard (nearest offered).
    """
    names = [standard] if standard is not None else list_standards()
    return [grade for name in names for grade in _of_standard(name)["grades"]]


@cache
def load_dram(name: str) -> DramSpec:
    """A grade by name (``HBM3-6400``), or the first grade of a standard (``hbm3``).

    Raises:
        ChipsmithError: an unknown standard or grade (nearest offered).
    """
    wanted = name.upper()
    family = wanted.split("-")[0]
    if family != wanted and family.lower() in data_names("dram"):  # a grade: no other standard's file is read
        grades = {str(grade).upper(): grade for grade in _file(family.lower())["grades"]}
        if wanted in grades:
            return _grade(_file(family.lower()), grades[wanted])
    if wanted in list_standards():
        return _grade(_of_standard(wanted), next(iter(_of_standard(wanted)["grades"])))
    standard = next((each for each in list_standards() if wanted.split("-")[0] == each), "")
    if standard:
        raise ChipsmithError("grade", name, nearest(name, list_grades(standard)))
    raise ChipsmithError("standard", name, nearest(name, list_standards()))


def _grade(content: Mapping[str, Any], grade: str) -> DramSpec:
    """A grade's fields over its standard's."""
    own = dict(content["grades"][grade])
    parts = {part: {**content.get(part, {}), **own.pop(part, {})} for part in _PARTS}
    shared = {key: content[key] for key in ("currents", "energy", "source") if key in content}
    return parse_dram({**shared, "name": grade, "standard": content["standard"], **own, **parts}, f"dram.{grade}")
