"""Tiny random language models, four masked families and two decoders, saved as plain folders by transformers alone."""

from __future__ import annotations

import string
import warnings
from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

FAMILIES = ("bert", "distilbert", "roberta", "modernbert")
DECODERS = ("llama", "qwen2")
WORDS = tuple("sun river glade moss heron otter fern rain warm cold swim fly grow the of in over".split())  # noqa: SIM905
POSITIONS = 32

TEXTS = [
    "The heron swims in the cold river",
    "otter",
    "",
    "Rain, rain over moss and fern; 42 suns!",
    " ".join(WORDS * 9),
    "  \n ",
    "naïve glade 北京",
    "sun sun sun sun of the warm warm rain grow",
]


def word_pieces():
    """A lower-casing WordPiece tokenizer as BERT's, with padding as token 0."""
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens = [*specials, *WORDS, *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), ",", ".", "##s"]
    backend = Tokenizer(
        models.WordPiece({token: i for i, token in enumerate(dict.fromkeys(tokens))}, unk_token="[UNK]")
    )
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return backend, dict(zip(("pad", "unk", "cls", "sep", "mask"), specials, strict=True))


def byte_pairs(specials, names):
    """A case-keeping byte-level tokenizer, as RoBERTa's and ModernBERT's; `names` says which special token is which."""
    letters = [*string.ascii_letters, *string.digits, ",", ".", "Ġ", "h", "e"]
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("e", "r")]
    tokens = dict.fromkeys([*specials, *letters, *("".join(pair) for pair in merges)])
    vocabulary = {token: i for i, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocabulary, merges, unk_token=names["unk"]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    first, last = names["cls"], names["sep"]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} $B {last}",
        special_tokens=[(first, vocabulary[first]), (last, vocabulary[last])],
    )
    return backend, names


def make_tokenizer(family):
    import transformers

    if family in ("bert", "distilbert"):
        backend, names = word_pieces()
    elif family == "roberta":
        names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
        backend, names = byte_pairs(list(names.values()), names)
        names = {**names, "bos": "<s>", "eos": "</s>"}
    else:
        specials = ["<|end|>", "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
        backend, names = byte_pairs(
            specials, {name: f"[{name.upper()}]" for name in ("unk", "cls", "sep", "pad", "mask")}
        )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=POSITIONS,
        **{f"{name}_token": token for name, token in names.items()},
    )


def make_mlm(family, tokenizer):
    import transformers

    size = {"vocab_size": len(tokenizer) + 3, "pad_token_id": tokenizer.pad_token_id}
    usual = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    if family == "bert":
        config = transformers.BertConfig(**size, **usual, max_position_embeddings=POSITIONS)
        mlm = transformers.BertForMaskedLM(config)
    elif family == "distilbert":
        config = transformers.DistilBertConfig(
            **size, dim=24, n_layers=2, n_heads=2, hidden_dim=32, max_position_embeddings=POSITIONS
        )
        mlm = transformers.DistilBertForMaskedLM(config)
    elif family == "roberta":
        # Its positions are counted from the one after padding, token 1.
        config = transformers.RobertaConfig(**size, **usual, max_position_embeddings=POSITIONS + 2)
        mlm = transformers.RobertaForMaskedLM(config)
    else:
        marks = {"bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
        config = transformers.ModernBertConfig(
            **size, **usual, **marks, max_position_embeddings=POSITIONS, local_attention=8
        )
        mlm = transformers.ModernBertForMaskedLM(config)
    random = torch.Generator().manual_seed(FAMILIES.index(family))
    with torch.no_grad():
        # Freshly made weights are so small that all terms would weigh the same.
        for parameter in mlm.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15, generator=random)
        mlm.get_output_embeddings().bias.normal_(-0.5, 0.5, generator=random)
    return mlm.eval()


def make_decoder_tokenizer(family):
    """Llama's begins a text with <s> and has no padding; Qwen's puts nothing around a text and pads on the left."""
    import transformers

    names = {"cls": "<s>", "sep": "</s>", "unk": "<unk>"}
    backend, _ = byte_pairs(list(names.values()), names)
    if family == "llama":
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", model_max_length=POSITIONS
        )
    backend.post_processor = processors.ByteLevel()
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="</s>", pad_token="</s>", padding_side="left", model_max_length=POSITIONS
    )


def make_decoder(family, tokenizer):
    """Llama's output weights are its own, Qwen's are those of its input; one of Qwen's layers has a window."""
    import transformers

    size = {
        "vocab_size": len(tokenizer) + 5,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 2 * POSITIONS,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    if family == "llama":
        mlm = transformers.LlamaForCausalLM(transformers.LlamaConfig(**size, tie_word_embeddings=False))
    else:
        window = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
        mlm = transformers.Qwen2ForCausalLM(transformers.Qwen2Config(**size, **window, tie_word_embeddings=True))
    random = torch.Generator().manual_seed(DECODERS.index(family))
    with torch.no_grad():
        for parameter in mlm.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.2, generator=random)
    return mlm.eval()


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Models this small only wait for each other on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def mlm_folders(tmp_path_factory):
    """A plain masked language model folder for each family, as transformers itself writes it."""
    folders = {}
    for family in FAMILIES:
        folders[family] = tmp_path_factory.mktemp("mlm") / family
        tokenizer = make_tokenizer(family)
        make_mlm(family, tokenizer).save_pretrained(folders[family])
        tokenizer.save_pretrained(folders[family])
    return folders


@pytest.fixture(scope="session")
def decoder_folders(tmp_path_factory):
    """A plain folder for each decoder, as transformers itself writes it."""
    folders = {}
    for family in DECODERS:
        folders[family] = tmp_path_factory.mktemp("decoder") / family
        tokenizer = make_decoder_tokenizer(family)
        make_decoder(family, tokenizer).save_pretrained(folders[family])
        tokenizer.save_pretrained(folders[family])
    return folders


@pytest.fixture(params=DECODERS)
def decoder_folder(request, decoder_folders):
    return decoder_folders[request.param]


@pytest.fixture(params=FAMILIES)
def mlm_folder(request, mlm_folders):
    return mlm_folders[request.param]


@pytest.fixture
def bert_folder(mlm_folders):
    return mlm_folders["bert"]


@pytest.fixture
def bert(bert_folder):
    from everglade.model.splade import Splade

    return Splade.load(bert_folder)


@pytest.fixture(scope="session")
def sentence_transformers():
    """The package; its import warns of things that are not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers
        from sentence_transformers.sparse_encoder import modules

    names = ("Router", "SparseStaticEmbedding", "SpladePooling", "Transformer")
    found = {name: getattr(modules, name) for name in names}
    return SimpleNamespace(SparseEncoder=sentence_transformers.SparseEncoder, **found)


@pytest.fixture
def texts():
    return list(TEXTS)
