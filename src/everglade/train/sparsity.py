"""How sparse the vectors should be, and how sparse they are: the lambda schedule, counters, and the collapse alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Activity", "check_collapse", "measure_activity", "ramp"]


def ramp(final: float, step: int, ramp_steps: int) -> float:
    """Give lambda at an optimiser step, rising quadratically: final * min(1, step / ramp_steps)^2.

    Source: Formal et al., SPLADE v2 (arXiv 2109.10086), section 3, after Paria et al. (arXiv 2004.05665). `step` counts
    optimiser steps from 1, whatever the accumulation and the number of processes. A `final` of 0 is 0 at every step.
    """
    if ramp_steps <= 0:
        return final
    return final * min(1.0, step / ramp_steps) ** 2


class Activity(NamedTuple):
    """How many terms the vectors of one batch use: means per vector, and the share of vectors without any term."""

    query_terms: float
    document_terms: float
    empty_queries: float
    empty_documents: float

    @property
    def is_collapsed(self) -> bool:
        """Whether one side has no term left in any vector."""
        return self.empty_queries == 1.0 or self.empty_documents == 1.0


def measure_activity(queries: Tensor, documents: Tensor) -> Activity:
    """Count active terms in query vectors (B, V) and document vectors (N, V)."""
    query_counts = (queries > 0).sum(dim=1).double()  # (B,)
    document_counts = (documents > 0).sum(dim=1).double()  # (N,)
    return Activity(
        query_terms=query_counts.mean().item(),
        document_terms=document_counts.mean().item(),
        empty_queries=(query_counts == 0).double().mean().item(),
        empty_documents=(document_counts == 0).double().mean().item(),
    )


def check_collapse(activity: Activity, empty_logs: int, patience: int) -> int:
    """Give the number of log steps in a row at which a side was all empty, this one included.

    Raises:
        ConfigError: when that number reaches `patience`: such a run does not recover, because no term is left through
            which a gradient could flow.
    """
    if not activity.is_collapsed:
        return 0
    if empty_logs + 1 >= patience:
        side = "query" if activity.empty_queries == 1.0 else "document"
        raise ConfigError(
            f"training has collapsed: every {side} vector was empty at {empty_logs + 1} log steps in a row. Begin "
            f"again in a new folder with a tenth of lambda_{side[0]}, a longer lambda_ramp_steps or a smaller "
            f"learning_rate."
        )
    return empty_logs + 1
