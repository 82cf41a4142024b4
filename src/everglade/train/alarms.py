"""Collapse alarms: a run whose vectors are empty, dense, or all made of the same few terms stops with advice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

    from everglade.train.config import TrainConfig
    from everglade.train.sparsity import Activity

__all__ = ["Alarms"]


class Alarms:
    """Counts log steps in a row at which something was wrong, and stops the run when there are `collapse_patience`.

    Empty: no vector of a side has a term, and no gradient can flow any more. Dense: after the lambdas' ramp the mean
    vector of a side still uses more than `max_density` of the vocabulary. Narrow: all vectors since the last log step
    together used less than `min_vocabulary` of it.
    """

    def __init__(self, config: TrainConfig, n_terms: int) -> None:
        self._config = config
        self._seen = torch.zeros(n_terms, dtype=torch.bool)
        self._counts = {"empty": 0, "dense": 0, "narrow": 0}

    def observe(self, queries: Tensor, documents: Tensor) -> None:
        """Take note of which terms a batch uses: queries (B, V), documents (N, V)."""
        used = (queries.detach() > 0).any(dim=0) | (documents.detach() > 0).any(dim=0)
        self._seen = self._seen.to(used.device) | used

    def check(self, step: int, activity: Activity) -> None:
        """Look at a log step's batch, and at the terms used since the last log step.

        Raises:
            ConfigError: if the vectors have collapsed; the message names the settings to change.
        """
        config, n_terms = self._config, len(self._seen)
        counted = {"query": activity.query_terms, "document": activity.document_terms}
        empty = [
            side
            for side, share in (("query", activity.empty_queries), ("document", activity.empty_documents))
            if share == 1.0
        ]
        dense = [side for side, terms in counted.items() if terms > config.max_density * n_terms]
        used = self._seen.double().mean().item()
        self._seen = torch.zeros_like(self._seen)
        if self._rings("empty", bool(empty)):
            raise ConfigError(
                f"training has collapsed: every {empty[0]} vector was empty at {config.collapse_patience} log steps in "
                f"a row. Begin again in a new folder with a tenth of lambda_{empty[0][0]} or a larger target, a longer "
                f"lambda_ramp_steps or a smaller learning_rate."
            )
        if self._rings("dense", bool(dense) and step > config.lambda_ramp):
            raise ConfigError(
                f"training does not get sparse: {dense[0]} vectors use {counted[dense[0]]:.0f} of {n_terms} terms "
                f"after the ramp. Begin again in a new folder with ten times lambda_{dense[0][0]}, with target_"
                f"{'doc' if dense[0] == 'document' else 'query'}_terms, or with start_terms = 500 for a backbone whose "
                f"logits start positive; or raise max_density ({config.max_density})."
            )
        if self._rings("narrow", used < config.min_vocabulary and not empty):
            raise ConfigError(
                f"training has collapsed: only {used:.2%} of the vocabulary was used since the last log step, so all "
                f"texts look alike. Begin again in a new folder with a smaller learning_rate, a tenth of lambda_q and "
                f"lambda_d, or regularizer_d = 'l1'; or lower min_vocabulary ({config.min_vocabulary})."
            )

    def _rings(self, name: str, is_wrong: bool) -> bool:
        self._counts[name] = self._counts[name] + 1 if is_wrong else 0
        return self._counts[name] >= self._config.collapse_patience

    def tensors(self) -> dict[str, Tensor]:
        """Give the arrays that a checkpoint must hold."""
        return {"seen": self._seen}

    def state(self) -> dict[str, Any]:
        """Give the numbers that a checkpoint must hold, as JSON values."""
        return dict(self._counts)

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from what a checkpoint held."""
        self._seen = tensors["seen"].bool()
        self._counts = dict(state)
