"""What can be measured: a run file, an index, or a model, which reads and indexes the collection for it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from everglade.errors import ConfigError, InputError
from everglade.evaluation.flops import measure_sparsity
from everglade.evaluation.latency import measure_latency
from everglade.index.store import is_index
from everglade.search import Index
from everglade.texts import read_run

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from everglade.assess.judged import JudgedSet
    from everglade.encode import Encoder
    from everglade.explain import Explanation
    from everglade.progress import ProgressCallback
    from everglade.texts import Query, Run

__all__ = [
    "Answer",
    "Cost",
    "System",
    "SystemSpec",
    "Workplace",
    "load_encoder",
    "name_sources",
    "name_systems",
    "open_system",
]

QUERIES_AT_A_TIME = 4096
TIMED_QUERIES = 200
"""Queries that are asked one by one to time them; the first ones of the set."""


class Cost(NamedTuple):
    """What answering took."""

    flops: float
    query_terms: float
    document_terms: float
    median_ms: float
    p99_ms: float


class Answer(NamedTuple):
    """What a system found, and what that took; no cost is known of a run file."""

    run: Run
    cost: Cost | None


class SystemSpec(NamedTuple):
    """What to measure, and how to open it.

    Attributes:
        source: A run file, an index folder, or a model folder or hub id.
        name: What it is called in tables.
        model: The model of an index, where it is not where the index says.
        settings: Settings of a model that replace its own, such as passages.
        options: Options of the index that a model's documents go into, such as prune; see `Index.create`.
        asking: How its index is searched, where not as the workplace says: recall, float_exact.
    """

    source: str
    name: str
    model: str | None = None
    settings: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    asking: Mapping[str, Any] = {}

    @property
    def kind(self) -> Literal["run", "index", "model"]:
        """What `source` is."""
        if is_index(self.source):
            return "index"
        return "run" if Path(self.source).is_file() else "model"


@dataclass(frozen=True)
class Workplace:
    """How to work.

    Attributes:
        k: Hits to find for each query.
        threads: Queries searched at a time; 0 means one for each core.
        timed: Whether to time single queries.
        progress: Told how far the reading of a collection has come.
        recall: The share of the exact hits that will do; None means all. See `Index.search_vectors`.
        float_exact: Whether to score by float16 weights, which the index must keep.
    """

    k: int = 1000
    threads: int = 0
    timed: bool = True
    progress: ProgressCallback | None = None
    recall: float | None = None
    float_exact: bool = False

    @property
    def how(self) -> dict[str, Any]:
        """How an index is searched."""
        return {"recall": self.recall, "float_exact": self.float_exact}


@dataclass(frozen=True)
class System:
    """Something open that can answer a set's queries and, unless it is a run file, say why."""

    spec: SystemSpec
    judged: JudgedSet
    workplace: Workplace = field(default_factory=Workplace)
    index: Index | None = None

    def answer(self, judged: JudgedSet, k: int) -> Answer:
        """Find k documents for each judged query; a run file gives all it has."""
        if self.index is None:
            return Answer(read_run(self.spec.source), None)
        queries = judged.queries
        how = {**self.workplace.how, **self.spec.asking}
        run, shares = _search(self.index, queries, k, self.workplace.threads, how)
        sparsity = measure_sparsity(shares, self.index.term_shares())
        times = (float("nan"), float("nan"))
        if self.workplace.timed:
            texts = [query.text for query in queries[:TIMED_QUERIES]]
            search = partial(self.index.search, k=10, **how)
            latency = measure_latency(search, texts)
            times = latency.median_ms, latency.p99_ms
        return Answer(run, Cost(sparsity.flops, sparsity.query_terms, sparsity.document_terms, *times))

    def explain(self, text: str, document: str) -> Explanation | None:
        """Say why a document has its score for a query; None for a run file, and for a document it does not hold."""
        if self.index is None:
            return None
        try:
            return self.index.explain(text, document)
        except InputError:
            return None


