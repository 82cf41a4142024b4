"""kill -9 at random moments, then the same command again: in the end everything is as without, byte for byte.

The processes that are killed are forked by a server that has torch loaded, so that each begins at once.
`benchmarks/recipe_kill.py` does the same twenty times on a larger recipe through the command line.
"""

import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from same import differences

KILLS = 5
RECIPE = """
summary = "every kind of stage but import, in few steps"

[set]
start = ""
hold_out = 0.2

[[stage]]
name = "pretrain"
kind = "pretrain"
start = "$start"
objective = "cocondenser"
steps = 3
batch_size = 4
max_length = 16
min_span = 2
held_out = 0.1
checkpoint_every = 1

[[stage]]
name = "bm25"
kind = "negatives"
sources = ["bm25", "splade:$start"]
quotas = 3

[[stage]]
name = "teacher"
kind = "train-teacher"
start = "$start"
examples = "@bm25"
steps = 3
batch_size = 4
max_length = 32
checkpoint_every = 1

[[stage]]
name = "score"
kind = "score"
examples = "@bm25"
teachers = ["cross-encoder:@teacher", "bm25"]
normalise = "z-score"
shard_examples = 4

[[stage]]
name = "train"
kind = "train"
start = "@pretrain"
examples = "@score"
loss = "margin_mse"
steps = 6
batch_size = 4
learning_rate = 1e-3
max_query_length = 8
max_document_length = 16
checkpoint_every = 1
validate_every = 3

[[stage]]
name = "encode"
kind = "encode"
model = "@train"
shard_rows = 16

[[stage]]
name = "index"
kind = "index"
vectors = "@encode"

[[stage]]
name = "evaluate"
kind = "evaluate"
index = "@index"
label = "tuned"
"""
PRELOADED = [
    "everglade.recipes.runner",
    *("everglade.train.loop", "everglade.model.splade", "everglade.search", "everglade.distill.formats"),
    *("everglade.distill.text_store", "everglade.distill.example_table", "everglade.distill.bm25", "bm25s"),
    *("everglade.pretrain.loop", "everglade.distill.negatives", "everglade.distill.scoring"),
    *("everglade.train.cross_encoder", "sentence_transformers.cross_encoder", "datasets"),
    *("transformers.models.bert.modeling_bert", "transformers.models.auto.modeling_auto", "accelerate", "ir_measures"),
]


@pytest.fixture(scope="module")
def start():
    """Give what starts a process that runs a recipe."""
    from everglade.recipes.runner import run_recipe

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)

    def begin(recipe, collection, out, overrides):
        process = context.Process(target=run_recipe, args=(recipe, collection, out), kwargs={"overrides": overrides})
        process.start()
        return process

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # of the server, and so of all that it forks
        first = context.Process(target=os.getpid)  # the server starts with it, and loads what is to be loaded
        first.start()
        first.join()
        yield begin


def test_a_killed_recipe_ends_as_if_it_had_never_been(start, marco, tiny, tmp_path):
    recipe, out, whole = tmp_path / "every.toml", tmp_path / "out", tmp_path / "whole"
    recipe.write_text(RECIPE)
    overrides = {"start": str(tiny)}
    began = time.monotonic()
    process = start(recipe, marco, out, overrides)
    process.join()
    took = time.monotonic() - began
    assert process.exitcode == 0
    out.rename(whole)  # the same name for both, as names of models are written down

    draw, killed = random.Random(17), 0
    for number in range(KILLS):
        process = start(recipe, marco, out, overrides)
        process.join(draw.uniform(0.05, 0.6) * took)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        if process.exitcode == -signal.SIGKILL:
            killed += 1
            continue
        assert process.exitcode == 0
        assert differences(whole, out) == []
        out.rename(tmp_path / f"ended-{number}")
    assert killed
    process = start(recipe, marco, out, overrides)
    process.join()
    assert process.exitcode == 0
    assert differences(whole, out) == []
