"""Each change of the script, with one of its calls disturbed: failed, cut short, or the last that the process made."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from scripted import Change, Contents, apply, changes, read_index, run_change, states, tidy_up
from watched import FAIL, FAIL_FROM_HERE, KILL_AFTER, KILL_BEFORE, NOTHING, SHORT, Calls

from everglade.errors import CorruptIndex, IndexFolderError
from everglade.index.store import Store


class Disturbance(NamedTuple):
    name: str
    what: int
    error: int = 0


DISTURBANCES = (
    Disturbance("kill before", KILL_BEFORE),
    Disturbance("kill after", KILL_AFTER),
    Disturbance("EIO", FAIL, errno.EIO),
    Disturbance("ENOSPC", FAIL, errno.ENOSPC),
    Disturbance("EMFILE", FAIL, errno.EMFILE),
    Disturbance("EIO from here on", FAIL_FROM_HERE, errno.EIO),
    Disturbance("ENOSPC from here on", FAIL_FROM_HERE, errno.ENOSPC),
    Disturbance("a short write", SHORT),
)
MOST_WRONG = 20


class Trial(NamedTuple):
    """Change `number` of the script, disturbed at call `place`; `lives` if the store was open before."""

    number: int
    disturbance: Disturbance
    place: int
    lives: bool

    def __str__(self) -> str:
        store = "an open store" if self.lives else "a fresh store"
        return f"change {self.number} in {store}, {self.disturbance.name} at call {self.place}"


class Disturbed:
    """A folder in which trials are made, one after another."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.calls = Calls()
        self.generator = random.Random(seed)
        self.changes = changes()
        self.expected = list(states())
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def prepare(self) -> None:
        """Lay out what each change finds."""
        for number in range(len(self.changes)):
            before = self.folder / f"before-{number}"
            if number == 0:
                before.mkdir()
            else:
                shutil.copytree(self.folder / f"before-{number - 1}", before)
                run_change(before / "i", self.changes[number - 1])

    def count_calls(self, number: int, *, lives: bool) -> int:
        """Count the calls of an undisturbed change."""
        outcome = self._in_child(Trial(number, Disturbance("nothing", NOTHING), 0, lives))
        assert outcome is not None and outcome["said"] == "done", outcome
        return int(outcome["calls"])

    def try_one(self, trial: Trial) -> None:
        """Disturb one call; note what is wrong afterwards."""
        outcome = self._in_child(trial)
        try:
            self._judge(trial, outcome)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            self.wrong.append(f"{trial} ({outcome}): {type(error).__name__}: {error}")

    def _judge(self, trial: Trial, outcome: dict[str, Any] | None) -> None:
        before, after = self.expected[trial.number], self.expected[trial.number + 1]
        index = self.folder / "disk" / "i"
        said = "killed" if outcome is None else str(outcome["said"])
        self.counts[said] += 1
        assert said in ("done", "killed") or said.startswith("refused"), said
        if outcome is None:
            self._kill_again(index)
        contents = read_index(index)
        assert contents == after or (said != "done" and contents == before), "a state that nobody acknowledged"
        if outcome is not None and outcome["then"] is not None:
            assert outcome["then"] == "as it should be", outcome["then"]
        elif contents != after:
            run_change(index, self.changes[trial.number])
            assert read_index(index) == after, "the change cannot be made any more"
        assert tidy_up(index) == after, "something else after tidying up"

    def _kill_again(self, index: Path) -> None:
        """Kill the process that recovers, at some early call."""
        if not index.exists():
            return
        child = os.fork()
        if child == 0:
            with self.calls.watching(index.parent):
                self.calls.choose(self.generator.randint(1, 12), KILL_BEFORE)
                read_index(index)
                with Store.open(index) as store:
                    store.become_writer()
            os._exit(0)
        self.generator.random()
        _, status = os.waitpid(child, 0)
        self.counts["killed again"] += os.WIFSIGNALED(status)

    def _in_child(self, trial: Trial) -> dict[str, Any] | None:
        """Make the change in a child process; give what it says, or None if it was killed."""
        disk = self.folder / "disk"
        shutil.rmtree(disk, ignore_errors=True)
        shutil.copytree(self.folder / f"before-{trial.number}", disk)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, json.dumps(self._disturb(disk / "i", trial)).encode())
            finally:
                os._exit(0)
        os.close(writing)
        with os.fdopen(reading, "rb") as answer:
            said = answer.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            assert os.WTERMSIG(status) == signal.SIGKILL, f"signal {os.WTERMSIG(status)}"
            return None
        return dict(json.loads(said))

    def _disturb(self, index: Path, trial: Trial) -> dict[str, Any]:
        change, after = self.changes[trial.number], self.expected[trial.number + 1]
        store = Store.open(index) if trial.lives else None
        said = "done"
        with self.calls.watching(index.parent):
            self.calls.choose(trial.place, trial.disturbance.what, trial.disturbance.error)
            try:
                run_change(index, change) if store is None else apply(store, change)
            except CorruptIndex as error:
                said = f"took a fault for damage: {error}"
            except (OSError, IndexFolderError, MemoryError) as error:
                said = f"refused: {type(error).__name__}"
            except Exception as error:  # noqa: BLE001 - it is named, and counts as wrong
                said = f"{type(error).__name__}: {error}"
            counted = self.calls.counted()
            self.calls.choose(0, NOTHING)
        then = None
        if store is not None:
            then = _use_again(store, change, after)
            store.close()
        return {"said": said, "calls": counted, "then": then}


def _use_again(store: Store, change: Change, after: Contents | None) -> str:
    """Use the same open store once more, undisturbed."""
    from scripted import read_store

    try:
        read_store(store)
        apply(store, change)
        return "as it should be" if read_store(store) == after else "the change gives something else the second time"
    except Exception as error:  # noqa: BLE001 - it is named, and counts as wrong
        return f"the open store does not go on: {type(error).__name__}: {error}"


def disturb_every(folder: Path, every: int, seed: int) -> dict[str, Any]:
    """Disturb each `every`th call of every change in each way, or stop after 20 that are wrong."""
    began = time.monotonic()
    disturbed = Disturbed(folder, seed)
    disturbed.prepare()
    trials = calls = 0
    for number in range(len(disturbed.changes)):
        for lives in (False, True) if number else (False,):
            counted = disturbed.count_calls(number, lives=lives)
            calls += counted
            for disturbance in DISTURBANCES:
                for place in range(1 + disturbed.generator.randrange(every), counted + 1, every):
                    if len(disturbed.wrong) < MOST_WRONG:
                        disturbed.try_one(Trial(number, disturbance, place, lives))
                        trials += 1
    return {
        "calls": calls,
        "disturbed": trials,
        "outcomes": dict(disturbed.counts),
        "every": every,
        "seed": seed,
        "seconds": round(time.monotonic() - began, 1),
        "wrong": len(disturbed.wrong),
        "examples": disturbed.wrong[:5],
    }


if __name__ == "__main__":
    sys.exit("trials.py runs this")
