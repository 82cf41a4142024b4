"""The files of a model folder: what can be opened, what is refused and why, and what is written.

Written is one folder that many tools open::

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json ...   a plain masked language model
    modules.json  sentence_bert_config.json  config_sentence_transformers.json
    1_SpladePooling/config.json                                                 the same, for sentence-transformers
    splade_config.json                                                          `SpladeSettings`
    README.md                                                                   the model card

The sentence-transformers files are spelled as its version 5.0.0 spelled them, because later versions read that too.
Weights are read from safetensors only, and code that lies in a model folder is never run.
"""

from __future__ import annotations

import copy
import inspect
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.errors import MissingExtra, ModelError
from everglade.model.settings import USUAL_LENGTH, SpladeSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = [
    "ModelFolder",
    "describe_model",
    "load_parts",
    "read_folder",
    "read_tokenizer_files",
    "write_folder",
]

FORMAT = "everglade-splade"
VERSION = 1

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "bpe.codes",
    "sentencepiece.bpe.model",
    "spiece.model",
    "tokenizer.model",
)
# One of these must be there: without them some versions of transformers make up an empty tokenizer.
_VOCABULARIES = frozenset(TOKENIZER_FILES) - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}
# Heads beside the masked language model that common checkpoints carry and that no vector depends on.
_SPARE_WEIGHTS = ("pooler", "seq_relationship", "position_ids")
_UNLIMITED = 10**6


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """What a model folder says of itself.

    Attributes:
        path: Where config.json and the weights lie; in a sentence-transformers folder this may be a folder inside.
        settings: What the folder fixes, in the words of `SpladeSettings`.
        usual_length: Longest text in tokens where `settings` fixes none, to be capped by what the backbone takes.
        lower_case: Whether texts must be lower-cased, which the tokenizer has to do.
    """

    path: Path
    settings: dict[str, Any]
    usual_length: int
    lower_case: bool = False


def read_folder(path: Path) -> ModelFolder:
    """Read what a folder says of itself: an Everglade, a sentence-transformers or a plain masked language model folder.

    Raises:
        ModelError: if it is none of them, holds another kind of model, or could only be opened by running its code.
    """
    if (path / "modules.json").exists():
        folder = _read_sentence_transformers(path)
    else:
        folder = ModelFolder(path, {}, min(USUAL_LENGTH, _tokenizer_length(path)))
    if (path / "splade_config.json").exists():
        folder = ModelFolder(folder.path, _read_settings(path / "splade_config.json"), folder.usual_length)
    _check_architecture(folder.path)
    _check_files(folder.path)
    return folder


def describe_model(path: str | Path) -> dict[str, Any]:
    """Say what a model folder holds, without loading the model: plain JSON values.

    Raises:
        ModelError: if Everglade would refuse to open it.
    """
    folder = read_folder(Path(path))
    config = _read_json(folder.path / "config.json")
    length = None if folder.usual_length == _UNLIMITED else folder.usual_length
    return {
        "architecture": config["architectures"][0],
        "n_terms": config.get("vocab_size"),
        "weights": config.get("dtype") or config.get("torch_dtype"),
        "size_bytes": sum(file.stat().st_size for file in folder.path.glob("*.safetensors")),
        "max_query_length": length,
        "max_document_length": length,
        **folder.settings,
    }


def _read_settings(file: Path) -> dict[str, Any]:
    values = _read_json(file)
    kind, version = values.pop("format", None), values.pop("version", None)
    if kind != FORMAT or not isinstance(version, int):
        raise ModelError(f"{file} does not say that it is {FORMAT}: it was not written by Everglade.")
    if version > VERSION:
        raise ModelError(f"{file} is of version {version}; this Everglade reads up to {VERSION}. Install a newer one.")
    return SpladeSettings.from_dict(values).to_dict()


