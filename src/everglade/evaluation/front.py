"""The Pareto front: of points with a cost and a value, those that no other beats."""

from __future__ import annotations

import math
from collections.abc import Sequence

from everglade.errors import InputError

__all__ = ["pareto_front"]


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Give the places of the points that no other beats, the cheapest first.

    One point beats another that costs at least as much and is worth at most as much, if one of the two differs. So of
    points with equal cost only the worthiest can stand, of points of equal value only the cheapest, and points that
    are equal in both stand or fall together; these come in the order in which they were given.

    Args:
        costs: What each point costs; less is better.
        values: What each is worth; more is better.

    Raises:
        InputError: if there are not as many costs as values, or one is not a number.
    """
    if len(costs) != len(values):
        raise InputError(f"there are {len(costs)} costs and {len(values)} values: each point needs one of both.")
    for place, pair in enumerate(zip(costs, values, strict=True)):
        if any(math.isnan(number) for number in pair):
            raise InputError(f"point {place} has the cost {pair[0]} and the value {pair[1]}: both must be numbers.")
    front: list[int] = []
    best, at_cost = -math.inf, math.nan
    for place in sorted(range(len(costs)), key=lambda place: (costs[place], -values[place], place)):
        equal = bool(front) and costs[place] == at_cost and values[place] == best
        if values[place] > best or equal or not front:
            front.append(place)
            best, at_cost = values[place], costs[place]
    return front
