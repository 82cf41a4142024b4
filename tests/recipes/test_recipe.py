"""What a recipe's file may say, and what is said of a mistake."""

import pytest

from everglade.bundled import bundled_model
from everglade.errors import ConfigError
from everglade.recipes.recipe import StageSpec, list_recipes, load_recipe
from everglade.recipes.references import find_broken, find_stages, put_paths

STAGE = """
[[stage]]
name = "train"
kind = "train"
start = "$start"
examples = "somewhere.jsonl"
steps = 7
"""


def recipe(tmp_path, text):
    path = tmp_path / "own.toml"
    path.write_text(text)
    return load_recipe(path)


def test_settings_are_filled_in_and_overridden(tmp_path):
    own = recipe(tmp_path, '[set]\nstart = "a"\nn = 3\n' + STAGE + 'batch_size = "$n"\n')
    (train,) = own.resolve()
    assert (train.own("start"), train.settings["batch_size"], train.settings["seed"]) == ("a", 3, 123)
    (train,) = own.override({"start": "b", "n": 4, "train.steps": 9, "train.model.pooling": "sum"}).resolve()
    assert (train.own("start"), train.settings["batch_size"], train.settings["steps"]) == ("b", 4, 9)
    assert train.own("model") == {"pooling": "sum"}


def test_stages_take_place_by_what_is_given(tmp_path):
    text = """
[set]
scores = ""

[[stage]]
name = "scored"
kind = "import"
when = "scores"
file = "$scores"
format = "score-pickle"

[[stage]]
name = "mined"
kind = "negatives"
unless = "scores"

[[stage]]
name = "teach"
kind = "score"
unless = ["scores"]
examples = "@mined"
teachers = ["bm25"]

[[stage]]
name = "train"
kind = "train"
start = "m"
examples = "@scored | @teach"
"""
    own = recipe(tmp_path, text)
    assert [stage.name for stage in own.resolve()] == ["mined", "teach", "train"]
    assert own.resolve()[-1].own("examples") == "@teach"
    given = own.override({"scores": "x.pkl"}).resolve()
    assert [stage.name for stage in given] == ["scored", "train"]
    assert given[-1].own("examples") == "@scored"
    with pytest.raises(ConfigError, match="that stage does not take place"):
        own.override({"scores": "x.pkl", "teach.normalise": "z-score"}).resolve()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"stard": "x"}, "no setting 'stard'. Did you mean start"),
        ({"trian.steps": 1}, "no stage 'trian'. Did you mean train"),
        ({"train.stepz": 1}, "stage train of own has no 'stepz'. Did you mean steps"),
        ({"train.steps": 0}, "own, stage train: .*steps must be at least 1"),
        ({"train.give": "worst"}, "give must be best or final"),
        ({"train.start": "@first"}, "@first is no stage that takes place before"),
        ({"train.start": "@train"}, "@train is not before this stage"),
        ({"train.examples": ""}, "examples must be given"),
        ({"train.start": "$begin"}, r"\$begin is no setting of the recipe"),
    ],
)
def test_what_cannot_be_is_refused_with_the_nearest_name(tmp_path, override, said):
    own = recipe(tmp_path, '[set]\nstart = "a"\n' + STAGE)
    with pytest.raises(ConfigError, match=said):
        own.override(override).resolve()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("stages = 1", "unknown key 'stages'. Did you mean stage"),
        ('summary = "x"', "there are no stages"),
        ('[[stage]]\nname = "t"\nkind = "trian"', "there is no kind 'trian'. Did you mean train"),
        ('[[stage]]\nname = "T"\nkind = "train"', "small letters"),
        ('[[stage]]\nkind = "train"', "needs a name"),
        ("[[stage", "is not TOML"),
        (STAGE.replace("$start", "a") + STAGE.replace("$start", "a"), "two stages have that name"),
        (STAGE.replace('kind = "train"', 'kind = "train"\nwhen = "x"'), "'x' is no setting of the recipe"),
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, text).resolve()


def test_a_stage_of_the_wrong_kind_is_no_input(tmp_path):
    text = '[[stage]]\nname = "mined"\nkind = "negatives"\n\n[[stage]]\nname = "e"\nkind = "encode"\nmodel = "@mined"\n'
    with pytest.raises(ConfigError, match="@mined is a stage of kind negatives, but this takes train or pretrain"):
        recipe(tmp_path, text).resolve()


