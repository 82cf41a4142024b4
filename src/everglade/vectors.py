"""Sparse vectors: the one value that passes between stages in memory, and the folder that carries it on disk.

A vectors folder::

    manifest.json            what the vectors are, and every shard with its rows, postings and sha256
    shard-00000.safetensors  indptr (int64), terms (int32), weights (float32), id_offsets (int64), id_bytes (uint8)

While it is being written the folder is called `NAME.partial`; it takes its final name when it is complete. A folder
written by several jobs holds one such folder for each, named `1-of-3`, `2-of-3`, `3-of-3`.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from everglade import durable
from everglade.errors import InputError, VectorsError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["Shard", "SparseMatrix", "VectorsWriter", "read_manifest", "read_vectors"]

FORMAT = "everglade-vectors"
VERSION = 1


@dataclass(frozen=True, eq=False, slots=True)
class SparseMatrix:
    """Sparse rows over a vocabulary: row i holds `terms[indptr[i]:indptr[i+1]]` with their `weights`.

    `indptr` has shape (n_rows + 1,), int64; `terms` (nnz,), int32; `weights` (nnz,), float32. Arrays of other number
    types are converted. Within a row terms may come in any order; `canonical()` sorts them.

    Raises:
        InputError: if the arrays do not describe rows over `n_terms` terms, or a weight is negative, NaN or infinite.
    """

    indptr: NDArray[np.int64]
    terms: NDArray[np.int32]
    weights: NDArray[np.float32]
    n_terms: int

    def __post_init__(self) -> None:
        terms = np.asarray(self.terms)
        if len(terms) and not 0 <= int(terms.min()) <= int(terms.max()) < self.n_terms:
            raise InputError(
                f"terms run from {terms.min()} to {terms.max()}, but n_terms is {self.n_terms}: "
                f"every term must be at least 0 and below n_terms"
            )
        object.__setattr__(self, "indptr", np.ascontiguousarray(self.indptr, dtype=np.int64))
        object.__setattr__(self, "terms", np.ascontiguousarray(terms, dtype=np.int32))
        object.__setattr__(self, "weights", np.ascontiguousarray(self.weights, dtype=np.float32))
        self._check()

    def _check(self) -> None:
        indptr, terms, weights = self.indptr, self.terms, self.weights
        if indptr.ndim != 1 or terms.ndim != 1 or weights.ndim != 1 or len(indptr) == 0:
            raise InputError("indptr, terms and weights must be one-dimensional, and indptr must not be empty")
        if len(terms) != len(weights):
            raise InputError(f"{len(terms)} terms but {len(weights)} weights: there must be one weight for each term")
        if indptr[0] != 0 or indptr[-1] != len(terms) or np.any(np.diff(indptr) < 0):
            raise InputError(f"indptr must start at 0, never fall, and end at the number of terms ({len(terms)})")
        usable = np.isfinite(weights) & (weights >= 0)
        if not usable.all():
            place = int(np.argmin(usable))
            row = int(np.searchsorted(indptr, place, side="right")) - 1
            raise InputError(f"row {row} has the weight {weights[place]}: weights must be finite and not negative")

    @classmethod
    def from_rows(cls, rows: Iterable[dict[int, float]], n_terms: int) -> SparseMatrix:
        """Build a matrix from one {term: weight} dictionary for each row."""
        rows = list(rows)
        indptr = np.cumsum([0, *(len(row) for row in rows)])
        terms = np.array([term for row in rows for term in row], dtype=np.int32)
        weights = np.array([weight for row in rows for weight in row.values()], dtype=np.float32)
        return cls(indptr, terms, weights, n_terms).canonical()

    @classmethod
    def from_scipy(cls, matrix: Any) -> SparseMatrix:  # noqa: ANN401 - any scipy sparse matrix or array
        """Build a matrix from any scipy sparse matrix of shape (n_rows, n_terms)."""
        csr = matrix.tocsr()
        return cls(csr.indptr, csr.indices, csr.data, int(csr.shape[1])).canonical()

    @classmethod
    def stack(cls, matrices: Sequence[SparseMatrix]) -> SparseMatrix:
        """Put the rows of several matrices over the same vocabulary one after another."""
        sizes = {matrix.n_terms for matrix in matrices}
        if len(sizes) != 1:
            raise InputError(f"matrices to stack must share one vocabulary; found n_terms {sorted(sizes)}")
        starts = np.cumsum([0, *(len(matrix.terms) for matrix in matrices)])
        indptr = [matrix.indptr[1:] + start for matrix, start in zip(matrices, starts, strict=False)]
        return cls(
            np.concatenate([np.zeros(1, dtype=np.int64), *indptr]),
            np.concatenate([matrix.terms for matrix in matrices]),
            np.concatenate([matrix.weights for matrix in matrices]),
            sizes.pop(),
        )

    def to_scipy(self) -> csr_array:
        """Give the same rows as a scipy CSR array of shape (n_rows, n_terms), float32."""
        from scipy.sparse import csr_array

        return csr_array((self.weights, self.terms, self.indptr), shape=(len(self), self.n_terms))

    @property
    def is_canonical(self) -> bool:
        """Whether terms ascend in each row, each once, and no weight is 0."""
        terms = self.terms
        descents = (terms[1:] <= terms[:-1]).nonzero()[0]
        in_order = len(descents) == 0 or bool(np.isin(descents + 1, self.indptr).all())
        return in_order and np.count_nonzero(self.weights) == len(terms)

    def canonical(self) -> SparseMatrix:
        """Give equal rows with terms ascending, each once, and no zero weights.

        Weights of a term that a row names twice are added, the one rule that leaves every dot product as it was.
        """
        if self.is_canonical:
            return self
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        key = rows * self.n_terms + self.terms
        kept = self.weights > 0
        unique, place = np.unique(key[kept], return_inverse=True)
        weights = np.zeros(len(unique), dtype=np.float32)
        np.add.at(weights, place, self.weights[kept])
        counts = np.bincount(unique // self.n_terms, minlength=len(self)) if len(self) else np.zeros(0, dtype=np.int64)
        return SparseMatrix(np.concatenate([[0], np.cumsum(counts)]), unique % self.n_terms, weights, self.n_terms)

    def top_terms(self, k: int) -> SparseMatrix:
        """Keep the k heaviest terms of each row; of equally heavy ones the smaller term stays."""
        matrix = self.canonical()
        rows = np.repeat(np.arange(len(matrix)), np.diff(matrix.indptr))
        order = np.lexsort((matrix.terms, -matrix.weights, rows))
        rank = np.arange(len(order)) - matrix.indptr[rows]
        kept = np.sort(order[rank < k])
        counts = np.minimum(np.diff(matrix.indptr), k)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        return SparseMatrix(indptr, matrix.terms[kept], matrix.weights[kept], matrix.n_terms)

    def row(self, i: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Give the terms and weights of row i."""
        span = slice(self.indptr[i], self.indptr[i + 1])
        return self.terms[span], self.weights[span]

    def rows(self, start: int, stop: int) -> SparseMatrix:
        """Give rows start to stop (exclusive) as a matrix."""
        span = slice(self.indptr[start], self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - self.indptr[start]
        return SparseMatrix(indptr, self.terms[span], self.weights[span], self.n_terms)

    def take(self, order: NDArray[np.integer[Any]]) -> SparseMatrix:
        """Give the rows named by `order`, in that order."""
        counts = np.diff(self.indptr)[order]
        indptr = np.concatenate([[0], np.cumsum(counts)])
        places = np.repeat(self.indptr[:-1][order] - indptr[:-1], counts) + np.arange(indptr[-1])
        return SparseMatrix(indptr, self.terms[places], self.weights[places], self.n_terms)

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __repr__(self) -> str:
        return f"SparseMatrix({len(self)} rows, {len(self.terms)} non-zeros, n_terms={self.n_terms})"


@dataclass(frozen=True, slots=True)
class Shard:
    """A run of rows of a vectors folder, with the id of each row."""

    ids: list[str]
    matrix: SparseMatrix


class VectorsWriter:
    """Writes a vectors folder shard by shard, and takes up where an interrupted writer stopped.

    `description` is any JSON object that says what the vectors are (model, side, settings). It must hold `n_terms`. A
    writer that finds a `.partial` folder with another description refuses to go on.
    """

    def __init__(self, path: str | Path, description: dict[str, Any], *, fresh: bool = False) -> None:
        self.path = Path(path)
        self.description = description
        self._partial = self.path.with_name(self.path.name + ".partial")
        if fresh and self._partial.exists():
            shutil.rmtree(self._partial)
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise VectorsError(f"{self.path} exists already. Remove it or write to another folder.")
        self._shards: list[dict[str, Any]] = self._resume() if self._partial.exists() else []
        self._partial.mkdir(parents=True, exist_ok=True)
        self._write_manifest()

    def _resume(self) -> list[dict[str, Any]]:
        manifest_path = self._partial / "manifest.json"
        if not manifest_path.exists():
            shutil.rmtree(self._partial)
            return []
        manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
        if manifest["description"] != self.description:
            changed = [key for key in self.description if manifest["description"].get(key) != self.description[key]]
            raise VectorsError(
                f"{self._partial} was begun with other settings ({', '.join(changed) or 'fewer keys now'}). "
                f"Finish it with the same settings, or start again with --fresh (Python: fresh=True)."
            )
        shards: list[dict[str, Any]] = manifest["shards"]
        known = {"manifest.json", *(shard["name"] for shard in shards)}
        for stray in self._partial.iterdir():
            if stray.name not in known:
                stray.unlink()
        return shards

    @property
    def shards(self) -> list[dict[str, Any]]:
        """The shards written so far, as the manifest describes them."""
        return list(self._shards)

    @property
    def n_rows(self) -> int:
        """Rows written so far, by this writer and the interrupted ones before it."""
        return sum(shard["rows"] for shard in self._shards)

    def append(self, ids: list[str], matrix: SparseMatrix, input_sha256: str | None = None) -> None:
        """Write one shard durably. `input_sha256` names the texts it came from, so that a resumed run can compare."""
        if len(ids) != len(matrix):
            raise VectorsError(f"{len(ids)} ids for {len(matrix)} rows: there must be one id for each row")
        from safetensors.numpy import save

        id_bytes = [value.encode() for value in ids]
        content = save(
            {
                "indptr": matrix.indptr,
                "terms": matrix.terms,
                "weights": matrix.weights,
                "id_offsets": np.cumsum([0, *map(len, id_bytes)], dtype=np.int64),
                "id_bytes": np.frombuffer(b"".join(id_bytes), dtype=np.uint8),
            }
        )
        shard: dict[str, Any] = {
            "name": f"shard-{len(self._shards):05d}.safetensors",
            "rows": len(matrix),
            "postings": len(matrix.terms),
            "sha256": hashlib.sha256(content).hexdigest(),
            "input_sha256": input_sha256,
        }
        durable.write_bytes(self._partial / shard["name"], content)
        self._shards.append(shard)
        self._write_manifest()

    def finish(self) -> None:
        """Give the folder its final name."""
        durable.publish_folder(self._partial, self.path)

    def _write_manifest(self) -> None:
        manifest = {
            "format": FORMAT,
            "version": VERSION,
            "description": self.description,
            "rows": self.n_rows,
            "postings": sum(shard["postings"] for shard in self._shards),
            "shards": self._shards,
        }
        durable.write_json(self._partial / "manifest.json", manifest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()


def read_manifest(path: str | Path) -> dict[str, Any]:
    """Read what a vectors folder says of itself; of a folder of parts, the sum of them.

    Raises:
        VectorsError: if the folder is missing, unfinished, of another format, or lacks a part.
    """
    path = Path(path)
    file = path / "manifest.json"
    if file.exists():
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        if manifest.get("format") != FORMAT or manifest.get("version") != VERSION:
            raise VectorsError(f"{file} is not a vectors manifest of version {VERSION} that this Everglade can read.")
        return manifest
    manifests = [read_manifest(part) for part in _parts(path)]
    descriptions = [{k: v for k, v in manifest["description"].items() if k != "part"} for manifest in manifests]
    if any(description != descriptions[0] for description in descriptions):
        raise VectorsError(f"the parts in {path} were made with different settings. Encode them again alike.")
    return {
        **manifests[0],
        "description": descriptions[0],
        "rows": sum(manifest["rows"] for manifest in manifests),
        "postings": sum(manifest["postings"] for manifest in manifests),
        "shards": [shard for manifest in manifests for shard in manifest["shards"]],
    }


def read_vectors(path: str | Path) -> Iterator[Shard]:
    """Read a finished vectors folder, shard by shard, each checked against its sha256.

    Raises:
        VectorsError: if the folder is missing or unfinished, or a shard is not what was written.
    """
    path = Path(path)
    manifest = read_manifest(path)
    if not (path / "manifest.json").exists():
        for part in _parts(path):
            yield from read_vectors(part)
        return
    for shard in manifest["shards"]:
        yield _read_shard(path / shard["name"], shard["sha256"], manifest["description"]["n_terms"])


def _read_shard(file: Path, sha256: str, n_terms: int) -> Shard:
    from safetensors.numpy import load

    if not file.exists():
        raise VectorsError(f"{file} is missing. Encode the collection again.")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise VectorsError(f"{file} is not what was written (its sha256 differs). Encode the collection again.")
    arrays = load(content)
    text = arrays["id_bytes"].tobytes()
    offsets = arrays["id_offsets"].tolist()
    ids = [text[a:b].decode() for a, b in zip(offsets, offsets[1:], strict=False)]
    return Shard(ids, SparseMatrix(arrays["indptr"], arrays["terms"], arrays["weights"], n_terms))


def _parts(path: Path) -> list[Path]:
    found = {}
    for folder in path.glob("*-of-*"):
        if match := re.fullmatch(r"(\d+)-of-(\d+)", folder.name):
            found[int(match[1]), int(match[2])] = folder
    counts = {count for _, count in found}
    if not found:
        unfinished = path.with_name(path.name + ".partial").exists()
        hint = "its encoding was interrupted: run the same command again" if unfinished else "no manifest.json in it"
        raise VectorsError(f"{path} is not a finished vectors folder: {hint}.")
    if len(counts) != 1:
        raise VectorsError(f"{path} holds parts of different divisions: {sorted(f.name for f in found.values())}.")
    count = counts.pop()
    missing = [f"{i}-of-{count}" for i in range(1, count + 1) if (i, count) not in found]
    if missing:
        raise VectorsError(f"{path} lacks the parts {', '.join(missing)}. Run encode --shard for each of them.")
    return [found[i, count] for i in range(1, count + 1)]
