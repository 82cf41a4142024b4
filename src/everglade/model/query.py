"""Queries without a language model: the weight of a token that is in the query, from a table. No torch is needed.

A query weighs each distinct token by the table, whatever its place and however often it occurs: by 1 (SPLADE-doc,
arXiv 2109.10086), by its inverse document frequency (OpenSearch, arXiv 2411.04403), or by a learned weight. No special
tokens are put around it.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from everglade import durable
from everglade.errors import InputError, ModelError, ModelMismatch
from everglade.model.files import ModelFolder, QueryFolder, read_json
from everglade.model.fingerprint import hash_model, tokenizer_rules
from everglade.model.folder import read_folder
from everglade.model.hub import find_folder
from everglade.model.settings import SpladeSettings
from everglade.model.tokens import Ids, TokenReader
from everglade.progress import Meter, ProgressCallback
from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from everglade.model.splade import Splade

__all__ = ["StaticQueries", "binary_weights", "count_idf", "read_idf", "read_table", "special_ids", "write_idf"]

_WHOLE_TEXT = 2**31  # a length in tokens that cuts nothing


class StaticQueries:
    """Encodes queries by a table of token weights; an `Encoder` that needs torch only for documents.

    Args:
        tokenizer: The tokenizer.
        weights: The weight of each term, shape (V,); those below 0 count as 0.
        settings: `max_query_length`, `max_query_terms` and `query_prefix` are used.
        name: The folder or hub id of the model whose documents these queries search.
        document_hash: The hash of that model's document encoder.
        reader: A reader of that tokenizer which is there already; making one takes time.

    Attributes:
        weights: The weight of each term, shape (V,), float32, at least 0.
        name: The folder or hub id.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        weights: NDArray[np.floating[Any]],
        settings: SpladeSettings,
        *,
        name: str = "unnamed",
        document_hash: str = "",
        reader: TokenReader | None = None,
    ) -> None:
        self.weights = np.maximum(np.asarray(weights, dtype=np.float32), 0.0)
        self.weights[tokenizer.get_vocab_size(with_added_tokens=True) :] = 0.0
        self.settings = settings
        self.name = name
        self._tokenizer = tokenizer
        self._reader = reader or TokenReader(tokenizer, with_special_tokens=False)
        self._document_hash = document_hash
        self._documents: Splade | None = None
        self._lock = threading.Lock()

    @classmethod
    def load(cls, path_or_id: str | Path, **settings: Any) -> Self:  # noqa: ANN401 - checked by SpladeSettings
        """Open the query side of a model that Everglade saved.

        Args:
            path_or_id: The folder, or the name of a model on the Hugging Face hub.
            settings: Fields of `SpladeSettings` that replace what the folder says.

        Raises:
            ModelError: if it cannot be opened, or its queries need a language model.
            ConfigError: if a setting is unknown or out of range.
        """
        folder = read_folder(find_folder(path_or_id)).with_settings(settings)
        if folder.document_hash is None or folder.query is None or folder.query.kind == "separate":
            raise ModelError(f"{path_or_id} was not saved by Everglade with queries from a table. Use Splade.load.")
        tokenizer, weights = read_table(folder.query, _count_terms(folder))
        own = SpladeSettings.from_dict(folder.settings)
        return cls(tokenizer, weights, own, name=str(path_or_id), document_hash=folder.document_hash)

    @staticmethod
    def can_load(path_or_id: str | Path) -> bool:
        """Say whether `load` can open that model, by its splade_config.json alone."""
        try:
            config = read_json(find_folder(path_or_id) / "splade_config.json", missing={})
        except ModelError:
            return False  # opening the whole model says what is wrong with it
        return config.get("query_encoder") in ("binary", "static") and "document_sha256" in config

    @property
    def n_terms(self) -> int:
        """Number of terms, V."""
        return len(self.weights)

    @cached_property
    def fingerprint(self) -> str:
        """The fingerprint of the whole model. The query side is hashed now, the document side was when it was saved."""
        return hash_model(self._document_hash, self.settings.that_matter(), self.description())

    def description(self) -> list[object]:
        """Give what decides the vectors of queries, beside the settings, as plain JSON values."""
        rules, _ = tokenizer_rules({"tokenizer.json": self._tokenizer.to_str().encode()})
        return [hashlib.sha256(self.weights.tobytes()).hexdigest(), rules]

    def read(self, texts: Sequence[str], max_length: int | None = None) -> list[Ids]:
        """Give the token ids of each query, at most `max_length` of them or as many as the settings say."""
        return self._reader.read(texts, max_length or self.settings.max_query_length, self.settings.query_prefix)

    def encode_queries(
        self, texts: Sequence[str], *, batch_tokens: int | None = None, progress: ProgressCallback | None = None
    ) -> SparseMatrix:
        """Give one canonical row for each query; see `Splade.encode_documents`. `batch_tokens` changes nothing here.

        Raises:
            InputError: if a text is not a string of Unicode characters.
        """
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of strings")
        meter = Meter(len(texts), progress)
        rows = []
        for ids in self.read(texts):
            present = np.unique(ids)
            rows.append(present[self.weights[present] > 0])
        meter.advance(len(rows))
        terms = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
        indptr = np.cumsum([0, *map(len, rows)])
        matrix = SparseMatrix(indptr, terms, self.weights[terms], self.n_terms)
        kept = self.settings.max_query_terms
        return matrix if kept is None else matrix.top_terms(kept)

    def encode_documents(
        self, texts: Sequence[str], *, batch_tokens: int | None = None, progress: ProgressCallback | None = None
    ) -> SparseMatrix:
        """Encode documents with the model, which is loaded at the first call: this is what needs torch.

        Raises:
            ModelMismatch: if the model's documents are no longer those of when it was saved.
        """
        from everglade.model.splade import Splade

        with self._lock:
            if self._documents is None:
                model = Splade.load(self.name, **self.settings.to_dict())
                if model.fingerprint != self.fingerprint:
                    raise ModelMismatch(f"the document encoder of {self.name} has changed since it was saved.")
                self._documents = model
        return self._documents.encode_documents(texts, batch_tokens=batch_tokens, progress=progress)

    def term_names(self) -> list[str]:
        """Give the string of each term, shape (n_terms,). Terms the tokenizer does not know are called <term N>."""
        return self._reader.term_names(self.n_terms)

    def to_idf(self) -> dict[str, float]:
        """Give the table as OpenSearch's idf.json holds it, {token: weight}, without tokens that weigh nothing."""
        names = self.term_names()
        return {names[term]: float(self.weights[term]) for term in np.flatnonzero(self.weights).tolist()}


