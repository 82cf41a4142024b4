"""Mining: documents that a first search ranks high for a query although they are not relevant to it.

`mine_negatives` draws from one run in memory. `mine_to_folder` is the whole job: it searches with every source, draws
from bands with quotas, takes out what is relevant, and leaves the runs, the examples and a table of what it did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from everglade import durable
from everglade.distill.candidates import Models, Request, RunInOrder, Source, read_sources, search_source
from everglade.distill.drawing import draw, query_key, unite
from everglade.distill.examples import Example, examples_from_qrels, require_pyarrow, write_examples
from everglade.distill.false_negatives import keep_true_negatives
from everglade.distill.mining_settings import MiningSettings
from everglade.distill.mining_statistics import MiningStatistics
from everglade.distill.scoring import MOST_LINES, score_shard
from everglade.distill.teachers import Teacher, open_teacher
from everglade.distill.training_queries import TrainingQueries, hash_text, read_training_queries
from everglade.errors import ConfigError, InputError
from everglade.evaluation.measures import rank
from everglade.progress import Meter, ProgressCallback

if TYPE_CHECKING:
    from everglade.texts import Collection, Document, Qrels, Query, Run

__all__ = ["Mined", "MiningReport", "MiningSettings", "mine_negatives", "mine_to_folder"]

QUERIES_IN_A_BLOCK = 64

_WRITTEN = ("statistics.json", "examples.jsonl", "examples.arrow", "runs", "unfinished")


class Mined(NamedTuple):
    """What mining gave: the examples, and counts of queries."""

    examples: list[Example]
    queries: int
    """Queries with at least one relevant document."""
    short: int
    """Queries that got fewer negatives than asked for, but some."""
    without: int
    """Queries left out because there was no candidate for them."""


def mine_negatives(
    run: Run,
    qrels: Qrels,
    *,
    depth: int,
    negatives_per_query: int,
    seed: int,
    skip: int = 0,
    documents: Iterable[Document] = (),
) -> Mined:
    """Draw hard negatives for each query from places `skip` + 1 to `depth` of a run.

    The run may come from `Index.search_many`, from `bm25_run`, or from a TREC run file. Documents judged relevant are
    removed, documents judged not relevant stay. With the `documents` of the collection, those that have exactly the
    text of a relevant one are removed too. Of the rest `negatives_per_query` are drawn evenly, in a way that depends on
    the seed and the query's id alone, and listed in the order of the run. A query with several relevant documents
    becomes several examples with the same negatives.

    Raises:
        ConfigError: if `depth`, `skip` or `negatives_per_query` make no sense.
    """
    if negatives_per_query < 1 or skip < 0 or depth <= skip:
        raise ConfigError(
            f"depth ({depth}) must be above skip ({skip}), skip at least 0 and negatives_per_query "
            f"({negatives_per_query}) at least 1"
        )
    relevant = {query: {one for one, r in judged.items() if r > 0} for query, judged in qrels.items()}
    judged = {query: qrels[query] for query, positives in relevant.items() if positives}
    asked = {one for query in judged for one in (*relevant[query], *run.get(query, ()))}
    hashes = {document.id: hash_text(document.full_text) for document in documents if document.id in asked}
    negatives = {}
    for query_id in judged:
        positives = relevant[query_id]
        texts = {hashes[one] for one in positives if one in hashes}
        placed = rank(run.get(query_id, {}))[skip:depth]
        candidates = [one for one in placed if one not in positives and hashes.get(one) not in texts]
        negatives[query_id] = draw(candidates, negatives_per_query, *query_key(seed, query_id))
    answered = {query_id: documents for query_id, documents in judged.items() if negatives[query_id]}
    return Mined(
        examples=examples_from_qrels(answered, negatives),
        queries=len(judged),
        short=sum(0 < len(drawn) < negatives_per_query for drawn in negatives.values()),
        without=len(judged) - len(answered),
    )


@dataclass(frozen=True)
class MiningReport:
    """What a mining left in its folder.

    Attributes:
        examples: The file of examples: JSON lines, or an Arrow table when there are more than 100,000.
        runs: The TREC run of each source, by the source's name.
        statistics: What statistics.json holds.
    """

    examples: Path
    runs: dict[str, Path]
    statistics: dict[str, Any]


def mine_to_folder(
    collection: Collection,
    split: str,
    settings: MiningSettings,
    out: str | Path,
    *,
    qrels: Qrels | None = None,
    fresh: bool = False,
    threads: int = 0,
    announce: Callable[[str], None] | None = None,
    progress: ProgressCallback | None = None,
) -> MiningReport:
    """Mine negatives for the queries of a split, going on where an interrupted call stopped.

    The folder then holds `runs/NAME.trec` for each source, `examples.jsonl` or `examples.arrow`, `statistics.json`,
    and `mining.json`, which says what it was made from. While it works, vectors, indexes, parts of runs and blocks of
    scores lie in `unfinished/`. Each relevant document of a query becomes an example. With a teacher the examples have
    its scores, and a negative is false or not beside the positive of its example. Where all of this stands nothing is
    done; what is missing is made again.

    Args:
        collection: The collection.
        split: The split whose queries and judgements are used.
        settings: Sources, bands, quotas and the rest.
        out: The folder.
        qrels: Judgements in place of the split's, to mine for some of its queries only.
        fresh: Throw away what an earlier call left in `out`.
        threads: Threads of the search engine; 0 means one for each core. They change no result.
        announce: Called with one line before each stage.
        progress: Called as the documents, then the queries, of each stage are finished.

    Raises:
        ConfigError: if `out` was begun with other settings, queries, documents or models, holds something else, or is
            where a source or the teacher lies.
        InputError: if there is no query with a relevant document, an id cannot stand in a run, a run is of other
            queries or documents, no negative is found, or a file of `out` is damaged.
        ModelError: if a model cannot be opened.
        MissingExtra: if a package that is needed is not installed.
    """
    out, announce = Path(out), announce or (lambda line: None)
    sources, unfinished, models = read_sources(settings.sources), out / "unfinished", Models()
    _require_apart(out, settings)
    announce("reading the collection")
    training = read_training_queries(collection, split, qrels)
    request = Request(collection, training.n_documents, training.queries, settings.hits, threads, announce, progress)
    as_table = sum(map(len, training.positives.values())) > MOST_LINES
    if as_table or settings.teacher is not None:
        require_pyarrow()
    teacher = None
    if settings.teacher is not None:
        teacher = open_teacher(settings.teacher, dict(request.rows()) if settings.teacher == "bm25" else None)
    _begin(out, _describe(settings, sources, training, teacher, split, models), fresh=fresh)
    examples = out / ("examples.arrow" if as_table else "examples.jsonl")
    runs = {source.name: out / "runs" / f"{source.name}.trec" for source in sources}
    statistics = out / "statistics.json"
    if not all(file.exists() for file in (statistics, examples, *runs.values())):
        for source in sources:
            search_source(source, request, runs[source.name], unfinished / source.name, models)
        models.forget()  # that of a run that stood already
        announce(f"drawing negatives for {len(training.queries):,} queries")
        judge = None if teacher is None else _Judge(teacher, request, unfinished)
        mining = _Mining(settings, training, runs, judge)
        write_examples(mining.examples(Meter(len(training.queries), progress)), examples)
        durable.write_json(statistics, mining.report())
    if unfinished.exists():
        shutil.rmtree(unfinished)
    return MiningReport(examples, runs, _read_object(statistics))


def _require_apart(out: Path, settings: MiningSettings) -> None:
    """Make sure that nothing is read that mining writes, and `fresh` removes."""
    for spec in (*settings.sources, settings.teacher or ""):
        place = spec.partition(":")[2]
        if place and any(Path(place).resolve().is_relative_to((out / name).resolve()) for name in _WRITTEN):
            raise ConfigError(f"{spec} lies in {out}, where mining writes and --fresh removes. Name another folder.")


def _describe(
    settings: MiningSettings,
    sources: tuple[Source, ...],
    training: TrainingQueries,
    teacher: Teacher | None,
    split: str,
    models: Models,
) -> dict[str, Any]:
    """Say what the folder is made from, models and files by name and fingerprint, and not by their paths."""
    # The first source comes last, as it is also the first to search, with the model that is then open.
    fingerprints = {source.name: source.fingerprint(models) for source in reversed(sources)}
    return {
        **settings.to_dict(),
        "depth": settings.hits,
        "sources": [{"name": source.name, "fingerprint": fingerprints[source.name]} for source in sources],
        "teacher": None if teacher is None else {"name": teacher.name, "fingerprint": teacher.fingerprint},
        "split": split,
        "queries and documents": training.digest,
    }


def _begin(out: Path, made_from: dict[str, Any], *, fresh: bool) -> None:
    """Make the folder, or make sure that what is there was begun with the same."""
    file = out / "mining.json"
    left = [path for name in _WRITTEN if (path := out / name).exists()]
    if fresh and file.exists():
        for path in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        file.unlink()  # last, so that an interruption leaves what can be removed again
    elif left and not file.exists():
        raise ConfigError(f"{left[0]} is there already, from something else. Remove it, or name another folder.")
    if not file.exists():
        out.mkdir(parents=True, exist_ok=True)
        durable.write_json(file, made_from)
        return
    begun = _read_object(file)
    if begun != made_from:
        changed = ", ".join(key for key in {**made_from, **begun} if begun.get(key) != made_from.get(key))
        raise ConfigError(
            f"{out} was begun with other settings or inputs ({changed}). Go on with the same, name another folder, or "
            f"start again with --fresh (Python: fresh=True)."
        )


def _read_object(file: Path) -> dict[str, Any]:
    try:
        found: object = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"this file is damaged ({error}). Mine again with --fresh", file) from error
    if not isinstance(found, dict):
        raise InputError("this is not what mining writes. Mine again with --fresh", file)
    return found


class _Pool(NamedTuple):
    """A query, its positives, and the union of what its sources bring: of each document the number of its source."""

    query: Query
    positives: list[str]
    negatives: dict[str, int]

    @property
    def documents(self) -> list[str]:
        return [*self.positives, *self.negatives]


class _Judge:
    """A teacher that scores pools, each block of queries into a durable shard."""

    def __init__(self, teacher: Teacher, request: Request, unfinished: Path) -> None:
        from everglade.distill.text_store import TextStore, write_texts

        texts = unfinished / "texts"
        stands = (texts / "manifest.json").exists()
        self.name = teacher.name
        self._teacher = teacher
        self._texts = TextStore.open(texts) if stands else write_texts(request.rows(), texts)
        self._folder = unfinished / "scores"
        self._folder.mkdir(exist_ok=True)

    def score(self, number: int, pools: list[_Pool]) -> list[dict[str, float]]:
        """Give for each pool of block `number` the score of each of its documents."""
        pairs = [(pool.query.text, self._texts[document_id]) for pool in pools for document_id in pool.documents]
        file = self._folder / f"shard-{number:05d}.safetensors"
        scores = iter(score_shard(self._teacher, pairs, np.arange(len(pairs)), file).tolist())
        return [{document_id: next(scores) for document_id in pool.documents} for pool in pools]


class _Mining:
    """From the runs of all sources to examples, a block of queries at a time."""

    def __init__(
        self, settings: MiningSettings, training: TrainingQueries, runs: dict[str, Path], judge: _Judge | None
    ) -> None:
        self._settings = settings
        self._training = training
        self._runs = [RunInOrder(run) for run in runs.values()]
        self._judge = judge
        self._statistics = MiningStatistics(list(runs))
        self._empty = 0

    def examples(self, meter: Meter) -> Iterator[Example]:
        """Give the examples, in the order of the queries.

        Raises:
            InputError: at the end, if there was none.
        """
        queries = self._training.queries
        for number, start in enumerate(range(0, len(queries), QUERIES_IN_A_BLOCK)):
            pools = [self._pool(query) for query in queries[start : start + QUERIES_IN_A_BLOCK]]
            scores = [{} for _ in pools] if self._judge is None else self._judge.score(number, pools)
            for pool, scored in zip(pools, scores, strict=True):
                for positive in pool.positives:
                    if (example := self._example(pool, positive, scored)) is not None:
                        yield example
            meter.advance(len(pools))
        if self._statistics.examples == 0:
            raise InputError(
                f"no example is left: of {len(queries):,} queries {self._empty:,} have no negative, and of "
                f"{self._statistics.emptied:,} examples every negative was false. Search deeper, name another source, "
                f"or lower the margin"
            )

    def report(self) -> dict[str, Any]:
        """Give the statistics as plain JSON values."""
        found = self._statistics.to_dict()
        left_out = {**self._training.left_out, "queries without a negative": self._empty}
        if self._judge is not None:
            found["teacher"] = {
                "name": self._judge.name,
                "rule": str(self._settings.rule or "none"),
                **found["teacher"],
            }
        return {
            "queries": len(self._training.queries),
            "documents": self._training.n_documents,
            **found,
            "left out": {reason: count for reason, count in left_out.items() if count},
        }

    def _pool(self, query: Query) -> _Pool:
        settings, positives = self._settings, self._training.positives[query.id]
        rankings = [run.take(query.id) for run in self._runs]
        copies = self._training.copies(query.id, [one for ranked in rankings for one in ranked])
        key = query_key(settings.seed, query.id)
        brought = unite(rankings, copies.union(positives), settings.bands, settings.quota_of_each, key)
        self._statistics.add_rankings(rankings, positives, copies)
        self._statistics.add_draws(brought)
        negatives = {rankings[source][place]: source for source, places in enumerate(brought) for place in places}
        self._empty += not negatives
        return _Pool(query, positives, negatives)

    def _example(self, pool: _Pool, positive: str, scored: dict[str, float]) -> Example | None:
        """Give the example of one positive, or None if it has no negative or loses all."""
        if not pool.negatives:
            return None
        ids = (positive, *pool.negatives)
        example = Example(pool.query.id, ids, tuple(scored[one] for one in ids) if scored else None)
        if scored:
            rule = self._settings.rule
            example = example if rule is None else keep_true_negatives(example, rule)
            true = set(example.document_ids)
            judged = [(source, scored[one], one in true) for one, source in pool.negatives.items()]
            self._statistics.add_scores(scored[positive], judged)
        if len(example.document_ids) == 1:
            self._statistics.emptied += 1
            return None
        return self._cut(example, pool)

    def _cut(self, example: Example, pool: _Pool) -> Example:
        """Draw as many of the negatives as were asked for."""
        found = range(1, len(example.document_ids))
        asked = self._settings.negatives_per_query or len(found)
        chosen = [0, *draw(found, asked, *query_key(self._settings.seed, example.query_id))]
        ids = tuple(example.document_ids[place] for place in chosen)
        scores = None if example.scores is None else tuple(example.scores[place] for place in chosen)
        self._statistics.add_example([pool.negatives[one] for one in ids[1:]], short=len(found) < asked)
        return Example(example.query_id, ids, scores)
