"""Everglade's examples in the public formats of other tools; every one can be read back with `convert`."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import orjson

from everglade import durable
from everglade.distill.examples import require_pyarrow
from everglade.distill.formats import written_rows as made
from everglade.distill.formats.row_files import Add, open_file, open_rows
from everglade.distill.formats.written_rows import Asked
from everglade.distill.values import Example
from everglade.errors import ConfigError, InputError
from everglade.progress import Meter, ProgressCallback
from everglade.texts.runs import require_word
from everglade.texts.seen import SeenIds

__all__ = ["WRITTEN_FORMATS", "Written", "write_as"]

_EXAMPLES_TO_TELL = 1000


class _Format(NamedTuple):
    """How a format is written, and what it holds."""

    pieces: Callable[[list[Example], Asked], Iterator[Any]]
    by_name: bool = False
    """Rows of named columns, in JSON lines or Parquet; else bytes."""
    scores: str = "must"
    """Whether it must have scores, may have them, or holds none ("no")."""
    texts: tuple[str, ...] = ()
    """Sides whose texts are in the rows."""
    grouped: bool = False
    """Positives of a query with the same negatives are one row."""
    once: bool = False
    """A query has one row only."""
    negative: bool = True
    """What has no negative is left out."""
    positive: bool = True
    """The rows say which document is the positive."""
    tables: tuple[tuple[str, str, str, str], ...] = ()
    """Of a folder: tables of texts beside the examples, as name, side, column of ids and column of texts."""
    ends: tuple[bytes, bytes] = (b"", b"")


_BOTH = ("queries", "documents")
WRITTEN_FORMATS: dict[str, _Format] = {
    "columns": _Format(made.as_columns, by_name=True, scores="may", texts=_BOTH, negative=False),
    "hard-negatives": _Format(
        made.as_hard_negatives, by_name=True, scores="no", grouped=True, once=True, negative=False
    ),
    "id-triplets": _Format(
        made.as_id_triplets,
        by_name=True,
        scores="may",
        tables=(("queries", "queries", "query_id", "query"), ("corpus", "documents", "passage_id", "passage")),
    ),
    "score-pickle": _Format(made.as_pickle, grouped=True, once=True, positive=False, ends=(b"\x80\x02}(", b"u.")),
    "tevatron-1": _Format(made.as_tevatron_1, by_name=True, scores="no", texts=_BOTH, grouped=True, negative=False),
    "tevatron-2": _Format(
        made.as_tevatron_2,
        by_name=True,
        scores="no",
        texts=("queries",),
        grouped=True,
        negative=False,
        tables=(("corpus", "documents", "docid", "document_text"),),
    ),
    "pylate": _Format(
        made.as_pylate,
        by_name=True,
        positive=False,
        tables=(("queries", "queries", "query_id", "text"), ("documents", "documents", "document_id", "text")),
    ),
    "trec": _Format(made.as_run, grouped=True, once=True, positive=False),
    "naver-ids": _Format(made.as_id_lines),
    "naver-texts": _Format(made.as_text_lines, texts=_BOTH),
    "vienna-ids": _Format(made.as_vienna_ids),
    "vienna-texts": _Format(made.as_vienna_texts, texts=_BOTH),
    "triples-ids": _Format(made.as_id_lines, scores="no"),
    "triples-texts": _Format(made.as_text_lines, scores="no", texts=_BOTH),
}
"""Every format that examples can be written in, by the name it is read by."""


@dataclass
class Written:
    """What was written, and what the format could not hold, by reason."""

    format: str
    examples: int = 0
    rows: int = 0
    texts: dict[str, int] = field(default_factory=dict)
    """Texts written, by table."""
    left_out: dict[str, int] = field(default_factory=dict)


def write_as(
    examples: Iterable[Example],
    path: str | Path,
    format: str,
    *,
    queries: Mapping[str, str] | None = None,
    documents: Mapping[str, str] | None = None,
    qrels: str | Path | None = None,
    margins: bool = False,
    name: str = "everglade",
    progress: ProgressCallback | None = None,
) -> Written:
    """Write examples in a format of another tool, whole or not at all.

    Args:
        examples: in any order, but the examples of a query together where the format has one row for it.
        path: the file. Formats with named columns become Parquet if it ends in .parquet, else JSON lines; all but
            Parquet are packed if it ends in .gz. `pylate`, `id-triplets` and `tevatron-2` become a folder of Parquet
            tables, with the texts that the examples name, unless it ends in .jsonl, .jsonl.gz or .parquet.
        format: one of `WRITTEN_FORMATS`.
        queries: id to text, for formats that hold texts.
        documents: id to text.
        qrels: a file for the positives as judgements, which `trec`, `score-pickle` and `pylate` are read with.
        margins: write the margins of `columns`, teacher(positive) - teacher(negative), and not the scores.
        name: the system of `hard-negatives`, the tag of `trec`.
        progress: called now and then, with examples.

    Raises:
        ConfigError: if there is no such format, or texts, names or settings do not fit it.
        InputError: naming the example, counted from 1, that the format cannot hold; nothing is written then.
        MissingExtra: if it is to be Parquet and pyarrow is not installed.
    """
    path = Path(path)
    plan = _require_format(format, path, queries, documents, margins)
    if format == "trec":
        require_word(name, "tag")
    is_folder = _is_folder(plan, path)
    if is_folder or path.suffix == ".parquet":
        require_pyarrow()
    for file in (path, path if qrels is None else Path(qrels)):
        if not file.parent.is_dir():
            raise InputError(f"the folder {file.parent} is not there. Make it first", file)
    if qrels is not None and Path(qrels) == path:
        raise ConfigError(f"{path} cannot be both the examples and the judgements. Name another file for one.")
    if is_folder and path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError("this is there already. Remove it, or name another folder", path)
    asked = Asked(queries or {}, documents or {}, margins, name, plan.scores != "no")
    found = Written(format)
    with ExitStack() as opened:
        judged = None if qrels is None else _Judgements(opened.enter_context(_open_whole(Path(qrels))))
        if is_folder:
            partial = opened.enter_context(durable.private_folder(path))
            with ExitStack() as tables:
                texts = [_Table(table, asked, partial, tables) for table in plan.tables]
                add = tables.enter_context(open_rows(partial / "train.parquet", "train.parquet"))
                _write(_told(examples, progress), plan, asked, found, add, judged, texts)
            found.texts = {table.name: table.count for table in texts}
            durable.publish_folder(partial, path)
        elif plan.by_name:
            temporary = opened.enter_context(durable.whole_file(path))
            with open_rows(temporary, path.name) as add:
                _write(_told(examples, progress), plan, asked, found, add, judged, ())
        else:
            lines = opened.enter_context(_open_whole(path))
            lines.write(plan.ends[0])
            _write(_told(examples, progress), plan, asked, found, lines.write, judged, ())
            lines.write(plan.ends[1])
    found.left_out = dict(asked.left_out)
    return found


def _is_folder(plan: _Format, path: Path) -> bool:
    return bool(plan.tables) and not path.name.endswith((".jsonl", ".jsonl.gz", ".parquet"))


def _require_format(
    format: str, path: Path, queries: Mapping[str, str] | None, documents: Mapping[str, str] | None, margins: bool
) -> _Format:
    if format not in WRITTEN_FORMATS:
        raise ConfigError(
            f"{format!r} is no format that examples are written in. Known are {', '.join(WRITTEN_FORMATS)}."
        )
    plan = WRITTEN_FORMATS[format]
    sides = {*plan.texts, *(side for _, side, *_ in plan.tables if _is_folder(plan, path))}
    if missing := [
        side for side, texts in (("queries", queries), ("documents", documents)) if side in sides and not texts
    ]:
        raise ConfigError(f"{format} holds the texts of {' and '.join(missing)}: give the collection they are of.")
    if margins and format != "columns":
        raise ConfigError(f"margins are chosen for columns only: {format} always has the same labels.")
    if path.name.endswith((".arrow", ".parquet.gz")) or (path.suffix == ".parquet" and not plan.by_name):
        endings = ".jsonl, .jsonl.gz or .parquet" if plan.by_name else "anything but that of a table"
        raise ConfigError(f"{format} cannot be written to {path.name}. The ending may be {endings}.")
    return plan


@contextmanager
def _open_whole(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with durable.whole_file(path) as temporary, open_file(temporary, packed=path.suffix == ".gz") as file:
        yield file


class _Judgements:
    """Positives as lines of TREC qrels, each once."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._seen = SeenIds()

    def add(self, example: Example, number: int) -> None:
        require_word(example.query_id, "query id")
        require_word(example.positive, "document id")
        if self._seen.add(f"{example.query_id} {example.positive}", number) == number:
            self._file.write(f"{example.query_id} 0 {example.positive} 1\n".encode())


