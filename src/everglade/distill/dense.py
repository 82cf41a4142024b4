"""Searching with a dense model of sentence-transformers: exactly, in bounded memory, going on after an interruption.

A vectors folder here is `shard-00000.safetensors` and so on, each with the tensor `vectors` (n, d) float32 and, in its
header, a hash of the texts and of the model it came from.

The score of a document is the dot product of two float32 vectors, summed in double precision and rounded to float32.
Products of whole blocks in float32 only say which documents may be among the best: their error is at most
d 2^-24 |q| |v| (Higham 2002, Accuracy and Stability of Numerical Algorithms, eq. 3.5), so that neither the number of
threads nor the size of a block can change a hit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.errors import ConfigError, MissingExtra, ModelError, VectorsError
from everglade.progress import Meter

if TYPE_CHECKING:
    from everglade.progress import ProgressCallback

__all__ = ["DenseModel", "DenseVectors", "SentenceEncoder", "encode_dense", "search_dense"]

SHARD_ROWS = 8192
_SLICE_ROWS = 256
_BATCH_TEXTS = 32
_ROUNDING = 2.0**-24
"""Half a unit in the last place of float32: the relative error of one operation."""

Row = tuple[str, str]


class DenseModel(Protocol):
    """Anything that turns texts into dense vectors whose dot product is the score."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that change when the same text would get another vector."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give the vector of each document text; shape (n, d)."""

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give the vector of each query text; shape (n, d)."""


class SentenceEncoder:
    """A dense model of sentence-transformers; its prompts for queries and documents are used.

    Raises:
        MissingExtra: if sentence-transformers is not installed.
        ModelError: if it cannot be opened, lacks weights or has them as a pickle, or compares vectors by a distance.
    """

    def __init__(self, path_or_id: str) -> None:
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise MissingExtra("sentence-transformers", "teachers") from error
        from everglade.distill.teachers import require_safetensors
        from everglade.model.hub import find_folder
        from everglade.model.loading import quiet_transformers

        self.name = path_or_id
        folder = find_folder(path_or_id)
        require_safetensors(folder)
        with quiet_transformers():
            try:
                self._model: Any = SentenceTransformer(
                    str(folder),
                    local_files_only=True,
                    trust_remote_code=False,
                    model_kwargs={"use_safetensors": True, "dtype": "float32"},
                )
            except Exception as error:
                # Never swallowed; not narrower, because tokenizers raises Exception itself.
                raise ModelError(
                    f"{path_or_id} cannot be opened as a dense model by sentence-transformers: {error}"
                ) from error
        _require_weights(folder, self._model)
        self._model.eval()
        similarity = str(self._model.similarity_fn_name)
        if similarity not in ("cosine", "dot"):
            raise ModelError(
                f"{path_or_id} compares vectors by their {similarity} distance. Candidates can be searched with models "
                f"that compare by cosine or dot product."
            )
        self._normalised = similarity == "cosine"
        self.fingerprint = self._hash(similarity)

    def _hash(self, similarity: str) -> str:
        from everglade.model.fingerprint import hash_encoder, tokenizer_rules

        model = self._model
        backend = getattr(model.tokenizer, "backend_tokenizer", None)
        rules = [
            [f"{type(module).__name__} {getattr(module, 'get_config_dict', dict)()}" for module in model],
            model.prompts,
            model.default_prompt_name,
            model.max_seq_length,
            similarity,
            None if backend is None else tokenizer_rules({"tokenizer.json": backend.to_str().encode()}),
        ]
        return hash_encoder(model, rules)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give the vector of each document text; shape (n, d)."""
        return self._encode(self._model.encode_document, texts)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Give the vector of each query text; shape (n, d)."""
        return self._encode(self._model.encode_query, texts)

    def _encode(self, encode: Any, texts: Sequence[str]) -> NDArray[np.float32]:  # noqa: ANN401 - a bound method
        vectors = encode(
            list(texts),
            batch_size=_BATCH_TEXTS,
            show_progress_bar=False,
            convert_to_numpy=True,
            normalize_embeddings=self._normalised,
        )
        found: NDArray[np.float32] = np.ascontiguousarray(vectors, dtype=np.float32)
        if not np.isfinite(found).all():
            raise ModelError(f"{self.name} gave a vector that is not finite. Check its weights.")
        return found


