"""Examples in every public format: written, and read back by our readers, by other tools, or by a textbook shape."""

import gzip
import io
import json
import pickletools

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from everglade.cli import app
from everglade.distill.examples import Example, read_examples, write_examples
from everglade.distill.formats import FORMATS, WRITTEN_FORMATS, Options, convert, read_source, write_as
from everglade.distill.formats.rows import document_key, query_key
from everglade.errors import ConfigError, InputError
from everglade.texts import group_qrels, open_collection, read_qrels

QUERIES = {"1": "what helps a headache", "20": "where do ferns grow"}
DOCUMENTS = {f"{one}": f"Text of {one}, with “quotes”." for one in range(100, 110)} | {str(2**40): "A long id."}
EXAMPLES = [
    Example("1", ("100", "101", "102"), (9.1, 1 / 3, -2.5)),
    Example("1", ("105", "101", "102"), (8.25, 1 / 3, -2.5)),
    Example("20", ("103", str(2**40), "104"), (7.0, 1e-7, -1e20)),
]
UNSCORED = [Example(one.query_id, one.document_ids) for one in EXAMPLES]
TEXTS = {"queries": QUERIES, "documents": DOCUMENTS}


def margins_of(example):
    return (0.0, *(score - example.scores[0] for score in example.scores[1:]))


def one_negative_each(examples):
    return [
        Example(one.query_id, (one.positive, negative), None if one.scores is None else (one.scores[0], score))
        for one in examples
        for negative, score in zip(one.document_ids[1:], (one.scores or (0, 0, 0))[1:], strict=True)
    ]


def by_text(examples):
    """What is left of ids where a format carries texts only."""
    return [
        Example(
            query_key(QUERIES[one.query_id]), tuple(document_key(DOCUMENTS[d]) for d in one.document_ids), one.scores
        )
        for one in examples
    ]


def with_margins(examples):
    return [Example(one.query_id, one.document_ids, margins_of(one)) for one in examples]


SCORES_LOST = {"scores": 9}
POSITIVE_LOST = {"which document is the positive; name a file of judgements for that (--qrels-to)": 3}
ROUND_TRIPS = {
    # format: (endings, what is read back, rows written, what is said to be lost)
    "columns": ((".jsonl", ".jsonl.gz", ".parquet"), by_text(EXAMPLES), 3, {}),
    "hard-negatives": ((".jsonl", ".jsonl.gz"), UNSCORED, 2, SCORES_LOST),
    "id-triplets": ((".jsonl", ".parquet", ""), with_margins(one_negative_each(EXAMPLES)), 6, {}),
    "score-pickle": ((".pkl", ".pkl.gz"), EXAMPLES, 2, {}),
    "tevatron-1": ((".jsonl", ".parquet"), UNSCORED, 2, SCORES_LOST),
    "tevatron-2": ((".jsonl", ".parquet", ""), UNSCORED, 2, SCORES_LOST),
    "pylate": ((".jsonl", ".parquet", ""), EXAMPLES, 3, {}),
    "trec": ((".trec", ".trec.gz"), EXAMPLES, 7, {}),
    "naver-ids": ((".tsv", ".tsv.gz"), one_negative_each(EXAMPLES), 6, {}),
    "naver-texts": ((".tsv",), by_text(one_negative_each(EXAMPLES)), 6, {}),
    "vienna-ids": ((".tsv",), one_negative_each(EXAMPLES), 6, {}),
    "vienna-texts": ((".tsv",), by_text(one_negative_each(EXAMPLES)), 6, {}),
    "triples-ids": ((".tsv",), one_negative_each(UNSCORED), 6, SCORES_LOST),
    "triples-texts": ((".tsv",), by_text(one_negative_each(UNSCORED)), 6, SCORES_LOST),
}


def test_every_format_that_is_read_is_written():
    assert list(WRITTEN_FORMATS) == [name for name in FORMATS if name != "everglade"] == list(ROUND_TRIPS)


