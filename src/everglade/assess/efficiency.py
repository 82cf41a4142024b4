"""What a system costs beside what it finds, from its real index: sizes, postings, latency in parts, throughput."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everglade.assess.assessment import Assessment, assess, choose_measures
from everglade.assess.machine import describe_machine
from everglade.assess.query_times import QUERY_PARTS, Asking, choose_effort, summarise_times, time_queries
from everglade.assess.systems import System, SystemSpec, Workplace, load_encoder, open_system
from everglade.errors import ConfigError
from everglade.evaluation.conventions import find_convention
from everglade.index.calibration import Efforts
from everglade.index.parts import count_postings_read, measure_parts, read_lists
from everglade.index.store import Store
from everglade.model.threads import limited_threads
from everglade.settings import Settings

if TYPE_CHECKING:
    from everglade.assess.judged import JudgedSet
    from everglade.encode import Encoder
    from everglade.index.snapshot import Effort
    from everglade.progress import ProgressCallback
    from everglade.vectors import SparseMatrix

__all__ = ["Bench", "BenchSettings", "bench", "pick_evenly"]

Spread = dict[str, float]
"""The median of the repeats as "value", with "least" and "greatest"."""

QUERIES_AT_A_TIME = 4096


@dataclass(frozen=True, slots=True)
class BenchSettings(Settings):
    """How a system is measured.

    Attributes:
        k: Hits for each query, timed and measured alike.
        recall: The share of the exact hits that will do; None means all.
        float_exact: Score by float16 weights, which the index must keep.
        threads: Threads that count as all cores; 0 means one for each.
        repeats: How often everything is timed.
        timed_queries: Queries that are asked one by one, evenly from the whole set.
        batch_queries: Queries of a batch, for the throughput.
        timed_documents: Documents that are encoded to time that; 0 leaves it out.

    Raises:
        ConfigError: if a number is out of range.
    """

    k: int = 10
    recall: float | None = None
    float_exact: bool = False
    threads: int = 0
    repeats: int = 3
    timed_queries: int = 200
    batch_queries: int = 1000
    timed_documents: int = 128

    def __post_init__(self) -> None:
        for name in ("k", "repeats", "timed_queries", "batch_queries"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must be at least 1.")
        for name in ("threads", "timed_documents"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}: it must not be negative.")
        if self.recall is not None and not 0 < self.recall <= 1:
            raise ConfigError(f"recall is {self.recall}: it must be above 0 and at most 1.")
        if self.recall is not None and self.float_exact:
            raise ConfigError("float_exact is an exact search, so recall does not go with it. Leave one of them out.")

    @property
    def asking(self) -> Asking:
        """How single queries are asked: as `Index.search` does, with reasons."""
        return Asking(self.k, self.recall, self.float_exact)

    @property
    def cores(self) -> dict[str, int]:
        """The threads of "one core" and of "all cores"."""
        return {"one core": 1, "all cores": self.threads or os.cpu_count() or 1}


@dataclass(frozen=True)
class Bench:
    """What a system came to, and what that took.

    Attributes:
        assessment: Effectiveness, FLOPS and mean terms, on the whole set.
        settings: How it was measured.
        effort: What a search does: "exact", "two steps" or "approximate", with mass and candidates.
        index: Documents, postings and bytes of the index: in all, of each part, for each document and posting.
        postings_read: Mean number of postings in the lists that a query scans, and that as a share of all of them.
        latency_ms: For the whole and each part of a query: percentiles with their spread. On one thread.
        throughput: Queries a second, encoded, searched and both, on one core and on all.
        encoding: Documents encoded a second, on one core and on all; None if none could be.
        machine: What it was measured with.
    """

    assessment: Assessment
    settings: BenchSettings
    effort: dict[str, Any]
    index: dict[str, Any]
    postings_read: dict[str, float]
    latency_ms: dict[str, dict[str, Spread]]
    throughput: dict[str, dict[str, Spread]]
    encoding: dict[str, Spread] | None
    machine: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Give all of it as plain JSON values."""
        names = ("effort", "index", "postings_read", "latency_ms", "throughput", "encoding", "machine")
        return {
            "format": "everglade-bench",
            "version": 1,
            **self.assessment.to_dict(),
            "settings": asdict(self.settings),
            **{name: getattr(self, name) for name in names},
        }


def bench(
    spec: SystemSpec,
    judged: JudgedSet,
    settings: BenchSettings | None = None,
    *,
    measures: Sequence[str] | None = None,
    convention: str = "plain",
    progress: ProgressCallback | None = None,
) -> Bench:
    """Measure an index, or a model on an index it is given in a temporary folder, on a judged set.

    Args:
        spec: The index or model.
        judged: What it is measured on.
        settings: How it is measured.
        measures: Names as in `evaluate`; those of the convention, as far as k reaches, if None.
        convention: How effectiveness is measured, by name.
        progress: Told how far the reading of the collection has come.

    Raises:
        ConfigError: if it is a run file, or a setting cannot be used.
        InputError: if queries, judgements or documents cannot be used.
    """
    settings = settings or BenchSettings()
    if spec.kind == "run":
        raise ConfigError(f"{spec.source} is a run file: nothing of it can be timed. Name an index or a model.")
    choose_measures(measures, find_convention(convention), settings.k)
    machine = describe_machine()  # before anything here makes a load of its own
    encoder = load_encoder(spec)
    workplace = Workplace(
        settings.k,
        settings.threads,
        timed=False,
        progress=progress,
        recall=settings.recall,
        float_exact=settings.float_exact,
    )
    with open_system(spec, judged, workplace, encoder) as system:
        assert system.index is not None, "only run files have none"
        assessment = assess(system, judged, measures, convention)
        with Store.open(system.index.path, verify=False) as store:
            return _measure(system, system.index.encoder, store, assessment, settings, machine)


