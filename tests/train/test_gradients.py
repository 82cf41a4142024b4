import os
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch

from everglade.train.batches import batch_at, read_rows
from everglade.train.config import TrainConfig
from everglade.train.gradients import accumulate_gradients, batch_loss
from everglade.train.losses import infonce, kl_divergence, margin_mse, pairwise_nll
from everglade.train.penalties import Penalties, count_idf
from everglade.train.regularizers import df_flops, flops, idf_flops, l1, only_dense
from everglade.train.sparsity import Sparsity

LAMBDAS = (0.3, 0.2)
CONFIG = TrainConfig(
    steps=10,
    batch_size=32,
    negatives_per_query=2,
    dropout=False,
    lambda_q=LAMBDAS[0],
    lambda_d=LAMBDAS[1],
    lambda_ramp_steps=0,
)
KINDS = ["flops", "l1", "df_flops", "idf_flops", "threshold"]


def with_penalty(config, kind):
    """The document side has the penalty, the query side another one."""
    if kind == "threshold":
        return replace(config, threshold_d=20, threshold_q=10)
    return replace(config, regularizer_d=kind, regularizer_q="flops" if kind != "flops" else "df_flops")


def gradient_of(model, training_set, config, accelerator):
    """The gradient and report of the first step; parameters that get none count as zero."""
    model.zero_grad()
    model.train(config.dropout)
    batch = batch_at(1, training_set, config)
    read = partial(read_rows, batch, training_set, model)
    sparsity = Sparsity(config, model.n_terms, count_idf(training_set, model))
    report = accumulate_gradients(accelerator, model, batch, read, config, 1, sparsity)
    return torch.cat([p.grad.flatten() for p in model.parameters()]), report


@pytest.fixture
def accelerator():
    from accelerate import Accelerator

    return Accelerator(cpu=True)


def whole_loss(model, training_set, config, lambdas=LAMBDAS):
    """The loss of one big batch, written out."""
    batch = batch_at(1, training_set, config)
    queries, documents = (model(*side) for side in read_rows(batch, training_set, model, range(config.batch_size)))
    student = (queries.unsqueeze(1) * documents.view(len(queries), 3, -1)).sum(-1)
    teacher = torch.from_numpy(batch.teacher)
    in_batch, relevant = queries @ documents[::3].T, torch.from_numpy(batch.relevant)
    ranking = {
        "infonce": lambda: infonce(student, in_batch, relevant),
        "pairwise_nll": lambda: pairwise_nll(student),
        "margin_mse": lambda: margin_mse(student, teacher),
        "kl": lambda: kl_divergence(student, teacher),
        "kl + 0.05 margin_mse": lambda: kl_divergence(student, teacher) + 0.05 * margin_mse(student, teacher),
    }[config.loss]()

    def penalty(kind, weights, whole, threshold):
        weights = only_dense(weights, threshold)
        return {
            "flops": lambda: flops(weights),
            "l1": lambda: l1(weights),
            "df_flops": lambda: df_flops(weights, (whole > 0).double().mean(dim=0)),
            "idf_flops": lambda: idf_flops(weights, count_idf(training_set, model)),
        }[kind]()

    parts = (documents[::3], documents.view(len(queries), 3, -1)[:, 1:].flatten(0, 1))
    on_queries = penalty(config.regularizer_q, queries, queries, config.threshold_q)
    on_documents = [penalty(config.regularizer_d, part, documents, config.threshold_d) for part in parts]
    return ranking + lambdas[0] * on_queries + lambdas[1] * sum(on_documents) / 2


