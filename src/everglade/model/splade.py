"""`Splade`: a masked language model whose logits, pooled over the positions of a text, are the text's sparse vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from everglade.errors import ConfigError, InputError, MissingExtra, ModelError

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtra("torch", "encode") from error

import numpy as np

from everglade.model.backbone import find_decoder, hidden_states, open_decoder, position_limit
from everglade.model.batches import plan_batches
from everglade.model.card import model_card
from everglade.model.folder import load_parts, read_folder, read_tokenizer_files, write_folder
from everglade.model.head import splade_head, splade_head_sum
from everglade.model.hub import find_folder
from everglade.model.settings import USUAL_LENGTH, SpladeSettings
from everglade.model.tokens import TokenReader
from everglade.progress import Meter, ProgressCallback
from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from everglade.model.tokens import Ids

__all__ = ["Side", "Splade"]

Side = Literal["query", "document"]

_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_WINDOW_ROWS = 4096  # texts that are tokenised and sorted by length together
_BATCH_WEIGHTS = 2**22  # entries of the (B, V) weights of one batch
_CPU_BATCH_TOKENS = 2048
_GPU_BATCH_TOKENS = 65_536
# Keys of tokenizer_config.json that change the tokens, beside what tokenizer.json says.
_TOKENIZER_SWITCHES = ("do_lower_case", "strip_accents", "tokenize_chinese_chars", "add_prefix_space")


class Splade(nn.Module):
    """A SPLADE encoder over any Hugging Face `...ForMaskedLM`.

    `mlm` stays a plain masked language model: its weights, its `state_dict` and what its own `forward` gives. Encoding
    from several threads at once is safe.

    Args:
        mlm: The masked language model; it must end in a linear decoder.
        tokenizer: The model's tokenizer; it must be a fast one.
        settings: How texts are read and logits pooled; by default 256 tokens, or as many as the model takes.
        name: What to call the model in manifests and messages.
        tokenizer_files: The tokenizer's files, name to content, which are then saved as they are.

    Attributes:
        mlm: The masked language model.
        tokenizer: The tokenizer.
        settings: The settings.
        name: The folder or hub id the model was loaded from, as it was given.
        n_terms: Number of terms, V: the rows of the decoder.

    Raises:
        ConfigError: if a length in `settings` is more than the model has positions for.
        ModelError: if model and tokenizer do not fit, or the model does not end in a linear decoder.
    """

    def __init__(
        self,
        mlm: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: SpladeSettings | None = None,
        *,
        name: str = "unnamed",
        tokenizer_files: dict[str, bytes] | None = None,
    ) -> None:
        super().__init__()
        open_decoder(mlm)
        self.mlm = mlm
        self.tokenizer = tokenizer
        self.name = name
        self.settings = settings or SpladeSettings.from_dict(_usual_lengths(mlm, USUAL_LENGTH))
        self.n_terms = int(self._decoder.weight.shape[0])
        self._reader = TokenReader(tokenizer, self.n_terms)
        self._tokenizer_files = tokenizer_files or read_tokenizer_files(tokenizer)
        self._fingerprint: tuple[object, str] | None = None
        _check_lengths(self.settings, position_limit(mlm), name)

    @classmethod
    def load(
        cls,
        path_or_id: str | Path,
        *,
        dtype: str = "float32",
        device: str | None = None,
        **settings: Any,  # noqa: ANN401 - checked by SpladeSettings
    ) -> Self:
        """Open a model: an Everglade, sentence-transformers or plain masked language model folder, or a hub id.

        Args:
            path_or_id: The folder, or the name of a model on the Hugging Face hub.
            dtype: Number type of the weights in memory, whatever they are stored as: float32, float16 or bfloat16.
            device: Where to put the model, such as "cuda"; by default the CPU.
            settings: Fields of `SpladeSettings` that replace what the folder says.

        Raises:
            ModelError: if it cannot be opened, or is no masked language model with its weights and tokenizer.
            ConfigError: if a setting is unknown, or more than the model can take.
        """
        kind = _dtype(dtype)
        folder = read_folder(find_folder(path_or_id))
        mlm, tokenizer = load_parts(folder, kind)
        chosen = SpladeSettings.from_dict({**_usual_lengths(mlm, folder.usual_length), **folder.settings, **settings})
        files = read_tokenizer_files(tokenizer, folder.path)
        return cls(mlm, tokenizer, chosen, name=str(path_or_id), tokenizer_files=files).to(device).eval()

    def save(self, path: str | Path, *, dtype: str = "float32", card: str | None = None) -> None:
        """Write the model to a new folder, whole or not at all, that transformers and sentence-transformers open too.

        Args:
            path: The folder; it must not exist, or be empty.
            dtype: Number type to store the weights in: float32, or float16 or bfloat16 for half the size.
            card: The model card, README.md; by default a short one.

        Raises:
            ModelError: if something is there already, or a weight is too large for `dtype`.
        """
        kind = _dtype(dtype)
        card = card or model_card(type(self.mlm).__name__, self.n_terms, self.settings)
        write_folder(Path(path), self.mlm, self._tokenizer_files, self.settings, card=card, dtype=kind)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, side: Side = "document") -> Tensor:
        """Give the weights of texts, shape (B, V), from tokens and mask, shape (B, L); differentiable."""
        hidden = hidden_states(self.mlm, input_ids, attention_mask)  # (B, L, d)
        weight, settings = self._decoder.weight, self.settings
        bias: Tensor | None = self._decoder.bias
        if settings.logit_shift:
            bias = weight.new_full((self.n_terms,), -settings.logit_shift) + (0.0 if bias is None else bias)
        head = splade_head_sum if settings.pooling == "sum" else splade_head
        weights = head(
            hidden, weight, bias, attention_mask, activation=settings.activation, position_terms=settings.position_terms
        )
        if settings.drop_special_tokens:
            special = torch.tensor(self._reader.special_ids, dtype=torch.int64, device=weights.device)
            weights = weights.index_fill(1, special, 0.0)
        return weights

    def tokenize(self, texts: Sequence[str], side: Side, *, max_length: int | None = None) -> dict[str, Tensor]:
        """Give what `forward` takes, `input_ids` and `attention_mask`, shape (B, L), L the longest of these texts.

        `max_length` replaces the length in the settings. A text without tokens gets a row that is all masked.
        """
        return self._tensors(self._read(texts, side, max_length))

    def encode_documents(
        self, texts: Sequence[str], *, batch_tokens: int | None = None, progress: ProgressCallback | None = None
    ) -> SparseMatrix:
        """Give one canonical row for each text (terms ascending, weights > 0); a text without tokens has no terms.

        Args:
            texts: The documents, in any order; title and text joined by a space.
            batch_tokens: Tokens encoded at once, padding included: more of them need more memory. The rows do not
                depend on it beyond rounding.
            progress: Called at the start and after every batch.

        Raises:
            InputError: if a text is not a string of Unicode characters.
            ModelError: if the model gives weights that are not finite.
        """
        return self._encode(texts, "document", batch_tokens, progress)

    def encode_queries(
        self, texts: Sequence[str], *, batch_tokens: int | None = None, progress: ProgressCallback | None = None
    ) -> SparseMatrix:
        """Give one canonical row for each query; see `encode_documents`."""
        return self._encode(texts, "query", batch_tokens, progress)

    def term_names(self) -> list[str]:
        """Give the string of each term, shape (n_terms,). Terms the tokenizer does not know are called <term N>."""
        return self._reader.term_names(self.n_terms)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self._decoder.weight.device

    @property
    def fingerprint(self) -> str:
        """Sha256 over weights, tokenizer and settings: models of one fingerprint give the same vectors.

        Weights are hashed as float32, so that it does not matter how they are stored. Settings that are off are left
        out. It is computed when first asked for, and again after weights or settings have changed.
        """
        state = (self.settings, [(tensor.data_ptr(), tensor._version) for tensor in self.mlm.parameters()])
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, self._hash())
        return self._fingerprint[1]

    def _hash(self) -> str:
        total = hashlib.sha256()
        for name, tensor in sorted(self.mlm.named_parameters()):
            total.update(f"{name} {tuple(tensor.shape)}\n".encode())
            total.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
        settings = {key: value for key, value in self.settings.to_dict().items() if value not in (None, False, "")}
        # Lengths are left in the file by whoever used it last; a reader sets its own.
        rules = json.loads(self._tokenizer_files["tokenizer.json"])
        tokenizer = {key: value for key, value in rules.items() if key not in ("truncation", "padding")}
        written = json.loads(self._tokenizer_files.get("tokenizer_config.json", b"{}"))
        switches = {key: written[key] for key in _TOKENIZER_SWITCHES if key in written}
        total.update(json.dumps([settings, tokenizer, switches], sort_keys=True).encode())
        return total.hexdigest()

    @property
    def _decoder(self) -> nn.Linear:
        return find_decoder(self.mlm)

    def _encode(
        self, texts: Sequence[str], side: Side, batch_tokens: int | None, progress: ProgressCallback | None
    ) -> SparseMatrix:
        if isinstance(texts, str):
            raise InputError("texts is one string; give a list of strings")
        tokens = batch_tokens or (_CPU_BATCH_TOKENS if self.device.type == "cpu" else _GPU_BATCH_TOKENS)
        meter = Meter(len(texts), progress)
        windows = [SparseMatrix.from_rows([], self.n_terms)]
        with self._evaluating():
            for start in range(0, len(texts), _WINDOW_ROWS):
                ids = self._read(texts[start : start + _WINDOW_ROWS], side)
                windows.append(self._encode_window(ids, tokens, meter))
        kept = self.settings.max_query_terms if side == "query" else self.settings.max_document_terms
        matrix = SparseMatrix.stack(windows)
        return matrix if kept is None else matrix.top_terms(kept)

    def _encode_window(self, ids: list[Ids], batch_tokens: int, meter: Meter) -> SparseMatrix:
        batches = plan_batches([len(row) for row in ids], batch_tokens, max(1, _BATCH_WEIGHTS // self.n_terms))
        parts = []
        for batch in batches:
            parts.append(self._encode_batch([ids[row] for row in batch]))
            meter.advance(len(batch))
        return SparseMatrix.stack(parts).take(np.argsort(np.concatenate(batches)))

    def _encode_batch(self, ids: list[Ids]) -> SparseMatrix:
        if not len(ids[0]):  # the longest comes first
            return SparseMatrix.from_rows([{}] * len(ids), self.n_terms)
        weights = self(**self._tensors(ids))  # (B, V)
        if not torch.isfinite(weights.sum()):
            raise ModelError(f"{self.name} gave weights that are not finite. Load it with dtype float32.")
        texts, terms = weights.nonzero(as_tuple=True)
        indptr = np.cumsum([0, *torch.bincount(texts, minlength=len(ids)).tolist()])
        return SparseMatrix(indptr, terms.cpu().numpy(), weights[texts, terms].cpu().numpy(), self.n_terms)

    def _read(self, texts: Sequence[str], side: Side, max_length: int | None = None) -> list[Ids]:
        if side == "query":
            return self._reader.read(texts, max_length or self.settings.max_query_length, self.settings.query_prefix)
        return self._reader.read(texts, max_length or self.settings.max_document_length, self.settings.document_prefix)

    def _tensors(self, ids: list[Ids]) -> dict[str, Tensor]:
        input_ids, attention_mask = map(torch.from_numpy, self._reader.pad(ids))
        return {"input_ids": input_ids.to(self.device), "attention_mask": attention_mask.to(self.device)}

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        training = [module for module in self.modules() if module.training]
        if training:
            self.eval()
        try:
            with torch.inference_mode():
                yield
        finally:
            for module in training:
                module.training = True


def _usual_lengths(mlm: PreTrainedModel, usual: int) -> dict[str, int]:
    length = min(usual, position_limit(mlm) or usual)
    return {"max_query_length": length, "max_document_length": length}


def _check_lengths(settings: SpladeSettings, limit: int | None, name: str) -> None:
    for key in ("max_query_length", "max_document_length"):
        if limit is not None and getattr(settings, key) > limit:
            raise ConfigError(
                f"{key} is {getattr(settings, key)}, but the model {name} has positions for {limit} tokens."
            )


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise ConfigError(f"{name!r} is not a number type for weights. Choose one of {', '.join(_DTYPES)}.")
    return _DTYPES[name]
