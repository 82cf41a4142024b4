"""`torchrun` of the command line with two processes on a CPU: one model, one log, one report, whole or in shards."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from everglade.cli import app
from everglade.model.splade import Splade

SETTINGS = {
    "steps": "4",
    "batch_size": "8",
    "accumulation_steps": "2",
    "learning_rate": "0.003",
    "log_every": "1",
    "validate_every": "2",
    "checkpoint_every": "2",
    "max_query_length": "8",
    "max_document_length": "4",  # a document of three words is two passages
    "dropout": "false",  # its masks are drawn for a piece of the batch, and the pieces differ
    "regularizer_d": "df_flops",
    "interpolate": "0.8",
}


def write_collection(folder, toy):
    training_set, documents, queries, qrels = toy
    folder.mkdir()
    lines = [json.dumps({"_id": d.id, "title": "", "text": d.text}) for d in documents]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    asked = {**training_set.queries, **{query.id: query.text for query in queries}}
    (folder / "queries.jsonl").write_text(
        "\n".join(json.dumps({"_id": key, "text": text}) for key, text in asked.items()) + "\n"
    )
    judged = {query_id: f"d{query_id[1:]}" for query_id in asked}
    (folder / "qrels").mkdir()
    rows = [f"{query_id}\t{document_id}\t1" for query_id, document_id in judged.items()]
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + "\n".join(rows) + "\n")
    (folder / "examples.jsonl").write_text(
        "\n".join(
            json.dumps({"query_id": e.query_id, "document_ids": list(e.document_ids)}) for e in training_set.examples
        )
        + "\n"
    )


def words_of(tmp_path, model, out, **more):
    """The command line after `everglade`."""
    sets = [word for key, value in {**SETTINGS, **more}.items() for word in ("--set", f"{key}={value}")]
    words = ["train", str(model), str(tmp_path / "toy"), "-o", str(out), "--split", "train", "--json", "--threads", "1"]
    words += ["--passages", "2", "--passage-overlap", "1"]
    return [*words, "--examples", str(tmp_path / "toy" / "examples.jsonl"), *sets]


def launch_two(words, **variables):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "everglade.cli"]
    one_thread = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *words],
        env={**os.environ, **one_thread, **variables},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def alone(tiny_folder, toy, tmp_path_factory):
    """The folder of the collection and of the run of one process, and what that printed."""
    folder = tmp_path_factory.mktemp("processes")
    write_collection(folder / "toy", toy)
    done = CliRunner().invoke(app, words_of(folder, tiny_folder, folder / "1"))
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def require_the_model_of_one(alone, start, out, printed):
    folder, report = alone
    together = json.loads(printed)  # one object: only the main process prints
    same = ("examples", "step of the best", "RR@10 at the start", "RR@10 of the best")
    assert [together[key] for key in same] == [report[key] for key in same]
    assert report["RR@10 of the best"] is not None
    one, two = (dict(Splade.load(path / "final").named_parameters()) for path in (folder / "1", out))
    began = dict(Splade.load(start).named_parameters())
    # The bias of the keys shifts all scores of a softmax alike: its gradient is rounding, which AdamW makes steps of.
    names = [name for name in one if not name.endswith("key.bias")]
    assert max((one[name] - began[name]).abs().max().item() for name in names) > 1e-3
    assert max((one[name] - two[name]).abs().max().item() for name in names) < 1e-5
    logs = [[json.loads(line) for line in (p / "log.jsonl").read_text().splitlines()] for p in (folder / "1", out)]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    for mine, other in zip(*logs, strict=True):
        assert mine.get("validation") == other.get("validation")
        if "total" in mine:
            assert mine["total"] == pytest.approx(other["total"], rel=1e-4)
            assert mine["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)
            assert mine["document_terms"] == other["document_terms"]


@pytest.mark.parametrize("shard", ["false", "true"])
def test_two_processes_train_the_model_of_one(alone, tiny_folder, tmp_path, shard):
    done = launch_two(words_of(alone[0], tiny_folder, tmp_path / "2", shard=shard))
    assert "Warning" not in done.stderr
    require_the_model_of_one(alone, tiny_folder, tmp_path / "2", done.stdout)


@pytest.mark.parametrize("asked_by", ["setting", "accelerate"])
def test_shards_go_on_from_a_checkpoint_made_without_them(alone, tiny_folder, tmp_path, asked_by):
    shutil.copytree(alone[0] / "1", tmp_path / "2")
    shutil.rmtree(tmp_path / "2" / "final")
    shutil.rmtree(tmp_path / "2" / "checkpoints" / "step-00000004")
    words = words_of(alone[0], tiny_folder, tmp_path / "2", shard="true" if asked_by == "setting" else "false")
    done = launch_two(words, ACCELERATE_USE_FSDP="true" if asked_by == "accelerate" else "false")
    assert "step-00000002 was made with another processes" in done.stderr
    require_the_model_of_one(alone, tiny_folder, tmp_path / "2", done.stdout)


@pytest.mark.parametrize("asked_by", ["setting", "accelerate"])
def test_shards_need_several_processes(alone, tiny_folder, tmp_path, monkeypatch, asked_by):
    if asked_by == "accelerate":
        monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    words = words_of(alone[0], tiny_folder, tmp_path / "run", shard="true" if asked_by == "setting" else "false")
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "start them with torchrun" in done.stderr


HALVES = """
import os, sys, torch
from torch.distributed.fsdp import FSDPModule
from everglade.model.splade import Splade
from everglade.train.shards import collect_weights, shard_model

torch.distributed.init_process_group("gloo")
model = Splade.load(sys.argv[1])
before = [parameter.detach().clone() for parameter in model.parameters()]
sharded = shard_model(model, torch.device("cpu"))
layers = [module for module in sharded.modules() if isinstance(module, FSDPModule)]
assert len(layers) == 2, layers  # the one layer, and the whole
for parameter in sharded.parameters():
    assert parameter.to_local().numel() <= (parameter.shape[0] + 1) // 2 * parameter[0].numel(), parameter.shape
with torch.no_grad():
    for parameter in sharded.parameters():
        parameter.add_(1.0)
assert all(torch.equal(*pair) for pair in zip(before, model.parameters()))
collect_weights(sharded, model)
assert all(torch.equal(old + 1.0, new) for old, new in zip(before, model.parameters()))
torch.distributed.barrier()
os._exit(0)  # gloo's threads may still run, and the interpreter would abort when it takes them down
"""


def test_each_process_holds_half_of_every_weight(tiny_folder, tmp_path):
    (tmp_path / "halves.py").write_text(HALVES)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "halves.py")]
    done = subprocess.run(
        [sys.executable, *launcher, str(tiny_folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
