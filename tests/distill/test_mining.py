import json
from shutil import copytree

import numpy as np
import pytest
from typer.testing import CliRunner

from everglade import durable
from everglade.bundled import bundled_model
from everglade.cli import app
from everglade.distill import candidates, negatives
from everglade.distill.bm25 import bm25_run
from everglade.distill.drawing import Band
from everglade.distill.examples import Example, read_examples
from everglade.distill.negatives import MiningSettings, mine_to_folder
from everglade.errors import InputError
from everglade.texts import group_qrels, read_run, write_run

TEACHER = "cross-encoder:stand-in"
pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def relevant_to(collection):
    return {
        query: sorted((d for d, r in judged.items() if r > 0 and d != "nowhere"), key=lambda d: (-judged[d], d))
        for query, judged in group_qrels(collection.qrels("train")).items()
        if query != "silent"
    }


def test_mining_with_bm25_is_what_a_loop_over_the_run_gives(collection, tmp_path):
    told = []
    report = mine_to_folder(
        collection, "train", MiningSettings(depth=20), tmp_path / "out", announce=told.append, progress=lambda p: None
    )
    run = bm25_run(collection.documents(), collection.queries("train"), 20)
    relevant = relevant_to(collection)
    expected = []
    for query, positives in relevant.items():
        excluded = {*positives, "d59"} if query == "q00" else set(positives)
        kept = [document for document in run[query] if document not in excluded]
        expected += [Example(query, (positive, *kept)) for positive in positives]
    assert read_examples(report.examples) == expected
    assert report.examples == tmp_path / "out" / "examples.jsonl"
    assert [list(hits) for hits in read_run(report.runs["bm25"]).values()] == [list(hits) for hits in run.values()]
    [counts] = report.statistics["sources"]
    assert counts["candidates"] == sum(map(len, run.values()))
    assert counts["removed as positives"] == sum(d in run[q] for q, ids in relevant.items() for d in ids)
    assert counts["removed as copies of a positive"] == 1
    assert "d59" in run["q00"]
    places = [list(run[q]).index(d) + 1 for q in relevant for d in run[q] if d not in relevant[q]]
    places.remove(list(run["q00"]).index("d59") + 1)
    assert counts["drawn"] == len(places)
    assert counts["mean place of the drawn"] == pytest.approx(sum(places) / len(places))
    assert report.statistics["left out"] == {
        "queries without a text": 1,
        "relevant documents that are not in the collection": 1,
    }
    assert report.statistics["teacher"] is None
    assert "searching 12 queries" in " ".join(told)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "examples.jsonl", "mining.json", "runs", "statistics.json"
    ]  # fmt: skip


def test_a_union_counts_what_its_sources_share(collection, tmp_path):
    write_run({f"q{i:02d}": {f"d{j:02d}": 60.0 - j for j in range(60)} for i in range(12)}, tmp_path / "first.trec")
    settings = MiningSettings(
        sources=("bm25", f"run:{tmp_path / 'first.trec'}"),
        quotas=(4, 6),
        bands=(Band(3, 1, 5), Band(10, 1, 30)),
        negatives_per_query=7,
        seed=5,
    )
    report = mine_to_folder(collection, "train", settings, tmp_path / "out")
    bm25, run = (read_run(report.runs[name]) for name in ("bm25", "run-first"))
    assert all(len(hits) == 30 for hits in run.values())  # as deep as the deepest band
    for example in read_examples(report.examples):
        first, second = list(bm25[example.query_id]), list(run[example.query_id])
        assert len(example.document_ids) == 8
        assert set(example.document_ids[1:]) <= {*first, *second} - set(relevant_to(collection)[example.query_id])
    shared = sum(len(set(bm25[q]) & set(run[q])) for q in run)
    overlap = report.statistics["overlap"]
    assert overlap["run-first"]["bm25"] == pytest.approx(shared / 360)
    assert overlap["bm25"]["run-first"] == pytest.approx(shared / sum(map(len, bm25.values())))
    assert [row["drawn"] for row in report.statistics["sources"]] == [48, 72]
    assert sum(row["negatives"] for row in report.statistics["sources"]) == report.statistics["negatives"] == 7 * 14


