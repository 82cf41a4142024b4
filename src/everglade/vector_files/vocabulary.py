"""The strings of a vocabulary and their term ids, for vectors that name their terms by strings. No torch is needed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from everglade.errors import InputError, ModelError
from everglade.model.files import read_json
from everglade.model.hub import find_folder
from everglade.texts.lines import decode, open_bytes, require_file

__all__ = ["Vocabulary", "read_vocabulary"]


class Vocabulary(NamedTuple):
    """A vocabulary.

    Attributes:
        name: The path or id it was read from.
        ids: Token -> term id, below `n_terms`.
        n_terms: How many terms a vector has; a model may have more than there are tokens.
    """

    name: str
    ids: dict[str, int]
    n_terms: int

    @property
    def sha256(self) -> str:
        """Hex digits that differ where the same token has another id, or the vectors another number of terms."""
        total = hashlib.sha256(str(self.n_terms).encode())
        for token, term in sorted(self.ids.items()):
            total.update(f"{term}\t{token}\n".encode())
        return total.hexdigest()


def read_vocabulary(source: str | Path) -> Vocabulary:
    """Read a vocabulary.

    Args:
        source: a tokenizer.json; a vocab.txt, one token a line, whose ids are the lines, counted from 0; a folder that
            holds one of the two, such as a model's; or the name of a model on the Hugging Face hub.

    Raises:
        ModelError: if a folder, or a tokenizer.json, cannot be read.
        InputError: if a vocab.txt cannot be read, or holds a token twice.
    """
    path = Path(source)
    if path.is_file():
        read = _read_tokenizer if path.suffix == ".json" else _read_list
        ids = read(path)
        return Vocabulary(str(source), ids, 1 + max(ids.values(), default=-1))
    if path.suffix in (".txt", ".json"):
        raise InputError("there is no such file", path)
    folder = find_folder(source)
    for name, read in (("tokenizer.json", _read_tokenizer), ("vocab.txt", _read_list)):
        if (folder / name).is_file():
            ids = read(folder / name)
            return Vocabulary(str(source), ids, _count_terms(folder, ids))
    raise ModelError(f"{folder} holds neither tokenizer.json nor vocab.txt. Name a folder or a file that does.")


def _read_tokenizer(path: Path) -> dict[str, int]:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:
        # Never swallowed; not narrower, because tokenizers raises Exception itself.
        raise ModelError(f"{path} cannot be read as a tokenizer: {error}") from error
    ids: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    return ids


def _read_list(path: Path) -> dict[str, int]:
    """Read a vocab.txt. Every line counts, as its number is the id; only the end of the file may be blank."""
    with open_bytes(require_file(path)) as file:
        lines = decode(file.read()).removesuffix("\n").split("\n")
    ids: dict[str, int] = {}
    for term, line in enumerate(lines):
        token = line.removesuffix("\r")
        if (first := ids.setdefault(token, term)) != term:
            raise InputError(f"the token {token[:80]!r} stands on line {first + 1} already", path, term + 1)
    return ids


def _count_terms(folder: Path, ids: dict[str, int]) -> int:
    """Give the number of terms of the model in the folder: what config.json says, or what the tokens need."""
    needed = 1 + max(ids.values(), default=-1)
    said = read_json(folder / "config.json", missing={}).get("vocab_size")
    return max(needed, said) if isinstance(said, int) else needed
