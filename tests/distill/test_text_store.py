"""Texts that stay on disk: the twin is a dict."""

import json
import os
import socket
import subprocess
import sys
from unittest.mock import Mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.cli import train
from everglade.distill import lookup, text_store
from everglade.distill.arrow_file import Strings
from everglade.distill.examples import Example
from everglade.distill.lookup import EMPTY, MOST_ENTRIES, Lookup, hash_id, mix
from everglade.distill.text_store import TextStore, store_collection, write_texts
from everglade.errors import InputError
from everglade.texts import open_collection

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@settings(max_examples=40)
@given(texts=st.dictionaries(TEXTS, TEXTS, max_size=40), others=st.lists(TEXTS), batch=st.integers(1, 9))
def test_a_store_is_the_mapping_it_was_made_of(tmp_path_factory, texts, others, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_store, "_ROWS", batch)
        store = write_texts(texts.items(), tmp_path_factory.mktemp("store") / "s")
    assert dict(store) == texts
    assert list(store) == list(texts)
    assert len(store) == len(texts)
    asked = [*others, *texts]
    assert [one in store for one in asked] == [one in texts for one in asked]
    assert store.holds(Strings(pa.array(asked, pa.utf8()))).tolist() == [one in texts for one in asked]
    assert store.get("never an id that long, of course") is None
    assert 5 not in store
    assert "\ud800" not in store


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40)))
def test_hashes_of_many_are_those_of_each(texts):
    hashes = Strings(pa.array(["x", *texts], pa.utf8()).slice(1)).hashes()
    assert hashes.tolist() == [hash_id(text) for text in texts]


def test_the_hash_is_written_down_and_may_not_change():
    first_number_of_splitmix64_from_0 = 0xE220A8397B1DCDAF
    assert mix(np.array([0x9E3779B97F4A7C15], dtype=np.uint64)).tolist() == [first_number_of_splitmix64_from_0]
    assert hash_id("\0") == first_number_of_splitmix64_from_0
    assert hash_id("d1") == 196057794646115383


@given(st.lists(st.integers(0, 2**64 - 1), max_size=60), st.integers(0, 63))
def test_a_lookup_finds_every_row_of_a_hash(values, shift):
    hashes = np.array([value >> shift for value in values], dtype=np.uint64)
    table = Lookup.build(hashes)
    for value in {*hashes.tolist(), 0, 1, 2**64 - 1}:
        assert sorted(table.candidates(value)) == np.flatnonzero(hashes == np.uint64(value)).tolist()
    asked = np.array([*hashes.tolist(), 0, 7, 2**64 - 1, *values], dtype=np.uint64)
    assert table.holds(asked).tolist() == np.isin(asked, hashes).tolist()
    assert table.rows[-1] == EMPTY


def test_ids_of_one_hash_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(text_store, "hash_id", lambda value: 7)
    monkeypatch.setattr(Strings, "hashes", lambda self: np.full(len(self), 7, dtype=np.uint64))
    store = write_texts([("a", "1"), ("b", "2"), ("c", "3")], tmp_path / "s")
    assert dict(store) == {"a": "1", "b": "2", "c": "3"}
    assert "d" not in store


def test_an_id_that_comes_twice_is_named_and_nothing_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(text_store, "_ROWS", 2)
    with pytest.raises(InputError, match="'b' comes twice, as text 2 and 4"):
        write_texts([("a", ""), ("b", ""), ("c", ""), ("b", "x")], tmp_path / "s")
    with pytest.raises(InputError, match="among 'a' to 'a'"):
        write_texts([("a", "\ud800")], tmp_path / "s")
    assert not list(tmp_path.iterdir())


def test_a_store_that_is_there_is_not_written_over(tmp_path):
    write_texts([("a", "1")], tmp_path / "s")
    with pytest.raises(InputError, match="there already"):
        write_texts([("a", "2")], tmp_path / "s")
    assert dict(TextStore.open(tmp_path / "s")) == {"a": "1"}


def test_damage_is_named(tmp_path):
    write_texts([(f"d{i}", f"text {i}") for i in range(50)], tmp_path / "s")
    with pytest.raises(InputError, match="no manifest"):
        TextStore.open(tmp_path)
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    for change, why in (
        ({"texts": 49}, "should hold 49"),
        ({"version": 2}, "its version is 2"),
        ({"format": "x"}, "no manifest of a store"),
    ):
        (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(InputError, match=why):
            TextStore.open(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        TextStore.open(tmp_path / "s")
    (tmp_path / "s" / "manifest.json").write_text(json.dumps(manifest))
    for name in ("texts.arrow", "lookup.arrow"):
        whole = (tmp_path / "s" / name).read_bytes()
        (tmp_path / "s" / name).unlink()
        with pytest.raises(InputError, match="no such file"):
            TextStore.open(tmp_path / "s")
        for place in range(6, len(whole), 7):
            damaged = bytearray(whole)
            damaged[place] ^= 0xFF
            (tmp_path / "s" / name).unlink(missing_ok=True)
            (tmp_path / "s" / name).write_bytes(damaged)
            try:
                store = TextStore.open(tmp_path / "s")
                found = [store.get(f"d{i}") for i in range(50)]
                assert all(text is None or isinstance(text, str) for text in found)
            except InputError as error:
                assert str(error).startswith(str(tmp_path / "s"))
        (tmp_path / "s" / name).unlink()
        (tmp_path / "s" / name).write_bytes(whole)
    assert len(TextStore.open(tmp_path / "s")) == 50


@pytest.fixture
def collection(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "T", "text": "one"}\n{"_id": "d2", "title": "", "text": "two"}\n'
    )
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "ask"}\n')
    return folder


