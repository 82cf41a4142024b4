"""How long a stage may take that has never run here: a planning aid, no simulation.

Stages with a model: its multiply-adds, from the sizes in config.json and a sample of the texts, over the speed of this
machine's processor, which one matrix product measures. Everything else: a constant for each document, query or hit.
The constants are fitted to stages that ran on two cores of an AMD EPYC (Zen 4) with models of 128 to 768 dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from everglade.errors import ModelError
from everglade.recipes.folders import read_times
from everglade.recipes.kinds import settings_class
from everglade.recipes.references import split_scheme, texts
from everglade.recipes.sizes import Lengths, Model, Sizes, count_tokens, find_model
from everglade.recipes.speed import has_gpu, measure_speed, screens_here
from everglade.texts.irds import IrdsCollection

if TYPE_CHECKING:
    from everglade.recipes.material import Material
    from everglade.recipes.plan import PlannedStage
    from everglade.recipes.recipe import StageSpec

__all__ = ["Estimator", "find_rate", "read_rates"]

FORWARD, TRAINING = 1, 3
"""Passes over a model: the gradient costs two more, by the states and by the weights."""

PASSED_ELEMENT = 250.0
"""Multiply-adds in whose time one element passes through what lies between the products: softmax, GELU, norms, sums."""

SCREENED_HEAD = 4.0
"""How many times as fast the head's product is in 8-bit integers (decision 10) as in float32."""

SAMPLE = 256
"""Texts of each collection that are read for their lengths."""

BM25_DOCUMENT, BM25_QUERY = 2e-4, 7e-4
"""Seconds of BM25 for a document it reads and for a query."""

INDEXED_DOCUMENT, SEARCHED_QUERY = 6e-5, 7e-3
"""Seconds of the index for a document's vector, and for a query that is asked alone."""

LISTED_HIT = 7e-6
"""Seconds to write a hit into a run and measure it."""

IMPORTED_BYTE = 3e-7
"""Seconds to convert a byte of training data."""


def read_rates(out: Path) -> dict[str, float]:
    """Give the seconds a row took, by stage, of what was measured in the folder of a recipe."""
    rates: dict[str, float] = {}
    for place in sorted([*out.glob("set-aside/*"), *out.glob("[0-9]*-*")]):
        times = read_times(place)
        if times.get("seconds_per_row") is not None:
            rates[times["stage"]] = float(times["seconds_per_row"])
    return rates


def find_rate(stage: PlannedStage, planned: Mapping[str, PlannedStage], rates: Mapping[str, float]) -> float | None:
    """Give the seconds a row takes, measured of a stage itself or of an earlier one whose rows are alike."""
    alike = [name for name, one in planned.items() if _rows_of(one.spec) == _rows_of(stage.spec)]
    return next((rates[name] for name in (stage.spec.name, *alike) if name in rates), None)


def _rows_of(spec: StageSpec) -> tuple[str, ...]:
    """Give what rows a stage has: its kind, and what searches or scores, as BM25 takes another time than a model."""
    named = [spec.values.get(key, "") for key in ("sources", "teachers", "index")]
    return (spec.kind, *sorted({split_scheme(text)[0] or text.partition("@")[0] for text in texts(named)}))


