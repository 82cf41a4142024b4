"""Damage is found and named, and what is intact survives a repair: searches see the documents that are left."""

import random
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from everglade.errors import ConfigError, IndexFolderError, LockHeld
from everglade.index.check import check_index
from everglade.index.options import IndexOptions
from everglade.index.repair import repair_index
from everglade.index.store import Store
from everglade.texts import Document

SCALE = 40.0
BATCHES = 4


def make(folder, small_vectors):
    """Four segments; the second hides two documents, one deleted, one replaced. Gives {id: ({term: weight}, batch)}."""
    generator = random.Random(3)
    held = {}
    with Store.create(folder, n_terms=12, impact_scale=SCALE) as store:
        for batch in range(BATCHES):
            ids = [f"{batch}{place}" for place in range(6)] + (["10"] if batch == 2 else [])
            rows = {
                id: {term: generator.choice([0.5, 1.0, 2.0]) for term in generator.sample(range(12), 3)} for id in ids
            }
            documents = [Document(id, f"text {batch} of {id}", "title", {"batch": batch}) for id in ids]
            store.add(documents, ids, small_vectors.matrix_of(list(rows.values())))
            held.update({id: (row, batch) for id, row in rows.items()})
        store.delete(["11"])
    del held["11"]
    return held


@pytest.fixture
def index(memory_folder, small_vectors):
    held = make(memory_folder / "i", small_vectors)
    return memory_folder / "i", held


def require_holds(folder, held, small_vectors, *, texts=True):
    model = small_vectors.Model()
    model.rows = {id: row for id, (row, _) in held.items()}
    with Store.open(folder) as store:
        small_vectors.require_equal(store, model)
        for id, (_, batch) in held.items():
            expected = Document(id, f"text {batch} of {id}", "title", {"batch": batch}) if texts else Document(id, "")
            assert store.document(id) == expected


def name(number):
    return f"{number:06d}.segment"


