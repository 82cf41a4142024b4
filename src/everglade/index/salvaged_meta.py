"""What a repaired index says of itself: what its catalog still says, and what its segment files know better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from everglade.errors import CorruptIndex, IndexFolderError
from everglade.index.options import IndexOptions, parse_prune
from everglade.index.salvage import Salvage, WholeSegment
from everglade.index.segments import weight_error
from everglade.index.values import ADVICE, Meta

__all__ = ["recover_meta"]


def recover_meta(
    folder: Path,
    salvage: Salvage,
    segments: Sequence[WholeSegment],
    impact_scale: float | None,
    prune: str | None,
) -> tuple[Meta, list[str]]:
    """Put together what an index says of itself, with remarks on what is not as it was.

    What all segments know, they know: which index they are of, the size of the vocabulary, and their own form. The
    impact scale and the rule of pruning are in no segment, and are asked for if the catalog has lost them. The bound on
    the weights' errors is measured again. The model, the counts and the calibration are gone with their rows.

    Args:
        folder: The index folder.
        salvage: What can be read of its catalog.
        segments: Segment files that are whole; those of another index than most are passed over.
        impact_scale: The impact scale, if the caller knows it.
        prune: The rule of pruning, if the caller knows it.

    Raises:
        IndexFolderError: if one of the two is needed, or nothing can be read at all.
    """
    remarks: list[str] = []
    values = salvage.values
    gone = [column.name for column in fields(Meta) if column.name not in values]
    if not segments and {"uuid", "n_terms", "options"} & set(gone):
        raise IndexFolderError(f"{folder}: neither the catalog nor any segment can be read. {ADVICE}")
    uuid = _uuid(salvage, segments)
    own = [segment for segment in segments if segment.file.uuid.hex() == uuid]
    facts = _facts(folder, values, own, prune) if own else {}
    for key, value in ({"uuid": uuid} | facts).items():
        if key not in values:
            remarks.append(f"The catalog has lost its {key}: it is {value}, by the segments.")
        elif values[key] != value:
            remarks.append(f"The catalog gave {values[key]} as its {key}: it is {value}, by the segments.")
    found = values | {"uuid": uuid} | facts
    if "impact_scale" in gone:
        found["impact_scale"] = _given_scale(folder, own, impact_scale)
    if "weight_error" in gone and found["options"]["keep_weights"]:
        scale = found["impact_scale"] or 1.0
        errors = [weight_error(file.weights(), file.rows()[2], scale) for file, _, _ in own]
        found["weight_error"] = max(errors, default=0.0)
    lost = sorted(set(gone) - {"uuid", "n_terms", "options", "impact_scale", "weight_error", "revision", "tie_rule"})
    if lost:
        remarks.append(f"Gone from the catalog, and as in a new index now: {', '.join(lost)}.")
    try:
        return Meta.from_json(found), remarks
    except (TypeError, ValueError) as error:
        raise CorruptIndex(
            folder, None, f"what is left of its catalog cannot be understood: {error}. {ADVICE}"
        ) from error


def _uuid(salvage: Salvage, segments: Sequence[WholeSegment]) -> str:
    """Say which index this is: as the catalog says, unless it names by their seals files that know it better."""
    uuids = [segment.file.uuid.hex() for segment in segments]
    said = salvage.values.get("uuid")
    seals = {(row.number, row.crc32c) for row in salvage.segments or []}
    sealed = any((segment.row.number, segment.row.crc32c) in seals for segment in segments)
    if said is not None and (said in uuids or not sealed):
        return str(said)
    return max(sorted(set(uuids)), key=uuids.count)


def _facts(folder: Path, values: dict[str, Any], segments: Sequence[WholeSegment], prune: str | None) -> dict[str, Any]:
    """Give what segments know of their index, but for its name."""
    files = [segment.file for segment in segments]
    sizes = [file.n_terms for file in files]
    known = dict(values.get("options") or asdict(IndexOptions()))
    forms = [(16 if file.is_wide else 8, file.has_rows, file.has_weights) for file in files]
    bits, rows, weights = max(sorted(set(forms)), key=forms.count)
    options = known | {"impact_bits": bits, "rows": rows, "keep_weights": weights}
    if any(file.is_pruned for file in files) and not known["prune"]:
        if prune is None:
            raise IndexFolderError(
                f"{folder}: the catalog has lost by which rule postings were pruned, and no segment holds it. Give the "
                f"one that `everglade info` showed, or that the index was made with: --prune."
            )
        parse_prune(prune)
        options["prune"] = prune
    return {"n_terms": max(sorted(set(sizes)), key=sizes.count), "options": options}


def _given_scale(folder: Path, segments: Sequence[WholeSegment], impact_scale: float | None) -> float | None:
    if not any(segment.row.entries for segment in segments):
        return None
    if impact_scale is None or not 0 < impact_scale < np.inf:
        raise IndexFolderError(
            f"{folder}: the catalog has lost the impact scale, and no segment holds it. Give the one that "
            f"`everglade info` showed, or that an index made the same way has: --impact-scale."
        )
    return float(impact_scale)
