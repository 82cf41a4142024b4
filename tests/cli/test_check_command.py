"""`everglade check` says whether an index is sound, by words and by exit code, and repairs it when asked."""

import json

import pytest
from typer.testing import CliRunner

from everglade import Index, SparseMatrix
from everglade.cli import app
from everglade.texts import Document


def run(*words, code=0):
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output + repr(result.exception)
    return result


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "i"
    with Index.create(path, n_terms=5, impact_scale=60.0) as index:
        for batch in range(2):
            ids = [f"{batch}{place}" for place in range(15)]
            matrix = SparseMatrix.from_rows([{place % 5: 1.0} for place in range(15)], 5)
            index.add_vectors(ids, matrix, [Document(id, "text") for id in ids])
    return path


def test_a_sound_index(folder):
    shown = run("check", folder).stdout
    assert "000001.segment" in shown
    assert "sound: 30 documents in 2 segments" in shown
    found = json.loads(run("check", folder, "--json").stdout)
    assert (found["sound"], found["documents"], found["problems"], found["repair"]) == (True, 30, [], None)


def test_a_damaged_index_and_its_repair(folder):
    content = bytearray((folder / "000002.segment").read_bytes())
    content[-1] ^= 1
    (folder / "000002.segment").write_bytes(content)
    shown = run("check", folder, code=1).stdout
    assert "DAMAGED" in shown
    assert "problem: 000002.segment: " in shown
    assert "--repair keeps what is intact" in shown
    assert json.loads(run("check", folder, "--json", code=1).stdout)["segments"][1]["problem"]
    shown = run("check", folder, "--repair").stdout
    assert "lost: 10" in shown
    assert "sound: 15 documents in 1 segments" in shown
    assert json.loads(run("check", folder, "--repair", "--json").stdout)["repair"] is None


def test_a_lost_catalog_needs_the_scale(folder):
    (folder / "catalog.sqlite").write_bytes(b"nothing of it")
    result = run("check", folder, "--repair", code=5)
    assert "--impact-scale" in result.stderr
    assert "without text" in run("check", folder, "--repair", "--impact-scale", "60").stdout


def test_no_index(tmp_path):
    assert "there is no index" in run("check", tmp_path, code=5).stderr
