"""Vectors of other tools' files to a vectors folder, as `encode` writes one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from everglade.errors import InputError, VectorsError
from everglade.progress import Meter
from everglade.vector_files.reading import find_files, read_vector_files
from everglade.vector_files.rounding import Rounding
from everglade.vectors import Shard, VectorsWriter

if TYPE_CHECKING:
    from everglade.progress import ProgressCallback
    from everglade.texts import Rejects
    from everglade.vector_files.vocabulary import Vocabulary

__all__ = ["Written", "write_folder"]


class Written(NamedTuple):
    """What came of it: rows, entries that are not zero, and rows without any."""

    rows: int
    postings: int
    empty: int


def write_folder(
    sources: Sequence[str | Path],
    path: str | Path,
    vocabulary: Vocabulary,
    rounding: Rounding | None = None,
    *,
    side: Literal["document", "query"] = "document",
    rejects: Rejects | None = None,
    fresh: bool = False,
    progress: ProgressCallback | None = None,
) -> Written:
    """Read vectors and write them to a folder; an interrupted call is taken up where the same rows come again.

    Args:
        sources: Files, or folders of them; see `read_vector_files`.
        path: The folder; it must not exist, or be empty.
        vocabulary: The term id of each token.
        rounding: What becomes of the weights; they stay as they stand, if None.
        side: Whether the vectors are those of documents or of queries.
        rejects: Takes the vectors that cannot be used; without it the first one stops the reading.
        fresh: Throw away what an interrupted call left, instead of going on with it.
        progress: Called at the start and after every shard.

    Raises:
        VectorsError: if the folder exists already, or was begun with other rows or settings.
        InputError: if a vector cannot be used, or there is none.
    """
    rounding = rounding or Rounding()
    files = find_files(sources)
    description = {
        "n_terms": vocabulary.n_terms,
        "model": None,
        "side": side,
        "settings": None,
        "files": [file.name for file in files],
        "vocabulary": {"name": vocabulary.name, "sha256": vocabulary.sha256},
        "rounding": asdict(rounding),
    }
    meter = Meter(None, progress)
    written = Written(0, 0, 0)
    writer = VectorsWriter(path, description, fresh=fresh)
    begun = writer.shards
    for place, shard in enumerate(read_vector_files(files, vocabulary, rounding, rejects=rejects)):
        digest = _hash(shard)
        if place >= len(begun):
            writer.append(shard.ids, shard.matrix, digest)
        elif begun[place]["input_sha256"] != digest:
            raise VectorsError(f"{path}.partial was begun with other vectors. Start again with --fresh (fresh=True).")
        written = _add(written, shard)
        meter.advance(len(shard.ids))
    if not written.rows:
        raise InputError(f"there is no vector in {', '.join(map(str, sources))}. Check the files")
    writer.finish()
    return written


def _add(written: Written, shard: Shard) -> Written:
    counts = np.diff(shard.matrix.indptr)
    return Written(
        written.rows + len(counts),
        written.postings + int(counts.sum()),
        written.empty + int(np.count_nonzero(counts == 0)),
    )


def _hash(shard: Shard) -> str:
    total = hashlib.sha256("\n".join(shard.ids).encode())
    for array in (shard.matrix.indptr, shard.matrix.terms, shard.matrix.weights):
        total.update(array.tobytes())
    return total.hexdigest()
