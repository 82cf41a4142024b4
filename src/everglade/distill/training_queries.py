"""The queries of a split that negatives are mined for, what is relevant to each, and what else has the same text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from everglade.errors import InputError
from everglade.texts.qrels import group_qrels
from everglade.texts.runs import require_word

if TYPE_CHECKING:
    from everglade.texts import Collection, Qrels, Query

__all__ = ["TrainingQueries", "hash_text", "read_training_queries"]


@dataclass(frozen=True)
class TrainingQueries:
    """Queries with at least one relevant document that the collection holds.

    Attributes:
        queries: The queries, in the order of the collection.
        positives: For each query its relevant documents, by relevance, then by id.
        n_documents: Documents of the collection.
        digest: A sha256 of the queries, of what is relevant to them, and of all documents.
        left_out: What was left out, by reason.
    """

    queries: list[Query]
    positives: dict[str, list[str]]
    n_documents: int
    digest: str
    left_out: dict[str, int]
    _texts: dict[str, bytes]
    """For each document with the text of some positive, that text's hash."""

    def copies(self, query_id: str, document_ids: list[str]) -> set[str]:
        """Give those of the documents that have the text of one of the query's positives without being one."""
        positives = self.positives[query_id]
        hashes = {self._texts[positive] for positive in positives}
        return {one for one in document_ids if self._texts.get(one) in hashes and one not in positives}


def read_training_queries(collection: Collection, split: str, qrels: Qrels | None = None) -> TrainingQueries:
    """Read the queries of a split, and the documents twice: for the texts of the positives, and for their like.

    Args:
        collection: The collection.
        split: The split whose queries and judgements are used.
        qrels: Judgements in place of the split's, to mine for some of its queries only.

    Raises:
        InputError: if there is no such split, no query with a relevant document of the collection, or an id that a run
            cannot carry.
    """
    judged = group_qrels(collection.qrels(split)) if qrels is None else qrels
    relevant = {query: _by_relevance(documents) for query, documents in judged.items()}
    wanted = {document for documents in relevant.values() for document in documents}
    hashes: dict[str, bytes] = {}
    digest = hashlib.sha256()
    n_documents = 0
    for document_id, text in _documents(collection):
        require_word(document_id, "document id")
        n_documents += 1
        value = hash_text(text)
        _update(digest, document_id, value)
        if document_id in wanted:
            hashes[document_id] = value
    texts = [query for query in collection.queries(split) if relevant.get(query.id)]
    positives = {query.id: [one for one in relevant[query.id] if one in hashes] for query in texts}
    queries = [query for query in texts if positives[query.id]]
    if not queries:
        raise InputError(f"no query of the split {split!r} of {collection.name} has a relevant document in it")
    for query in queries:
        require_word(query.id, "query id")
        _update(digest, query.id, query.text.encode("utf-8", "surrogatepass"))
        for positive in positives[query.id]:
            _update(digest, positive, b"")
    known = set(hashes.values())
    copies = {one: value for one, text in _documents(collection) if (value := hash_text(text)) in known}
    left_out = {
        "queries without a relevant document": sum(not documents for documents in relevant.values()),
        "queries without a text": sum(bool(documents) for documents in relevant.values()) - len(texts),
        "queries whose relevant documents are not in the collection": len(texts) - len(queries),
        "relevant documents that are not in the collection": len(wanted) - len(hashes),
    }
    return TrainingQueries(
        queries=queries,
        positives={query.id: positives[query.id] for query in queries},
        n_documents=n_documents,
        digest=digest.hexdigest(),
        left_out={reason: count for reason, count in left_out.items() if count},
        _texts=copies,
    )


def _documents(collection: Collection) -> Iterator[tuple[str, str]]:
    return ((document.id, document.full_text) for document in collection.documents())


def _by_relevance(judged: dict[str, int]) -> list[str]:
    relevant = [document_id for document_id, relevance in judged.items() if relevance > 0]
    return sorted(relevant, key=lambda document_id: (-judged[document_id], document_id))


def hash_text(text: str) -> bytes:
    """Give what tells texts apart: equal texts have equal hashes, others do not."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _update(digest: hashlib._Hash, name: str, content: bytes) -> None:
    encoded = name.encode("utf-8", "surrogatepass")
    digest.update(len(encoded).to_bytes(8, "little") + encoded + len(content).to_bytes(8, "little") + content)
