"""What a model folder says of itself, and how its JSON files are read."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from everglade.errors import ModelError

__all__ = ["TOKENIZER_FILES", "UNLIMITED", "ModelFolder", "QueryFolder", "find_inside", "read_json", "tokenizer_length"]

UNLIMITED = 10**6
"""A length in tokens that means none."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)


@dataclass(frozen=True, slots=True)
class QueryFolder:
    """What a model folder says of a query encoder of its own.

    Attributes:
        kind: "separate" (a second language model), "static" (a weight for each token) or "binary" (weight 1).
        path: Where its files lie.
        learned: Whether a static encoder's weights are to be trained.
        idf: The JSON file of its weights, {"token": weight}, where they are not in model.safetensors.
        model: What a separate query encoder's folder says of itself.
    """

    kind: str
    path: Path
    learned: bool = False
    idf: Path | None = None
    model: ModelFolder | None = None


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a model folder says of itself.

    Attributes:
        path: Where config.json and the weights lie; this may be a folder inside the model's.
        settings: What the folder fixes, in the words of `SpladeSettings`.
        usual_length: Longest text in tokens where `settings` fixes none, to be capped by what the backbone takes.
        lower_case: Whether texts must be lower-cased, which the tokenizer has to do.
        query: The query encoder, or None where queries are encoded as documents are.
        document_hash: Sha256 of the document encoder as it was saved, where the folder says it.
    """

    path: Path
    settings: dict[str, Any]
    usual_length: int
    lower_case: bool = False
    query: QueryFolder | None = None
    document_hash: str | None = None

    def with_settings(self, settings: dict[str, Any]) -> ModelFolder:
        """Give the same folder with these settings over its own."""
        return replace(self, settings={**self.settings, **settings})


def read_json(file: Path, *, missing: Any = None, kind: type = dict) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file that holds a value of that kind; `missing` is the answer for a file that is not there.

    Raises:
        ModelError: if it cannot be read, or holds something else.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise ModelError(f"{file} is missing: {file.parent} is not a model folder that Everglade can open.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}). Fetch or save the model again.") from error
    if not isinstance(value, kind):
        raise ModelError(f"{file} does not hold what it should, a JSON {kind.__name__}. Fetch or save the model again.")
    return value


def find_inside(path: Path, name: object) -> Path:
    """Give the folder of that name inside `path`; an empty name is `path` itself.

    Raises:
        ModelError: if the name leads out of the folder.
    """
    if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(f"{path} names {name!r} as a part of it, which is no folder inside. Fetch the model again.")
    return path / name


def tokenizer_length(path: Path) -> int:
    """Give the longest text in tokens that the tokenizer's files name, or `UNLIMITED`."""
    length = read_json(path / "tokenizer_config.json", missing={}).get("model_max_length")
    return int(length) if isinstance(length, int | float) and 0 < length < UNLIMITED else UNLIMITED
