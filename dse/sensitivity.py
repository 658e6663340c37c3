"""Which parameter moves what: Sobol' indices of every measure with respect to every parameter of a space.

The *first* index of a parameter is the share of a measure's variance that goes away, on average, once that parameter
is fixed; the *total* index is the share that remains if only that parameter still varies, its interactions included
(Sobol', Math. Comput. Simul. 55, 2001). Saltelli's design (Comput. Phys. Commun. 181, 2010) and both estimators are
SALib's; its numbers in [0, 1) become value indices, every value of a parameter equally likely.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.objectives import Floats
from dse.plan import Plan, make_plan
from dse.quality import QualityTable
from dse.samplers.sobol import indices_of
from dse.space import Index, Space
from dse.workload import Evaluator, Workload
from workloads.errors import ChipsmithError, MissingToolError
from workloads.trace import Trace

CONFIDENCE = 0.95
_RESAMPLES = 200  # of the bootstrap behind the confidence intervals
_CHUNK = 8192  # designs evaluated together
_LEAST_SAMPLES = 64  # base samples that must be left after those with designs that cannot run are dropped
_MOST_SAMPLES = 1 << 16


@dataclass(frozen=True)
class Effect:
    """What one parameter does to one measure.

    Attributes:
        measure: name of the measure.
        path: the parameter.
        first: first-order index.
        first_conf: half-width of its 95 % bootstrap interval.
        total: total index.
        total_conf: half-width of its interval.
        trend: Spearman's rank correlation of value and measure, from -1 to 1; None for names, which have no order.
    """

    measure: str
    path: str
    first: float
    first_conf: float
    total: float
    total_conf: float
    trend: float | None


@dataclass(frozen=True)
class Sensitivity:
    """Sobol' indices of a space.

    Attributes:
        chip, space, work: names.
        paths: parameters. measures: names, in the user's order.
        effects: one a measure and parameter, measure by measure.
        base_samples: rows of Saltelli's design, dropped ones included.
        dropped: rows that were left out because one of their designs cannot run.
        designs: distinct designs that were simulated.
        logarithm: whether the indices are those of the measures' logarithms.
        seed: of the sequence and of the bootstrap.
        warning: what every reader must know, ``""`` if nothing.
    """

    chip: str
    space: str
    work: str
    paths: tuple[str, ...]
    measures: tuple[str, ...]
    effects: tuple[Effect, ...]
    base_samples: int
    dropped: int
    designs: int
    logarithm: bool
    seed: int
    warning: str

    def of(self, measure: str) -> tuple[Effect, ...]:
        """Effects on one measure, in the order of the parameters."""
        return tuple(effect for effect in self.effects if effect.measure == measure)


def sensitivity(
    space: Space,
    workload: Workload | Trace,
    measures: Sequence[str],
    *,
    base_samples: int = 1024,
    seed: int = 0,
    logarithm: bool = False,
    iso_quality: str = "required",
    quality: QualityTable | None = None,
    evaluator: Evaluator | None = None,
    mapping: str = "auto",
    fidelity: str = "tile",
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Sobol' indices of measures with respect to all parameters of a space.

    The space's constraints are not applied: the indices need parameters that vary independently. Designs that cannot
    run (no capacity, say) have no numbers; rows of the design that contain one are dropped and counted.

    Args:
        space: what varies.
        workload: what runs.
        measures: names of objectives.
        base_samples: rows of Saltelli's design, a power of two; each costs parameters + 2 designs.
        seed: of the sequence and of the bootstrap.
        logarithm: take the measures' logarithms, which weighs factors instead of differences.
        iso_quality, quality, evaluator, mapping, fidelity: as for a study.
        progress: called with (designs done, designs in all).

    Raises:
        ChipsmithError: as ``make_plan``; an illegal number of samples; too few rows whose designs all run.
        MissingToolError: SALib is not installed.
    """
    _check_samples(base_samples)
    plan = make_plan(space, Workload.of(workload), measures, (), iso_quality, quality, evaluator, mapping, fidelity)
    index = _saltelli(space, base_samples, seed)
    values, distinct = _evaluate(replace(plan, constraints=()), index, progress)
    rows = values.reshape(base_samples, len(space.paths) + 2, len(measures))
    runs = np.isfinite(rows).all(axis=(1, 2))
    if int(runs.sum()) < min(_LEAST_SAMPLES, base_samples):
        legal = f"of {base_samples} rows only so many consist of designs that can run; take more, or narrow the space"
        raise ChipsmithError("sensitivity", int(runs.sum()), legal)
    picked = index.reshape(base_samples, -1, len(space.paths))[runs]
    kept = np.log(rows[runs]) if logarithm else rows[runs]
    effects = [
        effect for j, name in enumerate(measures) for effect in _effects(space, name, picked, kept[:, :, j], seed)
    ]
    return Sensitivity(
        space.base.name, space.name, plan.description.work, space.paths, tuple(measures), tuple(effects),
        base_samples, int((~runs).sum()), distinct, logarithm, seed, plan.description.warning,
    )  # fmt: skip


