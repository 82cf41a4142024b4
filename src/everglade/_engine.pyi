"""Segments of an index, exact and approximate search over them, and scores of single documents."""

import os
from collections.abc import Sequence
from typing import Annotated, Any

import numpy
import numpy.typing
from numpy.typing import NDArray

class CorruptSegment(Exception):
    """Bytes of a segment that are not what was written; args are path, offset, why."""

class FormatTooNew(Exception):
    """A segment written by a newer Everglade; args are path, why."""

class Segment:
    """One immutable segment file, mapped read-only.

    A document is named by its local number, which is its rank by id unless the segment is reordered. Opening raises
    CorruptSegment, FormatTooNew or OSError. verify=False leaves out the checksums and the contents of postings, rows,
    weights, order and ids; the structure is always checked.
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
    def n_row_entries(self) -> int:
        """Entries of all vectors: the postings, and those that pruning left out of them."""

    @property
    def n_terms(self) -> int:
        """Size of the vocabulary, present or not."""

    @property
    def size_bytes(self) -> int: ...
    @property
    def crc32c(self) -> int:
        """A checksum that stands for the whole content of the file."""

    @property
    def features(self) -> int:
        """The feature bits of docs/index-format.md."""

    @property
    def is_wide(self) -> bool:
        """Whether impacts are of 16 bits rather than 8."""

    @property
    def is_reordered(self) -> bool:
        """Whether documents stand in another order than by id."""

    @property
    def is_pruned(self) -> bool:
        """Whether the postings are only some of the row entries."""

    @property
    def has_rows(self) -> bool:
        """Whether vectors are kept by document too."""

    @property
    def has_weights(self) -> bool:
        """Whether the rows keep float16 weights."""

    @property
    def n_dense_blocks(self) -> int:
        """Blocks of postings with cells, by which search can skip documents."""

    def id(self, local: int) -> str:
        """The id of a document. ValueError if there is no such document."""

    def ids(
        self, locals: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)]
    ) -> list[str]:
        """The ids of several documents."""

    def ids_all(self) -> list[str]:
        """The ids of all documents, by local number."""

    def find(self, id: str) -> int:
        """The local number of the document with this id, or -1."""

    def document(self, local: int) -> tuple[numpy.typing.NDArray[numpy.int32], numpy.typing.NDArray[Any]]:
        """The vector of a document: its terms, int32 and ascending, and their impacts.

        Impacts are uint8, or uint16 if the segment is wide. Without rows they are looked up in the postings of
        every term. ValueError if there is no such document.
        """

    def rows(
        self,
    ) -> tuple[
        Annotated[NDArray[numpy.int64], dict(shape=(None,))],
        Annotated[NDArray[numpy.int32], dict(shape=(None,))],
        Annotated[NDArray[numpy.uint8], dict(shape=(None,))] | Annotated[NDArray[numpy.uint16], dict(shape=(None,))],
    ]:
        """The vectors of all documents by local number: indptr, terms and impacts, copied.

        Terms ascend in each row. Without rows the vectors are gathered from the postings.
        """

    def weights(self) -> Annotated[NDArray[numpy.float16], dict(shape=(None,), writable=False)]:
        """The float16 weight of each entry of rows(), read-only, without a copy. ValueError if none are kept."""

def write_segment(
    path: str | os.PathLike[str],
    uuid: bytes,
    number: int,
    n_terms: int,
    indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    impacts: Annotated[NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)]
    | Annotated[NDArray[numpy.uint16], dict(shape=(None,), order="C", device="cpu", writable=False)],
    ids: list[str],
    *,
    postings: Annotated[NDArray[numpy.bool_], dict(shape=(None,), order="C", device="cpu", writable=False)]
    | None = None,
    order: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)] | None = None,
    weights: Annotated[NDArray[numpy.float16], dict(shape=(None,), order="C", device="cpu", writable=False)]
    | None = None,
    rows: bool = True,
    cells_from: int | None = 2560,
) -> dict[str, int]:
    """Write one segment, whole and durable when this returns; give its documents, postings, size_bytes and crc32c.

    Row i of (indptr, terms, impacts) is the document ids[i]. Ids ascend in the order of their UTF-8 bytes, terms
    ascend within a row, and impacts are at least 1; ValueError if not. Impacts of uint16 make a wide segment.
    postings says which entries become postings (pruning), order which row stands at each local number (row and
    local are the same without it), weights gives the float16 of each entry, finite and at least 0; rows=False
    leaves vectors by document out, which neither pruning nor weights allow. Postings of a term in a window of
    16,384 documents get cells, by which search skips, if they are cells_from or more; None for none. OSError if
    the file cannot be written; then nothing is left behind.
    """

MAX_QUERY_MASS: int = 16843008

MAX_WIDE_QUERY_MASS: int = 65536

def search(
    segments: Sequence[Segment],
    hidden: Sequence[
        Annotated[NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)] | None
    ],
    q_indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_impacts: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    k: int,
    threads: int,
    path: str = "auto",
) -> tuple[
    Annotated[NDArray[numpy.int32], dict(shape=(None, None))],
    Annotated[NDArray[numpy.uint32], dict(shape=(None, None))],
    Annotated[NDArray[numpy.uint32], dict(shape=(None, None))],
]:
    """Find for each query the k documents with the greatest sums of query impact times posting impact, exactly.

    hidden[i] says which documents of segments[i] cannot be found: bit d % 8 of byte d // 8 for document d
    (numpy.packbits with bitorder='little'), or None. Gives segment, local and score, each of shape (n_queries, k),
    best first, equal scores by id; where there are fewer hits, segment is -1. Terms that a query names twice
    count twice. ValueError for a term outside the vocabulary, or impacts of a query that sum to more than
    MAX_QUERY_MASS, or MAX_WIDE_QUERY_MASS if one of the segments is wide: a score could pass 32 bits.
    path says how: 'scan' goes over all postings, 'cells' skips wherever a segment has cells, 'auto' takes what it
    expects to be cheaper. The hits are the same.
    """

def search_approximate(
    segments: Sequence[Segment],
    hidden: Sequence[
        Annotated[NDArray[numpy.uint8], dict(shape=(None,), order="C", device="cpu", writable=False)] | None
    ],
    q_indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_impacts: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    k: int,
    threads: int,
    mass: float,
    candidates: int,
) -> tuple[
    Annotated[NDArray[numpy.int32], dict(shape=(None, None))],
    Annotated[NDArray[numpy.uint32], dict(shape=(None, None))],
    Annotated[NDArray[numpy.uint32], dict(shape=(None, None))],
]:
    """Like search, but scan only the terms that can add most, and score the best candidates by all terms.

    Terms are scanned until what they can add is `mass` of what all can; the best `candidates`, at least k, are
    scored by their whole vectors, as score_documents does. With mass 1 and segments that are not pruned this is
    search. everglade.reference.search_approximate is its definition.
    """

def score_documents(
    segment: Segment,
    locals: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_impacts: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)],
) -> Annotated[NDArray[numpy.uint32], dict(shape=(None,))]:
    """The sum of query impact times document impact for each of these documents, uint32.

    It goes over the rows, or over the postings where there are no rows. ValueError as search raises it, or if
    there is no such document.
    """

def score_documents_float(
    segment: Segment,
    locals: Annotated[NDArray[numpy.uint32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    q_weights: Annotated[NDArray[numpy.float32], dict(shape=(None,), order="C", device="cpu", writable=False)],
) -> Annotated[NDArray[numpy.float64], dict(shape=(None,))]:
    """The sum of query weight times float16 weight for each of these documents, float64.

    Products are added in double in the ascending order of terms, so that every machine gives the same. ValueError
    if the segment keeps no weights, a weight of the query is negative or not finite, or a term or document is not
    there.
    """

def find_order(
    indptr: Annotated[NDArray[numpy.int64], dict(shape=(None,), order="C", device="cpu", writable=False)],
    terms: Annotated[NDArray[numpy.int32], dict(shape=(None,), order="C", device="cpu", writable=False)],
    n_terms: int,
    threads: int,
) -> Annotated[NDArray[numpy.uint32], dict(shape=(None,))]:
    """An order of documents in which those that share terms lie close together, for write_segment.

    Row i of (indptr, terms) is document i; entry j of the result is the document that comes j-th. Recursive
    graph bisection (Dhulipala et al., KDD 2016). The same on any number of threads. ValueError for rows or terms
    out of range.
    """
