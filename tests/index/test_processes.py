"""Several processes at one index: stores that are older than the catalog, forks of a writer, and long readings."""

import gc
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest

from everglade.errors import IndexFolderError, LockHeld
from everglade.index import background, catalog, check
from everglade.index.check import check_index
from everglade.index.repair import repair_index
from everglade.index.store import Store
from everglade.texts import Document
from everglade.vectors import SparseMatrix

N_TERMS = 12


def vectors(*rows):
    return SparseMatrix.from_rows(rows, N_TERMS)


def add(store, *ids):
    store.add([Document(id, f"text of {id}") for id in ids], list(ids), vectors(*[{1: 1.0}] * len(ids)))


def make(folder, *ids):
    with Store.create(folder, n_terms=N_TERMS, impact_scale=40.0) as store:
        for id in ids:
            add(store, id)


def ids_in(folder):
    with Store.open(folder) as store:
        assert {store.document(id).text for id in store.snapshot.ids()} == {
            f"text of {id}" for id in store.snapshot.ids()
        }
        return sorted(store.snapshot.ids())


@pytest.fixture
def folder(memory_folder):
    return memory_folder / "i"


# A catalog that takes the place of another


def replace_by_repair(folder):
    """What `everglade check --repair` does to a damaged catalog, here and in another process alike."""
    content = bytearray((folder / "catalog.sqlite").read_bytes())
    content[content.index(b"text of a")] ^= 1
    (folder / "catalog.sqlite").write_bytes(content)
    assert repair_index(folder).without_text == ["a"]


IN_ANOTHER = """
import sys
from pathlib import Path
sys.path.insert(0, {here!r})
import test_processes
{what}
"""


def run_in_another(what):
    source = IN_ANOTHER.format(here=str(Path(__file__).parent), what=what)
    subprocess.run([sys.executable, "-c", source], check=True)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one process", "two processes"])
def test_an_older_store_writes_to_the_catalog_that_a_repair_made(folder, elsewhere):
    make(folder, "a", "b")
    with Store.open(folder) as old:
        if elsewhere:
            run_in_another(f"folder = Path({str(folder)!r})\ntest_processes.replace_by_repair(folder)")
        else:
            replace_by_repair(folder)
        with Store.open(folder) as other:
            add(other, "a", "c")
        assert old.document("c").text == "text of c"  # it reads what is there now
        old.refresh()
        assert sorted(old.snapshot.ids()) == ["a", "b", "c"]
        add(old, "d")
        assert sorted(old.snapshot.ids()) == ["a", "b", "c", "d"]
    assert ids_in(folder) == ["a", "b", "c", "d"]
    assert check_index(folder).sound


def test_a_store_that_never_read_again_loses_nothing_as_the_writer(folder):
    """Its catalog is gone from the folder, and names none of the segments that were acknowledged since."""
    make(folder, "a", "b")
    with Store.open(folder) as old:
        replace_by_repair(folder)
        with Store.open(folder) as other:
            add(other, "a", "c")
        assert old.delete(["nobody"]) == 0
        assert old.delete(["b"]) == 1
    assert ids_in(folder) == ["a", "c"]


def test_an_older_store_does_not_touch_another_index_in_its_place(folder):
    make(folder, "a", "b")
    with Store.open(folder) as old:
        shutil.rmtree(folder)
        make(folder, "c", "d")
        held = {path.name: path.read_bytes() for path in folder.glob("*.segment")}
        for use in (lambda: add(old, "e"), old.refresh, lambda: old.document("c"), lambda: old.delete(["a"])):
            for _ in range(2):
                with pytest.raises(IndexFolderError, match="another index now"):
                    use()
        assert sorted(old.snapshot.ids()) == ["a", "b"]
        assert {path.name: path.read_bytes() for path in folder.glob("*.segment")} == held
        with Store.open(folder) as other:
            add(other, "e")
    assert ids_in(folder) == ["c", "d", "e"]


def test_a_writer_whose_folder_was_made_anew_stops(folder):
    make(folder, "a", "b")
    with Store.open(folder) as old:
        add(old, "c")
        shutil.rmtree(folder)
        make(folder, "d", "e")
        with pytest.raises(IndexFolderError, match="replaced meanwhile"):
            add(old, "f")
        with pytest.raises(IndexFolderError, match="another index now"):
            add(old, "f")
    assert ids_in(folder) == ["d", "e"]
    assert check_index(folder).left_over == []


