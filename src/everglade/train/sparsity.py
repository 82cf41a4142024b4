"""How sparse the vectors of a run are: counters, and everything that remembers batches in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from everglade.train.alarms import Alarms
from everglade.train.lambdas import Lambdas
from everglade.train.penalties import Penalties

if TYPE_CHECKING:
    from torch import Tensor

    from everglade.train.config import TrainConfig

__all__ = ["Activity", "Sparsity", "measure_activity"]


class Activity(NamedTuple):
    """How many terms the vectors of one batch use: means per vector, and the share of vectors without any term."""

    query_terms: float
    document_terms: float
    empty_queries: float
    empty_documents: float
    flops: float
    """Mean number of terms that a query shares with a document of another query: the FLOPS metric of this batch."""


def measure_activity(queries: Tensor, documents: Tensor) -> Activity:
    """Count active terms in query vectors (B, V) and document vectors (B * n, V), each query's n together.

    The FLOPS metric, sum_j p_j(q) p_j(d) (Formal et al., arXiv 2107.05720), is that of a random query and a random
    document, so a query's own documents are left out; with one query there are no others.
    """
    active_q, active_d = queries > 0, documents > 0
    query_counts = active_q.sum(dim=1).double()  # (B,)
    document_counts = active_d.sum(dim=1).double()  # (B * n,)
    n = len(documents) // len(queries)
    shared = active_q.sum(dim=0).double() @ active_d.sum(dim=0).double()
    pairs = len(queries) * len(documents)
    if len(queries) > 1:
        own = sum((active_q & active_d[place::n]).sum() for place in range(n))
        shared, pairs = shared - own, pairs - len(documents)
    return Activity(
        query_terms=query_counts.mean().item(),
        document_terms=document_counts.mean().item(),
        empty_queries=(query_counts == 0).double().mean().item(),
        empty_documents=(document_counts == 0).double().mean().item(),
        flops=shared.item() / pairs,
    )


class Sparsity:
    """What decides the penalty of each step and watches over the vectors; its state is part of a checkpoint.

    Args:
        config: the settings.
        n_terms: V.
        idf: (V,) inverse document frequencies, which `idf_flops` needs.
    """

    def __init__(self, config: TrainConfig, n_terms: int, idf: Tensor | None = None) -> None:
        self.penalties = Penalties(config, n_terms, idf)
        self.lambdas = Lambdas(config)
        self.alarms = Alarms(config, n_terms)

    def tensors(self) -> dict[str, Tensor]:
        """Give the arrays that a checkpoint must hold."""
        parts = {
            "penalties": self.penalties.tensors(),
            "lambdas": self.lambdas.tensors(),
            "alarms": self.alarms.tensors(),
        }
        return {f"{name}/{key}": value for name, part in parts.items() for key, value in part.items()}

    def state(self) -> dict[str, Any]:
        """Give the numbers that a checkpoint must hold, as JSON values."""
        return {"lambdas": self.lambdas.state(), "alarms": self.alarms.state()}

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from what a checkpoint held."""

        def own(name: str) -> dict[str, Tensor]:
            return {key.partition("/")[2]: value for key, value in tensors.items() if key.startswith(f"{name}/")}

        self.penalties.load(own("penalties"))
        self.lambdas.load(own("lambdas"), state["lambdas"])
        self.alarms.load(own("alarms"), state["alarms"])
