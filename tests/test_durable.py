"""What is written appears whole or not at all."""

import json
import os
import socket
import subprocess
import sys

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


def test_a_private_folder_belongs_to_one_writer_and_leaves_nothing(tmp_path):
    with durable.private_folder(tmp_path / "f") as one, durable.private_folder(tmp_path / "f") as two:
        assert one != two
        (two / "x").write_text("two")
        durable.publish_folder(two, tmp_path / "f")
        (one / "x").write_text("one")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    assert (tmp_path / "f" / "x").read_text() == "two"
    with pytest.raises(KeyError), durable.private_folder(tmp_path / "g"):
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_only_what_ended_processes_of_this_host_left_is_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = socket.gethostname()
    stays = [
        f"f.{host}.{os.getppid()}.0a.partial",  # a living process
        f"f.other-{host}.{gone.pid}.0a.partial",  # another host
        f"other.{host}.{gone.pid}.0a.partial",  # another folder
        f"f.{host}.{gone.pid}.0a",
        f"f.{host}.{gone.pid}.partial",
        f"f.{host}.x.0a.partial",
        f"f.{host}.{10**30}.0a.partial",
    ]
    for name in (f"f.{host}.{gone.pid}.0a.partial", *stays):
        (tmp_path / name / "inner").mkdir(parents=True)
    with durable.private_folder(tmp_path / "f"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(stays)
