"""Merging segments: which, and how several become one that holds what can still be found.

Segments of like size become one of the next tier, so that a document is written again about once for each factor of
eight that the index grows by, and the number of segments grows with the logarithm of the documents, until segments are
full. What is chosen follows from the catalog alone. Reasons: docs/decisions/0015-merges-and-filters.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade import _engine
from everglade.index.segments import Batch, OpenSegment, open_file, write_segment
from everglade.index.values import Merge, Meta, SegmentRow
from everglade.reference import Impacts

__all__ = ["MERGED_DOCUMENTS", "choose_merge", "group_segments", "merge_segments"]

TIER = 8
FIRST_TIER_DOCUMENTS = 1024
"""Segments up to this size times TIER are of one tier; smaller ones are never written again for their deletions."""
MERGED_DOCUMENTS = 2**19
MERGED_ENTRIES = 2**26
"""A merge makes no segment of more entries of vectors, nor of more documents; one of more than half is full."""
MAX_DELETED_SHARE = 0.3
REORDERED_DOCUMENTS = 65_536
"""Merged segments of so many documents stand in an order in which those that share terms are close together."""
ROWS_AT_A_TIME = 16_384
IDS_AT_A_TIME = 4096
"""Ids are sorted so many at a time: the interpreter's lock is held for it, and searches wait."""


def choose_merge(segments: Sequence[SegmentRow]) -> list[int]:
    """Choose segments, by number, that should become one now; an empty list if none should.

    The lowest tier that has TIER segments, or enough for a full one, gives all that fit into one. Else the segment with
    the greatest share of hidden documents is written anew, if that share is above MAX_DELETED_SHARE.
    """
    tiers: dict[int, list[SegmentRow]] = {}
    for row in segments:
        if not _are_full([row]):
            tiers.setdefault(_tier(row), []).append(row)
    for tier, rows in sorted(tiers.items()):
        chosen = _fitting(rows)
        if len(chosen) >= TIER and tier == 0:
            chosen = _growing(chosen)
        elif len(chosen) < TIER and not _are_full(chosen):
            continue
        if len(chosen) > 1:
            return sorted(row.number for row in chosen)
    worn = [row for row in segments if row.documents >= FIRST_TIER_DOCUMENTS and _worn(row) > MAX_DELETED_SHARE]
    return [max(worn, key=lambda row: (_worn(row), row.number)).number] if worn else []


def _tier(row: SegmentRow) -> int:
    tier, size = 0, FIRST_TIER_DOCUMENTS * TIER
    while row.live >= size:
        tier, size = tier + 1, size * TIER
    return tier


def _worn(row: SegmentRow) -> float:
    return row.deleted / max(row.documents, 1)


def _are_full(rows: Sequence[SegmentRow]) -> bool:
    """Tell whether these make, or are, a segment that is merged with no other."""
    documents, entries = sum(row.live for row in rows), sum(row.entries for row in rows)
    return 2 * documents > MERGED_DOCUMENTS or 2 * entries > MERGED_ENTRIES


def _fitting(rows: Sequence[SegmentRow]) -> list[SegmentRow]:
    """Choose those that fit into one segment, smaller ones first: if one does not fit, the others fill it."""
    chosen: list[SegmentRow] = []
    documents = entries = 0
    for row in sorted(rows, key=lambda row: (row.live, row.number)):
        if documents + row.live <= MERGED_DOCUMENTS and entries + row.entries <= MERGED_ENTRIES:
            documents, entries = documents + row.live, entries + row.entries
            chosen.append(row)
    return chosen


def _growing(rows: list[SegmentRow]) -> list[SegmentRow]:
    """Leave out the greatest while it has more documents than the rest: each that is merged is at least doubled."""
    documents = sum(row.live for row in rows)
    while rows and 2 * rows[-1].live > documents:
        documents -= rows[-1].live
        rows = rows[:-1]
    return rows


def find_unordered(meta: Meta, segments: Iterable[OpenSegment]) -> set[int]:
    """Give the numbers of the segments that a merge would put into another order, had it made them."""
    return {
        segment.row.number
        for segment in segments
        if meta.options.reorder != "never" and segment.row.live >= REORDERED_DOCUMENTS and not segment.file.is_reordered
    }


def group_segments(segments: Sequence[SegmentRow], most: int, unordered: Collection[int] = ()) -> list[list[int]]:
    """Put all segments into as few groups of up to `most` documents as their order allows; see `Store.optimise`.

    A segment that would stay alone is left out, unless it hides documents or is one of the `unordered`.
    """
    groups: list[list[SegmentRow]] = []
    room = 0
    for row in sorted(segments, key=lambda row: row.number):
        if row.live > room:
            groups.append([])
            room = max(most, row.live)
        groups[-1].append(row)
        room -= row.live
    return [
        [row.number for row in group]
        for group in groups
        if len(group) > 1 or group[0].deleted or group[0].number in unordered
    ]


