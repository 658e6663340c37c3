"""Model configurations: the shipped ones and Hugging Face style ``config.json`` files of the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

from workloads.dtypes import dtype
from workloads.errors import ChipsmithError, nearest
from workloads.precision import Precision

_FOLDER = "data/configs"


@dataclass(frozen=True)
class ModelConfig:
    """One model configuration, unchangeable and hashable.

    Attributes:
        name: short name, for example ``llama-2-7b``.
        model_type: Hugging Face ``model_type``, picks the family that builds the trace.
        items: the fields of the configuration file in order (lists as tuples, objects as tuples of pairs).
        source: where the numbers are published.
        parameters: published number of parameters, 0 where unknown.
        precision: formats that the model is published in where they are part of it (BitNet, GPT-OSS), else None.
        expert_weights: format of the experts where it differs from that of the other weights.
    """

    name: str
    model_type: str
    items: tuple[tuple[str, object], ...]
    source: str = ""
    parameters: int = 0
    precision: Precision | None = None
    expert_weights: str = ""

    @cached_property
    def _fields(self) -> dict[str, object]:
        return dict(self.items)

    def get(self, field: str, default: object = None) -> object:
        """A field as it stands in the file; null counts as missing."""
        value = self._fields.get(field)
        return default if value is None else value

    def integer(self, field: str, default: int | None = None, least: int = 1) -> int:
        """A whole number of at least ``least``.

        Raises:
            ChipsmithError: the field is missing (and has no default), is no whole number, or is too small.
        """
        value = self.get(field, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            shown = "nothing" if value is None else value
            raise ChipsmithError(f"{self.name}.{field}", shown, f"legal: a whole number, at least {least}")
        return value

    def flag(self, field: str, default: bool) -> bool:
        """A true or false field.

        Raises:
            ChipsmithError: neither true nor false.
        """
        value = self.get(field, default)
        if not isinstance(value, bool):
            raise ChipsmithError(f"{self.name}.{field}", value, "legal: true or false")
        return value

    def text(self, field: str, default: str, legal: tuple[str, ...]) -> str:
        """A field with a closed list of values.

        Raises:
            ChipsmithError: none of them, with the nearest legal one.
        """
        value = self.get(field, default)
        if value not in legal:
            raise ChipsmithError(f"{self.name}.{field}", value, nearest(str(value), legal))
        return str(value)

    def names(self, field: str, legal: tuple[str, ...], least: int) -> tuple[str, ...]:
        """A list of names out of a closed list; empty where the field is missing.

        Raises:
            ChipsmithError: no list, fewer than ``least`` names, or an unknown one.
        """
        value = self.get(field, ())
        if not isinstance(value, tuple) or (value and len(value) < least):
            shown = f"{len(value)} entries" if isinstance(value, tuple) else value
            raise ChipsmithError(f"{self.name}.{field}", shown, f"legal: a list of at least {least}, one a layer")
        for index, name in enumerate(value):
            if name not in legal:
                raise ChipsmithError(f"{self.name}.{field}[{index}]", name, nearest(str(name), legal))
        return tuple(str(name) for name in value)

    def with_fields(self, **changes: object) -> ModelConfig:
        """A copy with some fields changed, for example ``num_hidden_layers=1``."""
        fields = {**self._fields, **changes}
        return replace(self, items=tuple((k, _frozen(v)) for k, v in fields.items()), parameters=0)


def _frozen(value: object) -> object:
    if isinstance(value, list | tuple):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, Mapping):
        return tuple((str(key), _frozen(item)) for key, item in value.items())
    return value


@cache
def list_configs() -> tuple[str, ...]:
    """Names of the shipped configurations, sorted."""
    folder = resources.files("workloads").joinpath(_FOLDER)
    return tuple(sorted(item.name[: -len(".json")] for item in folder.iterdir() if item.name.endswith(".json")))


def load_config(name_or_path: str | Path) -> ModelConfig:
    """A shipped configuration by name, or a Hugging Face style ``config.json`` by path (of the file or its folder).

    Raises:
        ChipsmithError: unknown name (with the nearest known one), missing or corrupt file, no ``model_type``.
    """
    text = str(name_or_path)
    if text.endswith(".json") or "/" in text or Path(text).is_dir():
        return _read_file(Path(text))
    if text not in list_configs():
        raise ChipsmithError("model", text, f"{nearest(text, list_configs())}; or the path of a config.json")
    return _shipped(text)


@cache
def _shipped(name: str) -> ModelConfig:
    file = resources.files("workloads").joinpath(f"{_FOLDER}/{name}.json")
    return parse_config(json.loads(file.read_text("utf-8")), name)


def _read_file(path: Path) -> ModelConfig:
    file = path / "config.json" if path.is_dir() else path
    try:
        fields = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ChipsmithError(str(file), None, f"no readable file: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ChipsmithError(str(file), None, f"no JSON: {error}") from None
    return parse_config(fields, file.parent.name if file.name == "config.json" else file.stem)


def parse_config(fields: object, name: str) -> ModelConfig:
    """A configuration from the parsed fields of a ``config.json``.

    Args:
        fields: the JSON object; keys that start with an underscore are notes of ours (``_source``, ``_parameters``,
            ``_precision``). A multimodal configuration stands for its ``text_config``.
        name: used in error messages and in the trace.

    Raises:
        ChipsmithError: no object, or without ``model_type``.
    """
    if not isinstance(fields, Mapping):
        raise ChipsmithError(name, type(fields).__name__, "legal: a JSON object with model_type, hidden_size ...")
    inner = fields.get("text_config")  # a multimodal model: its language model is what runs here
    facts: Mapping[object, object] = inner if isinstance(inner, Mapping) else fields
    model_type = facts.get("model_type")
    if not isinstance(model_type, str):
        raise ChipsmithError(f"{name}.model_type", model_type or "nothing", "legal: a Hugging Face model type")
    items = tuple((str(key), _frozen(value)) for key, value in facts.items() if not str(key).startswith("_"))
    source, published = str(facts.get("_source", "")), facts.get("_parameters", 0)
    parameters = published if isinstance(published, int) else 0
    return _with_formats(ModelConfig(name, model_type, items, source, parameters), facts.get("_precision"))


def _with_formats(config: ModelConfig, formats: object) -> ModelConfig:
    """The formats that the model is published in.

    Raises:
        ChipsmithError: an unknown key or format.
    """
    if not formats:
        return config
    where = f"{config.name}._precision"
    known = (*Precision().to_dict(), "expert_weights")
    if not isinstance(formats, Mapping):
        raise ChipsmithError(where, formats, f"legal: an object with some of {', '.join(known)}")
    for key in formats:
        if key not in known:
            raise ChipsmithError(where, key, nearest(str(key), known))
    experts = str(formats.get("expert_weights", ""))
    if experts:
        dtype(experts, f"{where}.expert_weights")
    own = Precision(**{str(key): value for key, value in formats.items() if key != "expert_weights"})
    return replace(config, precision=own, expert_weights=experts)