def test_a_teacher_removes_likely_false_negatives_and_its_scores_stay(collection, tmp_path, stand_in):
    stand_in()
    settings = MiningSettings(depth=20, teacher=TEACHER, margin=1.0)
    report = mine_to_folder(collection, "train", settings, tmp_path / "out")
    plain = mine_to_folder(collection, "train", MiningSettings(depth=20), tmp_path / "plain")
    texts = {document.id: document.text.split() for document in collection.documents()}
    queries = {query.id: query.text.split() for query in collection.queries("train")}

    def score(query, document):
        return float(len(set(queries[query]) & set(texts[document])))

    expected, margins, removed, negative_scores = [], [], 0, []
    for example in read_examples(plain.examples):
        query, positive = example.query_id, example.positive
        scores = [score(query, document) for document in example.document_ids]
        margins += [scores[0] - other for other in scores[1:]]
        negative_scores += scores[1:]
        kept = [
            (document, other)
            for document, other in zip(example.document_ids, scores, strict=True)
            if document == positive or other <= scores[0] - 1
        ]
        removed += len(scores) - len(kept)
        expected.append(Example(query, tuple(d for d, _ in kept), tuple(s for _, s in kept)))
    assert read_examples(report.examples) == [example for example in expected if len(example.document_ids) > 1]
    teacher = report.statistics["teacher"]
    assert (teacher["name"], teacher["rule"]) == ("shared-words", "1.0")
    assert teacher["removed as false negatives"] == removed > 0
    [counts] = report.statistics["sources"]
    assert teacher["mean score of negatives"] == counts["mean teacher score"] == pytest.approx(np.mean(negative_scores))
    assert teacher["margins"] == {
        f"{share}%": pytest.approx(np.percentile(margins, share)) for share in (1, 5, 25, 50, 75, 95, 99)
    }
    positives = [score(e.query_id, e.positive) for e in expected]
    assert teacher["mean score of positives"] == pytest.approx(np.mean(positives))


def test_every_interruption_is_gone_on_from_with_the_same_bytes(collection, tmp_path, monkeypatch, stand_in):
    """The job is stopped at each of its durable writes in turn, and started again."""
    monkeypatch.setattr(candidates, "QUERIES_IN_A_PART", 5)
    monkeypatch.setattr(negatives, "QUERIES_IN_A_BLOCK", 4)
    write_run(bm25_run(collection.documents(), collection.queries("train"), 9), tmp_path / "old.trec")
    settings = MiningSettings(
        sources=("bm25", f"run:{tmp_path / 'old.trec'}"), quotas=5, depth=30, teacher=TEACHER, margin="most 2"
    )
    stand_in()
    mine_to_folder(collection, "train", settings, tmp_path / "whole")
    whole = bytes_of(tmp_path / "whole")
    original, stops = durable.whole_file, 0
    while True:
        writes, out = 0, tmp_path / f"cut{stops}"

        def stopping(path, stop_at=stops):
            nonlocal writes
            writes += 1
            if writes > stop_at:
                raise KeyboardInterrupt
            return original(path)

        monkeypatch.setattr(durable, "whole_file", stopping)
        try:
            mine_to_folder(collection, "train", settings, out)
        except KeyboardInterrupt:
            monkeypatch.setattr(durable, "whole_file", original)
            mine_to_folder(collection, "train", settings, out)
            assert bytes_of(out) == whole
            stops += 1
        else:
            break
    assert stops > 14  # three parts of two runs, the runs, their hashes, three blocks, texts, examples, statistics


def test_a_finished_block_is_not_scored_again(collection, tmp_path, monkeypatch, stand_in):
    monkeypatch.setattr(negatives, "QUERIES_IN_A_BLOCK", 4)
    settings = MiningSettings(depth=10, teacher=TEACHER)
    for out in ("out", "other"):
        stand_in(fail_at=3)
        with pytest.raises(KeyboardInterrupt):
            mine_to_folder(collection, "train", settings, tmp_path / out)
    teacher = stand_in()
    report = mine_to_folder(collection, "train", settings, tmp_path / "out")
    assert teacher.calls == 1
    assert all(example.scores for example in read_examples(report.examples))
    first, second = sorted((tmp_path / "other" / "unfinished" / "scores").iterdir())
    first.rename(second)
    with pytest.raises(InputError, match="other pairs"):
        mine_to_folder(collection, "train", settings, tmp_path / "other")


