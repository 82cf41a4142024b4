"""Validation by real retrieval: every query is searched in all the documents, through an index, as a user would."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.evaluation.measures import evaluate, rank
from everglade.search import Index

if TYPE_CHECKING:
    from everglade.encode import Encoder
    from everglade.texts import Document, Qrels, Query, Run

__all__ = ["Validation", "narrow_validation", "require_measure", "validate"]


@dataclass(frozen=True)
class Validation:
    """What a model in training is tried on. `depth` is the number of hits asked for."""

    documents: Sequence[Document]
    queries: Sequence[Query]
    qrels: Qrels
    depth: int = 100


def require_measure(name: str) -> None:
    """Make sure that a measure can be computed, before anything takes time; raises ConfigError."""
    evaluate({"q": {"d": 1.0}}, {"q": {"d": 1}}, [name])


def narrow_validation(validation: Validation, run: Run, depth: int) -> Validation:
    """Keep the documents that are judged or among the first `depth` hits of a run: a smaller, still hard collection.

    Scores on it are higher than on the whole, but they order models much alike, in the time that its documents take.
    """
    kept = {document_id for judged in validation.qrels.values() for document_id in judged}
    for query in validation.queries:
        kept.update(rank(run.get(query.id, {}))[:depth])
    return replace(validation, documents=[document for document in validation.documents if document.id in kept])


def validate(model: Encoder, validation: Validation, measure: str, folder: Path) -> dict[str, float]:
    """Encode, index and search; give the measure, FLOPS, and mean active terms of queries and documents.

    `folder` holds the index meanwhile, and is gone afterwards.
    """
    documents = model.encode_documents([document.full_text for document in validation.documents])
    queries = model.encode_queries([query.text for query in validation.queries])
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with Index.create(folder, n_terms=model.n_terms) as index:
            index.add_vectors([document.id for document in validation.documents], documents)
            ids, scores = index.search_vectors(queries, validation.depth)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    run: Run = {
        query.id: {hit: float(score) for hit, score in zip(hits, row, strict=True) if hit is not None}
        for query, hits, row in zip(validation.queries, ids, scores, strict=True)
    }
    sparsity = measure_sparsity(term_shares(queries), term_shares(documents))
    return {
        **evaluate(run, validation.qrels, [measure]),
        "flops": sparsity.flops,
        "query_terms": sparsity.query_terms,
        "document_terms": sparsity.document_terms,
    }
