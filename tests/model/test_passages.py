"""A long document's vector is the maximum over its passages' vectors, wherever it is made."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from everglade.errors import ConfigError, ModelMismatch
from everglade.model.card import model_card
from everglade.model.folder import describe_model
from everglade.model.passages import max_over_passages
from everglade.model.query import StaticQueries
from everglade.model.settings import SpladeSettings
from everglade.model.splade import Splade
from everglade.search import Index

LENGTH, PASSAGES, OVERLAP = 9, 3, 2
LONG = "sun river glade moss heron otter fern rain warm cold swim fly grow over moss and fern"


@pytest.fixture
def documents(texts):
    return [*texts, LONG, f"{LONG} {LONG}", "fern " * 8, "fern " * 7]


def windows_of(folder, text, *, length=LENGTH, passages=PASSAGES, overlap=OVERLAP, side="right"):
    """The passages as transformers' own windows cut them."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, truncation_side=side)
    cut = tokenizer(text, truncation=True, max_length=length, stride=overlap, return_overflowing_tokens=True)
    return cut["input_ids"][:passages] if text.strip() else [[]]


def naive_vectors(folder, texts, prefix="", *, pooling="max", activation="relu", **cut):
    """The definition with transformers alone: each passage by itself, no padding, then the maximum."""
    mlm = transformers.AutoModelForMaskedLM.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        passages = windows_of(folder, prefix + text if text.strip() else "", **cut)
        vectors = []
        for ids in passages:
            if not ids:
                vectors.append(torch.zeros(mlm.config.vocab_size))
                continue
            with torch.no_grad():
                logits = mlm(input_ids=torch.tensor([ids])).logits[0]
            weights = torch.log1p(torch.relu(logits))
            weights = torch.log1p(weights) if activation == "log1p_relu" else weights
            vectors.append(weights.amax(dim=0) if pooling == "max" else weights.sum(dim=0))
        rows.append(torch.stack(vectors).amax(dim=0))
    return torch.stack(rows).numpy()


def in_passages(folder, **settings):
    return Splade.load(folder, max_document_length=LENGTH, passages=PASSAGES, passage_overlap=OVERLAP, **settings)


def dense(matrix):
    return matrix.to_scipy().toarray()


def trained(model, texts):
    with torch.no_grad():
        return model(**model.tokenize(texts, "document"), side="document").numpy()


@pytest.mark.parametrize("overlap", [0, 3])
@pytest.mark.parametrize("side", ["right", "left"])
def test_windows_are_those_of_transformers(mlm_folder, documents, side, overlap):
    tokenizer = transformers.AutoTokenizer.from_pretrained(mlm_folder, truncation_side=side)
    reader = Splade(transformers.AutoModelForMaskedLM.from_pretrained(mlm_folder), tokenizer)._reader
    for most in (1, 2, 100):
        found = reader.read_passages(documents, LENGTH, passages=most, overlap=overlap)
        for text, passages in zip(documents, found, strict=True):
            cut = {"length": LENGTH, "passages": most, "overlap": overlap, "side": side}
            assert [row.tolist() for row in passages] == windows_of(mlm_folder, text, **cut)
        assert [row.tolist() for row, *_ in found] == [row.tolist() for row in reader.read(documents, LENGTH)]
    assert max(map(len, found)) > 5