def load_encoder(spec: SystemSpec) -> Encoder | None:
    """Load the model that is to be measured; None for a run file or an index.

    Raises:
        ConfigError: if settings were given to something that reads no texts.
        InputError: if it is a run file that is not there, or a vectors folder.
        ModelError: if no such model can be opened.
    """
    path = Path(spec.source)
    if spec.kind != "model":
        if given := {**spec.settings, **spec.options, **(spec.asking if spec.kind == "run" else {})}:
            what = "an index" if spec.kind == "index" else "a run file"
            raise ConfigError(f"{', '.join(given)}: for a model that reads texts, and {path} is {what}.")
        return None
    if (path / "manifest.json").exists():
        raise InputError("a vectors folder: nothing searches it. Index it first with everglade index", path)
    if not path.exists() and path.suffix in {".trec", ".run", ".tsv", ".txt", ".gz"}:
        raise InputError("no such file. Check the path", path)
    from everglade.model.splade import Splade

    return Splade.load(spec.source, **spec.settings)


@contextmanager
def open_system(
    spec: SystemSpec, judged: JudgedSet, workplace: Workplace | None = None, encoder: Encoder | None = None
) -> Iterator[System]:
    """Open what is to be measured; a model reads the documents of `judged` into an index in a temporary folder.

    Args:
        spec: What it is.
        judged: What it will be measured on.
        workplace: How to work.
        encoder: The model, if it is loaded already.

    Raises:
        ConfigError: if there are no documents for a model to read; see `load_encoder`.
        ModelError: if no such model can be opened.
        IndexFolderError: if an index cannot be used.
    """
    workplace = workplace or Workplace()
    encoder = encoder or load_encoder(spec)
    if encoder is not None:
        with _index_collection(encoder, judged, workplace, spec.options) as index:
            yield System(spec, judged, workplace, index)
    elif spec.kind == "run":
        yield System(spec, judged, workplace)
    else:
        with Index.open(spec.source, model=spec.model) as index:
            yield System(spec, judged, workplace, index)


def name_sources(sources: Sequence[str]) -> dict[str, str]:
    """Give the path of each system by its name: the one it was given as NAME=PATH, or the end of its path.

    Raises:
        ConfigError: if two have one name.
    """
    pairs = [_split_name(source) for source in sources]
    ends = name_systems([path for name, path in pairs if not name])
    found: dict[str, str] = {}
    for given, path in pairs:
        name = given or ends[path]
        if name in found:
            raise ConfigError(f"two systems are called {name!r}. Give each a name of its own, as NAME=PATH.")
        found[name] = path
    return found


def _split_name(source: str) -> tuple[str, str]:
    """Tell NAME=PATH from a path that holds a sign of equality."""
    name, _, path = source.partition("=")
    return (name, path) if name and path and not Path(source).exists() else ("", source)


def name_systems(sources: Sequence[str]) -> dict[str, str]:
    """Give each source the shortest end of its path that no other has."""
    parts = {source: Path(source).parts or (source,) for source in sources}
    names = {}
    for source, own in parts.items():
        others = [other for name, other in parts.items() if name != source]
        depth = next((n for n in range(1, len(own)) if all(other[-n:] != own[-n:] for other in others)), len(own))
        names[source] = str(Path(*own[-depth:]))
    return names


@contextmanager
def _index_collection(
    encoder: Encoder, judged: JudgedSet, workplace: Workplace, options: Mapping[str, Any]
) -> Iterator[Index]:
    with (
        tempfile.TemporaryDirectory(prefix="everglade-evaluate-") as folder,
        Index.create(Path(folder) / "index", encoder, **options) as index,
    ):
        index.add(judged.documents(), total=judged.n_documents, progress=workplace.progress)
        yield index


def _search(
    index: Index, queries: Sequence[Query], k: int, threads: int, how: Mapping[str, Any]
) -> tuple[Run, NDArray[np.float64]]:
    """Give the run, and the share of queries that hold each term; queries are encoded once for both."""
    encoder = index.encoder
    run: Run = {}
    counts = np.zeros(encoder.n_terms)
    for start in range(0, len(queries), QUERIES_AT_A_TIME):
        part = queries[start : start + QUERIES_AT_A_TIME]
        vectors = encoder.encode_queries([query.text for query in part]).canonical()
        counts += np.bincount(vectors.terms, minlength=encoder.n_terms)
        ids, scores = index.search_vectors(vectors, k, threads=threads, **how)
        for row, query in enumerate(part):
            found = zip(ids[row].tolist(), scores[row].tolist(), strict=True)
            run[query.id] = {document: score for document, score in found if document is not None}
    return run, counts / max(len(queries), 1)
