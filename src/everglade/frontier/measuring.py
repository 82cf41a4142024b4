"""One point of a frontier: an index made as its settings say, searched, judged, counted and timed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from everglade.assess.efficiency import describe_effort, pick_evenly
from everglade.assess.query_times import (
    PERCENTILES,
    QUERY_PARTS,
    Asking,
    choose_effort,
    time_searches,
)
from everglade.errors import ConfigError
from everglade.evaluation.flops import measure_sparsity, term_shares
from everglade.evaluation.measures import PerQuery, evaluate_queries, summarise
from everglade.evaluation.significance import interval_of_mean
from everglade.frontier.rows import Row
from everglade.index.calibration import Efforts
from everglade.index.parts import count_postings_read, measure_parts, read_lists
from everglade.index.store import Store
from everglade.vectors import SparseMatrix, read_manifest, read_vectors

if TYPE_CHECKING:
    from everglade.frontier.models import Material
    from everglade.frontier.settings import Choice, FrontierSettings
    from everglade.texts import Run

__all__ = ["made_index", "measure_point"]

IDENTITY = "0" * 31 + "f"
"""The same for all: the same vectors and options then make the same bytes."""

QUERIES_AT_A_TIME = 1024


@contextmanager
def made_index(vectors: Path, choice: Choice, work: Path) -> Iterator[Store]:
    """Give an index of a vectors folder, as the settings of a point say; it is gone when the block ends.

    Points of less recall have it calibrated, by queries made from documents: none of those that judge.
    """
    manifest = read_manifest(vectors)
    with (
        TemporaryDirectory(prefix="index-", dir=work) as folder,
        Store.create(
            Path(folder) / "index",
            n_terms=manifest["description"]["n_terms"],
            identity=IDENTITY,
            options=choice.index_options,
        ) as store,
    ):
        for shard in read_vectors(vectors):
            matrix = shard.matrix if choice.document_terms is None else shard.matrix.top_terms(choice.document_terms)
            store.add(None, shard.ids, matrix)
        store.optimise()
        yield store


def measure_point(
    number: int,
    model: str,
    store: Store,
    queries: SparseMatrix,
    encoding_ms: NDArray[np.float64],
    material: Material,
    choice: Choice,
    settings: FrontierSettings,
) -> Row:
    """Measure one point.

    Args:
        number: Its place.
        model: The label of its model.
        store: An index that `made_index` made for this choice.
        queries: Vectors of the material's queries, whole.
        encoding_ms: What the encoding of each timed query takes, shape (timed queries,).
        material: What it is measured on.
        choice: What makes the point.
        settings: How it is measured.
    """
    if choice.query_terms is not None:
        queries = queries.top_terms(choice.query_terms)
    if choice.recall is not None and store.meta.calibration is None:
        with suppress(ConfigError):  # too few documents to make queries of: such an index is searched exactly
            store.calibrate(None, settings.threads)
    asking = Asking(settings.k, choice.recall, choice.bits == "float", reasons=False, query_terms=choice.query_terms)
    effort = choose_effort(Efforts(), store.snapshot, asking)
    values, missing = _judge(store, queries, material, asking, settings)
    impacts, _ = store.snapshot.quantise(queries)
    lists, info = read_lists(store.snapshot), store.info()
    documents = max(info.documents, 1)
    sparsity = measure_sparsity(term_shares(queries), lists.counts / documents)
    timed = queries.take(np.array(pick_evenly(range(len(queries)), settings.timed_queries)))
    repeats = [time_searches(store, timed, asking, effort) for _ in range(settings.repeats)]
    return Row(
        number=number,
        model=model,
        choice=choice,
        measures=_summarise(values, settings),
        missing=missing,
        flops=sparsity.flops,
        query_terms=sparsity.query_terms,
        document_terms=sparsity.document_terms,
        vector_terms=sum(segment.row.entries for segment in store.snapshot.segments) / documents,
        postings_read=float(count_postings_read(lists, impacts, effort).mean()),
        bytes_per_document=info.size_bytes / documents,
        bytes_per_posting=info.bytes_per_posting,
        parts=measure_parts(store.snapshot),
        effort=describe_effort(effort, store, asking),
        latency_ms=_summarise_times(encoding_ms, np.array(repeats)),
    )


def _judge(
    store: Store, queries: SparseMatrix, material: Material, asking: Asking, settings: FrontierSettings
) -> tuple[PerQuery, int]:
    """Give each measure for each judged query, and how many of these have no hit."""
    depth = settings.how.hits_to_ask(settings.k)
    run: Run = {}
    for start in range(0, len(queries), QUERIES_AT_A_TIME):
        part = queries.rows(start, min(start + QUERIES_AT_A_TIME, len(queries)))
        found = store.search(part, depth, settings.threads, recall=asking.recall, float_exact=asking.float_exact)
        asked = material.queries[start : start + QUERIES_AT_A_TIME]
        run |= {query.id: found.hits(row) for row, query in enumerate(asked)}
    run = settings.how.clean(run, settings.k)
    return evaluate_queries(run, material.qrels, settings.measured), sum(not run.get(id) for id in material.qrels)


def _summarise(values: PerQuery, settings: FrontierSettings) -> dict[str, dict[str, float]]:
    """Give the mean of each measure with the ends of its bootstrap interval; counts, which are sums, have none."""
    found = {}
    for name, mean in summarise(values).items():
        found[name] = {"mean": mean}
        if not name.startswith("Num"):
            low, high = interval_of_mean(np.array([row[name] for row in values.values()]), settings.seed)
            found[name] |= {"low": low, "high": high}
    return found


def _summarise_times(encoding: NDArray[np.float64], repeats: NDArray[np.float64]) -> dict[str, dict[str, float]]:
    """Give percentiles over the queries, of the whole, of the search and of each part of it.

    Args:
        encoding: Milliseconds of each query, shape (n,): one for all points of a model, whose encoding is the same.
        repeats: Milliseconds of the search's parts, shape (repeats, n, 3). A query's time is the median of its repeats,
            so that what other work took from a single one does not count.
    """
    parts = np.median(repeats, axis=0)
    whole = np.median(repeats.sum(axis=2), axis=0)
    medians = np.median(repeats.sum(axis=2), axis=1)
    columns = {"whole": encoding + whole, "search": whole, "encode": encoding}
    columns |= {part: parts[:, place] for place, part in enumerate(QUERY_PARTS[1:])}
    found = {
        name: {key: float(np.percentile(column, at)) for key, at in PERCENTILES.items()}
        for name, column in columns.items()
    }
    found["search"] |= {"least_p50": float(medians.min()), "greatest_p50": float(medians.max())}
    return found
