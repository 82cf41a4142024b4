"""What a training run can be told: one flat frozen value, read from TOML, checked before anything starts.

The defaults are those of the first row of the paper (SPLADE++, arXiv 2205.04733, "SPLADE"), in the paper's words where
it has them. They are meant for a GPU and MS MARCO; docs/tuning.md says what suits a small machine.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from everglade.errors import ConfigError

__all__ = ["LOSSES", "PRECISIONS", "TrainConfig"]

LOSSES = ("infonce", "margin_mse")
PRECISIONS = ("no", "bf16", "fp16")


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """The settings of one training run. docs/tuning.md gives the meaning and a sane range of each.

    Raises:
        ConfigError: if a value is of the wrong type or out of range; the message names every such field.
    """

    steps: int = 150_000
    batch_size: int = 128
    accumulation_steps: int = 1
    negatives_per_query: int = 1
    loss: str = "infonce"
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    warmup_steps: int | None = None
    max_gradient_norm: float = 1.0
    dropout: bool = True
    lambda_q: float = 3e-4
    lambda_d: float = 1e-4
    lambda_ramp_steps: int | None = None
    max_query_length: int = 256
    max_document_length: int = 256
    precision: str = "no"
    seed: int = 123
    log_every: int = 10
    collapse_patience: int = 5
    validate_every: int = 1_000
    validation_measure: str = "RR@10"
    checkpoint_every: int = 1_000
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        problems = [*self._wrong_types(), *self._out_of_range()] if not self._wrong_types() else self._wrong_types()
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

    @classmethod
    def field_names(cls) -> list[str]:
        """Give the names of all settings, in the order they are declared."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def from_dict(cls, values: dict[str, Any], source: str = "the training configuration") -> Self:
        """Build a configuration from plain values; whatever is not named keeps its default.

        Raises:
            ConfigError: if a key is unknown (the nearest known one is named), or a value cannot be used.
        """
        known = cls.field_names()
        for key in values:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"Known settings: {', '.join(known)}."
                raise ConfigError(f"{source}: unknown setting {key!r}. {hint}")
        return cls(**values)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read a configuration from a TOML file of flat `key = value` lines.

        Raises:
            ConfigError: if the file cannot be read, is not TOML, or holds an unknown key or unusable value.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}. Write one `key = value` a line.") from error
        return cls.from_dict(values, str(path))

    def to_dict(self) -> dict[str, Any]:
        """Give every setting as plain JSON values."""
        return dataclasses.asdict(self)

    def to_json(self) -> str:
        """Give every setting as an indented JSON object."""
        return json.dumps(self.to_dict(), indent=2)

    def _wrong_types(self) -> list[str]:
        problems = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            wanted = str(field.type)
            if wanted == "float" and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif not (wanted.endswith("| None") and value is None) and type(value).__name__ != wanted.split(" |")[0]:
                problems.append(f"{field.name} must be {_spoken(wanted)}, not {value!r}")
        return problems

    def _out_of_range(self) -> list[str]:
        at_least = {
            **dict.fromkeys(("steps", "batch_size", "accumulation_steps", "log_every", "keep_checkpoints"), 1),
            **dict.fromkeys(("collapse_patience", "validate_every", "checkpoint_every"), 1),
            **dict.fromkeys(("max_query_length", "max_document_length"), 3),
            **dict.fromkeys(("negatives_per_query", "weight_decay", "lambda_q", "lambda_d", "seed"), 0),
        }
        problems = [
            f"{name} must be at least {least}, not {getattr(self, name)}"
            for name, least in at_least.items()
            if not getattr(self, name) >= least or not math.isfinite(getattr(self, name))
        ]
        for name in ("learning_rate", "max_gradient_norm"):
            if not 0 < getattr(self, name) < math.inf:
                problems.append(f"{name} must be above 0 and finite, not {getattr(self, name)}")
        for name, allowed in (("loss", LOSSES), ("precision", PRECISIONS)):
            if getattr(self, name) not in allowed:
                problems.append(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for name in ("warmup_steps", "lambda_ramp_steps"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= self.steps:
                problems.append(f"{name} must lie between 0 and steps ({self.steps}), not {value}")
        if self.batch_size % max(self.accumulation_steps, 1):
            problems.append(f"batch_size ({self.batch_size}) must be a multiple of accumulation_steps")
        if self.loss == "margin_mse" and self.negatives_per_query == 0:
            problems.append("margin_mse needs negatives: negatives_per_query must be at least 1")
        return problems


def _spoken(annotation: str) -> str:
    return {"int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false"}[
        annotation.split(" |")[0]
    ]
