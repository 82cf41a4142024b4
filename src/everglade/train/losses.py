"""What the scores of a batch should be: one ranking loss for each function.

Scores are dot products. Column 0 of a (B, n) score matrix is the query's positive, the others are its own negatives.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["infonce", "margin_mse"]


def infonce(student: Tensor, in_batch: Tensor | None = None, relevant: Tensor | None = None) -> Tensor:
    """InfoNCE with in-batch positives and each query's own hard negatives.

    The mean over queries of -log softmax at the positive, where the softmax runs over the query's positive, the
    positives of the other queries of the batch, and the query's own negatives; the negatives of other queries take no
    part, and there is no temperature. Source: van den Oord et al. (arXiv 1807.03748), in the form SPLADE v2 trains with
    (Formal et al., arXiv 2109.10086, equation 3).

    Args:
        student: (B, n) scores; column 0 the positive, columns 1 to n - 1 the query's own negatives.
        in_batch: (B, B) scores of query i against the positive of query j. Its diagonal is not used. None: only the
            query's own documents compete, which for n = 2 is the pairwise negative log likelihood.
        relevant: (B, B) bool, true where the positive of query j is known to be relevant to query i too; those are not
            negatives and are left out. None: nothing is known, as in the paper. The diagonal is not used.

    Returns:
        A scalar.
    """
    import torch

    if in_batch is None:
        return -torch.log_softmax(student, dim=1)[:, 0].mean()
    left_out = torch.eye(len(in_batch), dtype=torch.bool, device=in_batch.device)
    if relevant is not None:
        left_out = left_out | relevant
    others = in_batch.masked_fill(left_out, float("-inf"))  # (B, B)
    return -torch.log_softmax(torch.cat([student, others], dim=1), dim=1)[:, 0].mean()


def margin_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """MarginMSE: the student's margins between positive and negative should be the teacher's.

    The mean over queries and negatives of ((s_0 - s_j) - (t_0 - t_j))^2. Source: Hofstätter et al.
    (arXiv 2010.02666), equation 4.

    Args:
        student: (B, n) scores, column 0 the positive, n at least 2.
        teacher: (B, n) scores of the same documents.

    Returns:
        A scalar.
    """
    margins = student[:, :1] - student[:, 1:]  # (B, n - 1)
    wanted = teacher[:, :1] - teacher[:, 1:]  # (B, n - 1)
    return (margins - wanted).square().mean()