def test_a_twin_in_the_same_place_is_read_from_the_start(folder):
    """Of the same identity, with the same numbers of segments and commits: only the file tells them apart."""
    for text in ("old", "new"):
        shutil.rmtree(folder, ignore_errors=True)
        store = Store.create(folder, n_terms=N_TERMS, identity="0" * 32)
        store.add([Document("a", text)], ["a"], vectors({1 if text == "old" else 2: 1.0}))
        store.close()
        if text == "old":
            reader = Store.open(folder)
    with reader:
        reader.refresh()
        assert reader.document("a").text == "new"
        assert reader.vector("a").terms.tolist() == [2]


# Forks


def in_fork(do):
    """Run `do` in a fork that ends as Python ends, and fail if it does."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            do()
            gc.collect()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the fork must not go on as the test
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


@pytest.fixture
def held(monkeypatch):
    """Merges stand still until this event is set."""
    released = threading.Event()
    real = background.merge_segments

    def wait_first(*arguments):
        assert released.wait(30)
        return real(*arguments)

    monkeypatch.setattr(background, "merge_segments", wait_first)
    yield released
    released.set()


def test_a_fork_of_a_writer_leaves_its_merge_alone(folder, held):
    with Store.create(folder, n_terms=N_TERMS) as store:
        for id in "abcdefgh":
            add(store, id)
        pending = folder / store._merges.under_way[0]
        held.set()
        store._merges._pending._thread.join()
        assert pending.exists()

        def end():
            store.close()
            store.close()

        in_fork(end)
        assert pending.exists()
        assert len(store.snapshot.segments) == 8
    with Store.open(folder) as store:
        assert [segment.row.name for segment in store.snapshot.segments] == [pending.name]
    assert ids_in(folder) == list("abcdefgh")


def test_a_fork_of_a_writer_is_refused_to_write_and_reads_on(folder):
    with Store.create(folder, n_terms=N_TERMS) as store:
        add(store, "a")

        def use():
            for write in (lambda: add(store, "b"), lambda: store.delete(["a"]), store.optimise, store.become_writer):
                with pytest.raises(IndexFolderError, match=f"process {os.getppid()}, of which this one is a fork"):
                    write()
            assert store.document("a").text == "text of a"
            assert store.search(vectors({1: 1.0}), 1).ids.tolist() == [["a"]]
            store.refresh()
            with Store.open(folder) as other, pytest.raises(LockHeld):
                add(other, "b")

        in_fork(use)
        add(store, "c")
    assert ids_in(folder) == ["a", "c"]


def test_a_forgotten_store_in_a_fork_undoes_nothing(folder):
    """As it goes, the fork's copy of the connection must not take back what the parent is writing."""
    store = Store.create(folder, n_terms=N_TERMS)
    add(store, "a")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        del store
        gc.collect()
        os._exit(0)
    add(store, "b")
    os.write(writing, b"x")
    assert os.waitpid(child, 0)[1] == 0
    add(store, "c")
    store.close()
    assert ids_in(folder) == ["a", "b", "c"]
    assert check_index(folder).sound


FORGETFUL = """
import os, sys
from everglade.index import background
from everglade.index.store import Store
from everglade.vectors import SparseMatrix
store = Store.open(sys.argv[1])
for id in "abcdefgh":
    store.add(None, [id], SparseMatrix.from_rows([{1: 1.0}], 12))
assert store._merges.under_way
child = os.fork()
if child == 0:
    sys.exit(0)  # as a worker ends that never knew of the index
assert os.waitpid(child, 0)[1] == 0
store.add(None, ["i"], SparseMatrix.from_rows([{1: 1.0}], 12))
"""


