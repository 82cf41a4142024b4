"""The program that the tests here and benchmarks/power_loss.py run below calls.c: it prints one JSON object.

    python trials.py record FOLDER
    python trials.py power FOLDER STATES SEED [IGNORED,... [SECONDS]]
    python trials.py killed FOLDER EVERY SEED
    python trials.py faults FOLDER EVERY SEED

`record` runs the script of scripted.py and counts its calls. `power` cuts the power at every one of them, draws states
of the disk until there are STATES different ones or SECONDS are over, and opens each as a new process would; calls that
are IGNORED do not count, and "collect first" removes files before the commit that makes it right. `killed` ends the
process after every EVERYth call, and after each that ends a transaction, lets another one become the writer, and cuts
the power at every call of that. `faults` lets every EVERYth call of every change fail or be the last.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from power import Disk
from scripted import SEGMENT_DOCUMENTS, Contents, read_index, run_all, states, tidy_up
from watched import Call, Calls, read_log

from everglade.index import segments
from everglade.index.store import Store

INDEX = "i"
SHOWN = 5
MOST_WRONG = 20
TIDY_EVERY = 16
CUT_AGAIN_EVERY = 100
SAMPLES = 6


class Trials:
    """States of a disk, each opened once, and what was wrong with them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.calls = Calls()
        self.generator = random.Random(seed)
        self.expected = list(states())
        self.seen: dict[bytes, set[int]] = {}  # digests of disks, with what was allowed when they were found right
        self.opened = self.tidied = self.cut_again = 0
        self.wrong: list[str] = []
        self.kinds: Counter[str] = Counter()
        self._pool: dict[bytes, Path] = {}

    def judge(self, state: dict[str, bytes | None], allowed: range, where: str, *, again: bool = True) -> None:
        """Open a state that was not seen before; it must hold what one of the `allowed` changes left."""
        digest = hashlib.blake2b(digest_size=16)
        for path, content in state.items():
            digest.update(f"{path}\0{-1 if content is None else len(content)}\0".encode())
            digest.update(content or b"")
        if not self.seen.get(digest.digest(), set()).isdisjoint(allowed):
            return
        self.seen[digest.digest()] = set()
        self.opened += 1
        place = self.folder / "disk"
        self._lay_out(state, place)
        try:
            if again and self.opened % CUT_AGAIN_EVERY == 0 and (place / INDEX).exists():
                self._cut_while_recovering(place, allowed, where)
            else:
                self._look(place, allowed, tidy=self.opened % TIDY_EVERY == 0)
            self.seen[digest.digest()] = {*allowed}
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            self.wrong.append(f"{where}: {type(error).__name__}: {error}")
            self.kinds[type(error).__name__] += 1
        shutil.rmtree(place)

    def _look(self, place: Path, allowed: range, *, tidy: bool) -> None:
        contents = read_index(place / INDEX)
        require(contents, [self.expected[number] for number in allowed])
        if tidy and contents is not None:
            self.tidied += 1
            require(tidy_up(place / INDEX), [contents])

    def _lay_out(self, state: dict[str, bytes | None], place: Path) -> None:
        place.mkdir()
        for path, content in state.items():
            if content is None:
                (place / path).mkdir()
            elif path.endswith(".segment") and content:
                # Segment files are never written to in place, so that states may share them.
                if content not in self._pool:
                    self._pool[content] = self.folder / f"pool-{len(self._pool)}"
                    self._pool[content].write_bytes(content)
                os.link(self._pool[content], place / path)
            else:
                (place / path).write_bytes(content)

    def _cut_while_recovering(self, place: Path, allowed: range, where: str) -> None:
        """Record what opening and tidying up do to this state, and cut the power there too."""
        disk = Disk(place)
        log = self.folder / "again.log"
        with self.calls.recording(place, log):
            contents = read_index(place / INDEX)
            tidy_up(place / INDEX)
        require(contents, [self.expected[number] for number in allowed])
        number = self.expected.index(contents)
        shutil.rmtree(place)
        place.mkdir()
        recovered = False
        for call in read_log(log):
            disk.take(call)
            recovered = recovered or call.path.endswith((".segment.tmp", ".segment"))
            if recovered:
                break  # the document that tidying up adds is no part of the script
            self.cut_again += 1
            shutil.rmtree(place)
            self.judge(disk.after_a_cut(self.generator), allowed, f"{where}, recovering to {number}", again=False)
            place.mkdir()


def require(contents: Contents | None, allowed: Iterable[Contents | None]) -> None:
    """Fail unless this is what one of the states holds."""
    if any(contents == state for state in allowed):
        return
    found = "no index" if contents is None else f"{len(contents) - 1} documents"
    raise AssertionError(f"{found}, which is neither what was acknowledged nor what was under way")


def collect_first(recorded: list[Call]) -> list[Call]:
    """Move the removal of every segment file to the beginning of its change."""
    moved: list[Call] = []
    begun = 0
    for call in recorded:
        if call.what == "note":
            begun = len(moved) + 1
        if call.what == "unlink" and call.path.endswith(".segment"):
            moved.insert(begun, call)
        else:
            moved.append(call)
    return moved


