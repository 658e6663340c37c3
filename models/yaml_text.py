"""YAML as our files use it: plain data, every key once, one clear error."""

from __future__ import annotations

from typing import Any

import yaml

from workloads.errors import ChipsmithError

_TEXT = "tag:yaml.org,2002:str"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C loader is optional
    """Safe loader that refuses a key given twice (YAML would keep the last)."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is no plain word", key.start_mark)
            if key.value in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: tuple[bool, bool]) -> str:
        """What a value is; ``2:4`` is text, as in YAML 1.2 and not the 124 seconds of YAML 1.1."""
        tag = str(super().resolve(kind, value, implicit))
        return _TEXT if tag in _NUMBERS and value is not None and ":" in value else tag


_DEEPEST = 100  # the library recurses for every level, and a deep enough file would end the process


def _check_depth(where: str, text: str) -> None:
    if sum(map(text.count, "[{-?:")) <= _DEEPEST:  # what opens a level
        return
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ChipsmithError(f"{where}: not valid YAML", None, f"nested more than {_DEEPEST} levels deep")


def parse_yaml(where: str, text: str) -> Any:
    """The data in a YAML text.

    Args:
        where: the file, for the error.

    Raises:
        ChipsmithError: no YAML, a key twice, a tag of another program, or nested too deeply, with the line.
    """
    try:
        _check_depth(where, text)
        return yaml.load(text, Loader=_Loader)
    except ValueError as error:  # a date that is none, a number of thousands of digits
        raise ChipsmithError(f"{where}: not valid YAML", None, str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or error
        raise ChipsmithError(f"{where}{line}: not valid YAML", None, str(problem)) from None
