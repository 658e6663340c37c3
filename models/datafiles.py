"""Reads the data files of models/data: constant sets, scaling tables, memories, dies."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml


@dataclass(frozen=True)
class DataFile:
    """A YAML file of models/data.

    Attributes:
        name: path below models/data.
        content: what it holds; never changed.
        sha256: hash of its bytes, hexadecimal.
    """

    name: str
    content: Any
    sha256: str


@cache
def load_data(name: str) -> DataFile:
    """Read ``models/data/NAME`` once; a key given twice or bad YAML is a defect of ours and raises as it is."""
    raw = (resources.files("models") / "data" / name).read_bytes()
    content = yaml.load(raw, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return DataFile(name, content, hashlib.sha256(raw).hexdigest())


def data_names(folder: str) -> list[str]:
    """Names of the YAML files of a folder below models/data, without suffix."""
    found = (resources.files("models") / "data" / folder).iterdir()
    return sorted(item.name.removesuffix(".yaml") for item in found if item.name.endswith(".yaml"))
