"""What must be so before a run starts, and while it runs: examples, lengths, targets in reach, finite numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from everglade.errors import ConfigError
from everglade.model.lengths import BOTH, check_lengths

if TYPE_CHECKING:
    from torch import nn

    from everglade.distill.examples import TrainingSet
    from everglade.model.settings import SpladeSettings
    from everglade.model.splade import Splade
    from everglade.train.config import TrainConfig

__all__ = ["require_examples", "require_finite", "require_reachable", "trained_settings"]

_SIDES = {
    "target_query_terms": ("query",),
    "target_doc_terms": ("document",),
    "target_flops": ("query", "document"),
    "start_terms": ("document",),
}


def require_examples(config: TrainConfig, training_set: TrainingSet) -> None:
    """Make sure that the examples have what the loss needs; raises InputError."""
    if config.needs_teacher:
        training_set.require_scores()
    if config.negatives_per_query:
        training_set.require_negatives()


def trained_settings(config: TrainConfig, model: Splade) -> SpladeSettings:
    """Give the settings that the model is validated and saved with: its own, with the lengths of `config`.

    Raises:
        ConfigError: if a length is more than the model has positions for.
    """
    documents = config.saved_document_length or config.max_document_length
    settings = replace(model.settings, max_query_length=config.max_query_length, max_document_length=documents)
    if config.max_document_length > documents:
        raise ConfigError(
            f"max_document_length is {config.max_document_length} and saved_document_length {documents}: the model "
            f"would be trained on words that it does not read afterwards. Make the second at least as large."
        )
    check_lengths(settings, model.mlm, model.name, BOTH if model.query_encoder is None else ("max_document_length",))
    return settings


def require_reachable(config: TrainConfig, model: Splade) -> None:
    """Refuse numbers of terms that no training can bring about.

    Raises:
        ConfigError: if nothing of a steered side is trained, or its vectors cannot have so many terms.
    """
    queries = model.mlm if model.query_encoder is None else model.query_encoder
    encoders: dict[str, nn.Module] = {"query": queries, "document": model.mlm}
    for name, sides in _SIDES.items():
        wanted = getattr(config, name)
        for side in sides if wanted is not None else ():
            if not any(parameter.requires_grad for parameter in encoders[side].parameters()):
                raise ConfigError(f"{name} is given, but nothing that encodes {side} texts is trained: leave it out.")
            kept = model.settings.terms_kept(side)
            if kept is not None and wanted > kept:
                raise ConfigError(f"{name} is {wanted:g}, but the model keeps {kept} terms (max_{side}_terms).")
            if wanted >= model.n_terms:
                raise ConfigError(
                    f"{name} is {wanted:g}, but the vocabulary of {model.name} has {model.n_terms} terms."
                )


def require_finite(what: str, value: float, step: int) -> None:
    """Stop a run before its weights are spoilt; raises ConfigError."""
    if not math.isfinite(value):
        raise ConfigError(
            f"the {what} is {value} at step {step}. Begin again in a new folder with a smaller learning_rate, a longer "
            f"warmup_steps or precision = 'no'."
        )