def edit(folder, *statements):
    connection = sqlite3.connect(folder / "catalog.sqlite", isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x10
    path.write_bytes(content)


def test_a_sound_index_is_sound_and_left_alone(index):
    folder, held = index
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    report = check_index(folder)
    assert report.sound
    assert (report.documents, len(report.segments), report.left_over) == (len(held), BATCHES, [])
    assert [segment.deleted for segment in report.segments] == [0, 2, 0, 0]
    assert repair_index(folder) is None
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


DAMAGES: dict[str, tuple[Callable[[Path], None], set[int]]] = {
    "flipped": (lambda folder: flip(folder / name(2), 700), {1}),
    "missing": (lambda folder: (folder / name(3)).unlink(), {2}),
    "cut short": (lambda folder: (folder / name(1)).write_bytes((folder / name(1)).read_bytes()[:-9]), {0}),
    "swapped": (lambda folder: shutil.copy(folder / name(1), folder / name(4)), {3}),
    "two": (lambda folder: [flip(folder / name(1), 650), (folder / name(4)).unlink()], {0, 3}),
    "all": (lambda folder: [flip(folder / name(number), 800) for number in (1, 2, 3, 4)], {0, 1, 2, 3}),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_segments_go_and_the_rest_stays(index, small_vectors, damage):
    folder, held = index
    do, batches = DAMAGES[damage]
    do(folder)
    report = check_index(folder)
    damaged = {name(batch + 1) for batch in batches}
    assert {segment.name for segment in report.segments if segment.problem} == damaged
    good = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.segment") if path.name not in damaged}
    done = repair_index(folder)
    kept = {id: value for id, value in held.items() if value[1] not in batches}
    assert set(done.lost) == held.keys() - kept.keys()
    assert set(done.dropped) == damaged
    assert (Path(done.backup) / "lost-ids.txt").read_text().split() == done.lost
    assert {path.name: path.stat().st_mtime_ns for path in folder.glob("*.segment")} == good
    assert check_index(folder).sound
    require_holds(folder, kept, small_vectors)
    with Store.open(folder) as store:  # and it goes on
        store.add(None, ["new"], small_vectors.matrix_of([{0: 1.0}]))
        assert len(store) == len(kept) + 1
    assert check_index(folder).sound


DELETED = "(SELECT local FROM deletions WHERE segment = 2 LIMIT 1)"


@pytest.mark.parametrize("resealed", [False, True], ids=["", "resealed"])
@pytest.mark.parametrize(
    ("statement", "said", "textless"),
    [
        ("UPDATE documents SET local = 4 WHERE id = '02'", "places where others are", set()),
        ("UPDATE documents SET segment = 3 WHERE id = '02'", "places where others are", set()),
        ("UPDATE documents SET segment = 77 WHERE id = '02'", "point into segment 77", set()),
        ("UPDATE documents SET id = 'x' WHERE id = '02'", "places where others are", set()),
        ("DELETE FROM documents WHERE id = '02'", "does not know", {"02"}),
        ("UPDATE documents SET metadata = 'x' WHERE id = '02'", "'02'", {"02"}),
        ("UPDATE segments SET postings = 5 WHERE number = 1", "the catalog says 5", set()),
        ("UPDATE segments SET entries = 5 WHERE number = 1", "the catalog says 5", set()),
        ("UPDATE segments SET documents = 5 WHERE number = 1", "the catalog says 5", set()),
        ("UPDATE segments SET crc32c = 5 WHERE number = 1", "the catalog says 5", set()),
        ("UPDATE segments SET size_bytes = 5 WHERE number = 1", "the catalog says 5", set()),
        ("UPDATE segments SET size_bytes = 'x' WHERE number = 1", "a row that cannot be", set()),
        ("UPDATE segments SET name = '000009.segment' WHERE number = 1", "missing", set()),
        ("UPDATE segments SET number = 9 WHERE number = 1", "number is 1, the catalog says 9", set()),
        ("DELETE FROM segments WHERE number = 1", "point into segment 1", set()),
        ("DELETE FROM segments", "point into segment 1", set()),
        ("UPDATE segments SET deleted = 1 WHERE number = 1", "table deletions does not fit", set()),
        ("INSERT INTO deletions VALUES (9, 1)", "segments that are not there", set()),
        ("INSERT INTO deletions VALUES (1, 2)", "1 deletions are of segment 1, whose row says 0", set()),
        ("INSERT INTO deletions VALUES (1, 777)", "1 deletions are of segment 1, whose row says 0", set()),
        (f"UPDATE deletions SET local = 5 WHERE segment = 2 AND local = {DELETED}", "2", set()),
        ("UPDATE deletions SET segment = 4 WHERE segment = 2", "deletions", set()),
        ("UPDATE meta SET value = '2' WHERE key = 'next_segment'", "next_segment|next segment would be 2", set()),
        ("UPDATE meta SET value = '13' WHERE key = 'n_terms'", "n_terms|number of terms", set()),
        ("UPDATE meta SET value = '\"' || hex(randomblob(16)) || '\"' WHERE key = 'uuid'", "uuid|cannot be", set()),
        ("UPDATE meta SET value = '\"" + "0" * 32 + "\"' WHERE key = 'uuid'", "uuid|index is", set()),
        ("DELETE FROM meta WHERE key = 'options'", "options", set()),
        ("DELETE FROM meta WHERE key = 'weight_error'", "weight_error", set()),
    ],
)
def test_rows_that_do_not_fit_are_found_and_mended(
    index, small_vectors, statement, said, textless, resealed, reseal_catalog
):
    """Segments are whole, so no document is lost, whatever the catalog says, and no text whose row is as it was."""
    folder, held = index
    edit(folder, statement)
    if resealed:
        reseal_catalog(folder)
    report = check_index(folder)
    assert any(re.search(said, problem) for problem in report.problems), report.problems
    done = repair_index(folder)
    assert not done.dropped
    assert (Path(done.backup) / "catalog.sqlite").exists()
    assert check_index(folder).sound
    with Store.open(folder) as store:
        ids = set(store.snapshot.ids())
        assert ids - {"11"} == set(held)
        if "11" in ids:  # deleted, and noted as that no longer: it is named
            assert any("'11'" in remark for remark in done.remarks)
            assert "deletions" in statement
        assert {id for id in held if store.document(id) == Document(id, "")} == set(done.without_text) - {"11"}
        if resealed and "documents SET" in statement:
            return  # a row that says so itself is believed as far as it can be
        assert done.lost == []
        assert set(done.without_text) - {"11"} == textless
        model = small_vectors.Model()
        model.rows = {id: row for id, (row, _) in held.items()}
        for id, (_, batch) in held.items():
            expected = Document(id, f"text {batch} of {id}", "title", {"batch": batch})
            assert store.document(id) == (Document(id, "") if id in textless else expected)
        if "11" not in ids:
            small_vectors.require_equal(store, model)


def test_only_a_lost_index_of_places_is_no_damage(index):
    folder, _ = index
    edit(folder, "DROP INDEX documents_by_segment")
    assert check_index(folder).sound


@pytest.mark.parametrize("table", ["segments", "documents", "deletions", "meta"])
def test_a_table_may_be_gone(index, small_vectors, table):
    folder, held = index
    edit(folder, f"DROP TABLE {table}")
    assert not check_index(folder).sound
    done = repair_index(folder, impact_scale=SCALE)
    assert (done.dropped, done.lost) == ([], [])
    assert check_index(folder).sound
    require_holds(folder, held, small_vectors, texts=table != "documents")


def test_an_empty_catalog_does_not_empty_an_index(index):
    """Rows that are gone do not say that there never were any: what segments hold is there again."""
    folder, held = index
    edit(folder, "DELETE FROM segments", "DELETE FROM documents", "UPDATE meta SET value = 'x' WHERE key = 'model'")
    done = repair_index(folder)
    assert set(done.without_text) == set(held)
    assert any("every intact one counts" in remark for remark in done.remarks)
    assert check_index(folder).sound


def test_what_no_row_names_is_set_aside_and_not_taken_in(index, small_vectors):
    """A segment that was never committed is no document's home, as long as the catalog tells."""
    folder, held = index
    content = (folder / name(4)).read_bytes()
    with Store.open(folder) as store:
        store.delete([id for id, (_, batch) in held.items() if batch == 3])
    (folder / name(4)).write_bytes(content)
    (folder / "000099.segment").write_bytes(b"torn")
    edit(folder, "UPDATE segments SET crc32c = 5 WHERE number = 1")
    done = repair_index(folder)
    assert any("000004.segment" in remark and "set aside" in remark for remark in done.remarks)
    assert (Path(done.backup) / name(4)).read_bytes() == content
    require_holds(folder, {id: value for id, value in held.items() if value[1] != 3}, small_vectors)


@pytest.mark.parametrize(
    ("options", "given"),
    [
        (IndexOptions(prune="document:2"), {"prune": "document:2"}),
        (IndexOptions(prune="threshold:0.9", impact_bits=16), {"prune": "threshold:0.9"}),
        (IndexOptions(keep_weights=True), {}),
        (IndexOptions(rows=False), {}),
    ],
    ids=str,
)
def test_what_segments_know_of_the_options_comes_back(memory_folder, small_vectors, options, given):
    """Pruned searches in two steps, and the bound that exact scores by weights rest on."""
    generator = random.Random(5)
    rows = [{term: generator.uniform(0.1, 2.0) for term in generator.sample(range(12), 5)} for _ in range(40)]
    queries, hows = small_vectors.every_term(), [{}, {"recall": 1.0}]
    hows += [{"float_exact": True}] if options.keep_weights else []
    with Store.create(memory_folder / "i", n_terms=12, impact_scale=SCALE, options=options) as store:
        store.add(None, [f"d{place:02}" for place in range(40)], small_vectors.matrix_of(rows))
        before = store.meta
        answers = [store.search(queries, 5, **how).ids.tolist() for how in hows]
    (memory_folder / "i" / "catalog.sqlite").write_bytes(b"")
    if given:
        with pytest.raises(IndexFolderError, match="--prune"):
            repair_index(memory_folder / "i", impact_scale=SCALE)
        with pytest.raises(ConfigError, match="document:N"):
            repair_index(memory_folder / "i", impact_scale=SCALE, prune="some")
    repair_index(memory_folder / "i", impact_scale=SCALE, **given)
    with Store.open(memory_folder / "i") as store:
        assert (store.meta.options, store.meta.uuid) == (before.options, before.uuid)
        assert store.meta.weight_error == before.weight_error
        assert (store.meta.weight_error > 0) == options.keep_weights
        assert [store.search(queries, 5, **how).ids.tolist() for how in hows] == answers


@pytest.mark.parametrize("content", [None, b"", b"garbage" * 3000])
def test_a_lost_catalog_is_made_again_from_the_segments(index, small_vectors, content):
    folder, held = index
    if content is None:
        (folder / "catalog.sqlite").unlink()
    else:
        (folder / "catalog.sqlite").write_bytes(content)
    assert not check_index(folder).sound
    with pytest.raises(IndexFolderError, match="impact scale"):
        repair_index(folder)
    done = repair_index(folder, impact_scale=SCALE)
    assert set(done.without_text) == {*held, "11"}
    assert any("deleted documents may be back" in remark for remark in done.remarks)
    with Store.open(folder) as store:
        assert store.delete(["11"]) == 1
    require_holds(folder, held, small_vectors, texts=False)
    assert check_index(folder).sound


def test_a_writer_is_not_disturbed(index):
    folder, _ = index
    flip(folder / name(2), -1)
    with Store.open(folder, verify=False) as store:
        store.become_writer()
        with pytest.raises(LockHeld):
            repair_index(folder)
        assert not check_index(folder).sound


def test_what_is_no_index_is_refused(tmp_path):
    for check in (check_index, repair_index):
        with pytest.raises(IndexFolderError, match="no index"):
            check(tmp_path)


def test_any_flipped_bytes_are_repaired_to_the_documents_that_are_left(index, small_vectors, memory_folder):
    """Random damage to random files: what a repair keeps is what was there, and what it loses it names."""
    folder, held = index
    generator = random.Random(17)
    repaired = whole = 0
    for trial in range(25):
        copy = memory_folder / str(trial)
        shutil.copytree(folder, copy)
        damaged = generator.sample([path for path in sorted(copy.iterdir()) if path.stat().st_size > 100], 2)
        for path in damaged:
            for _ in range(generator.randint(1, 4)):
                flip(path, generator.randrange(path.stat().st_size))
        done = repair_index(copy, impact_scale=SCALE)
        assert check_index(copy).sound
        broken = {int(path.stem) - 1 for path in damaged if path.suffix == ".segment"}
        with Store.open(copy) as store:
            left = set(store.snapshot.ids())
            assert {id for id, (_, batch) in held.items() if batch not in broken} <= left <= {*held, "11"}
            may_be_back = done is not None and any("may be back" in remark for remark in done.remarks)
            for id in left & set(held) - ({"10"} if may_be_back else set()):  # an older one of that name is there too
                terms, impacts = store.vector(id)
                row = held[id][0]
                assert dict(zip(terms.tolist(), impacts.tolist(), strict=True)) == {
                    t: w * SCALE for t, w in row.items()
                }
                text = Document(id, f"text {held[id][1]} of {id}", "title", {"batch": held[id][1]})
                assert store.document(id) in (text, Document(id, ""))
        if done is None:
            whole += 1
            continue
        repaired += 1
        assert left | set(done.lost) >= set(held) or any("lost ids" in remark for remark in done.remarks)
    assert repaired > 20
    assert whole + repaired == 25
