"""Teachers give what their own tools give; scores of several are made one; an interrupted scoring ends the same."""

import gc
import json
import math
import os
import shutil
import statistics
import weakref
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from safetensors.torch import save_file as save_torch_file

from everglade import durable
from everglade.distill.bm25 import bm25_run
from everglade.distill.ensemble import correlate, list_places, normalise, positive_first, rescale
from everglade.distill.example_table import ExampleTable
from everglade.distill.examples import Example, read_examples, write_examples
from everglade.distill.scoring import ScoringSettings, score_to_folder, teacher_names
from everglade.distill.teachers import open_teacher
from everglade.errors import ConfigError, InputError, ModelError
from everglade.model.splade import Splade
from everglade.texts import Document, Query

FILE = "model.safetensors"
WORDS = "sun river glade moss heron otter fern rain warm cold swim fly grow".split()  # noqa: SIM905
QUERIES = {"q1": "sun river", "q2": "moss heron otter", "q3": "warm rain"}
DOCUMENTS = {
    "d1": "sun warm river river",
    "d2": "otter swim cold river rain",
    "d3": "moss grow rain fern glade moss",
    "d4": "heron fly",
    "d5": "warm sun",
}
EXAMPLES = [
    Example("q1", ("d1", "d2", "d4")),
    Example("q2", ("d3", "d1", "d5", "d2")),
    Example("q2", ("d4", "d1", "d2")),
    Example("q3", ("d5", "d3")),
]
PAIRS = [(QUERIES[e.query_id], DOCUMENTS[d]) for e in EXAMPLES for d in e.document_ids]
ASKED, READ = [query for query, _ in PAIRS], [text for _, text in PAIRS]


@pytest.fixture(autouse=True, scope="module")
def _as_small_as_they_are():
    """One thread, and no waiting for the disk."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "sync_file", lambda path: None)
        patch.setattr(durable, "sync_folder", lambda path: None)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def models(tmp_path_factory, word_tokenizer):
    """A folder with untrained models of one layer: mlm, cross, wide (two scores a pair), dense (by cosine)."""
    from sentence_transformers import CrossEncoder, SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("models")
    tokenizer = word_tokenizer(WORDS, model_max_length=32)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=0.5,
    )
    BertForMaskedLM(config).save_pretrained(folder / "mlm")
    tokenizer.save_pretrained(folder / "mlm")
    for name, labels in (("cross", 1), ("wide", 2)):
        transformer = Transformer(
            str(folder / "mlm"), transformer_task="sequence-classification", config_kwargs={"num_labels": labels}
        )
        CrossEncoder(modules=[transformer]).save_pretrained(str(folder / name), create_model_card=False)
    dense = SentenceTransformer(modules=[Transformer(str(folder / "mlm")), Pooling(32)], similarity_fn_name="cosine")
    dense.save_pretrained(str(folder / "dense"), create_model_card=False)
    return folder


def test_a_cross_encoder_gives_its_logits(models):
    from sentence_transformers import CrossEncoder

    own = CrossEncoder(str(models / "cross"), local_files_only=True)
    found = open_teacher(f"cross-encoder:{models / 'cross'}").score(ASKED, READ)
    logits = own.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(found, logits, atol=1e-6)
    # What the model gives when nobody asks for logits goes through a sigmoid.
    np.testing.assert_allclose(1 / (1 + np.exp(-found)), own.predict(PAIRS, show_progress_bar=False), atol=1e-6)
    assert np.ptp(found) > 0.01
    assert found.dtype == np.float32


@pytest.mark.parametrize("kind", ["cross-encoder:cross", "dense:dense", "splade:mlm"])
def test_bfloat16_gives_nearly_the_same_scores_under_another_fingerprint(models, kind):
    name, _, folder = kind.partition(":")
    whole, half = (open_teacher(f"{name}:{models / folder}", DOCUMENTS, precision) for precision in ("no", "bf16"))
    exact, near = whole.score(ASKED, READ), half.score(ASKED, READ)
    assert near.dtype == np.float32 and not np.array_equal(near, exact)
    np.testing.assert_allclose(near, exact, atol=0.05 * np.ptp(exact))
    assert half.name == whole.name and half.fingerprint != whole.fingerprint
    assert not torch.is_autocast_enabled("cpu")


def test_a_folder_of_transformers_alone_is_a_teacher(models, tmp_path):
    """As the public cross-encoders were saved before sentence-transformers 4: with the activation in config.json."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    own = AutoModelForSequenceClassification.from_pretrained(models / "cross")
    own.config.sbert_ce_default_activation_function = "torch.nn.modules.linear.Identity"
    own.save_pretrained(tmp_path / "plain")
    tokenizer = AutoTokenizer.from_pretrained(models / "cross")
    tokenizer.save_pretrained(tmp_path / "plain")
    with torch.no_grad():
        logits = own.eval()(**tokenizer(ASKED, READ, padding=True, return_tensors="pt")).logits[:, 0]
    found = open_teacher(f"cross-encoder:{tmp_path / 'plain'}").score(ASKED, READ)
    np.testing.assert_allclose(found, logits, atol=1e-6)


