"""How large a model is and how long texts are for it: read from its config.json and tokenizer, without its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from everglade.errors import ModelError
from everglade.model.files import read_json
from everglade.model.settings import USUAL_LENGTH
from everglade.recipes.kinds import NAMED_MODELS

__all__ = ["PAIR_LENGTH", "Lengths", "Model", "Sizes", "count_tokens", "find_model"]

PAIR_LENGTH = 512
"""Tokens of a cross-encoder's pair where nobody says otherwise."""

UNREAD_TOKENS = 80
"""What a document counts as that is not read; MS MARCO's passages have about as many."""

CHARACTERS_A_TOKEN = 4.5
"""Of English text under BERT's tokenizer."""

_NAMES = {
    "width": ("hidden_size", "dim", "d_model", "n_embd"),
    "layers": ("num_hidden_layers", "n_layers", "n_layer"),
    "inner": ("intermediate_size", "hidden_dim", "n_inner"),
    "attention_heads": ("num_attention_heads", "n_heads", "n_head"),
    "terms": ("vocab_size",),
}
"""What a size is called in the config.json of BERT, DistilBERT, and others."""


class Sizes(NamedTuple):
    """What of a model decides its work: names and meaning are BERT's."""

    width: int
    layers: int
    inner: int
    attention_heads: int
    terms: int

    def products(self, length: float) -> float:
        """Give the multiply-adds of a token's way through the layers, in a text of `length` tokens."""
        return self.layers * (4 * self.width**2 + 2 * self.width * self.inner + 2 * length * self.width)

    def passed(self, length: float) -> float:
        """Give the elements of that token between the products."""
        return self.layers * (self.width + self.inner + self.attention_heads * length)

    @property
    def decoded(self) -> int:
        """The multiply-adds of a token's logits: the transform of a masked-LM head, and the product with all terms."""
        return self.width**2 + self.width * self.terms


@dataclass(frozen=True)
class Model:
    """A model that a stage works with.

    Attributes:
        folder: Where its tokenizer lies.
        sizes: Its sizes.
        query_length: Most tokens of a query.
        document_length: Most tokens of a document.
        pair_length: Most tokens of query and document, for a cross-encoder.
    """

    folder: Path
    sizes: Sizes
    query_length: int = USUAL_LENGTH
    document_length: int = USUAL_LENGTH
    pair_length: int = PAIR_LENGTH


class Lengths:
    """Tokens of a sample of texts.

    Args:
        tokens: Their lengths, shape (n,).
    """

    def __init__(self, tokens: Sequence[int] | NDArray[np.int64]) -> None:
        self._tokens = np.sort(np.asarray(tokens if len(tokens) else [1], dtype=np.float64))

    def mean(self, most: float) -> float:
        """Give the mean length of texts that are cut at `most` tokens."""
        return float(np.minimum(self._tokens, most).mean())

    def longest(self, n: int, most: float) -> float:
        """Give the expected length of the longest of n texts, to which a batch is padded.

        The i-th smallest of m is the largest of n draws with probability (i/m)^n - ((i-1)/m)^n.
        """
        below = (np.arange(len(self._tokens) + 1) / len(self._tokens)) ** n
        return float(np.minimum(self._tokens, most) @ np.diff(below))


def find_model(name: str) -> Model:
    """Give what a model's folder says of its size: a path, a word for a model, or a hub name fetched before.

    Raises:
        ModelError: if it is not on this machine, or does not say.
    """
    folder = Path(NAMED_MODELS.get(name, name))
    if not folder.is_dir():
        folder = _find_fetched(name)
    for file in [folder / "config.json", *sorted(folder.glob("*/config.json"))]:
        config = read_json(file, missing={})
        if (sizes := _read_sizes(config)) is not None:
            return _add_lengths(Model(file.parent, sizes), folder, config)
    raise ModelError(f"no config.json of {name} says how large it is")


def _find_fetched(name: str) -> Path:
    """Give where a model of the hub lies on this machine; the hub itself is not asked."""
    import huggingface_hub

    try:
        file = huggingface_hub.try_to_load_from_cache(name, "config.json")
    except ValueError:  # no name that the hub could have
        file = None
    if not isinstance(file, str):
        raise ModelError(f"{name} is not on this machine, and a plan fetches nothing")
    return Path(file).parent


def _read_sizes(config: Mapping[str, Any]) -> Sizes | None:
    found = {
        size: next((config[name] for name in names if type(config.get(name)) is int), 0)
        for size, names in _NAMES.items()
    }
    found["inner"] = found["inner"] or 4 * found["width"]  # as GPT-2 leaves it to be understood
    return Sizes(**found) if all(found.values()) else None


def _add_lengths(model: Model, folder: Path, config: Mapping[str, Any]) -> Model:
    own = read_json(folder / "splade_config.json", missing={})
    usual = read_json(folder / "sentence_bert_config.json", missing={}).get("max_seq_length")
    limit = config.get("max_position_embeddings")

    def length(value: object, otherwise: int) -> int:
        chosen = value if type(value) is int else otherwise
        return min(chosen, limit) if type(limit) is int and limit > 0 else chosen

    return replace(
        model,
        query_length=length(own.get("max_query_length", usual), USUAL_LENGTH),
        document_length=length(own.get("max_document_length", usual), USUAL_LENGTH),
        pair_length=length(None, PAIR_LENGTH),
    )


def count_tokens(texts: Sequence[str] | None, folder: Path) -> Lengths:
    """Give the lengths of texts under the tokenizer of a folder; by characters if it has none.

    None stands for texts that cannot be read.
    """
    if texts is None:
        return Lengths([UNREAD_TOKENS])
    file = folder / "tokenizer.json"
    if not file.is_file():
        return Lengths([2 + round(len(text) / CHARACTERS_A_TOKEN) for text in texts])
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        # Not narrower, because tokenizers raises Exception itself.
        raise ModelError(f"{file} cannot be read: {error}") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return Lengths([len(encoding) for encoding in tokenizer.encode_batch(list(texts))])