def test_a_fork_that_ends_by_itself_undoes_nothing(folder):
    make(folder)
    done = subprocess.run([sys.executable, "-c", FORGETFUL, str(folder)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with Store.open(folder) as store:
        assert sorted(store.snapshot.ids()) == list("abcdefghi")
        assert store.optimise() == 1
    assert check_index(folder).sound


def test_a_fork_does_not_keep_the_lock(folder):
    store = Store.create(folder, n_terms=N_TERMS)
    add(store, "a")
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    try:
        store.close()
        with Store.open(folder) as other:
            add(other, "b")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ids_in(folder) == ["a", "b"]


def test_a_fork_of_a_reader_may_become_the_writer(folder):
    make(folder, "a")
    with Store.open(folder) as store:

        def write():
            add(store, "b")
            store.close()

        in_fork(write)
        store.refresh()
        assert sorted(store.snapshot.ids()) == ["a", "b"]


def test_a_fork_waits_for_a_commit_that_another_thread_makes(folder, monkeypatch):
    """Otherwise its copy of the connection would be in the middle of a transaction, and could undo it."""
    store = Store.create(folder, n_terms=N_TERMS)
    add(store, "a")
    inside, seen = threading.Event(), []
    real = store._writer._connection

    class Slow:
        def __getattr__(self, name):
            return getattr(real, name)

        def execute(self, query, *parameters):
            if query == "COMMIT":
                inside.set()
                time.sleep(0.3)
                seen.append("committed")
            return real.execute(query, *parameters)

    store._writer._connection = Slow()
    thread = threading.Thread(target=add, args=(store, "b"))
    thread.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if seen else 1)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    store.close()
    assert ids_in(folder) == ["a", "b"]


# Long readings


@pytest.fixture
def many(folder):
    """2,000 documents, and a writer that does not wait long for readers."""
    with Store.create(folder, n_terms=N_TERMS) as store:
        ids = [f"d{place:04}" for place in range(2000)]
        documents = [Document(id, f"text of {id}", "", {"n": place % 3}) for place, id in enumerate(ids)]
        store.add(documents, ids, vectors(*[{1: 1.0}] * len(ids)))
        store._writer._connection.execute("PRAGMA busy_timeout = 400")
        yield store


def delete_often(store, done, deleted):
    while not done.is_set():
        id = f"d{len(deleted):04}"
        store.delete([id])
        deleted.append(id)
        time.sleep(0.02)


def beside_commits(store, read):
    """Call `read` while another thread commits; give the result, and the documents that were deleted meanwhile."""
    done, deleted, failures = threading.Event(), [], []

    def write():
        try:
            delete_often(store, done, deleted)
        except BaseException as error:  # noqa: BLE001 - it is what the test looks for
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        found = read()
    finally:
        done.set()
        thread.join()
    assert not failures, failures
    return found, deleted


def slowly(connection):
    """Let SQLite take its time: a tenth of a millisecond for a hundred of its steps."""
    connection.set_progress_handler(lambda: time.sleep(0.0005) or 0, 100)


def test_commits_go_through_while_a_filter_is_evaluated(many, folder, monkeypatch):
    monkeypatch.setattr(catalog, "PAGE_DOCUMENTS", 100)
    with Store.open(folder) as reader:
        slowly(reader._latest._catalog._connection)
        (snapshot, shown), deleted = beside_commits(many, lambda: reader.view({"n": 1}))
        assert len(deleted) > 10
        [locals_] = snapshot.locals_of(shown)
        left = {f"d{place:04}" for place in range(2000) if place % 3 == 1}
        found = set(snapshot.segments[0].ids(locals_))
        assert left - set(deleted) <= found <= left
        assert len(snapshot) == 2000 - snapshot.meta.generation + 1
        gone = set(deleted[: snapshot.meta.generation - 1])
        assert found == left - gone  # of one state, though it was asked in pages


def test_a_filter_that_segments_change_under_is_evaluated_all_the_same(many, folder, monkeypatch):
    monkeypatch.setattr(catalog, "PAGE_DOCUMENTS", 100)
    real = catalog._ask_page
    turns = []

    def add_meanwhile(connection, asked, row, after, most):
        if after == -1 and len(turns) < 40:
            turns.append(row.number)
            ids = [f"e{len(turns):02}{place:03}" for place in range(150)]
            threading.Thread(target=many.add, args=(
                [Document(id, "", "", {"n": 1}) for id in ids], ids, vectors(*[{1: 1.0}] * 150))).start()  # fmt: skip
        return real(connection, asked, row, after, most)

    monkeypatch.setattr(catalog, "_ask_page", add_meanwhile)
    with Store.open(folder) as reader:
        snapshot, shown = reader.view({"n": 1})
        found = [id for segment, here in zip(snapshot.segments, snapshot.locals_of(shown), strict=True)
                 for id in segment.ids(here)]  # fmt: skip
        assert sorted(found) == sorted(id for id in snapshot.ids() if id[0] == "e" or int(id[1:]) % 3 == 1)
    while any(thread.name.startswith("Thread") and thread.is_alive() for thread in threading.enumerate()):
        time.sleep(0.01)


@pytest.mark.parametrize("copies", [0, 3])
def test_commits_go_through_while_an_index_is_checked(many, folder, monkeypatch, copies):
    monkeypatch.setattr(check, "PAGES_AT_A_TIME", 10)
    monkeypatch.setattr(check, "COPIES", copies)
    real = check.open_past_refusals

    def open_slowly(folder):
        connection = real(folder)
        slowly(connection)
        return connection

    monkeypatch.setattr(check, "open_past_refusals", open_slowly)
    report, deleted = beside_commits(many, lambda: check_index(folder))
    assert report.sound, report.problems
    assert len(deleted) > 10
    assert report.documents == 2000 - (report.generation - 1)
