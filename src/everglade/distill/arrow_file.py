"""Arrow files that are mapped and not read, and their text columns as numpy sees them.

A file is written under a temporary name and appears whole (durable.py). Its schema says what it is and in which
version; its footer, which Arrow writes last, that it is complete. Opening reads the footer and the heads of the batches
alone. While a file is mapped nobody may write over it in place: replace it, or remove it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from everglade import durable
from everglade.distill.lookup import hash_words
from everglade.errors import InputError

__all__ = ["Strings", "hash_file", "is_of_kind", "open_arrow", "write_arrow"]

VERSION = 1


class Strings:
    """A column of n texts: text i is the UTF-8 of `content[offsets[i]:offsets[i + 1]]`; there are n + 1 offsets.

    Slicing memory never reads beyond it, so offsets of a damaged file give a wrong text or an error, not a crash.
    """

    def __init__(self, column: pa.Array) -> None:
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
        return _decode(bytes(self.content[int(self.offsets[place]) : int(self.offsets[place + 1])]))

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
        return [_decode(content[a:b]) for a, b in spans]

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
            raise InputError("the offsets of a text column are damaged. Make the file again")
        return hash_words(self.content, self.offsets.astype(np.int64))


def _decode(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"a text or an id is not UTF-8 ({error}). Make the file again") from error


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
            raise InputError(f"an Arrow file, but not of Everglade's {kind}. Convert it: everglade examples", path)
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


def hash_file(path: Path) -> str:
    """Give the sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