class Estimator:
    """Estimates the seconds of stages on this machine's processor.

    Args:
        material: The texts.
        speed: Multiply-adds a second in float32; measured when it is first needed if None.
        screens: Whether the head is computed in 8-bit integers; asked of the engine if None.
        gpu: Whether models run on a GPU, whose speed is not known; looked up if None.
    """

    def __init__(
        self,
        material: Material,
        *,
        speed: float | None = None,
        screens: bool | None = None,
        gpu: bool | None = None,
    ) -> None:
        self._material = material
        self._speed = speed
        self._screens = screens_here() if screens is None else screens
        self._has_gpu = has_gpu() if gpu is None else gpu
        self._lengths: dict[tuple[Path, str], Lengths] = {}

    def estimate(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        """Give the seconds that a stage may take; its counts must be known, and `planned` the stages before it.

        Raises:
            ModelError: if that cannot be said, with the reason.
        """
        return _KINDS[stage.spec.kind](self, stage, planned)

    # --- stages -------------------------------------------------------------------------------------------------------
    def _import(self, stage: PlannedStage, _: Mapping[str, PlannedStage]) -> float:
        return IMPORTED_BYTE * Path(stage.spec.own("file")).stat().st_size

    def _negatives(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        n_queries, n_documents = len(self._material.qrels), self._material.n_documents
        hits = settings_class("negatives").from_dict(stage.spec.settings).hits
        seconds = 0.0
        for source in stage.settings["sources"]:
            seconds += n_queries * hits * LISTED_HIT
            scheme, _, name = source.partition(":")
            if scheme == "bm25":
                seconds += n_documents * BM25_DOCUMENT + n_queries * BM25_QUERY
            elif scheme != "run":
                model = self._open(name, planned)
                seconds += self._encode_all(model, n_documents, n_queries, with_head=scheme == "splade")
                seconds += n_documents * INDEXED_DOCUMENT if scheme == "splade" else 0.0
        if stage.settings["teacher"]:
            pairs = n_queries * hits * len(stage.settings["sources"])
            seconds += self._score_pairs(stage.settings["teacher"], pairs, planned)
        return seconds

    def _score(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        specs = settings_class("score").from_dict(stage.spec.settings).specs
        if stage.work is None:
            raise ModelError(f"how many pairs there are is known when {stage.spec.own('examples')} has run")
        return sum(self._score_pairs(spec, stage.work // len(specs), planned) for spec in specs)

    def _score_pairs(self, spec: str, n_pairs: int, planned: Mapping[str, PlannedStage]) -> float:
        scheme, _, name = spec.partition(":")
        if scheme == "bm25":
            return self._material.n_documents * BM25_DOCUMENT + n_pairs * LISTED_HIT
        model = self._open(name, planned)
        if scheme != "cross-encoder":
            return self._encode_all(model, n_pairs, len(self._material.qrels), with_head=scheme == "splade")
        return self._run(FORWARD, n_pairs, self._pair(model), model.sizes, with_head=False)

    def _train(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        settings, model = stage.settings, self._open(stage.spec.own("start"), planned)
        n_queries = settings["batch_size"]
        n_documents = n_queries * (1 + settings["negatives_per_query"])
        query = self._of(model, "queries").longest(n_queries, settings["max_query_length"])
        document = self._of(model, "documents").longest(n_documents, settings["max_document_length"])
        passes = TRAINING + (settings["accumulation_steps"] > 1) + settings["gradient_checkpointing"]
        step = self._run(passes, n_queries, query, model.sizes) + self._run(passes, n_documents, document, model.sizes)
        # Before the first step, now and then, and after the last.
        trials = 1 + math.ceil(settings["steps"] / settings["validate_every"])
        seconds: float = settings["steps"] * step + trials * self._validate(_as_made(stage, model))
        return seconds

    def _validate(self, model: Model) -> float:
        held = self._material.held
        if not held:
            return 0.0
        judged = {document_id for documents in held.values() for document_id in documents}
        n_documents = len(judged) + round(self._material.validate_in * (self._material.n_documents - len(judged)))
        return self._encode_all(model, n_documents, len(held)) + n_documents * INDEXED_DOCUMENT

    def _train_teacher(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        settings = stage.settings
        model = _as_made(stage, self._open(stage.spec.own("start"), planned))
        n_pairs = settings["batch_size"] * (1 + settings["negatives_per_query"])
        query = self._of(model, "queries").mean(model.pair_length)
        length = min(query + self._of(model, "documents").longest(n_pairs, model.pair_length), model.pair_length)
        step = self._run(TRAINING, n_pairs, length, model.sizes, with_head=False)
        # Before the first step and after the last.
        reranked = 2 * len(self._material.held) * stage.spec.own("rerank")
        trials = self._run(FORWARD, reranked, self._pair(model), model.sizes, with_head=False)
        seconds: float = settings["steps"] * step + trials
        return seconds

    def _pretrain(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        settings, model = stage.settings, self._open(stage.spec.own("start"), planned)
        # CoCondenser makes two spans of a document, and its head is some layers more with a loss of its own.
        is_double = settings["objective"] == "cocondenser"
        sizes = model.sizes._replace(layers=model.sizes.layers + is_double * settings["head_layers"])
        rows = settings["batch_size"] * (1 + is_double)
        length = self._of(model, "documents").longest(rows, settings["max_length"])
        passes = TRAINING + (settings["accumulation_steps"] > 1 and settings["objective"] != "mlm")
        hidden = settings["mask_share"] * (1 + is_double) * rows * length * sizes.decoded
        with_vectors = settings["objective"] == "flops-mlm"
        step = self._run(passes, rows, length, sizes, with_head=with_vectors) + self._seconds(TRAINING * hidden)
        seconds: float = settings["steps"] * step
        return seconds

    def _encode(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        model, n_documents = self._open(stage.spec.own("model"), planned), self._material.n_eval_documents
        return self._encode_all(model, n_documents, 0, documents="evaluated")

    def _index(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        return self._material.n_eval_documents * INDEXED_DOCUMENT

    def _evaluate(self, stage: PlannedStage, planned: Mapping[str, PlannedStage]) -> float:
        n_queries, n_documents = len(self._material.judged), self._material.n_eval_documents
        seconds: float = n_queries * min(stage.spec.own("depth"), n_documents) * LISTED_HIT
        if stage.spec.own("index") == "bm25":
            return seconds + n_documents * BM25_DOCUMENT + n_queries * BM25_QUERY
        index = planned[stage.spec.own("index").removeprefix("@")].spec
        encoded = planned[index.own("vectors").removeprefix("@")].spec
        model = self._open(encoded.own("model"), planned)
        # Queries are encoded for the run, for their sparsity, and one by one for their latency.
        return seconds + n_queries * SEARCHED_QUERY + self._encode_all(model, 0, 3 * n_queries)

    # --- models and texts ---------------------------------------------------------------------------------------------
    def _open(self, name: str, planned: Mapping[str, PlannedStage]) -> Model:
        """Give a model by its name, or as an earlier stage will have made it."""
        if self._has_gpu:
            raise ModelError("this machine has a GPU, whose speed a plan does not measure")
        if not name.startswith("@"):
            return find_model(name)
        made = planned[name.removeprefix("@")]
        return _as_made(made, self._open(made.spec.own("start"), planned))

    def _of(self, model: Model, texts: str) -> Lengths:
        """Give the lengths of "queries", "documents" or "evaluated" ones, as a model's tokenizer makes them."""
        if (model.folder, texts) not in self._lengths:
            self._lengths[model.folder, texts] = count_tokens(self._sample(texts), model.folder)
        return self._lengths[model.folder, texts]

    def _sample(self, texts: str) -> list[str] | None:
        """Give the first texts; None of documents that would have to be downloaded."""
        if texts == "queries":
            return [query.text for query in (self._material.queries or self._material.eval_queries)[:SAMPLE]]
        collection = self._material.collection if texts == "documents" else self._material.evaluated
        if isinstance(collection, IrdsCollection):
            return None
        return [document.full_text for document in islice(collection.documents(), SAMPLE)]

    def _pair(self, model: Model) -> float:
        both = self._of(model, "queries").mean(model.pair_length) + self._of(model, "documents").mean(model.pair_length)
        return min(both, model.pair_length)

    # --- seconds ------------------------------------------------------------------------------------------------------
    def _encode_all(
        self, model: Model, n_documents: int, n_queries: int, *, with_head: bool = True, documents: str = "documents"
    ) -> float:
        """Give the seconds of encoding, where texts of like length go together."""
        document = self._of(model, documents).mean(model.document_length)
        query = self._of(model, "queries").mean(model.query_length)
        seconds = self._run(FORWARD, n_documents, document, model.sizes, with_head=with_head)
        return seconds + self._run(FORWARD, n_queries, query, model.sizes, with_head=with_head)

    def _run(self, passes: int, n_texts: int, length: float, sizes: Sizes, *, with_head: bool = True) -> float:
        """Give the seconds of passes over texts of that many tokens."""
        head = sizes.decoded / (SCREENED_HEAD if self._screens else 1.0) if with_head else 0.0
        token = sizes.products(length) + PASSED_ELEMENT * sizes.passed(length) + head
        return self._seconds(passes * n_texts * length * token)

    def _seconds(self, multiply_adds: float) -> float:
        return multiply_adds / (measure_speed() if self._speed is None else self._speed)


def _as_made(stage: PlannedStage, start: Model) -> Model:
    """Give the model that a stage makes of another: it has the lengths of its training."""
    settings = stage.settings
    if stage.spec.kind == "train":
        longest = settings["saved_document_length"] or settings["max_document_length"]
        return replace(start, query_length=settings["max_query_length"], document_length=longest)
    if stage.spec.kind == "train-teacher":
        return replace(start, pair_length=settings["max_length"] or start.pair_length)
    return start


_KINDS: Mapping[str, Callable[[Estimator, PlannedStage, Mapping[str, PlannedStage]], float]] = {
    "import": Estimator._import,
    "pretrain": Estimator._pretrain,
    "negatives": Estimator._negatives,
    "train-teacher": Estimator._train_teacher,
    "score": Estimator._score,
    "train": Estimator._train,
    "encode": Estimator._encode,
    "index": Estimator._index,
    "evaluate": Estimator._evaluate,
}
