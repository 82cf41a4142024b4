"""Examples as an Arrow table that is mapped: any number of them, in the memory of the few that are looked at.

Columns: `query_id` (text), `document_ids` (list of texts, the positive first), `scores` (list of float32, or null).
Ids stand as texts and not as codes into a dictionary: to build a dictionary while writing takes all ids into memory,
and the pages of the file that are not read cost none.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from everglade.distill.arrow_file import MappedFile, Strings, open_arrow, write_arrow
from everglade.distill.positives import KnownPositives, Pairs
from everglade.distill.values import Example, StoredExamples, StoredTexts
from everglade.errors import InputError

__all__ = ["ExampleTable", "ExampleWriter"]

KIND = "examples"
SCHEMA = pa.schema(
    [
        pa.field("query_id", pa.utf8()),
        pa.field("document_ids", pa.list_(pa.utf8())),
        pa.field("scores", pa.list_(pa.float32())),
    ]
)
_LARGEST = float(np.finfo(np.float32).max)
# A batch is written when one of these is reached, so that the memory of a writer does not grow with the examples.
_ROWS, _IDS, _CHARACTERS = 2**16, 2**19, 2**24


class _Part(NamedTuple):
    """One batch as numpy sees it. Row r has the documents `ids` from `lists[r]` to `lists[r + 1]`."""

    queries: Strings
    lists: NDArray[np.int32]
    ids: Strings
    scored: NDArray[np.bool_]
    score_lists: NDArray[np.int32]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, batch: pa.RecordBatch, path: Path) -> _Part:
        documents, scores = batch.column(1), batch.column(2)
        if any(column.null_count for column in (batch.column(0), documents, documents.values, scores.values)):
            raise InputError("an id, a list of ids or a single score is null", path)
        lists, score_lists = np.asarray(documents.offsets), np.asarray(scores.offsets)
        if not (_lie_within(lists, len(documents.values)) and _lie_within(score_lists, len(scores.values))):
            raise InputError("the offsets of a list of ids or of scores are damaged. Make the file again", path)
        scored = np.asarray(scores.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
        ids = Strings(documents.values, path)
        return cls(Strings(batch.column(0), path), lists, ids, scored, score_lists, scores.values.to_numpy())

    def documents(self, row: int) -> tuple[str, ...]:
        return tuple(self.ids.between(int(self.lists[row]), int(self.lists[row + 1])))

    def example(self, row: int) -> Example:
        scores = None
        if self.scored[row]:
            scores = tuple(self.scores[int(self.score_lists[row]) : int(self.score_lists[row + 1])].tolist())
        return Example(self.queries.at(row), self.documents(row), scores)

    def unfit(self) -> NDArray[np.bool_]:
        """Say of each row whether it has no documents, not as many scores, or scores that are no finite numbers."""
        lengths = np.diff(self.lists)
        unlike = self.scored & (np.diff(self.score_lists) != lengths)
        bad: NDArray[np.bool_] = (
            (lengths < 1) | unlike | (self.scored & _any_within(~np.isfinite(self.scores), self.score_lists))
        )
        return bad

    def unknown(self, queries: Mapping[str, str], documents: Mapping[str, str]) -> NDArray[np.bool_]:
        """Say of each row whether it names an id without text."""
        return ~_are_held(self.queries, queries) | _any_within(~_are_held(self.ids, documents), self.lists)


def _lie_within(lists: NDArray[np.int32], length: int) -> bool:
    """Say whether lists begin one after the other and none leaves the values."""
    return len(lists) == 0 or bool(lists[0] >= 0 and lists[-1] <= length and (lists[1:] >= lists[:-1]).all())


def _any_within(marks: NDArray[np.bool_], lists: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Say of each row whether a mark is set from `lists[row]` to `lists[row + 1]`."""
    counts = np.concatenate([[0], np.cumsum(marks)])
    found: NDArray[np.bool_] = np.diff(counts[lists]) != 0
    return found


