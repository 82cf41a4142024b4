"""Tiny masked language models of four families over one small vocabulary, and documents that repeat themselves."""

import random
import string

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

FAMILIES = ("bert", "distilbert", "roberta", "modernbert")
WORDS = tuple("sun river glade moss heron otter fern rain warm cold swim fly grow the of in over".split())  # noqa: SIM905
POSITIONS = 40


@pytest.fixture(autouse=True, scope="module")
def _quick(one_thread, no_waiting_for_the_disk):
    """Every test of this folder runs on one thread and does not wait for the disk."""


def make_tokenizer(**changes):
    import transformers

    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*specials, *WORDS, *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), ",", "."]
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(tokens)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=backend, **{**names, **changes})


def make_mlm(family, layers=2, width=24):
    import transformers

    size = {"vocab_size": 80, "pad_token_id": 0}
    usual = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 48}
    if family == "bert":
        config = transformers.BertConfig(**size, **usual, max_position_embeddings=POSITIONS)
        mlm = transformers.BertForMaskedLM(config)
    elif family == "distilbert":
        config = transformers.DistilBertConfig(
            **size, dim=width, n_layers=layers, n_heads=2, hidden_dim=48, max_position_embeddings=POSITIONS
        )
        mlm = transformers.DistilBertForMaskedLM(config)
    elif family == "roberta":
        config = transformers.RobertaConfig(**size, **usual, max_position_embeddings=POSITIONS + 1)
        mlm = transformers.RobertaForMaskedLM(config)
    else:
        marks = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
        config = transformers.ModernBertConfig(
            **size, **usual, **marks, max_position_embeddings=POSITIONS, local_attention=8
        )
        mlm = transformers.ModernBertForMaskedLM(config)
    draw = torch.Generator().manual_seed(FAMILIES.index(family))
    with torch.no_grad():
        for parameter in mlm.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.1, generator=draw)
    return mlm.eval()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A plain masked language model folder for each family, as transformers itself writes it."""
    found = {}
    for family in FAMILIES:
        found[family] = tmp_path_factory.mktemp("pretrain") / family
        make_mlm(family).save_pretrained(found[family])
        make_tokenizer().save_pretrained(found[family])
    return found


@pytest.fixture(params=FAMILIES)
def folder(request, folders):
    return folders[request.param]


@pytest.fixture
def bert_folder(folders):
    return folders["bert"]


@pytest.fixture(scope="session")
def documents():
    """Sixty documents of 20 to 60 words; each keeps to three words of its own and the small ones between them."""
    draw = random.Random(3)
    found = {}
    for number in range(60):
        own = draw.sample(WORDS[:12], 3)
        words = [draw.choice(own) if draw.random() < 0.7 else draw.choice(WORDS[12:]) for _ in range(20 + number % 40)]
        found[f"d{number:02d}"] = " ".join(words)
    return found
