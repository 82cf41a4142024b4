"""What mining found and removed, counted query by query in memory that does not grow with the queries."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MiningStatistics", "Sample"]

MARGINS_KEPT = 2**20
QUANTILES = (1, 5, 25, 50, 75, 95, 99)


class Sample:
    """A stream of numbers: all of them, or of a longer one `most`, each with the same chance (Vitter 1985, R).

    The places that are drawn depend on the length of the stream alone.
    """

    def __init__(self, most: int = MARGINS_KEPT) -> None:
        self._most = most
        self._seen = 0
        self._kept = array("f")
        self._chance = Random(0)

    def add(self, value: float) -> None:
        """Take in the next number of the stream."""
        self._seen += 1
        if self._seen <= self._most:
            self._kept.append(value)
        elif (place := self._chance.randrange(self._seen)) < self._most:
            self._kept[place] = value

    @property
    def values(self) -> NDArray[np.float32]:
        """The numbers that were kept, shape (n,)."""
        return np.array(self._kept, dtype=np.float32)


class _Mean:
    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value

    @property
    def value(self) -> float | None:
        return self.total / self.count if self.count else None


class _SourceCounts:
    """The counts of one source."""

    def __init__(self, n_sources: int) -> None:
        self.queries = 0
        self.candidates = 0
        self.positives = 0
        self.copies = 0
        self.shared = [0] * n_sources
        self.place = _Mean()
        self.score = _Mean()
        self.false_negatives = 0
        self.kept = 0


class MiningStatistics:
    """Counts for each source, and for all of them together."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = list(names)
        self._sources = [_SourceCounts(len(names)) for _ in names]
        self._positives = _Mean()
        self._margins = Sample()
        self.examples = 0
        self.emptied = 0
        self.short = 0

    def add_rankings(self, rankings: Sequence[Sequence[str]], positives: Sequence[str], copies: set[str]) -> None:
        """Count what the sources found for a query, and what of it is a positive or a copy of one."""
        found = [set(ranked) for ranked in rankings]
        for counts, own in zip(self._sources, found, strict=True):
            counts.queries += bool(own)
            counts.candidates += len(own)
            counts.positives += len(own.intersection(positives))
            counts.copies += len(own & copies)
            for other, shared in enumerate(found):
                counts.shared[other] += len(own & shared)

    def add_draws(self, brought: Sequence[Sequence[int]]) -> None:
        """Count the places (from 0) that each source brings to a query's union."""
        for counts, places in zip(self._sources, brought, strict=True):
            for place in places:
                counts.place.add(place + 1)

    def add_scores(self, positive: float, negatives: Sequence[tuple[int, float, bool]]) -> None:
        """Count one example's scores: of each negative the source, the score, and whether the rule keeps it."""
        self._positives.add(positive)
        for source, score, is_kept in negatives:
            self._sources[source].score.add(score)
            self._sources[source].false_negatives += not is_kept
            self._margins.add(positive - score)

    def add_example(self, sources: Sequence[int], *, short: bool) -> None:
        """Count a finished example by the sources of its negatives; `short` if it has fewer than were asked for."""
        self.examples += 1
        self.short += short
        for source in sources:
            self._sources[source].kept += 1

    def to_dict(self) -> dict[str, Any]:
        """Give the counts as plain JSON values."""
        return {
            "examples": self.examples,
            "negatives": sum(counts.kept for counts in self._sources),
            "examples with fewer negatives than asked for": self.short,
            "examples left out because every negative was false": self.emptied,
            "sources": [self._source(place) for place in range(len(self._names))],
            "overlap": {
                name: {
                    other: counts.shared[place] / max(counts.candidates, 1) for place, other in enumerate(self._names)
                }
                for name, counts in zip(self._names, self._sources, strict=True)
            },
            "teacher": self._teacher(),
        }

    def _source(self, place: int) -> dict[str, Any]:
        counts = self._sources[place]
        return {
            "name": self._names[place],
            "queries with hits": counts.queries,
            "candidates": counts.candidates,
            "removed as positives": counts.positives,
            "removed as copies of a positive": counts.copies,
            "drawn": counts.place.count,
            "mean place of the drawn": counts.place.value,
            "removed as false negatives": counts.false_negatives,
            "mean teacher score": counts.score.value,
            "negatives": counts.kept,
        }

    def _teacher(self) -> dict[str, Any] | None:
        if self._positives.count == 0:
            return None
        quantiles = np.percentile(self._margins.values, QUANTILES).tolist()
        scored = sum(counts.score.count for counts in self._sources)
        return {
            "mean score of positives": self._positives.value,
            "mean score of negatives": sum(counts.score.total for counts in self._sources) / scored,
            "negatives scored": scored,
            "removed as false negatives": sum(counts.false_negatives for counts in self._sources),
            "margins": {f"{name}%": value for name, value in zip(QUANTILES, quantiles, strict=True)},
        }