def test_unknown_recipes_get_the_nearest_name():
    with pytest.raises(ConfigError, match="no recipe 'self-distill'. Did you mean self-distil"):
        load_recipe("self-distill")


def test_every_recipe_has_a_line_and_a_small_twin():
    recipes = list_recipes()
    assert all(recipes.values())
    names = {name for name in recipes if not name.endswith("-small")}
    assert names == {
        *("splade-max", "distil-mse", "self-distil", "ensemble-distil"),
        *("cocondenser-self-distil", "cocondenser-ensemble-distil"),
        *("splade-doc", "efficient-splade", "inference-free", "splade-v3"),
    }
    assert {f"{name}-small" for name in names} == set(recipes) - names


def test_references_are_found_in_lists_and_behind_schemes_but_not_in_labels():
    score = StageSpec("s", "score", {"examples": "@mined", "teachers": ["bm25", "splade:@first"], "rescale": "a@b"})
    assert list(find_stages(score)) == [("examples", "mined"), ("teachers", "first")]
    assert list(find_broken(score)) == []
    evaluate = StageSpec("e", "evaluate", {"index": "@index", "label": "@mined"})
    assert list(find_stages(evaluate)) == [("index", "index")]
    broken = StageSpec("e", "encode", {"model": "@train/final"})
    assert list(find_broken(broken)) == [("model", "@train/final")]


EVALUATE = '[[stage]]\nname = "e"\nkind = "evaluate"\nindex = "bm25"\nlabel = "x"\n'
ENCODE = '[[stage]]\nname = "e"\nkind = "encode"\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("set = 3\n" + EVALUATE, "set must be a table, not 3"),
        ("[[set]]\na = 1\n" + EVALUATE, "set must be a table"),
        ("summary = 3\n" + EVALUATE, "summary must be a text, not 3"),
        ('[stage]\nname = "e"\n', r"Write \[\[stage\]\]"),
        (EVALUATE + "when = 3\n", "when must be the name"),
        (EVALUATE + "when = [3]\n", "when must be the name"),
        (EVALUATE.replace('"evaluate"', '["evaluate"]'), "needs a name and a kind"),
        (EVALUATE.replace('"bm25"', "3"), "index must be a text, not 3"),
        (EVALUATE.replace('"bm25"', '"/some/index"'), "index must be bm25, or a stage"),
        (EVALUATE.replace('"x"', "3"), "label must be a text, not 3"),
        (EVALUATE + 'measures = "RR@10"\n', r"measures must be a list.*\[\"one\", \"two\"\]"),
        (EVALUATE + "measures = []\n", "no measure was asked for"),
        (EVALUATE + 'measures = ["nDCG@ten"]\n', "measure 'nDCG@ten' is not known"),
        (EVALUATE + "depth = 0\n", "depth must be at least 1"),
        (EVALUATE + 'depth = "ten"\n', "depth must be a whole number"),
        (ENCODE + "shard_rows = 0\n", "shard_rows must be at least 1"),
        (ENCODE.replace('"m"', '"@train/final"'), "'@train/final' is neither @stage nor"),
        ('[set]\nmodels = "/m"\n' + ENCODE.replace('"m"', '"$models/one"'), r"no stage has \$models"),
        (ENCODE.replace('"m"', '"$seed/one"'), r"'\$seed/one' is neither @stage nor \$setting"),
        ("[set]\nhold-out = 0.1\n" + EVALUATE, r"no stage has \$hold-out.* Did you mean hold_out"),
        ('[set]\nhold_out = ".1"\n' + EVALUATE, "hold_out must be a number, not '.1'. Write it as 0.1"),
        ('[[stage]]\nname = "i"\nkind = "index"\nvectors = "/v"\n', "vectors must be a stage of kind encode"),
        ('[[stage]]\nname = "i"\nkind = "import"\nfile = "f"\nformat = "vienna-idss"\n', "Did you mean vienna-ids"),
        ('[[stage]]\nname = "i"\nkind = "import"\nfile = "f"\nsystems = "bm25"\n', "systems must be a list"),
        (ENCODE + '[[stage]]\nname = "i"\nkind = "import"\nfile = "@e"\n', "but this takes no stage"),
        (STAGE.replace('"$start"', '"m"').replace('"somewhere.jsonl"', "5"), "examples must be a text, not 5"),
        (STAGE.replace('"$start"', '"m"') + 'model = { activaton = "relu" }\n', "Did you mean activation"),
        (STAGE.replace('"$start"', '"m"') + "model = 5\n", "model must be a table"),
        (STAGE.replace('"$start"', '"m"') + "model = { max_document_length = 64 }\n", "beside it, as a setting of the"),
        (
            STAGE.replace('"$start"', '"m"')
            + "max_document_length = 32\nmodel = { passages = 2, passage_overlap = 32 }\n",
            "passage_overlap is 32, but a passage has 32 tokens",
        ),
        (STAGE.replace('"$start"', '"m"') + "lora_rank = -1\n", "lora_rank must be at least 0"),
        (STAGE.replace('"$start"', '"m"') + 'freeze_documents = "no"\n', "freeze_documents must be true or false"),
        (STAGE.replace('"$start"', '"m"') + 'query_encoder = "binry"\n', "Did you mean binary"),
        (STAGE.replace('"$start"', '"m"').replace("7", "true"), "steps must be a whole number"),
    ],
)
def test_own_keys_are_checked_before_anything_runs(tmp_path, text, said):
    with pytest.raises(ConfigError, match=said):
        recipe(tmp_path, text).resolve()


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"bm25": "False"}, "bm25 must be true or false, not 'False'. Write true or false, in small letters"),
        ({"bm25": 0}, "bm25 must be true or false"),
        ({"bm25": None}, "bm25 must be true or false, not None"),
        ({"seed": "abc"}, "seed must be a whole number, not 'abc'"),
        ({"seed": None}, "seed must be a whole number"),
        ({"seed": 1.5}, "seed must be a whole number"),
        ({"hold_out": ".1"}, "Write it as 0.1"),
        ({"start": 3}, "start must be a text, not 3. Write it in quotes"),
        ({"train.steps.x": 1}, "steps of stage train of splade-max is no table"),
    ],
)
def test_a_setting_keeps_its_type(override, said):
    with pytest.raises(ConfigError, match=said):
        load_recipe("splade-max").override(override)