class _Source(NamedTuple):
    """One segment to be merged: which documents stay, where their rows are, and where they go."""

    segment: OpenSegment
    live: NDArray[np.uint32]
    starts: NDArray[np.int64]
    places: NDArray[np.int64]


def merge_segments(folder: Path, meta: Meta, number: int, segments: Sequence[OpenSegment], threads: int = 1) -> Merge:
    """Write what can be found of these segments to one new file, which no catalog names yet.

    The same segments give the same bytes. At most the vectors of the new segment, those of one of the old ones and what
    the engine's writer needs are in memory at a time.

    Raises:
        CorruptIndex: if one of them is damaged: every byte is checked first, as the new file has checksums of its own.
    """
    checked = [
        segment._replace(file=open_file(folder / segment.row.name, segment.row, meta, verify=True))
        for segment in segments
    ]
    ids, sources = _order(checked)
    indptr = np.zeros(len(ids) + 1, dtype=np.int64)
    for source in sources:
        indptr[source.places[source.live] + 1] = np.diff(source.starts)[source.live]
    np.cumsum(indptr, out=indptr)
    batch = _gather(meta, ids, indptr, sources)
    places = {source.segment.row.number: source.places for source in sources}
    if meta.options.reorder == "never" or len(ids) < REORDERED_DOCUMENTS:
        return Merge(write_segment(folder, number, batch), ids, places)
    order = _engine.find_order(indptr, batch.impacts.terms, meta.n_terms, threads)
    row = write_segment(folder, number, batch, order)
    locals_ = np.empty(len(order), dtype=np.int64)
    locals_[order] = np.arange(len(order))
    moved = {gone: np.where(ranks < 0, -1, locals_[ranks]) for gone, ranks in places.items()}
    return Merge(row, [ids[rank] for rank in order.tolist()], moved)


def _order(segments: Sequence[OpenSegment]) -> tuple[list[str], list[_Source]]:
    """Put the ids of all documents that stay in order; give them, and the ranks of each segment's as their places."""
    lives = [segment.live() for segment in segments]
    runs = []
    start = 0
    for segment, live in zip(segments, lives, strict=True):
        runs += _sorted_runs(segment, live, start)
        start += len(live)
    ids, order = _merge_runs([run for run in runs if run.ids])
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[order] = np.arange(len(ids))
    sources, start = [], 0
    for segment, live in zip(segments, lives, strict=True):
        places = np.full(segment.row.documents, -1, dtype=np.int64)
        places[live] = ranks[start : start + len(live)]
        sources.append(_Source(segment, live, segment.file.rows()[0], places))
        start += len(live)
    return ids, sources


class _Run(NamedTuple):
    """Ids in ascending order, and where each came from, counted over all segments."""

    ids: list[str]
    origins: NDArray[np.int64]


def _sorted_runs(segment: OpenSegment, live: NDArray[np.uint32], start: int) -> list[_Run]:
    """Give the ids of a segment as one run, or if they are not in order as several short ones."""
    parts = []
    for first in range(0, len(live), IDS_AT_A_TIME):
        ids = segment.ids(live[first : first + IDS_AT_A_TIME])
        origins = np.arange(start + first, start + first + len(ids))
        parts.append(_sort(ids, origins) if segment.file.is_reordered else _Run(ids, origins))
    if segment.file.is_reordered or not parts:
        return parts
    return [_Run([id for part in parts for id in part.ids], np.concatenate([part.origins for part in parts]))]


def _sort(ids: list[str], origins: NDArray[np.int64]) -> _Run:
    order = sorted(range(len(ids)), key=ids.__getitem__)
    return _Run([ids[place] for place in order], origins[order])


def _merge_runs(runs: list[_Run]) -> tuple[list[str], NDArray[np.int64]]:
    """Merge runs, a piece of all of them at a time; give the ids in order and where each came from."""
    step = max(1, IDS_AT_A_TIME // max(len(runs), 1))
    bounds = sorted(id for run in runs for id in run.ids[step::step])[:: max(len(runs), 1)]
    ids: list[str] = []
    origins = [np.zeros(0, dtype=np.int64)]
    starts = [0] * len(runs)
    for bound in [*bounds, None]:
        stops = [len(run.ids) if bound is None else bisect_left(run.ids, bound, lo=start)
                 for run, start in zip(runs, starts, strict=True)]  # fmt: skip
        spans = [(run, slice(start, stop)) for run, start, stop in zip(runs, starts, stops, strict=True)]
        here = [id for run, span in spans for id in run.ids[span]]
        piece = _sort(here, np.concatenate([run.origins[span] for run, span in spans]) if spans else origins[0])
        ids += piece.ids
        origins.append(piece.origins)
        starts = stops
    return ids, np.concatenate(origins)


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
