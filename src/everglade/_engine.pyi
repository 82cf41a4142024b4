"""Segments of an index and exact search over them."""

import os
from collections.abc import Sequence
from typing import Annotated

import numpy
from numpy.typing import NDArray

class CorruptSegment(Exception):
    """Bytes of a segment that are not what was written; args are path, offset, why."""

class FormatTooNew(Exception):
    """A segment written by a newer Everglade; args are path, why."""

class Segment:
    """One immutable segment file, mapped read-only. A document is named by its local number: its rank by id.

    Opening raises CorruptSegment, FormatTooNew or OSError. verify=False leaves out the checksums and the contents of
    postings, rows and ids; the structure is always checked.
    """

    def __init__(self, path: str | os.PathLike[str], verify: bool = True) -> None: ...
    @property
    def path(self) -> str: ...
    @property
    def uuid(self) -> bytes:
        """The 16 bytes that name the index this segment was written for."""

    @property
    def number(self) -> int:
        """Which segment of that index this is."""

    @property
    def n_documents(self) -> int: ...
    @property
    def n_postings(self) -> int: ...
    @property
    def n_terms(self) -> int:
        """Size of the vocabulary, present or not."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def crc32c(self) -> int:
        """A checksum that stands for the whole content of the file."""

    def id(self, local: int) -> str:
        """The id of a document. ValueError if there is no such document."""

    def ids(
        self, locals: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)]
    ) -> list[str]:
        """The ids of several documents."""

    def find(self, id: str) -> int:
        """The local number of the document with this id, or -1."""

    def document(
        self, local: int
    ) -> tuple[
        Annotated[NDArray[numpy.int32], dict(shape=(None,))], Annotated[NDArray[numpy.uint8], dict(shape=(None,))]
    ]:
        """The terms, ascending, and impacts of a document."""

def write_segment(
    path: str | os.PathLike[str],
    uuid: bytes,
    number: int,
    n_terms: int,
    indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    impacts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ids: list[str],
) -> dict[str, int]:
    """Write one segment, whole and durable when this returns; give its documents, postings, size_bytes and crc32c.

    Row i of (indptr, terms, impacts) is the document ids[i]. Ids ascend in the order of their UTF-8 bytes, terms
    ascend within a row, and impacts are at least 1; ValueError if not. OSError if the file cannot be written; then
    nothing is left behind.
    """

def search(
    segments: Sequence[Segment],
    deleted: Sequence[
        Annotated[NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)] | None
    ],
    q_indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_impacts: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    k: int,
    threads: int,
) -> tuple[
    Annotated[NDArray[numpy.int32], dict(shape=(None, None))],
    Annotated[NDArray[numpy.uint32], dict(shape=(None, None))],
    Annotated[NDArray[numpy.uint32], dict(shape=(None, None))],
]:
    """Find for each query the k documents with the greatest sums of query impact times document impact, exactly.

    deleted[i] hides documents of segments[i]: bit d % 8 of byte d // 8 for document d (numpy.packbits with
    bitorder='little'), or None. Gives segment, local and score, each of shape (n_queries, k), best first, equal
    scores by id; where there are fewer hits, segment is -1. Terms that a query names twice count twice. ValueError
    for a term outside the vocabulary, or impacts of a query that sum to more than 16,843,008.
    """
