"""What is written appears whole or not at all."""

import json

import pytest

from everglade import durable


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path):
    durable.write_bytes(tmp_path / "f", b"old")
    with pytest.raises(KeyError), durable.whole_file(tmp_path / "f") as temporary:
        temporary.write_bytes(b"half")
        raise KeyError
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_json_that_is_no_json_is_refused_and_leaves_the_old_file(tmp_path):
    durable.write_json(tmp_path / "f", {"ü": 1})
    with pytest.raises(ValueError, match="JSON"):
        durable.write_json(tmp_path / "f", float("nan"))
    assert json.loads((tmp_path / "f").read_text(encoding="utf-8")) == {"ü": 1}


def test_a_folder_takes_its_final_name_once(tmp_path):
    for name in ("one.partial", "two.partial"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "f").write_text(name)
    (tmp_path / "final").mkdir()
    durable.publish_folder(tmp_path / "one.partial", tmp_path / "final")
    with pytest.raises(FileExistsError, match="final exists already"):
        durable.publish_folder(tmp_path / "two.partial", tmp_path / "final")
    assert (tmp_path / "final" / "inner" / "f").read_text() == "one.partial"
    assert (tmp_path / "two.partial").exists()


def test_a_failed_sync_names_the_file(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(durable.os, "fsync", fail)
    with pytest.raises(OSError, match=r"Input/output error.*'.*f\.tmp'"):
        durable.write_bytes(tmp_path / "f", b"x")