def test_what_is_left_out_is_counted(collection, tmp_path):
    qrels = {"q01": {"d01": 1}, "q02": {"d02": 0}, "q03": {"gone": 1}, "nobody": {"d01": 1}}
    report = mine_to_folder(collection, "train", MiningSettings(), tmp_path / "out", qrels=qrels)
    assert report.statistics["queries"] == 1
    assert report.statistics["left out"] == {
        "queries without a relevant document": 1,
        "queries without a text": 1,
        "queries whose relevant documents are not in the collection": 1,
        "relevant documents that are not in the collection": 1,
    }
    write_run({"q01": {"d01": 1.0}, "q04": {"d07": 1.0}}, tmp_path / "own.trec")
    settings = MiningSettings(sources=(f"run:{tmp_path / 'own.trec'}",))
    report = mine_to_folder(collection, "train", settings, tmp_path / "own", qrels={**qrels, "q04": {"d04": 1}})
    assert report.statistics["left out"]["queries without a negative"] == 1
    assert read_examples(report.examples) == [Example("q04", ("d04", "d07"))]
    with pytest.raises(InputError, match="of 1 queries 1 have no negative"):
        mine_to_folder(collection, "train", settings, tmp_path / "none", qrels=qrels)
    assert not (tmp_path / "none" / "examples.jsonl").exists()
    with pytest.raises(InputError, match="no query"):
        mine_to_folder(collection, "train", MiningSettings(), tmp_path / "x", qrels={"q01": {"gone": 1}})


def test_many_examples_become_a_table(collection, tmp_path, monkeypatch):
    monkeypatch.setattr(negatives, "MOST_LINES", 13)
    report = mine_to_folder(collection, "train", MiningSettings(), tmp_path / "out")
    assert report.examples.name == "examples.arrow"
    assert len(read_examples(report.examples)) == 14


