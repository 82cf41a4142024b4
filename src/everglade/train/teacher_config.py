"""What the training of a teacher can be told: one flat frozen value, read from TOML, checked before anything starts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from everglade.errors import ConfigError
from everglade.settings import Settings
from everglade.train.ranges import PRECISIONS, wrong_types

__all__ = ["TEACHER_LOSSES", "TeacherConfig"]

TEACHER_LOSSES = ("binary_cross_entropy", "listwise")

_CHOICES = {"loss": TEACHER_LOSSES, "precision": PRECISIONS}
_AT_LEAST = {
    **dict.fromkeys(("steps", "batch_size", "accumulation_steps", "negatives_per_query", "log_every"), 1),
    **dict.fromkeys(("validate_every", "checkpoint_every", "keep_checkpoints"), 1),
    **dict.fromkeys(("weight_decay", "seed", "warmup_steps"), 0),
    "max_length": 8,
}
_ABOVE_ZERO = ("learning_rate", "max_gradient_norm", "positive_weight")


@dataclass(frozen=True, slots=True)
class TeacherConfig(Settings):
    """The settings of one training of a cross-encoder.

    Attributes:
        steps: Optimiser steps.
        batch_size: Queries in a step, each with its positive and `negatives_per_query` negatives.
        accumulation_steps: Parts that a batch is cut into, to save memory.
        negatives_per_query: Negatives that an example shows at a time; they are drawn anew in each epoch.
        loss: "binary_cross_entropy" asks of each pair whether it is relevant; "listwise" is the softmax cross-entropy
            of the positive among the documents of its query.
        positive_weight: What a positive pair weighs in binary cross-entropy, against 1 of a negative one.
        learning_rate: Its highest value; it rises linearly over `warmup_steps`, then falls linearly to 0.
        weight_decay: AdamW's, on weights but not on biases and LayerNorm.
        warmup_steps: None for a tenth of `steps`.
        max_gradient_norm: Gradients with a larger norm are scaled down to it.
        max_length: Longest pair in tokens, special tokens included; None for 512, or as many as the model takes.
        precision: "no", "bf16" or "fp16".
        seed: What the new head, the order, the negatives and dropout depend on.
        log_every: Steps from one line of the log to the next.
        validate_every: Steps from one reranking of the held-out queries to the next.
        checkpoint_every: Steps from one checkpoint to the next.
        keep_checkpoints: How many of the last checkpoints stay.

    Raises:
        ConfigError: if a value is of the wrong type or out of range; the message names every such field.
    """

    about: ClassVar[str] = "the teacher's configuration"

    steps: int = 20_000
    batch_size: int = 32
    accumulation_steps: int = 1
    negatives_per_query: int = 4
    loss: str = "binary_cross_entropy"
    positive_weight: float = 1.0
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_steps: int | None = None
    max_gradient_norm: float = 1.0
    max_length: int | None = None
    precision: str = "no"
    seed: int = 123
    log_every: int = 10
    validate_every: int = 1_000
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        settings: Any = self  # whose fields are checked as those of a training configuration are
        problems = wrong_types(settings) or self._out_of_range()
        if problems:
            raise ConfigError("the teacher's configuration cannot be used: " + "; ".join(problems) + ".")

    def _out_of_range(self) -> list[str]:
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        problems = [
            f"{name} must be at least {least}, not {given[name]}"
            for name, least in _AT_LEAST.items()
            if name in given and not (given[name] >= least and math.isfinite(given[name]))
        ]
        problems += [
            f"{name} must be above 0 and finite, not {given[name]}"
            for name in _ABOVE_ZERO
            if not 0 < given[name] < math.inf
        ]
        problems += [
            f"{name} must be one of {', '.join(allowed)}, not {given[name]!r}"
            for name, allowed in _CHOICES.items()
            if given[name] not in allowed
        ]
        if self.warmup > self.steps:
            problems.append(f"warmup_steps must be at most steps ({self.steps}), not {self.warmup}")
        if self.seed >= 2**63:
            problems.append(f"seed must be below 2^63, not {self.seed}")
        if self.batch_size % max(self.accumulation_steps, 1):
            problems.append(f"batch_size ({self.batch_size}) must be a multiple of accumulation_steps")
        if self.loss == "listwise" and self.positive_weight != 1:
            problems.append("positive_weight does nothing to the listwise loss: leave it out")
        return problems

    @property
    def warmup(self) -> int:
        """Steps over which the learning rate rises: `warmup_steps`, or a tenth of `steps`."""
        return self.steps // 10 if self.warmup_steps is None else self.warmup_steps
