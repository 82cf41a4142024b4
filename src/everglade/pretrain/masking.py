"""Which tokens are hidden from the model, and what stands in their place (BERT, arXiv 1810.04805, section 3.1)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.model.tokens import Ids

__all__ = ["Masked", "mask_tokens"]

_AS_MASK, _AS_RANDOM = 0.8, 0.9
"""Of the chosen tokens the first eight tenths become the mask, the ninth a random token, the last stays."""


class Masked(NamedTuple):
    """A row of tokens with some of them hidden."""

    ids: Ids
    """(L,) what the model reads."""
    places: Ids
    """(M,) which of them were chosen, ascending."""
    labels: Ids
    """(M,) what stood there."""


def mask_tokens(
    ids: Ids,
    words: Ids,
    share: float,
    mask_id: int,
    random_ids: Ids,
    random: np.random.Generator,
    *,
    whole_words: bool = False,
) -> Masked:
    """Choose a share of a row's tokens and hide them: 80 % behind the mask, 10 % behind a random token, 10 % not.

    The number chosen is `share` of the tokens that may be, rounded, and at least one; they are drawn without
    repetition. With `whole_words` words are drawn until there are as many tokens, so the last may be a few too many.

    Args:
        ids: (L,) token ids, special ones included.
        words: (L,) which word of the text each token belongs to, below 0 for special tokens, which are never chosen.
        share: between 0 and 1.
        mask_id: the mask token.
        random_ids: the tokens from which random ones are drawn.
        random: decides everything.
        whole_words: choose all tokens of a word or none.
    """
    own = np.flatnonzero(words >= 0)
    wanted = min(len(own), max(1, round(share * len(own))))
    # Without whole words each token is one.
    places = _draw_words(own, words[own] if whole_words else own, wanted, random)
    fate = random.random(len(places))
    drawn = random.choice(random_ids, len(places))
    hidden = ids.copy()
    hidden[places] = np.where(fate < _AS_MASK, mask_id, np.where(fate < _AS_RANDOM, drawn, ids[places]))
    return Masked(hidden, places, ids[places])


def _draw_words(own: NDArray[np.int64], words: Ids, wanted: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Give the places of words drawn until they have `wanted` tokens, ascending."""
    _, of_word, sizes = np.unique(words, return_inverse=True, return_counts=True)
    order = random.permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    return own[np.isin(of_word, order[before < wanted])]
