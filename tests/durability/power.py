"""What a disk may hold after a power cut, given the calls that were made.

The model grants a file system nothing that POSIX does not promise. Content is on disk once its file was synced, a name
once its folder was; syncing a file saves no name, and syncing a folder no content. Of all that was done since, any part
may be there: each write whole, not at all, in some of its sectors, or as garbage; each change of a name or not, in the
order in which they were made or in none. A file may have grown without its content having come.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from watched import Call

SECTOR = 512
ROOT = 0


class Write(NamedTuple):
    at: int
    content: bytes


class Truncate(NamedTuple):
    size: int


class Name(NamedTuple):
    """A change of names in a folder: `new` comes to mean `target`, and `old` goes if it means the same."""

    folder: int
    old: str | None
    new: str | None
    target: int | None


@dataclass
class File:
    synced: bytes = b""
    pending: list[Write | Truncate] = field(default_factory=list)


class Disk:
    """The durable and the pending part of everything below a folder, as the calls come in.

    Calls named in `ignored` are passed over: what a program is worth that leaves them out.
    """

    def __init__(self, folder: Path, ignored: Iterable[str] = ()) -> None:
        self._root = str(folder.resolve())
        self._ignored = set(ignored)
        self._numbers: dict[int, int] = {}  # inode: our number; inodes are used again
        self._next = ROOT + 1
        self.files: dict[int, File] = {}
        self.synced_names: dict[int, dict[str, int]] = {ROOT: {}}
        self.names: dict[int, dict[str, int]] = {ROOT: {}}
        self.pending_names: list[Name] = []
        self._take_in(folder, ROOT)

    def lay_out(self, folder: Path) -> None:
        """Write what processes see, synced or not, to an empty folder, and go on with the calls that are made there."""
        self._numbers = {folder.stat().st_ino: ROOT}
        self._lay_out(folder, ROOT)

    def _lay_out(self, folder: Path, number: int) -> None:
        for name, inner in self.names[number].items():
            path = folder / name
            if inner in self.files:
                path.write_bytes(apply_whole(self.files[inner]))
            else:
                path.mkdir()
                self._lay_out(path, inner)
            self._numbers[path.stat().st_ino] = inner

    def _take_in(self, folder: Path, number: int) -> None:
        """Begin with what lies there, all of it durable."""
        self._numbers[folder.stat().st_ino] = number
        for path in folder.iterdir():
            inner = self._number(path.stat().st_ino, fresh=path.stat().st_ino not in self._numbers)
            self.synced_names[number][path.name] = self.names[number][path.name] = inner
            if path.is_dir():
                self.synced_names[inner], self.names[inner] = {}, {}
                self._take_in(path, inner)
            else:
                self.files[inner] = File(path.read_bytes())

    def _number(self, inode: int, *, fresh: bool) -> int:
        if fresh:
            self._numbers[inode] = self._next
            self._next += 1
        return self._numbers[inode]

    def _place(self, path: str) -> tuple[int, str]:
        """Give the folder and the name that a path means now."""
        assert path.startswith(self._root), path
        *folders, name = path[len(self._root) :].strip("/").split("/")
        number = ROOT
        for folder in folders:
            number = self.names[number][folder]
        return number, name

    def take(self, call: Call) -> None:
        """Let a call happen."""
        if call.what in self._ignored or f"{call.what} {Path(call.path).suffix}" in self._ignored:
            return
        match call.what:
            case "note":
                pass
            case "write":
                self.files[self._numbers[call.inode]].pending.append(Write(call.at, call.content))
            case "truncate":
                self.files[self._numbers[call.inode]].pending.append(Truncate(call.at))
            case "fsync" | "fdatasync":
                self._sync(ROOT if call.path == self._root else self._numbers[call.inode])
            case "create" | "mkdir":
                self._create(call)
            case "unlink":
                folder, name = self._place(call.path)
                self._rename(Name(folder, name, None, self.names[folder][name]))
            case "rename":
                (folder, old), (same, new) = self._place(call.path), self._place(call.second)
                assert folder == same, "from one folder to another"
                self._rename(Name(folder, old, new, self.names[folder][old]))
            case _:
                raise AssertionError(f"nobody has thought of {call.what} {call.path}")

    def _create(self, call: Call) -> None:
        folder, name = self._place(call.path)
        number = self._number(call.inode, fresh=True)
        if call.what == "mkdir":
            self.synced_names[number], self.names[number] = {}, {}
        else:
            self.files[number] = File()
        self._rename(Name(folder, None, name, number))

    def _rename(self, change: Name) -> None:
        _apply_name(self.names[change.folder], change)
        self.pending_names.append(change)

    def _sync(self, number: int) -> None:
        if number in self.files:
            file = self.files[number]
            file.synced, file.pending = apply_whole(file), []
            return
        for change in self.pending_names:
            if change.folder == number:
                _apply_name(self.synced_names[number], change)
        self.pending_names = [change for change in self.pending_names if change.folder != number]

    def after_a_cut(self, generator: random.Random) -> dict[str, bytes | None]:
        """Draw one state: what each path holds, None for a folder."""
        kept = self._draw_names(generator)
        names = {number: dict(inner) for number, inner in self.synced_names.items()}
        for change in kept:
            _apply_name(names[change.folder], change)
        way = generator.choice(("nothing", "everything", "prefix", "each", "each"))
        state: dict[str, bytes | None] = {}
        self._fill(state, "", ROOT, names, {}, (way, generator))
        return state

    def _draw_names(self, generator: random.Random) -> list[Name]:
        pending = self.pending_names
        if generator.random() < 0.5:
            return pending[: generator.randint(0, len(pending))]
        odds = generator.choice((0.2, 0.5, 0.8))
        return [change for change in pending if generator.random() < odds]

    def _fill(
        self,
        state: dict[str, bytes | None],
        prefix: str,
        number: int,
        names: dict[int, dict[str, int]],
        contents: dict[int, bytes],
        how: tuple[str, random.Random],
    ) -> None:
        for name, inner in sorted(names[number].items()):
            path = f"{prefix}{name}"
            if inner in self.files:
                if inner not in contents:
                    contents[inner] = _draw_content(self.files[inner], *how)
                state[path] = contents[inner]
            else:
                state[path] = None
                self._fill(state, f"{path}/", inner, names, contents, how)


def _apply_name(names: dict[str, int], change: Name) -> None:
    if change.old is not None and names.get(change.old) == change.target:
        del names[change.old]
    if change.new is not None:
        assert change.target is not None
        names[change.new] = change.target


def apply_whole(file: File) -> bytes:
    """Give the content with all that is pending."""
    if not file.pending:
        return file.synced
    content = bytearray(file.synced)
    for change in file.pending:
        _apply(content, change)
    return bytes(content)


def _apply(content: bytearray, change: Write | Truncate) -> None:
    size = change.size if isinstance(change, Truncate) else change.at
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if isinstance(change, Truncate):
        del content[size:]
    else:
        content[size : size + len(change.content)] = change.content


def _draw_content(file: File, way: str, generator: random.Random) -> bytes:
    if not file.pending or way == "nothing":
        return file.synced
    if way == "everything":
        return apply_whole(file)
    content = bytearray(file.synced)
    last = generator.randrange(len(file.pending))
    for place, change in enumerate(file.pending):
        if way == "prefix":
            fate = "whole" if place < last else "torn" if place == last else "absent"
        else:
            fate = generator.choice(("whole", "whole", "absent", "torn", "garbled"))
        if isinstance(change, Truncate) or fate == "whole":
            if fate in ("whole", "torn"):
                _apply(content, change)
        else:
            for part in _parts(change, fate, generator):
                _apply(content, part)
    return bytes(content)


def _parts(write: Write, fate: str, generator: random.Random) -> Iterator[Write]:
    """Give what comes of a write: some of its sectors, or garbage in its place."""
    if fate == "absent":
        return
    end = write.at + len(write.content)
    if generator.random() < 0.3:  # it has grown, but what was written has not come
        yield Write(end, b"")
    if fate == "garbled":
        yield Write(write.at, generator.randbytes(len(write.content)))
        return
    cuts = [write.at, *range((write.at // SECTOR + 1) * SECTOR, end, SECTOR), end]
    sectors = list(zip(cuts, cuts[1:], strict=False))
    if generator.random() < 0.5:
        sectors = sectors[: generator.randint(0, len(sectors))]
    else:
        sectors = [sector for sector in sectors if generator.random() < 0.5]
    for start, stop in sectors:
        yield Write(start, write.content[start - write.at : stop - write.at])
