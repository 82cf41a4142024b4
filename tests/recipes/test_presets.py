"""The recipes that come with Everglade: the papers' numbers in the plan, and one step on files of MS MARCO's shape."""

import pytest

from everglade import Splade, evaluate
from everglade.recipes.recipe import list_recipes, load_recipe
from everglade.recipes.runner import plan_recipe, run_recipe
from everglade.texts import group_qrels, open_collection, read_run
from everglade.train.config import TrainConfig

# SPLADE++ (arXiv 2205.04733), hyper-parameters and scenarios, written down anew and not taken from the recipes.
PAPER = {
    "learning_rate": 2e-5,
    "weight_decay": 0.01,
    "warmup": 6_000,
    "steps": 150_000,
    "batch_size": 128,
    "negatives_per_query": 1,
    "max_query_length": 256,
    "max_document_length": 256,
    "precision": "fp16",
    "seed": 123,
    "checkpoint_every": 10_000,
    "validate_every": 10_000,
    "validation_measure": "RR@10",
    "lambda_ramp": 50_000,
    "regularizer_q": "flops",
    "regularizer_d": "flops",
    "temperature": 1.0,
}
DISTILBERT, COCONDENSER = "distilbert-base-uncased", "Luyu/co-condenser-marco"
SCENARIOS = {  # where it starts, the loss, lambda_q, lambda_d
    "splade-max": (DISTILBERT, "infonce", 3e-4, 1e-4),
    "distil-mse": (DISTILBERT, "margin_mse", 0.5, 0.4),
    "self-distil": (DISTILBERT, "margin_mse", 0.5, 0.4),
    "ensemble-distil": (DISTILBERT, "margin_mse", 0.1, 0.08),
    "cocondenser-self-distil": (COCONDENSER, "margin_mse", 0.5, 0.4),
    "cocondenser-ensemble-distil": (COCONDENSER, "margin_mse", 0.5, 0.4),
}
FOLLOWERS = {
    "splade-doc": {"steps": 50_000, "warmup": 6_000, "lambda_ramp": 10_000, "loss": "infonce"},
    "efficient-splade": {
        "steps": 250_000,
        "warmup": 6_000,
        "lambda_ramp": 50_000,
        "loss": "kl",
        "regularizer_q": "l1",
        "regularizer_d": "flops",
        "lambda_q": 5e-4,
        "lambda_d": 5e-4,
    },
    "inference-free": {
        "steps": 100_000,
        "batch_size": 20,
        "loss": "kl",
        "lambda_d": 0.08,
        "lambda_ramp": 40_000,
        "regularizer_d": "flops",
        "threshold_d": 150,
        "max_document_length": 256,
    },
    "splade-v3": {
        "loss": "kl + 0.05 margin_mse",
        "negatives_per_query": 8,
        "target_query_terms": 25.0,
        "target_doc_terms": 170.0,
    },
}
FULL = [*SCENARIOS, *FOLLOWERS]
TEACHERS = {
    "distil-mse": "cross-encoder/ms-marco-MiniLM-L-6-v2",
    "self-distil": "cross-encoder/ms-marco-MiniLM-L-12-v2",
    "ensemble-distil": "cross-encoder/ms-marco-MiniLM-L-6-v2",
    "cocondenser-self-distil": "cross-encoder/ms-marco-MiniLM-L-12-v2",
    "cocondenser-ensemble-distil": "cross-encoder/ms-marco-MiniLM-L-6-v2",
}
# The public file that each can be given, and what it is called among the recipe's settings.
FILES = {
    "splade-max": {"triples": "triples.tsv"},
    "splade-doc": {"triples": "triples.tsv"},
    "distil-mse": {"triples": "vienna.tsv"},
    "self-distil": {"triples": "vienna.tsv"},
    "cocondenser-self-distil": {"triples": "vienna.tsv"},
    "ensemble-distil": {"scores": "scores.pkl.gz"},
    "cocondenser-ensemble-distil": {"negatives": "msmarco-hard-negatives.jsonl.gz"},
    "efficient-splade": {"scores": "scores.pkl.gz"},
    "inference-free": {"negatives": "msmarco-hard-negatives.jsonl.gz"},
}


