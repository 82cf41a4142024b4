"""From texts to the padded token ids that a model is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from everglade.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["TokenReader"]

Ids = NDArray[np.int64]


class TokenReader:
    """Cuts and pads what a tokenizer gives, and may be used by several threads at once.

    It works on copies of the tokenizer, one for each length, because setting a length at every call (as transformers
    does) is not safe in threads.

    Raises:
        ModelError: if the tokenizer is not a fast one, or knows more tokens than the model has terms.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, n_terms: int) -> None:
        if not tokenizer.is_fast:
            raise ModelError(f"{type(tokenizer).__name__} is not a fast tokenizer: the model needs a tokenizer.json.")
        if len(tokenizer) > n_terms:
            raise ModelError(f"the tokenizer has {len(tokenizer)} tokens, the model {n_terms} terms: they do not fit.")
        self._tokenizer = tokenizer
        self._cutters: dict[int, Tokenizer] = {}
        self.special_ids = sorted({int(i) for i in tokenizer.all_special_ids if i < n_terms})
        self._padding = 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)

    def read(self, texts: Sequence[str], max_length: int, prefix: str = "") -> list[Ids]:
        """Give the token ids of each text, special tokens included, at most `max_length` of them.

        A text without a token of its own gets no ids at all.

        Raises:
            InputError: if a text is not a string, or holds half of a surrogate pair.
        """
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {row} is of type {type(text).__name__}, not a string")
        cutter = self._cutters.get(max_length) or self._add_cutter(max_length)
        try:
            encodings = cutter.encode_batch_fast([prefix + text for text in texts])
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"a text cannot be read as Unicode: {error}") from error
        bare = cutter.num_special_tokens_to_add(is_pair=False)
        ids = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        return [row if len(row) > bare and text.strip() else row[:0] for row, text in zip(ids, texts, strict=True)]

    def pad(self, ids: Sequence[Ids]) -> tuple[Ids, Ids]:
        """Give `input_ids` and `attention_mask`, shape (B, L) with L the longest row; padding comes last.

        L is at least 1, as no model takes texts of no length.
        """
        shape = (len(ids), max((len(row) for row in ids if len(row)), default=1))
        input_ids = np.full(shape, self._padding, dtype=np.int64)
        attention_mask = np.zeros(shape, dtype=np.int64)
        for i, row in enumerate(ids):
            input_ids[i, : len(row)] = row
            attention_mask[i, : len(row)] = 1
        return input_ids, attention_mask

    def term_names(self, n_terms: int) -> list[str]:
        """Give the string of each term. Terms the tokenizer does not know are called <term N>."""
        known = min(n_terms, len(self._tokenizer))
        names: list[str | None] = [*self._tokenizer.convert_ids_to_tokens(list(range(known)))]
        names += [None] * (n_terms - known)
        return [f"<term {i}>" if name is None else name for i, name in enumerate(names)]

    def _add_cutter(self, max_length: int) -> Tokenizer:
        cutter: Tokenizer = Tokenizer.from_str(self._tokenizer.backend_tokenizer.to_str())
        cutter.no_padding()
        cutter.enable_truncation(max_length, direction=self._tokenizer.truncation_side)
        self._cutters[max_length] = cutter
        return cutter
