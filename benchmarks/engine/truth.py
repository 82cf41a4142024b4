"""What a search should have found: float brute force, and the share of it that an engine found."""

from __future__ import annotations

import numpy as np

CHUNK = 50_000
SAME = 1 - 1e-6


def brute_force(documents, queries, k):
    """Give, for each query, the documents that belong to its best k: those of rank k or with its score.

    Scores are sums of float products in double precision over all documents, a chunk at a time. Documents that share no
    term with the query do not belong.
    """
    by_query = queries.to_scipy(np.float64).T.tocsc()
    found = [(np.zeros(0, dtype=np.int64), np.zeros(0))] * queries.count
    for start, part in documents.chunks(CHUNK):
        scores = (part.to_scipy(np.float64) @ by_query).toarray()
        for i in range(queries.count):
            here = np.flatnonzero(scores[:, i])
            ids = np.concatenate([found[i][0], here + start])
            found[i] = best(ids, np.concatenate([found[i][1], scores[here, i]]), k)
    return [ids for ids, _ in found]


def best(ids, scores, k):
    if len(ids) > k:
        least = np.partition(scores, len(scores) - k)[len(scores) - k]
        kept = scores >= least * SAME
        return ids[kept], scores[kept]
    return ids, scores


def recall(found, truth, k):
    """The mean over queries of the share of the best k that was found; `found` is (n_queries, k), -1 where none."""
    shares = [
        min(len(np.intersect1d(row[row >= 0], right)), k) / min(k, len(right))
        for row, right in zip(found, truth, strict=True)
        if len(right)
    ]
    return float(np.mean(shares))


def postings_touched(documents, queries):
    """The mean number of postings of the terms of a query."""
    counts = np.zeros(2**16, dtype=np.int64)
    for _, part in documents.chunks(CHUNK):
        counts += np.bincount(part.terms, minlength=len(counts))
    return float(counts[queries.terms].sum() / queries.count)
