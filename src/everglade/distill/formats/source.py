"""Which format a file of training data has, and its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from everglade.distill.example_lines import parse_lines
from everglade.distill.examples import is_table, read_examples, require_pyarrow
from everglade.distill.formats.columns import QUERY_NAMES, read_columns
from everglade.distill.formats.msmarco import read_hard_negatives, read_id_triplets
from everglade.distill.formats.pylate import read_pylate
from everglade.distill.formats.rows import Notes, Options, Row, column_names
from everglade.distill.formats.score_pickle import read_score_pickle
from everglade.distill.formats.scored_lines import (
    read_id_lines,
    read_naver_ids,
    read_naver_texts,
    read_text_lines,
    read_vienna_ids,
    read_vienna_texts,
)
from everglade.distill.formats.scored_runs import read_scored_run
from everglade.distill.formats.tevatron import read_tevatron_1, read_tevatron_2
from everglade.distill.values import Example
from everglade.errors import ConfigError, InputError

__all__ = ["FORMATS", "Source", "find_format", "read_source"]


class _Format(NamedTuple):
    read: Callable[[Path, Options, Notes], Iterator[Row]]
    shape: str
    needs_qrels: bool = False
    is_tsv: bool = False


def _read_own(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    if path.is_dir() or path.suffix == ".parquet" or (path.suffix == ".arrow" and not is_table(path)):
        raise InputError("neither JSON lines nor an Arrow file, Everglade's own forms. Say which format it has", path)
    stop = None if options.negatives is None else 1 + options.negatives
    for example in read_examples(path) if is_table(path) else parse_lines(path):
        scores = None if example.scores is None else example.scores[:stop]
        yield Row(Example(example.query_id, example.document_ids[:stop], scores))


FORMATS: dict[str, _Format] = {
    "everglade": _Format(_read_own, "query_id, document_ids, scores; JSON lines or an Arrow table"),
    "columns": _Format(read_columns, "sentence-transformers: anchor or query, positive, negative(s), label"),
    "hard-negatives": _Format(read_hard_negatives, "msmarco-hard-negatives.jsonl.gz: qid, pos, neg by system"),
    "id-triplets": _Format(
        read_id_triplets, "sentence-transformers/msmarco: query_id, positive_id, negative_id, score"
    ),
    "score-pickle": _Format(read_score_pickle, "a pickle of {query: {document: score}}", needs_qrels=True),
    "tevatron-1": _Format(read_tevatron_1, "query_id, query, positive_passages, negative_passages"),
    "tevatron-2": _Format(read_tevatron_2, "query_id, query_text, positive_document_ids, negative_document_ids"),
    "pylate": _Format(read_pylate, "query_id, document_ids, scores with lists of one length"),
    "trec": _Format(read_scored_run, "a TREC run with a teacher's scores", needs_qrels=True),
    "naver-ids": _Format(read_naver_ids, "TSV: query, positive, negative, two scores; ids", is_tsv=True),
    "naver-texts": _Format(read_naver_texts, "TSV: query, positive, negative, two scores; texts", is_tsv=True),
    "vienna-ids": _Format(read_vienna_ids, "TSV: two scores, query, positive, negative; ids", is_tsv=True),
    "vienna-texts": _Format(read_vienna_texts, "TSV: two scores, query, positive, negative; texts", is_tsv=True),
    "triples-ids": _Format(read_id_lines, "TSV: query, positive, negative; ids", is_tsv=True),
    "triples-texts": _Format(read_text_lines, "TSV: query, positive, negative; texts", is_tsv=True),
}
"""Every format by name."""

_BY_COLUMNS = (
    ("tevatron-1", {"positive_passages", "negative_passages"}),
    ("tevatron-2", {"positive_document_ids", "negative_document_ids"}),
    ("hard-negatives", {"qid", "pos", "neg"}),
    ("id-triplets", {"query_id", "positive_id", "negative_id"}),
)
_BY_SUFFIX = {".pkl": "score-pickle", ".pickle": "score-pickle", ".trec": "trec", ".run": "trec"}


class Source(NamedTuple):
    """Training data of somebody else's. `notes` are complete when the rows have all been read."""

    format: str
    rows: Iterator[Row]
    notes: Notes


def read_source(path: str | Path, format: str | None = None, options: Options = Options()) -> Source:  # noqa: B008
    """Open training data in any format of `FORMATS`; the rows are read when they are asked for.

    Args:
        path: the file; of Parquet, Arrow and JSON lines also a folder of shards.
        format: its name in `FORMATS`; None finds it (`find_format`).
        options: qrels for formats that do not say what is positive; systems to take negatives of (`hard-negatives`);
            the most negatives an example may have, the first that the source names.

    Raises:
        ConfigError: if there is no such format, or qrels are needed or not wanted.
        InputError: if the format cannot be told.
        MissingExtra: if the file is Parquet or Arrow and pyarrow is not installed.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder. Check the path", path)
    if path.is_dir() or path.suffix in {".parquet", ".arrow"}:
        require_pyarrow()
    if format is not None and format not in FORMATS:
        raise ConfigError(f"there is no format {format!r}. Known are {', '.join(FORMATS)}.")
    format = format or find_format(path)
    if FORMATS[format].needs_qrels and options.qrels is None:
        raise ConfigError(f"{format} does not say which documents are positive: give qrels (--qrels FILE).")
    if options.qrels is not None and not FORMATS[format].needs_qrels and format != "pylate":
        raise ConfigError(f"{format} says itself which documents are positive: leave the qrels away.")
    if options.systems and format != "hard-negatives":
        raise ConfigError(f"{format} has no systems to choose from: leave them away.")
    notes = Notes()
    return Source(format, FORMATS[format].read(path, options, notes), notes)


def find_format(path: Path) -> str:
    """Find the format by the names of the columns, and where there are none by the end of the file's name.

    Columns without names are never guessed at: ids and texts, or scores before and after, look alike there.

    Raises:
        InputError: if it cannot be told.
    """
    suffix = Path(path.name.removesuffix(".gz")).suffix
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    if suffix in {".tsv", ".txt", ".csv"}:
        named = ", ".join(name for name, known in FORMATS.items() if known.is_tsv)
        raise InputError(f"columns without names may be any of {named}. Say which with --format (format=)", path)
    names = set(column_names(path))
    for name, columns in _BY_COLUMNS:
        if columns <= names:
            return name
    if {"query_id", "document_ids"} <= names:
        return _own_or_pylate(path, names)
    if names & set(QUERY_NAMES) and "positive" in names:
        return "columns"
    raise InputError(f"no known format has the columns {sorted(names)}. Known are {', '.join(FORMATS)}", path)


def _own_or_pylate(path: Path, names: set[str]) -> str:
    """Tell apart two formats with the same columns: in Everglade's the positive is first, in PyLate's anywhere."""
    if path.is_dir() or path.suffix in {".parquet", ".arrow"}:
        if path.suffix == ".arrow" and _is_own_table(path):
            return "everglade"
        if "scores" in names:
            return "pylate"
        raise InputError(
            "the columns are query_id and document_ids without scores, so nothing says which document is the positive. "
            "Add scores, or write JSON lines with the positive first",
            path,
        )
    if names == {"query_id", "document_ids"}:
        return "everglade"
    raise InputError(
        "the columns are those of everglade, where the positive comes first, and of pylate, where it has the highest "
        "score. Say which with --format (format=)",
        path,
    )


def _is_own_table(path: Path) -> bool:
    from everglade.distill.arrow_file import is_of_kind

    return path.is_file() and is_of_kind(path, "examples")