def stage_of(plan, name):
    return next(stage for stage in plan.stages if stage.spec.name == name)


def config_of(plan, name="train"):
    return TrainConfig.from_dict(stage_of(plan, name).spec.settings)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_plan_of_a_row_has_the_papers_numbers(name, marco):
    plan = plan_recipe(name, marco)
    start, loss, lambda_q, lambda_d = SCENARIOS[name]
    config = config_of(plan)
    assert {key: getattr(config, key) for key in PAPER} == PAPER
    assert (config.loss, *config.lambdas) == (loss, lambda_q, lambda_d)
    assert config.has_target is False
    assert config.interpolate == 1
    train = stage_of(plan, "train").spec
    assert (train.own("start"), train.own("give"), train.own("query_encoder")) == (start, "best", None)
    assert load_recipe(name).settings.get("teacher") == TEACHERS.get(name)


@pytest.mark.parametrize("name", ["self-distil", "cocondenser-self-distil"])
def test_self_distil_trains_a_new_model_on_what_its_first_one_finds(name, marco):
    given = plan_recipe(name, marco, overrides={"triples": str(marco / "vienna.tsv")})
    own = plan_recipe(name, marco)
    for plan, first, loss in ((given, "first-distilled", "margin_mse"), (own, "first", "infonce")):
        assert stage_of(plan, "negatives").spec.settings["sources"] == [f"splade:@{first}"]
        assert stage_of(plan, "score").spec.settings["teachers"] == ["cross-encoder:@teacher"]
        assert stage_of(plan, "train").spec.own("start") == stage_of(plan, first).spec.own("start")
        config = config_of(plan, first)
        assert {key: getattr(config, key) for key in PAPER} == PAPER
        assert config.loss == loss
    assert config_of(own, "first").lambdas == (3e-4, 1e-4)
    assert config_of(given, "first-distilled").lambdas == (0.5, 0.4)


@pytest.mark.parametrize("name", FOLLOWERS)
def test_the_plan_of_a_follower_has_its_papers_numbers(name, marco):
    plan = plan_recipe(name, marco)
    config = config_of(plan)
    assert {key: getattr(config, key) for key in FOLLOWERS[name]} == FOLLOWERS[name]
    assert (config.learning_rate, config.weight_decay) == (2e-5, 0.01)
    train = stage_of(plan, "train").spec
    encoders = {"splade-doc": "binary", "efficient-splade": "@pretrain", "inference-free": "static", "splade-v3": None}
    assert train.own("query_encoder") == encoders[name]
    assert train.own("give") == ("final" if name == "splade-doc" else "best")
    if name == "splade-v3":
        mined = stage_of(plan, "negatives").settings
        assert mined["bands"] == ["50@1-50", "50@1-1000"]
        assert mined["sources"] == ["splade:naver/splade-cocondenser-selfdistil"]
        scored = stage_of(plan, "score").settings
        assert (scored["normalise"], scored["rescale"]) == ("min-max", scored["teachers"][0])
    if name == "inference-free":
        assert train.own("model") == {"activation": "log1p_relu"}


@pytest.mark.parametrize("name", list_recipes())
def test_every_plan_is_printed_without_a_collection_and_with_one(name, marco):
    alone, whole = plan_recipe(name), plan_recipe(name, marco)
    for plan in (alone, whole):
        assert plan.stages[-1].cells()[0] == "evaluate"
        assert len(plan.stages) == len(alone.stages)
    assert {stage.cells()[-1] for stage in alone.stages} == {"unknown"}
    unknown = [stage for stage in whole.stages if stage.cells()[-1] == "unknown"]
    assert bool(unknown) != name.endswith("-small"), "models of the hub are not here, the bundled one is"
    assert all("is not on this machine" in stage.unknown_because for stage in unknown)


