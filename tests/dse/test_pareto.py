import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.pareto import hypervolume, non_dominated, overlaps, reference_of, tie_groups


def slow_front(values: np.ndarray) -> list[bool]:
    """The definition, pair by pair."""
    return [not any((o <= v).all() and (o < v).any() for o in values) for v in values]


@pytest.mark.parametrize("objectives", [1, 2, 3, 4])
@given(data=st.data())
def test_the_front_is_what_the_definition_says(objectives: int, data: st.DataObject) -> None:
    n = data.draw(st.integers(0, 25))
    values = data.draw(arrays(np.float64, (n, objectives), elements=st.integers(0, 6).map(float)))
    assert non_dominated(values).tolist() == slow_front(values)


def test_the_front_of_many_random_points_in_three_objectives() -> None:
    values = np.random.default_rng(0).random((400, 3))
    assert non_dominated(values).tolist() == slow_front(values)


def test_equal_points_stay_together() -> None:
    values = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])
    assert non_dominated(values).tolist() == [True, True, True, False]


def test_the_reference_point_lies_a_tenth_beyond_the_worst() -> None:
    assert reference_of(np.array([[10.0, -4.0], [20.0, -2.0]])) == pytest.approx([22.0, -1.8])


def test_hypervolume_of_two_steps_in_units_of_the_reference() -> None:
    # (1, 2) and (2, 1) in the box up to (4, 4): 3 x 2 + 2 x 1 = 8 of 16
    values = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    assert hypervolume(values, np.array([4.0, 4.0])) == pytest.approx(0.5)


def test_hypervolume_of_points_beyond_the_reference_is_nothing() -> None:
    assert hypervolume(np.array([[5.0, 1.0], [4.0, 0.0]]), np.array([4.0, 4.0])) == 0.0
    assert hypervolume(np.empty((0, 2)), np.array([4.0, 4.0])) == 0.0


def test_hypervolume_of_a_maximised_objective() -> None:
    # throughput 30 against the reference 10: two references further; area half the reference
    assert hypervolume(np.array([[-30.0, 50.0]]), np.array([-10.0, 100.0])) == pytest.approx(2 * 0.5)


@given(arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 3)), elements=st.integers(0, 9).map(float)))
def test_hypervolume_never_falls_as_points_are_added(values: np.ndarray) -> None:
    reference = np.full(values.shape[1], 10.0)
    curve = [hypervolume(values[: i + 1], reference) for i in range(len(values))]
    assert all(after >= before - 1e-12 for before, after in itertools.pairwise(curve))
    assert hypervolume(values[non_dominated(values)], reference) == pytest.approx(curve[-1])


def test_intervals_overlap_only_if_they_do_in_every_objective() -> None:
    values = np.array([[100.0, 10.0]])
    others = np.array([[110.0, 10.0], [110.0, 13.0], [112.0, 10.0], [95.0, 10.5]])
    assert overlaps(values, others, np.array([0.05, 0.05])).tolist() == [[True, False, False, True]]


def test_ties_link_through_a_third_design() -> None:
    values = np.array([[100.0], [200.0], [109.0], [118.0]])
    assert tie_groups(values, np.array([0.05])).tolist() == [0, 1, 0, 0]
    assert tie_groups(values, np.array([0.0])).tolist() == [0, 1, 2, 3]
    assert tie_groups(np.empty((0, 1)), np.array([0.1])).tolist() == []
