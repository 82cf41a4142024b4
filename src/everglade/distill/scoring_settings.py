"""What scoring can be told: one flat frozen value, checked before anything starts."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar

from everglade.distill.false_negatives import read_rule
from everglade.distill.teachers import split_spec
from everglade.errors import ConfigError
from everglade.settings import Settings

__all__ = ["NORMALISATIONS", "PRECISIONS", "ScoringSettings"]

NORMALISATIONS = ("none", "min-max", "z-score")
PRECISIONS = ("no", "bf16")


@dataclass(frozen=True, slots=True)
class ScoringSettings(Settings):
    """The settings of `score_to_folder`.

    Attributes:
        teachers: What scores the pairs, as `open_teacher` reads them: "cross-encoder:MODEL", "dense:MODEL",
            "splade:MODEL", "bm25".
        weights: The weight of each teacher in the mean; None for equal ones.
        normalise: What is done to each teacher's scores first, over all documents that a query has in the examples:
            "none", "min-max" to 0 and 1 (SPLADE-v3), or "z-score" to mean 0 and standard deviation 1.
        rescale: Map the mean affinely onto the mean and standard deviation of all scores of this teacher, one of
            `teachers` or another one (SPLADE-v3), or onto these two numbers. Text such as "1.5,4" is read. None leaves
            the mean as it is.
        margin: Which negatives are then left out as likely false: a number, "95%" or "most 3.5" (`read_rule`); None
            leaves out none.
        shard_examples: Examples scored at once: what is lost at an interruption.
        precision: "no", or "bf16" to compute matrix products in bfloat16: several times faster on CPUs that have it;
            scores differ by about a hundredth of their spread.

    Raises:
        ConfigError: if a value is of the wrong type or out of range.
    """

    about: ClassVar[str] = "the scoring settings"

    teachers: tuple[str, ...] = ()
    weights: tuple[float, ...] | None = None
    normalise: str = "none"
    rescale: str | tuple[float, float] | None = None
    margin: float | str | None = None
    shard_examples: int = 256
    precision: str = "no"

    def __post_init__(self) -> None:
        object.__setattr__(self, "teachers", _texts(self.teachers))
        object.__setattr__(self, "weights", _numbers("weights", self.weights))
        object.__setattr__(self, "rescale", _read_rescale(self.rescale))
        problems = []
        if len(set(self.teachers)) != len(self.teachers):
            problems.append("a teacher is named twice: give it a weight instead")
        if self.weights is not None and len(self.weights) != len(self.teachers):
            problems.append(
                f"there are {len(self.weights)} weights for {len(self.teachers)} teachers: give one for each"
            )
        if self.weights is not None and not all(weight > 0 for weight in self.weights):
            problems.append(f"weights must be above 0, not {', '.join(f'{weight:g}' for weight in self.weights)}")
        if self.normalise not in NORMALISATIONS:
            problems.append(f"normalise must be one of {', '.join(NORMALISATIONS)}, not {self.normalise!r}")
        if self.precision not in PRECISIONS:
            problems.append(f"precision must be one of {', '.join(PRECISIONS)}, not {self.precision!r}")
        if isinstance(self.rescale, tuple) and not self.rescale[1] > 0:
            problems.append(f"the standard deviation of rescale must be above 0, not {self.rescale[1]:g}")
        if type(self.shard_examples) is not int or self.shard_examples < 1:
            problems.append(f"shard_examples must be a whole number of at least 1, not {self.shard_examples!r}")
        if problems:
            raise ConfigError("the scoring settings cannot be used: " + "; ".join(problems) + ".")
        for spec in self.specs:
            split_spec(spec)
        if self.margin is not None:
            read_rule(self.margin)

    @property
    def specs(self) -> tuple[str, ...]:
        """Every teacher that scores: those of the mean, then the reference if it is another one."""
        other = isinstance(self.rescale, str) and self.rescale not in self.teachers
        return (*self.teachers, str(self.rescale)) if other else self.teachers

    @property
    def shares(self) -> tuple[float, ...]:
        """The share of each of `teachers` in the mean; they sum to 1."""
        weights = self.weights or (1.0,) * len(self.teachers)
        return tuple(weight / math.fsum(weights) for weight in weights)

    def to_dict(self) -> dict[str, Any]:
        """Give every setting as plain JSON values."""
        values = dataclasses.asdict(self)
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list | tuple) or not values or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"teachers must be a list of at least one, such as ['cross-encoder:PATH'], not {values!r}.")
    return tuple(values)


def _numbers(name: str, values: object) -> tuple[float, ...] | None:
    if values is None:
        return None
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) for value in values
    ):
        raise ConfigError(f"{name} must be a list of finite numbers, not {values!r}.")
    return tuple(map(float, values))


def _read_rescale(value: object) -> str | tuple[float, float] | None:
    if isinstance(value, str) and "," in value:
        first, _, second = value.partition(",")
        try:
            value = (float(first), float(second))
        except ValueError:
            return value if isinstance(value, str) else None  # a path may hold a comma too
    if value is None or isinstance(value, str):
        return value
    numbers = _numbers("rescale", value)
    if numbers is None or len(numbers) != 2:
        raise ConfigError(f"rescale must be a teacher, or a mean and a standard deviation as in 1.5,4, not {value!r}.")
    return numbers[0], numbers[1]
