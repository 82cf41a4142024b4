"""A language model and its tokenizer out of a folder: every weight from safetensors, none made up."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade.errors import ConfigError, MissingExtra, ModelError
from everglade.model.files import TOKENIZER_FILES, ModelFolder
from everglade.model.folder import is_decoder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["find_number_type", "load_parts", "quiet_transformers", "read_tokenizer_files"]

# Heads beside the masked language model that common checkpoints carry and that no vector depends on.
_SPARE_WEIGHTS = ("pooler", "seq_relationship", "position_ids")


def find_number_type(name: str) -> torch.dtype:
    """Give the number type that weights may have by that name.

    Raises:
        ConfigError: if there is none.
    """
    import torch

    kinds = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    if name not in kinds:
        raise ConfigError(f"{name!r} is not a number type for weights. Choose one of {', '.join(kinds)}.")
    return kinds[name]


def load_parts(folder: ModelFolder, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load the language model and the tokenizer of a folder, every weight from its file.

    Raises:
        ModelError: if weights or tokenizer cannot be read, do not fit the architecture, or are not all there.
        MissingExtra: if transformers is not installed.
    """
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("transformers", "encode") from error
    auto: Any = transformers.AutoModelForCausalLM if is_decoder(folder.path) else transformers.AutoModelForMaskedLM
    source: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    with quiet_transformers():
        try:
            mlm, info = auto.from_pretrained(
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
def quiet_transformers() -> Iterator[None]:
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
