"""Which documents are known to be relevant to a query, for tables too long to keep that in a dictionary.

Kept are 16 bytes for each different pair of query and positive: the hash of the query, and a row that names them. The
ids are read from the table when a query is asked for. Pairs are told apart by 64 bits of hash: of n pairs two are taken
for one with a probability of about n^2 / 2^65, 3 in 10^8 at a million, and then one of them is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from everglade.distill.lookup import hash_id, mix

__all__ = ["KnownPositives", "Pairs"]

_PENDING = 2**20


class Pairs:
    """Collects different pairs of query and positive, and a row of each."""

    def __init__(self) -> None:
        self._kept = np.zeros((3, 0), dtype=np.uint64)
        self._pending: list[NDArray[np.uint64]] = []
        self._n_pending = 0

    def add(self, queries: NDArray[np.uint64], positives: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        """Take in the hashes of queries and positives, and the rows where they stand."""
        marks = mix(queries ^ mix(positives + np.uint64(1)))
        self._pending.append(np.stack([marks, queries, rows.astype(np.uint64)]))
        self._n_pending += len(rows)
        if self._n_pending > max(_PENDING, self._kept.shape[1]):
            self._join()

    def _join(self) -> None:
        every = np.concatenate([self._kept, *self._pending], axis=1)
        _, first = np.unique(every[0], return_index=True)
        self._kept, self._pending, self._n_pending = every[:, first], [], 0

    def by_query(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Give the hash of the query and the row of each different pair, in the order of the hashes, then the rows."""
        self._join()
        _, queries, rows = self._kept
        order = np.lexsort((rows, queries))
        return queries[order], rows[order]


class KnownPositives(Mapping[str, frozenset[str]]):
    """Query id -> ids of the documents known to be relevant to it; `pair_at` gives query and positive of a row."""

    def __init__(self, pairs: Pairs, pair_at: Callable[[int], tuple[str, str]]) -> None:
        self._hashes, self._rows = pairs.by_query()
        self._pair_at = pair_at

    def __getitem__(self, query_id: str) -> frozenset[str]:
        wanted = np.uint64(hash_id(query_id))
        first, last = np.searchsorted(self._hashes, wanted, "left"), np.searchsorted(self._hashes, wanted, "right")
        pairs = map(self._pair_at, self._rows[first:last].tolist())
        found = frozenset(positive for query, positive in pairs if query == query_id)
        if not found:
            raise KeyError(query_id)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(self._pair_at(row)[0] for row in self._rows.tolist()))

    def __len__(self) -> int:
        return sum(1 for _ in self)
