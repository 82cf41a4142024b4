"""What a frontier sweeps: the settings that make a point, and which points there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Any, ClassVar

from everglade.assess.assessment import choose_measures
from everglade.errors import ConfigError
from everglade.evaluation.conventions import Convention, find_convention
from everglade.index.calibration import DEPTHS
from everglade.index.options import IndexOptions, parse_prune
from everglade.settings import Settings

__all__ = ["AXES", "BITS", "USUAL_AXES", "Choice", "FrontierSettings"]

BITS = ("8", "16", "float")


@dataclass(frozen=True, slots=True)
class Choice:
    """What makes a point, beside the model.

    Attributes:
        document_terms: Only so many of the heaviest terms of each document go into the index; None means all.
        prune: Which entries become postings, see `parse_prune`; None means all. Hits are scored by whole vectors.
        query_terms: Only so many of the heaviest terms of each query are searched; None means all.
        bits: "8" or "16" bits for impacts, or "float" for exact scores by float16 weights.
        recall: The share of the exact hits that will do; None means all.

    Raises:
        ConfigError: if a value is out of range.
    """

    document_terms: int | None = None
    prune: str | None = None
    query_terms: int | None = None
    bits: str = "8"
    recall: float | None = None

    def __post_init__(self) -> None:
        for name in ("document_terms", "query_terms"):
            count = getattr(self, name)
            if count is not None and (type(count) is not int or count < 1):
                raise ConfigError(f"{name} is {count!r}: it must be a whole number of at least 1, or all.")
        if self.prune is not None:
            parse_prune(self.prune)
        if self.bits not in BITS:
            raise ConfigError(f"bits is {self.bits!r}: it must be one of {', '.join(BITS)}.")
        if self.recall is not None and not 0 < self.recall < 1:
            raise ConfigError(f"recall is {self.recall!r}: it must be above 0 and below 1, or exact.")

    @property
    def is_possible(self) -> bool:
        """Whether these go together: scores by weights are exact, and need all postings."""
        return self.bits != "float" or (self.prune is None and self.recall is None)

    @property
    def index_options(self) -> IndexOptions:
        """How the index is made."""
        return IndexOptions(16 if self.bits == "16" else 8, keep_weights=self.bits == "float", prune=self.prune)

    @property
    def index_key(self) -> tuple[Any, ...]:
        """What points have in common that are searched in one index."""
        return self.document_terms, self.prune, self.bits

    @property
    def changed(self) -> dict[str, Any]:
        """The values that are not the usual ones."""
        return {field.name: value for field in fields(self) if (value := getattr(self, field.name)) != field.default}

    @property
    def label(self) -> str:
        """A few words for a figure."""
        words = [_LABELS[name].format(value) for name, value in self.changed.items()]
        return ", ".join(words).replace("float bits", "float16") or "all of it"

    @property
    def group(self) -> str:
        """What is varied."""
        names = list(self.changed)
        return "all terms, 8 bits, exact" if not names else AXES[names[0]] if len(names) == 1 else "several at once"

    def to_dict(self) -> dict[str, Any]:
        """Give the values by name."""
        return asdict(self)


AXES = {
    "document_terms": "terms of a document",
    "prune": "pruned postings",
    "query_terms": "terms of a query",
    "bits": "16 bits or float",
    "recall": "approximate search",
}
"""What can be swept beside models, and what it is called."""

_LABELS = {
    "document_terms": "{} doc terms",
    "prune": "{}",
    "query_terms": "{} query terms",
    "bits": "{} bits",
    "recall": "recall {}",
}

USUAL_AXES: dict[str, tuple[Any, ...]] = {
    "document_terms": (128, 64, 32),
    "prune": ("document:64", "term:0.5", "threshold:0.5"),
    "query_terms": (16, 8),
    "bits": ("16", "float"),
    "recall": (0.99, 0.95, 0.9),
}
"""What is swept where nothing is named."""


@dataclass(frozen=True, slots=True)
class FrontierSettings(Settings):
    """What is swept, and how each point is measured.

    Attributes:
        document_terms: Values to try, see `Choice`.
        prune: The same.
        query_terms: The same.
        bits: The same.
        recall: The same.
        cross: Try every combination of the values that are named. Otherwise each value is tried alone, beside the point
            without any.
        k: Hits for each query, measured and timed alike.
        measures: Measures as in `evaluate`, the first is drawn; those of the convention, as far as k reaches, if empty.
        convention: How effectiveness is measured, by name.
        queries: Judge by so many of the queries, evenly from the whole set; 0 means all.
        timed_queries: Queries that are asked one by one to time them.
        repeats: How often they are timed.
        threads: Threads for all that is not timed; 0 means one for each core.
        seed: Of the bootstrap.

    Raises:
        ConfigError: if a value is out of range, or nothing can be searched as asked.
    """

    about: ClassVar[str] = "the frontier's settings"

    document_terms: tuple[int | None, ...] = ()
    prune: tuple[str | None, ...] = ()
    query_terms: tuple[int | None, ...] = ()
    bits: tuple[str, ...] = ()
    recall: tuple[float | None, ...] = ()
    cross: bool = False
    k: int = 100
    measures: tuple[str, ...] = ()
    convention: str = "plain"
    queries: int = 0
    timed_queries: int = 200
    repeats: int = 5
    threads: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("k", "timed_queries", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        for name in ("queries", "threads"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must not be negative.")
        choose_measures(self.measures, self.how, self.k)
        choices = list(self.choices())
        if not choices:
            raise ConfigError("no point is left: scores by float weights are exact, and need all postings.")
        depth, deepest = self.how.hits_to_ask(self.k), max(DEPTHS)
        if depth > deepest and any(choice.recall for choice in choices):
            raise ConfigError(
                f"a search for {depth} hits is always exact: for points of less recall k may be "
                f"{deepest - depth + self.k} at most."
            )

    @property
    def how(self) -> Convention:
        """How effectiveness is measured."""
        return find_convention(self.convention)

    @property
    def measured(self) -> tuple[str, ...]:
        """What is measured; the first is drawn."""
        return choose_measures(self.measures, self.how, self.k)

    @property
    def _usual_axes(self) -> Mapping[str, tuple[Any, ...]]:
        """What is swept where nothing is named; without recall where so many hits are asked for that all is exact."""
        too_deep = self.how.hits_to_ask(self.k) > max(DEPTHS)
        return {axis: values for axis, values in USUAL_AXES.items() if not (too_deep and axis == "recall")}

    def choices(self) -> Iterator[Choice]:
        """Give the points for one model, each once, the one that changes nothing first where it is among them."""
        named = {axis: getattr(self, axis) for axis in AXES}
        if not self.cross:
            swept = named if any(named.values()) else self._usual_axes
            base = Choice()
            single = [replace(base, **{axis: value}) for axis, values in swept.items() for value in values]
            yield from dict.fromkeys([base, *single])
            return
        given = {axis: values for axis, values in named.items() if values}
        crossed = (Choice(**dict(zip(given, values, strict=True))) for values in product(*given.values()))
        yield from dict.fromkeys(choice for choice in crossed if choice.is_possible)
