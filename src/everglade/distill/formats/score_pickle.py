"""A pickle of {query id: {document id: score}}, read without ever running it.

Python's unpickler builds whatever the file says, and even with every class refused it can be made to build enormous
values. So here the opcodes are read one by one, and only those that such a dictionary is written with are known: dicts,
ints and floats. Any other ends the reading. A query is given as soon as it is complete, so that memory holds one query,
and 24 to 48 bytes for each query id that was met, to see one that comes twice.
"""

from __future__ import annotations

import gzip
import math
import pickletools
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from everglade.distill.formats.rows import Notes, Options, Row, scored_rows
from everglade.errors import InputError
from everglade.texts.lines import open_bytes, require_file
from everglade.texts.seen import SeenIds

__all__ = ["parse_scores", "read_score_pickle"]

_PIECE_BYTES = 2**20
_MAX_DOCUMENTS = 2**20
_RUN = re.compile(rb"(?:J....G........)+", re.DOTALL)
_PAIR = np.dtype([("j", "S1"), ("document", "<i4"), ("g", "S1"), ("score", ">f8")])
_INTS = {ord("K"): ("<B", 1), ord("M"): ("<H", 2), ord("J"): ("<i", 4)}
_LONG1 = 0x8A
_PASSED_OVER = {0x80: 1, 0x95: 8, 0x94: 0, ord("q"): 1, ord("r"): 4}
"""PROTO, FRAME, MEMOIZE, BINPUT and LONG_BINPUT with the bytes that follow: nothing is ever asked back from a memo."""

Scores = dict[int, float]


def read_score_pickle(path: Path, options: Options, notes: Notes) -> Iterator[Row]:
    """Read a pickle, plain or gzip, of {int query id: {int document id: float score}}, and qrels for the positives.

    This is the form of `cross-encoder-ms-marco-MiniLM-L-6-v2-scores.pkl.gz`.

    Raises:
        InputError: naming the file and the byte of the unpacked content, if there is anything else in it.
    """
    seen, qrels = SeenIds(), options.qrels or {}
    try:
        with open_bytes(require_file(path)) as file:
            for number, (query, scores) in enumerate(parse_scores(file), start=1):
                query_id = str(query)
                if (first := seen.add(query_id, number)) != number:
                    raise InputError(f"the query {query_id} comes twice, as number {first} and {number}")
                judged = qrels.get(query_id, {})
                by_id = {str(document): score for document, score in scores.items()} if judged else {}
                yield from scored_rows(query_id, by_id, judged, options, notes)
    except InputError as error:
        raise InputError(error.why, path) if error.path is None else error from error


def parse_scores(file: IO[bytes] | gzip.GzipFile) -> Iterator[tuple[int, Scores]]:
    """Give each query with its scores, in the order of the file.

    Raises:
        InputError: naming the byte, if the file is cut short or holds anything but dicts, ints and floats.
    """
    return _Reading(file).queries()


