"""Files and folders that appear whole under their final name, or not at all, even when the power fails.

The order is always: write under a temporary name, fsync the content, rename, fsync the folder that holds the name.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["private_folder", "publish_folder", "sync_file", "sync_folder", "whole_file", "write_bytes", "write_json"]


def sync_folder(path: Path) -> None:
    """Make the names inside `path` durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def sync_file(path: Path) -> None:
    """Make the content of `path` durable."""
    _sync(path, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        error.filename = str(path)  # fsync itself knows only a number
        raise
    finally:
        os.close(descriptor)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends well and vanishes when it does not."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        sync_file(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path`, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write `value` as indented JSON to `path`, whole or not at all."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


@contextmanager
def private_folder(final: Path) -> Iterator[Path]:
    """Give a new folder that no other process writes in; `publish_folder` makes it `final`.

    It is called FINAL.HOST.PROCESS.RANDOM.partial, and is removed when the block ends without publishing it. So are
    those that ended processes of this host have left; of other hosts' processes nobody here knows whether they live.
    """
    prefix = f"{final.name}.{socket.gethostname()}"
    for left in final.parent.iterdir():
        name, _, tail = left.name.removesuffix(".partial").rpartition(".")
        owner = name.removeprefix(f"{prefix}.")
        if left.name == f"{prefix}.{owner}.{tail}.partial" and owner.isdecimal() and not _is_alive(int(owner)):
            shutil.rmtree(left, ignore_errors=True)
    partial = final.with_name(f"{prefix}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    partial.mkdir()
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def publish_folder(partial: Path, final: Path) -> None:
    """Give the finished folder `partial` its final name.

    Every file in it is made durable first. An empty folder standing at `final` is replaced.

    Raises:
        FileExistsError: if `final` is a file or a folder that holds something.
    """
    for file in sorted(partial.rglob("*")):
        if file.is_file():
            sync_file(file)
        else:
            sync_folder(file)
    sync_folder(partial)
    if final.is_dir() and not any(final.iterdir()):
        final.rmdir()
    if final.exists():
        raise FileExistsError(f"{final} exists already. Remove it or choose another name.")
    partial.rename(final)
    sync_folder(final.parent)
