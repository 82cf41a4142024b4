"""A recipe that is written as TOML and read again is the same recipe."""

import dataclasses
import tomllib

import pytest

from everglade.errors import ConfigError
from everglade.recipes.as_toml import write_toml
from everglade.recipes.recipe import list_recipes, load_recipe

ODD = 'quotes " and \\ and \n new lines, a bell \x07, \x7f, é and 𝄞'


@pytest.mark.parametrize("name", list_recipes())
def test_every_recipe_is_read_again_as_it_was(name, tmp_path):
    recipe = load_recipe(name)
    (tmp_path / f"{name}.toml").write_text(write_toml(recipe))
    again = load_recipe(tmp_path / f"{name}.toml")
    assert dataclasses.replace(again, text=recipe.text) == recipe


def test_what_was_overridden_is_written(tmp_path):
    changes = {
        "start": "here",
        "train.steps": 700,
        "train.learning_rate": 1e-5,
        "train.model.passages": 3,
        "train.model.document_prefix": ODD,
        "train.dropout": True,
        "first.dropout": False,
        "negatives.sources": ["bm25", f"splade:{ODD}"],
        "score.rescale": None,
    }
    recipe = load_recipe("self-distil-small").override(changes)
    (tmp_path / "own.toml").write_text(write_toml(recipe), encoding="utf-8")
    again = load_recipe(tmp_path / "own.toml")
    for found, expected in zip(again.resolve(), recipe.resolve(), strict=True):
        assert found.values == {key: value for key, value in expected.values.items() if value is not None}
    train = next(stage for stage in again.stages if stage["name"] == "train")
    assert train["model"] == {"passages": 3, "document_prefix": ODD}
    assert "rescale" not in next(stage for stage in again.stages if stage["name"] == "score")


def test_keys_of_any_letters_and_empty_tables_can_be_written():
    recipe = load_recipe("splade-max-small").override({"train.model": {"a b": 1, "x": {}}})
    assert tomllib.loads(write_toml(recipe))["stage"][1]["model"] == {"a b": 1, "x": {}}


def test_none_cannot_be_written_where_it_is_not_the_default():
    with pytest.raises(ConfigError, match="train.steps = none cannot be written.*default is"):
        write_toml(load_recipe("splade-max-small").override({"train.steps": None}))