@pytest.mark.parametrize("prefix", ["moss: ", "sun river "])
def test_every_passage_has_the_prefix(mlm_folder, documents, prefix):
    model = Splade.load(mlm_folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(mlm_folder)
    length = 7 + len(tokenizer(prefix.rstrip())["input_ids"])
    reader = model._reader
    found = reader.read_passages(documents, length, prefix, passages=4, overlap=1)
    assert [row.tolist() for row, *_ in found] == [row.tolist() for row in reader.read(documents, length, prefix)]
    head = tokenizer(prefix.rstrip())["input_ids"][:-1]
    several = [passages for passages in found if len(passages) > 1]
    assert len(several) >= 4
    for passages in several:
        bodies = []
        for row in passages:
            assert row.tolist()[: len(head)] == head and len(row) <= length
            assert row.tolist()[-1] == passages[0].tolist()[-1]
            bodies.append(row.tolist()[len(head) : -1])
        assert all(left[-1] == right[0] for left, right in zip(bodies, bodies[1:], strict=False))
    # Without prefixes and shared tokens the passages are the text.
    whole = reader.read([prefix + LONG], 1000)[0].tolist()
    joined = [
        token for row in reader.read_passages([LONG], length, prefix, passages=99)[0] for token in row[len(head) : -1]
    ]
    assert [*head, *joined, whole[-1]] == whole


def passages_by_the_rule(tokenizer, text, prefix, *, length, overlap, side):
    """Passages of the text's own tokens behind the prefix's own; the one with the beginning is as it was tokenised."""
    empty = tokenizer("")["input_ids"]
    before, after = empty[: len(empty) // 2 + len(empty) % 2], empty[len(empty) // 2 + len(empty) % 2 :]
    head = tokenizer(prefix.rstrip(" "), add_special_tokens=False)["input_ids"]
    whole = tokenizer(prefix + text, add_special_tokens=False)["input_ids"]
    most = length - len(empty)
    room = most - len(head)
    rows = []
    if side == "right":
        rows.append(whole[:most])
        done = most
        while done < len(whole):
            rows.append(head + whole[done - overlap : done - overlap + room])
            done += room - overlap
    else:
        left = len(whole)
        while left > most:
            rows.append(head + whole[left - room : left])
            left -= room - overlap
        rows.append(whole[:left])
    return [before + row + after for row in rows]


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("prefix", ["t", "ra", "sun rai", "moss: ", "moss:\n", ""])
def test_a_prefix_that_runs_into_the_text_is_in_every_passage(mlm_folder, prefix, side):
    """Behind "t" the text "he river" begins with the token "the", and the later passages still with "t"."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(mlm_folder, truncation_side=side)
    mlm = transformers.AutoModelForMaskedLM.from_pretrained(mlm_folder)
    length, overlap = 18, 2
    settings = SpladeSettings(9, length, document_prefix=prefix, passages=99, passage_overlap=overlap)
    model = Splade(mlm, tokenizer, settings)
    texts = ["he river", "in of the river", f"he {LONG}", f"in {LONG} {LONG}", "he", "\u200b the " * 30]
    plain = transformers.AutoTokenizer.from_pretrained(mlm_folder)
    found = model._reader.read_passages(texts, length, prefix, passages=99, overlap=overlap)
    for text, passages in zip(texts, found, strict=True):
        rule = passages_by_the_rule(plain, text, prefix, length=length, overlap=overlap, side=side)
        assert [row.tolist() for row in passages] == rule
    whole = model._reader.read(texts, 10_000, prefix)
    fitting = [i for i, row in enumerate(whole) if len(row) <= length]
    assert {0, 4} <= set(fitting) and max(map(len, found)) >= 3
    for i in fitting:
        assert [row.tolist() for row in found[i]] == [whole[i].tolist()]
    if prefix == "t":
        head = plain("t", add_special_tokens=False)["input_ids"]
        before = model._reader.before
        assert whole[0][before] != head[0], "the prefix and the word are one token"
        assert all(row[before] == head[0] for row in (found[2][1:] if side == "right" else found[2][:-1]))


@pytest.mark.parametrize("pooling, activation", [("max", "relu"), ("sum", "log1p_relu")])
def test_vectors_are_the_maximum_over_passages(mlm_folder, documents, pooling, activation):
    model = in_passages(mlm_folder, pooling=pooling, activation=activation)
    expected = naive_vectors(mlm_folder, documents, pooling=pooling, activation=activation)
    cut = dense(replace_settings(model, passages=1).encode_documents(documents))
    assert (expected > cut + 1e-3).any(axis=1).sum() >= 3
    replace_settings(model, passages=PASSAGES)
    matrix = model.encode_documents(documents)
    np.testing.assert_allclose(dense(matrix), expected, atol=1e-4)
    np.testing.assert_allclose(trained(model, documents), expected, atol=1e-4)
    assert all((np.diff(matrix.row(i)[0]) > 0).all() for i in range(len(matrix))) and (matrix.weights > 0).all()


def replace_settings(model, **settings):
    model.settings = replace(model.settings, **settings)
    return model


def test_the_prefix_of_every_passage_goes_into_the_vector(bert_folder, documents):
    model = in_passages(bert_folder, document_prefix="moss ")
    ids = [
        [[2, *_ids(bert_folder, "moss"), *row[1:]] for row in windows_of(bert_folder, text, length=LENGTH - 1)]
        for text in documents
        if text.strip()
    ]
    mlm = transformers.AutoModelForMaskedLM.from_pretrained(bert_folder).eval()
    with torch.no_grad():
        expected = [
            torch.stack([torch.log1p(torch.relu(mlm(torch.tensor([row])).logits[0])).amax(0) for row in rows]).amax(0)
            for rows in ids
        ]
    texts = [text for text in documents if text.strip()]
    np.testing.assert_allclose(dense(model.encode_documents(texts)), torch.stack(expected).numpy(), atol=1e-5)


def _ids(folder, text):
    return transformers.AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("reading", ["bidirectional", "echo"])
def test_decoders_read_passages_too(decoder_folder, documents, reading):
    model = in_passages(decoder_folder, reading=reading)
    found = dense(model.encode_documents(documents))
    np.testing.assert_allclose(trained(model, documents), found, atol=1e-5)
    alone = replace(model.settings, passages=1, max_document_length=32)
    pieces = [model.tokenizer.decode(row[model._reader.before :]) for row in _first_copies(model, LONG)]
    model.settings = alone
    expected = dense(model.encode_documents(pieces)).max(axis=0)
    np.testing.assert_allclose(found[documents.index(LONG)], expected, atol=1e-5)


def _first_copies(model, text):
    """The tokens of each passage, once."""
    for row in model._reader.read_passages([text], LENGTH, passages=PASSAGES, overlap=OVERLAP)[0]:
        body = len(row) - model._reader.before
        yield row[: model._reader.before + (body // 2 if model.settings.reading == "echo" else body)]


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_windows_and_threads_change_nothing(bert_folder, documents, threads, monkeypatch):
    model = in_passages(bert_folder)
    expected = dense(model.encode_documents(documents * 4))
    monkeypatch.setattr("everglade.model.passages._WINDOW_ROWS", 5)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for batch_tokens in (1, 30, 10_000):
            found = dense(model.encode_documents(documents * 4, batch_tokens=batch_tokens))
            np.testing.assert_allclose(found, expected, atol=1e-6)
    finally:
        torch.set_num_threads(before)


def test_short_documents_and_queries_are_read_as_before(bert_folder, documents):
    model, plain = in_passages(bert_folder), Splade.load(bert_folder, max_document_length=LENGTH)
    short = [text for text in documents if len(plain._reader.read([text], 1000)[0]) <= LENGTH]
    assert len(short) >= 4
    for one, other in (
        (model.encode_documents(short), plain.encode_documents(short)),
        (model.encode_queries(documents), plain.encode_queries(documents)),
    ):
        np.testing.assert_array_equal(dense(one), dense(other))
    assert model.tokenize(documents, "query")["input_ids"].ndim == 2
    assert model.tokenize(short, "document")["input_ids"].shape == (len(short), 1, LENGTH)


def test_limits_hold_after_the_maximum_and_own_terms_are_a_passages_own(bert_folder, documents):
    plain = in_passages(bert_folder)
    full = dense(plain.encode_documents(documents))
    limited = in_passages(bert_folder, max_document_terms=4)
    expected = np.where(full >= np.sort(full, axis=1)[:, [-4]], full, 0.0)
    np.testing.assert_allclose(dense(limited.encode_documents(documents)), expected, atol=1e-6)
    np.testing.assert_allclose(trained(limited, documents), expected, atol=1e-6)
    lexical = in_passages(bert_folder, lexical="document")
    rows = [
        np.max([_own(plain, passage) for passage in passages], axis=0)
        for passages in (windows_of(bert_folder, text) for text in documents)
    ]
    np.testing.assert_allclose(dense(lexical.encode_documents(documents)), rows, atol=1e-6)
    np.testing.assert_allclose(trained(lexical, documents), rows, atol=1e-6)


def _own(model, ids):
    """The weights of a passage at its own tokens."""
    weights = np.zeros(model.n_terms, dtype=np.float32)
    if ids:
        tokens = torch.tensor([ids])
        with torch.no_grad():
            found = model._weigh(tokens, torch.ones_like(tokens))[0].numpy()
        own = sorted(set(ids) - set(model._reader.special_ids))
        weights[own] = found[own]
    return weights


def test_the_gradient_goes_to_the_passage_that_won(bert_folder, documents):
    """Against the definition: each passage alone through the model, and torch's own maximum."""
    model = in_passages(bert_folder, max_document_terms=6).double()
    texts = [text for text in documents if text.strip()]
    slopes = torch.randn(len(texts), model.n_terms, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vectors = model(**model.tokenize(texts, "document"))
    (vectors * slopes).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    expected = []
    for text in texts:
        passages = [torch.tensor([ids]) for ids in windows_of(bert_folder, text)]
        best = torch.stack([model._weigh(ids, torch.ones_like(ids))[0] for ids in passages]).max(dim=0).values
        expected.append(best * torch.zeros_like(best).scatter(0, best.detach().topk(6).indices, 1.0))
    (torch.stack(expected) * slopes).sum().backward()
    torch.testing.assert_close(vectors, torch.stack(expected), rtol=1e-12, atol=1e-12)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-12)
    assert found["mlm.bert.embeddings.word_embeddings.weight"].abs().max() > 1e-3


def test_of_equal_passages_the_first_has_the_gradient():
    present = torch.tensor([[True, True, True], [True, False, False]])
    weights = torch.tensor([[1.0, 2.0, 0.0], [1.0, 3.0, 0.0], [0.5, 3.0, 7.0], [4.0, 0.0, 5.0]], requires_grad=True)
    best = max_over_passages(weights, present)
    assert best.tolist() == [[1.0, 3.0, 7.0], [4.0, 0.0, 5.0]]
    (best * torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
    assert weights.grad.tolist() == [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [4.0, 5.0, 6.0]]


def test_weights_that_are_no_numbers_are_not_lost():
    present = torch.tensor([[True, True, True], [True, False, False]])
    weights = torch.tensor([[1.0, 0.0], [torch.nan, 2.0], [3.0, 1.0], [4.0, 5.0]])
    found = max_over_passages(weights, present)
    assert found[0, 0].isnan() and found[0, 1] == 2 and found[1].tolist() == [4.0, 5.0]


def test_progress_counts_documents(bert_folder, documents):
    steps = []
    in_passages(bert_folder).encode_documents(documents, batch_tokens=20, progress=steps.append)
    done = [step.done for step in steps]
    assert done[0] == 0 and done[-1] == steps[-1].total == len(documents)
    assert done == sorted(done) and len(set(done)) > 4


def test_the_fingerprint_knows_passages_but_not_their_default(bert_folder):
    plain = Splade.load(bert_folder)
    assert SpladeSettings().that_matter().keys().isdisjoint({"passages", "passage_overlap"})
    assert Splade.load(bert_folder, passage_overlap=5).fingerprint == plain.fingerprint
    others = [Splade.load(bert_folder, passages=p, passage_overlap=o).fingerprint for p, o in ((2, 0), (3, 0), (2, 1))]
    assert len({plain.fingerprint, *others}) == 4


@pytest.mark.parametrize(
    "values, message",
    [
        ({"passages": 0}, "passages must be a whole number of at least 1"),
        ({"passages": 2.0}, "passages must be a whole number"),
        ({"passage_overlap": -1}, "passage_overlap must be a whole number of at least 0"),
    ],
)
def test_settings_are_checked(values, message):
    with pytest.raises(ConfigError, match=message):
        SpladeSettings.from_dict(values)


def test_passages_without_room_for_a_new_token_are_refused(bert_folder):
    message = "passage_overlap is 7, but of the 9 tokens .* leave 7 to the text"
    with pytest.raises(ConfigError, match=message):
        Splade.load(bert_folder, max_document_length=9, passages=2, passage_overlap=7)
    model = Splade.load(bert_folder, max_document_length=9, passages=2, passage_overlap=6)
    with pytest.raises(ConfigError, match="leave 6"):
        model.settings = replace(model.settings, document_prefix="moss ")
    assert model.settings.document_prefix == ""
    Splade.load(bert_folder, max_document_length=9, passages=1, passage_overlap=7)


@pytest.mark.parametrize("prefix", ["moss: ", "moss", "  ", ""])
def test_settings_that_are_taken_have_room_whatever_the_text(mlm_folder, prefix):
    tokenizer = transformers.AutoTokenizer.from_pretrained(mlm_folder)
    settings = {"passages": 2, "passage_overlap": 4, "document_prefix": prefix}
    least = len(tokenizer(prefix.rstrip())["input_ids"]) + 4 + 1
    with pytest.raises(ConfigError, match="leave 4 to the text"):
        Splade.load(mlm_folder, max_document_length=least - 1, **settings)
    model = Splade.load(mlm_folder, max_document_length=least, **settings)
    texts = ["", "  ", "\u200b\u200b", "a", "\u0301", "s of the otter", "the otter " * 6]
    assert len(model.encode_documents(texts)) == len(texts)


@pytest.mark.parametrize("name", ["plain`tick", "two\nlines\n# and a title", "``", '"', "<b>*bold*", "pré: "])
def test_a_card_shows_the_prefix_as_it_stands(name):
    from markdown_it import MarkdownIt

    card = model_card("Bert", 7, SpladeSettings(query_prefix=name, document_prefix="moss "), "shared")
    (*_, body) = card.split("\n---\n", 1)
    blocks = MarkdownIt().parse(body)
    spans = [span.content for block in blocks for span in block.children or [] if span.type == "code_inline"]
    assert [json.loads(span) for span in spans if span.startswith('"')] == [name, "moss "]
    assert [block.tag for block in blocks if block.type == "heading_open"] == ["h1"]


def test_passages_and_prefixes_are_saved(bert_folder, documents, tmp_path, sentence_transformers):
    model = in_passages(bert_folder, query_prefix="sun ", document_prefix="moss ")
    model.save(tmp_path / "model")
    again = Splade.load(tmp_path / "model")
    assert again.settings == model.settings and again.fingerprint == model.fingerprint
    np.testing.assert_array_equal(dense(again.encode_documents(documents)), dense(model.encode_documents(documents)))
    described = describe_model(tmp_path / "model")
    assert (described["passages"], described["passage_overlap"], described["query_prefix"]) == (3, 2, "sun ")
    card = (tmp_path / "model" / "README.md").read_text()
    assert "up to 3 passages of 9 tokens, 2 of them shared" in card and 'Before each document stands `"moss "`' in card
    theirs = sentence_transformers.SparseEncoder(str(tmp_path / "model"), device="cpu")
    short = ["otter", "fern river moss", "fern " * 6]
    assert len(short) >= 3
    found = theirs.encode_document(short, convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(found, dense(model.encode_documents(short)), atol=1e-5)
    found = theirs.encode_query(["river moss"], convert_to_sparse_tensor=False).numpy()
    np.testing.assert_allclose(found, dense(model.encode_queries(["river moss"])), atol=1e-5)


@pytest.mark.parametrize("queries", [None, "binary", "separate"])
def test_an_index_reads_as_the_model_that_made_it(bert_folder, documents, tmp_path, queries):
    """Other settings than the folder's hold for whoever opens the index next; explanations add up to scores."""
    Splade.load(bert_folder, query_encoder=bert_folder if queries == "separate" else queries).save(tmp_path / "model")
    settings = {
        "max_document_length": LENGTH,
        "passages": PASSAGES,
        "document_prefix": "sun ",
        "query_prefix": "otter ",
    }
    model = Splade.load(tmp_path / "model", **settings)
    rows = [(f"d{i}", text) for i, text in enumerate(documents) if text.strip()]
    with Index.create(tmp_path / "i", model) as index:
        index.add(rows)
        before = index.search("cold fern", k=5)
    with Index.open(tmp_path / "i") as index:
        assert index.search("cold fern", k=5) == before
        assert index.encoder.settings == model.settings
        assert isinstance(index.encoder, StaticQueries) == (queries == "binary")
        for hit in before:
            assert index.explain("cold fern", hit.id).score == pytest.approx(hit.score, rel=1e-6)
        index.add([("again", dict(rows)[before[0].id])])
        ids = {hit.id: hit.score for hit in index.search("cold fern", k=50)}
        assert ids["again"] == ids[before[0].id]
        (vector,) = [dense(model.encode_documents([rows[-1][1]]))[0]]
        query = dense(model.encode_queries(["cold fern"]))[0]
        assert ids[rows[-1][0]] == pytest.approx(float(vector @ query), rel=0.02)


def test_a_model_that_was_moved_reads_as_the_index_says(bert_folder, documents, tmp_path):
    Splade.load(bert_folder).save(tmp_path / "model")
    settings = {"max_document_length": LENGTH, "passages": PASSAGES, "document_prefix": "sun "}
    model = Splade.load(tmp_path / "model", **settings)
    with Index.create(tmp_path / "i", model) as index:
        index.add([(f"d{i}", text) for i, text in enumerate(documents)])
        before = index.search("cold fern")
    moved = (tmp_path / "model").rename(tmp_path / "moved")
    for path in (moved, str(moved)):
        with Index.open(tmp_path / "i", path) as index:
            assert index.search("cold fern") == before
            assert index.encoder.settings == model.settings
    model.mlm.get_output_embeddings().bias.data[7] += 1.0
    model.save(tmp_path / "other")
    with Index.open(tmp_path / "i", tmp_path / "other") as index, pytest.raises(ModelMismatch, match="other"):
        index.search("cold fern")
    config = transformers.AutoConfig.from_pretrained(bert_folder)
    config.max_position_embeddings = LENGTH - 1
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path / "short")
    transformers.AutoTokenizer.from_pretrained(bert_folder).save_pretrained(tmp_path / "short")
    message = "short cannot read texts as the model .* did: max_document_length is 9"
    with Index.open(tmp_path / "i", tmp_path / "short") as index, pytest.raises(ModelMismatch, match=message):
        index.search("cold fern")
