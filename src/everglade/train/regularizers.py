"""What it should cost to search: one penalty on a batch of vectors for each function."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["flops"]


def flops(weights: Tensor) -> Tensor:
    """FLOPS penalty: the sum over terms of the squared mean weight, sum_j (mean_b |w_bj|)^2.

    A smooth stand-in for the mean number of multiplications when scoring; it asks for posting lists of equal length,
    not only for fewer postings. Source: Paria et al. (arXiv 2004.05665), as used by Formal et al. (arXiv 2107.05720).
    It depends on the batch size (a smaller batch is penalised more), so it must see the whole batch of an optimiser
    step, over all micro-batches and processes; the loop sees to that.

    Args:
        weights: (B, V), one vector a row.

    Returns:
        A scalar; 0 for an empty batch.
    """
    if len(weights) == 0:
        return weights.sum()
    return weights.abs().mean(dim=0).square().sum()
