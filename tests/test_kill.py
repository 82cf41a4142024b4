"""kill -9 at any moment leaves the last acknowledged commit, or the one that was under way, whole.

This file is also the program that is killed: `python tests/test_kill.py FOLDER` does what is left of `PLAN` on the
index at FOLDER and prints a line after each change that returned.

The page cache outlives a process, so these tests would pass without any fsync. What must be on disk before the
acknowledgement is the subject of test_everything_is_synced_before_the_acknowledgement.
"""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from everglade.index import segments
from everglade.index.store import Store, is_index
from everglade.reference import Impacts, quantise_documents, quantise_queries, search_impacts
from everglade.vectors import SparseMatrix

N_TERMS = 40
SCALE = 60.0
CALLS = ("fdatasync", "fsync", "mkdir", "openat", "pwrite64", "rename", "unlink", "write")
STRACE = shutil.which("strace")
STRACE_POINTS = 32  # each is followed by a second kill, so twice as many kills
TIMED_KILLS = 16 if STRACE else 60


def plan():
    """Twelve changes: additions that replace some of what is there, and deletions, one of which empties a segment."""
    generator = random.Random(7)
    ids = [f"document-{place:03}" for place in range(60)]
    changes = []
    for number in range(12):
        if number % 4 == 3:
            changes.append(("delete", generator.sample(ids, 25)))
            continue
        rows = {
            id: {term: generator.choice([0.5, 1.0, 2.0]) for term in generator.sample(range(N_TERMS), 4)}
            for id in generator.sample(ids, 30)
        }
        changes.append(("add", rows))
    return changes


def states():
    """What the index holds after 0, 1, 2, ... changes: {id: {term: weight}}."""
    held, after = {}, [{}]
    for kind, values in plan():
        kept = {id: row for id, row in held.items() if id not in values}
        held = {**kept, **values} if kind == "add" else kept
        after.append(held)
    return after


def work(folder):
    """Do what is left of the plan: the index counts its commits."""
    store = Store.open(folder) if is_index(folder) else Store.create(folder, n_terms=N_TERMS, impact_scale=SCALE)
    with store:
        for number in range(store.meta.generation, len(plan())):
            kind, values = plan()[number]
            if kind == "add":
                store.add(None, list(values), SparseMatrix.from_rows(values.values(), N_TERMS))
            else:
                store.delete(values)
            print(f"ack {number + 1}", flush=True)  # noqa: T201 - this is how the program acknowledges


if __name__ == "__main__":
    segments.SEGMENT_DOCUMENTS = 20  # two files for one commit
    work(Path(sys.argv[1]))


def command(folder):
    return [sys.executable, "-B", __file__, str(folder)]


def start(arguments):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


def last_acknowledged(output, before=0):
    return max([before, *(int(number) for number in re.findall(r"^ack (\d+)$", output, re.M))])


def kill_at(folder, call, occurrence):
    """Kill the worker as it enters the n-th such system call; give its last acknowledgement, and whether it died."""
    inject = f"inject={call}:signal=SIGKILL:when={occurrence}"
    options = ["-f", "-qq", "-o", os.devnull, "-e", f"trace={call}", "-e", inject]
    with start([STRACE, *options, *command(folder)]) as process:
        output = process.communicate()[0]
    return last_acknowledged(output), process.returncode != 0


def require_whole(folder, acknowledged, under_way=1):
    """Fail unless the index is whole, at the last acknowledged commit or one under way, and a writer finds order."""
    if not is_index(folder):
        assert acknowledged == 0
        assert not folder.exists()
        return
    with Store.open(folder) as store:
        assert acknowledged <= store.meta.generation <= acknowledged + under_way
        held = states()[store.meta.generation]
        require_holds(store, held)
        store.delete(["nobody"])  # becomes the writer, and tidies up
        require_holds(store, held)
        names = {segment.row.name for segment in store.snapshot.segments}
        # SQLite takes the place of a journal that holds nothing yet; it does not remove it.
        found = {path.name for path in folder.iterdir()} - {"catalog.sqlite-journal"}
        assert found == {*names, "catalog.sqlite", "write.lock"}


def require_holds(store, held):
    assert sorted(store.snapshot.ids()) == sorted(held)
    matrix = SparseMatrix.from_rows(held.values(), N_TERMS)
    impacts = Impacts(matrix.indptr, matrix.terms, quantise_documents(matrix.weights, SCALE))
    for row, id in enumerate(held):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        terms, stored = store.vector(id)
        assert (terms.tolist(), stored.tolist()) == (impacts.terms[span].tolist(), impacts.impacts[span].tolist())
        assert store.document(id) is not None
    queries = SparseMatrix.from_rows([{term: 1.0, (term + 1) % N_TERMS: 0.5} for term in range(0, N_TERMS, 4)], N_TERMS)
    found = store.search(queries, 70)
    rankings = search_impacts(impacts, list(held), quantise_queries(queries)[0], 70)
    for ids, scores, expected in zip(found.ids, found.integer_scores, rankings, strict=True):
        assert [id for id in ids if id is not None] == expected.ids
        assert scores[: len(expected.scores)].tolist() == expected.scores


