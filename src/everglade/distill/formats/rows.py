"""What every reader of foreign training data gives, and how it gets at the rows of a file.

A reader gives `Row`s one after the other. Its mistakes are `InputError`s that name the file and the line, or the row of
a Parquet or Arrow file, counted from 1.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from everglade.distill.values import Example
from everglade.errors import InputError
from everglade.texts.jsonl import parse_json
from everglade.texts.lines import read_lines, require_file
from everglade.texts.values import Qrels, require_id

__all__ = [
    "MARGINS",
    "Notes",
    "Options",
    "Row",
    "as_id",
    "as_list",
    "as_number",
    "as_text",
    "column_names",
    "document_key",
    "each_row",
    "margins_as_scores",
    "positive_rows",
    "query_key",
    "scored_rows",
    "text_row",
]

T = TypeVar("T")
_PARQUET_ROWS = 64
_ARROW_ROWS, _ARROW_BYTES = 4096, 2**20
_TABLES = {".parquet", ".arrow"}


MARGINS = "labels are margins, teacher(positive) - teacher(negative): kept as the scores 0 and -margin"


class Row(NamedTuple):
    """An example, and its texts where the source holds them: the query's, and one a document, in the same order."""

    example: Example
    query: str | None = None
    documents: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Options:
    """What a reader is asked for. `qrels` name the positives where the source does not."""

    qrels: Qrels | None = None
    systems: tuple[str, ...] = ()
    negatives: int | None = None


@dataclass
class Notes:
    """What a reader took for granted, and how much it left out, by reason."""

    assumed: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)

    def assume(self, what: str) -> None:
        """Note an assumption, once."""
        if what not in self.assumed:
            self.assumed.append(what)


def each_row(path: Path, parse: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    """Give what `parse` makes of each row of a file of JSON lines, Parquet or Arrow, or of a folder of such shards.

    At once a line is in memory, 64 rows of Parquet (beside what pyarrow unpacks of it), or so many of Arrow as are
    some 1 MiB there, at most 4,096: texts that Parquet packs well may be a thousand times as long as the file.

    Raises:
        InputError: naming file and line or row, where `parse` raises one; or if a file is damaged.
    """
    for shard in _shards(path):
        if shard.suffix in _TABLES:
            yield from _each_of_table(shard, parse)
        else:
            yield from read_lines(require_file(shard), lambda line, _: parse(_as_object(parse_json(line))), None)


def column_names(path: Path) -> list[str]:
    """Give the names of the columns: of the table, or of the first object of a file of JSON lines.

    Raises:
        InputError: if the file is empty, damaged or something else.
    """
    first = next(iter(each_row(path, list)), None)
    if first is None:
        raise InputError("there are no rows in it", path)
    return first


def _shards(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for ending in (*_TABLES, ".jsonl", ".jsonl.gz") for file in path.glob(f"*{ending}"))
    if not found:
        raise InputError("no .parquet, .arrow or .jsonl file is in this folder", path)
    return found


def _each_of_table(path: Path, parse: Callable[[dict[str, Any]], T]) -> Iterator[T]:
    import pyarrow as pa

    number = 0
    try:
        for batch in _batches(require_file(path)):
            batch.validate(full=True)
            for row in batch.to_pylist():
                number += 1
                yield parse(row)
    except InputError as error:
        raise InputError(f"row {number}: {error.why}", path) if error.path is None else error from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"the table is damaged after row {number} ({error}). Fetch the file again", path) from error


