"""Texts by id in a folder of mapped files: opened at once, and read a text at a time.

A store is a folder::

    texts.arrow      columns `id` and `text`, in the order of the source
    lookup.arrow     columns `hash` and `row`: from an id to its row (lookup.py)
    manifest.json    what it is, its version, the number of texts, and what it was made from

8.8 million passages take 3 GB, and in memory what has been read of late, which the system takes back when it is short.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from everglade import durable
from everglade.distill.arrow_file import VERSION, MappedFile, Strings, open_arrow, write_arrow
from everglade.distill.lookup import EMPTY, MOST_ENTRIES, Lookup, hash_id
from everglade.distill.values import StoredTexts
from everglade.errors import InputError
from everglade.texts import Collection, FileCollection
from everglade.texts.lines import require_file

__all__ = ["CollectionTexts", "TextStore", "store_collection", "store_documents", "write_texts"]

_TEXTS = pa.schema([pa.field("id", pa.large_utf8()), pa.field("text", pa.large_utf8())])
_LOOKUP = pa.schema([pa.field("hash", pa.uint64()), pa.field("row", pa.uint32())])
# A batch is written when one of these is reached, so that the memory of a writer does not grow with the texts.
_ROWS, _CHARACTERS = 2**16, 2**25


class TextStore(StoredTexts):
    """A mapping from id to text that stays on disk."""

    def __init__(self, path: Path, file: MappedFile, texts: list[pa.RecordBatch], lookup: Lookup) -> None:
        self.path = path
        self._file = file
        self._ids = [Strings(batch.column(0), file.path) for batch in texts]
        self._texts = [Strings(batch.column(1), file.path) for batch in texts]
        self._starts: list[int] = [0, *itertools.accumulate(map(len, self._ids))]
        self._lookup = lookup

    @classmethod
    def open(cls, folder: str | Path) -> TextStore:
        """Open a store; nothing is read but its manifest and the heads of its files.

        Raises:
            InputError: if it is not a whole store, or its files do not belong together.
        """
        folder = Path(folder)
        manifest = _read_manifest(folder)
        file = MappedFile.of(folder / "texts.arrow")
        texts = open_arrow(file.path, "texts", _TEXTS)
        table = open_arrow(folder / "lookup.arrow", "lookup", _LOOKUP)
        n = sum(batch.num_rows for batch in texts)
        if n != manifest["texts"] or len(table) != 1 or not n < table[0].num_rows:
            raise InputError(
                f"the store should hold {manifest['texts']} texts; its files hold {n}. Make it again", folder
            )
        hashes, rows = (table[0].column(place).to_numpy() for place in range(2))
        return cls(folder, file, texts, Lookup(hashes, rows, n))

    def __getitem__(self, key: str) -> str:
        row = self._row(key)
        if row is None:
            raise KeyError(key)
        part = bisect_right(self._starts, row) - 1
        return self._texts[part].at(row - self._starts[part])

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._row(key) is not None

    def _row(self, key: str) -> int | None:
        for row in self._lookup.candidates(hash_id(key)):
            part = bisect_right(self._starts, row) - 1
            if row < self._starts[-1] and self._ids[part].at(row - self._starts[part]) == key:
                return row
        return None

    def holds(self, ids: Strings) -> NDArray[np.bool_]:
        """Say of each id whether it has a text, by its 64-bit hash.

        With n ids in the store, one that is not there is taken for one that is with a probability of n / 2^64.
        """
        return self._lookup.holds(ids.hashes())

    def __iter__(self) -> Iterator[str]:
        for ids in self._ids:
            for start in range(0, len(ids), 4096):
                yield from ids.between(start, min(start + 4096, len(ids)))

    def __len__(self) -> int:
        return self._starts[-1]

    def digest(self) -> str:
        """Give the sha256 of the file of texts; it reads the whole file, about a second for a gigabyte.

        Raises:
            InputError: if another file stands there since the store was opened.
        """
        return self._digest

    @cached_property
    def _digest(self) -> str:
        return self._file.digest()

    def __repr__(self) -> str:
        return f"TextStore({str(self.path)!r}, {len(self):,} texts)"


def write_texts(texts: Iterable[tuple[str, str]], folder: str | Path, source: object = None) -> TextStore:
    """Make a store of (id, text), whole or not at all, and open it. It takes 16 bytes of memory for each text.

    Args:
        texts: ids and texts; each id once.
        folder: where the store will be; it must not be there yet, unless empty.
        source: what it is made from, as JSON; `store_collection` compares it.

    Raises:
        InputError: if an id comes twice, a text is not Unicode, or the folder is there already.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("this is there already. Remove it, or name another folder for the texts", folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with durable.private_folder(folder) as partial:
        _write_lookup(partial, hashes := _write_rows(texts, partial / "texts.arrow"))
        manifest = {"format": "everglade texts", "version": VERSION, "texts": len(hashes), "source": source}
        durable.write_json(partial / "manifest.json", manifest)
        durable.publish_folder(partial, folder)
    return TextStore.open(folder)


class CollectionTexts(NamedTuple):
    """The texts of a collection, by id."""

    queries: TextStore
    documents: TextStore


def store_collection(collection: Collection, folder: str | Path) -> CollectionTexts:
    """Give the texts of a collection from the stores in `folder`, which are made if they are not there.

    A document's text is its title and body, as it will be encoded (`Document.full_text`). Several processes may ask at
    once: each makes the stores, the first to finish gives them their name.

    Raises:
        InputError: if the stores were made from another collection, or from files that have changed since.
    """
    folder, source = Path(folder), _describe(collection)
    queries = _kept_or_made(folder / "queries", source, lambda: ((q.id, q.text) for q in collection.queries()))
    return CollectionTexts(queries, store_documents(collection, folder))


def store_documents(collection: Collection, folder: str | Path) -> TextStore:
    """Give the documents alone as `store_collection` does, from the same folder; for those without queries."""
    texts = ((d.id, d.full_text) for d in collection.documents())
    return _kept_or_made(Path(folder) / "documents", _describe(collection), lambda: texts)


def _kept_or_made(folder: Path, source: object, texts: Callable[[], Iterable[tuple[str, str]]]) -> TextStore:
    if not (folder / "manifest.json").exists():
        try:
            return write_texts(texts(), folder, source)
        except (OSError, InputError):
            # Another process may have been faster.
            if not (folder / "manifest.json").exists():
                raise
    if (made_from := _read_manifest(folder).get("source")) != source:
        raise InputError(
            f"these texts were made from {_shown(made_from)}, not from {_shown(source)} as it is now. Remove the "
            f"folder to make it again, or name another",
            folder,
        )
    return TextStore.open(folder)


def _write_rows(texts: Iterable[tuple[str, str]], path: Path) -> NDArray[np.uint64]:
    """Write the file of texts, and give the hashes of the ids."""
    hashes: list[NDArray[np.uint64]] = []
    rows: list[tuple[str, str]] = []
    characters = 0
    with write_arrow(path, "texts", _TEXTS) as writer:

        def flush() -> None:
            try:
                batch = pa.record_batch(list(zip(*rows, strict=True)), schema=_TEXTS)
            except (pa.ArrowException, UnicodeEncodeError, TypeError) as error:
                raise InputError(f"a text or an id among {rows[0][0]!r} to {rows[-1][0]!r}: {error}") from error
            writer.write_batch(batch)
            hashes.append(Strings(batch.column(0)).hashes())

        for row in texts:
            rows.append(row)
            characters += len(row[0]) + len(row[1])
            if len(rows) >= _ROWS or characters >= _CHARACTERS:
                flush()
                rows, characters = [], 0
        if rows:
            flush()
    return np.concatenate(hashes) if hashes else np.zeros(0, dtype=np.uint64)


def _write_lookup(folder: Path, hashes: NDArray[np.uint64]) -> None:
    if len(hashes) > MOST_ENTRIES:
        raise InputError(f"{len(hashes):,} texts are more than a store holds ({MOST_ENTRIES:,}). Make several stores")
    lookup = Lookup.build(hashes)
    _refuse_doubles(folder / "texts.arrow", lookup)
    with write_arrow(folder / "lookup.arrow", "lookup", _LOOKUP) as writer:
        writer.write_batch(pa.record_batch([lookup.hashes, lookup.rows], schema=_LOOKUP))


def _refuse_doubles(path: Path, lookup: Lookup) -> None:
    taken = lookup.rows != EMPTY
    hashes, rows = lookup.hashes[taken], lookup.rows[taken]
    alike = np.flatnonzero(hashes[1:] == hashes[:-1])
    if not len(alike):
        return
    ids = pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(0)
    for place in alike.tolist():
        first, second = int(rows[place]), int(rows[place + 1])
        if ids[first].as_py() == ids[second].as_py():
            raise InputError(f"the id {ids[first].as_py()!r} comes twice, as text {first + 1} and {second + 1}")


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    try:
        manifest: object = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError("this is no store of texts: there is no manifest.json", folder) from None
    except (OSError, orjson.JSONDecodeError) as error:
        raise InputError(f"the manifest cannot be read ({error}). Make the store again", file) from error
    if not isinstance(manifest, dict) or manifest.get("format") != "everglade texts":
        raise InputError("this is no manifest of a store of texts", file)
    if manifest.get("version") != VERSION or not isinstance(manifest.get("texts"), int):
        raise InputError(
            f"its version is {manifest.get('version')}; this Everglade reads {VERSION}. Make it again", file
        )
    return manifest


def _describe(collection: Collection) -> dict[str, Any]:
    """Say what a collection is, and of its files their sizes and times, so that a change is seen."""
    if not isinstance(collection, FileCollection):
        return {"name": collection.name, "files": []}
    shared = [collection.all_queries_file] if collection.all_queries_file else []
    files = [collection.documents_file, *shared, *collection.query_files.values()]
    stats = [(file, require_file(file).stat()) for file in files]
    return {
        "name": collection.name,
        "files": [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in stats],
    }


def _shown(source: object) -> str:
    name = source.get("name") if isinstance(source, dict) else None
    digest = hashlib.sha256(orjson.dumps(source)).hexdigest()[:8]
    return f"{name or 'something else'} (state {digest})"
