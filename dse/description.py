"""What a stored study says about itself: enough to read, draw and compare it without the files it was made from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from dse.objectives import Objective, objective
from dse.quality import METRICS
from dse.space import Parameter
from dse.variants import varying
from workloads.errors import ChipsmithError

KEY = "_description"  # of the manifest; the leading underscore: it need not match when a study is resumed


@dataclass(frozen=True)
class Description:
    """Facts of a study for its reader.

    Attributes:
        chip: name of the base chip.
        chip_yaml: the base chip itself.
        space: name of the space.
        work: name of the workload.
        parameters: what varies, with every value.
        measures: names of the stored quantities.
        objectives: names of the objectives, in the user's order.
        fidelity: how designs were simulated.
        unjudged: varied fields of number formats or sparsity whose accuracy nobody judged; every figure says so.
    """

    chip: str
    chip_yaml: str
    space: str
    work: str
    parameters: tuple[Parameter, ...]
    measures: tuple[str, ...]
    objectives: tuple[str, ...]
    fidelity: str
    unjudged: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths of the parameters, in column order."""
        return tuple(p.path for p in self.parameters)

    @property
    def size(self) -> int:
        """Designs of the space."""
        count = 1
        for parameter in self.parameters:
            count *= len(parameter.values)
        return count

    @property
    def warning(self) -> str:
        """What every reader of a figure must know, ``""`` if nothing."""
        if not self.unjudged:
            return ""
        return f"not at equal model quality: {varying(self.unjudged)} and accuracy was not judged"

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self))


def parse_description(where: str, text: str | None) -> Description:
    """Read what :meth:`Description.to_json` wrote.

    Args:
        where: the study, for the error.
        text: the line, None where the store has none.

    Raises:
        ChipsmithError: missing, or not what this version writes.
    """
    if text is None:
        raise ChipsmithError(where, None, "does not say what it holds: its writer was killed before it began")
    try:
        data: dict[str, Any] = json.loads(text)
        parameters = tuple(map(_parameter, data["parameters"]))
        lists = {name: tuple(data[name]) for name in ("measures", "objectives", "unjudged")}
        found = Description(**{**data, **lists, "parameters": parameters})
    except (ValueError, TypeError, KeyError) as error:
        raise ChipsmithError(where, None, f"is damaged: its description cannot be read ({error})") from None
    for name in (*found.measures, *found.objectives):
        measure(name)
    return found


def _parameter(data: dict[str, Any]) -> Parameter:
    derived = tuple((path, tuple(values)) for path, values in data["derived"])
    return Parameter(data["path"], tuple(data["values"]), tuple(data["linked"]), derived)


def measure(name: str) -> Objective:
    """A quantity that a study stores, metrics of quality tables included.

    Raises:
        ChipsmithError: for an unknown name, with the nearest known one.
    """
    return objective(name, METRICS)
