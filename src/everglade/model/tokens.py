"""From texts to the padded token ids that a model is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from everglade.errors import ConfigError, InputError, ModelError

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
        self._cutters: dict[int | None, Tokenizer] = {}
        self._prefixes: dict[str, Ids] = {}
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
        ids = [
            np.array(encoding.ids if self._is_filled(encoding, text) else [], dtype=np.int64)
            for encoding, text in zip(self._encode(texts, prefix, max_length), texts, strict=True)
        ]
        return [self._repeat(row) for row in ids] if self._echo else ids

    def read_passages(
        self, texts: Sequence[str], max_length: int, prefix: str = "", *, passages: int, overlap: int = 0
    ) -> list[list[Ids]]:
        """Give the token ids of each text's passages, at least one: the text that `read` would cut, read further.

        A text is tokenised once. The passage at its beginning has prefix and text tokenised together, so a text that
        fits is what `read` gives; each other passage has the prefix's own tokens and the same special tokens around it.
        Where texts are cut from the left, passages are counted from the end, and all have the prefix, which `read`
        would cut off. A text without a token of its own is one passage without ids.

        Args:
            texts: The texts.
            max_length: Tokens of a passage, special tokens and prefix included.
            prefix: Put before each text, and so before each passage.
            passages: Most passages of a text; what lies beyond is cut.
            overlap: Tokens that neighbouring passages share.

        Raises:
            InputError: if a text is not a string, or holds half of a surrogate pair.
            ConfigError: if a passage would hold no token that its neighbour does not.
        """
        head = self._read_prefix(prefix)
        room = self.require_room(max_length, prefix, overlap)
        found = []
        for encoding, text in zip(self._encode(texts, prefix, None), texts, strict=True):
            rows = [np.array([], dtype=np.int64)]
            if self._is_filled(encoding, text):
                rows = self._cut_passages(np.array(encoding.ids, dtype=np.int64), head, room, overlap)[:passages]
            found.append([self._repeat(row) for row in rows] if self._echo else rows)
        return found

    def require_room(self, max_length: int, prefix: str, overlap: int) -> int:
        """Give the tokens of a passage that are left to the text; it does not depend on the text.

        Raises:
            ConfigError: if they are all shared with the neighbour.
        """
        room = max_length - self.before - len(self._read_prefix(prefix)) - self.after
        if room <= overlap:
            raise ConfigError(
                f"passage_overlap is {overlap}, but of the {max_length} tokens of a passage special tokens and prefix "
                f"leave {max(room, 0)} to the text, and one at least must be new. Use a smaller overlap or a longer "
                f"max_document_length."
            )
        return room

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

    def _read_prefix(self, prefix: str) -> Ids:
        """Give the prefix's own tokens; a space at its end goes with the word that follows."""
        if prefix not in self._prefixes:
            ids = self._encode([""], prefix.rstrip(" "), None)[0].ids
            self._prefixes[prefix] = np.array(ids[self.before : len(ids) - self.after], dtype=np.int64)
        return self._prefixes[prefix]

    def _cut_passages(self, ids: Ids, head: Ids, room: int, overlap: int) -> list[Ids]:
        """Cut a text's tokens, with special tokens and prefix, into passages of `room` tokens behind `head`."""
        begin, end = self.before + len(head), len(ids) - self.after
        opening = np.concatenate([ids[: self.before], head])
        rows = []
        for span in _cut_windows(end - begin, room, room - overlap, from_end=self._truncation_side == "left"):
            first, last = begin + span.start, min(begin + span.stop, end)
            # Prefix and first word may have become one token, which only the beginning itself holds.
            row = [ids[:last]] if span.start == 0 else [opening, ids[first:last]]
            rows.append(np.concatenate([*row, ids[end:]]))
        return rows

    def _encode(self, texts: Sequence[str], prefix: str, max_length: int | None) -> list[Encoding]:
        for row, text in enumerate(texts):
            if not isinstance(text, str):
                raise InputError(f"text {row} is of type {type(text).__name__}, not a string")
        cutter = self._cutters.get(max_length) or self._add_cutter(max_length)
        prefixed = [prefix + text for text in texts]
        try:
            return list(cutter.encode_batch_fast(prefixed, add_special_tokens=self._with_special_tokens))
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"a text cannot be read as Unicode: {error}") from error

    def _is_filled(self, encoding: Encoding, text: str) -> bool:
        return len(encoding) > self.before + self.after and bool(text.strip())

    def _add_cutter(self, max_length: int | None) -> Tokenizer:
        cutter: Tokenizer = Tokenizer.from_str(self._tokenizer.to_str())
        cutter.no_padding()
        if max_length is None:
            cutter.no_truncation()
        else:
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


def _cut_windows(n: int, size: int, stride: int, *, from_end: bool) -> list[slice]:
    """Give windows over n tokens, each `stride` after the one before, until the last token is in one."""
    n = max(0, n)  # a prefix may have more tokens by itself than together with the text
    starts = range(0, max(1, n - (size - stride)), stride)
    if from_end:
        return [slice(max(0, n - start - size), n - start) for start in starts]
    return [slice(start, start + size) for start in starts]
