"""What stands for something else in a stage: "@stage" and "$setting", alone or after a scheme, and words for models.

"@stage" and words are read where a stage names what it works on, and in the settings of its function. In other keys,
such as a label, a text is a text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from everglade.recipes.kinds import KINDS, NAMED_MODELS, SCHEMES

if TYPE_CHECKING:
    from pathlib import Path

    from everglade.recipes.recipe import StageSpec

__all__ = [
    "Mention",
    "change_texts",
    "find_broken",
    "find_stages",
    "put_paths",
    "read_mention",
    "split_scheme",
    "texts",
]

_SCHEME = rf"(?P<scheme>(?:(?:{'|'.join(SCHEMES)}):)?)"
_MENTION = re.compile(rf"{_SCHEME}(?:@(?P<stage>[a-z][a-z0-9-]*)|\$(?P<setting>[A-Za-z_]\w*))")
_BEGUN = re.compile(rf"{_SCHEME}[@$]")


class Mention(NamedTuple):
    """A mention of a stage or of a setting, with what stands before it, such as "splade:"; the other name is None."""

    scheme: str
    stage: str | None
    setting: str | None


def read_mention(text: str) -> Mention | None:
    """Give what a text mentions, if it is nothing but a mention."""
    found = _MENTION.fullmatch(text)
    return None if found is None else Mention(found["scheme"], found["stage"], found["setting"])


def split_scheme(text: str) -> tuple[str, str]:
    """Give the scheme of "splade:MODEL", its colon included, or an empty one, and the rest."""
    scheme, colon, rest = text.partition(":")
    return (f"{scheme}:", rest) if colon and scheme in SCHEMES else ("", text)


def names_things(kind: str, key: str) -> bool:
    """Whether a key of a stage may name stages and models: those of its function, and its own inputs."""
    return key in KINDS[kind].inputs or key not in KINDS[kind].own


def find_stages(spec: StageSpec) -> Iterator[tuple[str, str]]:
    """Give (key, stage) for every "@stage" of a stage."""
    for key, text in _naming_texts(spec):
        if (found := read_mention(text)) and found.stage:
            yield key, found.stage


def find_broken(spec: StageSpec) -> Iterator[tuple[str, str]]:
    """Give (key, text) where "@" or "$" begins a text that is no mention of a stage, such as "@train/final"."""
    for key, text in _naming_texts(spec):
        if _BEGUN.match(text) and not ((found := read_mention(text)) and found.stage):
            yield key, text


def put_paths(spec: StageSpec, outputs: Mapping[str, Path]) -> dict[str, Any]:
    """Give the values of a stage with paths in the place of "@stage" and of words for models."""

    def change(text: str) -> str:
        if (found := read_mention(text)) and found.stage:
            return f"{found.scheme}{outputs[found.stage]}"
        scheme, rest = split_scheme(text)
        return f"{scheme}{NAMED_MODELS.get(rest, rest)}"

    def change_behind_scheme(text: str) -> str:
        return change(text) if split_scheme(text)[0] else text

    changed = {}
    for key, value in spec.values.items():
        is_input = key in KINDS[spec.kind].inputs
        reads = is_input or names_things(spec.kind, key)
        changed[key] = change_texts(value, change if is_input else change_behind_scheme) if reads else value
    return changed


def change_texts(value: Any, change: Callable[[str], Any]) -> Any:  # noqa: ANN401 - any TOML value
    """Give a value with each text in it, in lists and tables too, replaced by what `change` gives."""
    if isinstance(value, list | tuple):
        return [change_texts(one, change) for one in value]
    if isinstance(value, dict):
        return {key: change_texts(one, change) for key, one in value.items()}
    return change(value) if isinstance(value, str) else value


def texts(value: object) -> Iterator[str]:
    """Give every text in a value, in lists and tables too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for one in value:
            yield from texts(one)
    elif isinstance(value, dict):
        for one in value.values():
            yield from texts(one)


def _naming_texts(spec: StageSpec) -> Iterator[tuple[str, str]]:
    for key, value in spec.values.items():
        if names_things(spec.kind, key):
            yield from ((key, text) for text in texts(value))