def test_settings_of_another_type_that_mean_the_same():
    own = load_recipe("splade-max").override({"hold_out": 0, "triples": None, "bm25": False})
    assert (own.settings["hold_out"], own.settings["triples"]) == (0, "")
    assert [stage.number for stage in own.resolve()] == [2, 3, 4, 5, 7], "numbers are places in the file"


def test_a_label_is_taken_as_it_stands(tmp_path):
    for label in ("A | @B", "@b", "bundled", "splade:bundled", "$5 a query"):
        (stage,) = recipe(tmp_path, EVALUATE.replace('"x"', f'"{label}"')).resolve()
        assert put_paths(stage, {})["label"] == label
    (stage,) = recipe(tmp_path, ENCODE.replace('"m"', '"bundled"')).resolve()
    assert put_paths(stage, {})["model"] == str(bundled_model())


def test_a_recipe_like_another_says_only_what_is_other(tmp_path):
    (tmp_path / "base.toml").write_text('[set]\nstart = "a"\n' + STAGE)
    like = f'like = "{tmp_path / "base.toml"}"\n'
    own = recipe(tmp_path, like + '[set]\nstart = "b"\n[[stage]]\nname = "train"\nbatch_size = 5\n')
    (train,) = own.resolve()
    assert (train.own("start"), train.settings["steps"], train.settings["batch_size"]) == ("b", 7, 5)
    assert "# steps = 7\n" in own.text
    assert own.text.startswith(like)
    assert recipe(tmp_path, own.text).resolve() == [train], "what is written to OUT can be run"
    with pytest.raises(ConfigError, match="there is no stage 'trian' to change. Did you mean train"):
        recipe(tmp_path, like + '[[stage]]\nname = "trian"\n')
    (tmp_path / "base.toml").write_text('like = "splade-max"\n')
    with pytest.raises(ConfigError, match="base is itself like splade-max"):
        recipe(tmp_path, like)