def _read_sentence_transformers(path: Path) -> ModelFolder:
    modules = _read_json(path / "modules.json", kind=list)
    if not all(isinstance(module, dict) and {"type", "path"} <= set(module) for module in modules):
        raise ModelError(f"{path / 'modules.json'} does not hold what it should: modules, each with a type and a path.")
    kinds = [str(module["type"]).rpartition(".")[2] for module in modules]
    foreign = [str(module["type"]) for module in modules if not module["type"].startswith("sentence_transformers.")]
    if foreign:
        raise ModelError(f"{path} needs the code of {', '.join(foreign)}; Everglade runs no code from model folders.")
    _check_kinds(path, kinds)
    backbone, pooling = path / modules[0]["path"], _read_json(path / modules[1]["path"] / "config.json")
    reading: dict[str, Any] = next(map(_read_json, sorted(backbone.glob("sentence_*_config.json"))), {})
    if kinds[0] == "Transformer" and reading.get("transformer_task") != "fill-mask":
        raise ModelError(
            f"{path} uses its transformer for {reading.get('transformer_task')}, not as a masked language model."
        )
    prompts = (_read_json(path / "config_sentence_transformers.json", missing={}).get("prompts")) or {}
    settings = {
        "pooling": pooling.get("pooling_strategy", "max"),
        "activation": pooling.get("activation_function", "relu"),
        "query_prefix": prompts.get("query") or "",
        "document_prefix": prompts.get("document") or "",
    }
    for side in ("query", "document"):
        if reading.get(f"{side}_length"):
            settings[f"max_{side}_length"] = reading[f"{side}_length"]
    length = reading.get("max_seq_length") or _tokenizer_length(backbone)
    return ModelFolder(backbone, settings, length, lower_case=bool(reading.get("do_lower_case")))


def _check_kinds(path: Path, kinds: list[str]) -> None:
    if len(kinds) == 2 and kinds[0] in ("Transformer", "MLMTransformer") and kinds[1] == "SpladePooling":
        return
    if "Router" in kinds or "Asym" in kinds:
        what = "a Router model, with separate encoders for queries and documents"
    elif "SparseAutoEncoder" in kinds:
        what = "a CSR model (a dense model with a sparse autoencoder), not SPLADE"
    elif "SpladePooling" in kinds:
        what = f"a SPLADE model with modules that Everglade does not know ({', '.join(kinds)})"
    else:
        what = f"another kind of sentence-transformers model ({', '.join(kinds)}), not SPLADE"
    raise ModelError(f"{path} is {what}. Everglade opens a masked language model with SpladePooling.")


def _check_architecture(path: Path) -> None:
    config = _read_json(path / "config.json")
    architectures = config.get("architectures") or []
    if "auto_map" in config or "auto_map" in _read_json(path / "tokenizer_config.json", missing={}):
        raise ModelError(
            f"{path} needs Python code that lies in the model's folder (auto_map); Everglade never runs such code. "
            f"Use a model whose architecture is part of transformers."
        )
    if not any(str(name).endswith("ForMaskedLM") for name in architectures):
        raise ModelError(
            f"{path / 'config.json'} names the architecture {', '.join(architectures) or 'none'}, and SPLADE needs a "
            f"masked language model (...ForMaskedLM). Without its trained head the terms would be noise."
        )


def _check_files(path: Path) -> None:
    if not any((path / name).exists() for name in ("model.safetensors", "model.safetensors.index.json")):
        if any(path.glob("*.bin")) or any(path.glob("*.pt")):
            raise ModelError(
                f"{path} has its weights as a pickle only, which could run code when opened. Convert it once where you "
                f"trust it: AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(folder) writes safetensors."
            )
        raise ModelError(f"{path} has no weights: model.safetensors is missing.")
    if not any((path / name).exists() for name in _VOCABULARIES):
        raise ModelError(f"{path} has no tokenizer: copy tokenizer.json and tokenizer_config.json of the model there.")


