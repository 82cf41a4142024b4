"""BM25 over the same texts: the source of a first set of negatives, and the baseline every evaluation is set beside.

The settings are fixed and stated, so that two numbers called "BM25" are the same thing: Lucene's variant as bm25s has
it, k1 = 0.9, b = 0.4, lower-cased words of two characters or more, bm25s' English stop words, no stemming. A stemmer
would gain a point or two on English.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ConfigError, InputError, MissingExtra

if TYPE_CHECKING:
    from everglade.texts import Document, Query, Run

__all__ = ["B", "K1", "Bm25", "bm25_run"]

K1 = 0.9
B = 0.4


class Bm25:
    """A collection that BM25 can search.

    Raises:
        MissingExtra: if bm25s is not installed.
        InputError: if there are no documents.
    """

    def __init__(self, documents: Iterable[Document]) -> None:
        if importlib.util.find_spec("bm25s") is None:
            raise MissingExtra("bm25s", "train")
        import bm25s

        # In the order of their ids, so that of equal scores the earlier place is the smaller id.
        ordered = sorted(documents, key=lambda document: document.id)
        if not ordered:
            raise InputError("there are no documents for BM25 to search")
        self._ids = [document.id for document in ordered]
        self._places = {document_id: place for place, document_id in enumerate(self._ids)}
        words = _words([document.full_text for document in ordered])
        self._known = {word for text in words for word in text}
        self._engine = bm25s.BM25(k1=K1, b=B, method="lucene")
        if self._known:
            self._engine.index(words, show_progress=False)

    def search(self, queries: Iterable[Query], k: int) -> Run:
        """Give the k best documents of each query, best first.

        Equal scores are ordered by document id, ascending. Documents that share no word with the query are no hits.

        Raises:
            ConfigError: if k is below 1.
        """
        if k < 1:
            raise ConfigError(f"k must be at least 1, not {k}")
        asked = list(queries)
        run: Run = {}
        for query, words in zip(asked, _words([query.text for query in asked]), strict=True):
            scores = self._score_all(words)
            run[query.id] = {self._ids[place]: float(scores[place]) for place in _best(scores, k)}
        return run

    def score(self, query: str, document_ids: Sequence[str]) -> NDArray[np.float32]:
        """Give the score of each of these documents, 0 for one that shares no word with the query; shape (n,)."""
        scores = self._score_all(_words([query])[0])
        return scores[[self._places[document_id] for document_id in document_ids]]

    def _score_all(self, words: list[str]) -> NDArray[np.float32]:
        known = [word for word in words if word in self._known]
        if not known:
            return np.zeros(len(self._ids), dtype=np.float32)
        scores: NDArray[np.float32] = self._engine.get_scores(known)
        return scores


def bm25_run(documents: Iterable[Document], queries: Iterable[Query], k: int) -> Run:
    """Search every query with BM25 and give the k best documents of each, best first; see `Bm25`."""
    return Bm25(documents).search(queries, k)


def _words(texts: list[str]) -> list[list[str]]:
    import bm25s

    words: list[list[str]] = bm25s.tokenize(texts, stopwords="en", return_ids=False, show_progress=False)
    return words


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.intp]:
    """Give the places of the k highest scores above 0, best first, of equal ones the earlier place first."""
    hits = np.flatnonzero(scores > 0)
    if len(hits) > k:
        least = np.partition(scores[hits], len(hits) - k)[len(hits) - k]
        hits = hits[scores[hits] >= least]
    return hits[np.argsort(-scores[hits], kind="stable")][:k]
