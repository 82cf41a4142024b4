"""How the field measures on its known collections, by name: measures, what counts as relevant, the query's own text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everglade.errors import ConfigError, suggest_name
from everglade.evaluation.measures import DEFAULT_MEASURES, with_relevance

if TYPE_CHECKING:
    from everglade.texts import Run

__all__ = ["CONVENTIONS", "Convention", "count_self_hits", "find_convention"]


@dataclass(frozen=True, slots=True)
class Convention:
    """One way to measure.

    Attributes:
        name: What it is called.
        about: What it does, in a line.
        measures: What is measured where nothing else is asked for.
        rel: From which judgement on a document is relevant, for binary measures that do not say it themselves.
        drops_self: Whether a hit is left out whose document id is the query's id. One more hit is asked for then.
    """

    name: str
    about: str
    measures: tuple[str, ...] = DEFAULT_MEASURES
    rel: int = 1
    drops_self: bool = False

    def choose_measures(self, asked: Sequence[str] | None = None) -> tuple[str, ...]:
        """Give what is measured: what was asked for, or the usual; each name says from where a document is relevant.

        Raises:
            ConfigError: if a measure is not known.
        """
        names = tuple(dict.fromkeys(asked or self.measures))
        # Done in any case, as it refuses measures that are not known.
        completed = tuple(dict.fromkeys(with_relevance(name, self.rel) for name in names))
        return names if self.rel == 1 else completed

    def hits_to_ask(self, k: int) -> int:
        """Give how many hits a search must find for k to be left."""
        return k + 1 if self.drops_self else k

    def clean(self, run: Run, k: int | None = None) -> Run:
        """Give the run as it is measured: without the queries' own texts, if they are dropped, and k hits of each.

        Args:
            run: hits of each query, the best first.
            k: most hits of a query to keep; None keeps all.
        """
        if not self.drops_self:
            return run
        kept: Run = {}
        for query, hits in run.items():
            others = [(document, score) for document, score in hits.items() if document != query]
            kept[query] = dict(others[:k])
        return kept


def count_self_hits(run: Mapping[str, Mapping[str, float]]) -> int:
    """Count the queries that found the document of their own id."""
    return sum(query in hits for query, hits in run.items())


CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention("plain", "every hit counts, and every judgement from 1 on is relevant"),
        Convention(
            "beir",
            "the document with the query's own id is left out of k + 1 hits",
            ("nDCG@10", "R@100", "RCap@100"),
            drops_self=True,
        ),
        Convention(
            "trec-dl",
            "TREC Deep Learning: binary measures take judgements from 2 on for relevant, nDCG all grades",
            ("nDCG@10", "AP@1000", "R@1000", "RR@10"),
            rel=2,
        ),
        Convention("msmarco", "MS MARCO passage ranking, dev", ("RR@10", "R@1000")),
    )
}


def find_convention(name: str) -> Convention:
    """Give the convention of that name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in CONVENTIONS:
        raise ConfigError(f"there is no convention {name!r}. {suggest_name(name, list(CONVENTIONS), 'conventions')}")
    return CONVENTIONS[name]
