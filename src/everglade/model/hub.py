"""Where a model is: a folder on this machine, or one fetched from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from everglade.errors import ModelError

__all__ = ["find_folder"]

# Never anything that could be run or unpickled.
_DOWNLOADED = ["*.json", "*.safetensors", "*vocab.txt", "*merges.txt", "*bpe.codes", "*.model", "README.md", "LICENSE*"]


def find_folder(path_or_id: str | Path) -> Path:
    """Give the folder of a model, fetched from the Hugging Face hub if `path_or_id` is no folder.

    Raises:
        ModelError: if it is neither, or the hub cannot be reached and the model has not been fetched before.
    """
    folder = Path(path_or_id)
    if folder.is_dir():
        return folder
    if folder.is_file():
        raise ModelError(f"{folder} is a file. Name the folder that holds the model.")
    name = str(path_or_id)
    if isinstance(path_or_id, Path) or name.startswith(("/", ".", "~")) or name.count("/") > 1:
        raise ModelError(f"There is no folder {name}. Check the path.")
    import huggingface_hub

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=_DOWNLOADED))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"There is no folder {name}, and no model of that name could be had from the Hugging Face hub or its cache "
            f"on this machine ({type(error).__name__}: {str(error).strip().splitlines()[0]}). "
            f"Check the name, or fetch the model where there is a network and give the path of its folder."
        ) from error
