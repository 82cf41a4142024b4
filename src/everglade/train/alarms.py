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

_SIDES = ("query", "document")
_ANEW = "Begin again in a new folder with"


class Alarms:
    """Counts log steps in a row at which something was wrong, and stops the run when there are `collapse_patience`.

    Empty: no vector of a side has a term, and no gradient can flow any more. Dense: after the lambdas' ramp the mean
    vector of a side still uses more than `max_density` of the vocabulary. Narrow: all vectors since the last log step
    together used less than `min_vocabulary` of it. Each side has counts of its own.
    """

    def __init__(self, config: TrainConfig, n_terms: int) -> None:
        self._config = config
        self._seen = torch.zeros(n_terms, dtype=torch.bool)
        self._filled = torch.zeros(len(_SIDES), dtype=torch.bool)
        self._counts: dict[str, int] = {}

    def observe(self, queries: Tensor, documents: Tensor) -> None:
        """Take note of which terms a batch uses: queries (B, V), documents (N, V)."""
        used = torch.stack([(vectors.detach() > 0).any(dim=0) for vectors in (queries, documents)])  # (2, V)
        self._seen = self._seen.to(used.device) | used.any(dim=0)
        self._filled = self._filled.to(used.device) | used.any(dim=1)

    def check(self, step: int, activity: Activity) -> None:
        """Look at a log step's batch, and at the terms used since the last log step.

        Raises:
            ConfigError: if the vectors have collapsed; the message names the settings to change.
        """
        config, n_terms = self._config, len(self._seen)
        shares, counted = (activity.empty_queries, activity.empty_documents), activity[:2]
        used = self._seen.double().mean().item()
        self._seen = torch.zeros_like(self._seen)
        for side, share in zip(_SIDES, shares, strict=True):
            if self._rings(f"empty {side}", share == 1.0):
                raise ConfigError(
                    f"training has collapsed: every {side} vector was empty at {config.collapse_patience} log steps in "
                    f"a row. {_ANEW} {self._against_empty(side)}."
                )
        for side, terms in zip(_SIDES, counted, strict=True):
            if self._rings(f"dense {side}", terms > config.max_density * n_terms and step > config.lambda_ramp):
                raise ConfigError(
                    f"training does not get sparse: {side} vectors use {terms:.0f} of {n_terms} terms after the ramp. "
                    f"{_ANEW} {self._against_dense(side)}; or raise max_density ({config.max_density})."
                )
        if self._rings("narrow", used < config.min_vocabulary and max(shares) < 1.0):
            weaker = "larger targets" if config.has_target else "a tenth of lambda_q and lambda_d"
            raise ConfigError(
                f"training has collapsed: only {used:.2%} of the vocabulary was used since the last log step, so all "
                f"texts look alike. {_ANEW} a smaller learning_rate, {weaker}, or regularizer_d = 'l1'; or lower "
                f"min_vocabulary ({config.min_vocabulary})."
            )

    def _rings(self, name: str, is_wrong: bool) -> bool:
        self._counts[name] = self._counts.get(name, 0) + 1 if is_wrong else 0
        return self._counts[name] >= self._config.collapse_patience

    def _against_empty(self, side: str) -> str:
        if not self._filled[_SIDES.index(side)]:
            return "start_terms, such as 500, or another starting model: no vector of this run ever had a term"
        name, target, weight = self._weighing(side)
        if target is not None:
            pull = f"a larger {target}, a longer lambda_ramp_steps or "
        elif weight is None:
            pull = "another lambda_schedule or "
        else:
            pull = f"a tenth of {name}, a longer lambda_ramp_steps or " if weight else ""
        return f"{pull}a smaller learning_rate"

    def _against_dense(self, side: str) -> str:
        name, target, weight = self._weighing(side)
        if target is not None:
            pull = "a longer lambda_ramp_steps or more steps"
        elif weight is None:
            pull = "another lambda_schedule"
        else:
            stronger = f"ten times {name}" if weight else f"a {name} above 0"
            pull = f"{stronger}, or target_{'doc' if side == 'document' else side}_terms in its place"
        return f"{pull}, or with start_terms = 500 for a backbone whose logits start positive"

    def _weighing(self, side: str) -> tuple[str, str | None, float | None]:
        """Give the name of a side's lambda, the target that finds it, and its value; None if a schedule has it."""
        config, place = self._config, _SIDES.index(side)
        own = "target_query_terms" if side == "query" else "target_doc_terms"
        target = next((name for name in (own, "target_flops") if getattr(config, name) is not None), None)
        weight = config.lambdas[place] if config.lambda_schedule is None else None
        return f"lambda_{side[0]}", target, weight

    def tensors(self) -> dict[str, Tensor]:
        """Give the arrays that a checkpoint must hold."""
        return {"seen": self._seen, "filled": self._filled}

    def state(self) -> dict[str, Any]:
        """Give the numbers that a checkpoint must hold, as JSON values."""
        return dict(self._counts)

    def load(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Go on from what a checkpoint held."""
        self._seen, self._filled = tensors["seen"].bool(), tensors["filled"].bool()
        self._counts = dict(state)
