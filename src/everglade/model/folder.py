"""What a model folder is: read, described, or refused with the reason.

An Everglade folder with one encoder for both sides::

    config.json  model.safetensors  tokenizer.json  tokenizer_config.json ...   a plain language model
    modules.json  sentence_bert_config.json  config_sentence_transformers.json
    1_SpladePooling/config.json                                                 the same, for sentence-transformers
    splade_config.json                                                          `SpladeSettings`
    README.md                                                                   the model card

With a query encoder of its own the folder is a Router (see `router.py`) with splade_config.json at its root. Code that
lies in a model folder is never run.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from everglade.errors import ModelError
from everglade.model.files import TOKENIZER_FILES, UNLIMITED, ModelFolder, QueryFolder, read_json, tokenizer_length
from everglade.model.router import DOCUMENT_FOLDER, QUERY_FOLDER, TABLE_FOLDER, read_sentence_transformers
from everglade.model.settings import READINGS, USUAL_LENGTH, SpladeSettings

__all__ = ["FORMAT", "VERSION", "describe_model", "is_decoder", "read_folder"]

FORMAT = "everglade-splade"
VERSION = 1

# One of these must be there: without them some versions of transformers make up an empty tokenizer.
_VOCABULARIES = frozenset(TOKENIZER_FILES) - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}


def read_folder(path: Path, reading: str | None = None) -> ModelFolder:
    """Read what a folder says of itself: an Everglade, a sentence-transformers or a plain language model folder.

    Args:
        path: The folder.
        reading: The setting of that name, if given from outside: a decoder is refused without one.

    Raises:
        ModelError: if it is none of them, holds another kind of model, or could only be opened by running its code.
    """
    own = _read_own(path) if (path / "splade_config.json").exists() else None
    if own is not None and own.query is not None:
        folder = own
    elif (path / "modules.json").exists():
        folder = read_sentence_transformers(path)
    else:
        folder = _read_plain(path)
    if own is not None and folder is not own:
        folder = ModelFolder(folder.path, own.settings, folder.usual_length, query=folder.query)
    _check_architecture(folder.path, reading or folder.settings.get("reading"))
    _check_files(folder.path)
    if folder.query is not None and folder.query.model is not None:
        _check_architecture(folder.query.model.path, folder.query.model.settings.get("reading"))
        _check_files(folder.query.model.path)
    return folder


def describe_model(path: str | Path) -> dict[str, Any]:
    """Say what a model folder holds, without loading the model: plain JSON values.

    Raises:
        ModelError: if Everglade would refuse to open it.
    """
    folder = read_folder(Path(path))
    config = read_json(folder.path / "config.json")
    length = None if folder.usual_length == UNLIMITED else folder.usual_length
    paths = {folder.path} if folder.query is None else {folder.path, folder.query.path}
    return {
        "architecture": config["architectures"][0],
        "query_encoder": _describe_query(folder.query),
        "n_terms": config.get("vocab_size"),
        "weights": config.get("dtype") or config.get("torch_dtype"),
        "size_bytes": sum(file.stat().st_size for path in paths for file in path.glob("*.safetensors")),
        "max_query_length": length,
        "max_document_length": length,
        **folder.settings,
    }


def is_decoder(path: Path) -> bool:
    """Say whether the folder holds a decoder, `...ForCausalLM`."""
    return any(str(name).endswith("ForCausalLM") for name in read_json(path / "config.json").get("architectures") or [])


def _describe_query(query: QueryFolder | None) -> str:
    if query is None:
        return "shared"
    if query.kind == "static":
        return "static, learned" if query.learned else "static, fixed"
    if query.model is None:
        return query.kind
    return f"separate, {read_json(query.model.path / 'config.json')['architectures'][0]}"


def _read_plain(path: Path) -> ModelFolder:
    folder = ModelFolder(path, {}, min(USUAL_LENGTH, tokenizer_length(path)))
    if not (path / "idf.json").is_file():
        return folder
    # As OpenSearch publishes its models: queries weigh by idf.json, and special tokens weigh nothing.
    query = QueryFolder("static", path, idf=path / "idf.json")
    return replace(folder, query=query).with_settings({"drop_special_tokens": True})


def _read_own(path: Path) -> ModelFolder:
    file = path / "splade_config.json"
    values = read_json(file)
    kind, version = values.pop("format", None), values.pop("version", None)
    if kind != FORMAT or not isinstance(version, int):
        raise ModelError(f"{file} does not say that it is {FORMAT}: it was not written by Everglade.")
    if version > VERSION:
        raise ModelError(f"{file} is of version {version}; this Everglade reads up to {VERSION}. Install a newer one.")
    query_kind, document_hash = values.pop("query_encoder", "shared"), values.pop("document_sha256", None)
    folder = ModelFolder(path, SpladeSettings.from_dict(values).to_dict(), USUAL_LENGTH, document_hash=document_hash)
    if query_kind == "shared":
        return folder
    if query_kind == "separate":
        query = QueryFolder("separate", path / QUERY_FOLDER, model=_read_own(path / QUERY_FOLDER))
    elif query_kind in ("binary", "static"):
        frozen = bool(read_json(path / TABLE_FOLDER / "config.json").get("frozen", True))
        query = QueryFolder(query_kind, path / TABLE_FOLDER, learned=not frozen)
    else:
        raise ModelError(f"{file} names the query encoder {query_kind!r}, which this Everglade does not know.")
    return replace(folder, path=path / DOCUMENT_FOLDER, query=query)


def _check_architecture(path: Path, reading: str | None) -> None:
    config = read_json(path / "config.json")
    architectures = config.get("architectures") or []
    if "auto_map" in config or "auto_map" in read_json(path / "tokenizer_config.json", missing={}):
        raise ModelError(
            f"{path} needs Python code that lies in the model's folder (auto_map); Everglade never runs such code. "
            f"Use a model whose architecture is part of transformers."
        )
    if is_decoder(path):
        if reading is None:
            ways = ", ".join(repr(way) for way in READINGS if way)
            raise ModelError(
                f"{path} holds a decoder, {architectures[0]}, which sees only what stands before a token. Say how it "
                f"is to read a text by the setting reading ({ways}): Splade.load(path, reading='bidirectional')."
            )
    elif not any(str(name).endswith("ForMaskedLM") for name in architectures):
        raise ModelError(
            f"{path / 'config.json'} names the architecture {', '.join(architectures) or 'none'}, and SPLADE needs a "
            f"masked language model (...ForMaskedLM) or a decoder (...ForCausalLM). Without its trained head the terms "
            f"would be noise."
        )
    elif reading is not None:
        raise ModelError(f"{path} holds {architectures[0]}, no decoder: leave the setting reading out.")


def _check_files(path: Path) -> None:
    if (path / "adapter_config.json").exists():
        raise ModelError(
            f"{path} holds adapters (adapter_config.json), which are loaded from wherever they point to. Merge them "
            f"into the model and save it whole."
        )
    if not any((path / name).exists() for name in ("model.safetensors", "model.safetensors.index.json")):
        if any(path.glob("*.bin")) or any(path.glob("*.pt")):
            raise ModelError(
                f"{path} has its weights as a pickle only, which could run code when opened. Convert it once where you "
                f"trust it: AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(folder) writes safetensors."
            )
        raise ModelError(f"{path} has no weights: model.safetensors is missing.")
    if not any((path / name).exists() for name in _VOCABULARIES):
        raise ModelError(f"{path} has no tokenizer: copy tokenizer.json and tokenizer_config.json of the model there.")
