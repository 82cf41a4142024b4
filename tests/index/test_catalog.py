"""The catalog alone: its commit, its errors, its lock."""

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from everglade.errors import CorruptIndex, FormatTooNew, LockHeld
from everglade.index.catalog import Catalog
from everglade.index.commits import IDS_OF_A_QUESTION, CatalogWriter
from everglade.index.connection import FILE_NAME, VERSION, FormatTooOld
from everglade.index.rows import SCHEMA
from everglade.index.values import Change, DocumentRow, Meta, SegmentRow
from everglade.texts import Document

META = Meta(uuid="0123456789abcdef" * 2, n_terms=9)


@pytest.fixture
def folder(tmp_path):
    Catalog.create(tmp_path, META)
    return tmp_path


def add(writer, catalog, number, ids):
    segment = SegmentRow(number, f"{number}.segment", len(ids), 3, 3, 100, 7)
    rows = [DocumentRow(id, number, place, "title", f"text of {id}", '{"n": 1}') for place, id in enumerate(ids)]
    return writer.commit(Change(catalog.read({}).meta, gone=ids, segments=[segment], documents=rows))


def edit(folder, *statements):
    connection = sqlite3.connect(folder / FILE_NAME)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_a_commit_hides_the_old_and_shows_the_new(folder):
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        assert add(writer, catalog, 1, ["a", "b", "c"]) == 0
        assert add(writer, catalog, 2, ["b", "d"]) == 1
        state = catalog.read({})
        assert state.meta.generation == 2
        assert [(row.number, row.deleted) for row in state.segments] == [(1, 1), (2, 0)]
        assert {number: locals_.tolist() for number, locals_ in state.hidden.items()} == {1: [1]}
        assert catalog.read({1: 1}).hidden == {}
        assert catalog.document("b") == Document("b", "text of b", "title", {"n": 1})
        assert catalog.document("e") is None
        # The last live documents of a segment take it along.
        assert writer.commit(Change(state.meta, gone=["a", "c", "nothing"])) == 2
        assert [row.number for row in catalog.read({}).segments] == [2]
    catalog.close()


def test_a_failed_commit_changes_nothing(folder):
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        add(writer, catalog, 1, ["a"])
        before = catalog.read({})
        with pytest.raises(CorruptIndex):
            add(writer, catalog, 1, ["b"])  # the number is taken
        with pytest.raises(TypeError):
            writer.commit(Change(before.meta, gone=["a"], documents=[None]))  # our own mistake stays visible
        assert catalog.read({}).meta == before.meta
        assert catalog.document("a") is not None
        assert add(writer, catalog, 2, ["b"]) == 0
    catalog.close()


def test_the_lock_has_one_holder_and_names_it(folder):
    with CatalogWriter(folder), pytest.raises(LockHeld, match="this process already") as caught:
        CatalogWriter(folder)
    assert caught.value.pid == os.getpid()
    CatalogWriter(folder).close()