def trace(folder):
    """Run the worker to its end; give the system calls of each thread, the main one first.

    They are (call, line) pairs, with paths beside descriptors. The other threads are merges on their way.
    """
    log = folder.with_name("strace.log")
    options = ["-f", "-qq", "-y", "-s", "40", "-o", str(log), "-e", f"trace={','.join(CALLS)}"]
    with start([STRACE, *options, *command(folder)]) as process:
        process.communicate()
    assert process.returncode == 0
    threads, begun = {}, {}
    for thread, line in (line.split(maxsplit=1) for line in log.read_text().splitlines()):
        calls = threads.setdefault(thread, [])
        if line.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        else:
            whole = begun.pop(thread) + line.split("resumed>")[1] if line.startswith("<...") else line
            calls.append((whole.split("(")[0], whole))
    return list(threads.values())


def choose_points(calls, generator):
    """Choose (call, occurrence) pairs evenly among the kinds of calls, from the first change on disk on."""
    points = {call: [] for call in CALLS}
    seen = dict.fromkeys(CALLS, 0)
    begun = False
    for call, _ in calls:
        begun = begun or call == "mkdir"
        seen[call] += 1
        if begun:
            points[call].append((call, seen[call]))
    for found in points.values():
        generator.shuffle(found)
    chosen = []
    while len(chosen) < STRACE_POINTS:
        chosen += [found.pop() for found in points.values() if found]
    return chosen[:STRACE_POINTS]


def skip_without_strace():
    if STRACE is None:
        import pytest  # not above: the program that is killed should start fast

        pytest.skip("strace is not installed")


def test_a_kill_at_any_system_call_leaves_a_whole_commit(tmp_path):
    """Each worker is killed at a chosen call, and the next one again, early, while it recovers."""
    skip_without_strace()
    generator = random.Random(11)
    points = choose_points(trace(tmp_path / "traced")[0], generator)
    again = [(generator.choice(["fdatasync", "pwrite64", "unlink", "write"]), generator.randint(1, 5)) for _ in points]

    def kill_twice(place):
        folder = tmp_path / str(place)
        acknowledged, killed = kill_at(folder, *points[place])
        assert killed, points[place]
        later, killed_again = kill_at(folder, *again[place])
        # Without an acknowledgement from the second worker, one commit of each may stand unacknowledged.
        require_whole(folder, max(acknowledged, later), under_way=1 if later else 2)
        shutil.rmtree(folder, ignore_errors=True)
        return 1 + killed_again

    with ThreadPoolExecutor(2) as pool:
        assert sum(pool.map(kill_twice, range(len(points)))) >= 50


def test_a_kill_at_any_time_leaves_a_whole_commit(tmp_path):
    """Workers take up each other's work on one index; each is killed a random while after its first acknowledgement."""
    generator = random.Random(13)
    folder, acknowledged = tmp_path / "i", 0
    for _ in range(TIMED_KILLS):
        if acknowledged == len(plan()):
            shutil.rmtree(folder)
            acknowledged = 0
        with start(command(folder)) as process:
            first = process.stdout.readline()
            time.sleep(generator.uniform(0, 0.03))
            process.kill()
            acknowledged = last_acknowledged(first + process.stdout.read(), acknowledged)
        require_whole(folder, acknowledged)
        with Store.open(folder) as store:
            acknowledged = store.meta.generation


def test_everything_is_synced_before_the_acknowledgement(tmp_path):
    """What a power cut may take: content since its last sync, and names since the last sync of their folder."""
    skip_without_strace()
    main, *merges = trace(tmp_path / "i")
    assert require_synced(main, tmp_path) == len(plan())
    assert any('.segment.tmp"' in line for calls in merges for _, line in calls)
    for calls in merges:
        require_synced(calls, tmp_path)


def require_synced(calls, tmp_path):
    """Fail unless what one thread wrote was on disk by its next acknowledgement, and by its end; count these."""
    unsynced, acknowledged = set(), 0
    for call, line in calls:
        path = (re.search(r"<([^>]*)>", line) or re.search(r'"([^"]*)"', line))[1]
        if not path.startswith(str(tmp_path)):
            if re.search(r'"ack \d+', line):
                assert not unsynced, f"not yet on disk before {line}"
                acknowledged += 1
        elif call in ("fsync", "fdatasync"):
            unsynced.discard(path)
        elif call in ("write", "pwrite64") and not path.endswith("write.lock"):
            if path.endswith("i/catalog.sqlite"):
                assert unsynced <= {path}, "what a commit names, and the way back, must be on disk before it"
            unsynced.add(path)
        elif call == "unlink" and path.endswith(".segment"):
            pass  # dropped by a commit that stands: it may come back, and is removed again
        elif call in ("rename", "unlink", "mkdir") or "O_CREAT" in line:
            unsynced.discard(path)
            unsynced.add(str(Path(re.findall(r'"([^"]*)"', line)[-1]).parent))
    assert not unsynced
    return acknowledged
