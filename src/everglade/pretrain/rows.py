"""From texts to the rows of a step, tokens with some of them hidden: a pure function of the seed, the step and the row.

Slot s of step t holds the document that `train.batches.visits_at` sends there: every epoch visits each document once,
in an order of its own. One too short for the objective leaves its slot to the next that is long enough.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor

from everglade.distill.examples import is_drawn
from everglade.distill.values import StoredTexts
from everglade.errors import ConfigError, InputError, ModelError
from everglade.model.backbone import position_limit
from everglade.model.tokens import Ids, TokenReader
from everglade.pretrain.masking import Masked, mask_tokens
from everglade.pretrain.spans import draw_spans, draw_window
from everglade.train.batches import visits_at

if TYPE_CHECKING:
    from everglade.pretrain.config import PretrainConfig
    from everglade.pretrain.start import Start

__all__ = ["Rows", "RowReader", "Texts"]

_ROWS = 16
"""A stream of random numbers beside those of `train.batches`, which share the seed."""

_FIRST_AHEAD, _MOST_AHEAD = 4, 512
"""Texts that are read at once in search of one that is long enough."""


class Rows(NamedTuple):
    """Rows as the model reads them, R of them padded to the longest, and what is hidden in them."""

    input_ids: Tensor
    """(R, L) int64."""
    attention_mask: Tensor
    """(R, L) int64, 0 on padding."""
    places: Tensor
    """(M,) int64, where the chosen tokens are among the R * L."""
    labels: Tensor
    """(M,) int64, what stood there."""
    documents: Tensor
    """(R,) int64, which document each row is of."""


class Texts:
    """The texts of a run, some of them held out.

    Which are held out depends on the seed and a text's id (its place, for a sequence) alone.

    Raises:
        InputError: if no text is left to train on.
    """

    def __init__(self, texts: Sequence[str] | Mapping[str, str], config: PretrainConfig) -> None:
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of strings, or a mapping from id to text")
        self._texts = texts
        self._names = list(texts) if isinstance(texts, Mapping) else None
        names = (str(place) for place in range(len(texts))) if self._names is None else self._names
        held = np.array([is_drawn(name, config.held_out, config.seed) for name in names], dtype=bool)
        self.trained = np.flatnonzero(~held)
        """(n,) the places of the texts to train on."""
        self.held = np.flatnonzero(held)[: config.held_out_documents]
        """The places of the held-out texts that are looked at."""
        self.followers: dict[int, int] = {}
        """Of those that `RowReader` found too short, places in `trained`, the next long enough."""
        if not len(self.trained):
            raise InputError("there is no text to train on" if not len(texts) else "every text is held out")

    def __getitem__(self, place: int) -> str:
        return self._texts[place] if self._names is None else self._texts[self._names[place]]  # type: ignore[index, call-overload]

    @cached_property
    def digest(self) -> str:
        """A sha256 of all texts with their ids, in their order; of texts that stay in files the files are hashed."""
        if isinstance(self._texts, StoredTexts):
            return self._texts.digest()
        total = hashlib.sha256()
        for place in range(len(self._texts)):
            name = str(place) if self._names is None else self._names[place]
            text = self[place]
            total.update(f"{len(name)} {len(text)} ".encode() + (name + text).encode("utf-8", "surrogatepass"))
        return total.hexdigest()


class RowReader:
    """Reads texts into rows for one model.

    Raises:
        ConfigError: if rows would be longer than the model has positions for, or hold no token of a text.
        ModelError: if the tokenizer is not a fast one, or the objective wants a first token that it does not put there.
    """

    def __init__(self, start: Start, config: PretrainConfig) -> None:
        decoder = start.mlm.get_output_embeddings()  # type: ignore[no-untyped-call]
        self._padder = TokenReader.of(start.tokenizer, decoder.weight.shape[0])
        self._tokenizer: Tokenizer = Tokenizer.from_str(start.tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._config = config
        self._mask_id = int(start.tokenizer.mask_token_id)
        self._special = np.array(self._padder.special_ids, dtype=np.int64)
        self._random_ids = np.setdiff1d(np.arange(len(start.tokenizer)), self._special)
        framed = np.array(self._tokenizer.encode("a").ids, dtype=np.int64)
        before, after = self._padder.before, self._padder.after
        self._frame = framed[:before], framed[len(framed) - after :]
        self.longest = config.max_length - before - after
        """Most tokens of its own that a row can have."""
        self.fewest = 2 * config.min_span if config.objective == "cocondenser" else 1
        """Fewest tokens that a document must have."""
        limit = position_limit(start.mlm)
        if limit is not None and config.max_length > limit:
            raise ConfigError(f"max_length is {config.max_length}, but {start.name} has positions for {limit} tokens.")
        least = config.min_span if config.objective == "cocondenser" else 1
        if self.longest < least:
            raise ConfigError(
                f"max_length ({config.max_length}) leaves {self.longest} tokens beside the {before + after} special "
                f"ones, and a row needs {least}. Raise max_length."
            )
        if config.objective == "cocondenser" and not before:
            raise ModelError(
                f"the tokenizer of {start.name} puts no token before a text, and CoCondenser gathers a text there."
            )

    def batch(self, texts: Texts, step: int, slots: range) -> Rows:
        """Give the rows of some slots of a step, counted from 1.

        Raises:
            InputError: if a text is not a string of Unicode characters, or none is long enough.
        """
        visits = visits_at(step, len(texts.trained), self._config.batch_size, self._config.seed)
        visited = [visits[slot].example for slot in slots]
        read = self._read([texts[texts.trained[place]] for place in visited])
        rows, documents = [], []
        for slot, place, (ids, words) in zip(slots, visited, read, strict=True):
            if len(ids) < self.fewest:
                place = self._next_long_enough(texts, place)
                ((ids, words),) = self._read([texts[texts.trained[place]]])
            rows += self._draw(ids, words, step, slot)
            documents += [texts.trained[place]] * self._config.rows_per_document
        return self._pad(rows, documents)

    def held_out(self, texts: Texts, places: NDArray[np.int64]) -> Rows:
        """Give the rows of held-out documents, the same whenever asked; those too short have none."""
        rows, documents = [], []
        for place, (ids, words) in zip(places.tolist(), self._read([texts[place] for place in places]), strict=True):
            if len(ids) >= self.fewest:
                rows += self._draw(ids, words, 0, place)
                documents += [place] * self._config.rows_per_document
        return self._pad(rows, documents)

    def _read(self, texts: Sequence[str]) -> list[tuple[Ids, Ids]]:
        """Give the tokens of whole texts and the word of each, without the special ones around them."""
        for text in texts:
            if not isinstance(text, str):
                raise InputError(f"a text is of type {type(text).__name__}, not a string")
        try:
            encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise InputError(f"a text cannot be read as Unicode: {error}") from error
        found = []
        for encoding in encodings:
            ids = np.array(encoding.ids, dtype=np.int64)
            words = np.array([-1 if word is None else word for word in encoding.word_ids], dtype=np.int64)
            words[np.isin(ids, self._special)] = -1
            found.append((ids, words))
        return found

    def _next_long_enough(self, texts: Texts, place: int) -> int:
        """Give the next place in `texts.trained` with a text that is long enough; each is looked at once a run."""
        short, found, ahead, n = [place], texts.followers.get(place), _FIRST_AHEAD, len(texts.trained)
        while found is None and len(short) < n:
            others = [(short[-1] + further) % n for further in range(1, min(ahead, n - len(short)) + 1)]
            for other, (ids, _) in zip(others, self._read([texts[texts.trained[one]] for one in others]), strict=True):
                found = other if len(ids) >= self.fewest else texts.followers.get(other)
                if found is not None:
                    break
                short.append(other)
            ahead = min(2 * ahead, _MOST_AHEAD)
        if found is None:
            raise InputError(f"no text to train on has {self.fewest} tokens. Give longer texts, or a smaller min_span")
        texts.followers |= dict.fromkeys(short, found)
        return found

    def _draw(self, ids: Ids, words: Ids, step: int, slot: int) -> list[Masked]:
        """Give the row of a document, or its two: windows or spans, with tokens hidden."""
        config = self._config
        random = np.random.default_rng([config.seed, _ROWS, step, slot])
        if config.objective == "cocondenser":
            cuts = [*draw_spans(len(ids), config.min_span, self.longest, random)]
        else:
            cuts = [draw_window(len(ids), self.longest, random)]
        first, last = self._frame
        nowhere = np.full(len(first), -1), np.full(len(last), -1)
        return [
            mask_tokens(
                np.concatenate([first, ids[cut.start : cut.stop], last]),
                np.concatenate([nowhere[0], words[cut.start : cut.stop], nowhere[1]]),
                config.mask_share,
                self._mask_id,
                self._random_ids,
                random,
                whole_words=config.whole_words,
            )
            for cut in cuts
        ]

    def _pad(self, rows: list[Masked], documents: list[int]) -> Rows:
        input_ids, attention_mask = self._padder.pad([row.ids for row in rows])
        length = input_ids.shape[1]
        none = np.empty(0, dtype=np.int64)
        places = np.concatenate([none, *(number * length + row.places for number, row in enumerate(rows))])
        labels = np.concatenate([none, *(row.labels for row in rows)])
        arrays = (input_ids, attention_mask, places, labels, np.array(documents, dtype=np.int64))
        return Rows(*(torch.from_numpy(array) for array in arrays))
