"""The cross-encoder that a teacher's training starts from: one that is there, or an encoder with a new head."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from everglade.distill.teachers import find_missing, is_cross_encoder, load_cross_encoder, require_safetensors
from everglade.errors import ConfigError, MissingExtra, ModelError
from everglade.model.backbone import position_limit
from everglade.model.files import find_inside, read_json
from everglade.model.folder import is_decoder, read_folder
from everglade.model.hub import find_folder
from everglade.model.loading import quiet_transformers

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

__all__ = ["USUAL_LENGTH", "find_backbone", "load_start", "save_teacher"]

USUAL_LENGTH = 512  # tokens of a pair, as the public cross-encoders have it

_CARD = """---
library_name: sentence-transformers
pipeline_tag: text-ranking
tags:
- cross-encoder
- everglade
---

# A teacher

A cross-encoder of {architecture}, trained by `everglade train-teacher`. It gives one score, a logit, for a query and a
document read together:

```python
from sentence_transformers import CrossEncoder

CrossEncoder("PATH").predict([("what helps a headache", "Rest and water help against a headache.")])
```
"""


def load_start(path_or_id: str | Path, max_length: int | None) -> CrossEncoder:
    """Open what a teacher is trained from; its head, where it has none, is drawn from torch's generator.

    Args:
        path_or_id: A cross-encoder, whose head is kept, or any encoder: a masked language model, a dense model of
            sentence-transformers, a SPLADE model, as a folder or a hub id.
        max_length: Longest pair in tokens; None for 512, or as many as the model has positions for.

    Raises:
        ModelError: if it cannot be opened, is a decoder, or lacks weights of its encoder.
        ConfigError: if `max_length` is more than the model takes.
        MissingExtra: if sentence-transformers is not installed.
    """
    _require_packages()
    folder = find_folder(path_or_id)
    model = load_cross_encoder(folder) if is_cross_encoder(folder) else _with_new_head(find_backbone(folder))
    language_model = model.transformers_model
    if language_model is None:
        raise ModelError(f"{path_or_id} is a cross-encoder without a transformer, which cannot be trained here.")
    limit = position_limit(language_model)
    if max_length is not None and limit is not None and max_length > limit:
        raise ConfigError(f"max_length is {max_length}, but {path_or_id} has positions for {limit} tokens.")
    model.max_seq_length = max_length or min(USUAL_LENGTH, limit or USUAL_LENGTH)
    # Students are taught differences of logits, so a teacher gives logits whoever asks it.
    model.activation_fn = torch.nn.Identity()
    return model


def find_backbone(folder: Path) -> Path:
    """Give the folder inside a model's folder in which its language model lies.

    Raises:
        ModelError: if it holds no encoder that is known.
    """
    kinds: list[str] = []
    if (folder / "modules.json").exists():
        listed = read_json(folder / "modules.json", kind=list)
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in listed if isinstance(module, dict)]
    if kinds and not {"SpladePooling", "Router", "Asym"} & set(kinds):
        if kinds[0] != "Transformer":
            raise ModelError(f"{folder} begins with a {kinds[0]}, not with a transformer that could read a pair.")
        backbone = find_inside(folder, listed[0].get("path"))
    elif kinds or (folder / "splade_config.json").exists():
        backbone = read_folder(folder).path
    else:
        backbone = folder
    if is_decoder(backbone):
        raise ModelError(f"{folder} holds a decoder. A teacher is trained from an encoder, such as a BERT.")
    require_safetensors(backbone)
    return backbone


def save_teacher(model: CrossEncoder, path: Path) -> None:
    """Write a cross-encoder as a folder that sentence-transformers opens; the same model gives the same bytes."""
    tokenizer: Any = model.tokenizer
    # What was tokenised last leaves its lengths in the tokenizer's file.
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    with quiet_transformers():
        model.save_pretrained(str(path), create_model_card=False)
    card = _CARD.format(architecture=type(model.transformers_model).__name__)
    (path / "README.md").write_text(card, encoding="utf-8")


def _require_packages() -> None:
    # Its trainer asks for datasets, though what it is trained on here comes from elsewhere.
    for package in ("sentence-transformers", "accelerate", "datasets"):
        if importlib.util.find_spec(package.replace("-", "_")) is None:
            raise MissingExtra(package, "teachers")


def _with_new_head(backbone: Path) -> CrossEncoder:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder import CrossEncoderModelCardData

    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet_transformers():
        try:
            transformer = Transformer(
                str(backbone),
                transformer_task="sequence-classification",
                model_kwargs={"use_safetensors": True, "dtype": torch.float32, **local},
                processor_kwargs=dict(local),
                config_kwargs={"num_labels": 1, **local},
            )
            card = CrossEncoderModelCardData(local_files_only=True)
            model: CrossEncoder = CrossEncoder(modules=[transformer], model_card_data=card)
        except Exception as error:
            # Never swallowed; not narrower, because tokenizers raises Exception itself at a tokenizer it cannot read.
            raise ModelError(f"{backbone} cannot be opened as an encoder for a new head: {error}") from error
    encoder: Any = transformer.auto_model
    body = f"{encoder.base_model_prefix}."
    # A pooler is a head of its own: models that were trained without it have none to give.
    lacking = [
        name
        for name in find_missing(backbone, encoder)
        if name.startswith(body) and not name.startswith(f"{body}pooler.")
    ]
    if lacking:
        raise ModelError(
            f"{backbone} lacks weights of its encoder ({', '.join(lacking[:3])}), not only the head. Fetch the model "
            f"again."
        )
    return model
