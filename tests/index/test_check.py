"""Damage is found and named, and what is intact survives a repair: searches see the documents that are left."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from everglade.errors import CorruptIndex, IndexFolderError, LockHeld
from everglade.index.check import check_index
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
def index(tmp_path, small_vectors):
    held = make(tmp_path / "i", small_vectors)
    return tmp_path / "i", held


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


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE documents SET local = 4 WHERE id = '02'", "places where others are"),
        ("UPDATE documents SET id = 'x' WHERE id = '02'", "places where others are"),
        ("DELETE FROM documents WHERE id = '02'", "does not know"),
        ("UPDATE segments SET postings = 5 WHERE number = 1", "postings, the catalog says 5"),
        ("UPDATE segments SET deleted = 1 WHERE number = 1", "table deletions does not fit"),
        ("INSERT INTO deletions VALUES (9, 1)", "segments that are not there"),
        ("UPDATE documents SET metadata = 'x' WHERE id = '02'", "are not JSON"),
        ("UPDATE meta SET value = '2' WHERE key = 'next_segment'", "the next segment would be 2"),
        ("DROP INDEX documents_by_segment", None),
    ],
)
def test_rows_that_do_not_fit_are_found_and_mended(index, small_vectors, statement, said):
    folder, held = index
    edit(folder, statement)
    report = check_index(folder)
    if said is None:
        assert report.sound
        return
    assert any(said in problem for problem in report.problems), report.problems
    done = repair_index(folder)
    assert not done.dropped
    assert set(done.lost) <= {"x"}  # a row of a document that is nowhere
    assert check_index(folder).sound
    without = {id: held[id] for id in done.without_text}
    assert set(without) <= {"02"}
    require_holds(folder, without, small_vectors, texts=False) if len(held) == len(without) else None
    with Store.open(folder) as store:
        assert sorted(store.snapshot.ids()) == sorted(held)


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


def test_any_flipped_bytes_are_repaired_to_the_documents_that_are_left(index, small_vectors, tmp_path):
    """Random damage to random files: what a repair keeps is what was there, and what it loses it names."""
    folder, held = index
    generator = random.Random(17)
    repaired = refused = 0
    for trial in range(25):
        copy = tmp_path / str(trial)
        shutil.copytree(folder, copy)
        for path in generator.sample(sorted(copy.iterdir()), 2):
            if path.stat().st_size > 100:
                for _ in range(generator.randint(1, 4)):
                    flip(path, generator.randrange(path.stat().st_size))
        try:
            done = repair_index(copy, impact_scale=SCALE)
        except (IndexFolderError, CorruptIndex):
            refused += 1
            continue
        repaired += done is not None
        assert check_index(copy).sound
        with Store.open(copy) as store:
            left = set(store.snapshot.ids())
            model = small_vectors.Model()
            model.rows = {id: held[id][0] for id in left & held.keys()}
            if left <= held.keys():
                small_vectors.require_equal(store, model)
            assert left | set(done.lost if done else ()) >= held.keys() or any("lost ids" in r for r in done.remarks)
    assert repaired > 10