@pytest.mark.parametrize(
    ("format", "ending"), [(name, ending) for name, (endings, *_) in ROUND_TRIPS.items() for ending in endings]
)
def test_what_is_written_is_read_back(tmp_path, format, ending):
    _, expected, rows, lost = ROUND_TRIPS[format]
    path, judged = tmp_path / f"written{ending}", tmp_path / "qrels"
    needs_qrels = FORMATS[format].needs_qrels
    written = write_as(EXAMPLES, path, format, **TEXTS, qrels=judged if needs_qrels else None)
    assert (written.examples, written.rows, written.left_out) == (3, rows, lost)
    options = Options(group_qrels(read_qrels(judged))) if needs_qrels else Options()
    has_texts = format == "tevatron-1" or "texts" in format or format == "columns" or ending == ""
    texts = tmp_path / "texts" if has_texts else None
    found = convert(path, tmp_path / "back.jsonl", format=format, options=options, texts=texts)
    assert read_examples(tmp_path / "back.jsonl") == expected and not found.left_out
    if texts:
        back = open_collection(texts)
        in_examples = {DOCUMENTS[one] for example in EXAMPLES for one in example.document_ids}
        assert {document.full_text for document in back.documents()} == in_examples
        if "id" in format or ending == "" and format != "tevatron-2":
            assert {document.id: document.text for document in back.documents()} == {
                key: text for key, text in DOCUMENTS.items() if text in in_examples
            }
        assert {query.text for query in back.queries()} == set(QUERIES.values())
    assert not list(tmp_path.glob("*.tmp")) and not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("format", ["trec", "score-pickle", "pylate"])
def test_what_does_not_name_the_positive_says_so(tmp_path, format):
    low = [Example("1", ("100", "101"), (1.0, 2.0))]
    assert write_as(low, tmp_path / "x.jsonl", format).left_out == {next(iter(POSITIVE_LOST)): 1}
    assert write_as(low, tmp_path / "x.jsonl", format, qrels=tmp_path / "qrels").left_out == {}
    qrels = group_qrels(read_qrels(tmp_path / "qrels"))
    assert [row.example for row in read_source(tmp_path / "x.jsonl", format, Options(qrels)).rows] == low
    if format != "pylate":
        assert write_as(EXAMPLES, tmp_path / "y", format).left_out == POSITIVE_LOST


@pytest.mark.parametrize("n", [1, 2])
@pytest.mark.parametrize("margins", [False, True])
@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_columns_stand_where_sentence_transformers_takes_them(tmp_path, n, margins, ending):
    cut = [Example(one.query_id, one.document_ids[: 1 + n], one.scores[: 1 + n]) for one in EXAMPLES]
    path = tmp_path / f"x{ending}"
    write_as(cut, path, "columns", **TEXTS, margins=margins)
    if ending == ".parquet":
        rows = pyarrow.parquet.read_table(path).to_pylist()
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    negatives = ["negative"] if n == 1 else ["negative_1", "negative_2"]
    for row, example in zip(rows, cut, strict=True):
        assert list(row) == ["anchor", "positive", *negatives, "label"]  # by position, the label by its name
        # The trainer takes the first column of these names for the label and the others, in their order, for texts.
        label = next(row.pop(name) for name in ("label", "labels", "score", "scores") if name in row)
        assert list(row.values()) == [QUERIES[example.query_id], *(DOCUMENTS[one] for one in example.document_ids)]
        differences = [example.scores[0] - score for score in example.scores[1:]]
        assert label == (list(example.scores) if not margins else differences[0] if n == 1 else differences)
    read = [row.example for row in read_source(path).rows]
    assert read == by_text(with_margins(cut) if margins else cut)


def test_columns_without_scores_have_no_label_and_may_be_pairs(tmp_path):
    write_as(UNSCORED, tmp_path / "x.jsonl", "columns", **TEXTS)
    assert [row.example for row in read_source(tmp_path / "x.jsonl").rows] == by_text(UNSCORED)
    pairs = [Example(one.query_id, one.document_ids[:1], one.scores[:1]) for one in EXAMPLES]
    lost = write_as(pairs, tmp_path / "x.jsonl", "columns", **TEXTS).left_out
    assert lost == {"scores of positives without a negative": 3}
    assert json.loads((tmp_path / "x.jsonl").read_text().splitlines()[0]).keys() == {"anchor", "positive"}