def _measure(
    system: System,
    encoder: Encoder,
    store: Store,
    assessment: Assessment,
    settings: BenchSettings,
    machine: dict[str, Any],
) -> Bench:
    texts = [query.text for query in system.judged.queries]
    efforts = Efforts()
    effort = choose_effort(efforts, store.snapshot, settings.asking)
    timed = pick_evenly(texts, settings.timed_queries)
    repeats = [time_queries(encoder, store, timed, settings.asking, efforts) for _ in range(settings.repeats)]
    return Bench(
        assessment=assessment,
        settings=settings,
        effort=describe_effort(effort, store, settings.asking),
        index=describe_size(store),
        postings_read=measure_postings(store, _encode(encoder, texts), effort),
        latency_ms=_latency(repeats),
        throughput=_throughput(encoder, store, pick_evenly(texts, settings.batch_queries), settings),
        encoding=_encoding(encoder, system.judged, settings),
        machine=machine,
    )


def describe_effort(effort: Effort, store: Store, asking: Asking) -> dict[str, Any]:
    """Say what a search does, for a reader."""
    if asking.float_exact:
        return {"kind": "exact by float16 weights"}
    if effort.mass is None:
        return {"kind": "exact"}
    pruned = store.meta.options.prune is not None
    kind = "two steps over pruned postings" if pruned and asking.recall is None else "approximate"
    return {"kind": kind, "mass": effort.mass, "candidates_per_hit": effort.candidates}


def describe_size(store: Store) -> dict[str, Any]:
    """Say what an index holds and how many bytes that takes: the segments, part by part, and the catalog."""
    info = store.info()
    documents = max(info.documents, 1)
    return {
        "documents": info.documents,
        "deleted": info.deleted,
        "segments": info.segments,
        "postings": info.postings,
        "impact_bits": info.options.impact_bits,
        "prune": info.options.prune,
        "bytes": info.size_bytes,
        "bytes_per_document": info.size_bytes / documents,
        "bytes_per_posting": info.bytes_per_posting,
        "parts": measure_parts(store.snapshot),
        "catalog_bytes": (store.path / "catalog.sqlite").stat().st_size,
    }


def measure_postings(store: Store, queries: SparseMatrix, effort: Effort) -> dict[str, float]:
    """Give the mean number of postings in the lists that a query scans, and that as a share of all postings."""
    impacts, _ = store.snapshot.quantise(queries)
    lists = read_lists(store.snapshot)
    mean = float(count_postings_read(lists, impacts, effort).mean())
    return {"per_query": mean, "share": mean / max(int(lists.counts.sum()), 1)}


def pick_evenly(values: Sequence[Any], count: int) -> list[Any]:
    """Give so many of the values, evenly from first to last; all of them if there are no more."""
    if len(values) <= count:
        return list(values)
    return [values[place * len(values) // count] for place in range(count)]


def _encode(encoder: Encoder, texts: Sequence[str]) -> SparseMatrix:
    from everglade.vectors import SparseMatrix

    starts = range(0, len(texts), QUERIES_AT_A_TIME)
    return SparseMatrix.stack([encoder.encode_queries(texts[start : start + QUERIES_AT_A_TIME]) for start in starts])


def _latency(repeats: Sequence[NDArray[np.float64]]) -> dict[str, dict[str, Spread]]:
    parts = {part: summarise_times(one[:, place] for one in repeats) for place, part in enumerate(QUERY_PARTS)}
    return {"whole": summarise_times(one.sum(axis=1) for one in repeats), **parts}


def _throughput(
    encoder: Encoder, store: Store, texts: Sequence[str], settings: BenchSettings
) -> dict[str, dict[str, Spread]]:
    vectors = encoder.encode_queries(texts)

    def search_batch(threads: int) -> None:
        store.search(vectors, settings.k, threads, recall=settings.recall, float_exact=settings.float_exact)

    search_batch(1)  # the first with a recall measures how to reach it
    found = {}
    for cores, threads in settings.cores.items():
        with limited_threads(threads):
            encode = [_time(lambda: encoder.encode_queries(texts)) for _ in range(settings.repeats)]
            search = [_time(partial(search_batch, threads)) for _ in range(settings.repeats)]
        both = [one + other for one, other in zip(encode, search, strict=True)]
        taken = {"encode": encode, "search": search, "both": both}
        found[cores] = {name: _rate(len(texts), seconds) for name, seconds in taken.items()}
    return found


def _encoding(encoder: Encoder, judged: JudgedSet, settings: BenchSettings) -> dict[str, Spread] | None:
    """Time the encoding of documents, evenly from the whole collection; None where there are none."""
    if not settings.timed_documents or judged.collection is None:
        return None
    places = set(pick_evenly(range(judged.n_documents), settings.timed_documents))
    texts = [document.full_text for place, document in enumerate(judged.documents()) if place in places]
    found = {}
    for cores, threads in settings.cores.items():
        with limited_threads(threads):
            encoder.encode_documents(texts[:1])
            seconds = [_time(lambda: encoder.encode_documents(texts)) for _ in range(settings.repeats)]
        found[cores] = _rate(len(texts), seconds)
    return found


def _time(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rate(count: int, seconds: Sequence[float]) -> Spread:
    rates = [count / max(one, 1e-9) for one in seconds]
    return {"value": float(np.median(rates)), "least": min(rates), "greatest": max(rates)}
