"""What a training run can be told: one flat frozen value, read from TOML, checked before anything starts.

The defaults are those of the first row of the paper (SPLADE++, arXiv 2205.04733, "SPLADE"), in the paper's words where
it has them. They are meant for a GPU and MS MARCO; docs/tuning.md says what suits a small machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from everglade.errors import ConfigError
from everglade.settings import Settings
from everglade.train.losses import TAUGHT, parse_objective
from everglade.train.ranges import out_of_range, wrong_types

__all__ = ["DEFAULT_LAMBDAS", "TrainConfig"]

DEFAULT_LAMBDAS = (3e-4, 1e-4)
"""The paper's lambda_q and lambda_d beside InfoNCE."""


@dataclass(frozen=True, slots=True)
class TrainConfig(Settings):
    """The settings of one training run. docs/tuning.md gives the meaning and a sane range of each.

    Raises:
        ConfigError: if a value is of the wrong type or out of range; the message names every such field.
    """

    about: ClassVar[str] = "the training configuration"

    steps: int = 150_000
    batch_size: int = 128
    accumulation_steps: int = 1
    gradient_checkpointing: bool = False
    shard: bool = False
    negatives_per_query: int = 1
    loss: str = "infonce"
    temperature: float = 1.0
    learning_rate: float = 2e-5
    query_learning_rate: float | None = None
    weight_decay: float = 0.01
    warmup_steps: int | None = None
    max_gradient_norm: float = 1.0
    dropout: bool = True
    interpolate: float = 1.0
    start_terms: int | None = None
    regularizer_q: str = "flops"
    regularizer_d: str = "flops"
    threshold_q: int = 0
    threshold_d: int = 0
    df_alpha: float = 0.1
    df_beta: float = 10.0
    lambda_q: float | None = None
    lambda_d: float | None = None
    lambda_ramp_steps: int | None = None
    lambda_schedule: str | None = None
    target_query_terms: float | None = None
    target_doc_terms: float | None = None
    target_flops: float | None = None
    max_query_length: int = 256
    max_document_length: int = 256
    saved_document_length: int | None = None
    precision: str = "no"
    seed: int = 123
    log_every: int = 10
    collapse_patience: int = 5
    max_density: float = 0.5
    min_vocabulary: float = 0.002
    validate_every: int = 1_000
    validation_measure: str = "RR@10"
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        problems = wrong_types(self) or out_of_range(self)
        if problems:
            raise ConfigError("the training configuration cannot be used: " + "; ".join(problems) + ".")

    @property
    def warmup(self) -> int:
        """Steps over which the learning rate rises: `warmup_steps`, or the paper's share, a 25th of `steps`."""
        return self.steps // 25 if self.warmup_steps is None else self.warmup_steps

    @property
    def lambda_ramp(self) -> int:
        """Steps over which the lambdas rise: `lambda_ramp_steps`, or the paper's share, a third of `steps`."""
        return self.steps // 3 if self.lambda_ramp_steps is None else self.lambda_ramp_steps

    @property
    def objective(self) -> tuple[tuple[float, str], ...]:
        """The losses of `loss` with their weights."""
        return parse_objective(self.loss)

    @property
    def needs_teacher(self) -> bool:
        """Whether a loss compares the scores with a teacher's."""
        return any(name in TAUGHT for _, name in self.objective)

    @property
    def has_target(self) -> bool:
        """Whether a controller finds a lambda."""
        return any(target is not None for target in (self.target_query_terms, self.target_doc_terms, self.target_flops))

    @property
    def lambdas(self) -> tuple[float, float]:
        """The weights of the penalties on queries and documents after the ramp, where no target is given."""
        given = zip((self.lambda_q, self.lambda_d), DEFAULT_LAMBDAS, strict=True)
        query, document = (default if value is None else value for value, default in given)
        return query, document
