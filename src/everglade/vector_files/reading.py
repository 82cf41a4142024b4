"""Files and folders of vectors to shards of rows, without holding more than one shard.

A file called .tsv or .txt holds lines of text. Any other holds JSON if it begins with a brace (objects, one a line) or
a bracket (one array of objects), else lines of text. All may be gzip.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from everglade.errors import InputError
from everglade.texts.jsonl import parse_json
from everglade.texts.lines import open_bytes, read_lines, require_file
from everglade.texts.rejects import Rejects
from everglade.texts.seen import SeenIds
from everglade.vector_files.rounding import Rounding
from everglade.vector_files.rows import Row, parse_json_line, parse_text_line, read_object
from everglade.vector_files.vocabulary import Vocabulary
from everglade.vectors import Shard, SparseMatrix

__all__ = ["EMPTY_MARK", "find_files", "read_vector_files"]

EMPTY_MARK = "[unused993]"
"""What naver's export gives a text without terms, as Anserini takes no empty vectors. Alone it means: no terms."""

MAX_ARRAY_BYTES = 2**28
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TEXT_SUFFIXES = (".tsv", ".txt")
_SUFFIXES = (".json", ".jsonl", ".ndjson", *_TEXT_SUFFIXES)

_PARSERS = {"objects": parse_json_line, "text": parse_text_line}

Line = bytes | bytearray


class _Vector(NamedTuple):
    id: str
    terms: list[int]
    weights: NDArray[np.float32]


def find_files(sources: Sequence[str | Path]) -> list[Path]:
    """Give the files that are meant: each file, and of a folder all of its files of vectors, by name.

    Raises:
        InputError: if there is no such file or folder, or a folder holds none.
    """
    found: list[Path] = []
    for source in map(Path, sources):
        if not source.is_dir():
            found.append(require_file(source))
            continue
        files = sorted(file for file in source.rglob("[!.]*") if file.is_file() and _suffix(file) in _SUFFIXES)
        if not files:
            raise InputError(f"no file of vectors is in this folder. Looked for {', '.join(_SUFFIXES)}", source)
        found += files
    return found


def read_vector_files(
    sources: Sequence[str | Path],
    vocabulary: Vocabulary,
    rounding: Rounding | None = None,
    *,
    rejects: Rejects | None = None,
    shard_rows: int = 8192,
) -> Iterator[Shard]:
    """Read vectors one after the other, in the order of the files; canonical rows, `shard_rows` at a time.

    Args:
        sources: files, or folders of them.
        vocabulary: the term id of each token.
        rounding: what becomes of the weights; they stay as they stand, if None.
        rejects: takes the vectors that cannot be used; without it the first one stops the reading.
        shard_rows: rows of a shard; the last may have fewer.

    Raises:
        InputError: naming file and line, if a line is no vector, a token is not of the vocabulary, a weight is not a
            number of at least 0, or an id came before.
    """
    reader = _Reader(vocabulary, rounding or Rounding())
    rows: list[_Vector] = []
    for row in reader.read_all(find_files(sources), rejects):
        rows.append(row)
        if len(rows) == shard_rows:
            yield _stack(rows, vocabulary.n_terms)
            rows = []
    if rows:
        yield _stack(rows, vocabulary.n_terms)


