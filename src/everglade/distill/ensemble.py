"""Scores of several teachers made one: normalised query by query, averaged, and mapped onto a scale.

Source: Lassance, Déjean, Formal, Clinchant, SPLADE-v3 (arXiv 2403.06789): an ensemble of cross-encoders, min-max
normalised and averaged, and mapped affinely onto the mean and standard deviation of one of them.

All functions work on the different pairs of a query and a document: U pairs of Q queries, whatever the number of
examples a pair stands in.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from everglade.distill.values import Example

__all__ = ["Places", "correlate", "list_places", "normalise", "positive_first", "rescale"]

Scores = NDArray[np.float64]


class Places(NamedTuple):
    """Where the different pairs stand in the examples: P places, U pairs."""

    starts: NDArray[np.int64]
    """(n + 1,) first place of each example, its positive; the last is P."""
    pairs: NDArray[np.int64]
    """(P,) the pair of each place."""
    first: NDArray[np.int64]
    """(U,) the first place of each pair."""
    queries: NDArray[np.int64]
    """(U,) the query of each pair, counted from 0."""


def list_places(examples: Sequence[Example]) -> Places:
    """Find the different pairs of a query and a document in examples."""
    # Arrays of the standard library, because lists take five times the memory of millions of numbers.
    starts, queries, documents = array("q", [0]), array("q"), array("q")
    query_codes: dict[str, int] = {}
    document_codes: dict[str, int] = {}
    for example in examples:
        starts.append(starts[-1] + len(example.document_ids))
        code = query_codes.setdefault(example.query_id, len(query_codes))
        for document_id in example.document_ids:
            queries.append(code)
            documents.append(document_codes.setdefault(document_id, len(document_codes)))
    coded = np.frombuffer(queries, dtype=np.int64) * len(document_codes) + np.frombuffer(documents, dtype=np.int64)
    different, first, pairs = np.unique(coded, return_index=True, return_inverse=True)
    whose = different // len(document_codes)
    return Places(np.frombuffer(starts, dtype=np.int64), pairs.reshape(-1), first.astype(np.int64), whose)


def normalise(scores: Scores, queries: NDArray[np.int64], kind: str) -> Scores:
    """Normalise scores, shape (U,), over the pairs of each query; `queries` (U,) says whose they are.

    "min-max" gives (s - min) / (max - min), "z-score" (s - mean) / standard deviation, of a population. Where all
    scores of a query are the same, both give 0.
    """
    if kind == "none":
        return scores
    n_queries = int(queries.max(initial=-1)) + 1
    least, most = np.full(n_queries, np.inf), np.full(n_queries, -np.inf)
    np.minimum.at(least, queries, scores)
    np.maximum.at(most, queries, scores)
    centre, spread = least, most - least
    varied = (most > least)[queries]  # the standard deviation of equal scores may be a rounding error above 0
    if kind == "z-score":
        counts = np.maximum(np.bincount(queries, minlength=n_queries), 1)
        centre = np.bincount(queries, weights=scores, minlength=n_queries) / counts
        variance = np.bincount(queries, weights=(scores - centre[queries]) ** 2, minlength=n_queries) / counts
        spread = np.sqrt(variance)
    found: Scores = np.divide(scores - centre[queries], spread[queries], out=np.zeros(len(scores)), where=varied)
    return found


def rescale(scores: Scores, mean: float, std: float) -> Scores:
    """Map scores affinely, so that they have this mean and standard deviation; scores that are all equal become it."""
    if np.ptp(scores) == 0:
        return np.full(len(scores), mean)
    found: Scores = (scores - scores.mean()) / scores.std() * std + mean
    return found


def positive_first(scores: Scores, places: Places) -> float | None:
    """Give the share of examples, of those with a negative, whose positive scores above all negatives."""
    placed = scores[places.pairs]
    starts = places.starts[:-1]
    positives = placed[starts].copy()
    placed[starts] = -np.inf
    best = np.maximum.reduceat(placed, starts) if len(starts) else placed
    with_negatives = np.diff(places.starts) > 1
    if not with_negatives.any():
        return None
    return float((positives > best)[with_negatives].mean())


def correlate(one: Scores, other: Scores) -> float | None:
    """Give Pearson's correlation, or None where one of the two is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.mean((one - one.mean()) * (other - other.mean())) / (one.std() * other.std()))
