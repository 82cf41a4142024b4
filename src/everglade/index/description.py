"""What an index holds, in figures."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

from everglade.index.options import IndexOptions
from everglade.index.snapshot import Snapshot
from everglade.index.values import Calibration

__all__ = ["IndexInfo"]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """What an index holds.

    Attributes:
        documents: Documents that can be found.
        deleted: Deleted and replaced documents whose vectors still take space.
        segments: Segment files.
        postings: Postings in the segment files, those of deleted documents included.
        size_bytes: Size of the segment files; the catalog, with the texts, comes on top.
        bytes_per_posting: The one divided by the other.
        n_terms: Size of the vocabulary.
        impact_scale: What weights are multiplied with to become impacts; None until the first weight comes.
        clipped_weights: Weights so far that were too heavy for the scale and count as the heaviest it has.
        dropped_weights: Weights so far that were too light for the scale and count as nothing.
        replaced_in_batch: Documents so far that a later one of the same commit replaced.
        generation: Commits so far that changed documents.
        model: Path and fingerprint of the model, or None.
        options: What was chosen when the index was made, see `IndexOptions`.
        calibration: How approximate searches reach a recall, where `calibrate` has measured it; None where not.
    """

    documents: int
    deleted: int
    segments: int
    postings: int
    size_bytes: int
    bytes_per_posting: float
    n_terms: int
    impact_scale: float | None
    clipped_weights: int
    dropped_weights: int
    replaced_in_batch: int
    generation: int
    model: dict[str, Any] | None
    options: IndexOptions
    calibration: Calibration | None

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Describe one state of an index."""
        meta, rows = snapshot.meta, [segment.row for segment in snapshot.segments]
        postings, size_bytes = sum(row.postings for row in rows), sum(row.size_bytes for row in rows)
        return cls(
            documents=len(snapshot),
            deleted=sum(row.deleted for row in rows),
            segments=len(rows),
            postings=postings,
            size_bytes=size_bytes,
            bytes_per_posting=size_bytes / max(postings, 1),
            n_terms=meta.n_terms,
            impact_scale=meta.impact_scale,
            clipped_weights=meta.clipped_weights,
            dropped_weights=meta.dropped_weights,
            replaced_in_batch=meta.replaced_in_batch,
            generation=meta.generation,
            model=meta.model,
            options=meta.options,
            calibration=meta.calibration,
        )

    def to_dict(self) -> dict[str, Any]:
        """Give the same as plain JSON values."""
        return asdict(self)
