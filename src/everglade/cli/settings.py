"""Settings of a long job as the command line gives them: a TOML file, and single ones as key=value."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from everglade.errors import ConfigError
from everglade.settings import Settings

__all__ = ["parse_pair", "read_settings"]


S = TypeVar("S", bound=Settings)


def read_settings(kind: type[S], file: Path | None, pairs: list[str] | None) -> S:
    """Read the settings of a TOML file, if there is one, and let those given one by one win.

    Raises:
        ConfigError: if the file cannot be used, or a pair is no `key=value` of a known setting.
    """
    values: dict[str, Any] = {} if file is None else kind.from_toml(file).to_dict()
    return kind.from_dict(values | dict(map(parse_pair, pairs or [])), "--set")


def parse_pair(pair: str) -> tuple[str, Any]:
    """Read `key=value`: any TOML value, `none`, or a word without quotes.

    Raises:
        ConfigError: if it has another form.
    """
    key, equals, text = (part.strip() for part in pair.partition("="))
    if not equals:
        raise ConfigError(f"--set {pair!r} is not of the form key=value. Example: --set steps=300.")
    if text == "none":
        return key, None  # as docs/tuning.md writes it; TOML has no word for it
    try:
        return key, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key, text
