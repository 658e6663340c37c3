"""Scaling between process nodes: area, delay and energy factors, and the nominal supply.

Factors are those of Stillmaker and Baas, Integration 58 (2017) 74-81, energy below 45 nm aside
(models/data/technology.yaml). Between listed nodes they are interpolated on log axes; outside the published range the
last segment is continued, with one warning.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.datafiles import load_data

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogCurve:
    """A positive function of a positive variable, given at points and interpolated on log-log axes.

    Attributes:
        x: ascending, shape (p,).
        y: shape (p,).
    """

    x: Floats
    y: Floats

    def __call__(self, at: Floats) -> Floats:
        """Values at ``at`` > 0, shape (n,); beyond the ends the last segment is continued."""
        if len(self.x) == 1:
            return np.full(len(at), float(self.y[0]))
        log_x, log_y = np.log(self.x), np.log(self.y)
        piece = np.clip(np.searchsorted(self.x, at) - 1, 0, len(log_x) - 2)
        slope = (log_y[piece + 1] - log_y[piece]) / (log_x[piece + 1] - log_x[piece])
        value: Floats = np.exp(log_y[piece] + slope * (np.log(at) - log_x[piece]))
        return value

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest ``x`` given."""
        return float(self.x[0]), float(self.x[-1])


def log_curve(points: dict[float, float]) -> LogCurve:
    """Curve through points ``{x: y}``, all positive."""
    ordered = sorted(points.items())
    return LogCurve(np.array([float(x) for x, _ in ordered]), np.array([float(y) for _, y in ordered]))


@dataclass(frozen=True)
class Technology:
    """The scaling curves of models/data/technology.yaml.

    Attributes:
        vdd_v: nominal supply of a node.
        area, energy, polynomial, delay: factors relative to 45 nm, at nominal supply.
        range_nm: nodes that the publication covers.
    """

    vdd_v: LogCurve
    area: LogCurve
    energy: LogCurve
    polynomial: LogCurve
    delay: LogCurve
    range_nm: tuple[float, float]


def _at_nominal(node: dict[str, Any], name: str) -> float:
    return float(np.polyval(node[name], node["vdd_v"]))


def _relative(nodes: dict[float, dict[str, Any]], name: str) -> dict[float, float]:
    base = _at_nominal(nodes[45], name)
    return {nm: _at_nominal(node, name) / base for nm, node in nodes.items()}


@cache
def technology() -> Technology:
    """The scaling curves, read once."""
    data = load_data("technology.yaml").content
    nodes: dict[float, dict[str, Any]] = data["nodes"]
    polynomial = _relative(nodes, "energy")
    planar = {nm: factor for nm, factor in polynomial.items() if nm >= 45}
    low, high = data["range_nm"]
    return Technology(
        vdd_v=log_curve({nm: node["vdd_v"] for nm, node in nodes.items()}),
        area=log_curve({nm: node["area"] for nm, node in nodes.items()}),
        energy=log_curve({**planar, 7: data["energy_at_7nm"]["value"]}),
        polynomial=log_curve(polynomial),
        delay=log_curve(_relative(nodes, "delay")),
        range_nm=(low, high),
    )


def nominal_vdd(node_nm: Floats) -> Floats:
    """Nominal supply of each node, V, shape (n,)."""
    return technology().vdd_v(node_nm)


def area_factor(from_nm: Floats, to_nm: Floats) -> Floats:
    """Logic area at ``to_nm`` over that at ``from_nm``."""
    return technology().area(to_nm) / technology().area(from_nm)


def energy_factor(from_nm: Floats, to_nm: Floats) -> Floats:
    """Switching energy at ``to_nm`` over that at ``from_nm``, both at nominal supply.

    Below 45 nm this is the published ratio of eight arithmetic operations at 45 and 7 nm (2.87), not the polynomials,
    whose ratio is 14.6 (see :func:`polynomial_factor`): the polynomials are fitted to simulated inverters.
    """
    return technology().energy(to_nm) / technology().energy(from_nm)


def polynomial_factor(from_nm: Floats, to_nm: Floats) -> Floats:
    """As :func:`energy_factor`, with the published polynomials at every node."""
    return technology().polynomial(to_nm) / technology().polynomial(from_nm)


def delay_factor(from_nm: Floats, to_nm: Floats) -> Floats:
    """Gate delay at ``to_nm`` over that at ``from_nm``, both at nominal supply."""
    return technology().delay(to_nm) / technology().delay(from_nm)


def warn_outside(node_nm: Floats) -> None:
    """One warning where a node lies outside the published range."""
    low, high = technology().range_nm
    outside = node_nm[(node_nm < low) | (node_nm > high)]
    if len(outside):
        text = f"technology.node_nm {outside[0]:g} is outside the published {low:g} to {high:g} nm: extrapolated"
        warnings.warn(text, RuntimeWarning, stacklevel=3)
