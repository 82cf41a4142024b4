"""`everglade pretrain` in two processes on a CPU, told of each other as torchrun tells them: the model of one."""

import json
import os
import socket
import subprocess
import sys

import pytest
from safetensors.torch import load_file
from typer.testing import CliRunner

from everglade.cli import app

SETTINGS = {
    "objective": "cocondenser",
    "steps": "2",
    "batch_size": "8",
    "accumulation_steps": "2",
    "max_length": "16",
    "min_span": "4",
    "held_out": "0.2",
    "learning_rate": "0.003",
    "dropout": "false",  # its masks are drawn for a piece of the batch, and the pieces differ
    "log_every": "1",
}


def launch_two(words):
    """Give what the main process and the other one print; torchrun itself would take some seconds more."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": "2"}
    one_thread = {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "everglade.cli", *words],
            env={**os.environ, **one_thread, **place, "RANK": rank, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    try:
        printed = [one.communicate(timeout=100) for one in started]
    finally:
        for one in started:
            one.kill()
    assert [one.returncode for one in started] == [0, 0], printed
    return [out for out, _ in printed]


def test_two_processes_pre_train_the_model_of_one(bert_folder, documents, tmp_path):
    rows = [{"_id": name, "title": "", "text": text} for name, text in documents.items()]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sets = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    words = ["pretrain", str(bert_folder), str(tmp_path / "corpus.jsonl"), "--json", "--threads", "1", *sets]
    alone = CliRunner().invoke(app, [*words, "-o", str(tmp_path / "1")])
    assert alone.exit_code == 0, alone.output
    first, second = launch_two([*words, "-o", str(tmp_path / "2")])
    one, two = json.loads(alone.stdout), json.loads(first)
    assert second == ""  # only the main process prints
    for name in [name for name in one if name.startswith("held-out")]:
        assert two[name] == pytest.approx(one[name], abs=2e-4), name
    assert one["held-out mlm after"] < one["held-out mlm before"] - 0.01
    logs = [[json.loads(line) for line in (tmp_path / n / "log.jsonl").read_text().splitlines()] for n in ("1", "2")]
    assert [line.keys() for line in logs[0]] == [line.keys() for line in logs[1]]
    for mine, other in zip(*logs, strict=True):
        if "loss" in mine:
            assert mine["loss"] == pytest.approx(other["loss"], rel=1e-4)
            assert mine["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-4)
    weights = [load_file(tmp_path / n / "final" / "model.safetensors") for n in ("1", "2")]
    for name, tensor in weights[0].items():
        if not name.endswith("key.bias"):  # whose gradient is rounding, which AdamW makes steps of
            assert (tensor - weights[1][name]).abs().max().item() < 1e-5, name