def _require_weights(folder: Path, model: Any) -> None:  # noqa: ANN401 - a SentenceTransformer
    """Make sure that every weight that a vector depends on is in the folder, as others are drawn at random.

    Raises:
        ModelError: naming those that are not.
    """
    from everglade.distill.teachers import find_missing

    for place, module in _language_models(folder, model):
        reads = module.get_config_dict().get("modality_config", {}).get("text", {})
        missing = set(find_missing(place, module.model))
        if reads.get("method_output_name") == "last_hidden_state":
            # Nothing reads the pooler, so it need not be there; but a random one would be in the fingerprint.
            spare = {name for name in missing if "pooler" in name.split(".")}
            for name in spare:
                module.model.get_parameter(name).data.zero_()
            missing -= spare
        if missing:
            raise ModelError(
                f"{place} lacks weights of its encoder ({', '.join(sorted(missing)[:3])}), so its vectors would be "
                f"noise. Fetch or save the model again."
            )


def _language_models(folder: Path, model: Any) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401 - a SentenceTransformer
    """Give the folder of each language model of a SentenceTransformer, those behind a router too, and its module."""
    from transformers import PreTrainedModel

    from everglade.model.files import find_inside, read_json

    # A folder of transformers alone lists no modules: it is the first one, and the pooling is made up.
    listed = read_json(folder / "modules.json", missing=[], kind=list) or [{}]
    parts = [(find_inside(folder, entry.get("path", "")), module) for entry, module in zip(listed, model, strict=False)]
    for place, module in list(parts):
        for route, names in read_json(place / "router_config.json", missing={}).get("structure", {}).items():
            behind = zip(names, module.sub_modules[route], strict=True)
            parts += [(find_inside(place, name), part) for name, part in behind]
    for place, module in parts:
        if isinstance(getattr(module, "model", None), PreTrainedModel):
            yield place, module


