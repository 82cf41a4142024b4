"""Long documents: passages that are encoded each by itself, and the largest weight of a term in any of them.

The vector of a document is the element-wise maximum of its passages' vectors ("representation max pooling", Nguyen,
MacAvaney and Yates, arXiv 2305.18494). Where positions are pooled by their maximum it is the maximum over all positions
of the document, each read within its passage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from everglade.model.settings import SpladeSettings
    from everglade.model.tokens import Ids, TokenReader

__all__ = [
    "TokenRows",
    "check_passages",
    "max_over_passages",
    "merge_passages",
    "pad_texts",
    "present_passages",
    "read_texts",
    "read_windows",
]

_WINDOW_ROWS = 4096  # texts, or passages, that are tokenised and sorted by length together
_FEWEST_TEXTS = 64  # of which that is still done, however many passages they have


class TokenRows(NamedTuple):
    """The token ids of some texts, special tokens included."""

    rows: list[Ids]
    """One row for each text, or for each passage of each text."""
    owners: NDArray[np.int64] | None
    """Which text each row belongs to, ascending; None where each text is one row."""


def read_texts(
    reader: TokenReader, settings: SpladeSettings, texts: Sequence[str], side: str, max_length: int | None = None
) -> TokenRows:
    """Read texts as the settings say; only documents are read as passages, and only where there may be several.

    `max_length` replaces the length in the settings.
    """
    if side == "query":
        return TokenRows(reader.read(texts, max_length or settings.max_query_length, settings.query_prefix), None)
    length, prefix = max_length or settings.max_document_length, settings.document_prefix
    if settings.passages == 1:
        return TokenRows(reader.read(texts, length, prefix), None)
    found = reader.read_passages(texts, length, prefix, passages=settings.passages, overlap=settings.passage_overlap)
    owners = np.repeat(np.arange(len(found)), [len(passages) for passages in found])
    return TokenRows([row for passages in found for row in passages], owners)


def read_windows(reader: TokenReader, settings: SpladeSettings, texts: Sequence[str], side: str) -> Iterator[TokenRows]:
    """Read many texts, so many at a time that their rows stay few."""
    size = min(_WINDOW_ROWS, max(_FEWEST_TEXTS, _WINDOW_ROWS // settings.passages))
    for start in range(0, len(texts), size):
        yield read_texts(reader, settings, texts[start : start + size], side)


def check_passages(reader: TokenReader, settings: SpladeSettings) -> None:
    """Refuse settings whose passages have no room for a token that their neighbour lacks.

    Raises:
        ConfigError: if there is none.
    """
    if settings.passages > 1:
        reader.require_room(settings.max_document_length, settings.document_prefix, settings.passage_overlap)


def pad_texts(
    reader: TokenReader, rows: Sequence[Ids], owners: NDArray[np.int64] | None, device: torch.device
) -> dict[str, Tensor]:
    """Give `input_ids` and `attention_mask` of texts, shape (B, L), or (B, M, L) where each may own several rows.

    M is the most rows of a text; where another has fewer, all is masked.
    """
    padded = reader.pad(rows)
    input_ids, attention_mask = padded if owners is None else (_by_owner(part, owners) for part in padded)
    return {
        "input_ids": torch.from_numpy(input_ids).to(device),
        "attention_mask": torch.from_numpy(attention_mask).to(device),
    }


def _by_owner(rows: NDArray[np.int64], owners: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.bincount(owners)
    places = np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    padded = np.zeros((len(counts), max(counts, default=1), rows.shape[1]), dtype=np.int64)
    padded[owners, places] = rows
    return padded


def present_passages(attention_mask: Tensor) -> Tensor:
    """Say which of the M passages a text has, (B, M), from a mask of shape (B, M, L); its first is always there."""
    present = (attention_mask != 0).any(dim=2)
    present[:, 0] = True
    return present


def max_over_passages(weights: Tensor, present: Tensor) -> Tensor:
    """Give the largest weight of each term in any passage of a text, shape (B, V), differentiable.

    The gradient goes to the passage that won; of equal weights the first wins.

    Args:
        weights: (P, V) weights of the passages that are there, text by text.
        present: (B, M), which they are, from `present_passages`; P of them.
    """
    if present.shape[1] == 1:
        return weights
    rows = present.flatten().cumsum(0).view_as(present) - 1  # (B, M)
    with torch.no_grad():
        best = weights[rows[:, 0]]  # (B, V)
        winners = rows[:, :1].repeat(1, weights.shape[1])  # (B, V)
        for place in range(1, present.shape[1]):
            texts = present[:, place].nonzero().squeeze(1)
            row = rows[texts, place]
            # What is not a number wins, so that it is not lost from the loss.
            better = (weights[row] > best[texts]) | weights[row].isnan()
            best[texts] = torch.where(better, weights[row], best[texts])
            winners[texts] = torch.where(better, row[:, None], winners[texts])
    return weights.gather(0, winners)


def merge_passages(matrix: SparseMatrix, owners: NDArray[np.int64]) -> SparseMatrix:
    """Give one row for each text: of each term the largest weight in any of the rows that the text owns."""
    n_texts = int(owners[-1]) + 1 if len(owners) else 0
    key = np.repeat(owners, np.diff(matrix.indptr)) * matrix.n_terms + matrix.terms
    order = np.argsort(key, kind="stable")
    key = key[order]
    firsts = np.flatnonzero(np.diff(key, prepend=-1))
    weights = np.maximum.reduceat(matrix.weights[order], firsts) if len(firsts) else matrix.weights
    counts = np.bincount(key[firsts] // matrix.n_terms, minlength=n_texts)
    return SparseMatrix(np.cumsum([0, *counts]), key[firsts] % matrix.n_terms, weights, matrix.n_terms)
