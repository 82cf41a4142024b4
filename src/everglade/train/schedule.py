"""What changes with the step alone: the learning rate and the ramp of the lambdas."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from everglade.train.config import TrainConfig

__all__ = ["learning_rate", "ramp"]


def learning_rate(step: int, config: TrainConfig) -> float:
    """Give the learning rate of an optimiser step, counted from 1: a linear rise, then a linear fall towards 0."""
    if step <= config.warmup:
        return config.learning_rate * step / config.warmup
    return config.learning_rate * (config.steps - step + 1) / (config.steps - config.warmup)


def ramp(final: float, step: int, ramp_steps: int) -> float:
    """Give lambda at an optimiser step, rising quadratically: final * min(1, step / ramp_steps)^2.

    Source: Formal et al., SPLADE v2 (arXiv 2109.10086), section 3, after Paria et al. (arXiv 2004.05665). `step` counts
    optimiser steps from 1, whatever the accumulation and the number of processes. A `final` of 0 is 0 at every step.
    """
    if ramp_steps <= 0:
        return final
    return final * min(1.0, step / ramp_steps) ** 2
