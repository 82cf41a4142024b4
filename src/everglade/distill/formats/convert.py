"""Training data in any known format to an examples file, and a collection of the texts that it holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

import orjson

from everglade import durable
from everglade.distill.examples import write_examples
from everglade.distill.formats.rows import Options, Row
from everglade.distill.formats.source import Source, read_source
from everglade.distill.formats.text_tables import read_text_table
from everglade.distill.values import Example
from everglade.errors import ConfigError, InputError
from everglade.progress import Meter, ProgressCallback
from everglade.texts.seen import SeenIds

__all__ = ["Converted", "convert"]

_SIDES = {"queries": "queries.jsonl", "documents": "corpus.jsonl", "corpus": "corpus.jsonl"}
"""Tables of texts by their name without its ending, and the file of a BEIR folder that each becomes."""
_ROWS_TO_TELL = 1000


@dataclass
class Converted:
    """What was written, what was taken for granted about the source, and how much of it was left out and why."""

    format: str
    examples: int = 0
    documents: int = 0
    """Documents that the examples name, counted each time."""
    scored: int = 0
    """Examples with teacher scores."""
    texts: dict[str, int] = field(default_factory=dict)
    """Texts written, by file."""
    assumed: list[str] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)


def convert(
    source: str | Path,
    to: str | Path,
    *,
    format: str | None = None,
    options: Options = Options(),  # noqa: B008
    texts: str | Path | None = None,
    progress: ProgressCallback | None = None,
) -> Converted:
    """Write the examples of a source to a file, an Arrow table if it ends in .arrow, else JSON lines.

    Rows that hold texts need a folder for them; it becomes a BEIR collection (corpus.jsonl, queries.jsonl), where each
    text stands once. Texts without ids get hashes of themselves as ids. File and folder appear whole or not at all.

    Args:
        source: a file in any of `FORMATS`, or a folder of three tables: queries, documents (or corpus), and one with
            another name, which holds the examples. There the texts are written if a folder is named for them.
        to: the examples file.
        format: the format, if it cannot be told from the source; see `read_source`.
        options: qrels, systems, and how many negatives; see `read_source`.
        texts: the folder for the texts. It must not be there.
        progress: called now and then, with rows that are examples.

    Raises:
        ConfigError: if the rows hold texts and there is no folder for them, or there is one and no text.
        InputError: naming file and line or row, if the source cannot be used or has no example.
    """
    parts = _find_parts(Path(source))
    opened = read_source(parts.examples, format, options)
    found = Converted(opened.format, assumed=opened.notes.assumed)
    folder = None if texts is None else _TextsFolder(Path(texts))
    if folder is None:
        write_examples(_examples(opened, parts.examples, None, found, progress), to)
    else:
        with folder:
            for side, path in parts.texts.items():
                for document in read_text_table(path):
                    folder.add(side, document.id, document.full_text)
            write_examples(_examples(opened, parts.examples, folder, found, progress), to)
        found.texts = folder.counts
    found.left_out = dict(opened.notes.left_out)
    return found


class _Parts(NamedTuple):
    examples: Path
    texts: dict[str, Path]
    """Tables of texts, by the file each becomes."""


def _find_parts(source: Path) -> _Parts:
    """Give the source itself, or the parts of a folder of tables."""
    if not source.is_dir():
        return _Parts(source, {})
    parts = {path.name.split(".")[0]: path for path in sorted(source.iterdir()) if not path.name.startswith(".")}
    texts = {_SIDES[name]: path for name, path in parts.items() if name in _SIDES}
    others = [path for name, path in parts.items() if name not in _SIDES and _is_table(path)]
    if not texts:
        return _Parts(source, {})
    if len(others) != 1:
        names = ", ".join(path.name for path in others) or "nothing"
        raise InputError(f"beside the texts there must be one table of examples, found {names}. Name it itself", source)
    return _Parts(others[0], texts)


def _is_table(path: Path) -> bool:
    return path.is_dir() or path.name.removesuffix(".gz").endswith((".parquet", ".arrow", ".jsonl"))


def _examples(
    source: Source, path: Path, folder: _TextsFolder | None, found: Converted, progress: ProgressCallback | None
) -> Iterator[Example]:
    """Give the examples, count them, and write their texts."""
    meter = Meter(None, progress)
    for row in source.rows:
        if row.query is not None or row.documents is not None:
            if folder is None:
                raise ConfigError(f"{path} holds texts: name a folder for them with --texts (texts=).")
            folder.add_row(row)
        found.examples += 1
        found.documents += len(row.example.document_ids)
        found.scored += row.example.scores is not None
        if found.examples % _ROWS_TO_TELL == 0:
            meter.advance(_ROWS_TO_TELL)
        yield row.example
    meter.advance(found.examples % _ROWS_TO_TELL)
    if not found.examples:
        why = "; ".join(f"{count} {reason}" for reason, count in source.notes.left_out.items())
        raise InputError(f"not one example is in it{f' ({why} left out)' if why else ''}", path)
    if folder is not None and not folder.counts:
        raise ConfigError(f"{path} holds ids and no texts: leave --texts (texts=) away.")


class _TextsFolder:
    """A BEIR folder that takes each text once and appears when all are there.

    Of each id, 48 to 96 bytes are kept.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise InputError("this is there already. Remove it, or name another folder for the texts", path)
        if not path.parent.is_dir():
            raise InputError(f"the folder {path.parent} is not there. Make it first", path)
        self._path = path
        self._partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        self._files: dict[str, IO[bytes]] = {}
        self._ids: dict[str, SeenIds] = {}
        self._texts: dict[str, SeenIds] = {}
        self.counts: dict[str, int] = {}

    def __enter__(self) -> Self:
        self._partial.mkdir()
        return self

    def add(self, name: str, key: str, text: str) -> None:
        """Write a text to one of the files, unless it is there."""
        if name not in self._files:
            self._files[name] = (self._partial / name).open("wb")
            self._ids[name], self._texts[name], self.counts[name] = SeenIds(), SeenIds(), 0
        place = self.counts[name] + 1
        is_new = self._ids[name].add(key, place) == place
        if not is_new:
            if self._texts[name].add(f"{key}\n{text}", place) == place:
                raise InputError(f"{key!r} has two different texts in the source. One id must mean one text")
            return
        self._texts[name].add(f"{key}\n{text}", place)
        self.counts[name] = place
        title = {"title": ""} if name == _SIDES["documents"] else {}
        try:
            self._files[name].write(orjson.dumps({"_id": key, **title, "text": text}) + b"\n")
        except orjson.JSONEncodeError as error:
            raise InputError(f"the text of {key!r} cannot be written: {error}") from error

    def add_row(self, row: Row) -> None:
        """Write the texts of a row."""
        if row.query is not None:
            self.add(_SIDES["queries"], row.example.query_id, row.query)
        for key, text in zip(row.example.document_ids, row.documents or (), strict=False):
            self.add(_SIDES["documents"], key, text)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()
        try:
            if error is None:
                durable.publish_folder(self._partial, self._path)
        finally:
            shutil.rmtree(self._partial, ignore_errors=True)
