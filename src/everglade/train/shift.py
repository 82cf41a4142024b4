"""Calibration of the logit shift: backbones whose logits start positive get vectors that start sparse."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from everglade.distill.examples import TrainingSet
    from everglade.model.splade import Splade

__all__ = ["calibrate_shift", "sample_texts"]

_TEXTS = 32
_HALVINGS = 30
_CLOSE = 0.01
"""A mean within this share of what is wanted is near enough."""


def calibrate_shift(model: Splade, texts: Sequence[str], terms: int) -> float:
    """Find the `logit_shift` with which documents use `terms` terms on average, and leave it in `model.settings`.

    The logits of RoBERTa and ModernBERT are nearly all positive before training, so that every vector is dense; a
    constant subtracted from all of them (SPARSEUP takes 15) makes them start sparse. Fewer terms at a higher shift, so
    it is found by halving an interval. The shift is saved with the model.

    Args:
        model: the model; its documents' encoder is measured as it is, dropout off.
        texts: a sample of documents, at least one.
        terms: mean number of active terms wanted, between 1 and the size of the vocabulary.
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
    model.settings = replace(settings, logit_shift=shift)
    model.train(was_training)
    return shift


def sample_texts(training_set: TrainingSet) -> list[str]:
    """Give the positive documents of up to 32 examples at even distances."""
    places = np.unique(np.linspace(0, len(training_set.examples) - 1, _TEXTS).astype(np.int64))
    return [training_set.documents[training_set.examples[int(place)].positive] for place in places]
