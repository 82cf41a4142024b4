"""Static pruning: which entries of the vectors become postings.

Document-centric, term-centric and agnostic pruning as in arXiv 2304.12702. The vectors stay whole in the rows, and the
best documents by the postings are scored by them: the two steps of arXiv 2404.13357.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from everglade.index.options import parse_prune
from everglade.reference import Impacts

__all__ = ["keep_postings"]


def keep_postings(rule: str, impacts: Impacts, impact_scale: float) -> NDArray[np.bool_]:
    """Say which entries of `impacts` become postings, bool (nnz,).

    Of equal impacts the smaller term stays in a document, and the document that comes first in a posting list. Under
    "term" a term keeps at least one posting, under "document" a document; otherwise either may lose all of its own, and
    a document without postings is found by searches of whole vectors only. "threshold" compares rounded impacts: a
    weight within half a step of the scale from it may fall on either side.

    Args:
        rule: See `parse_prune`.
        impacts: Rows with ascending terms, as they go into one segment: "term" looks at its posting lists.
        impact_scale: What weights were multiplied with.
    """
    kind, value = parse_prune(rule)
    if kind == "threshold":
        return impacts.impacts >= value * impact_scale
    if kind == "document":
        return _heaviest_of_documents(impacts, int(value))
    return _heaviest_of_terms(impacts, value)


def _heaviest_of_documents(impacts: Impacts, most: int) -> NDArray[np.bool_]:
    counts = np.diff(impacts.indptr)
    rows = np.repeat(np.arange(len(counts)), counts)
    lightness = np.iinfo(impacts.impacts.dtype).max - impacts.impacts
    order = np.lexsort((lightness, rows))  # stable: of equal ones the smaller term comes first
    kept = np.zeros(len(order), dtype=bool)
    kept[order[np.arange(len(order)) - impacts.indptr[rows] < most]] = True
    return kept


def _heaviest_of_terms(impacts: Impacts, share: float) -> NDArray[np.bool_]:
    lightness = np.iinfo(impacts.impacts.dtype).max - impacts.impacts
    order = np.lexsort((lightness, impacts.terms))  # stable: of equal ones the earlier document comes first
    counts = np.bincount(impacts.terms)
    starts = np.cumsum(counts) - counts
    terms = impacts.terms[order]
    kept = np.zeros(len(order), dtype=bool)
    kept[order[np.arange(len(order)) - starts[terms] < np.ceil(share * counts - 1e-9)[terms]]] = True
    return kept