class _Reading:
    """Where the reading is: in the outer dict, and perhaps in the dict of a query."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._buffer = b""
        self._place = self._before = 0
        self._begun = self._marked = self._inner_marked = self._owes_setitem = False
        self._key: int | None = None
        self._query: int | None = None
        self._scores: Scores | None = None

    def queries(self) -> Iterator[tuple[int, Scores]]:
        while (code := self._take(1)[0]) != ord("."):
            if self._owes_setitem and code != ord("s"):
                raise self._error("a pair that is not put into its dict")
            if code in _PASSED_OVER:
                self._take(_PASSED_OVER[code])
            elif not self._begun and code != ord("}"):
                raise self._refusal(code)
            elif code in _INTS:
                kind, size = _INTS[code]
                self._push_int(struct.unpack(kind, self._take(size))[0])
            elif code == _LONG1:
                self._push_long(self._take(1)[0])
            elif code == ord("G"):
                self._push_float(struct.unpack(">d", self._take(8))[0])
            elif code == ord("}"):
                yield from self._begin_dict()
            elif code == ord("("):
                self._mark()
            elif code in b"us":
                yield from self._set_items(single=code == ord("s"))
            else:
                raise self._refusal(code)
            if self._inner_marked and self._key is None:
                self._take_run()
        self._end()

    def _push_int(self, value: int) -> None:
        if self._key is not None:
            raise self._error("an int that is neither a query id nor a document id")
        self._key = value

    def _push_long(self, size: int) -> None:
        if size > 8:
            raise self._error(f"an int of {size} bytes. Ids have 8 at most")
        self._push_int(int.from_bytes(self._take(size), "little", signed=True))

    def _push_float(self, value: float) -> None:
        if self._scores is None or self._key is None:
            raise self._error("a float that is not the score of a document")
        self._put(self._key, value)
        self._key, self._owes_setitem = None, not self._inner_marked

    def _put(self, document: int, score: float) -> None:
        assert self._scores is not None
        if document in self._scores:
            raise self._error(f"the document {document} twice for the query {self._query}")
        if not math.isfinite(score):
            raise self._error(f"the score {score} for the query {self._query} and the document {document}")
        self._scores[document] = score
        if len(self._scores) > _MAX_DOCUMENTS:
            raise self._error(f"more than {_MAX_DOCUMENTS:,} documents for the query {self._query}")

    def _take_run(self) -> None:
        """Take many pairs of a 4-byte int and a float at once: nearly all of a large file."""
        if not (match := _RUN.match(self._buffer, self._place)):
            return
        pairs = np.frombuffer(match[0], dtype=_PAIR)
        self._place = match.end()
        for document, score in zip(pairs["document"].tolist(), pairs["score"].tolist(), strict=True):
            self._put(document, score)

    def _begin_dict(self) -> Iterator[tuple[int, Scores]]:
        if not self._begun:
            self._begun = True
            return
        if self._key is None or self._inner_marked or (self._scores is not None and not self._marked):
            raise self._error("a dict that is not the scores of a query")
        yield from self._complete()
        self._query, self._scores, self._key = self._key, {}, None

    def _mark(self) -> None:
        if self._inner_marked or self._key is not None:
            raise self._error("a mark that begins no items")
        if self._scores is not None:
            self._inner_marked = True
        elif self._marked:
            raise self._error("a mark that begins no items")
        else:
            self._marked = True

    def _set_items(self, *, single: bool) -> Iterator[tuple[int, Scores]]:
        if self._key is not None:
            raise self._error("a key without a value")
        if single and self._owes_setitem:
            self._owes_setitem = False
        elif not single and self._inner_marked:
            self._inner_marked = False
        elif single != self._marked and (self._marked or self._scores is not None):
            self._marked = False
            yield from self._complete()
        else:
            raise self._error("an end of items that had no beginning")

    def _complete(self) -> Iterator[tuple[int, Scores]]:
        if self._scores is not None and self._query is not None:
            yield self._query, self._scores
        self._query = self._scores = None

    def _end(self) -> None:
        if not self._begun or self._marked or self._scores is not None or self._key is not None:
            raise self._error("the end, before a dict is complete")
        if self._place < len(self._buffer) or self._file.read(1):
            raise self._error("more after the end")

    def _take(self, n: int) -> bytes:
        while self._place + n > len(self._buffer):
            self._before += self._place
            self._buffer = self._buffer[self._place :]
            self._place = 0
            piece = self._file.read(_PIECE_BYTES)
            self._buffer += piece
            if not piece:
                raise self._error("the end of the file, before the end of the pickle")
        taken = self._buffer[self._place : self._place + n]
        self._place += n
        return taken

    def _refusal(self, code: int) -> InputError:
        names = {ord(known.code): known.name for known in pickletools.opcodes}
        name = f"the opcode {names[code]}" if code in names else f"the byte 0x{code:02x}"
        if not self._begun:
            return self._error(f"{name} at the beginning. It must be a binary pickle (protocol 1 or later) of a dict")
        return self._error(f"{name}, which a dict of ints and floats has not. It was not run")

    def _error(self, found: str) -> InputError:
        return InputError(f"found {found}, before byte {self._before + self._place:,} of the unpacked content")
