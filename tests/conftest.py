"""What several areas of the tests share."""

import os
from pathlib import Path

import pytest

from everglade import durable

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real collections and vectors, which is not part of the package."""
    folder = Path(os.environ.get("EVERGLADE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set EVERGLADE_DATA to its folder")
    return folder


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    """No test asks a hub for anything."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="module")
def one_thread():
    """Matrices of a tiny model are no work to share."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def no_waiting_for_the_disk():
    """Files are written, named and renamed in the same order as ever; they only need not outlive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durable, "sync_file", lambda path: None)
        patch.setattr(durable, "sync_folder", lambda path: None)
        yield


@pytest.fixture(scope="session")
def word_tokenizer():
    """Makes a tokenizer that divides at spaces and knows BERT's special tokens, then some words."""
    return _word_tokenizer


def _word_tokenizer(words, **settings):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(known)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names, **settings)


@pytest.fixture(scope="session")
def write_tiny():
    """Writes an untrained BERT of two layers that knows some words, and gives its folder."""
    return _write_tiny


def _write_tiny(words, folder):
    import torch
    from transformers import BertConfig, BertForMaskedLM

    from everglade.model.settings import SpladeSettings
    from everglade.model.splade import Splade

    tokenizer = _word_tokenizer(words)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
    )
    Splade(BertForMaskedLM(config), tokenizer, SpladeSettings(32, 32), name="tiny").save(folder)
    return folder
