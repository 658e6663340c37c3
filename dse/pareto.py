"""Dominance, fronts and hypervolume over arrays of objective values (all to be minimised)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


def non_dominated(values: Floats) -> Mask:
    """Rows that no other row dominates (equal rows don't dominate each other).

    Args:
        values: shape (n, objectives), to be minimised, finite.

    Returns:
        Mask of shape (n,).
    """
    if len(values) == 0:
        return np.zeros(0, dtype=np.bool_)
    distinct, inverse = np.unique(values, axis=0, return_inverse=True)
    keep = _staircase(distinct) if distinct.shape[1] == 2 else _cull(distinct)
    return keep[inverse.reshape(-1)]


def _staircase(points: Floats) -> Mask:
    """Two objectives, rows distinct and sorted by the first, then the second."""
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], points[:-1, 1]]))
    mask: Mask = points[:, 1] < best_before
    return mask


def _cull(points: Floats) -> Mask:
    """Any number of objectives: each surviving row removes all that it dominates, best sum of ranks first."""
    ranks = np.argsort(np.argsort(points, axis=0, kind="stable"), axis=0, kind="stable").sum(axis=1)
    alive = np.argsort(ranks, kind="stable")
    at = 0
    while at < len(alive):
        rest = points[alive]
        better_somewhere = (rest < rest[at]).any(axis=1)
        better_somewhere[at] = True
        alive = alive[better_somewhere]
        at = int(better_somewhere[:at].sum()) + 1
    mask = np.zeros(len(points), dtype=np.bool_)
    mask[alive] = True
    return mask


def reference_of(values: Floats) -> Floats:
    """Reference point from first results: the worst value of each objective, moved out by a tenth of itself."""
    worst = values.max(axis=0)
    moved: Floats = worst + 0.1 * np.abs(worst)
    return moved


def hypervolume(values: Floats, reference: Floats) -> float:
    """Volume between the points and the reference point, each axis in units of the reference's magnitude.

    Unit-free: for positive quantities to be minimised it is the dominated share of the box between zero and the
    reference point. Points beyond the reference count nothing. Computed by pymoo's ``HV``.

    Args:
        values: shape (n, objectives), to be minimised.
        reference: shape (objectives,).
    """
    inside = values[(values < reference).all(axis=1)]
    if len(inside) == 0:
        return 0.0
    scale = np.where(reference == 0, 1.0, np.abs(reference))
    front = inside[non_dominated(inside)] / scale
    return float(_indicator(reference / scale)(front))


def _indicator(reference: Floats) -> Any:
    from pymoo.indicators.hv import HV  # heavy: only studies need it

    return HV(ref_point=reference)


def overlaps(values: Floats, others: Floats, tolerance: Floats) -> NDArray[np.bool_]:
    """Whether the error intervals of two sets of designs overlap in every objective.

    Args:
        values: shape (n, objectives).
        others: shape (m, objectives).
        tolerance: half-width relative to the value, shape (objectives,).

    Returns:
        Shape (n, m).
    """
    half_a, half_b = np.abs(values) * tolerance, np.abs(others) * tolerance
    gap = np.abs(values[:, None, :] - others[None, :, :])
    return np.asarray((gap <= half_a[:, None, :] + half_b[None, :, :]).all(axis=2), dtype=np.bool_)


def tie_groups(values: Floats, tolerance: Floats) -> NDArray[np.int64]:
    """Number of the tie group of each row: rows linked by overlapping intervals share one, numbered in row order."""
    n = len(values)
    touching = overlaps(values, values, tolerance) if n else np.zeros((0, 0), dtype=np.bool_)
    group = np.arange(n)
    while True:
        least = np.where(touching, group[None, :], n).min(axis=1) if n else group
        if np.array_equal(least, group):
            return np.unique(group, return_inverse=True)[1].reshape(-1).astype(np.int64)
        group = least
