"""The models of a frontier, and their vectors: each text is encoded once for all points of a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.assess.efficiency import pick_evenly
from everglade.assess.query_times import time_encoding
from everglade.bundled import bundled_collection, bundled_model
from everglade.encode import encode_to_folder
from everglade.errors import ModelError
from everglade.model.threads import limited_threads
from everglade.vectors import SparseMatrix, read_manifest, read_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from everglade.assess.judged import JudgedSet
    from everglade.encode import Encoder
    from everglade.frontier.settings import FrontierSettings
    from everglade.progress import ProgressCallback
    from everglade.texts import Query

__all__ = ["FrontierModel", "Material", "name_models", "resolve_collection"]

SHARD_ROWS = 4096


def resolve_collection(source: str) -> str:
    """Give where a collection lies; the word bundled means the one that comes with Everglade."""
    return str(bundled_collection()) if source == "bundled" else source


class Material:
    """What a frontier is measured on: the documents, the judged queries, and what tells them from others.

    Args:
        judged: The set.
        queries: Judge by so many of its queries, evenly from the whole set; 0 means all.
    """

    def __init__(self, judged: JudgedSet, queries: int = 0) -> None:
        self.judged = judged
        self.queries: list[Query] = pick_evenly(judged.queries, queries or len(judged.queries))
        asked = {query.id for query in self.queries}
        everything = not queries or queries >= len(judged.queries)
        # Judged queries without a text count as zero, unless only some of the queries are asked.
        self.qrels = judged.qrels if everything else {id: judged.qrels[id] for id in judged.qrels if id in asked}

    @cached_property
    def documents_digest(self) -> str:
        """A sha256 of every document's id and text, in order."""
        return _digest((document.id, document.full_text) for document in self.judged.documents())

    @cached_property
    def queries_digest(self) -> str:
        """The same of the queries that are asked."""
        return _digest(self.queries)

    @cached_property
    def digest(self) -> str:
        """A sha256 of all that a measure depends on: documents, queries and judgements."""
        rows = (
            (query, document, str(grade)) for query, grades in self.qrels.items() for document, grade in grades.items()
        )
        return _digest([(self.documents_digest, self.queries_digest, _digest(rows))])


def _digest(rows: Iterable[tuple[str, ...]]) -> str:
    total = hashlib.sha256()
    for row in rows:
        for value in row:
            content = value.encode("utf-8", "surrogatepass")
            total.update(len(content).to_bytes(8, "little"))
            total.update(content)
    return total.hexdigest()


class FrontierModel:
    """A model by its path, loaded when it is first needed.

    Args:
        label: What it is called.
        source: A model folder or hub id, or the word bundled.
        recipe: What trained it, if the frontier did.
        folder: Where it lies, if not at `source`.
    """

    def __init__(
        self, label: str, source: str, recipe: Mapping[str, Any] | None = None, folder: Path | None = None
    ) -> None:
        self.label = label
        self.source = source
        self.recipe = recipe
        self._path = str(folder) if folder else str(bundled_model()) if source == "bundled" else source

    @cached_property
    def encoder(self) -> Encoder:
        """The model, open.

        Raises:
            ModelError: if there is none.
        """
        from everglade.model.splade import Splade

        try:
            return Splade.load(self._path)
        except ModelError as error:
            raise ModelError(f"the model {self.label}: {error}") from error

    @property
    def fingerprint(self) -> str:
        """What tells its vectors from those of others."""
        return self.encoder.fingerprint

    def to_dict(self) -> dict[str, Any]:
        """Give what is to be known of it as plain JSON values."""
        recipe = {} if self.recipe is None else {"recipe": dict(self.recipe)}
        return {"label": self.label, "source": self.source, "fingerprint": self.fingerprint, **recipe}

    def encode_documents(
        self, material: Material, work: Path, threads: int, progress: ProgressCallback | None = None
    ) -> Path:
        """Give the vectors folder of the documents, making what is missing of it."""
        folder = work / f"documents-{self.fingerprint[:12]}-{material.documents_digest[:12]}"
        rows = ((document.id, document.full_text) for document in material.judged.documents())
        return _encode(self.encoder, rows, folder, threads, material.judged.n_documents, progress)

    def encode_queries(
        self, material: Material, work: Path, threads: int, progress: ProgressCallback | None = None
    ) -> SparseMatrix:
        """Give the vectors of the queries, in order, from a vectors folder that is made if it is missing."""
        folder = work / f"queries-{self.fingerprint[:12]}-{material.queries_digest[:12]}"
        rows = ((query.id, query.text) for query in material.queries)
        _encode(self.encoder, rows, folder, threads, len(material.queries), progress, side="query")
        return SparseMatrix.stack([shard.matrix for shard in read_vectors(folder)])

    def time_queries(self, material: Material, work: Path, settings: FrontierSettings) -> NDArray[np.float64]:
        """Give the milliseconds that each timed query's encoding takes on one thread: the median of its repeats.

        They are measured once for all points of the model, and kept.
        """
        count, repeats = settings.timed_queries, settings.repeats
        texts = [query.text for query in pick_evenly(material.queries, count)]
        file = work / f"encoding-{self.fingerprint[:12]}-{_digest((text,) for text in texts)[:12]}-{repeats}.json"
        if not file.exists():
            times = np.median([time_encoding(self.encoder, texts) for _ in range(repeats)], axis=0)
            durable.write_json(file, times.tolist())
        return np.array(json.loads(file.read_text(encoding="utf-8")))


def _encode(
    encoder: Encoder,
    rows: Iterator[tuple[str, str]],
    folder: Path,
    threads: int,
    total: int,
    progress: ProgressCallback | None = None,
    side: Any = "document",  # noqa: ANN401 - "document" or "query"
) -> Path:
    if not (folder / "manifest.json").exists():
        with limited_threads(threads):
            encode_to_folder(encoder, rows, folder, side=side, shard_rows=SHARD_ROWS, total=total, progress=progress)
    read_manifest(folder)
    return folder


def name_models(words: Sequence[str]) -> list[FrontierModel]:
    """Give the models that are named by path, or as NAME=PATH.

    Raises:
        ConfigError: if two have one label.
    """
    from everglade.assess.systems import name_sources

    return [FrontierModel(label, source) for label, source in name_sources(words).items()]