def special_ids(tokenizer: Tokenizer) -> list[int]:
    """Give the ids of the special tokens that tokenizer.json names."""
    return sorted(int(i) for i, token in tokenizer.get_added_tokens_decoder().items() if token.special)


def binary_weights(tokenizer: Tokenizer, n_terms: int) -> NDArray[np.float32]:
    """Give weight 1 for every token and 0 for special ones, shape (n_terms,)."""
    weights = np.zeros(n_terms, dtype=np.float32)
    weights[: tokenizer.get_vocab_size(with_added_tokens=True)] = 1.0
    weights[special_ids(tokenizer)] = 0.0
    return weights


def count_idf(texts: Iterable[str], tokenizer: Tokenizer) -> dict[str, float]:
    """Give the inverse document frequency of every token but the special ones, {token: idf}.

    It is log(1 + (N - n + 0.5) / (n + 0.5)) for a token that n of the N texts hold: BM25's (Robertson and Zaragoza
    2009, as Lucene has it). A token that no text holds gets the greatest.
    """
    reader = TokenReader(tokenizer, with_special_tokens=False)
    counts: Counter[int] = Counter()
    total = 0
    for text in texts:
        counts.update(set(reader.read([text], _WHOLE_TEXT)[0].tolist()))
        total += 1
    special = set(special_ids(tokenizer))
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    return {
        token: math.log1p((total - counts[term] + 0.5) / (counts[term] + 0.5))
        for token, term in vocabulary
        if term not in special
    }


def write_idf(path: str | Path, idf: Mapping[str, float]) -> None:
    """Write {token: weight} as OpenSearch's idf.json."""
    durable.write_json(Path(path), dict(idf))


def read_idf(file: Path, tokenizer: Tokenizer, n_terms: int) -> NDArray[np.float32]:
    """Read OpenSearch's idf.json, {token: weight}, into a table of shape (n_terms,).

    Raises:
        ModelError: if it cannot be read, or names a token that the tokenizer does not know, or holds a weight that is
            no number of at least 0.
    """
    weights = np.zeros(n_terms, dtype=np.float32)
    for token, weight in read_json(file).items():
        term = tokenizer.token_to_id(token)
        if term is None or term >= n_terms:
            raise ModelError(f"{file} weighs the token {token!r}, which the model's tokenizer does not know.")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < math.inf:
            raise ModelError(f"{file} gives the token {token!r} the weight {weight!r}: it must be a number from 0 up.")
        weights[term] = weight
    return weights


def read_table(query: QueryFolder, n_terms: int) -> tuple[Tokenizer, NDArray[np.float32]]:
    """Read the tokenizer and the weights, shape (n_terms,), of a static query encoder.

    Raises:
        ModelError: if they cannot be read, or are more than `n_terms`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    file = query.path / "tokenizer.json"
    try:
        tokenizer: Tokenizer = Tokenizer.from_str(file.read_text(encoding="utf-8"))
    except Exception as error:
        # Never swallowed; not narrower, because tokenizers raises Exception itself.
        raise ModelError(f"{file} cannot be read as a tokenizer: {error}") from error
    if tokenizer.get_vocab_size(with_added_tokens=True) > n_terms:
        raise ModelError(f"{file} has more tokens than the model has terms ({n_terms}): they do not fit.")
    if query.idf is not None:
        return tokenizer, read_idf(query.idf, tokenizer, n_terms)
    weights_file = query.path / "model.safetensors"
    try:
        stored = load_file(weights_file)["weight"]
    except (OSError, KeyError, TypeError, SafetensorError) as error:
        raise ModelError(f"{weights_file} does not hold the weights of tokens: {error!r}") from error
    if stored.ndim != 1 or len(stored) > n_terms or not np.isfinite(stored).all():
        raise ModelError(f"{weights_file} holds shape {stored.shape} or values that are not finite; V is {n_terms}.")
    weights = np.zeros(n_terms, dtype=np.float32)
    weights[: len(stored)] = stored
    return tokenizer, weights


def _count_terms(folder: ModelFolder) -> int:
    return int(read_json(folder.path / "config.json")["vocab_size"])
