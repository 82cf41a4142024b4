"""Which part of a long text a step sees: a window of it, or two spans that do not overlap."""

from __future__ import annotations

import numpy as np

__all__ = ["draw_spans", "draw_window"]


def draw_window(n_tokens: int, longest: int, random: np.random.Generator) -> range:
    """Give the places of a window of a text: all of it, or `longest` tokens from anywhere in it."""
    length = min(n_tokens, longest)
    first = int(random.integers(n_tokens - length + 1))
    return range(first, first + length)


def draw_spans(n_tokens: int, shortest: int, longest: int, random: np.random.Generator) -> tuple[range, range]:
    """Give the places of two spans of a text that share no token (coCondenser, arXiv 2108.05540, section 3.2).

    Each is between half and all of the longest that leaves room for another, but never below `shortest`; what is left
    over falls before, between and after them. Every pair of places that their lengths allow is as likely as another.

    Args:
        n_tokens: tokens of the text, at least 2 * shortest.
        shortest: fewest tokens of a span.
        longest: most tokens of a span.
        random: decides everything.
    """
    most = min(longest, n_tokens // 2)
    fewest = min(most, max(shortest, most // 2))
    first_length, second_length = random.integers(fewest, most + 1, size=2).tolist()
    free = n_tokens - first_length - second_length
    # Of the pairs (a, b) with a <= b <= free each is drawn as often: as two different ones of free + 2 places.
    before, after = sorted(random.choice(free + 2, size=2, replace=False).tolist())
    second = first_length + after - 1
    return range(before, before + first_length), range(second, second + second_length)
