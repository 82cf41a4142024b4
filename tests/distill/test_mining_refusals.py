"""What mining refuses, and what it makes again: other settings and inputs, and folders that were changed."""

import importlib.metadata
import importlib.util
import json
import shutil
from functools import partial

import numpy as np
import pytest

from everglade.bundled import bundled_model
from everglade.distill import negatives
from everglade.distill.candidates import Models, Source
from everglade.distill.examples import read_examples
from everglade.distill.negatives import MiningSettings, mine_to_folder
from everglade.errors import ConfigError, InputError, MissingExtra, ModelError
from everglade.texts import open_collection, write_run

TEACHER = "cross-encoder:stand-in"
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def copy_of(folder, to, name, old, new):
    """Copy a collection, and change a text in one of its files."""
    shutil.copytree(folder, to)
    content = (to / name).read_text()
    assert old in content
    (to / name).write_text(content.replace(old, new))
    return open_collection(to)


def test_other_settings_inputs_or_models_are_refused_until_fresh(collection, tmp_path):
    out, settings = tmp_path / "out", MiningSettings(depth=10)
    first = mine_to_folder(collection, "train", settings, out)
    made = bytes_of(out)
    assert mine_to_folder(collection, "train", settings, out) == first
    assert bytes_of(out) == made
    with pytest.raises(ConfigError, match="depth"):
        mine_to_folder(collection, "train", MiningSettings(depth=11), out)
    with pytest.raises(ConfigError, match="queries and documents"):
        mine_to_folder(collection, "train", settings, out, qrels={"q01": {"d01": 1}})
    report = mine_to_folder(collection, "train", settings, out, qrels={"q01": {"d01": 1}}, fresh=True)
    assert [example.query_id for example in read_examples(report.examples)] == ["q01"]
    other = tmp_path / "other"
    (other / "runs").mkdir(parents=True)
    with pytest.raises(ConfigError, match="something else"):
        mine_to_folder(collection, "train", settings, other)


def test_settings_that_mean_the_same_are_the_same(collection, tmp_path):
    first = mine_to_folder(collection, "train", MiningSettings(), tmp_path / "out")
    assert mine_to_folder(collection, "train", MiningSettings(depth=100), tmp_path / "out") == first


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("corpus.jsonl", '"_id": "d50", "text": "', '"_id": "d50", "text": "one more '),
        ("queries.jsonl", '"_id": "q03", "text": "', '"_id": "q03", "text": "one more '),
        ("qrels/train.tsv", "q03\td40\t1", "q03\td40\t0"),
    ],
)
def test_a_changed_text_or_judgement_is_refused(collection, folder, tmp_path, name, old, new):
    out = tmp_path / "out"
    mine_to_folder(collection, "train", MiningSettings(depth=10), out)
    mine_to_folder(copy_of(folder, tmp_path / "same", name, old, old), "train", MiningSettings(depth=10), out)
    with pytest.raises(ConfigError, match="queries and documents"):
        mine_to_folder(copy_of(folder, tmp_path / "other", name, old, new), "train", MiningSettings(depth=10), out)


def test_another_run_under_the_same_name_is_refused(collection, tmp_path):
    write_run({"q05": {"d07": 3.0, "d08": 2.0}}, tmp_path / "own.trec")
    settings = MiningSettings(sources=(f"run:{tmp_path / 'own.trec'}",))
    mine_to_folder(collection, "train", settings, tmp_path / "out")
    write_run({"q05": {"d07": 3.0, "d09": 2.0}}, tmp_path / "own.trec")
    with pytest.raises(ConfigError, match="sources"):
        mine_to_folder(collection, "train", settings, tmp_path / "out")


def test_another_teacher_under_the_same_name_is_refused(collection, tmp_path, stand_in):
    stand_in()
    mine_to_folder(collection, "train", MiningSettings(teacher=TEACHER), tmp_path / "out")
    stand_in(fingerprint="ff")
    with pytest.raises(ConfigError, match=r"\(teacher\)"):
        mine_to_folder(collection, "train", MiningSettings(teacher=TEACHER), tmp_path / "out")


def test_fingerprints_say_what_would_be_found():
    import bm25s

    from everglade.model.splade import Splade

    model = str(bundled_model())
    assert Source("splade", model, "x").fingerprint(Models()) == Splade.load(model).fingerprint
    assert Source("bm25", "", "bm25").fingerprint(Models()) == f"k1 0.9, b 0.4, bm25s {bm25s.__version__}"


def test_nothing_is_read_where_mining_writes(collection, tmp_path):
    out = tmp_path / "out"
    mine_to_folder(collection, "train", MiningSettings(depth=10), out)
    made = bytes_of(out)
    (tmp_path / "link.trec").symlink_to(out / "runs" / "bm25.trec")
    for file in (
        out / "runs" / "bm25.trec",
        tmp_path / "x" / ".." / "out" / "runs" / "bm25.trec",
        tmp_path / "link.trec",
    ):
        for fresh in (True, False):
            with pytest.raises(ConfigError, match="another folder"):
                mine_to_folder(collection, "train", MiningSettings(sources=(f"run:{file}",)), out, fresh=fresh)
    model = MiningSettings(teacher=f"dense:{out / 'unfinished' / 'model'}")
    with pytest.raises(ConfigError, match="another folder"):
        mine_to_folder(collection, "train", model, out, fresh=True)
    assert bytes_of(out) == made
    again = MiningSettings(sources=(f"run:{out / 'runs' / 'bm25.trec'}",), depth=10)
    report = mine_to_folder(collection, "train", again, tmp_path / "again")
    assert report.examples.read_bytes() == (out / "examples.jsonl").read_bytes()


