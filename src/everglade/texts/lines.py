"""A file, plain or gzip, as numbered lines of bounded length; and what happens to a bad one.

Lines end at a line feed and nowhere else; one carriage return before it belongs to the end. Blank lines count but are
passed over. A byte order mark at the beginning of the file is dropped.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar

from everglade.errors import InputError
from everglade.texts.rejects import Rejects

__all__ = ["MAX_LINE_BYTES", "decode", "open_bytes", "read_lines", "require_file", "split_words"]

MAX_LINE_BYTES = 64 * 2**20
_PIECE_BYTES = 2**20
_KEPT_BYTES = 2**16
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP_MAGIC = b"\x1f\x8b"

T = TypeVar("T")


def read_lines(path: Path, parse: Callable[[bytes | bytearray, int], T], rejects: Rejects | None) -> Iterator[T]:
    """Give what `parse` makes of each line that is not blank, in order, without holding more than one.

    `parse` gets the line without its end, and its number counted from 1. It raises `InputError(why)` for a line that
    cannot be used; path and number are added here.

    Raises:
        InputError: at the first bad or over-long line, unless there are `rejects` to take it; and always if the file is
            missing, unreadable, or damaged gzip.
    """
    for number, line in _number_lines(path, rejects):
        try:
            value = parse(line, number)
        except InputError as error:
            _refuse(path, number, error.why, line, rejects)
        else:
            yield value


def require_file(path: str | Path) -> Path:
    """Give `path` back if there is something to read.

    Raises:
        InputError: if there is nothing, or a folder.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError("this is a folder; a file was expected. Open a whole collection with open_collection", path)
    if not path.exists():
        other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(path.name + ".gz")
        raise InputError(f"no such file. {f'There is {other}' if other.is_file() else 'Check the path'}", path)
    return path


@contextmanager
def open_bytes(path: Path) -> Iterator[IO[bytes] | gzip.GzipFile]:
    """Open `path` for reading, unpacking it if it is gzip by its first bytes, whatever its name.

    Raises:
        InputError: if it cannot be read, is damaged gzip, or is called .gz and is not.
    """
    try:
        with path.open("rb") as file:
            if file.peek(2)[:2] == _GZIP_MAGIC:
                with gzip.GzipFile(fileobj=file) as unpacked:
                    yield unpacked
            elif path.suffix == ".gz":
                raise InputError("the name says gzip, the content is not. Fetch the file again or rename it", path)
            else:
                yield file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"the gzip data is cut short or damaged ({error}). Fetch the file again", path) from error
    except OSError as error:
        raise InputError(f"the file cannot be read ({error.strerror or error})", path) from error


def decode(line: bytes | bytearray) -> str:
    """Give the text of `line`.

    Raises:
        InputError: if it is not UTF-8.
    """
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        if line.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError("the file is UTF-16. Convert it to UTF-8, for instance with iconv") from error
        raise InputError(
            f"byte {error.start + 1} of the line (0x{line[error.start]:02x}) is not UTF-8. Convert the file to UTF-8, "
            f"for instance with iconv, or repair the line"
        ) from error


def split_words(text: str) -> list[str]:
    """Give what stands between spaces and tabs; unlike `str.split`, no other white space divides."""
    return [word for word in text.replace("\t", " ").split(" ") if word]


def _number_lines(path: Path, rejects: Rejects | None) -> Iterator[tuple[int, bytes | bytearray]]:
    number = 0
    try:
        with open_bytes(path) as file:
            while raw := _read_line(file):
                number += 1
                ended = raw.endswith(b"\n")
                line = _cut(raw, drop_mark=number == 1)
                if len(line) > MAX_LINE_BYTES:
                    limit = f"{MAX_LINE_BYTES:,} bytes"
                    why = f"the line is longer than {limit}. Put one document on each line, and divide larger ones"
                    _refuse(path, number, why, line[:_KEPT_BYTES], rejects)
                    del raw, line
                    while not ended and (rest := file.readline(_PIECE_BYTES)):
                        ended = rest.endswith(b"\n")
                elif line and not line.isspace():
                    yield number, line
    except InputError as error:
        if error.line is None and number:
            raise InputError(error.why, path, number + 1) from error
        raise


def _read_line(file: IO[bytes] | gzip.GzipFile) -> bytes | bytearray:
    """Read a line with its end, or enough of it to see that it is too long."""
    line = file.readline(_PIECE_BYTES)
    if len(line) < _PIECE_BYTES or line.endswith(b"\n"):
        return line
    whole = bytearray(line)
    # Two more than the limit: a line of exactly the limit may still end in CR LF.
    while len(whole) < MAX_LINE_BYTES + 2 and not whole.endswith(b"\n") and (piece := file.readline(_PIECE_BYTES)):
        whole += piece
    return whole


def _cut(line: bytes | bytearray, *, drop_mark: bool) -> bytes | bytearray:
    """Take away the line's end and the mark before it; in place where the line is large."""
    start = len(_BYTE_ORDER_MARK) if drop_mark and line.startswith(_BYTE_ORDER_MARK) else 0
    end = len(line) - line.endswith(b"\n")
    end -= line.endswith(b"\r", 0, end)
    if isinstance(line, bytearray):
        del line[end:]
        del line[:start]
        return line
    return line[start:end]


def _refuse(path: Path, number: int, why: str, raw: bytes | bytearray, rejects: Rejects | None) -> None:
    if rejects is None:
        raise InputError(why, path, number)
    rejects.add(path, number, why, raw)