class _Table:
    """A table of the texts that the examples name, each once."""

    def __init__(self, table: tuple[str, str, str, str], asked: Asked, folder: Path, opened: ExitStack) -> None:
        self.name, self._side, self._key, self._text = table
        self.count = 0
        self._asked = asked
        self._seen = SeenIds()
        self._add: Add = opened.enter_context(open_rows(folder / f"{self.name}.parquet", f"{self.name}.parquet"))

    def add(self, example: Example) -> None:
        for key in (example.query_id,) if self._side == "queries" else example.document_ids:
            if self._seen.add(key, self.count + 1) == self.count + 1:
                self.count += 1
                self._add({self._key: key, self._text: self._asked.text(self._side, key)})


def _told(examples: Iterable[Example], progress: ProgressCallback | None) -> Iterator[Example]:
    meter = Meter(None, progress)
    number = 0
    for number, example in enumerate(examples, start=1):
        yield example
        if number % _EXAMPLES_TO_TELL == 0:
            meter.advance(_EXAMPLES_TO_TELL)
    meter.advance(number % _EXAMPLES_TO_TELL)


def _write(
    examples: Iterator[Example],
    plan: _Format,
    asked: Asked,
    found: Written,
    add: Callable[[Any], object],
    judged: _Judgements | None,
    texts: Sequence[_Table],
) -> None:
    """Write the rows of all examples, the judgements and the texts beside them."""
    columns: dict[str, Any] | None = None
    seen = SeenIds()
    for group in _groups(examples, plan):
        number = found.examples + 1
        found.examples += len(group)
        try:
            if not all([_is_held(example, plan, asked, judged is not None) for example in group]):
                continue
            if plan.once and (first := seen.add(group[0].query_id, number)) != number:
                raise InputError(
                    f"the query {group[0].query_id!r} began with example {first}, and has one row only. Put its "
                    f"examples together, and give them the same negatives with the same scores"
                )
            for row in plan.pieces(group, asked):
                columns = columns or row if plan.by_name else None
                if columns is not None and columns.keys() != row.keys():
                    raise InputError(
                        f"the columns are {list(row)}, of the first example {list(columns)}. Give all examples the "
                        f"same number of negatives, and scores to all or none"
                    )
                add(row)
                found.rows += 1
            for example in group:
                if judged is not None:
                    judged.add(example, number)
                for table in texts:
                    table.add(example)
        except InputError as error:
            raise InputError(f"example {number}: {error.why}") from error
        except (UnicodeEncodeError, orjson.JSONEncodeError) as error:
            raise InputError(f"example {number} has an id or a text that cannot be written: {error}") from error
    if not found.rows:
        why = "; ".join(f"{count} {reason}" for reason, count in asked.left_out.items()) or "there are none"
        raise InputError(f"not one example can be written: {why}")


