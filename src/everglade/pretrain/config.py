"""What a pre-training run can be told: one flat frozen value, read from TOML, checked before anything starts.

Learning rate, warm-up, weight decay and the Condenser head are those that the authors of Condenser publish with it
(arXiv 2104.08253); docs/guide/pretrain.md says what suits a small machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from everglade.errors import ConfigError
from everglade.settings import Settings
from everglade.train.config import TrainConfig
from everglade.train.ranges import PRECISIONS, wrong_types

__all__ = ["OBJECTIVES", "PretrainConfig"]

OBJECTIVES = ("mlm", "flops-mlm", "cocondenser")

_CHOICES = {"objective": OBJECTIVES, "precision": PRECISIONS}
_AT_LEAST_ONE = (
    *("steps", "batch_size", "accumulation_steps", "min_span", "head_layers", "held_out_documents"),
    *("log_every", "validate_every", "checkpoint_every", "keep_checkpoints"),
)
_AT_LEAST_ZERO = ("weight_decay", "lambda_flops", "skip_from", "seed")
_AT_LEAST = {**dict.fromkeys(_AT_LEAST_ONE, 1), **dict.fromkeys(_AT_LEAST_ZERO, 0), "max_length": 3}
_ABOVE_ZERO = ("learning_rate", "max_gradient_norm", "temperature")


@dataclass(frozen=True, slots=True)
class PretrainConfig(Settings):
    """The settings of one pre-training run. docs/guide/pretrain.md gives the meaning and a sane range of each.

    Raises:
        ConfigError: if a value is of the wrong type or out of range; the message names every such field.
    """

    about: ClassVar[str] = "the pre-training configuration"

    objective: str = "mlm"
    from_scratch: bool = False
    steps: int = 100_000
    batch_size: int = 256
    accumulation_steps: int = 1
    max_length: int = 128
    mask_share: float = 0.15
    whole_words: bool = False
    learning_rate: float = 1e-4
    weight_decay: float = 0.01
    warmup_steps: int | None = None
    max_gradient_norm: float = 1.0
    dropout: bool = True
    lambda_flops: float = 1e-3
    lambda_ramp_steps: int | None = None
    min_span: int = 8
    head_layers: int = 2
    skip_from: int | None = None
    late_mlm: bool = True
    temperature: float = 1.0
    precision: str = "no"
    seed: int = 123
    held_out: float = 0.02
    held_out_documents: int = 512
    log_every: int = 10
    validate_every: int = 1_000
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        settings: Any = self  # whose fields are checked as those of a training configuration are
        problems = wrong_types(settings) or self._out_of_range()
        if problems:
            raise ConfigError("the pre-training configuration cannot be used: " + "; ".join(problems) + ".")

    @property
    def warmup(self) -> int:
        """Steps over which the learning rate rises: `warmup_steps`, or Condenser's share, a tenth of `steps`."""
        return self.steps // 10 if self.warmup_steps is None else self.warmup_steps

    @property
    def lambda_ramp(self) -> int:
        """Steps over which `lambda_flops` rises: `lambda_ramp_steps`, or a third of `steps`, as in training."""
        return self.steps // 3 if self.lambda_ramp_steps is None else self.lambda_ramp_steps

    @property
    def rows_per_document(self) -> int:
        """Rows that the model is given for each document of a batch: its two spans, or one window of it."""
        return 2 if self.objective == "cocondenser" else 1

    def of_machine(self) -> TrainConfig:
        """Give what processes, precision, optimiser and learning rate depend on, as training has it."""
        return TrainConfig(
            steps=self.steps,
            batch_size=self.batch_size,
            accumulation_steps=self.accumulation_steps,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            warmup_steps=self.warmup,
            max_gradient_norm=self.max_gradient_norm,
            dropout=self.dropout,
            precision=self.precision,
            seed=self.seed,
        )

    def _out_of_range(self) -> list[str]:
        """Give a sentence for each value that cannot be."""
        given = {name: value for name, value in self.to_dict().items() if value is not None}
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
        if not 0 < self.mask_share < 1:
            problems.append(f"mask_share must lie between 0 and 1, not {self.mask_share}")
        if not 0 <= self.held_out < 1:
            problems.append(f"held_out must be at least 0 and below 1, not {self.held_out}")
        if self.seed >= 2**63:
            problems.append(f"seed must be below 2^63, not {self.seed}")
        for name in ("warmup_steps", "lambda_ramp_steps"):
            if not 0 <= given.get(name, 0) <= self.steps:
                problems.append(f"{name} must lie between 0 and steps ({self.steps}), not {given[name]}")
        if self.batch_size % max(self.accumulation_steps, 1):
            problems.append(f"batch_size ({self.batch_size}) must be a multiple of accumulation_steps")
        if self.objective == "cocondenser" and self.batch_size < 2:
            problems.append("cocondenser tells spans of one document from those of others: batch_size must be above 1")
        return problems