def _are_held(ids: Strings, texts: Mapping[str, str]) -> NDArray[np.bool_]:
    if isinstance(texts, StoredTexts):
        return texts.holds(ids)
    return np.array([value in texts for value in ids.between(0, len(ids))], dtype=bool)


_Rule = Callable[[_Part], NDArray[np.bool_]]
"""Says of each row of a part whether something is wrong with it."""


class ExampleTable(StoredExamples):
    """The examples of an Arrow file, or some of them. An example is made when it is asked for.

    `rows` names the rows of the file, in the order of the examples; None means all.
    """

    def __init__(self, file: MappedFile, parts: list[_Part], rows: NDArray[np.int64] | None = None) -> None:
        self.path = file.path
        self._file = file
        self._parts = parts
        self._starts: list[int] = np.cumsum([0, *(len(part.queries) for part in parts)]).tolist()
        self._rows = rows

    @classmethod
    def open(cls, path: str | Path) -> ExampleTable:
        """Map an examples file.

        Raises:
            InputError: if it is not a whole Arrow file of examples.
        """
        file = MappedFile.of(Path(path))
        return cls(file, [_Part.of(batch, file.path) for batch in open_arrow(file.path, KIND, SCHEMA)])

    def __len__(self) -> int:
        return self._starts[-1] if self._rows is None else len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Example: ...
    @overload
    def __getitem__(self, place: slice) -> ExampleTable: ...
    def __getitem__(self, place: int | slice) -> Example | ExampleTable:
        if isinstance(place, slice):
            rows = np.arange(self._starts[-1]) if self._rows is None else self._rows
            return ExampleTable(self._file, self._parts, rows[place])
        if not -len(self) <= place < len(self):
            raise IndexError(f"there are {len(self)} examples, none at {place}")
        place %= len(self)
        row = place if self._rows is None else int(self._rows[place])
        part, row = self._find(row)
        try:
            return part.example(row)
        except InputError as error:
            raise InputError(f"example {place + 1}: {error.why}", self.path) from error

    def _find(self, row: int) -> tuple[_Part, int]:
        place = bisect_right(self._starts, row) - 1
        return self._parts[place], row - self._starts[place]

    def first_unknown(self, queries: Mapping[str, str], documents: Mapping[str, str]) -> int | None:
        """Give the place of the first example that names an id without text, or that is no valid example.

        A document that an example names twice is not looked for: it is found when the example is made. The batches are
        taken one after the other, so that memory does not grow with the examples.
        """
        return self._first(lambda part: part.unfit() | part.unknown(queries, documents))

    def first_without_negative(self) -> int | None:
        """Give the place of the first example that has only a positive."""
        return self._first(lambda part: np.diff(part.lists) < 2)

    def first_without_scores(self) -> int | None:
        """Give the place of the first example that has no teacher scores."""
        return self._first(lambda part: ~part.scored)

    def _first(self, is_bad: _Rule) -> int | None:
        bad = np.zeros(self._starts[-1], dtype=bool)
        wanted = self._wanted()
        for start, stop, part in self._spans():
            if wanted is None or wanted[start:stop].any():
                bad[start:stop] = is_bad(part)
        places = np.flatnonzero(bad if self._rows is None else bad[self._rows])
        return int(places[0]) if len(places) else None

    def _wanted(self) -> NDArray[np.bool_] | None:
        if self._rows is None:
            return None
        wanted = np.zeros(self._starts[-1], dtype=bool)
        wanted[self._rows] = True
        return wanted

    def _spans(self) -> Iterator[tuple[int, int, _Part]]:
        return zip(self._starts, self._starts[1:], self._parts, strict=False)

    def positives(self) -> KnownPositives:
        """Give, for each query id, every document that some example names as its positive; found when asked."""
        wanted = self._wanted()
        pairs = Pairs()
        for start, stop, part in self._spans():
            rows = np.arange(start, stop) if wanted is None else start + np.flatnonzero(wanted[start:stop])
            if len(rows):
                firsts = part.ids.hashes()[part.lists[:-1]]
                pairs.add(part.queries.hashes()[rows - start], firsts[rows - start], rows)
        return KnownPositives(pairs, self._pair)

    def _pair(self, row: int) -> tuple[str, str]:
        part, row = self._find(row)
        return part.queries.at(row), part.ids.at(int(part.lists[row]))

    def keep(self, query_ids: Container[str]) -> ExampleTable:
        """Give the examples of these queries, in their order; 8 bytes for each."""
        kept = np.zeros(self._starts[-1], dtype=bool)
        for start, stop, part in self._spans():
            kept[start:stop] = [query_id in query_ids for query_id in part.queries.between(0, stop - start)]
        rows = np.flatnonzero(kept) if self._rows is None else self._rows[kept[self._rows]]
        return ExampleTable(self._file, self._parts, rows)

    def used_ids(self) -> tuple[set[str], set[str]]:
        """Give the query ids and the document ids that stand in the examples. Holds each once."""
        wanted = self._wanted()
        queries: set[str] = set()
        documents: set[str] = set()
        for start, stop, part in self._spans():
            if wanted is None:
                queries.update(part.queries.between(0, stop - start))
                documents.update(part.ids.between(int(part.lists[0]), int(part.lists[-1])))
            else:
                for row in np.flatnonzero(wanted[start:stop]).tolist():
                    queries.add(part.queries.at(row))
                    documents.update(part.documents(row))
        return queries, documents

    def digest(self) -> str:
        """Give the sha256 of the file, or of the file's and the rows that are used of it.

        Raises:
            InputError: if another file stands there since this one was opened.
        """
        whole = self._file.digest()
        return whole if self._rows is None else hashlib.sha256(whole.encode() + self._rows.tobytes()).hexdigest()

    def __repr__(self) -> str:
        return f"ExampleTable({str(self.path)!r}, {len(self):,} examples)"


