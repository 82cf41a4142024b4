"""From texts to the padded token ids that a model is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from everglade.errors import InputError, ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

__all__ = ["Ids", "TokenReader"]

Ids = NDArray[np.int64]


class TokenReader:
    """Cuts and pads what a tokenizer gives, and may be used by several threads at once.

    It works on copies of the tokenizer, one for each length, because setting a length at every call (as transformers
    does) is not safe in threads.

    Args:
        tokenizer: The tokenizer.
        special_ids: The ids of its special tokens.
        padding: The id that fills rows up; it is always masked.
        truncation_side: From which end a long text is cut, "right" or "left".
        with_special_tokens: Whether to put the special tokens around the text ([CLS], [SEP], ...).
        echo: Whether to put the tokens of the text twice between them.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        special_ids: Iterable[int] = (),
        *,
        padding: int = 0,
        truncation_side: str = "right",
        with_special_tokens: bool = True,
        echo: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._cutters: dict[int, Tokenizer] = {}
        self.special_ids = sorted(set(special_ids))
        self._padding = padding
        self._truncation_side = truncation_side
        self._with_special_tokens = with_special_tokens
        self._echo = echo
        self.before, self.after = _frame(tokenizer) if with_special_tokens else (0, 0)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, n_terms: int, *, echo: bool = False) -> Self:
        """Make the reader of a transformers tokenizer for a model of that many terms.

        Raises:
            ModelError: if the tokenizer is not a fast one, or knows more tokens than the model has terms.
        """
        if not tokenizer.is_fast:
            raise ModelError(f"{type(tokenizer).__name__} is not a fast tokenizer: the model needs a tokenizer.json.")
        if len(tokenizer) > n_terms:
            raise ModelError(f"the tokenizer has {len(tokenizer)} tokens, the model {n_terms} terms: they do not fit.")
        return cls(
            tokenizer.backend_tokenizer,
            [int(i) for i in tokenizer.all_special_ids if i < n_terms],
            padding=0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id),
            truncation_side=tokenizer.truncation_side,
            echo=echo,
        )

    def read(self, texts: Sequence[str], max_length: int, prefix: str = "") -> list[Ids]:
        """Give the token ids of each text, special tokens included, at most `max_length` of them.

        A text without a token of its own gets no ids at all. An echoed text counts once towards `max_length`.

        Raises:
            InputError: if a text is not a string, or holds half of a surrogate pair.
        """
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {row} is of type {type(text).__name__}, not a string")
        cutter = self._cutters.get(max_length) or self._add_cutter(max_length)
        try:
            encodings = cutter.encode_batch_fast(
                [prefix + text for text in texts], add_special_tokens=self._with_special_tokens
            )
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"a text cannot be read as Unicode: {error}") from error
        bare = self.before + self.after
        ids = [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]
        filled = [row if len(row) > bare and text.strip() else row[:0] for row, text in zip(ids, texts, strict=True)]
        return [self._repeat(row) for row in filled] if self._echo else filled

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
        names = [self._tokenizer.id_to_token(i) for i in range(n_terms)]
        return [f"<term {i}>" if name is None else name for i, name in enumerate(names)]

    def _add_cutter(self, max_length: int) -> Tokenizer:
        cutter: Tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        cutter.no_padding()
        cutter.enable_truncation(max_length, direction=self._truncation_side)
        self._cutters[max_length] = cutter
        return cutter

    def _repeat(self, row: Ids) -> Ids:
        if not len(row):
            return row
        end = len(row) - self.after
        return np.concatenate([row[:end], row[self.before : end], row[end:]])


def _frame(tokenizer: Tokenizer) -> tuple[int, int]:
    """Say how many special tokens the tokenizer puts before a text and how many after it."""
    if not tokenizer.num_special_tokens_to_add(is_pair=False):
        return 0, 0
    added = tokenizer.encode("a").special_tokens_mask
    before = added.index(0) if 0 in added else len(added)
    return before, tokenizer.num_special_tokens_to_add(is_pair=False) - before
