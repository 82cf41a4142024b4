"""What segment files are made of: the bytes of each part, and how long their posting lists are.

The engine reads and writes segments; this only adds up what their section tables say, and counts the lists, so that
what an index costs can be told from its own bytes. The bytes: docs/index-format.md.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.index.snapshot import Effort, Snapshot
from everglade.reference import Impacts

__all__ = ["PARTS", "PostingLists", "count_postings_read", "measure_parts", "read_lists"]

PARTS = {
    "postings": range(1, 8),
    "cells": range(16, 19),
    "vectors": range(8, 11),
    "weights": range(15, 16),
    "ids": range(11, 13),
    "order": range(13, 15),
}
"""The sections of each part; what is left is headers and the zeros between sections."""

HEADER_BYTES = 64
ENTRY = np.dtype([("kind", "<u4"), ("crc32c", "<u4"), ("offset", "<u8"), ("length", "<u8")])


class PostingLists(NamedTuple):
    """The posting lists of all segments of an index together: for each term, shape (n_terms,)."""

    counts: NDArray[np.int64]
    """How many postings there are; those of deleted documents are among them, since a search reads them."""
    greatest: NDArray[np.int64]
    """The greatest impact among them."""


def measure_parts(snapshot: Snapshot) -> dict[str, int]:
    """Give the bytes of each part of the segment files, in the order of `PARTS`, and of the "rest"."""
    sizes: Counter[str] = Counter()
    for segment in snapshot.segments:
        lengths = {kind: length for kind, (_, length) in _read_table(_map(segment.file.path)).items()}
        for part, kinds in PARTS.items():
            sizes[part] += sum(lengths.get(kind, 0) for kind in kinds)
        sizes["rest"] += segment.row.size_bytes - sum(lengths.values())
    return {part: sizes[part] for part in (*PARTS, "rest")}


def read_lists(snapshot: Snapshot) -> PostingLists:
    """Count the postings of each term, and find the greatest impact, from the lists themselves."""
    counts = np.zeros(snapshot.meta.n_terms, dtype=np.int64)
    greatest = np.zeros(snapshot.meta.n_terms, dtype=np.int64)
    impact = np.dtype("<u2") if snapshot.meta.options.is_wide else np.dtype("u1")
    for segment in snapshot.segments:
        file = _map(segment.file.path)
        table = _read_table(file)
        terms = _section(file, table[1], np.dtype("<u4"))
        if not len(terms):
            continue
        blocks = _section(file, table[2], np.dtype("<u8")).astype(np.int64)
        postings = _section(file, table[4], np.dtype("<u8")).astype(np.int64)
        bounds = _section(file, table[5], impact).astype(np.int64)
        counts[terms] += postings[blocks[1:]] - postings[blocks[:-1]]
        greatest[terms] = np.maximum(greatest[terms], np.maximum.reduceat(bounds, blocks[:-1]))
    return PostingLists(counts, greatest)


def count_postings_read(lists: PostingLists, queries: Impacts, effort: Effort) -> NDArray[np.int64]:
    """Count the postings in the lists that a search of each query scans: shape (n_queries,).

    An exact search scans the lists of all terms of the query; one that covers a mass scans those that promise most, see
    `everglade.reference.search_approximate`. What the engine may skip within a list, by its cells, is not taken off,
    and the vectors by which the second step scores are not counted.
    """
    read = np.zeros(len(queries.indptr) - 1, dtype=np.int64)
    for row, (start, stop) in enumerate(zip(queries.indptr[:-1].tolist(), queries.indptr[1:].tolist(), strict=True)):
        terms = queries.terms[start:stop]
        if effort.mass is not None:
            terms = _most_promising(terms, queries.impacts[start:stop], lists.greatest, effort.mass)
        read[row] = lists.counts[terms].sum()
    return read


def _most_promising(
    terms: NDArray[np.int32], impacts: NDArray[np.integer[Any]], greatest: NDArray[np.int64], mass: float
) -> NDArray[np.int32]:
    promises = impacts.astype(np.int64) * greatest[terms]
    order = np.lexsort((terms, -promises))
    covered = np.cumsum(promises[order]) - promises[order]
    chosen: NDArray[np.int32] = terms[order[covered < mass * promises.sum()]]
    return chosen


def _map(path: str) -> NDArray[np.uint8]:
    return np.memmap(Path(path), dtype=np.uint8, mode="r")


def _read_table(file: NDArray[np.uint8]) -> dict[int, tuple[int, int]]:
    """Give the offset and the length of each section by its kind; the file has been opened, so it is what it says."""
    count = int(file[60:64].view("<u4")[0])
    entries = file[HEADER_BYTES : HEADER_BYTES + count * ENTRY.itemsize].view(ENTRY)
    return {int(entry["kind"]): (int(entry["offset"]), int(entry["length"])) for entry in entries}


def _section(file: NDArray[np.uint8], place: tuple[int, int], kind: np.dtype[Any]) -> NDArray[Any]:
    offset, length = place
    return np.asarray(file[offset : offset + length]).view(kind)
