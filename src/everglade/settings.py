"""What the settings of long jobs have in common: flat values by name, from TOML, the command line or Python."""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from everglade.errors import ConfigError, suggest_name

__all__ = ["Settings"]


class Settings:
    """The base of frozen dataclasses whose fields are settings, checked when one is made."""

    __slots__ = ()
    about: ClassVar[str]
    """What a message calls them."""

    @classmethod
    def field_names(cls) -> list[str]:
        """Give the names of all settings, in the order they are declared."""
        return [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], source: str | None = None) -> Self:
        """Build settings from plain values; whatever is not named keeps its default.

        Args:
            values: The values by name.
            source: Where they come from, for the message.

        Raises:
            ConfigError: if a key is unknown (the nearest known one is named), or a value cannot be used.
        """
        known = cls.field_names()
        for key in values:
            if key not in known:
                raise ConfigError(f"{source or cls.about}: unknown setting {key!r}. {suggest_name(key, known)}")
        return cls(**values)

    @classmethod
    def from_toml(cls, path: str | Path) -> Self:
        """Read settings from a TOML file of flat `key = value` lines.

        Raises:
            ConfigError: if the file cannot be read, is not TOML, or holds an unknown key or unusable value.
        """
        try:
            values = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"{path} is not TOML: {error}. Write one `key = value` a line.") from error
        return cls.from_dict(values, str(path))

    def to_dict(self) -> dict[str, Any]:
        """Give every setting as plain JSON values; `from_dict` reads them."""
        return dataclasses.asdict(self)  # type: ignore[call-overload, no-any-return]

    def to_json(self) -> str:
        """Give every setting as an indented JSON object."""
        return json.dumps(self.to_dict(), indent=2)