def _tokenizer_length(path: Path) -> int:
    length = _read_json(path / "tokenizer_config.json", missing={}).get("model_max_length")
    return int(length) if isinstance(length, int | float) and 0 < length < _UNLIMITED else _UNLIMITED


def _read_json(file: Path, *, missing: Any = None, kind: type = dict) -> Any:  # noqa: ANN401 - any JSON value
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is not None:
            return missing
        raise ModelError(f"{file} is missing: {file.parent} is not a model folder that Everglade can open.") from None
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read as JSON ({error}). Fetch or save the model again.") from error
    if not isinstance(value, kind):
        raise ModelError(f"{file} does not hold what it should, a JSON {kind.__name__}. Fetch or save the model again.")
    return value


def load_parts(folder: ModelFolder, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the masked language model and the tokenizer of a folder, every weight from its file.

    Raises:
        ModelError: if weights or tokenizer cannot be read, do not fit the architecture, or are not all there.
        MissingExtra: if transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "encode") from error
    source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with _quiet_transformers():
        try:
            mlm, info = transformers.AutoModelForMaskedLM.from_pretrained(
                folder.path, dtype=dtype, use_safetensors=True, output_loading_info=True, **source
            )
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder.path, **source)
        except Exception as error:
            # Never swallowed; not narrower, because tokenizers raises Exception itself at a tokenizer it cannot read.
            raise ModelError(f"{folder.path} cannot be opened by transformers: {error}") from error
    _check_weights(folder.path, info)
    _check_lower_case(folder, tokenizer)
    return mlm, tokenizer


def _check_weights(path: Path, info: Mapping[str, Any]) -> None:
    missing = sorted(info["missing_keys"])
    spare = sorted(key for key in info["unexpected_keys"] if not any(word in key for word in _SPARE_WEIGHTS))
    if missing:
        raise ModelError(
            f"{path} lacks {len(missing)} weights of its architecture ({', '.join(missing[:3])}...): they would be "
            f"random. It is probably a model without its masked language head; use a ...ForMaskedLM checkpoint."
        )
    if spare or info["mismatched_keys"]:
        names = ", ".join(spare[:3]) or info["mismatched_keys"]
        raise ModelError(f"{path} has weights that do not fit its architecture ({names}). Check its config.json.")