@pytest.mark.parametrize(
    ("loss", "kind"),
    [
        *[(loss, "flops") for loss in ("infonce", "pairwise_nll", "margin_mse", "kl", "kl + 0.05 margin_mse")],
        *[("infonce", kind) for kind in KINDS[1:]],
    ],
)
def test_the_gradient_is_that_of_one_big_batch(tiny, toy, accelerator, loss, kind):
    """1 x 32, 4 x 8 and 32 x 1 have the gradient of the loss on all vectors."""
    training_set = toy[0]
    tiny.double()
    config = with_penalty(replace(CONFIG, loss=loss), kind)
    expected = whole_loss(tiny, training_set, config)
    tiny.zero_grad()
    expected.backward()
    wanted = torch.cat([p.grad.flatten() for p in tiny.parameters()])
    assert wanted.abs().max() > 1e-2
    for accumulation_steps in (1, 4, 32):
        cut = replace(config, accumulation_steps=accumulation_steps)
        found, report = gradient_of(tiny, training_set, cut, accelerator)
        assert (found - wanted).abs().max() < 1e-12 * wanted.abs().max()
        assert report.loss.total.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_side_without_parameters_needs_no_gradient(tiny, toy, accelerator):
    """Binary queries: what reaches the documents is the same as if queries had a gradient too."""
    import torch.nn as nn

    class Binary(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model, self.n_terms = model, model.n_terms

        def forward(self, input_ids, attention_mask, side):
            if side == "document":
                return self.model(input_ids, attention_mask, side)
            return torch.zeros(len(input_ids), self.n_terms).scatter(1, input_ids, 1.0)

    batch = batch_at(1, toy[0], CONFIG)
    read = partial(read_rows, batch, toy[0], tiny)
    encoder = Binary(tiny).eval()
    gradients = []
    for accumulation_steps in (1, 4):
        tiny.zero_grad()
        config = replace(CONFIG, accumulation_steps=accumulation_steps)
        report = accumulate_gradients(accelerator, encoder, batch, read, config, 1, Sparsity(config, tiny.n_terms))
        gradients.append(torch.cat([p.grad.flatten() for p in tiny.parameters()]))
    assert gradients[0].abs().max() > 1e-3
    assert (gradients[0] - gradients[1]).abs().max() < 1e-5 * gradients[0].abs().max()
    assert report.activity.query_terms > 2


def test_dropout_masks_are_those_of_the_loss_when_texts_are_encoded_again(tiny, toy, accelerator):
    """With masks drawn anew the surrogate would not be the loss, and its slope not that of a finite difference."""
    config = replace(CONFIG, batch_size=16, accumulation_steps=4, dropout=True, loss="margin_mse")
    tiny.double()
    found, report = gradient_of(tiny, toy[0], config, accelerator)
    bias = tiny.mlm.cls.predictions.bias
    place = int(bias.grad.abs().argmax())
    slope, step = bias.grad[place].item(), 1e-6
    with torch.no_grad():
        bias[place] += step
    _, moved = gradient_of(tiny, toy[0], config, accelerator)
    assert (moved.loss.total - report.loss.total).item() / step == pytest.approx(slope, rel=1e-3)
    without, _ = gradient_of(tiny, toy[0], replace(config, dropout=False), accelerator)
    assert (without - found).abs().max() > 1e-3


def test_lambda_zero_means_off(tiny, toy):
    batch = batch_at(1, toy[0], CONFIG)
    queries, documents = (tiny(*side) for side in read_rows(batch, toy[0], tiny, range(32)))
    loss = batch_loss(queries, documents, batch, CONFIG, Penalties(CONFIG, tiny.n_terms), (0.0, 0.0))
    assert loss.total.equal(loss.ranking)
    assert loss.penalty_q > 0


@pytest.mark.parametrize("lambdas", [(0.0, 0.0), (0.3, 0.0)])
def test_a_step_with_lambda_zero_has_the_gradient_without_that_penalty(tiny, toy, accelerator, lambdas):
    tiny.double()
    config = replace(CONFIG, lambda_q=lambdas[0], lambda_d=lambdas[1])
    found, _ = gradient_of(tiny, toy[0], config, accelerator)
    tiny.zero_grad()
    whole_loss(tiny, toy[0], config, lambdas).backward()
    wanted = torch.cat([p.grad.flatten() for p in tiny.parameters()])
    assert (found - wanted).abs().max() < 1e-12 * wanted.abs().max()


def test_without_negatives_only_positives_are_penalised(tiny, toy):
    batch = batch_at(1, toy[0], replace(CONFIG, negatives_per_query=0))
    queries, documents = (tiny(*side) for side in read_rows(batch, toy[0], tiny, range(32)))
    loss = batch_loss(queries, documents, batch, CONFIG, Penalties(CONFIG, tiny.n_terms), (1.0, 1.0))
    assert loss.penalty_d.equal(flops(documents))


TWO = """
import os
import sys
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from safetensors.torch import save_file
from everglade.train.batches import Batch, Tokens
from everglade.train.config import TrainConfig
from everglade.train.gradients import accumulate_gradients, batch_loss
from everglade.train.sparsity import Sparsity

class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.decoder = torch.nn.Embedding(20, 8), torch.nn.Linear(8, 20)
        self.register_buffer("places", torch.arange(4))
    def forward(self, input_ids, attention_mask, side="document"):
        hidden = torch.tanh(self.table(input_ids) + self.table(self.places))
        return torch.log1p(torch.relu(self.decoder(hidden))).mul(attention_mask[..., None]).amax(1)

out = sys.argv[1]
torch.set_num_threads(1)
accelerator = Accelerator(cpu=True, kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)])
assert accelerator.num_processes == 2
drawn = torch.randint(0, 20, (32, 4, 4), generator=torch.Generator().manual_seed(0))
teacher = torch.randn(32, 3, generator=torch.Generator().manual_seed(1)).double().numpy()
ids = [(f"p{i}", f"n{i}", f"m{i}") for i in range(32)]
batch = Batch([f"q{i}" for i in range(32)], ids, teacher, torch.eye(32, dtype=torch.bool).numpy())
idf = 1 + torch.rand(20, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

def read(rows):
    queries, documents = drawn[list(rows), 0], drawn[list(rows), 1:].flatten(0, 1)
    return Tokens(queries, torch.ones_like(queries)), Tokens(documents, torch.ones_like(documents))

gradients = {}
cases = [(loss, "flops", 0) for loss in ("infonce", "pairwise_nll", "margin_mse", "kl", "kl + 0.05 margin_mse")]
cases += [("infonce", kind, 0) for kind in ("l1", "df_flops", "idf_flops")] + [("infonce", "flops", 12)]
for loss, kind, threshold in cases:
    for accumulation_steps in (0, 1, 4):
        model = Encoder().double()
        config = TrainConfig(
            batch_size=32, negatives_per_query=2, accumulation_steps=max(accumulation_steps, 1), loss=loss,
            regularizer_q=kind, regularizer_d=kind, threshold_q=threshold, threshold_d=threshold,
            lambda_q=0.3, lambda_d=0.2, lambda_ramp_steps=0,
        )
        sparsity = Sparsity(config, 20, idf)
        if accumulation_steps == 0:
            queries, documents = (model(*side) for side in read(range(32)))
            sparsity.penalties.observe(queries, documents)
            batch_loss(queries, documents, batch, config, sparsity.penalties, (0.3, 0.2)).total.backward()
        else:
            accumulate_gradients(accelerator, accelerator.prepare(model), batch, read, config, 1, sparsity)
        name = f"{loss}/{kind}/{threshold}/{accumulation_steps}"
        gradients[name] = torch.cat([p.grad.flatten() for p in model.parameters()])
save_file(gradients, f"{out}/{accelerator.process_index}.safetensors")
accelerator.wait_for_everyone()
accelerator.end_training()
os._exit(0)  # gloo's threads may still run, and the interpreter would abort when it takes them down
"""


def test_two_processes_have_the_gradient_of_one(tmp_path):
    """2 processes x 16, and 2 x 4 pieces x 4, have the gradient of the loss on all vectors: every loss and penalty."""
    from safetensors.torch import load_file

    (tmp_path / "two.py").write_text(TWO)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    paths = os.pathsep.join(sys.path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [sys.executable, *launcher, str(tmp_path / "two.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for rank in range(2):
        found = load_file(tmp_path / f"{rank}.safetensors")
        cases = {name.rpartition("/")[0] for name in found}
        assert len(cases) == 9
        for case in cases:
            wanted = found[f"{case}/0"]
            assert wanted.abs().max() > 1e-2
            assert (found[f"{case}/1"] - wanted).abs().max() < 1e-12 * max(1, wanted.abs().max())
            assert (found[f"{case}/4"] - wanted).abs().max() < 1e-12 * max(1, wanted.abs().max())