def test_hard_negatives_have_the_shape_of_the_public_file(tmp_path):
    mixed = [*EXAMPLES[:2], Example("q3", ("007", "-5", "٣"))]
    write_as(mixed, tmp_path / "x.jsonl.gz", "hard-negatives", name="bm25")
    lines = gzip.decompress((tmp_path / "x.jsonl.gz").read_bytes()).decode().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"qid": 1, "pos": [100, 105], "neg": {"bm25": [101, 102]}},
        {"qid": "q3", "pos": ["007"], "neg": {"bm25": [-5, "٣"]}},
    ]
    assert [row.example for row in read_source(tmp_path / "x.jsonl.gz").rows] == [*UNSCORED[:2], mixed[2]]


def test_the_pickle_has_only_the_opcodes_of_dicts_ints_and_floats(tmp_path):
    write_as(EXAMPLES, tmp_path / "x.pkl", "score-pickle")
    content = (tmp_path / "x.pkl").read_bytes()
    pickletools.dis(content, out=io.StringIO())  # checks the stack, and that nothing is left on it
    assert {code.name for code, *_ in pickletools.genops(content)} == {
        *("PROTO", "EMPTY_DICT", "MARK", "BININT", "LONG1", "BINFLOAT", "SETITEMS", "STOP")
    }


def test_runs_are_best_first_and_lines_have_the_order_of_their_tool(tmp_path):
    one = [Example("1", ("100", "102", "101"), (0.5, 2.0, 2.0))]
    write_as(one, tmp_path / "x", "trec", name="teacher")
    assert (tmp_path / "x").read_text().splitlines() == [
        "1 Q0 101 1 2.0 teacher",
        "1 Q0 102 2 2.0 teacher",
        "1 Q0 100 3 0.5 teacher",
    ]
    # The order of the negatives is lost, their scores are not.
    qrels = Options({"1": {"100": 1}})
    (row,) = read_source(tmp_path / "x", "trec", qrels).rows
    assert row.example == Example("1", ("100", "101", "102"), (0.5, 2.0, 2.0))
    for format, line in [("naver-ids", "1\t100\t102\t0.5\t2.0"), ("vienna-ids", "0.5\t2.0\t1\t100\t102")]:
        write_as(one, tmp_path / "x", format)
        assert (tmp_path / "x").read_text().splitlines()[0] == line


def test_the_same_examples_give_the_same_bytes(tmp_path):
    for format, (endings, *_) in ROUND_TRIPS.items():
        for ending in filter(None, endings):
            twice = []
            for _ in range(2):
                write_as(EXAMPLES, tmp_path / f"x{ending}", format, **TEXTS)
                twice.append((tmp_path / f"x{ending}").read_bytes())
            assert twice[0] == twice[1], (format, ending)


def test_many_rows_with_empty_lists_first_fit_one_table(tmp_path):
    many = [Example("1", ("100",)), *([Example("20", ("103", "104"))] * 2100)]
    for format in ("tevatron-1", "tevatron-2"):
        write_as(many, tmp_path / "x.parquet", format, **TEXTS)
        assert [row.example for row in read_source(tmp_path / "x.parquet").rows] == many


