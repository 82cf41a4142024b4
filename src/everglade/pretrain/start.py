"""Where pre-training starts: a masked language model, an encoder that is given a new head, or nothing but its shape."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import ModelError
from everglade.model.files import find_inside, read_json
from everglade.model.folder import is_decoder, read_folder
from everglade.model.hub import find_folder
from everglade.model.loading import load_parts, quiet_transformers, read_tokenizer_files

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["Start", "load_start"]


@dataclass(frozen=True, slots=True)
class Start:
    """A masked language model to go on from.

    Attributes:
        mlm: The model, in float32.
        tokenizer: Its tokenizer.
        tokenizer_files: The tokenizer's files, name to content, which are saved as they are.
        name: The folder or hub id, as it was given.
        has_new_head: Whether the folder had no masked language head, or not all of one, and one was made.
    """

    mlm: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    tokenizer_files: dict[str, bytes]
    name: str
    has_new_head: bool

    def fingerprint(self) -> str:
        """Sha256 over weights, config and tokenizer."""
        from everglade.model.fingerprint import hash_start
        from everglade.train.checkpoint import weights_sha256

        files = {name: hashlib.sha256(content).hexdigest() for name, content in self.tokenizer_files.items()}
        return hash_start(weights_sha256(self.mlm), self.mlm.config, files)


def load_start(path_or_id: str | Path, seed: int, *, from_scratch: bool = False) -> Start:
    """Open the model to start from: any masked language model folder, or a dense encoder's, or a hub id of one.

    Of a SPLADE folder with a query encoder of its own the document encoder is taken. An encoder without a masked
    language head gets a new one: its layers are drawn from `seed`, its decoder is tied to the token embeddings.
    With `from_scratch` only its shape and its tokenizer are taken, and every weight is drawn from `seed`.

    Raises:
        ModelError: if it cannot be opened, is a decoder, has no tokenizer with a mask token, or has no architecture
            with a masked language head.
    """
    path = find_folder(path_or_id)
    bare = _bare_encoder(path)
    if bare is None:
        at_root = (path / "config.json").exists()
        folder = read_folder(path, "causal" if at_root and is_decoder(path) else None)
        if is_decoder(folder.path):
            raise ModelError(f"{path} holds a decoder (...ForCausalLM); pre-training masks words, for encoders only.")
        import torch

        mlm, tokenizer = load_parts(folder, torch.float32)
        files, has_new_head = read_tokenizer_files(tokenizer, folder.path), False
    else:
        mlm, tokenizer, has_new_head = _load_headless(bare, seed)
        files = read_tokenizer_files(tokenizer, bare)
    if tokenizer.mask_token_id is None:
        raise ModelError(f"the tokenizer of {path} has no mask token: name one as mask_token in tokenizer_config.json.")
    return Start(_draw_anew(mlm, seed) if from_scratch else mlm, tokenizer, files, str(path_or_id), has_new_head)


def _draw_anew(mlm: PreTrainedModel, seed: int) -> PreTrainedModel:
    """Give a model of the same architecture and settings with the weights it has before any training."""
    import torch

    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return type(mlm)(mlm.config)


def _bare_encoder(path: Path) -> Path | None:
    """Give where the encoder of a folder lies if its config names no model with a language model's head, else None."""
    inside = path
    if (path / "modules.json").exists() and not (path / "splade_config.json").exists():
        modules = read_json(path / "modules.json", kind=list)
        first = modules[0] if modules and isinstance(modules[0], dict) else {}
        inside = find_inside(path, first.get("path", ""))
    if not (inside / "config.json").exists():
        return None
    config = read_json(inside / "config.json")
    names = [str(name) for name in config.get("architectures") or []]
    has_head = any(name.endswith(("ForMaskedLM", "ForCausalLM", "ForConditionalGeneration")) for name in names)
    return None if has_head or not names or "auto_map" in config else inside


def _load_headless(path: Path, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, bool]:
    """Give a folder's masked language model, its tokenizer, and whether the head had to be made.

    Some have all of the head although they are called something else, as BERT's ...ForPreTraining.
    """
    import torch
    import transformers

    if not any((path / name).exists() for name in ("model.safetensors", "model.safetensors.index.json")):
        raise ModelError(f"{path} has no model.safetensors. Convert the model with save_pretrained where you trust it.")
    source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            config = transformers.AutoConfig.from_pretrained(path, **source)
            asked: dict[str, Any] = {"dtype": torch.float32, "use_safetensors": True, "output_loading_info": True}
            mlm, found = transformers.AutoModelForMaskedLM.from_pretrained(path, config=config, **asked, **source)
            body = f"{mlm.base_model_prefix}."
            has_new_head = any(not name.startswith(body) for name in found["missing_keys"])
            if has_new_head and not config.tie_word_embeddings:
                config.tie_word_embeddings = True
                torch.manual_seed(seed)
                mlm, found = transformers.AutoModelForMaskedLM.from_pretrained(path, config=config, **asked, **source)
            tokenizer = transformers.AutoTokenizer.from_pretrained(path, **source)
        except Exception as error:
            # Never swallowed; not narrower, because tokenizers raises Exception itself at a tokenizer it cannot read.
            raise ModelError(f"{path} cannot be opened as a masked language model: {error}") from error
    lacking = sorted(name for name in found["missing_keys"] if name.startswith(body))
    if lacking or found["mismatched_keys"]:
        names = ", ".join(lacking[:3]) or found["mismatched_keys"]
        raise ModelError(f"{path} lacks weights of its encoder ({names}), not only the head. Fetch the model again.")
    return mlm, tokenizer, has_new_head
