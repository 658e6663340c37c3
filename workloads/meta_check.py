"""What the facts of a trace that others compute with must look like (docs/formats.md names them); the rest is free."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import fields

from workloads.errors import ChipsmithError
from workloads.precision import Precision

_LIMIT = 2**62  # as of the counts of a row
_PRECISION = {field.name: field.type for field in fields(Precision)}
_NUMBERS_OF_A_REQUEST = 3  # new tokens, cached tokens, multiplicity

Rule = tuple[Callable[[object], bool], str]


def check_meta(meta: Mapping[str, object]) -> None:
    """Refuse facts that nothing can be computed with.

    Raises:
        ChipsmithError: naming the fact, what it is and what would be legal.
    """
    for name, value in meta.items():
        holds, legal = _RULES.get(name, _FREE)
        if not holds(value):
            raise ChipsmithError(f"meta.{name}", value, f"legal: {legal}")
    if "expected_tokens" in meta and "requests" not in meta:
        raise ChipsmithError("meta.requests", None, "goes with expected_tokens")


def _whole_from(least: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and least <= value < _LIMIT


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _batch(value: object) -> bool:
    return isinstance(value, list | tuple) and all(_request(part) for part in value)


def _request(part: object) -> bool:
    whole = _whole_from(0)
    return isinstance(part, list | tuple) and len(part) == _NUMBERS_OF_A_REQUEST and all(map(whole, part))


def _transforms(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(calls, list) and all(isinstance(call, Mapping) for call in calls) for calls in value.values()
    )


def _precision(value: object) -> bool:
    if not isinstance(value, Mapping) or not {"weights", "activations", "kv"} <= set(value) <= set(_PRECISION):
        return False
    whole = _whole_from(0)
    return all(whole(part) if _PRECISION[name] == "int" else isinstance(part, str) for name, part in value.items())


_BYTES: Rule = (_whole_from(0), "a whole number below 2^62")
_COUNT: Rule = (_whole_from(1), "a whole number from 1, below 2^62")
_FREE: Rule = (lambda value: True, "")
_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("parameters", "parameter_bytes", "kv_cache_bytes", "kv_bytes_per_token"), _BYTES),
    **dict.fromkeys(("requests", "tokens", "processed_tokens", "tensor_parallel", "expert_parallel"), _COUNT),
    "expected_tokens": (_positive, "a number above 0"),
    "batch": (_batch, "a list of [new tokens, cached tokens, multiplicity]"),
    "transforms": (_transforms, "an object of lists of objects"),
    "precision": (_precision, f"an object of {', '.join(_PRECISION)}"),
    "moe": (lambda value: isinstance(value, str), "a text"),
}
