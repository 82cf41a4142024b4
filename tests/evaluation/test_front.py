"""The Pareto front equals what comparing every point with every other gives, ties and all."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everglade.errors import InputError
from everglade.evaluation.front import pareto_front

FEW = st.integers(0, 4).map(float)  # so that ties are common
POINTS = st.lists(st.tuples(FEW | st.floats(allow_nan=False), FEW | st.floats(allow_nan=False)), max_size=25)


def naive_front(points):
    """A point stands if no other costs at most as much and is worth at least as much, one of the two strictly."""

    def beats(one, other):
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    standing = [place for place, point in enumerate(points) if not any(beats(other, point) for other in points)]
    return sorted(standing, key=lambda place: (points[place][0], place))


@given(POINTS)
def test_it_is_what_every_pair_says(points):
    costs, values = [cost for cost, _ in points], [value for _, value in points]
    assert pareto_front(costs, values) == naive_front(points)


def test_equal_points_stand_together_and_infinite_costs_are_costs():
    assert pareto_front([2, 1, 2, 1, 3], [5, 4, 5, 4, 5]) == [1, 3, 0, 2]
    assert pareto_front([math.inf, 1], [2, 1]) == [1, 0]
    assert pareto_front([1, 2], [-math.inf, -math.inf]) == [0]
    assert pareto_front([], []) == []


def test_what_has_no_place_is_refused():
    with pytest.raises(InputError, match="2 costs and 1 values"):
        pareto_front([1, 2], [1])
    with pytest.raises(InputError, match="point 1 has the cost nan"):
        pareto_front([1, math.nan], [1, 1])