def test_a_splade_source_is_the_search_of_our_index_and_goes_on(collection, tmp_path, monkeypatch):
    from everglade.model.splade import Splade
    from everglade.search import Index

    settings = MiningSettings(sources=(f"splade:{bundled_model()}",), depth=8)
    whole = mine_to_folder(collection, "train", settings, tmp_path / "whole")
    model = Splade.load(bundled_model())
    with Index.create(tmp_path / "index", model) as index:
        index.add(collection.documents())
        expected = index.search_many(collection.queries("train"), 8)
    found = read_run(whole.runs["splade-model"])
    assert {query: list(hits) for query, hits in found.items()} == {q: list(hits) for q, hits in expected.items()}
    with monkeypatch.context() as patch:
        patch.setattr(Index, "search_many", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            mine_to_folder(collection, "train", settings, tmp_path / "cut")
    assert (tmp_path / "cut" / "unfinished" / "splade-model" / "index").is_dir()
    with monkeypatch.context() as patch:
        patch.setattr(Splade, "encode_documents", None)  # nothing is encoded again
        mine_to_folder(collection, "train", settings, tmp_path / "cut")
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


def test_a_model_is_opened_once_to_be_checked_and_to_search(collection, tmp_path, monkeypatch):
    from everglade.model.splade import Splade

    model, opened, load = f"splade:{bundled_model()}", [], Splade.load
    monkeypatch.setattr(Splade, "load", lambda path, **how: opened.append(str(path)) or load(path, **how))
    settings = MiningSettings(sources=("bm25", model), depth=8, quotas=2)
    mine_to_folder(collection, "train", settings, tmp_path / "out")
    assert opened == [str(bundled_model())]
    copytree(bundled_model(), tmp_path / "other")
    several = MiningSettings(sources=(model, "bm25", f"splade:{tmp_path / 'other'}"), depth=8, quotas=2)
    opened.clear()
    report = mine_to_folder(collection, "train", several, tmp_path / "several")
    other = str(tmp_path / "other")
    assert opened == [other, str(bundled_model()), other], "there is one in memory at a time"
    one, _, same = report.runs.values()
    assert read_run(one) == read_run(same)


def test_bands_choose_the_places(collection, tmp_path):
    settings = MiningSettings(bands=(Band(1, 7, 7), Band(2, 2, 3)))
    report = mine_to_folder(collection, "train", settings, tmp_path / "out")
    run, relevant = read_run(report.runs["bm25"]), relevant_to(collection)
    for example in read_examples(report.examples):
        ranked = list(run[example.query_id])
        excluded = {*relevant[example.query_id], "d59"} if example.query_id == "q00" else relevant[example.query_id]
        expected = [ranked[place] for place in (1, 2, 6) if ranked[place] not in excluded]
        assert list(example.document_ids[1:]) == expected


def test_the_negatives_of_an_example_are_drawn_evenly_and_few_are_counted(collection, tmp_path):
    whole = mine_to_folder(collection, "train", MiningSettings(depth=20), tmp_path / "whole")
    places = []
    for seed in range(30):
        settings = MiningSettings(depth=20, negatives_per_query=4, seed=seed)
        report = mine_to_folder(collection, "train", settings, tmp_path / str(seed))
        for example, every in zip(read_examples(report.examples), read_examples(whole.examples), strict=True):
            assert example.positive == every.positive
            at = [every.document_ids.index(one) for one in example.document_ids[1:]]
            assert at == sorted(at)
            assert len(at) == min(4, len(every.document_ids) - 1)
            places += [place / (len(every.document_ids) - 1) for place in at]
    assert np.mean(places) == pytest.approx(0.5 + 0.5 / 19, abs=0.03)  # 0.29 / sqrt(1,680) is one deviation
    few = mine_to_folder(collection, "train", MiningSettings(depth=20, negatives_per_query=19), tmp_path / "few")
    short = sum(len(example.document_ids) < 20 for example in read_examples(few.examples))
    assert few.statistics["examples with fewer negatives than asked for"] == short > 0


def test_a_bm25_teacher_scores_with_the_collection(collection, tmp_path):
    report = mine_to_folder(collection, "train", MiningSettings(depth=5, teacher="bm25"), tmp_path / "out")
    run = bm25_run(collection.documents(), collection.queries("train"), 60)
    for example in read_examples(report.examples):
        hits = run[example.query_id]
        assert example.scores == pytest.approx([hits.get(one, 0) for one in example.document_ids], rel=1e-6)


def test_the_command_prints_a_table_and_json(folder, tmp_path):
    words = ["negatives", str(folder), "-o", str(tmp_path / "out"), "--bands", "4@1-10", "--quota", "3"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    assert "bm25" in answer.stdout
    assert "mean place" in answer.stdout
    assert "searching 12 queries" in answer.stderr
    answer = CliRunner().invoke(app, [*words, "--quiet", "--json"])
    found = json.loads(answer.stdout)
    assert found["sources"][0]["drawn"] == 36
    assert found["written"] == str(tmp_path / "out" / "examples.jsonl")
    assert answer.stderr == ""
    wrong = CliRunner().invoke(app, ["negatives", str(folder), "-o", str(tmp_path / "x"), "--margin", "1"])
    assert wrong.exit_code == 2
    assert "teacher" in wrong.stderr


def test_the_command_says_what_a_teacher_removed(folder, collection, tmp_path):
    write_run(bm25_run(collection.documents(), collection.queries("train"), 5), tmp_path / "old.trec")
    words = ["negatives", str(folder), "-o", str(tmp_path / "out"), "--depth", "20", "--source", "bm25"]
    words += ["--source", f"run:{tmp_path / 'old.trec'}", "--teacher", "bm25", "--margin"]
    answer = CliRunner().invoke(app, [*words, "95%"])
    assert answer.exit_code == 0, answer.output
    found = json.loads((tmp_path / "out" / "statistics.json").read_text())
    for name in ("removed as false negatives (margin 95%)", "quantiles of the margins", "2 run-old"):
        assert name in answer.stdout
    assert found["teacher"]["removed as false negatives"] > 0
    emptied = CliRunner().invoke(app, [*words, "most -1", "--fresh"])
    assert emptied.exit_code == 3
    assert "of 14 examples every negative was false" in emptied.stderr
