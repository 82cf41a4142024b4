"""A training stage may ask for passages that fit its own lengths and not those of the folder it starts from."""

from everglade import Splade
from everglade.recipes.runner import run_recipe

STAGES = """
summary = "one step with passages"
source = "the tests"

[set]
hold_out = 0
start = ""
triples = ""

[[stage]]
name = "triples"
kind = "import"
file = "$triples"
format = "triples-ids"

[[stage]]
name = "train"
kind = "train"
start = "$start"
examples = "@triples"
steps = 1
batch_size = 2
max_query_length = 8
max_document_length = 64
model = { passages = 2, passage_overlap = 40 }
"""


def test_the_overlap_is_measured_by_the_lengths_of_the_run(marco, tiny, tmp_path):
    (tmp_path / "own.toml").write_text(STAGES)
    assert Splade.load(tiny).settings.max_document_length < 40
    overrides = {"start": str(tiny), "triples": str(marco / "triples.tsv")}
    report = run_recipe(tmp_path / "own.toml", marco, tmp_path / "out", overrides=overrides)
    settings = Splade.load(report.outputs["train"]).settings
    assert (settings.max_document_length, settings.passages, settings.passage_overlap) == (64, 2, 40)
