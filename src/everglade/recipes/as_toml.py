"""A recipe as TOML again, with what was overridden: to be looked at, or kept as a recipe of one's own."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError
from everglade.recipes.kinds import KINDS, settings_class

if TYPE_CHECKING:
    from everglade.recipes.recipe import Recipe

__all__ = ["write_toml"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def write_toml(recipe: Recipe) -> str:
    """Give a recipe as a file that holds all of it: what it is like is filled in, and comments are left out.

    Raises:
        ConfigError: if a key was overridden by none and has another default: TOML has no word for it.
    """
    about = {"summary": recipe.summary, "source": recipe.source}
    tables = [_lines(about), ["[set]", *_lines(recipe.settings)]]
    for stage in recipe.stages:
        _require_words(recipe.name, stage)
        tables.append(["[[stage]]", *_lines(stage)])
    return "\n\n".join("\n".join(table) for table in tables) + "\n"


def _require_words(name: str, stage: Mapping[str, Any]) -> None:
    kind = stage["kind"]
    defaults = dict(KINDS[kind].own)
    if (settings := settings_class(kind)) is not None:
        defaults |= {field.name: field.default for field in dataclasses.fields(settings)}
    for key, value in stage.items():
        if value is None and defaults[key] is not None:
            raise ConfigError(
                f"{name}: {stage['name']}.{key} = none cannot be written, as TOML has no word for it and the default "
                f"is {defaults[key]!r}. Give it to a run with --set."
            )


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_value(value)}" for key, value in table.items() if value is not None]


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A string of JSON is one of TOML, but for this character, which JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        inside = ", ".join(_lines(value))
        return f"{{ {inside} }}" if inside else "{}"
    return str(value)
