"""What a weight of a file becomes: as it stands, or the number that another tool would have made of it.

naver's export writes round(100 w), Pyserini's encoders round(w / 5 * 256). Anserini reads the whole part of what
stands in a document's file, pyterrier-pisa takes the whole part of 100 w of documents and queries. The FeatureField of
Lucene, behind OpenSearch's rank_features and Elasticsearch's sparse_vector, keeps nine significant bits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ConfigError

__all__ = ["Round", "Rounding"]

_NINE_BITS = np.uint32(0xFFFF8000)


class Round(StrEnum):
    """How a weight is rounded."""

    none = "none"
    nearest = "nearest"
    down = "down"
    up = "up"
    nine_bits = "nine-bits"


@dataclass(frozen=True, slots=True)
class Rounding:
    """Weight times `times`, in double precision, and then rounded.

    Attributes:
        times: What weights are multiplied with.
        round: To the nearest whole number (of two equally near ones the even, as Python and numpy do), down, up, to
            nine significant bits by cutting off the rest, or not at all.
    """

    times: float = 1.0
    round: Round = Round.none

    def __post_init__(self) -> None:
        if not (math.isfinite(self.times) and self.times > 0):
            raise ConfigError(f"weights cannot be multiplied with {self.times}: give a positive number.")

    def apply(self, weights: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give the rounded weights, of the same shape."""
        scaled = weights * self.times
        if self.round is Round.nine_bits:
            return (scaled.astype(np.float32).view(np.uint32) & _NINE_BITS).view(np.float32)
        whole = {Round.nearest: np.rint, Round.down: np.floor, Round.up: np.ceil}.get(self.round)
        return (scaled if whole is None else whole(scaled)).astype(np.float32)
