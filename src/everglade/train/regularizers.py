"""What it should cost to search: one penalty on a batch of vectors for each function.

All but `l1` depend on the batch size (a smaller batch is penalised more), so a penalty must see the whole batch of an
optimiser step, over all micro-batches and processes; the loop sees to that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["REGULARIZERS", "df_flops", "df_weights", "flops", "idf_flops", "idf_weights", "l1", "only_dense"]

REGULARIZERS = ("flops", "l1", "df_flops", "idf_flops")


def flops(weights: Tensor) -> Tensor:
    """FLOPS penalty: the sum over terms of the squared mean weight, sum_j (mean_b |w_bj|)^2.

    A smooth stand-in for the mean number of multiplications when scoring; it asks for posting lists of equal length,
    not only for fewer postings. Source: Paria et al. (arXiv 2004.05665), as used by Formal et al. (arXiv 2107.05720).

    Args:
        weights: (B, V), one vector a row.

    Returns:
        A scalar; 0 for an empty batch.
    """
    if len(weights) == 0:
        return weights.sum()
    return weights.abs().mean(dim=0).square().sum()


def l1(weights: Tensor) -> Tensor:
    """L1 penalty: the mean over vectors of the sum of weights, mean_b sum_j |w_bj|.

    It thins each vector for itself, whichever terms others use. Efficient SPLADE penalises queries with it (Lassance
    and Clinchant, arXiv 2207.03834).

    Args:
        weights: (B, V), one vector a row.

    Returns:
        A scalar; 0 for an empty batch.
    """
    if len(weights) == 0:
        return weights.sum()
    return weights.abs().sum(dim=1).mean()


def df_flops(weights: Tensor, shares: Tensor, alpha: float = 0.1, beta: float = 10.0) -> Tensor:
    """DF-FLOPS: FLOPS in which a term counts by how many documents have it, sum_j (v_j mean_b |w_bj|)^2.

    It takes away terms with long posting lists, and leaves rare ones alone. Source: Porco et al. (arXiv 2505.15070).

    Args:
        weights: (B, V), one vector a row.
        shares: (V,), the share of documents in which each term is active; no gradient flows into it.
        alpha: see `df_weights`.
        beta: see `df_weights`.

    Returns:
        A scalar; 0 for an empty batch.
    """
    return flops(weights * df_weights(shares, alpha, beta).to(weights.dtype))


def df_weights(shares: Tensor, alpha: float = 0.1, beta: float = 10.0) -> Tensor:
    """Give each term's factor v_j in DF-FLOPS, a generalised logistic of its document frequency, shape (V,).

    v(x) = 1 / (1 + (x^(log_alpha 2) - 1)^beta): 0 for a term no document has, 1/2 at x = alpha, 1 for a term that all
    have. `beta` is how steep it is there. Source: Porco et al. (arXiv 2505.15070), who give the form; the defaults of
    `alpha` and `beta` are Everglade's.

    Args:
        shares: (V,), between 0 and 1.
        alpha: share of documents at which a term counts half, between 0 and 1.
        beta: steepness, above 0.
    """
    shares = shares.detach().clamp(0, 1)
    # At a share of 0 the power is infinite, and so the factor 0, as it should be.
    return 1 / (1 + (shares ** (math.log(2) / math.log(alpha)) - 1).clamp_min(0) ** beta)


def idf_flops(weights: Tensor, idf: Tensor) -> Tensor:
    """IDF-aware FLOPS: FLOPS of weights divided by inverse document frequency, sum_j (mean_b |w_bj| / idf_j)^2.

    Rare, telling terms are penalised less than frequent ones. Source of the idea: Geng et al. (arXiv 2411.04403), where
    queries score with IDF weights: FLOPS of w beside scores of idf * w is this penalty on w' = idf * w.

    Args:
        weights: (B, V), one vector a row.
        idf: (V,), above 0.

    Returns:
        A scalar; 0 for an empty batch.
    """
    return flops(weights / idf.to(weights.dtype))


def idf_weights(counts: Tensor, n_documents: int) -> Tensor:
    """Give idf_j = 1 + ln((N + 1) / (df_j + 1)), shape (V,), from the document frequency of each term.

    It is 1 for a term that every document has, so `idf_flops` is never above `flops`, and finite for one that none has.
    """
    return 1 + ((n_documents + 1) / (counts.double() + 1)).log()


def only_dense(weights: Tensor, threshold: int) -> Tensor:
    """Set vectors with at most `threshold` active terms to zero: a penalty on the rest leaves them as they are.

    The l0 mask of Shen et al. (arXiv 2504.14839). The rows stay, so means are still over the whole batch.

    Args:
        weights: (B, V), one vector a row.
        threshold: active terms up to which a vector is sparse enough; 0 penalises all.
    """
    if threshold <= 0:
        return weights
    is_dense = (weights != 0).sum(dim=1, keepdim=True) > threshold  # (B, 1)
    return weights * is_dense