def record(calls: Calls, folder: Path) -> list[Call]:
    """Run the script once, in the folder `disk`, and give its calls."""
    work, log = folder / "disk", folder / "calls.log"
    work.mkdir()
    with calls.recording(work, log):
        run_all(work / INDEX, calls.note)
    return read_log(log)


def cuts(recorded: list[Call], ignored: Iterable[str], place: Path) -> Iterator[tuple[int, Disk, range]]:
    """Give the disk after each call, with the numbers of the states that may be found then."""
    place.mkdir()
    disk = Disk(place, ignored)
    place.rmdir()
    acknowledged = begun = 0
    for number, call in enumerate(recorded):
        disk.take(call)
        if call.what == "note":
            word, change = call.path.split()
            acknowledged, begun = (int(change) + 1, begun) if word == "ack" else (acknowledged, int(change) + 1)
        yield number, disk, range(acknowledged, begun + 1)


def power(
    folder: Path, count: int, seed: int, ignored: Iterable[str] = (), seconds: float = math.inf
) -> dict[str, Any]:
    """Open `count` different states, or what fits `seconds`, or stop after 20 that are wrong."""
    began = time.monotonic()
    trials = Trials(folder, seed)
    recorded = record(trials.calls, folder)
    shutil.rmtree(folder / "disk")
    if "collect first" in ignored:
        recorded = collect_first(recorded)
    rounds = 0

    def done() -> bool:
        late = time.monotonic() - began > seconds
        return late or trials.opened >= count or len(trials.wrong) >= MOST_WRONG

    while not done():
        rounds += 1
        before = trials.opened
        for number, disk, allowed in cuts(recorded, ignored, folder / "disk"):
            pending = len(disk.pending_names) + sum(len(file.pending) for file in disk.files.values())
            for _ in range(min(1 + pending, 12)):
                call = recorded[number]
                where = f"after call {number}, {call.what} {Path(call.path).name} {call.second}"
                trials.judge(disk.after_a_cut(trials.generator), allowed, where)
            if done():
                break
        assert trials.opened > before, "there are no more states"
    return {
        "calls": sum(call.what != "note" for call in recorded),
        "states": trials.opened,
        "tidied_up": trials.tidied,
        "cut_again_while_recovering": trials.cut_again,
        "rounds": rounds,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "wrong": len(trials.wrong),
        "kinds": dict(trials.kinds),
        "examples": trials.wrong[:SHOWN],
    }


def killed(folder: Path, every: int, seed: int) -> dict[str, Any]:
    """Kill, recover and then cut the power; stop after 20 states that are wrong."""
    began = time.monotonic()
    trials = Trials(folder, seed)
    recorded = record(trials.calls, folder)
    shutil.rmtree(folder / "disk")
    kills = 0
    for number, call in enumerate(recorded):
        commits = call.what == "unlink" and call.path.endswith("-journal")
        if (commits or number % every == 0) and call.what != "note" and len(trials.wrong) < MOST_WRONG:
            _, disk, allowed = next(cut for cut in cuts(recorded, (), folder / "disk") if cut[0] == number)
            kills += _recover_and_cut(trials, disk, allowed, f"killed after call {number}, {call.what}")
    return {
        "kills": kills,
        "states": trials.opened,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "wrong": len(trials.wrong),
        "kinds": dict(trials.kinds),
        "examples": trials.wrong[:SHOWN],
    }


def _recover_and_cut(trials: Trials, disk: Disk, allowed: range, where: str) -> bool:
    """Let a process become the writer of what the killed one left, nothing of which need be on the disk yet."""
    place, log = trials.folder / "disk", trials.folder / "recovery.log"
    place.mkdir()
    disk.lay_out(place)
    if not (place / INDEX).exists():
        shutil.rmtree(place)
        return False
    with trials.calls.recording(place, log):
        contents = read_index(place / INDEX)
        with Store.open(place / INDEX) as store:
            store.become_writer()
    shutil.rmtree(place)
    require(contents, [trials.expected[number] for number in allowed])
    for made in read_log(log):
        disk.take(made)
        for _ in range(SAMPLES):
            what = f"{where}, cut after {made.what} {Path(made.path).name}"
            trials.judge(disk.after_a_cut(trials.generator), allowed, what, again=False)
    return True


if __name__ == "__main__":
    segments.SEGMENT_DOCUMENTS = SEGMENT_DOCUMENTS
    what, where, *rest = sys.argv[1:]
    if what == "record":
        result = dict(Counter(call.what for call in record(Calls(), Path(where))))
    elif what == "killed":
        result = killed(Path(where), int(rest[0]), int(rest[1]))
    elif what == "power":
        ignored = rest[2].split(",") if rest[2:] else ()
        result = power(Path(where), int(rest[0]), int(rest[1]), ignored, float((rest[3:] or ["inf"])[0]))
    else:
        from disturb import disturb_every

        result = disturb_every(Path(where), int(rest[0]), int(rest[1]))
    print(json.dumps(result))  # noqa: T201 - this is how the program answers
