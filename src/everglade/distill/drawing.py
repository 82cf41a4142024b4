"""Which places of rankings become negatives: bands, quotas, and the union of several rankings. Pure functions.

A draw is a function of a key alone, a few numbers such as the seed and the query's, so that it does not depend on what
else is drawn, or on what was interrupted.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np

from everglade.errors import ConfigError

__all__ = ["Band", "draw", "draw_from_bands", "query_key", "unite"]

T = TypeVar("T")

_BAND = re.compile(r"([0-9]{1,9})@([0-9]{1,9})-([0-9]{1,9})")


@dataclass(frozen=True, slots=True)
class Band:
    """So many negatives, drawn evenly from the places `first` to `last` of a ranking, counted from 1.

    Written "COUNT@FIRST-LAST". SPLADE-v3 (arXiv 2403.06789) takes 50@1-50 and 50@1-1000.
    """

    count: int
    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one band.

        Raises:
            ConfigError: if it is not COUNT@FIRST-LAST, with a count of at least 1 and 1 <= FIRST <= LAST.
        """
        found = _BAND.fullmatch(text.strip())
        count, first, last = map(int, found.groups()) if found else (0, 0, 0)
        if count < 1 or not 1 <= first <= last:
            raise ConfigError(
                f"the band {text!r} is not of the form COUNT@FIRST-LAST with a count of at least 1 and "
                f"1 <= FIRST <= LAST. Example: 50@1-1000 draws 50 from the places 1 to 1000."
            )
        return cls(count, first, last)

    def __str__(self) -> str:
        return f"{self.count}@{self.first}-{self.last}"


def query_key(seed: int, query_id: str) -> tuple[int, int]:
    """Give the key of all draws for a query."""
    return seed, zlib.crc32(query_id.encode())


def draw(candidates: Sequence[T], count: int, *key: int) -> list[T]:
    """Draw `count` of the candidates evenly, or all if there are no more, and give them in their order."""
    if len(candidates) <= count:
        return list(candidates)
    places = np.sort(np.random.default_rng(key).choice(len(candidates), size=count, replace=False))
    return [candidates[place] for place in places]


def draw_from_bands(
    ranked: Sequence[str], excluded: Container[str], bands: Sequence[Band], key: tuple[int, ...]
) -> list[int]:
    """Give the places, counted from 0 and ascending, that the bands draw from a ranking.

    The places of a band are those of the ranking as it was searched; what is excluded is then passed over. A band does
    not draw again what an earlier band has drawn. Without bands every place is given that is not excluded.
    """
    allowed = [place for place, document_id in enumerate(ranked) if document_id not in excluded]
    if not bands:
        return allowed
    drawn: set[int] = set()
    for number, band in enumerate(bands, start=1):
        open_places = [place for place in allowed if band.first <= place + 1 <= band.last and place not in drawn]
        drawn.update(draw(open_places, band.count, *key, number))
    return sorted(drawn)


def unite(
    rankings: Sequence[Sequence[str]],
    excluded: Container[str],
    bands: Sequence[Band],
    quotas: Sequence[int | None],
    key: tuple[int, ...],
) -> list[list[int]]:
    """Give for each ranking the places, counted from 0 and ascending, that it brings to the union.

    One ranking after the other: what its bands draw, without what earlier rankings have brought, and of the rest as
    many as its quota allows, drawn evenly; None allows all. So no document comes twice, and what two sources both
    find is brought by the first.
    """
    taken: set[str] = set()
    brought = []
    for number, (ranked, quota) in enumerate(zip(rankings, quotas, strict=True), start=1):
        places = draw_from_bands(ranked, excluded, bands, (*key, number))
        places = [place for place in places if ranked[place] not in taken]
        if quota is not None:
            places = draw(places, quota, *key, number, 0)
        taken.update(ranked[place] for place in places)
        brought.append(places)
    return brought
