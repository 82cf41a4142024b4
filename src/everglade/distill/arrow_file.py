"""Arrow files that are mapped and not read, and their text columns as numpy sees them.

A file is written under a temporary name and appears whole (durable.py). Its schema says what it is and in which
version; its footer, which Arrow writes last, that it is complete. Opening reads the footer and the heads of the batches
alone. While a file is mapped nobody may write over it in place: replace it, or remove it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from everglade import durable
from everglade.distill.lookup import hash_words
from everglade.errors import InputError

__all__ = ["MappedFile", "Strings", "is_of_kind", "open_arrow", "write_arrow"]

VERSION = 1


class Strings:
    """A column of n texts: text i is the UTF-8 of `content[offsets[i]:offsets[i + 1]]`; there are n + 1 offsets.

    Slicing memory never reads beyond it, so offsets of a damaged file give a wrong text or an error, not a crash.
    Errors name `path`, the file that holds the column.
    """

    def __init__(self, column: pa.Array, path: Path | None = None) -> None:
        self._path = path
        _, offsets, content = column.buffers()
        kind = np.int64 if pa.types.is_large_string(column.type) else np.int32
        first, n = column.offset, len(column)
        self.offsets: NDArray[Any] = np.zeros(1, dtype=kind)
        if n:
            self.offsets = np.frombuffer(offsets, dtype=kind, count=first + n + 1)[first:]
        self.content = memoryview(b"" if content is None else content)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def at(self, place: int) -> str:
        """Give the text at a place.

        Raises:
            InputError: if it is not UTF-8.
        """
        return self._decode(bytes(self.content[int(self.offsets[place]) : int(self.offsets[place + 1])]))

    def between(self, start: int, stop: int) -> list[str]:
        """Give the texts from `start` to `stop` (exclusive).

        Raises:
            InputError: if one is not UTF-8.
        """
        offsets = self.offsets[start : stop + 1]
        if len(offsets) < 2:
            return []
        content = bytes(self.content[int(offsets[0]) : int(offsets[-1])])
        ends = (offsets - offsets[0]).tolist()
        spans = zip(ends, ends[1:], strict=False)
        if content.isascii():
            text = content.decode("ascii")
            return [text[a:b] for a, b in spans]
        return [self._decode(content[a:b]) for a, b in spans]

    @cached_property
    def sound(self) -> bool:
        """Whether every text lies within the column: offsets never fall and do not leave it."""
        offsets = self.offsets
        return bool(offsets[0] >= 0 and offsets[-1] <= len(self.content) and (np.diff(offsets) >= 0).all())

    def hashes(self) -> NDArray[np.uint64]:
        """Give the 64-bit hash of each text (`everglade.distill.lookup`).

        Raises:
            InputError: if the column is damaged.
        """
        if not self.sound:
            raise InputError("the offsets of a text column are damaged. Make the file again", self._path)
        return hash_words(self.content, self.offsets.astype(np.int64))

    def _decode(self, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"a text or an id is not UTF-8 ({error}). Make the file again", self._path) from error


def is_of_kind(path: Path, kind: str) -> bool:
    """Say whether a file is an Arrow file of that kind that `write_arrow` wrote; its content is not looked at."""
    try:
        metadata = pa.ipc.open_file(pa.memory_map(str(path))).schema.metadata or {}
    except (pa.ArrowException, OSError):
        return False
    return bool(metadata.get(b"format") == _mark(kind))


def _mark(kind: str) -> bytes:
    return f"everglade {kind}".encode()


def open_arrow(path: Path, kind: str, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Map a file that `write_arrow` wrote, and give its batches.

    Raises:
        InputError: if it is not a whole Arrow file, or not of this kind, columns and version.
    """
    if not path.is_file():
        raise InputError(f"there is no such file of {kind}", path)
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        metadata = reader.schema.metadata or {}
        if metadata.get(b"format") != _mark(kind):
            raise InputError(
                f"an Arrow file, but not of Everglade's {kind}. Other tools' examples are converted by `everglade "
                f"examples`, with another format than everglade",
                path,
            )
        if metadata.get(b"version") != str(VERSION).encode():
            found = metadata.get(b"version", b"none").decode(errors="replace")
            raise InputError(f"its version is {found}; this Everglade reads version {VERSION}. Make it again", path)
        if not reader.schema.equals(schema):
            raise InputError(f"its columns are {reader.schema.names} of other types than {kind} have", path)
        batches = [reader.get_batch(place) for place in range(reader.num_record_batches)]
        for batch in batches:
            batch.validate()  # whether the buffers are as long as the numbers of rows say; not what is in them
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"not a whole Arrow file ({error}). Make it again, or fetch it again", path) from error
    return batches


@contextmanager
def write_arrow(path: Path, kind: str, schema: pa.Schema) -> Iterator[pa.RecordBatchFileWriter]:
    """Give a writer of batches; the file appears when the block ends well and never in part.

    Raises:
        InputError: if the folder is not there.
    """
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} is not there. Make it first", path)
    marked = schema.with_metadata({"format": _mark(kind), "version": str(VERSION)})
    with (
        durable.whole_file(path) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, marked) as writer,
    ):
        yield writer


class MappedFile(NamedTuple):
    """Which file a path led to when it was mapped; a file that is mapped keeps its number."""

    path: Path
    device: int
    number: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Look at a file, before it is mapped.

        Raises:
            InputError: if there is none.
        """
        try:
            found = path.stat()
        except OSError as error:
            raise InputError(f"there is no such file ({error.strerror})", path) from error
        return cls(path, found.st_dev, found.st_ino)

    def digest(self) -> str:
        """Give the sha256 of the file's content.

        Raises:
            InputError: if the path leads to another file by now, of which nothing is mapped.
        """
        with self.path.open("rb") as file:
            found = os.fstat(file.fileno())
            if (found.st_dev, found.st_ino) != (self.device, self.number):
                raise InputError("another file has been put here since this one was opened. Open it again", self.path)
            return hashlib.file_digest(file, "sha256").hexdigest()