@pytest.mark.parametrize(
    "name", ["classifier.weight", "bert.encoder.layer.0.attention.self.query.weight", "bert.pooler.dense.bias"]
)
def test_a_weight_that_is_not_in_the_file_is_not_made_up(models, tmp_path, name):
    shutil.copytree(models / "cross", tmp_path / "lacking")
    file = tmp_path / "lacking" / "model.safetensors"
    weights = load_file(file)
    weights.pop(name)
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=rf"lacks weights of its cross-encoder \({name}\)"):
        open_teacher(f"cross-encoder:{tmp_path / 'lacking'}")


def test_weights_under_the_names_they_had_in_older_files_are_there(models, tmp_path):
    shutil.copytree(models / "cross", tmp_path / "old")
    file = tmp_path / "old" / "model.safetensors"
    names = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    weights = {}
    for name, array in load_file(file).items():
        end = next((end for end in names if name.endswith(end)), "")
        weights[name.removesuffix(end) + names.get(end, "")] = array
    assert sum(name.endswith("gamma") for name in weights) == 3
    save_file(weights, file, metadata={"format": "pt"})
    old, new = (open_teacher(f"cross-encoder:{folder}") for folder in (tmp_path / "old", models / "cross"))
    assert old.score(ASKED, READ).tolist() == new.score(ASKED, READ).tolist()


@pytest.mark.parametrize("name", ["cross", "dense"])
def test_weights_of_half_precision_are_opened_as_whole_ones(models, tmp_path, name):
    """What is stored in bfloat16 scores as the same numbers stored in float32 do."""
    kind = "cross-encoder" if name == "cross" else name
    for number_type in ("bfloat16", "float32"):
        folder = tmp_path / number_type
        shutil.copytree(models / name, folder)
        weights = {key: torch.from_numpy(array).bfloat16() for key, array in load_file(folder / FILE).items()}
        if number_type == "float32":
            weights = {key: tensor.float() for key, tensor in weights.items()}
        save_torch_file(weights, folder / FILE, metadata={"format": "pt"})
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "dtype": number_type}))
    half, whole = (open_teacher(f"{kind}:{tmp_path / one}") for one in ("bfloat16", "float32"))
    assert half.score(ASKED, READ).tolist() == whole.score(ASKED, READ).tolist()
    assert half.fingerprint == whole.fingerprint


def test_a_dense_model_gives_its_similarity(models):
    from sentence_transformers import SentenceTransformer

    own = SentenceTransformer(str(models / "dense"), local_files_only=True)
    wanted = own.similarity_pairwise(own.encode_query(ASKED), own.encode_document(READ))
    found = open_teacher(f"dense:{models / 'dense'}").score(ASKED, READ)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.ptp(found) > 0.01


def test_a_sparse_model_gives_its_dot_products(models):
    own = Splade.load(models / "mlm")
    left, right = own.encode_queries(ASKED).to_scipy().toarray(), own.encode_documents(READ).to_scipy().toarray()
    found = open_teacher(f"splade:{models / 'mlm'}").score(ASKED, READ)
    np.testing.assert_allclose(found, (left * right).sum(axis=1), rtol=1e-5)
    assert np.ptp(found) > 0.01


def test_bm25_gives_the_scores_of_its_run():
    run = bm25_run(
        [Document(key, text) for key, text in DOCUMENTS.items()],
        [Query(key, text) for key, text in QUERIES.items()],
        k=10,
    )
    found = open_teacher("bm25", DOCUMENTS).score(ASKED, READ)
    wanted = [run[e.query_id].get(d, 0.0) for e in EXAMPLES for d in e.document_ids]
    assert found.tolist() == np.array(wanted, dtype=np.float32).tolist()
    with pytest.raises(InputError, match="not in its collection"):
        open_teacher("bm25", DOCUMENTS).score(["sun"], ["a text of another collection"])


