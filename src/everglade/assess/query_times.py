"""Where the time of a query goes: asked alone, one after the other, on one thread, and timed part by part."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.errors import InputError
from everglade.hits import Hit, explain_hits
from everglade.index.calibration import Efforts
from everglade.index.snapshot import EXACT, TWO_STEPS, Effort, Found
from everglade.model.threads import limited_threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everglade.encode import Encoder
    from everglade.index.snapshot import Snapshot
    from everglade.index.store import Store
    from everglade.vectors import SparseMatrix

__all__ = [
    "PERCENTILES",
    "QUERY_PARTS",
    "Asking",
    "answer_query",
    "answer_vector",
    "choose_effort",
    "summarise_times",
    "time_encoding",
    "time_queries",
    "time_searches",
]

QUERY_PARTS = ("encode", "quantise", "engine", "hits")
"""Text to vector; vector to impacts; the search itself; ids, scores and, where they are asked for, reasons."""

WARM_UP = 10
PERCENTILES = {"p50": 50, "p90": 90, "p99": 99, "max": 100}


class Asking(NamedTuple):
    """How queries are asked.

    Attributes:
        k: Hits, as `Index.search` takes them, like `recall` and `float_exact`.
        reasons: Whether each hit comes with the terms that made its score, as `Index.search` gives them.
        query_terms: Only so many of the heaviest terms of a query are searched; None means all.
    """

    k: int = 10
    recall: float | None = None
    float_exact: bool = False
    reasons: bool = True
    query_terms: int | None = None


def choose_effort(efforts: Efforts, snapshot: Snapshot, asking: Asking) -> Effort:
    """Choose what a search does, as `Store.search_in` and `Snapshot.search` choose."""
    if asking.recall is not None:
        return efforts.choose(snapshot, asking.k, asking.recall)
    return EXACT if snapshot.meta.options.prune is None else TWO_STEPS


def answer_query(
    encoder: Encoder, store: Store, text: str, asking: Asking, effort: Effort, names: Sequence[str]
) -> tuple[Found, list[Hit], list[float]]:
    """Answer one query by the steps of `Index.search`; give what it found and the seconds of each part.

    Searches that round within the engine, by float16 weights, or by whole vectors where postings are pruned, have their
    rounding in the part "engine".
    """
    began = time.perf_counter()
    vectors = encoder.encode_queries([text])
    if asking.query_terms is not None:
        vectors = vectors.top_terms(asking.query_terms)
    encoded = time.perf_counter() - began
    found, hits, seconds = answer_vector(store, vectors, asking, effort, names)
    return found, hits, [encoded, *seconds]


def answer_vector(
    store: Store, vectors: SparseMatrix, asking: Asking, effort: Effort, names: Sequence[str]
) -> tuple[Found, list[Hit], list[float]]:
    """Do what `answer_query` does once the query is encoded, and cut to its heaviest terms."""
    snapshot = store.snapshot
    times = [time.perf_counter()]
    if asking.float_exact or (snapshot.meta.options.prune is not None and effort.mass is None):
        times.append(times[-1])
        found = store.search_in(snapshot, None, vectors, asking.k, recall=asking.recall, float_exact=asking.float_exact)
        times.append(time.perf_counter())
    else:
        found = _scan(snapshot, vectors, asking.k, effort, times)
    hits = explain_hits(snapshot, vectors, found, names) if asking.reasons else _bare_hits(found)
    times.append(time.perf_counter())
    return found, hits, np.diff(times).tolist()


def _scan(snapshot: Snapshot, vectors: SparseMatrix, k: int, effort: Effort, times: list[float]) -> Found:
    """Search the postings, noting when the query was rounded and when the engine was done."""
    impacts, scales = snapshot.quantise(vectors)
    times.append(time.perf_counter())
    segments, locals_, scores = snapshot.locate(impacts, min(k, len(snapshot)), 1, None, effort)
    times.append(time.perf_counter())
    return Found(snapshot.ids_of(segments, locals_), scores, scales * (snapshot.meta.impact_scale or 1.0))


def _bare_hits(found: Found) -> list[Hit]:
    return [Hit(id, score, ()) for id, score in found.hits(0).items()]


def time_queries(
    encoder: Encoder, store: Store, texts: Sequence[str], asking: Asking, efforts: Efforts | None = None
) -> NDArray[np.float64]:
    """Time single queries on one thread, after a few to warm up.

    Returns:
        Milliseconds of each part, shape (n_queries, 4), in the order of `QUERY_PARTS`.

    Raises:
        InputError: if there are no queries, or no documents to find.
    """
    if not texts or not len(store):
        raise InputError(f"there are {len(texts)} queries and {len(store)} documents: nothing can be timed")
    effort = choose_effort(efforts or Efforts(), store.snapshot, asking)
    names = encoder.term_names() if asking.reasons else []
    with limited_threads(1):
        for text in texts[:WARM_UP]:
            answer_query(encoder, store, text, asking, effort, names)
        times = [answer_query(encoder, store, text, asking, effort, names)[2] for text in texts]
    return np.array(times) * 1000


def time_encoding(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.float64]:
    """Time the encoding of single queries on one thread, after a few to warm up: milliseconds, shape (n_queries,)."""
    times = []
    with limited_threads(1):
        for text in [*texts[:WARM_UP], *texts]:
            began = time.perf_counter()
            encoder.encode_queries([text])
            times.append(time.perf_counter() - began)
    return np.array(times[-len(texts) :]) * 1000


def time_searches(store: Store, queries: SparseMatrix, asking: Asking, effort: Effort) -> NDArray[np.float64]:
    """Time the searches of encoded queries, one by one on one thread, after a few to warm up.

    Args:
        store: The index.
        queries: The queries, cut to their heaviest terms if they are to be; nothing is cut here.
        asking: How they are asked, without reasons.
        effort: What a search does, by `choose_effort`.

    Returns:
        Milliseconds of each part but the first, shape (n_queries, 3), in the order of `QUERY_PARTS`.
    """
    rows = [queries.rows(row, row + 1) for row in range(len(queries))]
    for row in rows[:WARM_UP]:
        answer_vector(store, row, asking, effort, [])
    return np.array([answer_vector(store, row, asking, effort, [])[2] for row in rows]) * 1000


def summarise_times(repeats: Iterable[NDArray[np.float64]]) -> dict[str, dict[str, float]]:
    """Give percentiles of times, each with its spread: the median over the repeats, the least and the greatest.

    Args:
        repeats: The times of one repeat each, of any shape (n,).
    """
    times = [np.percentile(one, list(PERCENTILES.values())) for one in repeats]
    columns = np.array(times).T
    return {
        name: {"value": float(np.median(column)), "least": float(column.min()), "greatest": float(column.max())}
        for name, column in zip(PERCENTILES, columns, strict=True)
    }
