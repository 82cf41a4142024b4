"""A vectors folder that was interrupted and taken up again is the folder that was never interrupted."""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from everglade import encode
from everglade.encode import encode_to_folder
from everglade.errors import ConfigError, VectorsError
from everglade.vectors import SparseMatrix, read_manifest, read_vectors


@dataclass
class Letters:
    """An encoder that counts letters, and breaks down after so many texts."""

    name: str = "letters"
    fingerprint: str = "f00d"
    n_terms: int = 26
    breaks_after: int | None = None
    encoded: int = 0

    def term_names(self):
        return [chr(97 + i) for i in range(26)]

    def encode_documents(self, texts):
        self.encoded += len(texts)
        if self.breaks_after is not None and self.encoded > self.breaks_after:
            raise KeyboardInterrupt
        return SparseMatrix.from_rows([{ord(c) - 97: text.count(c) for c in text} for text in texts], 26)

    def encode_queries(self, texts):
        return self.encode_documents([text.replace("e", "") for text in texts])


def make_rows(n):
    return [(f"d{i}", "abcdefghij"[: i % 11] * 2) for i in range(n)]


def read_all(path):
    shards = list(read_vectors(path))
    ids = [row_id for shard in shards for row_id in shard.ids]
    return ids, SparseMatrix.stack([shard.matrix for shard in shards]) if shards else None


def content(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_a_folder_holds_every_row_in_order(tmp_path):
    manifest = encode_to_folder(Letters(), iter(make_rows(23)), tmp_path / "v", shard_rows=10)
    assert manifest == read_manifest(tmp_path / "v")
    assert [shard["rows"] for shard in manifest["shards"]] == [10, 10, 3]
    assert manifest["description"] == {
        "n_terms": 26,
        "model": {"name": "letters", "fingerprint": "f00d"},
        "side": "document",
        "settings": None,
        "shard_rows": 10,
        "part": None,
    }
    ids, matrix = read_all(tmp_path / "v")
    expected = Letters().encode_documents([text for _, text in make_rows(23)])
    assert ids == [row_id for row_id, _ in make_rows(23)]
    np.testing.assert_array_equal(matrix.to_scipy().toarray(), expected.to_scipy().toarray())


def test_queries_are_encoded_as_queries(tmp_path):
    encode_to_folder(Letters(), [("q", "eel")], tmp_path / "v", side="query")
    assert read_all(tmp_path / "v")[1].terms.tolist() == [11]


def test_no_rows_make_an_empty_folder(tmp_path):
    assert encode_to_folder(Letters(), [], tmp_path / "v")["rows"] == 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "v"
    encode_to_folder(Letters(), make_rows(23), path, shard_rows=4)
    return path


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(breaks=st.lists(st.integers(0, 24), max_size=4))
def test_resumed_is_byte_for_byte_the_same(uninterrupted, tmp_path_factory, breaks):
    path = tmp_path_factory.mktemp("resumed") / "v"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "_SLICE_ROWS", 3)
        for breaks_after in breaks:
            if path.exists():
                break
            try:
                encode_to_folder(Letters(breaks_after=breaks_after), make_rows(23), path, shard_rows=4)
            except KeyboardInterrupt:
                assert not path.exists()
        if not path.exists():
            encode_to_folder(Letters(), make_rows(23), path, shard_rows=4)
    assert content(path) == content(uninterrupted)


def test_finished_shards_are_not_encoded_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        encode_to_folder(Letters(breaks_after=10), make_rows(23), tmp_path / "v", shard_rows=4)
    assert len(list(tmp_path.joinpath("v.partial").glob("shard-*"))) == 2
    again = Letters()
    encode_to_folder(again, make_rows(23), tmp_path / "v", shard_rows=4)
    assert again.encoded == 23 - 8