@pytest.mark.parametrize("teacher", [None, "bm25"])
def test_a_run_with_documents_of_another_collection_is_refused(collection, tmp_path, teacher):
    settings = MiningSettings(sources=(f"run:{tmp_path / 'own.trec'}",), depth=2, teacher=teacher)
    write_run({"q05": {"d07": 3.0, "nowhere": 2.0, "beyond": 1.0}}, tmp_path / "own.trec")  # nowhere is relevant to q05
    with pytest.raises(InputError, match="'nowhere' is not in"):
        mine_to_folder(collection, "train", settings, tmp_path / "out")
    write_run({"q05": {"d07": 3.0, "d08": 2.0, "beyond": 1.0}}, tmp_path / "own.trec")
    report = mine_to_folder(collection, "train", settings, tmp_path / "out", fresh=True)
    assert [example.document_ids for example in read_examples(report.examples)] == [("d05", "d07", "d08")]


def test_a_run_of_other_queries_is_refused(collection, tmp_path):
    write_run({"test1": {"d07": 3.0}, "silent": {"d08": 2.0}}, tmp_path / "own.trec")
    settings = MiningSettings(sources=("bm25", f"run:{tmp_path / 'own.trec'}"))
    with pytest.raises(InputError, match="none of the 12 queries"):
        mine_to_folder(collection, "train", settings, tmp_path / "out")


def test_a_run_that_was_changed_is_refused(collection, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(negatives, "write_examples", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            mine_to_folder(collection, "train", MiningSettings(), tmp_path / "out")
    run = tmp_path / "out" / "runs" / "bm25.trec"
    lines = run.read_text().splitlines(keepends=True)
    run.write_text("".join(line for line in lines if not line.startswith("q07 ")))
    with pytest.raises(InputError, match="was changed"):
        mine_to_folder(collection, "train", MiningSettings(), tmp_path / "out")


@pytest.mark.parametrize("lost", ["examples.jsonl", "runs/bm25.trec", "statistics.json", "runs"])
def test_what_a_finished_folder_has_lost_is_made_again(collection, tmp_path, lost):
    out = tmp_path / "out"
    mine_to_folder(collection, "train", MiningSettings(depth=10), out)
    made = bytes_of(out)
    shutil.rmtree(out / lost) if (out / lost).is_dir() else (out / lost).unlink()
    report = mine_to_folder(collection, "train", MiningSettings(depth=10), out)
    assert bytes_of(out) == made
    assert report.statistics == json.loads(made["statistics.json"])


@pytest.mark.parametrize("name", ["mining.json", "statistics.json"])
@pytest.mark.parametrize("content", [b'{"seed": 1', b"[1]", b"\xff"])
def test_damaged_notes_are_named_and_mined_again_afresh(collection, tmp_path, name, content):
    out = tmp_path / "out"
    mine_to_folder(collection, "train", MiningSettings(depth=10), out)
    made = bytes_of(out)
    (out / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: .*--fresh"):
        mine_to_folder(collection, "train", MiningSettings(depth=10), out)
    mine_to_folder(collection, "train", MiningSettings(depth=10), out, fresh=True)
    assert bytes_of(out) == made


def test_a_teacher_that_gives_no_score_for_a_pair_is_refused(collection, tmp_path, stand_in):
    stand_in().score = lambda queries, documents: np.full(len(queries), np.nan, dtype=np.float32)
    with pytest.raises(ModelError, match="finite"):
        mine_to_folder(collection, "train", MiningSettings(teacher=TEACHER), tmp_path / "out")


@pytest.mark.parametrize(("old", "new"), [("d03", "d 03"), ("q03", "q\u00a003")])
def test_an_id_that_no_run_can_carry_is_refused_before_anything_is_searched(folder, tmp_path, old, new):
    shutil.copytree(folder, tmp_path / "collection")
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/train.tsv"):
        file = tmp_path / "collection" / name
        file.write_text(file.read_text().replace(old, new))
    with pytest.raises(InputError, match="white space"):
        mine_to_folder(open_collection(tmp_path / "collection"), "train", MiningSettings(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("package", "settings"), [("pyarrow", MiningSettings(teacher="bm25")), ("bm25s", MiningSettings())]
)
def test_a_missing_package_is_named_before_anything_is_made(collection, tmp_path, monkeypatch, package, settings):
    def find(name, original):
        if name == package:
            raise importlib.metadata.PackageNotFoundError(name)
        return original(name)

    def spec(name, original):
        return None if name == package else original(name)

    for place, replacement in ((importlib.metadata, find), (importlib.util, spec)):
        name = "version" if replacement is find else "find_spec"
        monkeypatch.setattr(place, name, partial(replacement, original=getattr(place, name)))
    with pytest.raises(MissingExtra, match=package):
        mine_to_folder(collection, "train", settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_table_of_many_examples_asks_for_pyarrow_first(collection, tmp_path, monkeypatch):
    monkeypatch.setattr(negatives, "MOST_LINES", 13)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="pyarrow"):
        mine_to_folder(collection, "train", MiningSettings(), tmp_path / "out")
