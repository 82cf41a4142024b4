"""MS MARCO triples, by id and by text."""

import pytest

from everglade.errors import InputError
from everglade.texts import Rejects, TextTriple, Triple, read_text_triples, read_triples


def test_triples_of_ids(tmp_path):
    (tmp_path / "qidpidtriples.tsv").write_text("1\t2\t3\r\n1\t2\t4\n")
    assert list(read_triples(tmp_path / "qidpidtriples.tsv")) == [Triple("1", "2", "3"), Triple("1", "2", "4")]


def test_triples_of_texts_keep_quotes_and_spaces(tmp_path):
    (tmp_path / "triples.tsv").write_text('what "is\t a "b" \t\n')
    assert list(read_text_triples(tmp_path / "triples.tsv")) == [TextTriple('what "is', ' a "b" ', "")]


@pytest.mark.parametrize("read", [read_triples, read_text_triples])
def test_three_columns(tmp_path, read):
    path, rejects = tmp_path / "t.tsv", Rejects()
    path.write_text("1\t2\t3\n1\t2\n1\t2\t3\t4\n")
    with pytest.raises(InputError, match="line 2: found 2 columns, expected 3"):
        list(read(path))
    assert list(read(path, rejects)) == [("1", "2", "3")]
    assert rejects.count == 2


def test_ids_are_ids(tmp_path):
    (tmp_path / "t.tsv").write_text("1\t\t3\n")
    with pytest.raises(InputError, match="line 1: the id is empty"):
        list(read_triples(tmp_path / "t.tsv"))
