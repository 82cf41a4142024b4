"""Calibration of the logit shift: backbones whose logits start positive get vectors that start sparse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from everglade.errors import ConfigError
from everglade.train.machine import from_main

if TYPE_CHECKING:
    from accelerate import Accelerator

    from everglade.distill.examples import TrainingSet
    from everglade.model.splade import Splade
    from everglade.train.config import TrainConfig

__all__ = ["calibrate_shift", "sample_texts", "shift_logits"]

_TEXTS = 32
_HALVINGS = 30
_CLOSE = 0.01
"""A mean within this share of what is wanted is near enough."""
_TOO_FAR = 0.2
"""A mean further away than this share of what is wanted is refused."""


def shift_logits(
    config: TrainConfig, model: Splade, training_set: TrainingSet, state: dict[str, Any], accelerator: Accelerator
) -> None:
    """Calibrate the model's logit shift for `start_terms` and note it in the state, or take that of the state."""
    if config.start_terms is None:
        return
    if state["logit_shift"] is None:
        found = calibrate_shift(model, sample_texts(training_set), config.start_terms)
        # Processes that round differently would train models that differ.
        state["logit_shift"] = from_main(accelerator, found)
    model.settings = replace(model.settings, logit_shift=state["logit_shift"])


def calibrate_shift(model: Splade, texts: Sequence[str], terms: int) -> float:
    """Find the `logit_shift` with which documents use `terms` terms on average, and leave it in `model.settings`.

    The logits of RoBERTa and ModernBERT are nearly all positive before training, so that every vector is dense; a
    constant subtracted from all of them (SPARSEUP takes 15) makes them start sparse. Fewer terms at a higher shift, so
    it is found by halving an interval. The shift is saved with the model.

    Args:
        model: the model; its documents' encoder is measured as it is, dropout off.
        texts: a sample of documents, at least one.
        terms: mean number of active terms wanted, between 1 and the size of the vocabulary.

    Raises:
        ConfigError: if no shift comes near; the settings are then as before.
    """
    settings, was_training = model.settings, model.training
    tokens = [model.tokenize(texts[start : start + 8], "document") for start in range(0, len(texts), 8)]

    def count(shift: float) -> float:
        model.settings = replace(settings, logit_shift=shift)
        return sum(float((model(**part, side="document") > 0).sum()) for part in tokens) / len(texts)

    low = high = shift = settings.logit_shift
    model.eval()
    with torch.no_grad():
        found = count(shift)
        reach = 1.0
        while found > terms and count(high) > terms and math.isfinite(high):
            low, high, reach = high, high + reach, reach * 2
        while found < terms and count(low) < terms and reach < 1e6:
            low, high, reach = low - reach, low, reach * 2
        for _ in range(_HALVINGS):
            if abs(found / terms - 1) <= _CLOSE:
                break
            shift = (low + high) / 2
            found = count(shift)
            low, high = (shift, high) if found > terms else (low, shift)
    model.train(was_training)
    model.settings = settings
    if abs(found / terms - 1) > _TOO_FAR:
        raise ConfigError(
            f"start_terms is {terms}, but no logit_shift gives it: the nearest found gives {found:g} terms a document "
            f"(vocabulary {model.n_terms}, max_document_terms {settings.max_document_terms}, position_terms "
            f"{settings.position_terms}). Ask for a number in reach, or change the model's settings."
        )
    model.settings = replace(settings, logit_shift=shift)
    return shift


def sample_texts(training_set: TrainingSet) -> list[str]:
    """Give the positive documents of up to 32 examples at even distances."""
    places = np.unique(np.linspace(0, len(training_set.examples) - 1, _TEXTS).astype(np.int64))
    return [training_set.documents[training_set.examples[int(place)].positive] for place in places]