def test_bm25_keeps_no_text(tmp_path):
    """Texts may stay in files; once the index is made none of them is left in memory."""
    seen = []

    class Text(str):
        """A string that can be waited for."""

    class Lent(Mapping):
        def __getitem__(self, key):
            text = Text(DOCUMENTS[key])
            seen.append(weakref.ref(text))
            return text

        def __iter__(self):
            return iter(DOCUMENTS)

        def __len__(self):
            return len(DOCUMENTS)

    teacher = open_teacher("bm25", Lent())
    gc.collect()
    assert len(seen) >= 5
    assert not any(reference() for reference in seen)
    assert teacher.score(ASKED, READ).tolist() == open_teacher("bm25", DOCUMENTS).score(ASKED, READ).tolist()


@pytest.mark.parametrize("kind", ["cross-encoder:cross", "dense:dense", "splade:mlm", "bm25"])
def test_a_fingerprint_is_of_the_scores_and_not_of_the_place(models, tmp_path, kind):
    kind, _, name = kind.partition(":")
    spec, moved = kind, kind
    if name:
        shutil.copytree(models / name, tmp_path / "moved")
        spec, moved = f"{kind}:{models / name}", f"{kind}:{tmp_path / 'moved'}"
    one, same = open_teacher(spec, DOCUMENTS), open_teacher(moved, dict(DOCUMENTS))
    assert one.fingerprint == same.fingerprint
    assert str(tmp_path) not in same.name
    if name:
        file = tmp_path / "moved" / "model.safetensors"
        file.write_bytes(file.read_bytes()[:-4] + np.float32(3).tobytes())
        other = open_teacher(moved)
    else:
        other = open_teacher("bm25", {**DOCUMENTS, "d6": "moss"})
    assert other.fingerprint != one.fingerprint
    assert one.score([], []).shape == (0,)


@pytest.mark.parametrize(
    ("spec", "error", "said"),
    [
        ("crossencoder:x", ConfigError, "Did you mean cross-encoder"),
        ("dense", ConfigError, "dense:MODEL"),
        ("bm25:x", ConfigError, "nothing after it"),
        ("bm25", ConfigError, "needs the collection"),
        ("cross-encoder:{models}/mlm", ModelError, "is no cross-encoder"),
        ("cross-encoder:{models}/wide", ModelError, "gives 2 scores"),
        ("cross-encoder:{models}/nothing", ModelError, "no folder"),
    ],
)
def test_what_is_no_teacher_is_refused(models, spec, error, said):
    with pytest.raises(error, match=said):
        open_teacher(spec.format(models=models))


def test_a_pickle_is_never_opened(models, tmp_path):
    shutil.copytree(models / "cross", tmp_path / "cross")
    (tmp_path / "cross" / "model.safetensors").rename(tmp_path / "cross" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="is a pickle"):
        open_teacher(f"cross-encoder:{tmp_path / 'cross'}")


