"""Options that several commands share, each with one spelling and one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from everglade.texts import Rejects

__all__ = [
    "AsJson",
    "DocumentPrefix",
    "Fresh",
    "OnError",
    "OnErrorOption",
    "PassageOverlap",
    "Passages",
    "QueryPrefix",
    "Quiet",
    "RejectsFile",
    "Threads",
    "limit_threads",
    "name_options",
    "open_rejects",
    "parse_shard",
    "pick_given",
]


class OnError(StrEnum):
    """What to do with a line that cannot be used."""

    stop = "stop"
    skip = "skip"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Start again instead of going on where an earlier run stopped.")]
Threads = Annotated[int, typer.Option(min=0, help="Threads to use; 0 means one for each core.")]
OnErrorOption = Annotated[OnError, typer.Option(help="Stop at a line that cannot be used, or skip it and count.")]
RejectsFile = Annotated[Path, typer.Option(help="Where --on-error skip writes the lines it left out.")]

QueryPrefix = Annotated[
    str | None, typer.Option(help="Text before every query, as it stands; the model's own if not given.")
]
DocumentPrefix = Annotated[
    str | None, typer.Option(help="Text before every document, as it stands; the model's own if not given.")
]
Passages = Annotated[
    int | None,
    typer.Option(min=1, help="Most passages a long document is read as; 1 cuts it. The model's own if not given."),
]
PassageOverlap = Annotated[
    int | None, typer.Option(min=0, help="Tokens that neighbouring passages share; the model's own if not given.")
]


def pick_given(**settings: object) -> dict[str, Any]:
    """Give the settings that were given on the command line, by name."""
    return {name: value for name, value in settings.items() if value is not None}


def name_options(settings: Iterable[str]) -> str:
    """Spell settings as the options that gave them."""
    return ", ".join(f"--{name.replace('_', '-')}" for name in settings)


def limit_threads(threads: int) -> None:
    """Let torch use that many threads."""
    if threads:
        import torch

        torch.set_num_threads(threads)


def open_rejects(on_error: OnError, path: Path) -> Rejects | None:
    """Give what collects rejected lines, or None when the first one is to stop the command."""
    from everglade.texts import Rejects

    return Rejects(path) if on_error is OnError.skip else None


def parse_shard(shard: str | None) -> tuple[int, int] | None:
    """Read "2/8" as part 2 of 8.

    Raises:
        ConfigError: if it is not two numbers i/n with 1 <= i <= n.
    """
    if shard is None:
        return None
    first, _, second = shard.partition("/")
    if first.isdigit() and second.isdigit() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise ConfigError(f"--shard {shard!r} is not of the form i/n with 1 <= i <= n. Example: --shard 2/8.")