def test_a_collection_is_stored_once_and_asked_again(tmp_path, collection):
    texts = store_collection(open_collection(collection), tmp_path / "run" / "texts")
    assert dict(texts.documents) == {"d1": "T one", "d2": "two"}
    assert dict(texts.queries) == {"q1": "ask"}
    before = (tmp_path / "run" / "texts" / "documents" / "texts.arrow").stat().st_mtime_ns
    again = store_collection(open_collection(collection), tmp_path / "run" / "texts")
    assert dict(again.documents) == dict(texts.documents)
    assert (tmp_path / "run" / "texts" / "documents" / "texts.arrow").stat().st_mtime_ns == before


def test_a_store_of_an_earlier_state_is_refused(tmp_path, collection):
    store_collection(open_collection(collection), tmp_path / "texts")
    with (collection / "corpus.jsonl").open("a") as file:
        file.write('{"_id": "d3", "title": "", "text": "three"}\n')
    with pytest.raises(InputError, match="were made from small .*not from small .* Remove the folder"):
        store_collection(open_collection(collection), tmp_path / "texts")


def test_what_a_killed_process_left_is_removed_and_a_living_ones_stays(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, living = (f"s.{socket.gethostname()}.{process}.12ab34cd.partial" for process in (gone.pid, os.getppid()))
    for name in (left, living):
        (tmp_path / name).mkdir()
    write_texts([("a", "1")], tmp_path / "s")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", living]


def test_a_text_that_is_not_utf8_names_the_file(tmp_path):
    write_texts([("d1", "strange")], tmp_path / "s")
    file = tmp_path / "s" / "texts.arrow"
    whole = file.read_bytes()
    file.unlink()
    file.write_bytes(whole.replace(b"strange", b"str\xffnge"))
    store = TextStore.open(tmp_path / "s")
    for ask in (lambda: store["d1"], lambda: list(store.values())):
        with pytest.raises(InputError, match=r"texts\.arrow: a text or an id is not UTF-8"):
            ask()


def test_a_store_whose_file_was_replaced_has_no_digest(tmp_path):
    for name, text in (("s", "one"), ("other", "two")):
        write_texts([("d1", text)], tmp_path / name)
    store = TextStore.open(tmp_path / "s")
    (tmp_path / "other" / "texts.arrow").replace(tmp_path / "s" / "texts.arrow")
    assert store["d1"] == "one"
    with pytest.raises(InputError, match=r"texts\.arrow: another file has been put here"):
        store.digest()
    assert TextStore.open(tmp_path / "s").digest() != write_texts([("d1", "one")], tmp_path / "again").digest()


def test_homes_fit_64_bits_up_to_the_most_entries(tmp_path):
    largest = np.array([2**64 - 1, 2**63], dtype=np.uint64)
    assert lookup._homes(largest, MOST_ENTRIES).tolist() == [
        (value >> 32) * (MOST_ENTRIES * 3 // 2) >> 32 for value in (2**64 - 1, 2**63)
    ]
    assert (2**32 - 1) * ((MOST_ENTRIES + 1) * 3 // 2) <= 2**64 - 1 < 2**32 * ((MOST_ENTRIES + 2) * 3 // 2)
    many = np.broadcast_to(np.uint64(1), (MOST_ENTRIES + 1,))
    with pytest.raises(InputError, match="more than a store holds"):
        text_store._write_lookup(tmp_path, many)


def test_of_two_processes_that_store_a_collection_the_slower_takes_what_is_there(tmp_path, collection):
    other = """
import sys
from everglade.distill.text_store import store_collection
from everglade.texts import open_collection
store_collection(open_collection(sys.argv[1]), sys.argv[2])
"""
    opened = open_collection(collection)

    class Slow:
        """The same collection; before it gives its first query, another process has stored it all."""

        def __getattr__(self, name):
            return getattr(opened, name)

        def queries(self):
            subprocess.run([sys.executable, "-c", other, collection, tmp_path / "texts"], check=True)
            return opened.queries()

    described = text_store._describe(opened)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_store, "_describe", lambda _: described)
        texts = store_collection(Slow(), tmp_path / "texts")
    assert dict(texts.queries) == {"q1": "ask"}
    assert dict(texts.documents) == {"d1": "T one", "d2": "two"}
    assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["documents", "queries"]


def test_other_processes_of_a_machine_wait_for_the_first(tmp_path, collection, monkeypatch):
    source, naps = open_collection(collection), []

    def nap(seconds):
        naps.append(seconds)
        if len(naps) == 2:
            store_collection(source, tmp_path / "texts")

    monkeypatch.setattr(train.time, "sleep", nap)
    monkeypatch.setattr(text_store, "write_texts", Mock(wraps=write_texts))
    examples = [Example("q1", ("d1", "d2"))]
    for rank in ("1", "0"):
        monkeypatch.setenv("LOCAL_RANK", rank)
        assert train._read_training_set(source, "train", examples, tmp_path / "texts").documents["d2"] == "two"
    assert len(naps) == 2
    assert text_store.write_texts.call_count == 2
