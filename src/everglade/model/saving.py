"""A model folder, written whole or not at all, that as many tools as possible open."""

from __future__ import annotations

import copy
import inspect
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.errors import ModelError
from everglade.model.files import read_json
from everglade.model.fingerprint import hash_encoder, tokenizer_rules
from everglade.model.folder import FORMAT, VERSION
from everglade.model.loading import quiet_transformers
from everglade.model.router import (
    DOCUMENT_FOLDER,
    QUERY_FOLDER,
    TABLE_FOLDER,
    pooling_config,
    root_files,
)
from everglade.model.settings import SpladeSettings

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from everglade.model.query_encoder import QueryTable

__all__ = ["EncoderParts", "write_backbone", "write_folder"]


@dataclass(frozen=True, slots=True)
class EncoderParts:
    """A language model as it is saved: its weights, its tokenizer's files by name, its settings, and V."""

    mlm: PreTrainedModel
    tokenizer_files: Mapping[str, bytes]
    settings: SpladeSettings
    n_terms: int


def write_folder(
    path: Path, documents: EncoderParts, queries: EncoderParts | QueryTable | None, *, card: str, dtype: torch.dtype
) -> None:
    """Write a model folder: plain for one encoder, a Router for a query encoder of its own; whole or not at all.

    The files of sentence-transformers are left out for decoders: its modules pool every position of a causal reading.

    Raises:
        ModelError: if something that is not an empty folder is there already, or `dtype` cannot hold a weight.
    """
    settings = documents.settings
    kind = "shared" if queries is None else "separate" if isinstance(queries, EncoderParts) else queries.kind
    own: dict[str, Any] = {"format": FORMAT, "version": VERSION, **settings.to_dict()}
    decoders = [settings.reading, queries.settings.reading if isinstance(queries, EncoderParts) else None]
    files = {} if any(decoders) else root_files(settings, kind)
    with _new_folder(path) as partial:
        if queries is None:
            _write_encoder(partial, documents, settings.max_document_length, partial / "1_SpladePooling", dtype)
        else:
            own["query_encoder"] = kind
            rules = tokenizer_rules(documents.tokenizer_files)
            own["document_sha256"] = hash_encoder(documents.mlm, *rules, dtype=dtype)
            length = settings.max_document_length
            _write_encoder(partial / DOCUMENT_FOLDER, documents, length, partial / "document_1_SpladePooling", dtype)
            _write_queries(partial, queries, documents.tokenizer_files, dtype)
        for name, value in {**files, "splade_config.json": own}.items():
            durable.write_json(partial / name, value)
        (partial / "README.md").write_text(card, encoding="utf-8")


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ModelError(f"{path} exists already. Remove it or save the model to another folder.")
    partial = path.with_name(path.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    yield partial
    durable.publish_folder(partial, path)


def _write_encoder(path: Path, encoder: EncoderParts, max_length: int, pooling: Path, dtype: torch.dtype) -> None:
    write_backbone(path, encoder.mlm, encoder.tokenizer_files, dtype)
    if encoder.settings.reading is not None:
        return
    pooling.mkdir()
    durable.write_json(pooling / "config.json", pooling_config(encoder.settings, encoder.n_terms))
    durable.write_json(path / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})


def _write_queries(
    path: Path, queries: EncoderParts | QueryTable, document_files: Mapping[str, bytes], dtype: torch.dtype
) -> None:
    if isinstance(queries, EncoderParts):
        length = queries.settings.max_query_length
        _write_encoder(path / QUERY_FOLDER, queries, length, path / "query_1_SpladePooling", dtype)
        own = {"format": FORMAT, "version": VERSION, **queries.settings.to_dict()}
        durable.write_json(path / QUERY_FOLDER / "splade_config.json", own)
        return
    from safetensors.numpy import save_file

    folder = path / TABLE_FOLDER
    folder.mkdir()
    # sentence-transformers makes its table as long as the vocabulary, and no token lies beyond.
    weights = queries.without_torch().weights[: queries.tokenizer.get_vocab_size(with_added_tokens=True)]
    save_file({"weight": weights}, folder / "model.safetensors", metadata={"format": "pt"})
    durable.write_json(folder / "config.json", {"frozen": not queries.learned})
    (folder / "model.safetensors").chmod((folder / "config.json").stat().st_mode)
    (folder / "tokenizer.json").write_text(queries.tokenizer.to_str(pretty=True), encoding="utf-8")
    config = json.loads(document_files.get("tokenizer_config.json", b"{}"))
    # Only there does sentence-transformers look for the length of such queries.
    config["model_max_length"] = queries.settings.max_query_length
    durable.write_json(folder / "tokenizer_config.json", _plain_words(config))


def write_backbone(path: Path, mlm: PreTrainedModel, tokenizer_files: Mapping[str, bytes], dtype: torch.dtype) -> None:
    """Write a backbone and its tokenizer into a folder that transformers 4 and 5 open.

    Raises:
        ModelError: if a weight is not finite as `dtype`.
    """
    path.mkdir(parents=True, exist_ok=True)
    _save_weights(path, mlm, dtype)
    for name, content in tokenizer_files.items():
        (path / name).write_bytes(_portable(content, mlm) if name == "tokenizer_config.json" else content)


def _save_weights(path: Path, mlm: PreTrainedModel, dtype: torch.dtype) -> None:
    import torch

    for name, tensor in mlm.named_parameters():
        if not torch.isfinite(tensor.detach().to(dtype)).all():
            raise ModelError(f"the weight {name} has values that are not finite as {dtype}. Save it as float32.")
    same = all(tensor.dtype == dtype for tensor in mlm.parameters())
    with quiet_transformers():
        stored: Any = mlm if same else copy.deepcopy(mlm)
        stored.to(dtype).save_pretrained(path)
    config = read_json(path / "config.json")
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
    values = _plain_words(json.loads(tokenizer_config))
    if "token_type_ids" not in inspect.signature(mlm.forward).parameters:
        values.setdefault("model_input_names", ["input_ids", "attention_mask"])
    return (json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode()


def _plain_words(values: dict[str, Any]) -> dict[str, Any]:
    if values.get("tokenizer_class") == "TokenizersBackend":
        values["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(values.get("extra_special_tokens"), list):
        values["additional_special_tokens"] = values.pop("extra_special_tokens")
    return values