def _check_samples(base_samples: int) -> None:
    if not 2 <= base_samples <= _MOST_SAMPLES or base_samples & (base_samples - 1):
        raise ChipsmithError("base_samples", base_samples, f"a power of two from 2 to {_MOST_SAMPLES}")


def _evaluate(plan: Plan, index: Index, progress: Callable[[int, int], None] | None) -> tuple[Floats, int]:
    """Measures of designs, each distinct design simulated once; and how many those are."""
    distinct, inverse = np.unique(index, axis=0, return_inverse=True)
    parts = []
    for at in range(0, len(distinct), _CHUNK):
        parts.append(plan.evaluate(distinct[at : at + _CHUNK]).values[:, plan.columns])
        if progress is not None:
            progress(min(at + _CHUNK, len(distinct)), len(distinct))
    return np.concatenate(parts)[inverse.reshape(-1)], len(distinct)


def _effects(space: Space, measure: str, index: Index, values: Floats, seed: int) -> list[Effect]:
    """Effects of all parameters on one measure.

    Args:
        space: the space.
        measure: its name.
        index: shape (rows, parameters + 2, parameters).
        values: shape (rows, parameters + 2).
        seed: of the bootstrap.
    """
    first, first_conf, total, total_conf = _indices(values, seed)
    plain = index[:, (0, -1)].reshape(-1, index.shape[2])  # the two independent samples of the design
    told = values[:, (0, -1)].reshape(-1)
    return [
        Effect(
            measure,
            p.path,
            float(first[j]),
            float(first_conf[j]),
            float(total[j]),
            float(total_conf[j]),
            _trend(p.ordered, plain[:, j], told),
        )
        for j, p in enumerate(space.parameters)
    ]


def _trend(ordered: bool, positions: NDArray[np.int64], values: Floats) -> float | None:
    """Spearman's rank correlation."""
    if not ordered:
        return None
    if np.ptp(positions) == 0 or np.ptp(values) == 0:
        return 0.0
    from scipy.stats import spearmanr

    return float(spearmanr(positions, values).statistic)


# SALib, reached only here


def _problem(parameters: int) -> dict[str, Any]:
    return {"num_vars": parameters, "names": [str(j) for j in range(parameters)], "bounds": [[0.0, 1.0]] * parameters}


def _saltelli(space: Space, base_samples: int, seed: int) -> Index:
    """Saltelli's design as value indices, shape (base_samples x (parameters + 2), parameters)."""
    if find_spec("SALib") is None:
        raise MissingToolError("sensitivity", None, "needs SALib, which is not installed: python -m pip install SALib")
    count = len(space.paths)
    points: Floats = import_module("SALib.sample.sobol").sample(
        _problem(count), base_samples, calc_second_order=False, seed=np.random.default_rng(seed)
    )
    return indices_of(space, points)


def _indices(values: Floats, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """First-order index, its half-interval, total index, its half-interval; shape (parameters,) each."""
    count = values.shape[1] - 2
    if np.ptp(values) <= 1e-12 * np.abs(values).max():
        zero = np.zeros(count)
        return zero, zero, zero, zero  # nothing moves it
    found = import_module("SALib.analyze.sobol").analyze(  # it ships no types
        _problem(count),
        values.reshape(-1),
        calc_second_order=False,
        num_resamples=_RESAMPLES,
        conf_level=CONFIDENCE,
        seed=seed + 1,  # SALib takes 0 for "no seed"
    )
    return tuple(np.asarray(found[name]) for name in ("S1", "S1_conf", "ST", "ST_conf"))  # type: ignore[return-value]  # four
