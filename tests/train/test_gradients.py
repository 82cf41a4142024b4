import os
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from everglade.train.batches import batch_at, read_rows
from everglade.train.config import TrainConfig
from everglade.train.gradients import accumulate_gradients, batch_loss
from everglade.train.losses import infonce, margin_mse
from everglade.train.regularizers import flops

CONFIG = TrainConfig(steps=10, batch_size=16, negatives_per_query=2, dropout=False)
LAMBDAS = (0.3, 0.2)


@pytest.fixture
def accelerator():
    from accelerate import Accelerator

    return Accelerator(cpu=True)


def gradient_of(model, training_set, config, accelerator):
    """The gradient, loss and activity of the first step; parameters that get none count as zero."""
    model.zero_grad()
    model.train(config.dropout)
    batch = batch_at(1, training_set, config)
    read = partial(read_rows, batch, training_set, model)
    loss, activity = accumulate_gradients(accelerator, model, batch, read, config, 1, LAMBDAS)
    return torch.cat([p.grad.flatten() for p in model.parameters()]), loss, activity


@pytest.mark.parametrize("kind", ["infonce", "margin_mse"])
@pytest.mark.parametrize("accumulation_steps", [1, 4, 16])
def test_the_gradient_is_that_of_one_big_batch(tiny, toy, accelerator, kind, accumulation_steps):
    training_set = toy[0]
    tiny.double()
    config = replace(CONFIG, loss=kind, accumulation_steps=accumulation_steps)
    found, loss, _ = gradient_of(tiny, training_set, config, accelerator)

    tiny.zero_grad()
    batch = batch_at(1, training_set, config)
    queries, documents = (tiny(*side) for side in read_rows(batch, training_set, tiny, range(16)))
    student = (queries.unsqueeze(1) * documents.view(16, 3, -1)).sum(-1)
    if kind == "infonce":
        ranking = infonce(student, queries @ documents[::3].T, torch.from_numpy(batch.relevant))
    else:
        ranking = margin_mse(student, torch.from_numpy(batch.teacher))
    penalty = (flops(documents[::3]) + flops(documents.view(16, 3, -1)[:, 1:].flatten(0, 1))) / 2
    expected = ranking + 0.3 * flops(queries) + 0.2 * penalty
    expected.backward()
    wanted = torch.cat([p.grad.flatten() for p in tiny.parameters()])
    assert wanted.abs().max() > 1e-2
    assert (found - wanted).abs().max() < 1e-12 * wanted.abs().max()
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_penalty_on_pieces_would_be_another_one(tiny, toy, accelerator):
    """The trap of the reference code: with FLOPS computed piece by piece the sum above would not hold."""
    batch = batch_at(1, toy[0], CONFIG)
    queries, _ = read_rows(batch, toy[0], tiny, range(16))
    whole = flops(tiny(*queries))
    pieces = torch.stack([flops(part) for part in tiny(*queries).split(4)]).mean()
    assert pieces > whole * 1.01


def test_dropout_masks_are_those_of_the_loss_when_texts_are_encoded_again(tiny, toy, accelerator):
    """With masks drawn anew the surrogate would not be the loss, and its slope not that of a finite difference."""
    config = replace(CONFIG, accumulation_steps=4, dropout=True, loss="margin_mse")
    tiny.double()
    found, loss, _ = gradient_of(tiny, toy[0], config, accelerator)
    bias = tiny.mlm.cls.predictions.bias
    place = int(bias.grad.abs().argmax())
    slope, step = bias.grad[place].item(), 1e-6
    with torch.no_grad():
        bias[place] += step
    _, moved, _ = gradient_of(tiny, toy[0], config, accelerator)
    assert (moved.total - loss.total).item() / step == pytest.approx(slope, rel=1e-3)
    without, _, _ = gradient_of(tiny, toy[0], replace(config, dropout=False), accelerator)
    assert (without - found).abs().max() > 1e-3


def test_lambda_zero_means_off(tiny, toy):
    batch = batch_at(1, toy[0], CONFIG)
    queries, documents = (tiny(*side) for side in read_rows(batch, toy[0], tiny, range(16)))
    loss = batch_loss(queries, documents, batch, "infonce", 0.0, 0.0)
    assert loss.total.equal(loss.ranking)
    assert loss.flops_q > 0


def test_without_negatives_only_positives_are_penalised(tiny, toy):
    batch = batch_at(1, toy[0], replace(CONFIG, negatives_per_query=0))
    queries, documents = (tiny(*side) for side in read_rows(batch, toy[0], tiny, range(16)))
    loss = batch_loss(queries, documents, batch, "infonce", 1.0, 1.0)
    assert loss.flops_d.equal(flops(documents))


TWO = """
import sys
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from safetensors.torch import load_file, save_file
from everglade.train.batches import Batch, Tokens
from everglade.train.config import TrainConfig
from everglade.train.gradients import accumulate_gradients, batch_loss

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.decoder = torch.nn.Embedding(20, 8), torch.nn.Linear(8, 20)
        self.register_buffer("places", torch.arange(4))
    def forward(self, input_ids, attention_mask, side):
        hidden = torch.tanh(self.table(input_ids) + self.table(self.places))
        return torch.log1p(torch.relu(self.decoder(hidden))).mul(attention_mask[..., None]).amax(1)

out = sys.argv[1]
torch.set_num_threads(1)
accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
assert accelerator.num_processes == 2
drawn = torch.randint(0, 20, (8, 4, 4), generator=torch.Generator().manual_seed(0))
ids = [(f"p{i}", f"n{i}", f"m{i}") for i in range(8)]
batch = Batch([f"q{i}" for i in range(8)], ids, None, torch.eye(8, dtype=torch.bool).numpy())

def read(rows):
    queries, documents = drawn[list(rows), 0], drawn[list(rows), 1:].flatten(0, 1)
    return Tokens(queries, torch.ones_like(queries)), Tokens(documents, torch.ones_like(documents))

gradients = {}
for accumulation_steps in (0, 1, 2):
    model = Encoder().double()
    if accumulation_steps == 0:
        queries, documents = (model(*side) for side in read(range(8)))
        batch_loss(queries, documents, batch, "infonce", 0.3, 0.2).total.backward()
    else:
        encoder = accelerator.prepare(model)
        config = TrainConfig(batch_size=8, negatives_per_query=2, accumulation_steps=accumulation_steps)
        accumulate_gradients(accelerator, encoder, batch, read, config, 1, (0.3, 0.2))
    gradients[str(accumulation_steps)] = torch.cat([p.grad.flatten() for p in model.parameters()])
save_file(gradients, f"{out}/{accelerator.process_index}.safetensors")
accelerator.end_training()
"""


def test_two_processes_have_the_gradient_of_one(tmp_path):
    from safetensors.torch import load_file

    (tmp_path / "two.py").write_text(TWO)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    base = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path), "ACCELERATE_USE_CPU": "true"}
    started = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**base, **{key: str(value) for key, value in place.items()}}
        command = [sys.executable, str(tmp_path / "two.py"), str(tmp_path)]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        _, complaint = process.communicate(timeout=120)
        assert process.returncode == 0, complaint[-3000:]
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        assert found["0"].abs().max() > 1e-2
        assert (found["1"] - found["0"]).abs().max() < 1e-12
        assert (found["2"] - found["0"]).abs().max() < 1e-12
