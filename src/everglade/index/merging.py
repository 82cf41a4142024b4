"""Merging segments: which, and how several become one that holds what can still be found.

Segments of like size, eight of a tier, become one of the next tier, so that a document is written again about once for
each factor of eight that the index grows by, and the number of segments grows with the logarithm of the documents. What
is chosen follows from the catalog alone. Reasons: docs/decisions/0015-merges-and-filters.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.index.segments import Batch, OpenSegment, write_segment
from everglade.index.values import Merge, Meta, SegmentRow
from everglade.reference import Impacts

__all__ = ["MERGED_DOCUMENTS", "choose_merge", "group_segments", "merge_segments"]

TIER = 8
FIRST_TIER_DOCUMENTS = 1024
"""Segments up to this size times TIER are of one tier; smaller ones are never written again for their deletions."""
MERGED_DOCUMENTS = 2**19
MERGED_POSTINGS = 2**26
MAX_DELETED_SHARE = 0.3
ROWS_AT_A_TIME = 16_384


def choose_merge(segments: Sequence[SegmentRow]) -> list[int]:
    """Choose segments, by number, that should become one now; an empty list if none should.

    The lowest tier that has TIER segments gives all it has, as far as they fit into one. Else the segment with the
    greatest share of hidden documents is written anew, if that share is above MAX_DELETED_SHARE.
    """
    tiers: dict[int, list[SegmentRow]] = {}
    for row in segments:
        tiers.setdefault(_tier(row), []).append(row)
    for _, rows in sorted(tiers.items()):
        chosen = _fitting(rows)
        if len(chosen) >= TIER:
            return [row.number for row in chosen]
    worn = [row for row in segments if row.documents >= FIRST_TIER_DOCUMENTS and _worn(row) > MAX_DELETED_SHARE]
    return [max(worn, key=lambda row: (_worn(row), row.number)).number] if worn else []


def _tier(row: SegmentRow) -> int:
    tier, size = 0, FIRST_TIER_DOCUMENTS * TIER
    while row.live >= size:
        tier, size = tier + 1, size * TIER
    return tier


def _worn(row: SegmentRow) -> float:
    return row.deleted / max(row.documents, 1)


def _fitting(rows: Sequence[SegmentRow]) -> list[SegmentRow]:
    chosen: list[SegmentRow] = []
    documents = postings = 0
    for row in rows:
        documents, postings = documents + row.live, postings + row.postings
        if documents > MERGED_DOCUMENTS or postings > MERGED_POSTINGS:
            break
        chosen.append(row)
    return chosen


def group_segments(segments: Sequence[SegmentRow], most: int) -> list[list[int]]:
    """Put all segments into as few groups of up to `most` documents as their order allows; see `Store.optimise`.

    A segment that would stay alone is left out, unless it hides documents.
    """
    groups: list[list[SegmentRow]] = []
    room = 0
    for row in sorted(segments, key=lambda row: row.number):
        if row.live > room:
            groups.append([])
            room = max(most, row.live)
        groups[-1].append(row)
        room -= row.live
    return [[row.number for row in group] for group in groups if len(group) > 1 or group[0].deleted]


class _Source(NamedTuple):
    """One segment to be merged: which documents stay, where their rows are, and where they go."""

    segment: OpenSegment
    live: NDArray[np.uint32]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]


def merge_segments(folder: Path, meta: Meta, number: int, segments: Sequence[OpenSegment]) -> Merge:
    """Write what can be found of these segments to one new file, which no catalog names yet.

    The same segments give the same bytes. At most the vectors of the new segment, those of one of the old ones and what
    the engine's writer needs are in memory at a time.
    """
    ids, sources = _order(segments)
    indptr = np.zeros(len(ids) + 1, dtype=np.int64)
    for source in sources:
        indptr[source.places[source.live] + 1] = np.diff(source.starts)[source.live]
    np.cumsum(indptr, out=indptr)
    batch = _gather(meta, ids, indptr, sources)
    row = write_segment(folder, number, batch)
    return Merge(row, ids, {source.segment.row.number: source.places for source in sources})


def _order(segments: Sequence[OpenSegment]) -> tuple[list[str], list[_Source]]:
    lives = [segment.live() for segment in segments]
    found = [id for segment, live in zip(segments, lives, strict=True) for id in segment.ids(live)]
    order = np.array(sorted(range(len(found)), key=found.__getitem__), dtype=np.int64)
    ranks = np.empty(len(found), dtype=np.int64)
    ranks[order] = np.arange(len(found))
    sources, start = [], 0
    for segment, live in zip(segments, lives, strict=True):
        places = np.full(segment.row.documents, -1, dtype=np.int64)
        places[live] = ranks[start : start + len(live)]
        sources.append(_Source(segment, live, segment.file.rows()[0], places))
        start += len(live)
    return [found[place] for place in order.tolist()], sources


def _gather(meta: Meta, ids: list[str], indptr: NDArray[np.int64], sources: Sequence[_Source]) -> Batch:
    n_entries = int(indptr[-1])
    terms = np.empty(n_entries, dtype=np.int32)
    impacts: NDArray[np.unsignedinteger[Any]]
    impacts = np.empty(n_entries, dtype=np.uint16 if meta.options.is_wide else np.uint8)
    weights = np.empty(n_entries, dtype=np.float16) if meta.options.keep_weights else None
    for source in sources:
        starts, source_terms, source_impacts = source.segment.file.rows()
        source_weights = None if weights is None else source.segment.file.weights()
        for first in range(0, len(source.live), ROWS_AT_A_TIME):
            live = source.live[first : first + ROWS_AT_A_TIME]
            counts = np.diff(starts)[live]
            within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            read = np.repeat(starts[live], counts) + within
            written = np.repeat(indptr[source.places[live]], counts) + within
            terms[written] = source_terms[read]
            impacts[written] = source_impacts[read]
            if weights is not None and source_weights is not None:
                weights[written] = source_weights[read]
    return Batch(meta, ids, Impacts(indptr, terms, impacts), weights)
