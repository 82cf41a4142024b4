"""`torchrun` of the command line with two processes on a CPU: one model, one log, one report."""

import json
import os
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
    "max_document_length": "12",
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


def words_of(tmp_path, model, out):
    """The command line after `everglade`."""
    sets = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    words = ["train", str(model), str(tmp_path / "toy"), "-o", str(out), "--split", "train", "--json", "--threads", "1"]
    return [*words, "--examples", str(tmp_path / "toy" / "examples.jsonl"), *sets]


def launch_two(words):
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "everglade.cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, *launcher, *words], env=environment, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_two_processes_train_the_model_of_one(tiny_folder, toy, tmp_path):
    write_collection(tmp_path / "toy", toy)
    alone = CliRunner().invoke(app, words_of(tmp_path, tiny_folder, tmp_path / "1"))
    assert alone.exit_code == 0, alone.output
    together = launch_two(words_of(tmp_path, tiny_folder, tmp_path / "2"))
    reports = [json.loads(run.stdout) for run in (alone, together)]  # one object: only the main process prints
    same = ("examples", "step of the best", "RR@10 at the start", "RR@10 of the best")
    assert [reports[1][key] for key in same] == [reports[0][key] for key in same]
    assert reports[0]["RR@10 of the best"] is not None
    assert "Warning" not in together.stderr
    one, two = (dict(Splade.load(tmp_path / name / "final").named_parameters()) for name in ("1", "2"))
    start = dict(Splade.load(tiny_folder).named_parameters())
    # The bias of the keys shifts all scores of a softmax alike: its gradient is rounding, which AdamW makes steps of.
    names = [name for name in one if not name.endswith("key.bias")]
    assert max((one[name] - start[name]).abs().max().item() for name in names) > 1e-3
    assert max((one[name] - two[name]).abs().max().item() for name in names) < 1e-5
    logs = [[json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("1", "2")]
    assert [line["step"] for line in logs[0]] == [line["step"] for line in logs[1]]
    for mine, other in zip(*logs, strict=True):
        assert mine.get("validation") == other.get("validation")
        if "total" in mine:
            assert mine["total"] == pytest.approx(other["total"], rel=1e-4)
            assert mine["document_terms"] == other["document_terms"]
