"""The library of calls.c: built, loaded before a program, and told by that program what to watch."""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("calls.c")
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
NOTHING, FAIL, FAIL_FROM_HERE, KILL_BEFORE, KILL_AFTER, SHORT = range(6)


class Call(NamedTuple):
    """One call as calls.c wrote it down; `what` is "note" for what the program said in between."""

    what: str
    inode: int
    at: int
    content: bytes
    path: str
    second: str


def build_library() -> Path:
    """Compile calls.c once for each of its versions."""
    name = f"everglade-calls-{os.getuid()}-{hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]}.so"
    library = Path(tempfile.gettempdir()) / name
    if not library.exists():
        fresh = library.with_suffix(f".{os.getpid()}")
        subprocess.run([COMPILER, "-O1", "-Wall", "-shared", "-fPIC", "-o", fresh, SOURCE], check=True)
        fresh.replace(library)
    return library


def run_watched(program: Path, *arguments: str, before: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a Python program with the library in front of it, below the command `before` if there is one."""
    environment = {**os.environ, "LD_PRELOAD": str(build_library()), "OPENBLAS_NUM_THREADS": "1"}
    command = [*before, sys.executable, "-B", str(program), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


class Calls:
    """The library in this process, which `run_watched` started."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.calls_counted.restype = ctypes.c_long
        self._library.calls_choose.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]

    def note(self, text: str) -> None:
        """Write down that this point was reached."""
        self._library.calls_note(text.encode())

    def choose(self, number: int, what: int, error: int = 0) -> None:
        """Count from 0, and do `what` at the call with this number."""
        self._library.calls_choose(number, what, error)

    def counted(self) -> int:
        """Give the number of calls since `choose`."""
        return int(self._library.calls_counted())

    @contextmanager
    def watching(self, folder: Path) -> Iterator[None]:
        """Count and, if chosen, disturb calls on files below `folder`."""
        self._library.calls_watch(os.fsencode(folder.resolve()))
        try:
            yield
        finally:
            self._library.calls_watch(b"")

    @contextmanager
    def recording(self, folder: Path, log: Path) -> Iterator[None]:
        """Write the calls on files below `folder` down in `log`, which lies elsewhere."""
        with log.open("wb", buffering=0) as file, self.watching(folder):
            self._library.calls_record(file.fileno())
            try:
                yield
            finally:
                self._library.calls_record(-1)


def read_log(log: Path) -> list[Call]:
    """Read what `Calls.recording` wrote."""
    calls = []
    with log.open("rb") as file:
        while line := file.readline():
            what, inode, at, size, path, second = line.rstrip(b"\n").decode().split("\t")
            calls.append(Call(what, int(inode), int(at), file.read(int(size)), path, second))
    return calls
