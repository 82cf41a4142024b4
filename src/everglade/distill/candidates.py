"""Where candidates come from: a first search of the training queries with BM25, a model, or a run that is there.

The run of a source is written in parts of 512 queries, each durable, so that an interrupted search goes on; when all
parts stand they become one file, and what the search needed (vectors, index) is removed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade import durable
from everglade.errors import ConfigError, InputError, MissingExtra
from everglade.progress import Meter
from everglade.texts.lines import decode, read_lines, require_file

if TYPE_CHECKING:
    from everglade.distill.dense import SentenceEncoder
    from everglade.model.splade import Splade
    from everglade.progress import ProgressCallback
    from everglade.texts import Collection, Query, Run

__all__ = ["Models", "Request", "RunInOrder", "Source", "read_sources", "search_source"]

QUERIES_IN_A_PART = 512
"""Few enough for their hits to fit in memory, and many because a dense search reads every vector for each part."""

Search = Callable[[list["Query"]], "Run"]


class Source(NamedTuple):
    """One source: `bm25`, or a model or file of some kind.

    `name` is what the run and the statistics call it: its kind and the last part of its path.
    """

    kind: str
    model_or_file: str
    name: str

    def fingerprint(self, models: Models) -> str:
        """Give what changes when the source would find something else in the same texts; `models` opens its model.

        Raises:
            ModelError: if its model cannot be opened.
            InputError: if there is no such run.
            MissingExtra: if a package that it needs is not installed.
        """
        if self.kind == "run":
            return _hash_file(require_file(self.model_or_file))
        if self.kind in ("splade", "dense"):
            return str(models.open(self).fingerprint)
        from everglade.distill.bm25 import K1, B

        try:
            return f"k1 {K1}, b {B}, bm25s {importlib.metadata.version('bm25s')}"
        except importlib.metadata.PackageNotFoundError as error:
            raise MissingExtra("bm25s", "train") from error


class Models:
    """Opens the models of sources, and keeps the last one until it is taken: there is never more than one in memory."""

    def __init__(self) -> None:
        self._of: Source | None = None
        self._model: Any = None

    def open(self, source: Source) -> Any:  # noqa: ANN401 - a Splade or a SentenceEncoder
        """Give the model of a source, opened now if it is not the one that is kept. Raises what opening it raises."""
        if source != self._of:
            self.forget()
            self._model = _open_model(source)
            self._of = source
        return self._model

    def take(self, source: Source) -> Any:  # noqa: ANN401 - a Splade or a SentenceEncoder
        """Give the model of a source and keep it no longer."""
        model = self.open(source)
        self.forget()
        return model

    def forget(self) -> None:
        """Keep no model."""
        self._of = self._model = None


def _open_model(source: Source) -> Splade | SentenceEncoder:
    if source.kind == "dense":
        from everglade.distill.dense import SentenceEncoder

        return SentenceEncoder(source.model_or_file)
    from everglade.model.splade import Splade

    return Splade.load(source.model_or_file)


def read_sources(specs: Sequence[str]) -> tuple[Source, ...]:
    """Read what sources are called: bm25, dense:MODEL, splade:MODEL or run:FILE.

    Raises:
        ConfigError: if one is none of these, or is named twice.
    """
    sources: list[Source] = []
    for spec in specs:
        kind, _, model_or_file = spec.partition(":")
        if kind not in _SEARCHES or bool(model_or_file) == (kind == "bm25"):
            raise ConfigError(
                f"the source {spec!r} is not known. Write bm25, dense:MODEL (sentence-transformers), splade:MODEL or "
                f"run:FILE (a TREC run)."
            )
        if any((kind, model_or_file) == source[:2] for source in sources):
            raise ConfigError(f"the source {spec!r} is named twice. Leave one out.")
        sources.append(Source(kind, model_or_file, _name(kind, model_or_file, [source.name for source in sources])))
    return tuple(sources)


def _name(kind: str, model_or_file: str, taken: Sequence[str]) -> str:
    last = model_or_file.rstrip("/").rpartition("/")[2]
    if kind == "run":
        last = re.sub(r"\.(trec|run|txt|tsv)$", "", last.removesuffix(".gz"))
    name = "-".join(filter(None, [kind, re.sub(r"[^A-Za-z0-9._-]+", "_", last)]))
    return next(one for n in range(1, len(taken) + 2) if (one := name if n == 1 else f"{name}-{n}") not in taken)


@dataclass(frozen=True)
class Request:
    """What every source is asked: queries over the documents of a collection, with so many hits for each.

    `threads` are those of the engine; 0 means one for each core. `announce` is called with a line before each stage.
    """

    collection: Collection
    n_documents: int
    queries: Sequence[Query]
    hits: int
    threads: int
    announce: Callable[[str], None]
    progress: ProgressCallback | None

    def rows(self) -> Iterator[tuple[str, str]]:
        """Give the id and the text of each document, in the order of the collection."""
        return ((document.id, document.full_text) for document in self.collection.documents())


def search_source(source: Source, request: Request, run: Path, unfinished: Path, models: Models) -> None:
    """Write the run of a source, going on where an interrupted call stopped.

    Args:
        source: The source.
        request: What it is asked.
        run: The TREC run to write; one that an earlier call has finished stays.
        unfinished: The folder for what an interrupted search leaves, and the hash of a finished run.
        models: What opens the source's model.

    Raises:
        InputError: if a finished run was changed, or a run has no query or a document that is not in the collection.
        ModelError: if the model cannot be opened.
        VectorsError: if vectors were begun with another model or other documents.
    """
    written = unfinished / "run.sha256"
    if not (run.exists() and written.exists()):
        _write_whole(source, request, run, unfinished, written, models)
    elif written.read_text() != _hash_file(run):
        raise InputError("this run was changed since it was written. Mine again with --fresh", run)
    for left in unfinished.iterdir():
        if left.is_dir():
            shutil.rmtree(left)


def _write_whole(source: Source, request: Request, run: Path, unfinished: Path, written: Path, models: Models) -> None:
    """Search what parts are missing, join them, and note the hash of the run before it gets its name."""
    parts = [
        (unfinished / "parts" / f"{start // QUERIES_IN_A_PART:05d}.trec", start)
        for start in range(0, len(request.queries), QUERIES_IN_A_PART)
    ]
    (unfinished / "parts").mkdir(parents=True, exist_ok=True)
    if not all(part.exists() for part, _ in parts):
        _search_parts(source, request, parts, unfinished, models)
    run.parent.mkdir(exist_ok=True)
    with durable.whole_file(run) as temporary:
        with temporary.open("wb") as joined:
            for part, _ in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, joined)
        durable.write_bytes(written, _hash_file(temporary).encode())


def _search_parts(
    source: Source, request: Request, parts: list[tuple[Path, int]], unfinished: Path, models: Models
) -> None:
    from everglade.texts import write_run

    with _SEARCHES[source.kind](source, request, unfinished, models) as search:
        request.announce(f"{source.name}: searching {len(request.queries):,} queries, {request.hits:,} hits each")
        meter = Meter(len(request.queries), request.progress)
        for part, start in parts:
            queries = list(request.queries[start : start + QUERIES_IN_A_PART])
            if part.exists():
                meter.skip(len(queries))
                continue
            write_run(search(queries), part, tag=source.name)
            meter.advance(len(queries))


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class RunInOrder:
    """A run that `search_source` wrote, read query by query in the order in which they were asked."""

    def __init__(self, path: Path) -> None:
        self._hits = read_lines(path, _query_and_document, None)
        self._next = next(self._hits, None)

    def take(self, query_id: str) -> list[str]:
        """Give the documents of the next query, best first; none if it had no hits."""
        found = []
        while self._next is not None and self._next[0] == query_id:
            found.append(self._next[1])
            self._next = next(self._hits, None)
        return found


def _query_and_document(line: bytes | bytearray, _: int) -> tuple[str, str]:
    query_id, _q0, document_id, *_rest = decode(line).split(" ")
    return query_id, document_id


@contextmanager
def _search_bm25(source: Source, request: Request, _unfinished: Path, _models: Models) -> Iterator[Search]:
    from everglade.distill.bm25 import Bm25

    request.announce(f"{source.name}: indexing {request.n_documents:,} documents")
    engine = Bm25(request.collection.documents())
    yield lambda queries: engine.search(queries, request.hits)


@contextmanager
def _search_run(source: Source, request: Request, _unfinished: Path, _models: Models) -> Iterator[Search]:
    from everglade.texts import read_run

    file, run = source.model_or_file, read_run(source.model_or_file)
    found = {query.id: dict(islice(run.get(query.id, {}).items(), request.hits)) for query in request.queries}
    unknown = {document_id for hits in found.values() for document_id in hits}
    if not unknown:
        raise InputError(
            f"it answers none of the {len(found):,} queries. Name a run of this collection and split", file
        )
    unknown.difference_update(document.id for document in request.collection.documents())
    if unknown:
        stranger = next(one for hits in found.values() for one in hits if one in unknown)
        raise InputError(
            f"the document {stranger!r} is not in {request.collection.name}, nor are {len(unknown) - 1:,} others. Name "
            f"a run of this collection",
            file,
        )
    yield lambda queries: {query.id: found[query.id] for query in queries}


@contextmanager
def _search_splade(source: Source, request: Request, unfinished: Path, models: Models) -> Iterator[Search]:
    from everglade.encode import encode_to_folder
    from everglade.search import Index

    encoder = models.take(source)
    import torch  # not before everglade.model, which says what to install when it is missing

    if torch.cuda.is_available():
        encoder.to("cuda")
    vectors, folder = unfinished / "vectors", unfinished / "index"
    if not vectors.exists():
        request.announce(f"{source.name}: encoding {request.n_documents:,} documents")
        encode_to_folder(encoder, request.rows(), vectors, total=request.n_documents, progress=request.progress)
    if not folder.exists():
        half = unfinished / "index.unfinished"
        shutil.rmtree(half, ignore_errors=True)
        with Index.create(half, encoder) as index:
            index.add_folder(vectors)
        durable.publish_folder(half, folder)
    with Index.open(folder, model=encoder) as index:
        yield lambda queries: index.search_many(queries, request.hits, request.threads)


@contextmanager
def _search_dense(source: Source, request: Request, unfinished: Path, models: Models) -> Iterator[Search]:
    from everglade.distill.dense import encode_dense, search_dense

    model = models.take(source)
    request.announce(f"{source.name}: encoding {request.n_documents:,} documents")
    documents = encode_dense(
        model, request.rows(), unfinished / "vectors", total=request.n_documents, progress=request.progress
    )

    def search(queries: list[Query]) -> Run:
        found = search_dense(model.encode_queries([query.text for query in queries]), documents, request.hits)
        return {query.id: hits for query, hits in zip(queries, found, strict=True)}

    yield search


_SEARCHES: dict[str, Callable[[Source, Request, Path, Models], AbstractContextManager[Search]]] = {
    "bm25": _search_bm25,
    "dense": _search_dense,
    "splade": _search_splade,
    "run": _search_run,
}
