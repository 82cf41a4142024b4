"""What each kind of stage does: it calls one function of the library, and says what came of it.

Every one may be interrupted at any moment and called again with the same arguments; it then goes on, or does again what
takes little time, and leaves what it would have left without the interruption.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everglade import durable
from everglade.distill.examples import TrainingSet, keep_queries, read_examples
from everglade.errors import InputError
from everglade.recipes.kinds import KINDS, settings_class

if TYPE_CHECKING:
    from collections.abc import Sequence

    from everglade.distill.examples import Example
    from everglade.model.splade import Splade
    from everglade.progress import ProgressCallback
    from everglade.recipes.material import Material
    from everglade.recipes.recipe import StageSpec

__all__ = ["Outcome", "Task", "find_output", "run_stage"]


@dataclass(frozen=True)
class Task:
    """A stage that is about to run.

    Attributes:
        spec: The stage, with references replaced by paths.
        folder: Where it leaves what it makes.
        key: Its key.
        material: The texts and judgements.
        texts: The folder with the mapped texts of the training collection.
        model: For an evaluation the folder of the model that made the index.
        progress: What is told how far it has come.
    """

    spec: StageSpec
    folder: Path
    key: str
    material: Material
    texts: Path
    model: str | None = None
    progress: ProgressCallback | None = None

    @property
    def settings(self) -> Any:  # noqa: ANN401 - the settings of its own kind
        """The configuration of the function that does the work."""
        return settings_class(self.spec.kind).from_dict(self.spec.settings)


@dataclass(frozen=True)
class Outcome:
    """What a stage has left: counts and remarks for its manifest, and figures that differ from run to run."""

    counts: dict[str, Any] = field(default_factory=dict)
    times: dict[str, float] = field(default_factory=dict)


def find_output(spec: StageSpec, folder: Path) -> Path:
    """Give what other stages take of a finished stage: a file of examples, or a folder."""
    output = KINDS[spec.kind].output
    if output == "examples":
        arrow = folder / "examples.arrow"
        return arrow if arrow.exists() else folder / "examples.jsonl"
    if output == "best" and (spec.own("give") == "final" or not (folder / "best").exists()):
        return folder / "final"
    return folder / output


def run_stage(task: Task) -> Outcome:
    """Do the work of a stage; raises whatever the function it calls raises."""
    return _STAGES[task.spec.kind](task)


def _import(task: Task) -> Outcome:
    from everglade.distill.formats import FORMATS, Options, convert, find_format

    file = Path(task.spec.own("file"))
    if not file.exists():
        raise InputError("there is no such file of training data", file)
    name = task.spec.own("format") or find_format(file)
    needs_qrels = name in FORMATS and FORMATS[name].needs_qrels
    options = Options(
        qrels=task.material.qrels if needs_qrels else None,
        systems=tuple(task.spec.own("systems")),
        negatives=task.spec.own("negatives"),
    )
    found = convert(file, task.folder / "examples.arrow", format=name, options=options, progress=task.progress)
    kept = keep_queries(read_examples(task.folder / "examples.arrow"), task.material.qrels)
    if not kept:
        raise InputError(f"none of its queries is a training query of {task.material.collection.name}", file)
    notes = {"examples": len(kept), "with scores": found.scored, "assumed": found.assumed, "left out": found.left_out}
    return Outcome(notes)


def _pretrain(task: Task) -> Outcome:
    from everglade.pretrain.loop import pretrain

    _, documents = task.material.texts(task.texts)
    pretrain(task.settings, task.spec.own("start"), documents, task.folder, progress=task.progress)
    return Outcome({"steps": task.settings.steps, "documents": len(documents)})


def _negatives(task: Task) -> Outcome:
    from everglade.distill.negatives import mine_to_folder

    material = task.material
    mine_to_folder(
        material.collection,
        material.split,
        task.settings,
        task.folder,
        qrels=material.qrels,
        progress=task.progress,
    )
    return Outcome({"examples": len(read_examples(find_output(task.spec, task.folder)))})


def _train_teacher(task: Task) -> Outcome:
    from everglade.distill.bm25 import bm25_run
    from everglade.train.cross_encoder import Reranking, train_teacher

    training_set, held = _training_set(task), task.material.validation
    reranking = None
    if held is not None:
        candidates = bm25_run(held.documents, held.queries, k=task.spec.own("rerank"))
        reranking = Reranking(held.queries, training_set.documents, candidates, held.qrels)
    result = train_teacher(
        task.settings,
        task.spec.own("start"),
        training_set,
        task.folder,
        validation=reranking,
        progress=task.progress,
    )
    reranked = {"BM25's order": result.candidates, "the start": result.start, "the teacher": result.end}
    found = {f"reranked by {name}": measures for name, measures in reranked.items() if measures is not None}
    return Outcome({"examples": len(training_set.examples), "steps": task.settings.steps, **found})


def _score(task: Task) -> Outcome:
    from everglade.distill.scoring import score_to_folder

    queries, documents = task.material.texts(task.texts)
    examples = _examples(task)
    score_to_folder(examples, queries, documents, task.settings, task.folder, progress=task.progress)
    return Outcome({"examples": len(read_examples(find_output(task.spec, task.folder)))})


def _train(task: Task) -> Outcome:
    from everglade.model.lengths import BOTH
    from everglade.model.lora import add_lora
    from everglade.model.splade import Splade
    from everglade.train.loop import train

    config, spec = task.settings, task.spec
    # With the lengths of the run, not the folder's, as passages must fit into them.
    changes = {**spec.own("model"), **{key: getattr(config, key) for key in BOTH}}
    if spec.own("freeze_documents"):
        changes["freeze_documents"] = True
    model = Splade.load(spec.own("start"), query_encoder=spec.own("query_encoder"), **changes)
    if spec.own("lora_rank"):
        add_lora(model, spec.own("lora_rank"), seed=config.seed)
    training_set = _training_set(task)
    result = train(config, model, training_set, task.folder, task.material.validation, progress=task.progress)
    measured = {
        f"{config.validation_measure} at the start": result.start_score,
        f"{config.validation_measure} of the best": result.best_score,
        "step of the best": result.best_step,
    }
    counts = {"examples": len(training_set.examples), "steps": result.steps}
    return Outcome({**counts, **{name: value for name, value in measured.items() if value is not None}})


def _encode(task: Task) -> Outcome:
    from everglade.encode import encode_to_folder
    from everglade.vectors import read_manifest

    path, material = task.folder / "vectors", task.material
    if not path.exists():
        encode_to_folder(
            _load(task.spec.own("model")),
            ((document.id, document.full_text) for document in material.eval_documents()),
            path,
            shard_rows=task.spec.own("shard_rows"),
            total=material.n_eval_documents,
            progress=task.progress,
        )
    manifest = read_manifest(path)
    return Outcome({"documents": manifest["rows"], "postings": manifest["postings"]})


def _index(task: Task) -> Outcome:
    from everglade.search import Index
    from everglade.vectors import read_manifest

    vectors, final = Path(task.spec.own("vectors")), task.folder / "index"
    manifest = read_manifest(vectors)
    if not final.exists():
        unfinished = task.folder / "index.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        described = manifest["description"]
        made_by = {**described["model"], "settings": described.get("settings")}
        if Path(made_by["name"]).is_relative_to(task.folder.parent):
            made_by["path_from_index"] = os.path.relpath(made_by["name"], final)
        with Index.create(
            unfinished, n_terms=described["n_terms"], model_reference=made_by, identity=task.key[:32]
        ) as index:
            index.add_folder(vectors, task.material.eval_documents(), progress=task.progress)
        (unfinished / "write.lock").unlink(missing_ok=True)  # it names this process
        durable.publish_folder(unfinished, final)
    return Outcome({"documents": manifest["rows"]})


def _evaluate(task: Task) -> Outcome:
    from everglade.evaluation.latency import measure_latency
    from everglade.evaluation.measures import evaluate
    from everglade.texts import Query, read_run, write_run

    material, depth = task.material, task.spec.own("depth")
    texts = [query.text for query in material.eval_queries]
    cost: dict[str, float | None]
    if task.spec.own("index") == "bm25":
        from everglade.distill.bm25 import Bm25

        engine = Bm25(material.eval_documents())
        run, cost = engine.search(material.eval_queries, k=depth), {}
        latency = measure_latency(lambda text: engine.search([Query("q", text)], k=10), texts)
    else:
        from everglade.evaluation.flops import measure_sparsity, term_shares
        from everglade.search import Index

        encoder = _load(str(task.model))
        with Index.open(task.spec.own("index"), model=encoder) as index:
            run = index.search_many(material.eval_queries, k=depth)
            sparsity = measure_sparsity(term_shares(encoder.encode_queries(texts)), index.term_shares())
            latency = measure_latency(lambda text: index.search(text, k=10), texts)
        cost = {
            "flops": sparsity.flops,
            "query_terms": sparsity.query_terms,
            "document_terms": sparsity.document_terms,
        }
    write_run(run, task.folder / "run.trec", tag=task.spec.name)
    measured = evaluate(read_run(task.folder / "run.trec"), material.judged, task.spec.own("measures"))
    result = {"label": task.spec.own("label"), "queries": len(material.judged), "measures": measured, **cost}
    durable.write_json(task.folder / "result.json", result)
    return Outcome({"queries": len(material.judged)}, {"ms_per_query": latency.median_ms})


def _load(path: str) -> Splade:
    from everglade.model.splade import Splade

    model = Splade.load(path)
    import torch  # not before everglade.model, which says what to install when it is missing

    return model.to("cuda") if torch.cuda.is_available() else model


def _examples(task: Task) -> Sequence[Example]:
    """Read the examples a stage works on, of training queries only."""
    found = keep_queries(read_examples(task.spec.own("examples")), task.material.qrels)
    if not found:
        raise InputError("there is no example of a training query in it", task.spec.own("examples"))
    return found


def _training_set(task: Task) -> TrainingSet:
    queries, documents = task.material.texts(task.texts)
    return TrainingSet(queries, documents, _examples(task))


_STAGES: Mapping[str, Callable[[Task], Outcome]] = {
    "import": _import,
    "pretrain": _pretrain,
    "negatives": _negatives,
    "train-teacher": _train_teacher,
    "score": _score,
    "train": _train,
    "encode": _encode,
    "index": _index,
    "evaluate": _evaluate,
}
