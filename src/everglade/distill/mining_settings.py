"""What mining can be told: one flat frozen value, checked before anything starts."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar

from everglade.distill.candidates import read_sources
from everglade.distill.drawing import Band
from everglade.distill.false_negatives import Rule, read_rule
from everglade.distill.teachers import split_spec
from everglade.errors import ConfigError
from everglade.settings import Settings

__all__ = ["MiningSettings"]

USUAL_DEPTH = 100


@dataclass(frozen=True, slots=True)
class MiningSettings(Settings):
    """The settings of `mine_to_folder`.

    Attributes:
        sources: Where candidates come from: "bm25", "dense:MODEL", "splade:MODEL", "run:FILE"; see `candidates.py`.
        quotas: The most negatives of a query that one source brings: a number for all, one for each source, or None.
        bands: What is drawn from each ranking; empty for all of it. `from_dict` reads text: "50@1-50,50@1-1000".
        depth: Hits searched for each query; None for the deepest band, or 100 without bands.
        negatives_per_query: The most negatives of an example, drawn from the union; None keeps all.
        seed: What all draws depend on, beside the query's id.
        teacher: What scores positives and negatives, as `open_teacher` reads it; None for no teacher.
        margin: Which negatives are then false: a number, "95%" or "most 3.5" (`read_rule`); None removes none.

    Raises:
        ConfigError: if a value is of the wrong type or out of range.
    """

    about: ClassVar[str] = "the mining settings"

    sources: tuple[str, ...] = ("bm25",)
    quotas: int | tuple[int, ...] | None = None
    bands: tuple[Band, ...] = ()
    depth: int | None = None
    negatives_per_query: int | None = None
    seed: int = 123
    teacher: str | None = None
    margin: Rule | float | str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", _strings("sources", self.sources))
        object.__setattr__(self, "bands", _bands(self.bands))
        if isinstance(self.quotas, list | tuple):
            object.__setattr__(self, "quotas", tuple(self.quotas))
        problems = [*self._wrong_numbers(), *self._clashes()]
        if problems:
            raise ConfigError("the mining settings cannot be used: " + "; ".join(problems) + ".")
        if self.teacher is not None:
            split_spec(self.teacher)
        object.__setattr__(self, "margin", self.rule)

    def _wrong_numbers(self) -> list[str]:
        quotas = self.quotas if isinstance(self.quotas, tuple) else (self.quotas,)
        given = {"depth": self.depth, "negatives_per_query": self.negatives_per_query}
        named = [*given.items(), *(("quotas", quota) for quota in quotas)]
        problems = [
            f"{name} must be a whole number of at least 1, not {value!r}"
            for name, value in named
            if value is not None and (type(value) is not int or value < 1)
        ]
        if type(self.seed) is not int or not 0 <= self.seed < 2**63:
            problems.append(f"seed must be a whole number from 0 and below 2^63, not {self.seed!r}")
        if self.teacher is not None and not isinstance(self.teacher, str):
            problems.append(f"teacher must be a text, not {self.teacher!r}")
        return problems

    def _clashes(self) -> list[str]:
        problems = []
        read_sources(self.sources)
        if not self.sources:
            problems.append("there must be at least one source, such as bm25")
        if isinstance(self.quotas, tuple) and len(self.quotas) != len(self.sources):
            problems.append(
                f"there are {len(self.quotas)} quotas for {len(self.sources)} sources: give one for all or one for each"
            )
        deepest = max((band.last for band in self.bands), default=0)
        if isinstance(self.depth, int) and self.depth < deepest:
            problems.append(f"a band reaches place {deepest}, but depth is {self.depth}: leave depth out, or raise it")
        if self.margin is not None and self.teacher is None:
            problems.append("margin needs a teacher, whose scores tell false negatives: name one, or leave margin out")
        return problems

    @property
    def hits(self) -> int:
        """Hits searched for each query."""
        return self.depth or max((band.last for band in self.bands), default=USUAL_DEPTH)

    @property
    def quota_of_each(self) -> tuple[int | None, ...]:
        """The quota of each source."""
        return self.quotas if isinstance(self.quotas, tuple) else (self.quotas,) * len(self.sources)

    @property
    def rule(self) -> Rule | None:
        """What tells false negatives."""
        return None if self.margin is None else read_rule(self.margin)

    def to_dict(self) -> dict[str, Any]:
        """Give every setting as plain JSON values; `from_dict` reads them."""
        return {
            **{field.name: getattr(self, field.name) for field in dataclasses.fields(self)},
            "sources": list(self.sources),
            "quotas": list(self.quotas) if isinstance(self.quotas, tuple) else self.quotas,
            "bands": [str(band) for band in self.bands],
            "margin": None if self.margin is None else str(self.rule),
        }


def _strings(name: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str):
        return (values,)
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name} must be a list of texts, not {values!r}.")
    return tuple(values)


def _bands(values: object) -> tuple[Band, ...]:
    if isinstance(values, str):
        return tuple(map(Band.parse, values.split(",")))
    if not isinstance(values, list | tuple):
        raise ConfigError(f"bands must be text such as 50@1-50,50@1-1000, or a list of such bands, not {values!r}.")
    return tuple(Band.parse(str(value)) for value in values)
