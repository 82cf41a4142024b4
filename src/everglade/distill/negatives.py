"""Mining: documents that a first search ranks high for a query although they are not relevant to it."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from everglade.distill.examples import Example, examples_from_qrels
from everglade.errors import ConfigError
from everglade.evaluation.measures import rank

if TYPE_CHECKING:
    from everglade.texts import Qrels, Run

__all__ = ["Mined", "mine_negatives"]


class Mined(NamedTuple):
    """What mining gave: the examples, and counts of queries."""

    examples: list[Example]
    queries: int
    """Queries with at least one relevant document."""
    short: int
    """Queries that got fewer negatives than asked for, but some."""
    without: int
    """Queries left out because there was no candidate for them."""


def mine_negatives(run: Run, qrels: Qrels, *, depth: int, negatives_per_query: int, seed: int, skip: int = 0) -> Mined:
    """Draw hard negatives for each query from places `skip` + 1 to `depth` of a run.

    The run may come from `Index.search_many`, from `bm25_run`, or from a TREC run file. Documents judged relevant are
    removed, documents judged not relevant stay. Of the rest `negatives_per_query` are drawn evenly, in a way that
    depends on the seed and the query's id alone, and listed in the order of the run. A query with several relevant
    documents becomes several examples with the same negatives.

    Raises:
        ConfigError: if `depth`, `skip` or `negatives_per_query` make no sense.
    """
    if negatives_per_query < 1 or skip < 0 or depth <= skip:
        raise ConfigError(
            f"depth ({depth}) must be above skip ({skip}), skip at least 0 and negatives_per_query "
            f"({negatives_per_query}) at least 1"
        )
    judged = {query: documents for query, documents in qrels.items() if any(r > 0 for r in documents.values())}
    negatives = {}
    for query_id, documents in judged.items():
        placed = rank(run.get(query_id, {}))[skip:depth]
        candidates = [document_id for document_id in placed if documents.get(document_id, 0) <= 0]
        negatives[query_id] = _draw(candidates, negatives_per_query, seed, query_id)
    answered = {query_id: documents for query_id, documents in judged.items() if negatives[query_id]}
    return Mined(
        examples=examples_from_qrels(answered, negatives),
        queries=len(judged),
        short=sum(0 < len(drawn) < negatives_per_query for drawn in negatives.values()),
        without=len(judged) - len(answered),
    )


def _draw(candidates: list[str], count: int, seed: int, query_id: str) -> list[str]:
    if len(candidates) <= count:
        return candidates
    generator = np.random.default_rng([seed, zlib.crc32(query_id.encode())])
    places = np.sort(generator.choice(len(candidates), size=count, replace=False))
    return [candidates[place] for place in places]
