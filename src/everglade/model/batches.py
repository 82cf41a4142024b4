"""Which texts are encoded together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["plan_batches"]


def plan_batches(lengths: Sequence[int], batch_tokens: int, batch_rows: int) -> list[NDArray[np.int64]]:
    """Group texts of similar length, the longest first.

    Args:
        lengths: Tokens of each text.
        batch_tokens: A batch holds at most that many tokens, padding included, but always at least one text.
        batch_rows: A batch holds at most that many texts.

    Returns:
        For each batch the places of its texts in `lengths`; every place occurs once.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    batches = []
    start = 0
    while start < len(order):
        longest = max(1, lengths[order[start]])
        size = max(1, min(batch_rows, batch_tokens // longest))
        batches.append(order[start : start + size])
        start += size
    return batches
