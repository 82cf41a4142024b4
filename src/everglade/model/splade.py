"""`Splade`: a masked language model whose logits, pooled over the positions of a text, are the text's sparse vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from everglade.errors import ConfigError, InputError, MissingExtra, ModelError

try:
    import torch
    from torch import Tensor, nn
except ImportError as error:
    raise MissingExtra("torch", "encode") from error

import numpy as np

from everglade.model.backbone import find_decoder, freeze_parameters, open_decoder, shift_bias
from everglade.model.card import model_card
from everglade.model.decoder import check_reading, pooled_positions, read_hidden_states
from everglade.model.encoding import KeptDecoder, SparseRows, dense_to_sparse, encode_in_batches, evaluating
from everglade.model.fingerprint import hash_encoder, hash_model, tokenizer_rules
from everglade.model.folder import read_folder
from everglade.model.head import splade_head, splade_head_sum
from everglade.model.head_screened import ragged
from everglade.model.hub import find_folder
from everglade.model.lengths import BOTH, check_lengths, usual_lengths
from everglade.model.loading import find_number_type, load_parts, read_tokenizer_files
from everglade.model.lora import merge_lora
from everglade.model.masks import drop_terms, keep_heaviest, keep_own_terms, present_terms
from everglade.model.passages import (
    check_passages,
    max_over_passages,
    pad_texts,
    present_passages,
    read_texts,
    read_windows,
)
from everglade.model.query_encoder import QueryTable, load_query_encoder, make_query_encoder
from everglade.model.saving import EncoderParts, write_folder
from everglade.model.settings import QUERY_SETTINGS, USUAL_LENGTH, SpladeSettings
from everglade.model.tokens import TokenReader
from everglade.progress import Meter, ProgressCallback
from everglade.vectors import SparseMatrix

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from everglade.model.files import ModelFolder
    from everglade.model.tokens import Ids

__all__ = ["Side", "Splade"]

Side = Literal["query", "document"]

_CPU_BATCH_TOKENS = 1024
_GPU_BATCH_TOKENS = 65_536


class Splade(nn.Module):
    """A SPLADE encoder over any Hugging Face `...ForMaskedLM`, or a decoder `...ForCausalLM`.

    `mlm` stays a plain language model: its weights, its `state_dict` and what its own `forward` gives. It encodes
    documents and, unless there is a query encoder, queries too. Encoding from several threads at once is safe in
    evaluation, which is how a model is loaded.

    Args:
        mlm: The language model; it must end in a linear decoder.
        tokenizer: The model's tokenizer; it must be a fast one.
        settings: How texts are read and logits pooled; by default 256 tokens, or as many as the model takes.
        name: What to call the model in manifests and messages.
        tokenizer_files: The tokenizer's files, name to content, which are then saved as they are.

    Attributes:
        mlm: The language model.
        tokenizer: The tokenizer.
        query_encoder: What encodes queries: another `Splade`, a `QueryTable`, or None for the model itself.
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
        self.query_encoder: Splade | QueryTable | None = None
        self.name = name
        self._settings = settings or SpladeSettings.from_dict(usual_lengths(mlm, USUAL_LENGTH))
        check_reading(mlm, self._settings.reading)
        self.n_terms = int(self._decoder.weight.shape[0])
        self._reader = TokenReader.of(tokenizer, self.n_terms, echo=self._settings.reading == "echo")
        self._tokenizer_files = tokenizer_files or read_tokenizer_files(tokenizer)
        self._fingerprint: tuple[object, str] | None = None
        self._kept_decoder = KeptDecoder()
        self._frozen: list[nn.Parameter] = []  # by `freeze_documents`
        check_lengths(self._settings, mlm, name)
        check_passages(self._reader, self._settings)

    @classmethod
    def load(
        cls,
        path_or_id: str | Path,
        *,
        query_encoder: str | Path | None = None,
        dtype: str = "float32",
        device: str | None = None,
        **settings: Any,  # noqa: ANN401 - checked by SpladeSettings
    ) -> Self:
        """Open a model: an Everglade, sentence-transformers or plain language model folder, or a hub id.

        Args:
            path_or_id: The folder, or the name of a model on the Hugging Face hub.
            query_encoder: Encode queries by something else than the folder says: "shared", "binary", "static",
                an idf.json file, or a second model; see `make_query_encoder`.
            dtype: Number type of the weights in memory, whatever they are stored as: float32, float16 or bfloat16.
            device: Where to put the model, such as "cuda"; by default the CPU.
            settings: Fields of `SpladeSettings` that replace what the folder says.

        Raises:
            ModelError: if it cannot be opened, or is no language model with its weights and tokenizer.
            ConfigError: if a setting is unknown, or more than the model can take.
        """
        folder = read_folder(find_folder(path_or_id), settings.get("reading")).with_settings(settings)
        # A table has no positions: how long queries may be is known when their encoder is.
        length = {key: value for key, value in folder.settings.items() if key == "max_query_length"}
        own = {key: value for key, value in folder.settings.items() if key not in length}
        model = cls.open_folder(replace(folder, settings=own), dtype=dtype, name=str(path_or_id))
        queries: Splade | QueryTable | None = None
        if query_encoder is not None:
            queries = make_query_encoder(query_encoder, model, dtype)
        elif folder.query is not None:
            queries = load_query_encoder(folder.query, model, dtype, f"{path_or_id} (queries)")
        if query_encoder is not None and queries is not None:
            length |= {key: getattr(queries.settings, key) for key in QUERY_SETTINGS if key not in settings}
        model.use_query_encoder(queries, **length)
        return model.to(device).eval()

    @classmethod
    def open_folder(cls, folder: ModelFolder, *, dtype: str = "float32", name: str = "unnamed") -> Self:
        """Open the document encoder of a folder that `read_folder` has read. Raises what `load` raises."""
        mlm, tokenizer = load_parts(folder, find_number_type(dtype))
        echo = folder.settings.get("reading") == "echo"
        usual = usual_lengths(mlm, folder.usual_length, echo=echo)
        files = read_tokenizer_files(tokenizer, folder.path)
        settings = SpladeSettings.from_dict({**usual, **folder.settings})
        return cls(mlm, tokenizer, settings, name=name, tokenizer_files=files)

    def use_query_encoder(self, query_encoder: Splade | QueryTable | None, **settings: Any) -> None:  # noqa: ANN401
        """Encode queries by `query_encoder` from now on, or by the model itself if it is None.

        The model's settings of queries (`QUERY_SETTINGS`), after `settings` have replaced theirs, hold for it too.

        Raises:
            ConfigError: if the documents are frozen and queries are encoded by the same weights, or queries would be
                longer than the model has positions for. Then nothing has changed.
        """
        before, self.query_encoder = self.query_encoder, query_encoder
        try:
            self.settings = replace(self._settings, **settings)
        except ConfigError:
            self.query_encoder = before
            raise

    @property
    def settings(self) -> SpladeSettings:
        """How texts are read and logits pooled. Replace it whole: `model.settings = replace(model.settings, ...)`."""
        return self._settings

    @settings.setter
    def settings(self, settings: SpladeSettings) -> None:
        if settings.reading != self._settings.reading:
            raise ConfigError("reading cannot change in an open model. Load it again with another reading.")
        check_lengths(settings, self.mlm, self.name, BOTH if self.query_encoder is None else ("max_document_length",))
        check_passages(self._reader, settings)
        if settings.freeze_documents and self.query_encoder is None:
            raise ConfigError("freeze_documents needs a query encoder of its own: with shared weights nothing trains.")
        if self.query_encoder is not None:
            self.query_encoder.settings = self.query_encoder.with_query_settings(settings)
        for parameter in self._frozen:
            parameter.requires_grad_()
        self._frozen = freeze_parameters(self.mlm) if settings.freeze_documents else []
        self._settings = settings

    def with_query_settings(self, settings: SpladeSettings) -> SpladeSettings:
        """Give the model's own settings with those of queries (`QUERY_SETTINGS`) taken from another's.

        Raises:
            ConfigError: if queries would be longer than this model has positions for.
        """
        own = replace(self._settings, **{key: getattr(settings, key) for key in QUERY_SETTINGS})
        check_lengths(own, self.mlm, self.name, ("max_query_length",))
        return own

    @property
    def query_kind(self) -> str:
        """How queries are encoded: "shared", "separate", "static" or "binary"."""
        if self.query_encoder is None:
            return "shared"
        return "separate" if isinstance(self.query_encoder, Splade) else self.query_encoder.kind

    def train(self, mode: bool = True) -> Self:
        """Set the model to training or evaluation; frozen documents stay in evaluation, without dropout."""
        super().train(mode)
        if self._settings.freeze_documents:
            self.mlm.train(False)
        return self

    def save(self, path: str | Path, *, dtype: str = "float32", card: str | None = None) -> None:
        """Write the model to a new folder, whole or not at all, that transformers and sentence-transformers open too.

        Args:
            path: The folder; it must not exist, or be empty.
            dtype: Number type to store the weights in: float32, or float16 or bfloat16 for half the size.
            card: The model card, README.md; by default a short one.

        Raises:
            ModelError: if something is there already, or a weight is too large for `dtype`.
        """
        kind = find_number_type(dtype)
        card = card or model_card(type(self.mlm).__name__, self.n_terms, self.settings, self.query_kind)
        queries = self.query_encoder._parts() if isinstance(self.query_encoder, Splade) else self.query_encoder
        write_folder(Path(path), self._parts(), queries, card=card, dtype=kind)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, side: Side = "document") -> Tensor:
        """Give the weights of texts, shape (B, V), from tokens and mask, shape (B, L); differentiable.

        Documents of up to M passages have tokens of shape (B, M, L), each passage a text of its own or all masked.
        """
        if side == "query" and self.query_encoder is not None:
            return self.query_encoder(input_ids, attention_mask, side)  # type: ignore[no-any-return]
        present = present_passages(attention_mask) if input_ids.ndim == 3 else None
        if present is not None:
            input_ids, attention_mask = input_ids[present], attention_mask[present]  # (P, L)
        weights = self._weigh(input_ids, attention_mask)
        if self.settings.is_lexical(side):
            weights = weights * present_terms(input_ids, attention_mask, self.n_terms, self._reader.special_ids)
        if present is not None:
            weights = max_over_passages(weights, present)
        return keep_heaviest(weights, self.settings.terms_kept(side))

    def _weigh(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Give the weights that the language model gives to texts of either side, shape (B, V)."""
        hidden, pooled = self._hidden(input_ids, attention_mask)
        settings = self.settings
        head = splade_head_sum if settings.pooling == "sum" else splade_head
        weights = head(
            hidden,
            self._decoder.weight,
            shift_bias(self._decoder, settings.logit_shift),
            pooled,
            activation=settings.activation,
            position_terms=settings.position_terms,
        )
        if settings.drop_special_tokens:
            special = torch.tensor(self._reader.special_ids, dtype=torch.int64, device=weights.device)
            weights = weights.index_fill(1, special, 0.0)
        return weights

    def _hidden(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Give what the head is given: hidden states, shape (B, L, d), and the mask of what is pooled, shape (B, L)."""
        hidden = read_hidden_states(self.mlm, input_ids, attention_mask, self.settings.reading)
        return hidden, pooled_positions(input_ids, attention_mask, self._reader, self.settings)

    def tokenize(self, texts: Sequence[str], side: Side, *, max_length: int | None = None) -> dict[str, Tensor]:
        """Give what `forward` takes, `input_ids` and `attention_mask`, shape (B, L), L the longest of these texts.

        `max_length` replaces the length in the settings. A text without tokens gets a row that is all masked. With
        `passages` documents are of shape (B, M, L), M the most passages of one of them.
        """
        if side == "query" and self.query_encoder is not None:
            return self.query_encoder.tokenize(texts, side, max_length=max_length)
        rows, owners = read_texts(self._reader, self.settings, texts, side, max_length)
        return pad_texts(self._reader, rows, owners, self.device)

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
        if self.query_encoder is not None:
            return self.query_encoder.encode_queries(texts, batch_tokens=batch_tokens, progress=progress)
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
        settings = [module.settings for module in (self, self.query_encoder) if module is not None]
        state = (settings, self.query_kind, [(tensor.data_ptr(), tensor._version) for tensor in self.parameters()])
        if self._fingerprint is None or self._fingerprint[0] != state:
            self._fingerprint = (state, self._hash())
        return self._fingerprint[1]

    def _hash(self) -> str:
        mlm, settings, rules = merge_lora(self.mlm), self.settings.that_matter(), tokenizer_rules(self._tokenizer_files)
        queries = self.query_encoder
        if queries is None:
            return hash_encoder(mlm, settings, *rules)
        described = queries.fingerprint if isinstance(queries, Splade) else queries.description()
        return hash_model(hash_encoder(mlm, *rules), settings, described)

    def _parts(self) -> EncoderParts:
        return EncoderParts(merge_lora(self.mlm), self._tokenizer_files, self.settings, self.n_terms)

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
        workers = torch.get_num_threads() if self.device.type == "cpu" else 1
        encode = partial(
            encode_in_batches,
            encode=partial(self._encode_batch, side),
            batch_tokens=tokens,
            n_terms=self.n_terms,
            workers=workers,
            meter=meter,
        )
        with evaluating(self):
            for rows, owners in read_windows(self._reader, self.settings, texts, side):
                windows.append(encode(rows, owners=owners))
        kept = self.settings.terms_kept(side)
        matrix = SparseMatrix.stack(windows)
        return matrix if kept is None else matrix.top_terms(kept)

    def _encode_batch(self, side: Side, ids: list[Ids]) -> SparseMatrix:
        if not len(ids[0]):  # the longest comes first
            return SparseMatrix.from_rows([{}] * len(ids), self.n_terms)
        with torch.inference_mode():
            indptr, terms, weights = self._sparse_rows(**pad_texts(self._reader, ids, None, self.device))
        if not np.isfinite(weights.sum()):
            raise ModelError(f"{self.name} gave weights that are not finite. Load it with dtype float32.")
        matrix = SparseMatrix(indptr, terms, weights, self.n_terms)
        if self.settings.is_lexical(side):
            return keep_own_terms(matrix, ids, self._reader.special_ids)
        return drop_terms(matrix, self._reader.special_ids) if self.settings.drop_special_tokens else matrix

    def _sparse_rows(self, input_ids: Tensor, attention_mask: Tensor) -> SparseRows:
        """Give what `_weigh` gives as compressed sparse rows, where possible without ever writing out the zeros."""
        settings = self.settings
        decoder = None
        if settings.pooling == "max" and settings.position_terms is None:
            bias = shift_bias(self._decoder, settings.logit_shift)
            decoder = self._kept_decoder.of(self._decoder, bias, settings.logit_shift)
        if decoder is None:
            return dense_to_sparse(self._weigh(input_ids, attention_mask))
        indptr, terms, weights = decoder.sparse_weights(ragged(*self._hidden(input_ids, attention_mask)))
        return indptr, terms, np.log1p(weights) if settings.activation == "log1p_relu" else weights
