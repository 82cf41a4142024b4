"""What passes between the catalog and the rest of the index: settings, rows of its tables, and commits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ConfigError
from everglade.index.options import IndexOptions

__all__ = ["ADVICE", "Calibration", "CalibrationRow", "Change", "DocumentRow", "Merge", "Meta", "SegmentRow", "State"]

ADVICE = "Restore it from a backup, or build the index again."
"""What to do about damage, at the end of an error."""

TIE_RULE = "higher score first; equal scores by document id, ascending by UTF-8 bytes"


class CalibrationRow(NamedTuple):
    """What reaches a recall: for searches of up to `k` hits, scan `mass` of each query, complete `candidates` x k.

    `mass` is None where only the exact search reaches it. `measured` is the mean recall over the queries that did not
    choose the row.
    """

    k: int
    recall: float
    mass: float | None
    candidates: int
    measured: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How approximate searches reach a recall on this index.

    Attributes:
        documents: Documents in the index when it was measured.
        queries: Queries it was measured with, half of them to choose and half to measure.
        given: Whether these were real queries rather than made from documents.
        rows: One for each k and recall.
    """

    documents: int
    queries: int
    given: bool
    rows: tuple[CalibrationRow, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what JSON made of a calibration.

        Raises:
            ValueError: if it is none.
        """
        if not isinstance(value, Mapping) or not isinstance(value["rows"], list):
            raise ValueError(f"the calibration is {value!r}: it must be an object with a list of rows")
        counts, given = (value["documents"], value["queries"]), value["given"]
        if type(given) is not bool or not all(type(count) is int and count >= 0 for count in counts):
            raise ValueError(
                f"a calibration counts documents and queries {counts}, and says {given!r} of who gave them"
            )
        return cls(*counts, given, tuple(_calibration_row(row) for row in value["rows"]))


def _calibration_row(values: object) -> CalibrationRow:
    if not isinstance(values, list) or len(values) != len(CalibrationRow._fields):
        raise ValueError(f"{values!r} is no row of a calibration: {', '.join(CalibrationRow._fields)}")
    row = CalibrationRow(*values)
    for name in ("k", "candidates"):
        count = getattr(row, name)
        if type(count) is not int or count < 1:
            raise ValueError(
                f"a row of the calibration has the {name} {count!r}: it must be a whole number of at least 1"
            )
    for name in ("recall", "mass", "measured"):
        share = getattr(row, name)
        # Only the exact search has no mass.
        if not (name == "mass" and share is None) and not (type(share) in (int, float) and 0 <= share <= 1):
            raise ValueError(f"a row of the calibration has the {name} {share!r}: it must be a number from 0 to 1")
    if row.mass == 0:
        raise ValueError("a row of the calibration has the mass 0, so it scans nothing")
    return row


@dataclass(frozen=True, slots=True)
class Meta:
    """What an index says of itself.

    `impact_scale` is None until the first commit that holds a weight. `generation` counts the commits that changed
    documents, `revision` those that left them alone: merges and calibrations. `weight_error` is the most by which a
    kept weight exceeds what its impact says.
    """

    uuid: str
    n_terms: int
    impact_scale: float | None = None
    model: dict[str, Any] | None = None
    tie_rule: str = TIE_RULE
    generation: int = 0
    next_segment: int = 1
    clipped_weights: int = 0
    dropped_weights: int = 0
    replaced_in_batch: int = 0
    revision: int = 0
    options: IndexOptions = IndexOptions()
    weight_error: float = 0.0
    calibration: Calibration | None = None

    @property
    def version(self) -> tuple[int, int]:
        """What tells committed states apart."""
        return self.generation, self.revision

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Read what JSON made of it; keys that a newer Everglade added are passed over.

        Raises:
            TypeError: if a value has the wrong type, or one is missing.
            ValueError: if a value cannot be.
        """
        known = {column.name for column in fields(cls)}
        given = {key: value for key, value in values.items() if key in known}
        try:
            if "options" in given:
                given["options"] = IndexOptions(**given["options"])
        except ConfigError as error:
            raise ValueError(str(error)) from error
        if given.get("calibration") is not None:
            try:
                given["calibration"] = Calibration.from_json(given["calibration"])
            except KeyError as error:
                raise ValueError(f"the calibration lacks {error}") from error
        meta = cls(**given)
        if not meta._has_the_right_types():
            raise ValueError(f"it holds values that cannot be: {meta}")
        return meta

    def _has_the_right_types(self) -> bool:
        counts = [getattr(self, name) for name in _COUNTS]
        scale = self.impact_scale
        error = self.weight_error
        return (
            isinstance(self.uuid, str)
            and re.fullmatch("[0-9a-f]{32}", self.uuid) is not None
            and all(type(count) is int and count >= 0 for count in counts)
            and (scale is None or (isinstance(scale, int | float) and 0 < scale < float("inf")))
            and (isinstance(error, int | float) and math.isfinite(error) and error >= 0)
            and (self.model is None or isinstance(self.model, dict))
        )


_COUNTS = (
    "n_terms",
    "generation",
    "next_segment",
    "clipped_weights",
    "dropped_weights",
    "replaced_in_batch",
    "revision",
)


class SegmentRow(NamedTuple):
    """One segment file as the catalog knows it.

    `entries` counts the entries of its vectors, `postings` those that pruning left, `deleted` its hidden documents.
    """

    number: int
    name: str
    documents: int
    postings: int
    entries: int
    size_bytes: int
    crc32c: int
    deleted: int = 0

    @property
    def live(self) -> int:
        """Documents that can be found."""
        return self.documents - self.deleted


class DocumentRow(NamedTuple):
    """One document and the place of its vector; `metadata` is JSON text."""

    id: str
    segment: int
    local: int
    title: str
    text: str
    metadata: str | None


@dataclass(frozen=True, eq=False, slots=True)
class State:
    """One committed state.

    Attributes:
        meta: What the index says of itself.
        segments: Its segments, by number.
        hidden: The hidden locals, for each segment whose count the caller did not know.
        file: Device and inode of the catalog: another one knows nothing of what was read before.
        matching: Where a filter was asked for: the locals it lets through, for each segment asked about.
    """

    meta: Meta
    segments: tuple[SegmentRow, ...]
    hidden: dict[int, NDArray[np.int64]]
    file: tuple[int, int]
    matching: dict[int, NDArray[np.int64]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Change:
    """One commit: documents named in `gone` are hidden first, then `segments` and `documents` are added."""

    meta: Meta
    gone: Sequence[str]
    segments: Sequence[SegmentRow] = ()
    documents: Sequence[DocumentRow] = field(default_factory=list)


@dataclass(frozen=True, eq=False, slots=True)
class Merge:
    """One commit that puts `segment` in the place of others.

    Attributes:
        segment: The segment that holds the documents now.
        ids: Its ids, by local number.
        places: For each segment that goes, by number: the new local of each of its documents, -1 where it is left out.
    """

    segment: SegmentRow
    ids: Sequence[str]
    places: Mapping[int, NDArray[np.int64]]
