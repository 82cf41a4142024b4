"""One system on one judged set, by a named convention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError
from everglade.evaluation.conventions import Convention, count_self_hits, find_convention
from everglade.evaluation.measures import PerQuery, cutoff_of, evaluate_queries, summarise

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.assess.systems import Cost, System
    from everglade.texts import Run

__all__ = ["Assessment", "assess", "choose_measures"]


@dataclass(frozen=True)
class Assessment:
    """What a system came to on a judged set.

    Attributes:
        name: The system's name.
        kind: "run", "index" or "model".
        judged: The set's name.
        convention: How it was measured.
        means: Measure -> mean over the judged queries; counts are sums.
        per_query: Query id -> measure -> value.
        run: What was measured, after the convention.
        queries: How many queries are judged.
        missing: How many of them have no hit; they count as zero.
        unjudged: How many queries have hits and no judgement; they are left out.
        self_hits: How many queries found the document of their own id: left out by the convention "beir", else counted.
        documents: How many documents were searched; None for a run file.
        cost: What it took; None for a run file.
    """

    name: str
    kind: str
    judged: str
    convention: Convention
    means: dict[str, float]
    per_query: PerQuery
    run: Run
    queries: int
    missing: int
    unjudged: int
    self_hits: int
    documents: int | None
    cost: Cost | None

    def to_dict(self) -> dict[str, Any]:
        """Give everything but the run and the single queries as plain JSON values."""
        return {
            "name": self.name,
            "kind": self.kind,
            "collection": self.judged,
            "convention": self.convention.name,
            "measures": self.means,
            "queries": self.queries,
            "missing": self.missing,
            "unjudged": self.unjudged,
            "self_hits": self.self_hits,
            "documents": self.documents,
            "cost": None
            if self.cost is None
            else {name: _or_none(value) for name, value in self.cost._asdict().items()},
        }


def assess(
    system: System,
    judged: JudgedSet,
    measures: Sequence[str] | None = None,
    convention: str | Convention = "plain",
) -> Assessment:
    """Measure an open system on a judged set.

    Args:
        system: What is measured, see `open_system`.
        judged: What it is measured on.
        measures: Names as in `evaluate`; those of the convention, if None.
        convention: How, by name; see `everglade.evaluation.conventions`.

    Raises:
        ConfigError: if a measure or convention is not known, or a measure looks at more hits than are searched for.
        InputError: if queries, judgements or the run cannot be used.
    """
    convention = find_convention(convention) if isinstance(convention, str) else convention
    k = system.workplace.k
    names = choose_measures(measures, convention, None if system.index is None else k)
    answer = system.answer(judged, convention.hits_to_ask(k))
    run = convention.clean(answer.run, None if system.index is None else k)
    per_query = evaluate_queries(run, judged.qrels, names)
    return Assessment(
        name=system.spec.name,
        kind=system.spec.kind,
        judged=judged.name,
        convention=convention,
        means=summarise(per_query),
        per_query=per_query,
        run=run,
        queries=len(judged.qrels),
        missing=sum(not run.get(query) for query in judged.qrels),
        unjudged=sum(bool(hits) and query not in judged.qrels for query, hits in run.items()),
        self_hits=count_self_hits(answer.run),
        documents=None if system.index is None else len(system.index),
        cost=answer.cost,
    )


def choose_measures(measures: Sequence[str] | None, convention: Convention, k: int | None = None) -> tuple[str, ...]:
    """Give the names of what is measured, checked.

    Args:
        measures: What was asked for; what the convention measures as far as k hits allow, if None.
        convention: How it is measured.
        k: Hits that are searched for; None for a run file, which has what it has.

    Raises:
        ConfigError: if a measure is not known, or looks at more than k hits.
    """
    names = convention.choose_measures(measures)
    deep = {name: cutoff for name in names if k is not None and (cutoff := cutoff_of(name) or 0) > k}
    fitting = tuple(name for name in names if name not in deep)
    if deep and (measures or not fitting):
        name, cutoff = next(iter(deep.items()))
        raise ConfigError(f"{name} looks at {cutoff:,} hits, and k is {k:,}. Ask for more hits, or a smaller cutoff.")
    return fitting


def _or_none(value: float) -> float | None:
    return None if value != value else value
