"""Query encoders beside the document encoder: what a word like "binary" or a path stands for, and the trained table.

A query encoder is a second `Splade` (Efficient SPLADE, arXiv 2207.03834) or a `QueryTable`; without one, queries are
encoded as documents are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from everglade.errors import ModelError
from everglade.model.masks import keep_heaviest, present_terms
from everglade.model.query import StaticQueries, binary_weights, read_idf, read_table, special_ids
from everglade.model.settings import SpladeSettings
from everglade.model.tokens import TokenReader
from everglade.progress import ProgressCallback
from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from everglade.model.files import QueryFolder
    from everglade.model.splade import Splade

__all__ = ["QueryTable", "load_query_encoder", "make_query_encoder"]


class QueryTable(nn.Module):
    """The weight of each token as a parameter: `StaticQueries` that can be trained.

    Args:
        tokenizer: The tokenizer.
        weights: The weight of each term, shape (V,).
        settings: Those of the model it belongs to.
        learned: Whether the weights are to be trained.
        binary: Whether the weights are the 1 of SPLADE-doc, which says what to call the encoder.

    Attributes:
        weight: The weights, shape (V,); those below 0 count as 0 and get no gradient any more.
        settings: Those of the model it belongs to.
        kind: "binary" or "static".
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        weights: NDArray[np.float32],
        settings: SpladeSettings,
        *,
        learned: bool = False,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weights.copy()), requires_grad=learned)
        self.settings = settings
        self.tokenizer = tokenizer
        self.kind = "binary" if binary else "static"
        self._reader = TokenReader(tokenizer, with_special_tokens=False)
        # A special token that weighs nothing shall not learn to.
        self._silent = [term for term in special_ids(tokenizer) if weights[term] == 0]

    def forward(self, input_ids: Tensor, attention_mask: Tensor, side: str = "query") -> Tensor:
        """Give the weights of queries, shape (B, V), from tokens and mask, shape (B, L); differentiable in `weight`."""
        present = present_terms(input_ids, attention_mask, len(self.weight), self._silent)
        # Clamped and not put through relu, whose gradient at 0 is 0: a token that weighs nothing yet may still learn.
        return keep_heaviest(present * self.weight.clamp(min=0.0), self.settings.max_query_terms)

    def tokenize(
        self, texts: Sequence[str], side: str = "query", *, max_length: int | None = None
    ) -> dict[str, Tensor]:
        """Give `input_ids` and `attention_mask`, shape (B, L), without special tokens."""
        ids = self._reader.read(texts, max_length or self.settings.max_query_length, self.settings.query_prefix)
        input_ids, attention_mask = map(torch.from_numpy, self._reader.pad(ids))
        return {"input_ids": input_ids.to(self.weight.device), "attention_mask": attention_mask.to(self.weight.device)}

    def encode_queries(
        self, texts: Sequence[str], *, batch_tokens: int | None = None, progress: ProgressCallback | None = None
    ) -> SparseMatrix:
        """Give one canonical row for each query, by the same code that encodes without torch."""
        return self.without_torch().encode_queries(texts, batch_tokens=batch_tokens, progress=progress)

    def without_torch(self) -> StaticQueries:
        """Give the encoder as it is now, free of torch."""
        weights = self.weight.detach().cpu().float().numpy().copy()
        weights[self._silent] = 0.0
        return StaticQueries(self.tokenizer, weights, self.settings, reader=self._reader)

    def with_query_settings(self, settings: SpladeSettings) -> SpladeSettings:
        """Give the settings of the model it belongs to: a table has none of its own."""
        return settings

    @property
    def learned(self) -> bool:
        """Whether the weights are to be trained."""
        return self.weight.requires_grad

    def description(self) -> list[object]:
        """Give what decides the vectors of queries, beside the settings, as plain JSON values."""
        return self.without_torch().description()


def make_query_encoder(spec: str | Path, documents: Splade, dtype: str = "float32") -> Splade | QueryTable | None:
    """Make the query encoder that a word or a path stands for, to go with the document encoder.

    Args:
        spec: "shared" for none; "binary" for weight 1; "static" for learned weights that start at 1; a .json file like
            OpenSearch's idf.json for fixed weights; "learned:FILE.json" for learned ones that start there; any other
            folder or hub id for a second language model with the same vocabulary.
        documents: The document encoder.
        dtype: Number type of a second language model's weights in memory.

    Raises:
        ModelError: if it cannot be opened, or does not fit the document encoder.
    """
    from everglade.model.splade import Splade

    name = str(spec)
    if name == "shared":
        return None
    n_terms, settings = documents.n_terms, documents.settings
    tokenizer: Tokenizer = Tokenizer.from_str(documents.tokenizer.backend_tokenizer.to_str())
    if name in ("binary", "static"):
        weights = binary_weights(tokenizer, n_terms)
        return QueryTable(tokenizer, weights, settings, learned=name == "static", binary=name == "binary")
    file = name.removeprefix("learned:")
    if file.endswith(".json"):
        return QueryTable(tokenizer, read_idf(Path(file), tokenizer, n_terms), settings, learned=file != name)
    return check_vocabulary(Splade.load(spec, dtype=dtype), documents)


def load_query_encoder(
    folder: QueryFolder, documents: Splade, dtype: str = "float32", name: str = "unnamed"
) -> Splade | QueryTable:
    """Open the query encoder of a model folder.

    Raises:
        ModelError: if it cannot be read, or does not fit the document encoder.
    """
    from everglade.model.splade import Splade

    if folder.model is not None:
        return check_vocabulary(Splade.open_folder(folder.model, dtype=dtype, name=name), documents)
    tokenizer, weights = read_table(folder, documents.n_terms)
    if tokenizer.get_vocab(with_added_tokens=True) != documents.tokenizer.get_vocab():
        raise ModelError(f"{folder.path} has another vocabulary than {documents.name}: queries would miss documents.")
    binary = folder.kind == "binary"
    return QueryTable(tokenizer, weights, documents.settings, learned=folder.learned, binary=binary)


def check_vocabulary(queries: Splade, documents: Splade) -> Splade:
    """Refuse a query encoder whose terms are others than the documents'.

    Raises:
        ModelError: if they differ.
    """
    own: dict[str, Any] = queries.tokenizer.get_vocab()
    if queries.n_terms != documents.n_terms or own != documents.tokenizer.get_vocab():
        raise ModelError(
            f"{queries.name} has {queries.n_terms} terms, {documents.name} {documents.n_terms}, or their tokenizers "
            f"differ: both encoders of a model must share one vocabulary."
        )
    if queries.query_encoder is not None:
        raise ModelError(f"{queries.name} has a query encoder of its own. Give the folder of a single language model.")
    return queries
