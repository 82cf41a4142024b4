"""Many queries to a run: batches of query vectors, from an encoder or a vectors folder, searched in one state."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from everglade.errors import InputError
from everglade.index.intake import check_ids
from everglade.model_reference import check_reference, make_reference
from everglade.vectors import SparseMatrix, read_manifest, read_vectors

if TYPE_CHECKING:
    from everglade.index.filters import Where
    from everglade.index.store import Store
    from everglade.texts import Query, Run

__all__ = ["encoded_batches", "folder_batches", "search_batches"]

HITS_AT_A_TIME = 2**22
QUERIES_AT_A_TIME = 4096

Batch = tuple[Sequence[str], SparseMatrix]


def search_batches(
    store: Store,
    batches: Iterable[Batch],
    k: int,
    threads: int,
    *,
    where: Where | None,
    recall: float | None,
    float_exact: bool,
) -> Run:
    """Search batches of queries in one committed state of the store; see `Index.search_many`."""
    snapshot, shown = store.view(where)
    run: Run = {}
    for ids, matrix in batches:
        found = store.search_in(snapshot, shown, matrix, k, threads, recall=recall, float_exact=float_exact)
        run.update((id, found.hits(row)) for row, id in enumerate(ids))
    return run


def encoded_batches(encode: Callable[[list[str]], SparseMatrix], queries: Sequence[Query], k: int) -> Iterator[Batch]:
    """Give the queries encoded, as many at a time as k hits of each allow."""
    step = _batch_size(k)
    for start in range(0, len(queries), step):
        part = queries[start : start + step]
        yield [query.id for query in part], encode([query.text for query in part])


def folder_batches(store: Store, path: str | Path, k: int) -> Iterator[Batch]:
    """Give the queries of a vectors folder, as many at a time as k hits of each allow.

    Raises:
        VectorsError: if the folder cannot be used.
        ModelMismatch: if its vectors come from another model than those of the index.
        InputError: if they are vectors of documents, of another vocabulary, or two have the same id.
    """
    description = read_manifest(path)["description"]
    if description.get("side") != "query":
        raise InputError(f"{path} holds vectors of documents. Make those of queries, with --side query")
    model = description.get("model") or {}
    reference = make_reference(model.get("name"), model.get("fingerprint"), description.get("settings"))
    check_reference(store, reference, f"the model of {path}")
    if description["n_terms"] != store.meta.n_terms:
        raise InputError(
            f"{path} has {description['n_terms']} terms and {store.path} {store.meta.n_terms}: "
            f"queries and documents must be of one vocabulary"
        )
    seen: set[str] = set()
    step = _batch_size(k)
    for shard in read_vectors(path):
        for id in check_ids(shard.ids):
            if id in seen:
                raise InputError(f"two queries of {path} have the id {id!r}. Give each its own")
            seen.add(id)
        for start in range(0, len(shard.ids), step):
            stop = min(start + step, len(shard.ids))
            yield shard.ids[start:stop], shard.matrix.rows(start, stop)


def _batch_size(k: int) -> int:
    return max(1, min(QUERIES_AT_A_TIME, HITS_AT_A_TIME // max(k, 1)))
