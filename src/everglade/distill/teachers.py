"""Teachers: what says how relevant a document is to a query, for negatives to be judged and students to learn from.

A teacher is named by a kind and, but for BM25, a model::

    cross-encoder:MODEL   a cross-encoder of sentence-transformers, which reads query and document together
    dense:MODEL           a dense bi-encoder of sentence-transformers, by dot product or cosine as the model says
    splade:MODEL          a sparse bi-encoder, by dot product
    bm25                  BM25 over the collection

MODEL is a folder or a hub id. A cross-encoder gives its logit, before any sigmoid (about -11 to 11 for those trained on
MS MARCO), because differences of logits are what MarginMSE is taught (arXiv 2010.02666).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from everglade.distill.values import StoredTexts
from everglade.errors import ConfigError, InputError, MissingExtra, ModelError, suggest_name

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from transformers import PreTrainedModel

__all__ = [
    "KINDS",
    "Teacher",
    "find_missing",
    "is_cross_encoder",
    "load_cross_encoder",
    "open_teacher",
    "require_safetensors",
    "score_pairs",
    "short_name",
    "split_spec",
]

KINDS = ("cross-encoder", "dense", "splade", "bm25")
_BATCH_PAIRS = 32


class Teacher(Protocol):
    """Anything that scores pairs of a query and a document."""

    @property
    def name(self) -> str:
        """What to call the teacher in files and statistics; no path of this machine."""

    @property
    def fingerprint(self) -> str:
        """Hex digits that change when the same pair would get another score."""

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        """Give the score of each pair, the first query with the first document and so on; shape (n,)."""


def open_teacher(spec: str, documents: Mapping[str, str] | None = None, precision: str = "no") -> Teacher:
    """Open a teacher by its name, such as "cross-encoder:PATH"; the head of this module lists the kinds.

    Args:
        spec: The kind, and the model after a colon.
        documents: The collection, from id to text; only BM25 needs it.
        precision: "bf16" to compute the matrix products of a model in bfloat16.

    Raises:
        ConfigError: if the name is of none of the known forms, or BM25 has no collection.
        ModelError: if the model cannot be opened, or is of another kind.
        MissingExtra: if a package is not installed.
    """
    kind, model = split_spec(spec)
    if kind in _MODELS:
        teacher = _MODELS[kind](model)
        return _Bfloat16Teacher(teacher) if precision == "bf16" else teacher
    if documents is None:
        raise ConfigError("the teacher bm25 needs the collection: its scores depend on how rare a word is there.")
    return _Bm25Teacher(documents)


def split_spec(spec: str) -> tuple[str, str]:
    """Give the kind of a teacher and its model, which is empty for BM25.

    Raises:
        ConfigError: if the kind is not known, or the model is missing or too much.
    """
    kind, colon, model = spec.partition(":")
    if kind not in KINDS:
        raise ConfigError(f"the teacher {spec!r} is of no known kind. {suggest_name(kind, KINDS)}")
    if (kind == "bm25") == bool(colon) or bool(model) != bool(colon):
        form = "bm25, with nothing after it" if kind == "bm25" else f"{kind}:MODEL, with a folder or a hub id"
        raise ConfigError(f"the teacher {spec!r} cannot be read. Write {form}.")
    return kind, model


def short_name(spec: str) -> str:
    """Give what to call a teacher: its kind and the last part of its path. Raises what `split_spec` raises."""
    kind, model = split_spec(spec)
    return kind if kind == "bm25" else f"{kind}-{Path(model).name or 'model'}"


def load_cross_encoder(path_or_id: str | Path) -> CrossEncoder:
    """Open a cross-encoder that gives one score for a pair; nothing is asked of a hub but the folder itself.

    Raises:
        ModelError: if it cannot be opened, is no cross-encoder, gives several scores, lacks weights, or has them as a
            pickle.
        MissingExtra: if sentence-transformers is not installed.
    """
    if importlib.util.find_spec("sentence_transformers") is None:
        raise MissingExtra("sentence-transformers", "teachers")
    from everglade.model.hub import find_folder
    from everglade.model.loading import quiet_transformers

    folder = find_folder(path_or_id)
    if not is_cross_encoder(folder):
        raise ModelError(
            f"{path_or_id} is no cross-encoder: its config.json names no ...ForSequenceClassification, so the scores "
            f"would be noise. Train one from it with everglade train-teacher, or name another folder."
        )
    require_safetensors(folder)
    from sentence_transformers import CrossEncoder

    with quiet_transformers():
        try:
            model: CrossEncoder = CrossEncoder(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": "float32"},
            )
        except Exception as error:
            # Never swallowed; not narrower, because tokenizers raises Exception itself at a tokenizer it cannot read.
            raise ModelError(f"{path_or_id} cannot be opened as a cross-encoder: {error}") from error
    if model.num_labels != 1:
        raise ModelError(f"{path_or_id} gives {model.num_labels} scores for a pair; a teacher must give one.")
    language_model = model.transformers_model
    missing = [] if language_model is None else find_missing(_first_module(folder), language_model)
    if missing:
        raise ModelError(
            f"{folder} lacks weights of its cross-encoder ({', '.join(missing[:3])}), so its scores would be noise. "
            f"Train one with everglade train-teacher, or name another folder."
        )
    model.eval()
    return model


def find_missing(folder: Path, model: PreTrainedModel) -> list[str]:
    """Give the names of weights that a model has but its folder has not, so that they were drawn at random.

    transformers is asked, which knows the names that weights have had in older files. It tells only who loads a model
    through it, which sentence-transformers does without passing the answer on; so it is loaded once more, to nowhere.
    """
    from everglade.model.loading import quiet_transformers

    with quiet_transformers():
        loaded: Any = type(model).from_pretrained(
            folder,
            config=model.config,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            device_map="meta",
        )
    return sorted(loaded[1]["missing_keys"])


def score_pairs(model: CrossEncoder, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """Give the logit of each pair of a query and a document; shape (n,)."""
    if not pairs:
        return np.zeros(0, dtype=np.float32)
    import torch

    scores = model.predict(
        list(pairs), batch_size=_BATCH_PAIRS, show_progress_bar=False, activation_fn=torch.nn.Identity()
    )
    return np.asarray(scores, dtype=np.float32)


def _first_module(folder: Path) -> Path:
    """Give where the transformer of a folder of sentence-transformers lies."""
    from everglade.model.files import find_inside, read_json

    listed = read_json(folder / "modules.json", missing=[], kind=list)
    return find_inside(folder, listed[0].get("path", "")) if listed else folder


def is_cross_encoder(folder: Path) -> bool:
    """Say whether a model folder says that it holds a cross-encoder."""
    from everglade.model.files import read_json

    names = read_json(folder / "config.json", missing={"architectures": []}).get("architectures") or []
    if any(str(name).endswith("ForSequenceClassification") for name in names):
        return True
    return bool(read_json(folder / "config_sentence_transformers.json", missing={}).get("model_type") == "CrossEncoder")


def require_safetensors(folder: Path) -> None:
    """Make sure that no weights of a model folder lie in a pickle alone, which could run code, and none elsewhere.

    Raises:
        ModelError: naming the file.
    """
    for file in sorted(folder.rglob("adapter_config.json")):
        raise ModelError(
            f"{file}: adapters are loaded from wherever they point to. Merge them and save the model whole."
        )
    for file in sorted(folder.rglob("pytorch_model*.bin")):
        # What is opened in its place has one of these names, whatever else lies there.
        if not any((file.parent / name).exists() for name in ("model.safetensors", "model.safetensors.index.json")):
            raise ModelError(
                f"{file} is a pickle, which could run code when opened. Save the model as safetensors where you trust "
                f"it, and name that folder."
            )


class _CrossEncoderTeacher:
    def __init__(self, model: str) -> None:
        from everglade.model.fingerprint import hash_encoder, tokenizer_rules

        self.name = short_name(f"cross-encoder:{model}")
        self._model = load_cross_encoder(model)
        tokenizer: Any = getattr(self._model.tokenizer, "backend_tokenizer", None)
        parts = [f"{type(module).__name__} {module.get_config_dict()}" for module in self._model]  # type: ignore[operator]
        prompts = [self._model.prompts, self._model.default_prompt_name, self._model.max_seq_length]
        rules = None if tokenizer is None else tokenizer_rules({"tokenizer.json": tokenizer.to_str().encode()})
        self.fingerprint = hash_encoder(self._model, parts, prompts, rules)

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        return score_pairs(self._model, _pairs(queries, documents))


class _DenseTeacher:
    def __init__(self, model: str) -> None:
        from everglade.distill.dense import SentenceEncoder

        self.name = short_name(f"dense:{model}")
        self._model = SentenceEncoder(model)
        self.fingerprint = self._model.fingerprint

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        _pairs(queries, documents)
        if not queries:
            return np.zeros(0, dtype=np.float32)
        asked, query_rows = _different(queries)
        known, document_rows = _different(documents)
        left = self._model.encode_queries(asked)[query_rows]  # (n, d)
        right = self._model.encode_documents(known)[document_rows]  # (n, d)
        scores: NDArray[np.float32] = np.einsum("nd,nd->n", left, right, dtype=np.float64).astype(np.float32)
        return scores


class _SpladeTeacher:
    def __init__(self, model: str) -> None:
        try:
            import torch
        except ImportError as error:
            raise MissingExtra("torch", "encode") from error
        from everglade.model.splade import Splade

        self.name = short_name(f"splade:{model}")
        self._model = Splade.load(model, device="cuda" if torch.cuda.is_available() else None)
        self.fingerprint = self._model.fingerprint

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        _pairs(queries, documents)
        if not queries:
            return np.zeros(0, dtype=np.float32)
        asked, query_rows = _different(queries)
        known, document_rows = _different(documents)
        left = self._model.encode_queries(asked).to_scipy().astype(np.float64)[query_rows]  # (n, V)
        right = self._model.encode_documents(known).to_scipy()[document_rows]  # (n, V)
        return np.asarray(left.multiply(right).sum(axis=1), dtype=np.float32).reshape(-1)


_MODELS: Mapping[str, Callable[[str], Teacher]] = {
    "cross-encoder": _CrossEncoderTeacher,
    "dense": _DenseTeacher,
    "splade": _SpladeTeacher,
}


class _Bfloat16Teacher:
    """A teacher whose matrix products are computed in bfloat16."""

    def __init__(self, teacher: Teacher) -> None:
        self.name = teacher.name
        self.fingerprint = hashlib.sha256(f"{teacher.fingerprint} bf16".encode()).hexdigest()
        self._teacher = teacher

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        import torch

        with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", torch.bfloat16):
            return self._teacher.score(queries, documents)


class _Bm25Teacher:
    name = "bm25"

    def __init__(self, documents: Mapping[str, str]) -> None:
        from everglade.distill.bm25 import K1, B, Bm25
        from everglade.texts import Document

        self._engine = Bm25(Document(document_id, text) for document_id, text in documents.items())
        # Of equal texts the scores are equal too, so that any of their ids will do. Texts may be larger than memory.
        self._ids = {_digest(text): document_id for document_id, text in documents.items()}
        self.fingerprint = hashlib.sha256(json.dumps([K1, B, _hash_texts(documents)]).encode()).hexdigest()

    def score(self, queries: Sequence[str], documents: Sequence[str]) -> NDArray[np.float32]:
        _pairs(queries, documents)
        digests = [_digest(text) for text in documents]
        unknown = next((place for place, digest in enumerate(digests) if digest not in self._ids), None)
        if unknown is not None:
            raise InputError(
                f"bm25 cannot score a document that is not in its collection: {documents[unknown][:80]!r}..."
            )
        scores = np.zeros(len(queries), dtype=np.float32)
        asked, rows = _different(queries)
        order = np.argsort(rows, kind="stable")
        bounds = np.searchsorted(rows[order], np.arange(len(asked) + 1))
        for number, query in enumerate(asked):
            places = order[bounds[number] : bounds[number + 1]]
            scores[places] = self._engine.score(query, [self._ids[digests[place]] for place in places])
        return scores


def _pairs(queries: Sequence[str], documents: Sequence[str]) -> list[tuple[str, str]]:
    if len(queries) != len(documents):
        raise InputError(f"there are {len(queries)} queries for {len(documents)} documents: give one for each")
    return list(zip(queries, documents, strict=True))


def _different(texts: Iterable[str]) -> tuple[list[str], NDArray[np.intp]]:
    """Give each different text once, in order of first appearance, and for each text its place among them."""
    places: dict[str, int] = {}
    rows = np.fromiter((places.setdefault(text, len(places)) for text in texts), dtype=np.intp)
    return list(places), rows


def _digest(text: str) -> bytes:
    """Give what stands for a text: two of 10^9 texts share it with a probability of 10^-21."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _hash_texts(documents: Mapping[str, str]) -> str:
    if isinstance(documents, StoredTexts):
        return documents.digest()
    digest = hashlib.sha256()
    for document_id in sorted(documents):
        digest.update(json.dumps([document_id, documents[document_id]]).encode())
    return digest.hexdigest()