def _batches(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet

    if path.suffix == ".parquet":
        with pyarrow.parquet.ParquetFile(path, memory_map=True) as table:
            yield from table.iter_batches(_PARQUET_ROWS)
        return
    with pa.memory_map(str(path)) as file:
        try:
            reader = pa.ipc.open_file(file)
        except pa.ArrowInvalid:
            file.seek(0)
            for batch in pa.ipc.open_stream(file):
                yield from _slices(batch)
        else:
            for place in range(reader.num_record_batches):
                yield from _slices(reader.get_batch(place))


def _slices(batch: Any) -> Iterator[Any]:  # noqa: ANN401 - pyarrow is imported where it is needed
    # The size of the buffers and not `nbytes`, which looks into offsets before anything has checked them.
    n_bytes = max(1, batch.get_total_buffer_size())
    rows = min(_ARROW_ROWS, max(1, _ARROW_BYTES * len(batch) // n_bytes))
    return (batch.slice(start, rows) for start in range(0, len(batch), rows))


def _as_object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("expected one JSON object on each line")
    return value


def as_id(value: object, name: str) -> str:
    """Give an id as text; whole numbers become their digits.

    Raises:
        InputError: if it is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(f"{name} is {type(value).__name__} and not an id: a text or a whole number")
    return require_id(value)


def as_text(value: object, name: str) -> str:
    """Give a text.

    Raises:
        InputError: if it is something else.
    """
    if not isinstance(value, str):
        raise InputError(f"{name} is {type(value).__name__} and not a text")
    return value


def as_number(value: object, name: str) -> float:
    """Give a number.

    Raises:
        InputError: if it is something else.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InputError(f"{name} is {type(value).__name__} and not a number")
    return float(value)


def as_list(value: object, name: str) -> list[Any]:
    """Give a list; a text that holds one in JSON counts too, for some tables are kept so.

    Raises:
        InputError: if it is something else.
    """
    found = parse_json(value.encode()) if isinstance(value, str) else value
    if not isinstance(found, list):
        raise InputError(f"{name} is {type(found).__name__} and not a list")
    return found


def margins_as_scores(margins: Iterable[float]) -> list[float]:
    """Give scores with these margins between the positive and each negative: 0 and -margin."""
    return [0.0, *(0.0 - margin for margin in margins)]  # and not -margin: a margin of 0 would give -0.0


def query_key(text: str) -> str:
    """Give the id of a query that has none: a hash of its text, so that equal texts have one id wherever they come."""
    return "q" + _hash(text)


def document_key(text: str) -> str:
    """Give the id of a document that has none; see `query_key`."""
    return "d" + _hash(text)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def text_row(
    query: str, documents: Sequence[str], scores: Sequence[float] | None, options: Options, notes: Notes
) -> Row | None:
    """Make a row of texts without ids: the positive first. None, and a note, if no negative is left of some."""
    kept: dict[str, int] = {}
    for place, text in enumerate(documents):
        kept.setdefault(text, place)
    if repeated := len(documents) - len(kept):
        notes.left_out["negatives with the text of another document of their example"] += repeated
        if len(kept) == 1:
            notes.left_out["examples without another negative"] += 1
            return None
    places = list(kept.values())[: None if options.negatives is None else 1 + options.negatives]
    chosen = tuple(documents[place] for place in places)
    example = Example(
        query_key(query),
        tuple(map(document_key, chosen)),
        None if scores is None else tuple(scores[place] for place in places),
    )
    return Row(example, query, chosen)


def scored_rows(
    query_id: str, scores: Mapping[str, float], relevant: Mapping[str, int], options: Options, notes: Notes
) -> Iterator[Row]:
    """Make an example of each relevant document that has a score, with the other scored documents as its negatives.

    Documents judged relevant are no negatives. What cannot become an example is noted.
    """
    positives = sorted((one for one in relevant if relevant[one] > 0), key=lambda one: (-relevant[one], one))
    others = [one for one in scores if relevant.get(one, 0) <= 0]
    if not positives:
        notes.left_out["queries without a relevant document"] += 1
    elif not others:
        notes.left_out["queries without a negative"] += 1
    else:
        for positive in positives:
            if positive not in scores:
                notes.left_out["relevant documents without a score"] += 1
                continue
            ids = (positive, *others[: options.negatives])
            yield Row(Example(query_id, ids, tuple(scores[one] for one in ids)))


def positive_rows(
    query_id: str, positives: Iterable[str], negatives: Iterable[str], options: Options, notes: Notes
) -> Iterator[Row]:
    """Make an example of each positive, with the negatives that are no positives of the query, each once."""
    relevant = list(dict.fromkeys(positives))
    others = [one for one in dict.fromkeys(negatives) if one not in relevant][: options.negatives]
    if not relevant:
        notes.left_out["queries without a positive"] += 1
    for positive in relevant:
        yield Row(Example(query_id, (positive, *others)))