def test_the_lock_goes_with_its_holder(folder):
    holder = subprocess.Popen(
        [sys.executable, "-c", f"from everglade.index.commits import *\nfrom pathlib import Path\n"
         f"w = CatalogWriter(Path({str(folder)!r}))\nprint('held', flush=True)\ninput()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    with holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(LockHeld) as caught:
            CatalogWriter(folder)
        assert caught.value.pid == holder.pid
        holder.kill()
    CatalogWriter(folder).close()


def test_a_forgotten_writer_gives_its_lock_back(folder):
    writer = CatalogWriter(folder)
    del writer
    CatalogWriter(folder).close()


def test_a_commit_whose_end_cannot_be_synced_is_not_acknowledged(folder, monkeypatch):
    def fail(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr("everglade.durable.sync_folder", fail)
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer, pytest.raises(OSError, match="Input/output error"):
        add(writer, catalog, 1, ["a"])
    catalog.close()


def test_making_a_catalog_where_there_is_no_room_is_an_os_error(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "everglade.index.catalog.SCHEMA", "PRAGMA max_page_count = 1; BEGIN; " + SCHEMA.split("BEGIN;")[1]
    )
    with pytest.raises(OSError, match=r"catalog\.sqlite"):
        Catalog.create(tmp_path, META)


@pytest.mark.parametrize(
    "content", [b"", b"garbage" * 999, b"SQLite format 3\0" + b"\xff" * 5000], ids=["empty", "garbage", "damaged"]
)
def test_garbage_is_refused_by_name(folder, content):
    (folder / FILE_NAME).write_bytes(content)
    with pytest.raises(CorruptIndex, match=r"catalog\.sqlite"):
        Catalog(folder)


def test_a_missing_catalog_is_refused_and_not_made(folder):
    (folder / FILE_NAME).unlink()
    with pytest.raises(CorruptIndex, match="missing"):
        Catalog(folder)
    assert not (folder / FILE_NAME).exists()


def test_every_truncation_is_refused_or_harmless(folder):
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        add(writer, catalog, 1, ["a", "b", "c"])
    before = catalog.read({})
    catalog.close()
    content = (folder / FILE_NAME).read_bytes()
    refused = 0
    for length in range(0, len(content), 1777):
        (folder / FILE_NAME).write_bytes(content[:length])
        try:
            cut = Catalog(folder)
            try:
                state = cut.read({})
                assert (state.meta, state.segments) == (before.meta, before.segments)
                cut.document("b")
            finally:
                cut.close()
        except CorruptIndex:
            refused += 1
    assert refused > 10


def test_a_newer_format_is_refused(folder):
    edit(folder, f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(FormatTooNew, match="newer"):
        Catalog(folder)


def test_a_format_that_no_release_wrote_is_refused(folder):
    edit(folder, f"PRAGMA user_version = {VERSION - 1}")
    with pytest.raises(FormatTooOld, match="Build the index again"):
        Catalog(folder)


def test_another_sqlite_file_is_refused(folder):
    edit(folder, "PRAGMA application_id = 1")
    with pytest.raises(CorruptIndex, match="not the catalog"):
        Catalog(folder)


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE meta",
        "DELETE FROM meta WHERE key = 'uuid'",
        "UPDATE meta SET value = 'NaN' WHERE key = 'impact_scale'",
        "UPDATE meta SET value = '-1' WHERE key = 'n_terms'",
        "UPDATE meta SET value = '10' WHERE key = 'n_terms'",
        "UPDATE meta SET checksum = checksum + 1 WHERE key = 'generation'",
        "UPDATE meta SET value = '\"x\"' WHERE key = 'uuid'",
        "UPDATE meta SET value = '{' WHERE key = 'model'",
        "UPDATE segments SET name = '../../etc/passwd' WHERE number = 1",
        "UPDATE segments SET documents = -1",
        "UPDATE segments SET entries = -1",
        "UPDATE segments SET documents = 'many'",
        "UPDATE segments SET deleted = 99",
        "UPDATE segments SET deleted = 2",
        "UPDATE deletions SET local = 77",
        "DROP TABLE deletions",
    ],
)
def test_hostile_values_are_refused(folder, statement):
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        add(writer, catalog, 1, ["a", "b", "c"])
        add(writer, catalog, 2, ["a"])
    catalog.close()
    edit(folder, statement)
    catalog = Catalog(folder)
    with pytest.raises(CorruptIndex, match=r"catalog\.sqlite"):
        catalog.read({})
    catalog.close()


def test_metadata_that_is_not_json_is_refused(folder, reseal_catalog):
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        add(writer, catalog, 1, ["a"])
    edit(folder, "UPDATE documents SET metadata = '{'")
    with pytest.raises(CorruptIndex, match="'a' is not what was written"):
        catalog.document("a")
    reseal_catalog(folder)
    with pytest.raises(CorruptIndex, match="the metadata of document 'a' is not JSON"):
        catalog.document("a")
    catalog.close()


def test_a_full_disk_is_an_os_error_that_names_the_file(folder):
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        add(writer, catalog, 1, ["a"])
        writer._connection.execute("PRAGMA max_page_count = 1")
        with pytest.raises(OSError, match=r"catalog\.sqlite") as caught:
            add(writer, catalog, 2, [f"{place:0900}" for place in range(200)])
        assert caught.value.errno == errno.ENOSPC
    assert catalog.read({}).meta.generation == 1
    catalog.close()


def test_reading_waits_for_no_writer_that_only_prepares(folder):
    """A transaction that has not come to its commit shuts nobody out, however much it has written."""
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        add(writer, catalog, 1, ["a"])
        writer._connection.execute("PRAGMA cache_size = 5")
        writer._connection.execute("BEGIN IMMEDIATE")
        writer._connection.executemany(
            "INSERT INTO documents VALUES (?, 1, 1, '', ?, NULL, 0)", [(str(place), "x" * 3000) for place in range(200)]
        )
        catalog._connection.execute("PRAGMA busy_timeout = 0")
        assert catalog.read({}).meta.generation == 1
        writer._connection.execute("ROLLBACK")
    catalog.close()


@pytest.fixture
def interrupted(folder, tmp_path_factory):
    """A copy of the folder as a power cut in the middle of a commit leaves it: half-written, with a journal."""
    writer = CatalogWriter(folder)
    writer._connection.execute("PRAGMA cache_spill = 1")
    writer._connection.execute("PRAGMA cache_size = 5")
    writer._connection.execute("BEGIN IMMEDIATE")
    writer._connection.execute("UPDATE meta SET value = '1' WHERE key = 'generation'")
    writer._connection.executemany(
        "INSERT INTO documents VALUES (?, 1, 1, '', ?, NULL, 0)", [(str(place), "x" * 3000) for place in range(200)]
    )
    copy = Path(tempfile.mkdtemp())
    for path in folder.iterdir():
        shutil.copy(path, copy)
    writer._connection.execute("ROLLBACK")
    writer.close()
    assert (copy / f"{FILE_NAME}-journal").stat().st_size > 512
    assert (copy / FILE_NAME).stat().st_size != (folder / FILE_NAME).stat().st_size
    yield copy
    copy.chmod(0o755)
    shutil.rmtree(copy)


def test_a_reader_rolls_an_interrupted_commit_back(interrupted):
    catalog = Catalog(interrupted)
    assert catalog.read({}).meta.generation == 0
    assert catalog.document("7") is None
    catalog.close()
    assert not (interrupted / f"{FILE_NAME}-journal").exists()


READ_AS_ANOTHER = """
import os, sys
from pathlib import Path
from everglade.errors import IndexFolderError
from everglade.index.catalog import Catalog
from everglade.index.commits import IDS_OF_A_QUESTION, CatalogWriter
if os.geteuid() == 0:
    os.seteuid(65534)
folder = Path(sys.argv[1])
for open_it in (Catalog, CatalogWriter):
    try:
        catalog = open_it(folder)
        print(catalog.read({}).meta.n_terms)
        catalog.close()
    except (OSError, IndexFolderError) as error:
        print(type(error).__name__)
"""


def read_as_another(folder):
    (folder / FILE_NAME).chmod(0o444)
    folder.chmod(0o555)
    done = subprocess.run([sys.executable, "-c", READ_AS_ANOTHER, str(folder)], capture_output=True, text=True)
    folder.chmod(0o755)
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_a_read_only_folder_can_be_read():
    folder = Path(tempfile.mkdtemp())  # not tmp_path, whose parents are closed to others
    try:
        Catalog.create(folder, META)
        assert read_as_another(folder) == ["9", "PermissionError"]
    finally:
        shutil.rmtree(folder)


def test_a_read_only_folder_after_an_interrupted_commit_says_what_to_do(interrupted):
    for path in interrupted.iterdir():
        path.chmod(0o444)
    assert read_as_another(interrupted) == ["IndexFolderError", "PermissionError"]


@pytest.mark.parametrize("count", [IDS_OF_A_QUESTION - 1, IDS_OF_A_QUESTION, 2 * IDS_OF_A_QUESTION + 1])
def test_many_documents_are_hidden_in_one_commit(folder, count):
    ids = [f"d{place:05}" for place in range(count)]
    catalog = Catalog(folder)
    with CatalogWriter(folder) as writer:
        assert add(writer, catalog, 1, ids) == 0
        hidden = writer.commit(Change(catalog.read({}).meta, gone=[*ids[::2], "unknown"]))
    assert hidden == len(ids[::2])
    state = catalog.read({})
    assert [row.deleted for row in state.segments] == [hidden]
    assert state.hidden[1].tolist() == list(range(0, count, 2))
    assert catalog.document(ids[1]) is not None and catalog.document(ids[0]) is None
