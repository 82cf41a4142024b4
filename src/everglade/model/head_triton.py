"""The largest logit of each term and its position on a GPU, without ever writing the logits out.

One program multiplies the positions of one text with a block of terms, tile by tile, and keeps only the maxima. The
backward pass is the one of `head`: it needs no logits.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["best_logits"]

_POSITIONS, _TERMS, _WIDTH = 64, 128, 64  # of a tile


def best_logits(hidden: Tensor, weight: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Give the largest of the logits h_i . E_j over the unmasked positions i, and i; both (B, V), float32 and int32.

    Of equal logits the first position counts. A text without unmasked positions gets -inf, a term with a logit that is
    no number NaN.

    Args:
        hidden: Shape (B, L, d), float32, float16 or bfloat16; products are summed in float32.
        weight: Shape (V, d), of the same type.
        attention_mask: Shape (B, L); positions where it is 0 do not take part.
    """
    n_texts, length, width = hidden.shape
    n_terms = weight.shape[0]
    best = torch.empty(n_texts, n_terms, dtype=torch.float32, device=hidden.device)
    positions = torch.empty(n_texts, n_terms, dtype=torch.int32, device=hidden.device)
    may_round = hidden.dtype == torch.float32 and torch.backends.cuda.matmul.allow_tf32
    _best_logits[(n_texts, triton.cdiv(n_terms, _TERMS))](
        hidden.contiguous(),
        weight.contiguous(),
        (attention_mask != 0).to(torch.int8).contiguous(),
        best,
        positions,
        length,
        n_terms,
        width,
        POSITIONS=_POSITIONS,
        TERMS=_TERMS,
        WIDTH=_WIDTH,
        PRECISION="tf32" if may_round else "ieee",
    )
    return best, positions


@triton.jit  # type: ignore[untyped-decorator]
def _best_logits(
    hidden: Any,  # noqa: ANN401
    weight: Any,  # noqa: ANN401
    mask: Any,  # noqa: ANN401
    best: Any,  # noqa: ANN401
    positions: Any,  # noqa: ANN401
    length: Any,  # noqa: ANN401
    n_terms: Any,  # noqa: ANN401
    width: Any,  # noqa: ANN401
    POSITIONS: tl.constexpr,
    TERMS: tl.constexpr,
    WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
) -> None:
    text = tl.program_id(0).to(tl.int64)
    terms = tl.program_id(1) * TERMS + tl.arange(0, TERMS)
    is_term = terms < n_terms
    rows = terms.to(tl.int64) * width
    largest = tl.full((TERMS,), float("-inf"), tl.float32)
    where = tl.zeros((TERMS,), tl.int32)
    foreign = tl.zeros((TERMS,), tl.int32)
    for first in range(0, length, POSITIONS):
        places = first + tl.arange(0, POSITIONS)
        present = places < length
        states = (text * length + places) * width
        logits = tl.zeros((POSITIONS, TERMS), tl.float32)
        for begin in range(0, width, WIDTH):
            columns = begin + tl.arange(0, WIDTH)
            inside = columns < width
            h = tl.load(hidden + states[:, None] + columns[None, :], present[:, None] & inside[None, :], 0.0)
            e = tl.load(weight + rows[None, :] + columns[:, None], is_term[None, :] & inside[:, None], 0.0)
            logits += tl.dot(h, e, input_precision=PRECISION)
        unmasked = tl.load(mask + text * length + places, present, 0) != 0
        logits = tl.where(unmasked[:, None], logits, float("-inf"))
        # A maximum may pass by what is no number.
        foreign = tl.maximum(foreign, tl.max((logits != logits).to(tl.int32), axis=0))
        tile_best, tile_where = tl.max(logits, axis=0, return_indices=True, return_indices_tie_break_left=True)
        where = tl.where(tile_best > largest, tile_where + first, where)
        largest = tl.maximum(largest, tile_best)
    largest = tl.where(foreign != 0, float("nan"), largest)
    tl.store(best + text * n_terms + terms, largest, is_term)
    tl.store(positions + text * n_terms + terms, where, is_term)
