"""Turns the first complaint of a pydantic validation into one line of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from models.engines.base import Spec
from workloads.errors import ChipsmithError, nearest

#: Kind of complaint to what would be legal; names in braces come from the complaint's context.
_LEGAL = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "finite_number": "must be a finite number",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "string_type": "must be a word",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping of name to fields",
    "model_type": "must be a mapping of fields",
    "tuple_type": "must be a list",
    "value_error": "{error}",
}


def worded(error: ValidationError, prefix: str, model: type[Spec]) -> ChipsmithError:
    """The first complaint of ``error``; an unknown field goes before others, for it often explains them.

    Args:
        error: what validating ``model`` raised.
        prefix: path of the validated part, for example ``chip.engines.npu``.
        model: the validated class, by which an unknown field is compared with the known ones.
    """
    found = error.errors(include_url=False)
    first = next((each for each in found if each["type"] == "extra_forbidden"), found[0])
    loc = first["loc"]
    path = ".".join(str(part) for part in (prefix, *loc))
    if first["type"] == "extra_forbidden":
        return ChipsmithError(f"{path}: unknown field", None, nearest(str(loc[-1]), _fields_at(model, loc[:-1])))
    if first["type"] == "missing":
        return ChipsmithError(f"{path}: this field is required")
    legal = _LEGAL.get(first["type"], first["msg"]).format(**_context(first.get("ctx", {})))
    if isinstance(first["input"], Mapping) and first["type"] == "value_error":
        return ChipsmithError(f"{path}: {legal}")  # a rule over several fields: the whole part would fill the screen
    return ChipsmithError(path, first["input"], legal)


def _context(context: Mapping[str, Any]) -> dict[str, Any]:
    return {key: f"{value:g}" if isinstance(value, (int, float)) else value for key, value in context.items()}


def _fields_at(model: type[Spec], loc: Sequence[int | str]) -> list[str]:
    """Field names of the part of ``model`` that lies at ``loc``."""
    known: Any = model
    for part in loc:
        if isinstance(known, type) and issubclass(known, Spec):
            known = known.model_fields[str(part)].annotation
        elif get_origin(known) is dict:
            known = get_args(known)[1]
    return list(known.model_fields)
