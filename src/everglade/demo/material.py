"""The part of the bundled collection that the demo works on."""

from __future__ import annotations

from dataclasses import dataclass

from everglade.demo import bundled_collection
from everglade.texts import Document, Qrels, Query, group_qrels, open_collection

__all__ = ["Material", "load_material"]

SHORT_DOCUMENTS = 800
SHORT_QUERIES = 60


@dataclass(frozen=True, slots=True)
class Material:
    """Documents, the test queries with their judgements, and the training queries with theirs."""

    documents: list[Document]
    queries: list[Query]
    qrels: Qrels
    train_queries: list[Query]
    train_qrels: Qrels


def load_material(*, short: bool) -> Material:
    """Read the bundled collection; the short demo keeps the documents its queries need and a few hundred others."""
    collection = open_collection(bundled_collection())
    documents = list(collection.documents())
    queries, train_queries = collection.queries("test"), collection.queries("train")
    if short:
        queries, train_queries = queries[:SHORT_QUERIES], train_queries[: 2 * SHORT_QUERIES]
    qrels = _judging(queries, group_qrels(collection.qrels("test")))
    train_qrels = _judging(train_queries, group_qrels(collection.qrels("train")))
    if short:
        needed = {document for judged in (*qrels.values(), *train_qrels.values()) for document in judged}
        others = [document.id for document in documents if document.id not in needed]
        kept = needed.union(others[: SHORT_DOCUMENTS - len(needed)])
        documents = [document for document in documents if document.id in kept]
    return Material(documents, queries, qrels, train_queries, train_qrels)


def _judging(queries: list[Query], qrels: Qrels) -> Qrels:
    return {query.id: qrels[query.id] for query in queries}
