"""A vocabulary is the same from a list, a tokenizer.json and a model folder."""

import shutil

import pytest

from everglade.bundled import bundled_model
from everglade.errors import InputError, ModelError
from everglade.vector_files import Vocabulary, read_vocabulary


def test_a_list_counts_its_lines(golden):
    vocabulary = read_vocabulary(golden / "vocab.txt")
    assert vocabulary.n_terms == 13
    assert vocabulary.ids["[PAD]"] == 0
    assert vocabulary.ids["é"] == 11
    assert vocabulary.ids["pain"] == 12


def test_folder_tokenizer_and_list_of_one_model_are_one_vocabulary(tmp_path):
    folder = read_vocabulary(bundled_model())
    file = read_vocabulary(bundled_model() / "tokenizer.json")
    tokens = sorted(file.ids, key=file.ids.get)
    (tmp_path / "vocab.txt").write_bytes("\r\n".join([*tokens, ""]).encode())
    listed = read_vocabulary(tmp_path)
    assert folder.n_terms == file.n_terms == listed.n_terms == 30522
    assert folder.ids == file.ids == listed.ids
    assert folder.sha256 == file.sha256 == listed.sha256
    assert folder.ids["headache"] == 14978


def test_a_model_may_have_more_terms_than_tokens(golden, tmp_path):
    shutil.copy(golden / "vocab.txt", tmp_path)
    (tmp_path / "config.json").write_text('{"vocab_size": 16}')
    padded = read_vocabulary(tmp_path)
    assert padded.n_terms == 16
    assert padded.sha256 != read_vocabulary(golden / "vocab.txt").sha256


def test_another_order_is_another_vocabulary():
    one = Vocabulary("one", {"a": 0, "b": 1}, 2)
    assert one.sha256 == Vocabulary("other", {"b": 1, "a": 0}, 2).sha256
    assert one.sha256 != Vocabulary("one", {"a": 1, "b": 0}, 2).sha256


def test_what_is_no_vocabulary(tmp_path):
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    with pytest.raises(InputError, match=r"twice.txt, line 3: the token 'a' stands on line 1 already"):
        read_vocabulary(tmp_path / "twice.txt")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json cannot be read as a tokenizer"):
        read_vocabulary(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"holds neither tokenizer.json nor vocab.txt"):
        read_vocabulary(tmp_path / "empty")
    with pytest.raises(ModelError, match=r"There is no folder"):
        read_vocabulary(tmp_path / "nowhere")
