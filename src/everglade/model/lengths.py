"""How long a text may be: what a model has positions for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from everglade.errors import ConfigError
from everglade.model.backbone import position_limit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from everglade.model.settings import SpladeSettings

__all__ = ["BOTH", "check_lengths", "usual_lengths"]

BOTH = ("max_query_length", "max_document_length")


def usual_lengths(mlm: PreTrainedModel, usual: int, *, echo: bool = False) -> dict[str, int]:
    """Give the settings of `usual` tokens, or of as many as the model takes; an echo takes every token twice."""
    limit = position_limit(mlm) or 2 * usual
    return dict.fromkeys(BOTH, min(usual, limit // 2 if echo else limit))


def check_lengths(settings: SpladeSettings, mlm: PreTrainedModel, name: str, keys: Sequence[str] = BOTH) -> None:
    """Refuse settings of texts that are longer than the model called `name` takes.

    Raises:
        ConfigError: if they are.
    """
    limit, copies = position_limit(mlm), 2 if settings.reading == "echo" else 1
    for key in keys:
        length = getattr(settings, key)
        if limit is not None and length * copies > limit:
            twice = ", which an echo takes twice" if copies == 2 else ""
            raise ConfigError(f"{key} is {length}{twice}, but the model {name} has positions for {limit} tokens.")