# --- one step each ---------------------------------------------------------------------------------------------------
SHORT = {
    "train": {"batch_size": 4, "max_query_length": 8, "max_document_length": 16, "warmup_steps": None},
    "pretrain": {"batch_size": 4, "max_length": 16, "min_span": 2, "held_out": 0.1},
    "train-teacher": {"batch_size": 4, "negatives_per_query": 1, "max_length": 32},
}


def steered(stage):
    """The settings of a training's sparsity that a vocabulary of a few words can follow."""
    small = {"target_doc_terms": 12, "target_query_terms": 6, "target_flops": 2.0, "threshold_d": 0}
    values = {key: value for key, value in small.items() if key in stage.values}
    if any(key.startswith("target") for key in values):  # a controller needs a ramp
        return {**values, "steps": 20, "lambda_ramp_steps": 20}
    return {**values, "lambda_ramp_steps": None}


def one_step(name, given):
    """The settings that make one step of every training of a recipe, with what is given for the recipe itself."""
    known = load_recipe(name).settings
    values = {key: value for key, value in given.items() if key in known}
    values |= {"hold_out": 0.2, "validate_in": 0.5} | ({"precision": "no"} if "precision" in known else {})
    for stage in load_recipe(name).override(values).resolve():
        if stage.kind in SHORT:
            values |= {f"{stage.name}.{key}": value for key, value in SHORT[stage.kind].items()}
            values[f"{stage.name}.steps"] = 1
        if stage.kind == "train":
            values |= {f"{stage.name}.{key}": value for key, value in steered(stage).items()}
    return values


@pytest.fixture(scope="session")
def places(tiny, tiny_dense, tiny_cross_encoder):
    """What stands for the models that a recipe names."""
    return {
        "start": str(tiny),
        "dense": str(tiny_dense),
        "sparse": str(tiny),
        "teacher": str(tiny_cross_encoder),
        "teachers": [f"cross-encoder:{tiny_cross_encoder}", f"splade:{tiny}"],
        "reference": f"splade:{tiny}",
    }


@pytest.mark.parametrize("name", FULL)
def test_one_step_of_every_full_recipe_on_public_files(name, marco, places, tmp_path):
    files = {key: str(marco / file) for key, file in FILES.get(name, {}).items()}
    report = run_recipe(name, marco, tmp_path / "out", overrides=one_step(name, {**places, **files}))
    assert report.rows[-1].queries == 24
    qrels = group_qrels(open_collection(marco).qrels("dev"))
    assert report.rows[-1].measures == evaluate(read_run(report.outputs["evaluate"]), qrels)
    assert Splade.load(report.outputs["train"]).fingerprint != Splade.load(places["start"]).fingerprint
    imported = [stage for stage in report.stages if stage.kind == "import"]
    assert len(imported) == (name in FILES)


@pytest.mark.parametrize("name", ["self-distil", "ensemble-distil"])
def test_one_step_without_public_files(name, marco, places, tmp_path):
    report = run_recipe(name, marco, tmp_path / "out", overrides=one_step(name, places))
    kinds = [stage.kind for stage in report.stages]
    assert "import" not in kinds
    assert {"negatives", "score", "train"} <= set(kinds)


# The others have no kind of stage or setting that is not in one of these.
@pytest.mark.parametrize(
    "name",
    ["splade-doc-small", "cocondenser-self-distil-small", "efficient-splade-small", "inference-free-small"],
)
def test_one_step_of_small_twins(name, marco, tiny, tmp_path):
    given = one_step(name, {"start": str(tiny), "teacher": str(tiny)})
    report = run_recipe(name, marco, tmp_path / "out", overrides=given)
    assert [row.label for row in report.rows][:2] == ["BM25", "the start"]
    assert len(report.rows) == 3