class DenseVectors(NamedTuple):
    """A finished folder of dense vectors, and the ids of its rows in their order."""

    path: Path
    ids: list[str]

    def shards(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Give the first row and the vectors (n, d) of each shard."""
        from safetensors.numpy import load_file

        start = 0
        for number in range(-(-len(self.ids) // SHARD_ROWS)):
            vectors = load_file(_shard(self.path, number))["vectors"]
            yield start, vectors
            start += len(vectors)


def encode_dense(
    model: DenseModel,
    rows: Iterable[Row],
    path: Path,
    *,
    total: int | None = None,
    progress: ProgressCallback | None = None,
) -> DenseVectors:
    """Encode documents into a folder, shard by shard; shards that stand are not encoded again.

    Args:
        model: The model.
        rows: The id and the text of each document, in an order that does not change from call to call.
        path: The folder.
        total: How many documents there are, if that is known, for the progress.
        progress: Called at the start and as documents are finished.

    Raises:
        VectorsError: if a shard that stands came from another model or other texts.
    """
    path.mkdir(parents=True, exist_ok=True)
    meter = Meter(total, progress)
    ids: list[str] = []
    remaining = iter(rows)
    for number, chunk in enumerate(iter(lambda: list(islice(remaining, SHARD_ROWS)), [])):
        ids += [document_id for document_id, _ in chunk]
        origin = {"model": model.fingerprint, "texts": _hash_rows(chunk)}
        file = _shard(path, number)
        if file.exists():
            _check_origin(file, origin)
            meter.skip(len(chunk))
            continue
        parts = []
        for start in range(0, len(chunk), _SLICE_ROWS):
            texts = [text for _, text in chunk[start : start + _SLICE_ROWS]]
            parts.append(model.encode_documents(texts))
            meter.advance(len(texts))
        _write_shard(file, np.concatenate(parts), origin)
    return DenseVectors(path, ids)


def _shard(path: Path, number: int) -> Path:
    return path / f"shard-{number:05d}.safetensors"


def _write_shard(file: Path, vectors: NDArray[np.float32], origin: dict[str, str]) -> None:
    from safetensors.numpy import save

    # As one entry: safetensors writes several in an order that changes from process to process.
    durable.write_bytes(file, save({"vectors": vectors}, metadata={"origin": json.dumps(origin)}))


def _check_origin(file: Path, origin: dict[str, str]) -> None:
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as opened:
        found = json.loads(opened.metadata()["origin"])
    if found != origin:
        changed = ", ".join(key for key in origin if found.get(key) != origin[key])
        raise VectorsError(f"{file} was encoded from something else ({changed}). Remove its folder, or start afresh.")


def _hash_rows(rows: Sequence[Row]) -> str:
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def search_dense(queries: NDArray[np.float32], documents: DenseVectors, k: int) -> list[dict[str, float]]:
    """Find for each query, row of (n, d), the k documents with the highest scores, best first.

    Equal scores are ordered by document id, ascending. Memory holds the queries, one shard, its scores for each of
    them, and the hits.

    Raises:
        ConfigError: if k is below 1.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, not {k}")
    if not len(queries):
        return []
    by_id = np.empty(len(documents.ids), dtype=np.int64)
    by_id[np.argsort(np.array(documents.ids, dtype=object), kind="stable")] = np.arange(len(documents.ids))
    best = [_Best(k) for _ in range(len(queries))]
    for start, vectors in documents.shards():
        longest = float(np.linalg.norm(vectors.astype(np.float64), axis=1).max())
        _add_shard(best, queries, vectors, longest, by_id, start)
    return [found.hits(documents.ids) for found in best]


class _Best:
    """The best documents of one query so far, best first: scores (m,) float32, rows (m,), and places by id (m,)."""

    def __init__(self, k: int) -> None:
        self.k = k
        self.scores = np.zeros(0, dtype=np.float32)
        self.rows = np.zeros(0, dtype=np.int64)
        self._order = np.zeros(0, dtype=np.int64)

    @property
    def floor(self) -> float:
        """The score below which nothing can enter any more."""
        return float(self.scores[-1]) if len(self.scores) == self.k else -np.inf

    def add(self, scores: NDArray[np.float32], rows: NDArray[np.int64], order: NDArray[np.int64]) -> None:
        scores, rows = np.concatenate([self.scores, scores]), np.concatenate([self.rows, rows])
        order = np.concatenate([self._order, order])
        kept = np.lexsort((order, -scores))[: self.k]
        self.scores, self.rows, self._order = scores[kept], rows[kept], order[kept]

    def hits(self, ids: list[str]) -> dict[str, float]:
        return {ids[row]: float(score) for row, score in zip(self.rows.tolist(), self.scores, strict=True)}


def _add_shard(
    best: list[_Best],
    queries: NDArray[np.float32],
    vectors: NDArray[np.float32],
    longest: float,
    by_id: NDArray[np.int64],
    start: int,
) -> None:
    """Let the documents of one shard, whose first row is `start`, enter the best of some queries."""
    screened = queries @ vectors.T  # (n queries, n documents)
    floors = np.array([found.floor for found in best])
    k, n = best[0].k, len(vectors)
    if k < n:
        floors = np.maximum(floors, np.partition(screened, n - k, axis=1)[:, n - k])
    doubled = queries.astype(np.float64)
    # Both the floor and the score may be off by the bound; 8 more operations stand for the rounding of the two.
    slack = 2 * (queries.shape[1] + 8) * _ROUNDING * np.linalg.norm(doubled, axis=1) * longest
    at, column = np.nonzero(screened >= (floors - slack)[:, None])
    bounds = np.searchsorted(at, np.arange(len(best) + 1))
    for row, found in enumerate(best):
        columns = column[bounds[row] : bounds[row + 1]]
        if len(columns):
            # Summed row by row, so that equal vectors have equal scores wherever they stand.
            exact = (vectors[columns] * doubled[row]).sum(axis=1).astype(np.float32)
            found.add(exact, columns + start, by_id[columns + start])
