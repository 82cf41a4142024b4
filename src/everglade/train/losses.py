"""What the scores of a batch should be: one ranking loss for each function.

Scores are dot products. Column 0 of a (B, n) score matrix is the query's positive, the others are its own negatives, of
which there may be any number.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LOSSES", "TAUGHT", "infonce", "kl_divergence", "margin_mse", "pairwise_nll", "parse_objective", "rank_loss"]

LOSSES = ("infonce", "pairwise_nll", "margin_mse", "kl")
TAUGHT = ("margin_mse", "kl")
"""The losses that need a teacher's scores."""

_PART = re.compile(r"(?:(?P<weight>\d+\.?\d*(?:e-?\d+)?|\.\d+(?:e-?\d+)?)\s*(?:\*\s*|\s))?(?P<name>[a-z_]+)")


def infonce(
    student: Tensor, in_batch: Tensor | None = None, relevant: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """InfoNCE with in-batch positives and each query's own hard negatives.

    The mean over queries of -log softmax at the positive, where the softmax runs over the query's positive, the
    positives of the other queries of the batch, and the query's own negatives; the negatives of other queries take no
    part. Source: van den Oord et al. (arXiv 1807.03748), in the form SPLADE v2 trains with
    (Formal et al., arXiv 2109.10086, equation 3), which has no temperature: that is `temperature` = 1.

    Args:
        student: (B, n) scores; column 0 the positive, columns 1 to n - 1 the query's own negatives.
        in_batch: (B, B) scores of query i against the positive of query j. Its diagonal is not used. None: only the
            query's own documents compete.
        relevant: (B, B) bool, true where the positive of query j is known to be relevant to query i too; those are not
            negatives and are left out. None: nothing is known, as in the paper. The diagonal is not used.
        temperature: what scores are divided by.

    Returns:
        A scalar.
    """
    import torch

    if in_batch is None:
        return -torch.log_softmax(student / temperature, dim=1)[:, 0].mean()
    left_out = torch.eye(len(in_batch), dtype=torch.bool, device=in_batch.device)
    if relevant is not None:
        left_out = left_out | relevant
    others = in_batch.masked_fill(left_out, float("-inf"))  # (B, B)
    return -torch.log_softmax(torch.cat([student, others], dim=1) / temperature, dim=1)[:, 0].mean()


def pairwise_nll(student: Tensor, temperature: float = 1.0) -> Tensor:
    """Pairwise negative log likelihood: each negative against the positive alone.

    The mean over queries and negatives of -log(exp(s_0) / (exp(s_0) + exp(s_j))). Source: RankNet (Burges et al., 2005)
    with the positive always preferred; with one negative it is InfoNCE without in-batch negatives.

    Args:
        student: (B, n) scores, column 0 the positive, n at least 2.
        temperature: what scores are divided by.

    Returns:
        A scalar.
    """
    import torch

    return torch.nn.functional.softplus((student[:, 1:] - student[:, :1]) / temperature).mean()


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


def kl_divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of the softmax over a query's documents.

    The mean over queries of T^2 * sum_j p_j (log p_j - log q_j), p = softmax(teacher / T), q = softmax(student / T).
    The factor T^2 keeps gradients of one size as T grows (Hinton et al., arXiv 1503.02531, section 2), as
    sentence-transformers has it. Source for ranking: Lin et al. (arXiv 2010.11386); the main loss of SPLADE-v3
    (arXiv 2403.06789).

    Args:
        student: (B, n) scores, n at least 2; which column is the positive does not matter.
        teacher: (B, n) scores of the same documents.
        temperature: T.

    Returns:
        A scalar.
    """
    import torch

    ours = torch.log_softmax(student / temperature, dim=1)
    theirs = torch.log_softmax(teacher / temperature, dim=1)
    return (theirs.exp() * (theirs - ours)).sum(dim=1).mean() * temperature**2


def parse_objective(text: str) -> tuple[tuple[float, str], ...]:
    """Read a loss, or a weighted sum of losses such as SPLADE-v3's `kl + 0.05 margin_mse`, as (weight, name) pairs.

    A part is a name of `LOSSES`, or a number above 0 and a name with a space or `*` between them.

    Raises:
        ConfigError: if a part cannot be read, a loss is unknown or named twice.
    """
    parts = []
    for part in text.split("+"):
        found = _PART.fullmatch(part.strip())
        if found is None or found["name"] not in LOSSES:
            raise ConfigError(
                f"loss must be one of {', '.join(LOSSES)}, or a sum such as 'kl + 0.05 margin_mse': {part.strip()!r} "
                f"in {text!r} is neither a loss nor a number and a loss"
            )
        parts.append((float(found["weight"] or 1), found["name"]))
    names = [name for _, name in parts]
    if len(set(names)) != len(names):
        raise ConfigError(f"loss names a loss twice in {text!r}")
    if any(not 0 < weight < math.inf for weight, _ in parts):
        raise ConfigError(f"loss has a weight that is not above 0 in {text!r}")
    return tuple(parts)


def rank_loss(
    objective: tuple[tuple[float, str], ...],
    student: Tensor,
    in_batch: Tensor,
    relevant: Tensor,
    teacher: Tensor | None,
    temperature: float = 1.0,
) -> Tensor:
    """Give the weighted sum that an objective of `parse_objective` names; see each loss for the arguments."""
    import torch

    values = {
        "infonce": lambda: infonce(student, in_batch, relevant, temperature),
        "pairwise_nll": lambda: pairwise_nll(student, temperature),
        "margin_mse": lambda: margin_mse(student, _known(teacher)),
        "kl": lambda: kl_divergence(student, _known(teacher), temperature),
    }
    return torch.stack([weight * values[name]() for weight, name in objective]).sum()


def _known(teacher: Tensor | None) -> Tensor:
    assert teacher is not None, "the loop asks for teacher scores before it begins"
    return teacher
