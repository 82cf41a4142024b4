"""Training data in any known format to an examples file, and a collection of the texts that it holds."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

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
from everglade.texts.values import require_id

__all__ = ["Converted", "convert"]

_SIDES = {"queries": "queries.jsonl", "documents": "corpus.jsonl", "corpus": "corpus.jsonl"}
"""Tables of texts by their name without its ending, and the file of a BEIR folder that each becomes."""
_JUDGEMENTS = "qrels/train.tsv"
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
    """Texts and judgements written, by file."""
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

    Rows that hold documents' texts need a folder for them; it becomes a BEIR collection (corpus.jsonl, queries.jsonl),
    where each text stands once, with the positives as judgements (qrels/train.tsv), so that `everglade train` takes it.
    Texts without ids get hashes of themselves as ids. The folder appears whole or not at all, and then so does the
    file.

    Args:
        source: a file in any of `FORMATS`, or a folder of three tables: queries, documents (or corpus), and one with
            another name, which holds the examples. There the texts are written if a folder is named for them.
        to: the examples file.
        format: the format, if it cannot be told from the source; see `read_source`.
        options: qrels, systems, and how many negatives; see `read_source`.
        texts: the folder for the texts. It must not be there.
        progress: called now and then, with rows that are examples.

    Raises:
        ConfigError: if the rows hold texts and there is no folder for them, or there is one and no document's text.
        InputError: naming file and line or row, if the source cannot be used or has no example.
    """
    parts = _find_parts(Path(source))
    opened = read_source(parts.examples, format, options)
    found = Converted(opened.format, assumed=opened.notes.assumed)
    if texts is None:
        if parts.texts:
            names = ", ".join(path.name for path in parts.texts.values())
            opened.notes.assume(f"texts are passed over, as no folder is named for them (--texts): {names}")
        write_examples(_examples(opened, parts.examples, None, found, progress), to)
    else:
        with _open_folder(Path(texts)) as folder:
            for side, path in parts.texts.items():
                folder.add_table(side, path)
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
    tables: dict[str, Path] = {}
    doubles: list[tuple[Path, Path]] = []
    for path in sorted(source.iterdir()):
        name = path.name.split(".")[0]
        if name in _SIDES or (name and _is_table(path)):
            first = tables.setdefault(_SIDES.get(name, name), path)
            doubles += [(first, path)] if first != path else []
    texts = {side: tables[side] for side in dict.fromkeys(_SIDES.values()) if side in tables}
    if not texts:
        return _Parts(source, {})
    if doubles:
        (first, second), *_ = doubles
        shards = f"a folder {first.name.split('.')[0]}/"
        why = f"{first.name} and {second.name} would be the same table. Put shards into {shards}, or take one away"
        raise InputError(why, source)
    others = [path for name, path in tables.items() if name not in texts]
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
        found.examples += 1
        if folder is not None:
            folder.add_row(row, path, found.examples)
        elif row.documents is not None:
            raise ConfigError(f"{path} holds texts: name a folder for them with --texts (texts=).")
        elif row.query is not None:
            source.notes.assume("texts of queries are passed over, as no folder is named for them (--texts)")
        found.documents += len(row.example.document_ids)
        found.scored += row.example.scores is not None
        if found.examples % _ROWS_TO_TELL == 0:
            meter.advance(_ROWS_TO_TELL)
        yield row.example
    meter.advance(found.examples % _ROWS_TO_TELL)
    if not found.examples:
        why = "; ".join(f"{count} {reason}" for reason, count in source.notes.left_out.items())
        raise InputError(f"not one example is in it{f' ({why} left out)' if why else ''}", path)
    if folder is not None:
        # Here and not after the file is written: without its texts nothing could be done with it.
        folder.publish(path)


@contextmanager
def _open_folder(path: Path) -> Iterator[_TextsFolder]:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise InputError("this is there already. Remove it, or name another folder for the texts", path)
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} is not there. Make it first", path)
    with durable.private_folder(path) as partial, ExitStack() as opened:
        yield _TextsFolder(path, partial, opened)


class _TextsFolder:
    """A BEIR folder that takes each text and each judgement once, and appears when it is published.

    48 to 96 bytes are kept of each id, and 24 to 48 of each judgement.
    """

    def __init__(self, path: Path, partial: Path, opened: ExitStack) -> None:
        self._path = path
        self._partial = partial
        self._opened = opened
        self._files: dict[str, IO[bytes]] = {}
        self._ids: dict[str, SeenIds] = {}
        self._texts: dict[str, SeenIds] = {}
        self.counts: dict[str, int] = {}

    def add_table(self, name: str, path: Path) -> None:
        """Write the texts of a table to one of the files."""
        for number, document in enumerate(read_text_table(path), start=1):
            try:
                self._add(name, document.id, document.full_text)
            except InputError as error:
                raise InputError(f"text {number}: {error.why}", path) from error

    def add_row(self, row: Row, path: Path, number: int) -> None:
        """Write the texts of a row, which is an example of that number, and that its positive is relevant."""
        try:
            if row.query is not None:
                self._add(_SIDES["queries"], row.example.query_id, row.query)
            for key, text in zip(row.example.document_ids, row.documents or (), strict=False):
                self._add(_SIDES["documents"], key, text)
            self._judge(row.example)
        except InputError as error:
            raise InputError(f"example {number}: {error.why}", path) from error

    def _open(self, name: str) -> IO[bytes]:
        if name not in self._files:
            file = self._partial / name
            file.parent.mkdir(exist_ok=True)
            self._files[name] = self._opened.enter_context(file.open("wb"))
            self._ids[name], self._texts[name], self.counts[name] = SeenIds(), SeenIds(), 0
        return self._files[name]

    def _judge(self, example: Example) -> None:
        file = self._open(_JUDGEMENTS)
        place = self.counts[_JUDGEMENTS] + 1
        if self._ids[_JUDGEMENTS].add(f"{example.query_id}\n{example.positive}", place) != place:
            return
        self.counts[_JUDGEMENTS] = place
        heading = "query-id\tcorpus-id\tscore\n" if place == 1 else ""
        file.write(f"{heading}{require_id(example.query_id)}\t{require_id(example.positive)}\t1\n".encode())

    def _add(self, name: str, key: str, text: str) -> None:
        """Write a text to one of the files, unless it is there."""
        file = self._open(name)
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
            file.write(orjson.dumps({"_id": key, **title, "text": text}) + b"\n")
        except orjson.JSONEncodeError as error:
            raise InputError(f"the text of {key!r} cannot be written: {error}") from error

    def publish(self, source: Path) -> None:
        """Give the folder its name.

        Raises:
            ConfigError: if it holds no document's text, so that it is no collection.
        """
        if _SIDES["documents"] not in self.counts:
            raise ConfigError(
                f"{source} holds no texts of documents: leave --texts (texts=) away, or put a table `corpus` beside it "
                f"and convert the folder of both."
            )
        self._opened.close()
        durable.publish_folder(self._partial, self._path)
