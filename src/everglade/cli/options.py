"""Options that several commands share, each with one spelling and one help text."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from everglade.errors import ConfigError

if TYPE_CHECKING:
    from everglade.texts import Rejects

__all__ = [
    "AsJson",
    "Fresh",
    "OnError",
    "OnErrorOption",
    "Quiet",
    "RejectsFile",
    "Threads",
    "limit_threads",
    "open_rejects",
    "parse_shard",
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
