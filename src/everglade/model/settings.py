"""The settings of a SPLADE model: everything beside weights and tokenizer that changes a vector."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from everglade.errors import ConfigError, suggest_name

__all__ = ["ACTIVATIONS", "LEXICAL", "POOLINGS", "QUERY_SETTINGS", "READINGS", "USUAL_LENGTH", "SpladeSettings"]

USUAL_LENGTH = 256  # tokens, as in the SPLADE papers

POOLINGS = ("max", "sum")
ACTIVATIONS = ("relu", "log1p_relu")
LEXICAL = (None, "query", "document", "both")
READINGS = (None, "bidirectional", "causal", "echo")

QUERY_SETTINGS = ("max_query_length", "max_query_terms", "query_prefix", "lexical")
"""Settings that belong to the query side and so are the same in a model and in its query encoder."""


@dataclass(frozen=True, slots=True)
class SpladeSettings:
    """How a SPLADE model reads texts and pools its logits. Stored with the weights, the same for index and query time.

    Attributes:
        max_query_length: Longest query in tokens, special tokens included; what is longer is cut.
        max_document_length: Longest document in tokens, special tokens included.
        max_query_terms: Keep only that many of the heaviest terms of a query; None keeps all.
        max_document_terms: The same for documents.
        pooling: "max" over the positions (SPLADE v2 and later) or "sum" (SPLADE v1).
        activation: "relu" gives log(1 + relu(logit)); "log1p_relu" takes that logarithm twice (OpenSearch v3).
        logit_shift: Subtracted from every logit before the activation, for backbones whose logits start positive.
        position_terms: At each position, let only that many of the largest logits take part; None lets all.
        drop_special_tokens: Give the terms of special tokens ([CLS], [SEP], ...) no weight.
        query_prefix: Put before every query, as it stands.
        document_prefix: Put before every document, as it stands.
        lexical: Weigh only terms that are tokens of the text itself, on the side "query", "document" or "both"; None
            lets every side expand.
        reading: How a decoder (`...ForCausalLM`) reads a text: "bidirectional" lets every token see all others, "echo"
            reads the text twice and pools over the second copy (arXiv 2408.11119), "causal" lets tokens see those
            before them. None is for masked language models, which see everything.
        skip_special_positions: Leave the positions of special tokens out of the pooling. At the first token of a
            decoder attention gathers, and its logits drown the text's. None means yes for decoders, no for others.
        freeze_documents: Train only the query encoder, which must then be one of its own.
        passages: Read a document that is too long for `max_document_length` as up to that many passages of this
            length, prefix and special tokens on each; a term weighs what it weighs most in any passage (the maximum of
            representations of arXiv 2305.18494). 1 cuts it after the first.
        passage_overlap: Tokens that neighbouring passages share.

    Raises:
        ConfigError: if a value is of the wrong kind or out of range.
    """

    max_query_length: int = USUAL_LENGTH
    max_document_length: int = USUAL_LENGTH
    max_query_terms: int | None = None
    max_document_terms: int | None = None
    pooling: str = "max"
    activation: str = "relu"
    logit_shift: float = 0.0
    position_terms: int | None = None
    drop_special_tokens: bool = False
    query_prefix: str = ""
    document_prefix: str = ""
    lexical: str | None = None
    reading: str | None = None
    skip_special_positions: bool | None = None
    freeze_documents: bool = False
    passages: int = 1
    passage_overlap: int = 0

    def __post_init__(self) -> None:
        _require_count("max_query_length", self.max_query_length, at_least=3)
        _require_count("max_document_length", self.max_document_length, at_least=3)
        _require_count("passages", self.passages, at_least=1)
        _require_count("passage_overlap", self.passage_overlap, at_least=0)
        for key in ("max_query_terms", "max_document_terms", "position_terms"):
            if getattr(self, key) is not None:
                _require_count(key, getattr(self, key), at_least=1)
        _require_choice("pooling", self.pooling, POOLINGS)
        _require_choice("activation", self.activation, ACTIVATIONS)
        _require_choice("lexical", self.lexical, LEXICAL)
        _require_choice("reading", self.reading, READINGS)
        if not isinstance(self.logit_shift, int | float) or not math.isfinite(self.logit_shift):
            raise ConfigError(f"logit_shift must be a finite number, not {self.logit_shift!r}.")
        for key in ("drop_special_tokens", "freeze_documents"):
            if not isinstance(getattr(self, key), bool):
                raise ConfigError(f"{key} must be true or false, not {getattr(self, key)!r}.")
        if not isinstance(self.skip_special_positions, bool | None):
            raise ConfigError(f"skip_special_positions must be true or false, not {self.skip_special_positions!r}.")
        for key in ("query_prefix", "document_prefix"):
            if not isinstance(getattr(self, key), str):
                raise ConfigError(f"{key} must be a string, not {getattr(self, key)!r}.")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build settings from a mapping; keys that are left out take their default.

        Raises:
            ConfigError: if a key is unknown, with the nearest known one.
        """
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                raise ConfigError(f"{key} is not a setting of a SPLADE model. {suggest_name(key, known)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Give the settings as plain JSON values."""
        return asdict(self)

    def that_matter(self) -> dict[str, Any]:
        """Give the settings that are on and change a vector, for fingerprints: a new setting leaves old ones alone."""
        values = {**asdict(self), "skip_special_positions": self.skips_special_positions, "freeze_documents": False}
        if self.passages == 1:
            values |= {"passages": None, "passage_overlap": None}
        return {key: value for key, value in values.items() if value not in (None, False, "")}

    @property
    def skips_special_positions(self) -> bool:
        """Whether positions of special tokens are left out of the pooling."""
        return self.reading is not None if self.skip_special_positions is None else self.skip_special_positions

    def is_lexical(self, side: str) -> bool:
        """Say whether texts of that side, "query" or "document", weigh only their own tokens."""
        return self.lexical in ("both", side)

    def terms_kept(self, side: str) -> int | None:
        """Give how many of the heaviest terms a text of that side keeps, or None for all."""
        return self.max_query_terms if side == "query" else self.max_document_terms


def _require_count(key: str, value: object, at_least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < at_least:
        raise ConfigError(f"{key} must be a whole number of at least {at_least}, not {value!r}.")


def _require_choice(key: str, value: object, choices: tuple[str | None, ...]) -> None:
    if value not in choices:
        named = ", ".join(choice or "none (null)" for choice in choices)
        raise ConfigError(f"{key} must be one of {named}, not {value!r}.")