def test_a_pickle_is_not_opened_beside_a_file_that_is_only_called_safetensors(models, tmp_path):
    """sentence-transformers opens a layer's pickle where there is no model.safetensors, whatever else there is."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense

    model = SentenceTransformer(str(models / "dense"), local_files_only=True)
    model.append(Dense(32, 8))
    model.save_pretrained(str(tmp_path / "dense"), create_model_card=False)
    layer = tmp_path / "dense" / "2_Dense"
    torch.save(model[2].state_dict(), layer / "pytorch_model.bin")
    assert open_teacher(f"dense:{tmp_path / 'dense'}").score(["sun"], ["sun"]).shape == (1,)  # the twin is opened
    (layer / FILE).rename(layer / "decoy.safetensors")
    with pytest.raises(ModelError, match=r"2_Dense/pytorch_model\.bin is a pickle"):
        open_teacher(f"dense:{tmp_path / 'dense'}")


def test_scores_are_normalised_over_all_documents_of_a_query():
    places = list_places(EXAMPLES)
    raw = {("q1", "d1"): 4.0, ("q1", "d2"): 1.0, ("q1", "d4"): 2.0, ("q2", "d3"): 7.0, ("q2", "d1"): 5.0}
    raw |= {("q2", "d5"): 0.0, ("q2", "d2"): 3.0, ("q2", "d4"): 1.0, ("q3", "d5"): 0.1 * 3, ("q3", "d3"): 0.1 * 3}
    listed = [(e.query_id, d) for e in EXAMPLES for d in e.document_ids]
    scores = np.array([raw[listed[place]] for place in places.first])
    assert len(scores) == len(raw) < len(listed)  # q2 and its d1 stand in two examples
    for kind in ("min-max", "z-score", "none"):
        found = normalise(scores, places.queries, kind)[places.pairs]
        for place, (query_id, document_id) in enumerate(listed):
            own = [value for (query, _), value in raw.items() if query == query_id]
            value = raw[query_id, document_id]
            wanted = {
                "none": value,
                "min-max": (value - min(own)) / (max(own) - min(own) or 1),
                "z-score": (value - statistics.fmean(own)) / (statistics.pstdev(own) or 1),
            }[kind]
            assert found[place] == pytest.approx(wanted, abs=1e-12)


def test_a_scale_is_mapped_affinely():
    scores, reference = np.array([0.0, 0.5, 1.0, 0.75]), np.array([-8.0, 3.0, 9.0, 1.0])
    found = rescale(scores, reference.mean(), reference.std())
    assert (found.mean(), found.std()) == (pytest.approx(reference.mean()), pytest.approx(reference.std()))
    steps = np.diff(found) / np.diff(scores)
    assert steps == pytest.approx(steps[0])
    assert steps[0] > 0
    assert rescale(np.full(3, 0.1), 5.0, 2.0).tolist() == [5.0] * 3
    assert correlate(scores, reference) == pytest.approx(np.corrcoef(scores, reference)[0, 1])
    assert correlate(scores, np.full(4, 0.1)) is None


def test_a_tie_of_the_positive_is_no_first_place():
    places = list_places([Example("a", ("x", "y")), Example("b", ("x", "y", "z")), Example("c", ("x",))])
    scores = {("a", "x"): 2.0, ("a", "y"): 1.0, ("b", "x"): 3.0, ("b", "y"): 3.0, ("b", "z"): 0.0, ("c", "x"): 1.0}
    listed = list(scores.values())
    assert positive_first(np.array([listed[place] for place in places.first]), places) == 0.5
    assert positive_first(np.array([1.0]), list_places([Example("c", ("x",))])) is None


def settings(models, **changes):
    teachers = (f"cross-encoder:{models / 'cross'}", "bm25")
    return ScoringSettings(**{"teachers": teachers, "shard_examples": 2, **changes})


def test_an_ensemble_is_what_a_slow_twin_makes_of_its_teachers(models, tmp_path):
    reference = f"splade:{models / 'mlm'}"
    chosen = settings(models, weights=(3, 1), normalise="min-max", rescale=reference)
    report = score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    by_teacher = [
        dict(zip(PAIRS, open_teacher(spec, DOCUMENTS).score(ASKED, READ).tolist(), strict=True))
        for spec in (*chosen.teachers, reference)
    ]

    def flat(scores, pair):
        own = [value for (query, _), value in scores.items() if query == pair[0]]
        return (scores[pair] - min(own)) / (max(own) - min(own))

    mean = {pair: 0.75 * flat(by_teacher[0], pair) + 0.25 * flat(by_teacher[1], pair) for pair in by_teacher[0]}
    last = list(by_teacher[2].values())
    centre, spread = statistics.fmean(mean.values()), statistics.pstdev(mean.values())
    wanted = {
        pair: (value - centre) / spread * statistics.pstdev(last) + statistics.fmean(last)
        for pair, value in mean.items()
    }
    found = read_examples(report.examples)
    assert [(e.query_id, e.document_ids) for e in found] == [(e.query_id, e.document_ids) for e in EXAMPLES]
    scores = [score for example in found for score in example.scores]
    assert scores == pytest.approx([wanted[pair] for pair in PAIRS], abs=1e-5)
    written = json.loads((tmp_path / "out" / "statistics.json").read_text())
    assert written == report.statistics
    assert written["scores"]["splade-mlm"]["mean"] == pytest.approx(statistics.fmean(last), abs=1e-5)
    assert written["in_ensemble"] == ["cross-encoder-cross", "bm25"]
    shard = load_file(tmp_path / "out" / "teachers" / "bm25" / "shard-00001.safetensors")["scores"]
    assert shard.tolist() == open_teacher("bm25", DOCUMENTS).score(ASKED[7:], READ[7:]).tolist()
    texts = "".join(file.read_text(errors="replace") for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert str(models) not in texts


def test_negatives_near_the_positive_are_left_out(tmp_path):
    documents = {"d1": "sun sun", "d2": "sun river", "d3": "moss", "d4": "river"}
    examples = [Example("q", ("d1", "d2", "d3")), Example("q", ("d4", "d1"))]
    chosen = ScoringSettings(("bm25",), margin="100%")
    report = score_to_folder(examples, {"q": "sun"}, documents, chosen, tmp_path / "out")
    own = dict(
        zip(documents, open_teacher("bm25", documents).score(["sun"] * 4, list(documents.values())), strict=True)
    )
    assert own["d1"] > own["d2"] > own["d4"] == 0
    (kept,) = read_examples(report.examples)  # d1 is above d4, and that was the second example's only negative
    assert kept.document_ids == ("d1", "d2", "d3")
    assert report.statistics["false_negatives"] == {"examples": 2, "negatives": 3, "removed": 1, "emptied": 1}
    assert report.n_examples == report.statistics["examples"] == 1


def test_a_margin_that_leaves_nothing_is_refused(tmp_path):
    chosen = ScoringSettings(("bm25",), margin=1000.0)
    with pytest.raises(InputError, match=r"the margin 1000\.0 leaves no negative in any of 4 examples"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["settings.json", "teachers"]
    report = score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, ScoringSettings(("bm25",), margin=-1000), tmp_path / "out")
    assert report.n_examples == 4


def test_scores_are_made_one_anew_without_scoring_again(models, tmp_path):
    chosen = settings(models)
    score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    shards = sorted((tmp_path / "out").rglob("*.safetensors"))
    times = [file.stat().st_mtime_ns for file in shards]
    for changes in ({"normalise": "min-max"}, {"weights": (3, 1)}, {"rescale": (1, 2)}, {"margin": "most 3"}):
        chosen = settings(models, **changes)
        again = score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
        fresh = score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / str(changes))
        assert contents(tmp_path / "out") == contents(tmp_path / str(changes))
        assert again.statistics == fresh.statistics
    assert [file.stat().st_mtime_ns for file in shards] == times
    # Another reference is one more teacher; the others keep their scores.
    score_to_folder(
        EXAMPLES, QUERIES, DOCUMENTS, settings(models, rescale=f"dense:{models / 'dense'}"), tmp_path / "out"
    )
    assert [file.stat().st_mtime_ns for file in shards] == times
    assert len(sorted((tmp_path / "out").rglob("*.safetensors"))) == len(shards) + 2


def test_settings_that_mean_the_same_are_written_alike(models, tmp_path):
    one = settings(models, weights=None, margin=-99.5)
    two = settings(models, weights=(2, 2), margin="-99.50")
    for name, chosen in (("one", one), ("two", two)):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    written = json.loads((tmp_path / "one" / "settings.json").read_text())["settings"]
    assert (written["weights"], written["margin"]) == ([0.5, 0.5], "-99.5")


def test_killed_while_the_scores_are_made_one_anew_it_ends_with_the_same_bytes(models, tmp_path, monkeypatch):
    """A result of the settings before is never taken for one of those now."""
    before, after = settings(models), settings(models, normalise="min-max")
    for name, chosen in (("out", before), ("whole", after)):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / name)
    written = []

    def stop(path, value):
        written.append(path.name)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(durable, "write_json", stop)
        with pytest.raises(KeyboardInterrupt):
            score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, after, tmp_path / "out")
    assert written == ["settings.json"]
    score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, after, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_killed_after_any_shard_it_ends_with_the_same_bytes(models, tmp_path):
    chosen = settings(models, normalise="z-score", shard_examples=1)
    score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "whole")
    whole = contents(tmp_path / "whole")
    for calls in (2, 5, 7):
        out = tmp_path / f"killed-{calls}"
        if (child := os.fork()) == 0:
            score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, out, progress=killer(calls))
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 9
        left = {name for name in contents(out) if name.endswith(".safetensors")}
        assert len(left) == calls
        assert "examples.jsonl" not in contents(out)
        before = {name: (out / name).stat().st_mtime_ns for name in left}
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, out)
        assert contents(out) == whole
        assert {name: (out / name).stat().st_mtime_ns for name in left} == before  # not scored again


def killer(calls):
    """Give a callback that kills its process when it is called for that many times after the first."""
    told = iter(range(calls, -1, -1))
    return lambda _: next(told) or os.kill(os.getpid(), 9)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_of_other_scores_is_refused(models, tmp_path):
    chosen = settings(models)
    score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"other settings \(shard_examples\)"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, settings(models, shard_examples=3), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"other settings \(precision\)"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, settings(models, precision="bf16"), tmp_path / "out")
    with pytest.raises(ConfigError, match=r"other settings \(teachers\)"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, settings(models, teachers=("bm25",)), tmp_path / "out")
    with pytest.raises(ConfigError, match="other examples or texts"):
        score_to_folder(EXAMPLES[1:], QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    shard = tmp_path / "out" / "teachers" / "bm25" / "shard-00000.safetensors"
    content = shard.read_bytes()
    shard.write_bytes(content[:20])
    with pytest.raises(InputError, match="is damaged"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    shutil.copy(tmp_path / "out" / "teachers" / "cross-encoder-cross" / "shard-00000.safetensors", shard)
    with pytest.raises(ModelError, match="another teacher"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    (tmp_path / "out" / "settings.json").write_text("[]")
    with pytest.raises(InputError, match="not the settings"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")


def test_a_score_that_is_no_number_stops_the_scoring(models, tmp_path):
    shutil.copytree(models / "cross", tmp_path / "broken")
    file = tmp_path / "broken" / "model.safetensors"
    content = file.read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    file.write_bytes(content[:start] + np.full((len(content) - start) // 4, math.nan, dtype=np.float32).tobytes())
    chosen = ScoringSettings((f"cross-encoder:{tmp_path / 'broken'}",))
    with pytest.raises(ModelError, match="not finite"):
        score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, chosen, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.safetensors"))


def test_examples_of_a_table_stay_in_a_table(tmp_path):
    write_examples(EXAMPLES, tmp_path / "examples.arrow")
    table = read_examples(tmp_path / "examples.arrow")
    report = score_to_folder(table, QUERIES, DOCUMENTS, ScoringSettings(("bm25",)), tmp_path / "table")
    lines = score_to_folder(EXAMPLES, QUERIES, DOCUMENTS, ScoringSettings(("bm25",)), tmp_path / "lines")
    assert report.examples.name == "examples.arrow"
    found = read_examples(report.examples)
    assert isinstance(found, ExampleTable)
    assert list(found) == read_examples(lines.examples)


def test_settings_are_read_and_written(models):
    chosen = ScoringSettings.from_dict({"teachers": ["bm25", "dense:a"], "weights": [1, 3], "rescale": "1.5, 4"})
    assert chosen.rescale == (1.5, 4.0)
    assert chosen.shares == (0.25, 0.75)
    assert ScoringSettings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    assert ScoringSettings(("bm25",), rescale="dense:a").specs == ("bm25", "dense:a")
    assert teacher_names(["dense:x/a", "dense:y/a", "bm25", "splade:a"]) == ("dense-a", "dense-a.2", "bm25", "splade-a")
    assert teacher_names(["dense:x/m-v1.2", "dense:x/m-v1"]) == ("dense-m-v1.2", "dense-m-v1")
    assert teacher_names(["dense:m.2", "dense:m", "dense:x/m"]) == ("dense-m.2", "dense-m", "dense-m.3")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"teacher": ["bm25"]}, "Did you mean teachers"),
        ({"normalise": "min-max"}, "teachers must be a list of at least one"),
        ({"teachers": []}, "at least one"),
        ({"teachers": ["bm25", "bm25"]}, "named twice"),
        ({"teachers": ["bm25"], "weights": [1, 2]}, "2 weights for 1 teachers"),
        ({"teachers": ["bm25"], "weights": [0]}, "above 0"),
        ({"teachers": ["bm25"], "weights": ["1"]}, "finite numbers"),
        ({"teachers": ["bm25"], "normalise": "minmax"}, "must be one of none, min-max, z-score"),
        ({"teachers": ["bm25"], "rescale": "nothing:a"}, "of no known kind"),
        ({"teachers": ["bm25"], "rescale": [1]}, "a mean and a standard deviation"),
        ({"teachers": ["bm25"], "rescale": "1,0"}, "must be above 0"),
        ({"teachers": ["bm25"], "margin": "near"}, "cannot be read"),
        ({"teachers": ["bm25"], "shard_examples": 0}, "shard_examples"),
        ({"teachers": ["bm25"], "precision": "fp16"}, "precision must be one of no, bf16"),
    ],
)
def test_settings_that_cannot_be_are_refused(values, said):
    with pytest.raises(ConfigError, match=said):
        ScoringSettings.from_dict(values)
