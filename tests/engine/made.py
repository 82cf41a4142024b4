"""Small segments made of dictionaries, and what searches over them find."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from everglade import _engine
from everglade.reference import Impacts, Ranking

UUID = bytes(range(16))
N_TERMS = 12


def impacts(rows: list[dict[int, int]], dtype: type[np.unsignedinteger] = np.uint8) -> Impacts:
    rows = [dict(sorted(row.items())) for row in rows]
    return Impacts(
        np.cumsum([0, *map(len, rows)], dtype=np.int64),
        np.array([term for row in rows for term in row], dtype=np.int32),
        np.array([impact for row in rows for impact in row.values()], dtype=dtype),
    )


def write(
    path: Path, documents: Impacts, ids: list[str], n_terms: int = N_TERMS, number: int = 0, **features
) -> dict[str, int]:
    return _engine.write_segment(str(path), UUID, number, n_terms, *documents, ids, **features)


def rankings(segments: list, hidden: list, queries: Impacts, k: int, threads: int = 1) -> list[Ranking]:
    """What a search finds, the same on every path."""
    found = [
        as_rankings(segments, queries, k, _engine.search(segments, hidden, *queries, k, threads, path=path))
        for path in ("auto", "scan", "cells")
    ]
    assert found[0] == found[1] == found[2]
    return found[0]


def as_rankings(segments: list, queries: Impacts, k: int, found: tuple) -> list[Ranking]:
    places, locals_, scores = found
    assert places.shape == locals_.shape == scores.shape == (len(queries.indptr) - 1, k)
    assert (places.dtype, locals_.dtype, scores.dtype) == (np.int32, np.uint32, np.uint32)
    ranked = []
    for row in range(len(places)):
        n_hits = int((places[row] >= 0).sum())
        assert (places[row, n_hits:] == -1).all()
        assert (scores[row, n_hits:] == 0).all()
        ids = [segments[s].id(d) for s, d in zip(places[row, :n_hits], locals_[row, :n_hits], strict=True)]
        ranked.append(Ranking(ids, scores[row, :n_hits].tolist()))
    return ranked