def _check_lower_case(folder: ModelFolder, tokenizer: PreTrainedTokenizerBase) -> None:
    if folder.lower_case and tokenizer.tokenize("A") != tokenizer.tokenize("a"):
        raise ModelError(
            f"{folder.path} asks for lower-cased texts (do_lower_case), but its tokenizer keeps upper case. "
            f"Put a Lowercase normalizer into its tokenizer.json and set do_lower_case to false."
        )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing progress bars and reports: what matters of them becomes a `ModelError`."""
    import transformers

    logging: Any = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def read_tokenizer_files(tokenizer: PreTrainedTokenizerBase, path: Path | None = None) -> dict[str, bytes]:
    """Give the files of a tokenizer, name to content: those in `path` as they are, else as transformers writes them."""
    files: dict[str, bytes] = {}
    if path is not None:
        files = {name: (path / name).read_bytes() for name in TOKENIZER_FILES if (path / name).exists()}
    if "tokenizer.json" not in files:
        with tempfile.TemporaryDirectory() as folder:
            tokenizer.save_pretrained(folder)
            written = {name: Path(folder, name) for name in TOKENIZER_FILES}
            files = {name: file.read_bytes() for name, file in written.items() if file.exists()} | files
    return files


def write_folder(
    path: Path,
    mlm: PreTrainedModel,
    tokenizer_files: Mapping[str, bytes],
    settings: SpladeSettings,
    *,
    card: str,
    dtype: torch.dtype,
) -> None:
    """Write a model folder that Everglade, transformers and sentence-transformers open, whole or not at all.

    Raises:
        ModelError: if something that is not an empty folder is there already, or `dtype` cannot hold a weight.
    """
    from everglade.model.backbone import find_decoder

    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ModelError(f"{path} exists already. Remove it or save the model to another folder.")
    partial = path.with_name(path.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    _save_weights(partial, mlm, dtype)
    for name, content in tokenizer_files.items():
        (partial / name).write_bytes(_portable(content, mlm) if name == "tokenizer_config.json" else content)
    for name, value in _sentence_transformers_files(settings, find_decoder(mlm).out_features).items():
        (partial / name).parent.mkdir(exist_ok=True)
        durable.write_json(partial / name, value)
    durable.write_json(partial / "splade_config.json", {"format": FORMAT, "version": VERSION, **settings.to_dict()})
    (partial / "README.md").write_text(card, encoding="utf-8")
    durable.publish_folder(partial, path)


def _save_weights(path: Path, mlm: PreTrainedModel, dtype: torch.dtype) -> None:
    import torch

    for name, tensor in mlm.named_parameters():
        if not torch.isfinite(tensor.detach().to(dtype)).all():
            raise ModelError(f"the weight {name} has values that are not finite as {dtype}. Save it as float32.")
    same = all(tensor.dtype == dtype for tensor in mlm.parameters())
    with _quiet_transformers():
        stored: Any = mlm if same else copy.deepcopy(mlm)
        stored.to(dtype).save_pretrained(path)
    config = _read_json(path / "config.json")
    if config["model_type"] == "modernbert" and "rope_parameters" in config:
        durable.write_json(path / "config.json", config | _modernbert_for_transformers_4(config))
    for file in path.glob("*.safetensors"):
        file.chmod((path / "config.json").stat().st_mode)  # transformers lets only the owner read it


def _modernbert_for_transformers_4(config: dict[str, Any]) -> dict[str, Any]:
    """Give the keys by which transformers 4 knows a ModernBERT's attention; without them it assumes its defaults."""
    layers, rope = config["layer_types"], config["rope_parameters"]
    again = layers[1:].index("full_attention") + 1 if "full_attention" in layers[1:] else len(layers)
    return {
        "global_attn_every_n_layers": again,
        "global_rope_theta": rope["full_attention"]["rope_theta"],
        "local_rope_theta": rope["sliding_attention"]["rope_theta"],
    }


def _portable(tokenizer_config: bytes, mlm: PreTrainedModel) -> bytes:
    """Say what only transformers 5 understands or infers in the words that transformers 4 and 5 share."""
    values = json.loads(tokenizer_config)
    if values.get("tokenizer_class") == "TokenizersBackend":
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(values.get("extra_special_tokens"), list):
        values["additional_special_tokens"] = values.pop("extra_special_tokens")
    if "token_type_ids" not in inspect.signature(mlm.forward).parameters:
        values.setdefault("model_input_names", ["input_ids", "attention_mask"])
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _sentence_transformers_files(settings: SpladeSettings, n_terms: int) -> dict[str, Any]:
    models = "sentence_transformers.sparse_encoder.models"
    return {
        "modules.json": [
            {"idx": 0, "name": "0", "path": "", "type": f"{models}.MLMTransformer"},
            {"idx": 1, "name": "1", "path": "1_SpladePooling", "type": f"{models}.SpladePooling"},
        ],
        "sentence_bert_config.json": {"max_seq_length": settings.max_document_length, "do_lower_case": False},
        "1_SpladePooling/config.json": {
            "pooling_strategy": settings.pooling,
            "activation_function": settings.activation,
            "word_embedding_dimension": n_terms,
        },
        "config_sentence_transformers.json": {
            "model_type": "SparseEncoder",
            # The oldest version that can read this folder; a reader warns when it is older than what stands here.
            "__version__": {"sentence_transformers": "5.0.0"},
            "prompts": {"query": settings.query_prefix, "document": settings.document_prefix},
            "default_prompt_name": None,
            "similarity_fn_name": "dot",
        },
    }
