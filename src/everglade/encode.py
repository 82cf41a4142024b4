"""From texts to sparse vectors: what an encoder is, and the resumable way from a collection to a vectors folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from everglade import durable
from everglade.errors import ConfigError, VectorsError
from everglade.progress import Meter, Progress, ProgressCallback
from everglade.vectors import SparseMatrix, VectorsWriter, read_manifest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["Encoder", "Progress", "ProgressCallback", "encode_to_folder"]

# Rows handed to the encoder at once: few enough for frequent news, enough to batch texts of like length.
_SLICE_ROWS = 256

Row = tuple[str, str]


class Encoder(Protocol):
    """Anything that turns texts into sparse vectors: `Splade`, or a class of your own."""

    @property
    def name(self) -> str:
        """The folder or hub id the encoder was loaded from, as it was given."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that change when the same text would get another vector."""

    @property
    def n_terms(self) -> int:
        """Number of terms of the vocabulary."""

    def term_names(self) -> list[str]:
        """Give the string of each term; shape (n_terms,)."""

    def encode_documents(self, texts: Sequence[str]) -> SparseMatrix:
        """Give one canonical row for each document text."""

    def encode_queries(self, texts: Sequence[str]) -> SparseMatrix:
        """Give one canonical row for each query text."""


def encode_to_folder(
    encoder: Encoder,
    rows: Iterable[Row],
    path: str | Path,
    *,
    side: Literal["document", "query"] = "document",
    part: tuple[int, int] | None = None,
    shard_rows: int = 8192,
    fresh: bool = False,
    total: int | None = None,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Encode rows into a vectors folder, shard by shard, taking up where an interrupted call stopped.

    A resumed call reads the rows of the finished shards again, to see that they are the same, but does not encode
    them. What it writes is what an uninterrupted call writes. At most `shard_rows` texts and their vectors are in
    memory at once.

    Args:
        encoder: The model.
        rows: The id and the text of each row, in an order that does not change from call to call.
        path: The folder; with `part`, the folder that holds the folders of the parts.
        side: Whether the texts are documents or queries.
        part: (i, n) takes every nth row, from row i on, counted from 1, and writes them to PATH/i-of-n.
        shard_rows: Rows in a shard.
        fresh: Throw away what an interrupted call left, instead of going on with it.
        total: How many rows there are in all parts together, if that is known, for the progress.
        progress: Called at the start and as rows are finished.

    Returns:
        The manifest of the folder that was written (see `everglade.vectors.read_manifest`).

    Raises:
        VectorsError: if the folder exists already, or was begun with another model, other settings or other rows.
        ConfigError: if `part` or `shard_rows` is out of range.
    """
    if shard_rows < 1:
        raise ConfigError(f"shard_rows must be at least 1, not {shard_rows}.")
    folder, own_rows, own_total = _take_part(Path(path), rows, part, total)
    if not fresh:
        _complete_settings(folder, encoder)
    writer = VectorsWriter(folder, _describe(encoder, side, part, shard_rows), fresh=fresh)
    meter = Meter(own_total, progress)
    finished = writer.shards
    own_rows = iter(own_rows)
    for shard in finished:
        _skip_shard(folder, shard, list(islice(own_rows, shard["rows"])))
        meter.skip(shard["rows"])
    while chunk := list(islice(own_rows, shard_rows)):
        if finished and finished[-1]["rows"] < shard_rows:
            raise VectorsError(f"there are more rows than when {folder}.partial was begun. {_START_AGAIN}")
        ids = [row_id for row_id, _ in chunk]
        writer.append(ids, _encode_chunk(encoder, side, chunk, meter), _hash_rows(chunk))
    writer.finish()
    return read_manifest(folder)


_START_AGAIN = "Encode the same collection, or start again with --fresh (Python: fresh=True)."


def _take_part(
    path: Path, rows: Iterable[Row], part: tuple[int, int] | None, total: int | None
) -> tuple[Path, Iterable[Row], int | None]:
    if part is None:
        return path, rows, total
    number, count = part
    if not 1 <= number <= count:
        raise ConfigError(f"part {number} of {count} does not exist: parts are counted from 1.")
    own_total = None if total is None else len(range(number - 1, total, count))
    return path / f"{number}-of-{count}", islice(rows, number - 1, None, count), own_total


def _describe(encoder: Encoder, side: str, part: tuple[int, int] | None, shard_rows: int) -> dict[str, Any]:
    settings = _find_settings(encoder)
    return {
        "n_terms": encoder.n_terms,
        "model": {"name": encoder.name, "fingerprint": encoder.fingerprint},
        "side": side,
        "settings": None if settings is None else asdict(settings),
        "shard_rows": shard_rows,
        "part": None if part is None else list(part),
    }


def _find_settings(encoder: Encoder) -> DataclassInstance | None:
    """Give the encoder's settings; one of the user's own need not have any, as fingerprints tell vectors apart."""
    settings = getattr(encoder, "settings", None)
    return settings if is_dataclass(settings) and not isinstance(settings, type) else None


def _complete_settings(folder: Path, encoder: Encoder) -> None:
    """Give a folder that was begun before there were all of today's settings the others, which had their default."""
    file = folder.with_name(folder.name + ".partial") / "manifest.json"
    settings = _find_settings(encoder)
    if settings is None or not file.exists():
        return
    manifest = json.loads(file.read_text(encoding="utf-8"))
    begun = manifest["description"].get("settings")
    defaults = {field.name: field.default for field in fields(settings) if field.default is not MISSING}
    if isinstance(begun, dict) and not defaults.keys() <= begun.keys():
        manifest["description"]["settings"] = {**defaults, **begun}
        durable.write_json(file, manifest)


def _skip_shard(folder: Path, shard: dict[str, Any], chunk: list[Row]) -> None:
    if len(chunk) != shard["rows"] or _hash_rows(chunk) != shard["input_sha256"]:
        raise VectorsError(f"the rows of {shard['name']} in {folder}.partial have changed since. {_START_AGAIN}")


def _encode_chunk(encoder: Encoder, side: str, chunk: list[Row], meter: Meter) -> SparseMatrix:
    encode = encoder.encode_queries if side == "query" else encoder.encode_documents
    parts = []
    for texts in _slices([text for _, text in chunk]):
        parts.append(encode(texts).canonical())
        meter.advance(len(texts))
    return SparseMatrix.stack(parts)


def _slices(texts: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(texts), _SLICE_ROWS):
        yield texts[start : start + _SLICE_ROWS]


def _hash_rows(chunk: list[Row]) -> str:
    total = hashlib.sha256()
    for row in chunk:
        for value in row:
            content = value.encode("utf-8", "surrogatepass")
            total.update(len(content).to_bytes(8, "little"))
            total.update(content)
    return total.hexdigest()
