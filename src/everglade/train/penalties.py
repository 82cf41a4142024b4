"""The penalties of a run: which one either side has, and what they remember of the batches before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from everglade.train.regularizers import df_flops, flops, idf_flops, idf_weights, l1, only_dense

if TYPE_CHECKING:
    from torch import Tensor

    from everglade.distill.examples import TrainingSet
    from everglade.model.splade import Splade
    from everglade.train.config import TrainConfig

__all__ = ["Penalties", "count_idf"]

_RUNNING_STEPS = 100
"""Steps that a running document frequency looks back; the paper refreshes its estimate as often."""
_IDF_DOCUMENTS = 20_000


class Penalties:
    """Either side's penalty of a batch.

    The running document frequencies of DF-FLOPS are means over the batches so far, and later exponential means over
    about the last 100: whole batches, so that accumulation and processes change nothing.

    Args:
        config: the settings.
        n_terms: V.
        idf: (V,) inverse document frequencies, which `idf_flops` needs.
    """

    def __init__(self, config: TrainConfig, n_terms: int, idf: Tensor | None = None) -> None:
        self._config = config
        self._idf = idf
        self._batches = torch.zeros(1, dtype=torch.int64)
        self._shares = {
            side: torch.zeros(n_terms, dtype=torch.float64)
            for side, kind in (("query", config.regularizer_q), ("document", config.regularizer_d))
            if kind == "df_flops"
        }

    def observe(self, queries: Tensor, documents: Tensor) -> None:
        """Take note of a batch's active terms, before its penalties: queries (B, V), documents (B * n, V)."""
        self._batches += 1
        weight = 1 / min(int(self._batches), _RUNNING_STEPS)
        for side, vectors in (("query", queries), ("document", documents)):
            if side in self._shares:
                share = (vectors.detach() > 0).double().mean(dim=0)
                self._shares[side] = self._shares[side].to(share.device).lerp(share, weight)

    def of_queries(self, queries: Tensor) -> Tensor:
        """Give the penalty on query vectors, (B, V): a scalar."""
        return self._penalty(queries, "query", self._config.regularizer_q, self._config.threshold_q)

    def of_documents(self, positives: Tensor, negatives: Tensor) -> Tensor:
        """Give the penalty on document vectors, (B, V) and (B * (n - 1), V): a scalar.

        It is the mean of that of the positives and that of the negatives, each a batch of its own, as in the paper's
        code; without negatives it is that of the positives.
        """
        kind, threshold = self._config.regularizer_d, self._config.threshold_d
        own = self._penalty(positives, "document", kind, threshold)
        return (own + self._penalty(negatives, "document", kind, threshold)) / 2 if len(negatives) else own

    def _penalty(self, weights: Tensor, side: str, kind: str, threshold: int) -> Tensor:
        weights = only_dense(weights, threshold)
        match kind:
            case "l1":
                return l1(weights)
            case "df_flops":
                return df_flops(weights, self._shares[side], self._config.df_alpha, self._config.df_beta)
            case "idf_flops":
                assert self._idf is not None, "the loop counts document frequencies before it begins"
                return idf_flops(weights, self._idf.to(weights.device))
        return flops(weights)

    def tensors(self) -> dict[str, Tensor]:
        """Give what a checkpoint must hold."""
        return {"batches": self._batches, **{f"{side}_shares": shares for side, shares in self._shares.items()}}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what a checkpoint held."""
        self._batches = tensors["batches"].clone()
        self._shares = {side: tensors[f"{side}_shares"].clone() for side in self._shares}


def count_idf(training_set: TrainingSet, model: Splade) -> Tensor:
    """Give the inverse document frequency of each term, shape (V,), from tokens of the training set's documents.

    Counted in the positive documents of up to 20,000 examples at even distances: the same for the same examples, and
    bounded in time. Terms that stand for no token of these documents count as the rarest.
    """
    examples = training_set.examples
    places = np.unique(np.linspace(0, len(examples) - 1, _IDF_DOCUMENTS).astype(np.int64))
    ids = list(dict.fromkeys(examples[int(place)].positive for place in places))
    counts = torch.zeros(model.n_terms, dtype=torch.int64)
    for start in range(0, len(ids), 256):
        texts = [training_set.documents[document_id] for document_id in ids[start : start + 256]]
        tokens = model.tokenize(texts, "document")
        for row, mask in zip(tokens["input_ids"], tokens["attention_mask"], strict=True):
            counts[row[mask.bool()].unique().cpu()] += 1
    return idf_weights(counts, len(ids))
