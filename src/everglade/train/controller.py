"""The sparsity controller: finds how hard a penalty must pull to bring a measured sparsity to its target."""

from __future__ import annotations

import math
from typing import Any

__all__ = ["Controller"]

_UPDATES_PER_RAMP = 200
_ARRIVAL = 0.7
"""Share of the ramp after which the path has arrived at the target; the rest is for settling."""
_SMALLEST = 1e-2
"""A measurement below this counts as this: it has a logarithm, and so has a batch of empty vectors."""
_WEAKEST, _STRONGEST = -0.5, 1.5
"""Bounds of the strength."""
_SMOOTHING, _SLOPE_SMOOTHING = 0.35, 0.35
_PACE, _PACE_OF_BOTH, _FASTEST_PACE = 0.15, 0.3, 0.5
"""How fast the lasting control follows a distance: a step, with one side or both, and at most for each update."""
_AHEAD = 10.0
"""Steps by which the distance is looked at ahead of time: so long Adam's momentum carries on what a pull began."""
_PROPORTIONAL, _PUSH, _PUSH_OF_BOTH = 3.0, 0.6, 0.25
"""By how much the distance ahead moves the lasting control, and the strength at once with one side or both, in a ramp
of up to 100 steps. One strength for both sides has two pulls, and no other controller that disturbs it."""
_GENTLEST = 0.5
"""Longer ramps leave time for less: both shrink in proportion, down to this share."""
_FADING = 1.5
"""The quick part fades with the length of an update, to this power: in a long one the model settles by itself."""
_LEAST_AUTHORITY = 0.25


class Controller:
    """Steers a measured quantity, such as active terms per document, along a path and to a target.

    The path is smooth and straight in the logarithm, from where the quantity starts to the target, and arrives after
    seven tenths of the ramp. What is answered is the distance from the path as it will be in ten steps, by its slope:
    a pull goes on moving the weights for so long, through the momentum, and what answers late swings. The strength with
    which the penalty pulls, in units of the ranking loss's pull, is the sum of two: a lasting part, scale * sinh(x +
    c a), whose x follows the distance (exponential where much is needed, linear about 0), and a quick part in
    proportion to a, the distance ahead. The strength may be negative, down to -1/2, because a loss that thins vectors
    has to be held against. x stops at its bounds, so that it does not wind up where the penalty can do no more. The
    constants were chosen on the toy task of the tests and on SPLADE-tiny.

    Measurements are averaged between updates, of which there are 200 in a ramp, or as many as it has steps.

    Args:
        target: what the quantity should be, above 0.
        ramp_steps: optimiser steps in which to arrive.
        both_sides: whether the strength is that of queries and documents alike, or of one side beside another's.
    """

    def __init__(self, target: float, ramp_steps: int, *, both_sides: bool = False) -> None:
        self._target = math.log(target)
        self._period = max(1, ramp_steps // _UPDATES_PER_RAMP)
        self._scale = min(0.02, 2.0 / ramp_steps)
        self._gentleness = max(_GENTLEST, min(1.0, 100 / ramp_steps))
        self._pace = _PACE_OF_BOTH if both_sides else _PACE
        self._push = _PUSH_OF_BOTH if both_sides else _PUSH
        self._arrival = _ARRIVAL * ramp_steps / self._period
        self._state: dict[str, float] = dict.fromkeys(("sum", "seen", "updates"), 0)
        self._state |= dict.fromkeys(("start", "level", "distance", "slope", "control", "strength"), 0.0)

    @property
    def strength(self) -> float:
        """How hard the penalty should pull now, in units of the ranking loss's pull."""
        return self._state["strength"]

    def observe(self, measured: float, authority: float = 1.0) -> bool:
        """Take note of the quantity in one optimiser step's batch; give whether the strength has moved.

        `authority` is the learning rate over its peak: where steps are shorter, a stronger pull is needed for the same.
        """
        state = self._state
        state["sum"] += measured
        state["seen"] += 1
        if state["seen"] < self._period:
            return False
        self._update(math.log(max(state["sum"] / state["seen"], _SMALLEST)), max(authority, _LEAST_AUTHORITY))
        state["sum"], state["seen"] = 0.0, 0
        return True

    def _update(self, measured: float, authority: float) -> None:
        state = self._state
        if state["updates"] == 0:
            state["start"] = state["level"] = measured
        state["updates"] += 1
        state["level"] += (measured - state["level"]) * _SMOOTHING
        share = min(1.0, state["updates"] / self._arrival)
        path = state["start"] + (self._target - state["start"]) * share**2 * (3 - 2 * share)
        distance = state["level"] - path
        state["slope"] += (distance - state["distance"] - state["slope"]) * _SLOPE_SMOOTHING
        state["distance"] = distance
        ahead = distance + _AHEAD / self._period * state["slope"]
        pace = min(_FASTEST_PACE, self._period * self._pace)
        bound = math.asinh(_STRONGEST / self._scale)
        state["control"] += pace / authority * distance
        state["control"] = min(bound, max(-bound, state["control"]))
        lasting = self._scale * math.sinh(state["control"] + _PROPORTIONAL * self._gentleness * ahead)
        quick = self._push * self._gentleness * ahead / (self._period**_FADING * authority)
        state["strength"] = min(_STRONGEST, max(_WEAKEST, lasting + quick))

    def state(self) -> dict[str, Any]:
        """Give what a checkpoint must hold."""
        return dict(self._state)

    def load(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint held."""
        self._state = dict(state)