class _Reader:
    """Places rows in a vocabulary, and knows the ids of all files so far."""

    def __init__(self, vocabulary: Vocabulary, rounding: Rounding) -> None:
        self._vocabulary = vocabulary
        self._rounding = rounding
        self._seen = SeenIds()
        self._files: list[Path] = []
        self._starts: list[int] = []
        self._last = 0

    def read_all(self, files: Iterable[Path], rejects: Rejects | None) -> Iterator[_Vector]:
        for file in files:
            self._files.append(file)
            self._starts.append(self._last)
            kind = _kind_of(file)
            if kind == "array":
                yield from _read_array(file, self._place, rejects)
            else:
                yield from read_lines(file, self._placing(_PARSERS[kind]), rejects)

    def _placing(self, parse: Callable[[Line], Row]) -> Callable[[Line, int], _Vector]:
        return lambda line, number: self._place(parse(line), number)

    def _place(self, row: Row, number: int) -> _Vector:
        """Give the terms and weights of a row; `number` is that of its line in the newest file."""
        ids = self._vocabulary.ids
        tokens = row.weights if len(row.weights) != 1 or EMPTY_MARK not in row.weights else {}
        terms = [ids.get(token, -1) for token in tokens]
        if -1 in terms:
            unknown = list(tokens)[terms.index(-1)]
            raise InputError(
                f"the token {unknown[:80]!r} is not in the vocabulary {self._vocabulary.name}. "
                f"Give the vocabulary of the model that made the vectors"
            )
        weights = self._rounding.apply(_as_numbers(tokens))
        place = self._starts[-1] + number
        if (first := self._seen.add(row.id, place)) != place:
            raise InputError(f"the id {row.id!r} stood {self._where(first)} already. Remove or rename one of the two")
        self._last = max(self._last, place)
        return _Vector(row.id, terms, weights)

    def _where(self, place: int) -> str:
        file = bisect_right(self._starts, place - 1) - 1
        line = f"on line {place - self._starts[file]}"
        return line if file == len(self._files) - 1 else f"{line} of {self._files[file]}"


def _as_numbers(tokens: Any) -> NDArray[np.float64]:  # noqa: ANN401 - a mapping from token to any JSON value
    """Give the weights of a row.

    Raises:
        InputError: if one is not a number of at least 0.
    """
    values = list(tokens.values())
    if not set(map(type, values)) <= {int, float}:
        token, value = next((token, value) for token, value in tokens.items() if type(value) not in (int, float))
        raise InputError(f"the weight of {token[:80]!r} is {str(value)[:80]!r}, which is not a number. Write a number")
    weights = np.array(values, dtype=np.float64)
    if len(weights) and not 0 <= weights.min() <= weights.max() <= 1e30:
        token = list(tokens)[int(np.argmax((weights < 0) | (weights > 1e30)))]
        raise InputError(f"the weight of {token[:80]!r} is {tokens[token]}: it must be from 0 to 1e30")
    return weights


def _stack(rows: Sequence[_Vector], n_terms: int) -> Shard:
    indptr = np.cumsum([0, *(len(row.terms) for row in rows)], dtype=np.int64)
    terms = np.fromiter((term for row in rows for term in row.terms), dtype=np.int32, count=int(indptr[-1]))
    weights = np.concatenate([row.weights for row in rows])
    return Shard([row.id for row in rows], SparseMatrix(indptr, terms, weights, n_terms).canonical())


def _suffix(file: Path) -> str:
    return Path(file.name.removesuffix(".gz")).suffix


def _kind_of(file: Path) -> str:
    if _suffix(file) in _TEXT_SUFFIXES:
        return "text"
    with open_bytes(file) as opened:
        head = opened.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip()[:1]
    return {b"{": "objects", b"[": "array"}.get(head, "text")


def _read_array(path: Path, place: Callable[[Row, int], _Vector], rejects: Rejects | None) -> Iterator[_Vector]:
    """Read a file that is one array; its elements are counted from 1, as lines are."""
    with open_bytes(path) as file:
        content = file.read(MAX_ARRAY_BYTES + 1)
    if len(content) > MAX_ARRAY_BYTES:
        raise InputError(
            f"an array of more than {MAX_ARRAY_BYTES:,} bytes. Write one object on each line instead", path
        )
    try:
        found = parse_json(content.removeprefix(_BYTE_ORDER_MARK))
    except InputError as error:
        raise InputError(error.why, path) from error
    for number, value in enumerate(found, start=1):
        try:
            row = place(read_object(value), number)
        except InputError as error:
            if rejects is None:
                raise InputError(f"element {number} of the array: {error.why}", path) from error
            rejects.add(path, number, error.why, orjson.dumps(value))
        else:
            yield row
