import importlib.util
import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from everglade.distill.bm25 import K1, B, bm25_run
from everglade.errors import ConfigError, InputError, MissingExtra
from everglade.texts import Document, Query

words = st.lists(st.sampled_from(["ant", "bee", "cat", "dog", "eel", "fox"]), max_size=6).map(" ".join)


@settings(max_examples=30, deadline=None)
@given(st.lists(words, min_size=1, max_size=12), words, st.integers(1, 8))
def test_scores_and_order_are_those_of_the_formula(texts, asked, k):
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts)]
    expected = {}
    mean = sum(len(text.split()) for text in texts) / len(texts)
    for document in documents:
        tokens = Counter(document.text.split())
        score = 0.0
        for word in asked.split():
            holders = sum(word in text.split() for text in texts)
            if tokens[word]:
                idf = math.log(1 + (len(texts) - holders + 0.5) / (holders + 0.5))
                score += idf * tokens[word] / (tokens[word] + K1 * (1 - B + B * tokens.total() / mean))
        if score > 0:
            expected[document.id] = score
    found = bm25_run(documents, [Query("q", asked)], k)["q"]
    best = sorted(expected.values(), reverse=True)[:k]
    assert list(found.values()) == pytest.approx(best, rel=1e-5)
    assert all(found[document] == pytest.approx(expected[document], rel=1e-5) for document in found)
    assert list(found) == sorted(found, key=lambda document: (-found[document], document))


def test_ties_go_by_id_even_at_the_cut_and_whatever_the_order():
    documents = [Document(f"d{i}", "cat") for i in (3, 1, 2, 0)] + [Document("far", "dog")]
    assert list(bm25_run(documents, [Query("q", "cat")], 2)["q"]) == ["d0", "d1"]
    assert list(bm25_run(documents, [Query("q", "a cat")], 10)["q"]) == ["d0", "d1", "d2", "d3"]


def test_the_title_is_searched_and_empty_texts_are_no_trouble():
    documents = [Document("d1", "", "Cats"), Document("d2", "")]
    queries = [Query("q1", "cats"), Query("q2", ""), Query("q3", "unknown")]
    run = bm25_run(documents, queries, 5)
    assert [list(hits) for hits in run.values()] == [["d1"], [], []]
    assert bm25_run([Document("d", "")], queries, 5) == {"q1": {}, "q2": {}, "q3": {}}


def test_senseless_input_is_refused(monkeypatch):
    with pytest.raises(InputError, match="no documents"):
        bm25_run([], [Query("q", "cat")], 5)
    with pytest.raises(ConfigError, match="k must be"):
        bm25_run([Document("d", "cat")], [], 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"pip install 'everglade\[train\]'"):
        bm25_run([Document("d", "cat")], [], 1)
