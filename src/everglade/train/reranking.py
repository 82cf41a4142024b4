"""Trying a cross-encoder: held-out queries, their candidates of a first search, put into a new order."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everglade.distill.teachers import score_pairs
from everglade.errors import InputError
from everglade.evaluation.measures import evaluate

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from everglade.texts import Qrels, Query, Run

__all__ = ["MEASURES", "Reranking", "rerank"]

MEASURES = ("nDCG@10", "RR@10")


@dataclass(frozen=True)
class Reranking:
    """What a cross-encoder is tried on.

    Attributes:
        queries: The held-out queries.
        documents: Texts by id; all candidates must be there.
        candidates: What a first search found for each query; all of it is reranked.
        qrels: The judgements of the queries.

    Raises:
        InputError: if there is no query, none has a candidate, or a candidate has no text.
    """

    queries: Sequence[Query]
    documents: Mapping[str, str]
    candidates: Run
    qrels: Qrels

    def __post_init__(self) -> None:
        if not self.queries:
            raise InputError("there are no held-out queries to rerank for")
        if not any(self.candidates.get(query.id) for query in self.queries):
            raise InputError(
                "no held-out query has a candidate to rerank. Give a run of these queries: their ids must be those of "
                "the collection"
            )
        for query in self.queries:
            for document_id in self.candidates.get(query.id, {}):
                if document_id not in self.documents:
                    raise InputError(f"the candidate {document_id!r} of query {query.id!r} is not in the collection")

    @property
    def fingerprint(self) -> str:
        """A sha256 of queries, candidates with their texts and scores, and judgements."""
        digest = hashlib.sha256()
        for query in self.queries:
            hits = self.candidates.get(query.id, {})
            texts = [[document_id, score, self.documents[document_id]] for document_id, score in hits.items()]
            judged = sorted(self.qrels.get(query.id, {}).items())
            digest.update(json.dumps([query.id, query.text, texts, judged]).encode())
        return digest.hexdigest()

    def measure(self, run: Run) -> dict[str, float]:
        """Give nDCG@10 and RR@10 of a run over the held-out queries; one without hits counts 0."""
        asked = {query.id for query in self.queries}
        judged = {query_id: documents for query_id, documents in self.qrels.items() if query_id in asked}
        return evaluate(run, judged, list(MEASURES))


def rerank(model: CrossEncoder, reranking: Reranking) -> dict[str, float]:
    """Score every candidate of every held-out query, and give nDCG@10 and RR@10 of the new order."""
    pairs = [(query, hit) for query in reranking.queries for hit in reranking.candidates.get(query.id, {})]
    scores = score_pairs(model, [(query.text, reranking.documents[hit]) for query, hit in pairs])
    run: Run = {}
    for (query, document_id), score in zip(pairs, scores, strict=True):
        run.setdefault(query.id, {})[document_id] = float(score)
    return reranking.measure(run)
