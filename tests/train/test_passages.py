"""Documents in passages: a step's loss and gradient are those of the definition, however the batch is cut.

test_processes.py has two processes read passages.
"""

from dataclasses import replace
from functools import partial

import pytest
import torch

from everglade.model.splade import Splade
from everglade.train.batches import batch_at, read_rows
from everglade.train.config import TrainConfig
from everglade.train.gradients import accumulate_gradients
from everglade.train.loop import train
from everglade.train.losses import infonce
from everglade.train.penalties import count_idf
from everglade.train.regularizers import flops
from everglade.train.sparsity import Sparsity

CONFIG = TrainConfig(
    steps=4,
    batch_size=16,
    negatives_per_query=2,
    dropout=False,
    learning_rate=3e-3,
    lambda_q=0.3,
    lambda_d=0.2,
    lambda_ramp_steps=0,
    max_query_length=16,
    max_document_length=5,
    checkpoint_every=2,
)
PASSAGES = {"passages": 2, "passage_overlap": 1, "document_prefix": "tell0 "}


@pytest.fixture
def cut(tiny):
    """A model that reads three words as two passages of two, each after the prefix."""
    tiny.settings = replace(tiny.settings, max_document_length=CONFIG.max_document_length, **PASSAGES)
    return tiny


def naive_gradient(model, training_set):
    """The loss of the whole batch written out: each passage alone through the model, their maximum, InfoNCE, FLOPS."""
    batch = batch_at(1, training_set, CONFIG)
    tokens = model.tokenizer.get_vocab()

    def encode(words):
        ids = torch.tensor([[tokens["[CLS]"], *(tokens[word] for word in words), tokens["[SEP]"]]])
        return model(ids, torch.ones_like(ids))[0]

    def document(words):
        assert len(words) == 3
        return torch.stack([encode(["tell0", *words[:2]]), encode(["tell0", *words[1:]])]).max(dim=0).values

    queries = torch.stack([encode(training_set.queries[i].split()) for i in batch.query_ids])
    documents = torch.stack([document(training_set.documents[i].split()) for ids in batch.document_ids for i in ids])
    grouped = documents.view(len(queries), 3, -1)
    student = (queries.unsqueeze(1) * grouped).sum(-1)
    ranking = infonce(student, queries @ documents[::3].T, torch.from_numpy(batch.relevant))
    penalty = (flops(grouped[:, 0]) + flops(grouped[:, 1:].flatten(0, 1))) / 2
    loss = ranking + CONFIG.lambda_q * flops(queries) + CONFIG.lambda_d * penalty
    model.zero_grad()
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_gradient_is_that_of_one_big_batch(cut, toy):
    from accelerate import Accelerator

    cut.double()
    loss, wanted = naive_gradient(cut, toy[0])
    assert wanted.abs().max() > 1e-2
    batch = batch_at(1, toy[0], CONFIG)
    for accumulation_steps in (1, 4, 16):
        config = replace(CONFIG, accumulation_steps=accumulation_steps)
        cut.zero_grad()
        read = partial(read_rows, batch, toy[0], cut)
        assert read(range(2))[1].input_ids.shape == (6, 2, 5)
        report = accumulate_gradients(
            Accelerator(cpu=True), cut.eval(), batch, read, config, 1, Sparsity(config, cut.n_terms)
        )
        found = torch.cat([p.grad.flatten() for p in cut.parameters()])
        assert (found - wanted).abs().max() < 1e-12 * wanted.abs().max()
        assert report.loss.total.item() == pytest.approx(loss, rel=1e-12)


def test_document_frequencies_count_every_passage(cut, toy):
    whole = Splade.load(cut.name)
    whole.settings = replace(whole.settings, document_prefix="tell0 ")
    assert count_idf(toy[0], cut).equal(count_idf(toy[0], whole))


def test_a_run_keeps_how_documents_are_read_and_goes_on_bit_for_bit(tiny_folder, toy, tmp_path):
    def stop(progress):
        if progress.done == 3 * CONFIG.batch_size:
            raise TimeoutError

    def run(name, progress=None):
        train(CONFIG, Splade.load(tiny_folder, **PASSAGES), toy[0], tmp_path / name, progress=progress)

    run("whole")
    with pytest.raises(TimeoutError):
        run("stopped", stop)
    run("stopped")
    whole, stopped = (Splade.load(tmp_path / name / "final") for name in ("whole", "stopped"))
    assert (whole.settings.passages, whole.settings.passage_overlap, whole.settings.max_document_length) == (2, 1, 5)
    assert whole.settings.document_prefix == "tell0 "
    assert whole.fingerprint == stopped.fingerprint