@pytest.mark.parametrize(
    ("format", "examples", "why"),
    [
        ("pylate", [EXAMPLES[0], UNSCORED[1]], "example 2: it has no scores"),
        ("score-pickle", UNSCORED, "example 1: it has no scores"),
        ("trec", [Example("1", ("a b", "c"), (1.0, 0.0))], "example 1: the document id 'a b' is empty or holds"),
        ("score-pickle", [Example("q", ("1", "2"), (1.0, 0.0))], "example 1: the id 'q' is no whole number"),
        ("score-pickle", [Example("1", ("1", "02"), (1.0, 0.0))], "example 1: the id '02' is no whole number"),
        ("columns", [EXAMPLES[0], UNSCORED[1]], "example 2: the columns are .* scores to all or none"),
        ("columns", [EXAMPLES[0], Example("1", ("100", "101"), (1.0, 0.0))], "example 2: .*same number of negatives"),
        ("columns", [Example("1", ("100", "999"))], "example 1: '999' is not among the documents"),
        ("columns", [Example("9", ("100", "101"))], "example 1: '9' is not among the queries"),
        ("columns", [Example("1", ("half", "100"))], "example 1 has an id or a text that cannot be written"),
        ("triples-texts", [Example("1", ("tab", "100"))], r"example 1: the text of 'tab' holds '\\t'"),
        ("triples-ids", [Example("1", ("a\tb", "100"))], "example 1: the id"),
        ("triples-ids", [Example("1", ("100",))], "not one example can be written: 1 examples without a negative"),
        ("hard-negatives", [], "not one example can be written: there are none"),
        (
            "hard-negatives",
            [UNSCORED[0], UNSCORED[2], Example("1", ("105", "107"))],
            "example 3: the query '1' began with example 1, and has one row only",
        ),
        ("trec", [EXAMPLES[0], Example("1", ("105", "101", "102"), (8.0, 1.0, 1.0))], "example 2: the query '1' began"),
        ("trec", [EXAMPLES[0], EXAMPLES[0]], "example 2: the query '1' began"),
    ],
)
def test_what_a_format_cannot_hold_is_one_error(tmp_path, format, examples, why):
    documents = {**DOCUMENTS, "tab": "a\tb", "half": "\ud800"}
    with pytest.raises(InputError, match=why):
        write_as(examples, tmp_path / "x", format, queries=QUERIES, documents=documents) if format != "pylate" else (
            write_as(examples, tmp_path / "x.jsonl", format)
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("format", "name", "options", "error", "why"),
    [
        ("everglade", "x", {}, ConfigError, "no format that examples are written in"),
        ("columns", "x", {"queries": QUERIES}, ConfigError, "holds the texts of documents"),
        ("pylate", "folder", {}, ConfigError, "holds the texts of queries and documents"),
        ("id-triplets", "x.jsonl", {"margins": True}, ConfigError, "margins are chosen for columns only"),
        ("trec", "x.parquet", {}, ConfigError, "cannot be written to x.parquet"),
        ("columns", "x.arrow", TEXTS, ConfigError, "cannot be written to x.arrow"),
        ("trec", "x", {"qrels": "x"}, ConfigError, "cannot be both the examples and the judgements"),
        ("trec", "x", {"name": "a b"}, InputError, "the tag 'a b'"),
        ("trec", "none/x", {}, InputError, "is not there. Make it first"),
    ],
)
def test_what_is_asked_must_fit_the_format(tmp_path, format, name, options, error, why):
    judged = tmp_path / options["qrels"] if "qrels" in options else None
    with pytest.raises(error, match=why):
        write_as(EXAMPLES, tmp_path / name, format, **{**options, "qrels": judged})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_there_stays(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/mine").write_text("x")
    with pytest.raises(InputError, match="this is there already"):
        write_as(EXAMPLES, tmp_path / "there", "pylate", **TEXTS)
    with pytest.raises(InputError, match="example 1: '100' is not among"):
        write_as(EXAMPLES, tmp_path / "new", "pylate", queries=QUERIES, documents={"0": ""}, qrels=tmp_path / "qrels")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_the_command_writes_what_it_reads(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "set").mkdir()
    for name, texts in (("queries", QUERIES), ("corpus", DOCUMENTS)):
        lines = (json.dumps({"_id": key, "text": text}) for key, text in texts.items())
        (tmp_path / f"set/{name}.jsonl").write_text("\n".join(lines))
    write_examples(EXAMPLES, "scored.jsonl")

    def run(words):
        return CliRunner().invoke(app, ["examples", *words.split()])

    done = run("scored.jsonl -o x.jsonl --format everglade --as columns --collection set --json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "format": "columns",
        "examples": 3,
        "rows": 3,
        "written": "x.jsonl",
        "assumed": [],
        "left out": {},
    }
    assert [row.example for row in read_source("x.jsonl").rows] == by_text(EXAMPLES)
    words = "scored.jsonl -o x.trec --format everglade --as trec --qrels-to x.qrels --negatives 1 --name mine --quiet"
    done = run(words)
    assert done.exit_code == 0 and "left out" not in done.stdout, done.output
    assert run("x.trec -o back.jsonl --qrels x.qrels").exit_code == 0
    assert read_examples("back.jsonl") == [Example(e.query_id, e.document_ids[:2], e.scores[:2]) for e in EXAMPLES]
    wrong = [
        ("--margins", "go with --as"),
        ("--as columns --texts t", "--collection gives the texts"),
        ("--as columns", "give the collection they are of"),
    ]
    for more, why in wrong:
        done = run(f"scored.jsonl -o y --format everglade {more}")
        assert done.exit_code and why in " ".join(done.output.split()), done.output
    assert not (tmp_path / "y").exists()