@pytest.mark.parametrize("change", ["text", "id", "order", "fewer", "border"])
def test_a_collection_that_changed_is_noticed(tmp_path, change):
    rows = make_rows(23)
    with pytest.raises(KeyboardInterrupt):
        encode_to_folder(Letters(breaks_after=10), rows, tmp_path / "v", shard_rows=4)
    if change == "text":
        rows[2] = (rows[2][0], "zzz")
    elif change == "id":
        rows[2] = ("other", rows[2][1])
    elif change == "order":
        rows[6], rows[7] = rows[7], rows[6]
    elif change == "fewer":
        rows = rows[:6]
    else:
        rows[3] = (rows[3][0] + rows[3][1][:1], rows[3][1][1:])  # the same letters, divided elsewhere
    with pytest.raises(VectorsError, match="changed since.*--fresh"):
        encode_to_folder(Letters(), rows, tmp_path / "v", shard_rows=4)
    encode_to_folder(Letters(), rows, tmp_path / "v", shard_rows=4, fresh=True)
    assert read_all(tmp_path / "v")[0] == [row_id for row_id, _ in rows]


def test_a_collection_that_grew_is_noticed(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("everglade.durable.publish_folder", lambda partial, final: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encode_to_folder(Letters(), make_rows(6), tmp_path / "v", shard_rows=4)
    with pytest.raises(VectorsError, match="more rows"):
        encode_to_folder(Letters(), make_rows(9), tmp_path / "v", shard_rows=4)
    encode_to_folder(Letters(breaks_after=0), make_rows(6), tmp_path / "v", shard_rows=4)


@pytest.mark.parametrize("changes", [{"fingerprint": "other"}, {"name": "other"}, {"n_terms": 27}])
def test_another_model_does_not_go_on(tmp_path, changes):
    with pytest.raises(KeyboardInterrupt):
        encode_to_folder(Letters(breaks_after=10), make_rows(23), tmp_path / "v", shard_rows=4)
    with pytest.raises(VectorsError, match="other settings"):
        encode_to_folder(Letters(**changes), make_rows(23), tmp_path / "v", shard_rows=4)
    with pytest.raises(VectorsError, match="other settings"):
        encode_to_folder(Letters(), make_rows(23), tmp_path / "v", shard_rows=4, side="query")
    with pytest.raises(VectorsError, match="other settings"):
        encode_to_folder(Letters(), make_rows(23), tmp_path / "v", shard_rows=5)


@dataclass(frozen=True)
class Settings:
    length: int = 256


@dataclass(frozen=True)
class LaterSettings(Settings):
    passages: int = 1
    prefix: str = ""


@dataclass
class Set(Letters):
    """Letters with settings."""

    settings: Settings = Settings()


def test_what_was_begun_before_a_setting_existed_goes_on_with_its_default(tmp_path):
    """It ends byte for byte as if it had been begun today; with another value than the default it is refused."""
    encode_to_folder(Set(settings=LaterSettings(9)), make_rows(23), tmp_path / "whole", shard_rows=4)

    def begin():
        with pytest.raises(KeyboardInterrupt):
            encode_to_folder(Set(breaks_after=10, settings=Settings(9)), make_rows(23), tmp_path / "v", shard_rows=4)

    begin()
    for later in (LaterSettings(9, passages=2), LaterSettings(9, prefix="x"), LaterSettings(8), None):
        with pytest.raises(VectorsError, match="other settings"):
            encode_to_folder(Set(settings=later), make_rows(23), tmp_path / "v", shard_rows=4)
    again = Set(settings=LaterSettings(9))
    encode_to_folder(again, make_rows(23), tmp_path / "v", shard_rows=4)
    assert again.encoded == 23 - 8
    assert content(tmp_path / "v") == content(tmp_path / "whole")
    shutil.rmtree(tmp_path / "v")
    begin()
    encode_to_folder(
        Set(settings=LaterSettings(9, passages=2)), make_rows(23), tmp_path / "v", shard_rows=4, fresh=True
    )
    assert read_manifest(tmp_path / "v")["description"]["settings"]["passages"] == 2


def test_a_finished_folder_is_not_replaced(tmp_path):
    encode_to_folder(Letters(), make_rows(3), tmp_path / "v")
    for fresh in (False, True):
        with pytest.raises(VectorsError, match="exists already"):
            encode_to_folder(Letters(), make_rows(3), tmp_path / "v", fresh=fresh)


def test_parts_make_up_the_whole(tmp_path):
    for number in (1, 2, 3):
        manifest = encode_to_folder(Letters(), make_rows(23), tmp_path / "v", part=(number, 3), shard_rows=4)
        assert manifest["rows"] == len(range(number - 1, 23, 3))
        assert (tmp_path / "v" / f"{number}-of-3").is_dir()
        if number < 3:
            with pytest.raises(VectorsError, match="3-of-3"):
                read_manifest(tmp_path / "v")
    ids, matrix = read_all(tmp_path / "v")
    assert read_manifest(tmp_path / "v")["rows"] == len(matrix) == 23
    assert sorted(ids) == sorted(row_id for row_id, _ in make_rows(23))
    texts = dict(make_rows(23))
    expected = Letters().encode_documents([texts[row_id] for row_id in ids])
    np.testing.assert_array_equal(matrix.to_scipy().toarray(), expected.to_scipy().toarray())


@pytest.mark.parametrize("part", [(0, 3), (4, 3), (1, 0)])
def test_parts_that_do_not_exist(tmp_path, part):
    with pytest.raises(ConfigError, match="counted from 1"):
        encode_to_folder(Letters(), make_rows(3), tmp_path / "v", part=part)
    with pytest.raises(ConfigError, match="shard_rows"):
        encode_to_folder(Letters(), make_rows(3), tmp_path / "v", shard_rows=0)


def test_memory_holds_one_shard_of_rows(tmp_path):
    taken = itertools.count()

    def stream():
        for row in make_rows(40):
            ahead.append(next(taken))
            yield row

    class Watching(Letters):
        def encode_documents(self, texts):
            assert len(ahead) - self.encoded <= 8
            return super().encode_documents(texts)

    ahead = []
    encode_to_folder(Watching(), stream(), tmp_path / "v", shard_rows=8)


def test_progress_counts_what_was_there_but_not_in_its_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(encode, "_SLICE_ROWS", 2)
    with pytest.raises(KeyboardInterrupt):
        encode_to_folder(Letters(breaks_after=9), make_rows(12), tmp_path / "v", shard_rows=4)
    seen = []
    encode_to_folder(Letters(), make_rows(12), tmp_path / "v", shard_rows=4, total=12, progress=seen.append)
    assert [step.done for step in seen] == [0, 4, 8, 10, 12]
    assert [step.total for step in seen] == [12] * 5
    assert seen[1].rows_per_second == 0 and seen[1].eta_s is None
    assert seen[3].rows_per_second > 0 and seen[3].eta_s > 0 and seen[-1].eta_s == 0
    seen.clear()
    encode_to_folder(Letters(), make_rows(12), tmp_path / "w", part=(2, 5), total=12, progress=seen.append)
    assert seen[-1].done == seen[-1].total == 3


def test_the_bundled_model_resumes_byte_for_byte(tmp_path, monkeypatch):
    from everglade.bundled import bundled_model
    from everglade.model.splade import Splade

    model = Splade.load(bundled_model(), max_document_length=16)
    rows = [(f"d{i}", text) for i, text in enumerate(["cold rain over the glade", "", "herons swim", "moss"] * 3)]
    monkeypatch.setattr(encode, "_SLICE_ROWS", 3)
    encode_to_folder(model, rows, tmp_path / "whole", shard_rows=5)
    encode_documents, calls = Splade.encode_documents, itertools.count()
    with monkeypatch.context() as patch:
        patch.setattr(Splade, "encode_documents", lambda *texts: encode_documents(*texts) if next(calls) < 3 else 1 / 0)
        with pytest.raises(ZeroDivisionError):
            encode_to_folder(model, rows, tmp_path / "resumed", shard_rows=5)
    assert json.loads((tmp_path / "resumed.partial" / "manifest.json").read_text())["rows"] == 5
    encode_to_folder(model, rows, tmp_path / "resumed", shard_rows=5)
    assert content(tmp_path / "resumed") == content(tmp_path / "whole")
    assert read_manifest(tmp_path / "whole")["description"]["settings"]["max_document_length"] == 16