def _is_held(example: Example, plan: _Format, asked: Asked, has_judgements: bool) -> bool:
    """Say whether an example is to be written, and note what of it is lost."""
    if len(example.document_ids) < 2 and plan.negative:
        asked.left_out["examples without a negative"] += 1
        return False
    if example.scores is None:
        if plan.scores == "must":
            raise InputError("it has no scores, which this format consists of. Score the examples with a teacher first")
        return True
    if plan.scores == "no":
        asked.left_out["scores"] += len(example.scores)
    # PyLate's reader takes the highest score for the positive; a run and a pickle name none at all.
    elif not (plan.positive or has_judgements or (plan.by_name and max(example.scores) == example.scores[0])):
        asked.left_out["which document is the positive; name a file of judgements for that (--qrels-to)"] += 1
    return True


def _groups(examples: Iterator[Example], plan: _Format) -> Iterator[list[Example]]:
    """Put neighbours together that differ in their positive alone."""

    def rest(example: Example) -> tuple[object, ...]:
        scores = None if example.scores is None or plan.scores == "no" else example.scores[1:]
        return example.query_id, example.document_ids[1:], scores

    group: list[Example] = []
    for example in examples:
        is_like = plan.grouped and group and rest(group[0]) == rest(example)
        if group and (not is_like or example.positive in [other.positive for other in group]):
            yield group
            group = []
        group.append(example)
    if group:
        yield group