class ExampleWriter:
    """Writes examples to an Arrow file, whole or not at all, in memory that does not grow with their number.

    Use it as a context manager. Scores are kept in single precision, the precision of training.

    Raises:
        InputError: if a score is beyond single precision, an id is not Unicode, or the folder is not there.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._opening = write_arrow(self._path, KIND, SCHEMA)
        self.count = 0
        self._clear()

    def _clear(self) -> None:
        self._queries: list[str] = []
        self._documents: list[tuple[str, ...]] = []
        self._scores: list[tuple[float, ...] | None] = []
        self._ids = self._characters = 0

    def __enter__(self) -> Self:
        self._file = self._opening.__enter__()
        return self

    def add(self, example: Example) -> None:
        """Write one more example."""
        if example.scores is not None and max(map(abs, example.scores)) > _LARGEST:
            why = f"example {self.count + 1} (query {example.query_id!r}) has a score beyond single precision"
            raise InputError(f"{why}. Scale the scores, or write JSON lines", self._path)
        self._queries.append(example.query_id)
        self._documents.append(example.document_ids)
        self._scores.append(example.scores)
        self.count += 1
        self._ids += len(example.document_ids)
        self._characters += len(example.query_id) + sum(map(len, example.document_ids))
        if len(self._queries) >= _ROWS or self._ids >= _IDS or self._characters >= _CHARACTERS:
            self._flush()

    def _flush(self) -> None:
        if not self._queries:
            return
        try:
            self._file.write_batch(pa.record_batch([self._queries, self._documents, self._scores], schema=SCHEMA))
        except (pa.ArrowException, UnicodeEncodeError) as error:
            first = self.count - len(self._queries) + 1
            raise InputError(f"examples {first} to {self.count}: {error}", self._path) from error
        self._clear()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._flush()
            except BaseException as flaw:
                self._opening.__exit__(type(flaw), flaw, flaw.__traceback__)
                raise
        self._opening.__exit__(kind, error, trace)
